// Keeps the page of a workflow up to date: asks for its fragment, and puts it in place when it has changed.
//
// It stops when the workflow has ended, while the tab is hidden, and when it is switched off. Focus, open folds and
// how far things are scrolled stay as they are; nothing is replaced while text is marked. Without it there is a link.
"use strict";

(() => {
  const FASTEST = 2000; // milliseconds between two looks
  const SLOWEST = 10000;
  const body = document.getElementById("workflow-live-body");
  const toggle = document.getElementById("workflow-live-switch");
  const said = document.getElementById("workflow-live-said");
  if (!body || !toggle || !said) return;

  let etag = body.dataset.etag;
  let pause = FASTEST;
  let timer = null;
  let asking = null; // the request that is under way
  let on = true;

  const content = () => body.querySelector("[data-finished]");
  const finished = () => content()?.dataset.finished === "yes";

  function plan() {
    clearTimeout(timer);
    timer = null;
    if (finished() && document.activeElement === toggle) document.getElementById("workflow-refresh")?.focus();
    toggle.hidden = finished();
    if (on && !document.hidden && !finished()) timer = setTimeout(look, pause);
  }

  function stop() {
    clearTimeout(timer);
    timer = null;
    asking?.abort();
    asking = null;
  }

  async function look() {
    const request = (asking = new AbortController());
    try {
      const answer = await fetch(body.dataset.url, {
        headers: { "If-None-Match": etag },
        cache: "no-store",
        credentials: "same-origin",
        redirect: "error", // to the login page
        signal: request.signal,
      });
      if (answer.ok) {
        const text = await answer.text();
        if (request !== asking) return;
        if (marking()) throw new Error("later");
        etag = answer.headers.get("ETag") || "";
        replace(text);
        pause = FASTEST;
      } else if (answer.status === 304) {
        pause = Math.min(pause * 1.25, SLOWEST);
      } else if (answer.status === 403 || answer.status === 404) {
        on = false; // gone, or not for this user any more
        toggle.setAttribute("aria-pressed", "false");
      } else {
        pause = SLOWEST;
      }
    } catch {
      if (request !== asking) return;
      pause = Math.min(pause * 1.5, SLOWEST);
    }
    asking = null;
    plan();
  }

  function marking() {
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && body.contains(selection.anchorNode));
  }

  function replace(text) {
    const before = content()?.dataset.said;
    const focused = body.contains(document.activeElement) ? document.activeElement.id : "";
    const folds = new Map([...body.querySelectorAll("details[id]")].map((fold) => [fold.id, fold.open]));
    const scrolled = new Map(
      [...body.querySelectorAll("[tabindex][id]")].map((place) => [place.id, [place.scrollLeft, place.scrollTop]]),
    );
    const parsed = new DOMParser().parseFromString(text, "text/html");
    body.replaceChildren(...parsed.body.childNodes);
    for (const [id, open] of folds) {
      const fold = document.getElementById(id);
      if (fold) fold.open = open;
    }
    for (const [id, [left, top]] of scrolled) {
      const place = document.getElementById(id);
      if (place) [place.scrollLeft, place.scrollTop] = [left, top];
    }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    const now = content()?.dataset.said;
    if (now && now !== before) said.textContent = now;
  }

  toggle.addEventListener("click", () => {
    on = !on;
    toggle.setAttribute("aria-pressed", String(on));
    pause = FASTEST;
    stop();
    plan();
  });

  document.addEventListener("visibilitychange", () => {
    stop();
    if (document.hidden) return;
    pause = FASTEST;
    if (on && !finished()) look();
  });

  plan();
})();
