// Hides a page of the application while its user's session does not let it be seen. It protects
// nothing: the gate does. docs/pages.md has its settings. It is served without its comments, which
// have lines of their own, and without the spaces that it does not need.
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
  let asked = 0;
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
  // Over the page while the user is warned of a login that may not be theirs.
  const warning = make("a", {
    className: "activeconnect-warning",
    role: "alert",
    hidden: true,
    href: at("sessions"),
    textContent: set.unknownBrowser,
  });
  document.body.prepend(warning);

  // One sheet for both: each of its rules matches in one of them.
  const sheet = new CSSStyleSheet({ disabled: true });
  sheet.replaceSync(`body:not(#a){visibility:hidden!important;opacity:0!important}
    :host{all:initial!important}
    :host dialog{all:unset;position:fixed;inset:0;padding:2rem;display:grid;place-content:center;
    text-align:center;font:1.1rem/1.5 system-ui;color-scheme:light dark;color:CanvasText;
    background:Canvas}`);
  for (const to of [document, root]) to.adoptedStyleSheets.push(sheet);

  // A modal dialog takes the focus, gives it back, and leaves nothing else that could have it.
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

  const obey = (news) => {
    heard = Date.now();
    warning.hidden = !news.warning;
    if (news.status !== "active") {
      lock(news.status === "walkaway" ? "locked" : set[news.status] ? news.status : "ended");
    } else if (news.owner !== (owner ||= news.owner)) {
      lock("pending");
      // No answer counts any more.
      asked = NaN;
      // Not by a reload: a page that answered a form would send it again. A cached page is renewed.
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
    asked++;
  };

  const ask = async () => {
    if (document.hidden) return cover();
    const turn = ++asked;
    let news;
    try {
      const answer = await fetch(at("status"), { signal: AbortSignal.timeout(8000) });
      news = answer.ok ? await answer.json() : answer.status === 401 && {};
    } catch {
      // No answer.
    }
    if (turn !== asked) return;
    clearTimeout(timer);
    timer = setTimeout(ask, 5000);
    if (news) obey(news);
    else if (reason === "pending" || Date.now() - heard > 20000) lock("unavailable");
    if (reason === "ended" || events?.readyState < 2) return;
    events = new EventSource(at("events"));
    events.onmessage = ({ data }) => {
      const news = JSON.parse(data);
      if (news.status !== "active") obey(news);
      // The answer says whose session it is.
      ask();
    };
  };

  for (const type of ["visibilitychange", "pageshow", "focus"]) addEventListener(type, ask);
  addEventListener("pagehide", cover);
  ask();
})();
