// A browser may restore a page as it was left, though the user has logged out since. It is loaded by
// its address and not reloaded, as a page that answered a form would send the form again.
"use strict";

addEventListener("pageshow", (event) => event.persisted && location.replace(location.href));
