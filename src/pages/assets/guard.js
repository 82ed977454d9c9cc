// Hides a page of the application while the session is not active. It is no protection: the gate is.
// docs/pages.md lists its settings. The crate serves it without comments, which must have lines of
// their own, and without unneeded spaces.
(() => {
  const { dataset, src } = document.currentScript;
  const at = (route) => new URL("../" + route, src).href;
  const set = {
    heading: "Locked",
    locked: "Your phone is no longer nearby. This page comes back with it.",
    unavailable: "Your login cannot be checked now. This page comes back by itself.",
    pending: "One moment…",
    ended: "You are logged out.",
    loginLabel: "Log in",
    unknownBrowser: "New browser on your account. Was it you?",
    login: at("login"),
    ...dataset,
  };
  let { owner } = set;
  let reason, events, timer;
  let seq = 0;
  let heard = Date.now();

  const make = (name, rest) => Object.assign(document.createElement(name), rest);
  const host = make("div");
  const root = host.attachShadow({ mode: "closed" });
  const text = make("p", { ariaLive: "polite" });
  const link = make("a", { textContent: set.loginLabel, target: "_blank", rel: "noopener" });
  const dialog = make("dialog", {
    role: "alertdialog",
    ariaLabel: set.heading,
    autofocus: true,
    closedBy: "none",
  });
  dialog.append(make("h1", { textContent: set.heading }), text, link);
  root.append(dialog);
  // Shown above the page while a new session may not be the user's own.
  const warning = make("a", {
    className: "activeconnect-warning",
    role: "alert",
    hidden: true,
    href: at("sessions"),
    textContent: set.unknownBrowser,
  });
  document.body.prepend(warning);

  // One sheet for the document and the shadow root: each rule matches in one of them.
  const sheet = new CSSStyleSheet({ disabled: true });
  sheet.replaceSync(`body:not(#a){visibility:hidden!important;opacity:0!important}
    :host{all:initial!important}
    :host dialog{all:unset;position:fixed;inset:0;padding:2rem;display:grid;place-content:center;
    text-align:center;font:1.1rem/1.5 system-ui;color-scheme:light dark;color:CanvasText;
    background:Canvas}`);
  for (const to of [document, root]) to.adoptedStyleSheets.push(sheet);

  // A modal dialog takes the focus, restores it, and makes the rest of the page inert.
  const lock = (why) => {
    if (!dialog.open) {
      document.documentElement.append(host);
      dialog.showModal();
      sheet.disabled = false;
    }
    reason = why;
    if (text.textContent !== set[why]) text.textContent = set[why];
    link.hidden = why !== "ended";
    link.href =
      set.login + "?next=" + encodeURIComponent(set.next ?? location.pathname + location.search);
  };

  const apply = (state) => {
    heard = Date.now();
    warning.hidden = !state.warning;
    if (state.status !== "active") {
      lock(state.status === "walkaway" ? "locked" : set[state.status] ? state.status : "ended");
    } else if (state.owner !== (owner ||= state.owner)) {
      lock("pending");
      // Ignore all responses from now on.
      seq = NaN;
      // A reload would send a form again. The fetch renews a cached page.
      fetch(location, { cache: "reload" }).finally(() =>
        location.replace(location.href.split("#")[0]),
      );
    } else if (reason) {
      reason = "";
      sheet.disabled = true;
      dialog.close();
      host.remove();
    }
  };

  const cover = () => {
    if (!reason) lock("pending");
    events?.close();
    clearTimeout(timer);
    seq++;
  };

  const poll = async () => {
    if (document.hidden) return cover();
    const turn = ++seq;
    let state;
    try {
      const reply = await fetch(at("status"), { signal: AbortSignal.timeout(8000) });
      state = reply.ok ? await reply.json() : reply.status === 401 && {};
    } catch {
      // No response.
    }
    if (turn !== seq) return;
    clearTimeout(timer);
    timer = setTimeout(poll, 5000);
    if (state) apply(state);
    else if (reason === "pending" || Date.now() - heard > 20000) lock("unavailable");
    if (reason === "ended" || events?.readyState < 2) return;
    events = new EventSource(at("events"));
    events.onmessage = ({ data }) => {
      const state = JSON.parse(data);
      if (state.status !== "active") apply(state);
      // An event lacks the owner; the response has it.
      poll();
    };
  };

  for (const type of ["visibilitychange", "pageshow", "focus"]) addEventListener(type, poll);
  addEventListener("pagehide", cover);
  poll();
})();
