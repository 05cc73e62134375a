// Keeps the parts of a page that are marked by data-live as they are on the server. Without it the page is whole, too.
//
// data-live    the address of the part alone
// data-stage   inside the part; when it changes the page is loaded anew, since other things can be done on it now
"use strict";

const OFTEN = 1000, SELDOM = 15000; // milliseconds between two looks: while something moves, while nothing does

for (const part of document.querySelectorAll("[data-live]")) watch(part);

function watch(part) {
  let shown = null, pause = OFTEN, timer;

  async function look() {
    if (document.hidden) return; // goes on when the tab is looked at again
    try {
      const answer = await fetch(part.dataset.live, { cache: "no-cache" }); // asks by ETag; 304 costs nothing
      if (!answer.ok) throw new Error(answer.statusText);
      const text = await answer.text();
      pause = text === shown ? Math.min(pause * 1.5, SELDOM) : OFTEN;
      if (text !== shown) show(text);
    } catch {
      pause = Math.min(pause * 2, SELDOM); // the server is being started again, perhaps
    }
    later();
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(look, pause);
  }

  function show(text) {
    shown = text;
    const stage = part.querySelector("[data-stage]")?.dataset.stage;
    const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
    part.innerHTML = text; // of our own template, which has escaped what users have written
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    if (stage !== part.querySelector("[data-stage]")?.dataset.stage) location.reload();
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      pause = OFTEN;
      later();
    }
  });
  later();
}
