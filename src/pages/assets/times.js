// Shows each time in the user's time zone and language. Without scripts, the page shows UTC.
"use strict";
(() => {
  const options = { dateStyle: "medium", timeStyle: "short" };
  const format = new Intl.DateTimeFormat(document.documentElement.lang, options);
  for (const time of document.querySelectorAll("time[datetime]")) {
    time.textContent = format.format(new Date(time.dateTime));
  }
})();
