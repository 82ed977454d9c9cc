// A browser may restore a page as it was left, though the session is over by now. The page is
// loaded by its address and not reloaded: a page that answered a form would send it again.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.replace(location.href.split("#")[0]);
});
