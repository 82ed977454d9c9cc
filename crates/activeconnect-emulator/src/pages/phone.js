// Keeps the page up to date, without moving the scroll position or the focus.
"use strict";

const announcement = document.getElementById("news");
const trouble = document.getElementById("trouble");

// The same format as the emulator's, for browsers without scripts.
function ago(at, now) {
  const seconds = Math.max(0, now - at);
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

function clock(at) {
  const moment = new Date(at * 1000);
  const isToday = moment.toDateString() === new Date().toDateString();
  return isToday ? moment.toLocaleTimeString() : moment.toLocaleString();
}

function showTimes(page, now = Math.floor(Date.now() / 1000)) {
  for (const time of page.querySelectorAll("[data-ago]")) {
    time.textContent = ago(Number(time.dataset.ago), now);
  }
  for (const time of page.querySelectorAll("[data-clock]")) {
    time.textContent = clock(Number(time.dataset.clock));
  }
}

function requestsOf(page) {
  return [...page.querySelectorAll("#requests article")];
}

// Replaces the sections that differ. The focus stays on the same button, or in the same section if the
// button is gone.
function show(page) {
  const known = new Set(requestsOf(document).map((request) => request.id));
  const added = requestsOf(page).filter((request) => !known.has(request.id));
  const now = Math.floor(Date.now() / 1000);
  showTimes(document, now);
  showTimes(page, now);
  document.title = page.title;
  for (const part of page.querySelectorAll("section")) {
    const old = document.getElementById(part.id);
    if (old.outerHTML === part.outerHTML) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement.id : null;
    old.replaceWith(part);
    if (focused !== null) {
      (document.getElementById(focused) ?? part.querySelector("h2")).focus();
    }
  }
  if (added.length > 0) {
    const names = added.map((request) => request.querySelector("h3").textContent);
    announcement.textContent = `${names.join(", ")}: asks to log in.`;
  }
}

// Loads run one after the other, so that the last response is shown last.
let loading = Promise.resolve();

function load() {
  loading = loading.then(async () => {
    const response = await fetch("/emulator");
    show(new DOMParser().parseFromString(await response.text(), "text/html"));
  }).catch(showTrouble);
  return loading;
}

function showTrouble() {
  trouble.textContent = "The emulator does not respond. This page reconnects by itself.";
  trouble.hidden = false;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  event.preventDefault();
  try {
    const response = await fetch(form.action, { method: "POST" });
    const { reason } = await response.json();
    const pressed = form.querySelector("button").textContent;
    await load();
    announcement.textContent = response.ok ? `${pressed}: done.` : `${pressed}: ${reason}.`;
  } catch {
    showTrouble();
  }
});

const changes = new EventSource("/emulator/changes");
changes.onopen = () => { trouble.hidden = true; };
changes.onerror = showTrouble;
changes.onmessage = load;
setInterval(() => showTimes(document), 1000);
showTimes(document);
