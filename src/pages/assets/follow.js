// Follows the status of a pending login, a locked session or a pending registration, and loads the next
// page when it is done. The data attributes of the page name the statuses for which it has a text; at
// any other status the script reloads the page or loads the next one. It also copies a registration
// link.
"use strict";
(() => {
  const POLL_MS = 3000;
  const FIRST_EVENT_TIMEOUT_MS = 5000; // a proxy may delay the first event this long
  const TICK_MS = 900; // how long the page shows the tick
  const root = document.querySelector("[data-follow]");
  const state = document.querySelector("[data-state]");
  const times = document.querySelectorAll("[data-started], [data-until]");
  const copy = document.querySelector("[data-copy]");
  const timer = document.querySelector("[data-seconds]");
  let source = null;
  let next = 0;
  let hasEvents = false; // the stream delivers events
  let isDone = false;

  const stop = () => {
    clearTimeout(next);
    if (source) source.close();
    source = null;
    hasEvents = false;
  };

  const loadNext = (delay) => {
    isDone = true;
    stop();
    const to = root.dataset.goOn || location.href.split("#")[0];
    setTimeout(() => location.replace(to), delay);
  };

  const show = (status) => {
    if (isDone) return;
    const text = root.dataset[status];
    if (text && state.textContent !== text) state.textContent = text;
    if (status === "active" || status === "registered") {
      root.dataset.done = "";
      loadNext(TICK_MS);
    } else if (text && status === "none") {
      // Keep the page: its link may still be valid.
      isDone = true;
      root.dataset.over = "";
      stop();
      for (const end of document.querySelectorAll("[data-at-end]")) end.hidden = false;
    } else if (!text) {
      loadNext(POLL_MS / 3);
    }
  };

  const requestStatus = async () => {
    clearTimeout(next);
    try {
      const response = await fetch(root.dataset.status, { cache: "no-store" });
      if (response.ok) show((await response.json()).status);
    } catch {
      // A network error; the next request may succeed.
    }
    if (!isDone && !hasEvents) next = setTimeout(requestStatus, POLL_MS);
  };

  const listen = () => {
    stop();
    if (isDone) return;
    // A hidden page opens no connection: browsers allow six per site. A registration has no events.
    if (document.hidden || !root.dataset.events) {
      requestStatus();
      return;
    }
    const events = new EventSource(root.dataset.events);
    source = events;
    events.onmessage = (event) => {
      clearTimeout(next);
      hasEvents = true;
      show(JSON.parse(event.data).status);
    };
    events.onerror = () => {
      if (events.readyState !== EventSource.CLOSED || events !== source) return;
      stop();
      requestStatus();
    };
    next = setTimeout(requestStatus, FIRST_EVENT_TIMEOUT_MS);
  };

  const countDown = () => {
    const end = performance.now() + timer.dataset.seconds * 1000;
    const write = () => {
      const left = Math.max(0, Math.ceil((end - performance.now()) / 1000));
      timer.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
      if (left && !isDone) setTimeout(write, 1000);
    };
    write();
  };

  const start = () => {
    // The button is for browsers without scripts.
    for (const button of document.querySelectorAll("[data-without-script]")) button.hidden = true;
    for (const part of document.querySelectorAll("[data-with-script]")) part.hidden = false;
    for (const time of times) {
      const format = new Intl.DateTimeFormat(document.documentElement.lang, { timeStyle: "medium" });
      const { started, until } = time.dataset;
      time.textContent = format.format(new Date(Number(started || until)));
    }
    if (timer) countDown();
    document.addEventListener("visibilitychange", listen);
    listen();
  };

  const offerCopy = () => {
    const button = copy.querySelector("button");
    const status = copy.querySelector("[data-copied]");
    copy.hidden = false;
    button.addEventListener("click", async () => {
      status.textContent = "";
      try {
        await navigator.clipboard.writeText(copy.dataset.copy);
        status.textContent = status.dataset.copied;
      } catch {
        // The browser denies it; the user can select the link.
        copy.hidden = true;
      }
    });
  };

  // The clipboard is available only over TLS and on loopback.
  if (copy && navigator.clipboard) offerCopy();
  if (!root) return;
  if (document.prerendering) document.addEventListener("prerenderingchange", start, { once: true });
  else start();
})();
