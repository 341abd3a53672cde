"use strict";
// Live updates and the time that is left. Everything else works without this.
(() => {
  const main = document.querySelector("main[data-events]");
  if (!main) return;
  const said = document.getElementById("said");

  const say = (text) => {
    said.textContent = text;
    setTimeout(() => { if (said.textContent === text) said.textContent = ""; }, 8000);
  };

  // Counted from when the page came: the clocks of browser and host may differ.
  const wait = (seconds) => {
    const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
    return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${s} s`;
  };
  let came = performance.now();
  setInterval(() => {
    const passed = Math.floor((performance.now() - came) / 1000);
    for (const left of main.querySelectorAll("[data-left]")) {
      left.textContent = wait(Math.max(0, left.dataset.left - passed));
    }
  }, 1000);

  const refresh = async () => {
    const response = await fetch(location.href, { credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fresh = page.querySelector("main[data-events]");
    if (!fresh) return location.reload();
    const focused = main.contains(document.activeElement) ? document.activeElement.id : "";
    main.replaceChildren(...fresh.childNodes);
    main.dataset.seen = fresh.dataset.seen;
    document.title = page.title;
    came = performance.now();
    if (focused) (document.getElementById(focused) ?? main).focus({ preventScroll: true });
    say(fresh.dataset.said);
  };

  let busy = Promise.resolve();
  const events = new EventSource(main.dataset.events);
  events.onmessage = ({ data }) => {
    busy = busy.then(() => (data === main.dataset.seen ? undefined : refresh())).catch(() => {});
  };
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) said.textContent = "Live updates have ended: load the page again.";
  };
})();
