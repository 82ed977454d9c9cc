// Keeps the page as the emulator has it, without moving what the reader looks at or has focused.
"use strict";

const news = document.getElementById("news");
const trouble = document.getElementById("trouble");

// As the emulator says it where scripts do not run.
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

// Replaces the parts that differ. The focus stays on the same button, or, if that is gone, in the
// same part.
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
    news.textContent = `${names.join(", ")}: asks to log in.`;
  }
}

// One after the other, so that the last one asked for is the last one shown.
let loading = Promise.resolve();

function load() {
  loading = loading.then(async () => {
    const answer = await fetch("/emulator");
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
  }).catch(complain);
  return loading;
}

function complain() {
  trouble.textContent = "The emulator does not answer. This page goes on by itself when it does.";
  trouble.hidden = false;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  event.preventDefault();
  try {
    const answer = await fetch(form.action, { method: "POST" });
    const { reason } = await answer.json();
    const pressed = form.querySelector("button").textContent;
    await load();
    news.textContent = answer.ok ? `${pressed}: done.` : `${pressed}: ${reason}.`;
  } catch {
    complain();
  }
});

const changes = new EventSource("/emulator/changes");
changes.onopen = () => { trouble.hidden = true; };
changes.onerror = complain;
changes.onmessage = load;
setInterval(() => showTimes(document), 1000);
showTimes(document);
