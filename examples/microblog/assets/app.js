// Keeps an open page true to the session: hidden while the phone is away, left when it is over.
"use strict";

const AWAY = "Your phone is no longer nearby. Come back with it, and this page goes on by itself.";
const UNKNOWN = "Whether you are still logged in is not known at the moment. This page goes on by itself.";
// As long as the blog itself goes on without news from the service.
const PATIENCE_MS = 15_000;

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

function follow() {
  const events = new EventSource("/auth/events");
  events.onmessage = (event) => {
    clearTimeout(silence);
    silence = null;
    switch (JSON.parse(event.data).status) {
      case "active":
        return unlock();
      case "walkaway":
        return lock(AWAY);
      case "unavailable":
        return lock(UNKNOWN);
      default:
        // Over, or never begun.
        events.close();
        location.replace("/auth/login");
    }
  };
  events.onerror = () => {
    silence ??= setTimeout(() => lock(UNKNOWN), PATIENCE_MS);
    // After an answer that is no event stream the browser does not try again by itself.
    if (events.readyState === EventSource.CLOSED) {
      setTimeout(follow, 3_000);
    }
  };
}

follow();
