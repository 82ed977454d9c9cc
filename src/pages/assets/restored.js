// Loads a page again that the browser restores from its cache, because the session may have ended. A
// reload would send a form again, so the script loads the page's address.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.replace(location.href.split("#")[0]);
});
