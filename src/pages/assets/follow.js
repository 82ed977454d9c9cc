// Follows a login that waits, a session that is locked, or a phone that is to register, and goes on
// when it may. The page says by data attributes which statuses it has a text for; at any other it is
// loaded anew, or gone on from. It also copies a registration link.
"use strict";
(() => {
  const POLL_MS = 3000;
  const SILENCE_MS = 5000; // so long a proxy may hold back the first event
  const TICK_MS = 900; // so long the tick is seen
  const root = document.querySelector("[data-follow]");
  const state = document.querySelector("[data-state]");
  const times = document.querySelectorAll("[data-started], [data-until]");
  const copy = document.querySelector("[data-copy]");
  const timer = document.querySelector("[data-seconds]");
  let source = null;
  let next = 0;
  let isHeard = false; // the stream brings what it should
  let isDone = false;

  const stop = () => {
    clearTimeout(next);
    if (source) source.close();
    source = null;
    isHeard = false;
  };

  const loadAnew = (delay) => {
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
      loadAnew(TICK_MS);
    } else if (text && status === "none") {
      // The page stays: the link on it may still be good.
      isDone = true;
      root.dataset.over = "";
      stop();
      for (const end of document.querySelectorAll("[data-at-end]")) end.hidden = false;
    } else if (!text) {
      loadAnew(POLL_MS / 3);
    }
  };

  const ask = async () => {
    clearTimeout(next);
    try {
      const answer = await fetch(root.dataset.status, { cache: "no-store" });
      if (answer.ok) show((await answer.json()).status);
    } catch {
      // The network is away; the next try may reach the server.
    }
    if (!isDone && !isHeard) next = setTimeout(ask, POLL_MS);
  };

  const listen = () => {
    stop();
    if (isDone) return;
    // A hidden page holds no connection: a browser has six of them for a site. A registration has no
    // events.
    if (document.hidden || !root.dataset.events) {
      ask();
      return;
    }
    const events = new EventSource(root.dataset.events);
    source = events;
    events.onmessage = (event) => {
      clearTimeout(next);
      isHeard = true;
      show(JSON.parse(event.data).status);
    };
    events.onerror = () => {
      if (events.readyState !== EventSource.CLOSED || events !== source) return;
      stop();
      ask();
    };
    next = setTimeout(ask, SILENCE_MS);
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

  const begin = () => {
    // The button is for browsers in which this script does not run.
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
    const told = copy.querySelector("[data-copied]");
    copy.hidden = false;
    button.addEventListener("click", async () => {
      told.textContent = "";
      try {
        await navigator.clipboard.writeText(copy.dataset.copy);
        told.textContent = told.dataset.copied;
      } catch {
        // The browser does not allow it here; the link can be selected.
        copy.hidden = true;
      }
    });
  };

  // Only where the page came over TLS, or from this machine.
  if (copy && navigator.clipboard) offerCopy();
  if (!root) return;
  if (document.prerendering) document.addEventListener("prerenderingchange", begin, { once: true });
  else begin();
})();
