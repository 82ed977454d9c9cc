// Keeps an open page true to the session: hidden while the phone is away, left when it is over.
"use strict";

const AWAY = "Your phone is no longer nearby. Come back with it, and this page goes on by itself.";
const UNKNOWN = "Whether you are still logged in is not known at the moment. This page goes on by itself.";
// As long as the blog itself goes on without news from the service.
const PATIENCE_MS = 15_000;
const PAUSE_MS = 3_000;

const title = document.title;
let silence = null;

function lock(why) {
  document.getElementById("why").textContent = why;
  document.getElementById("page").hidden = true;
  document.getElementById("lock").hidden = false;
  document.title = "Locked";
}

function unlock() {
  document.getElementById("lock").hidden = true;
  document.getElementById("page").hidden = false;
  document.title = title;
}

// Shows or leaves the page as the status says; returns whether the session goes on.
function obey(status) {
  clearTimeout(silence);
  silence = null;
  switch (status) {
    case "active":
      unlock();
      return true;
    case "walkaway":
      lock(AWAY);
      return true;
    case "unavailable":
      lock(UNKNOWN);
      return true;
    case "pending":
      // Another tab logs in again.
      location.replace("/auth/waiting");
      return false;
    default:
      // Over, or never begun.
      location.replace("/auth/login");
      return false;
  }
}

function follow() {
  const events = new EventSource("/auth/events");
  events.onmessage = (event) => {
    if (!obey(JSON.parse(event.data).status)) {
      events.close();
    }
  };
  events.onerror = () => {
    silence ??= setTimeout(() => lock(UNKNOWN), PATIENCE_MS);
    // After an answer that is no event stream the browser does not try again by itself.
    if (events.readyState === EventSource.CLOSED) {
      setTimeout(ask, PAUSE_MS);
    }
  };
}

// Follows the session again if it goes on.
async function ask() {
  try {
    const answer = await fetch("/auth/status");
    if (!answer.ok) {
      throw new Error(`status ${answer.status}`);
    }
    const { status } = await answer.json();
    if (obey(status)) {
      follow();
    }
  } catch {
    setTimeout(ask, PAUSE_MS);
  }
}

follow();
