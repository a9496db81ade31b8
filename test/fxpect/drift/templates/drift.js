"use strict";
/* The page is whole without this: it adds the filter, the keys, and a box that lights up with its twin. */
const causes = [...document.querySelectorAll(".cause")];
const bar = document.querySelector(".bar");
const query = document.getElementById("query");
const kind = document.getElementById("kind");

function filter() {
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const cause of causes) {
    const text = cause.dataset.search.toLowerCase();
    cause.hidden = (kind.value && cause.dataset.kind !== kind.value) || !words.every((word) => text.includes(word));
    count += !cause.hidden;
  }
  document.getElementById("count").textContent = `${count} of ${causes.length} causes`;
}

function step(by) {
  const seen = causes.filter((cause) => !cause.hidden).map((cause) => cause.firstElementChild);
  if (!seen.length) return;
  const at = seen.indexOf(document.activeElement?.closest?.(".cause")?.firstElementChild);
  const next = seen[Math.min(Math.max(at + by, 0), seen.length - 1)];
  next.focus();
  next.scrollIntoView({block: "start"});
}

function light(box, on) {
  const pair = box.closest(".pair");
  for (const twin of pair.querySelectorAll(`[data-at="${box.dataset.at}"]`)) twin.classList.toggle("twin", on);
  pair.nextElementSibling.textContent = on ? box.getAttribute("aria-label") : "";
}

function bring(box) {
  for (const twin of box.closest(".pair").querySelectorAll(`[data-at="${box.dataset.at}"]`)) {
    const pane = twin.closest(".pane"), inner = twin.getBoundingClientRect(), outer = pane.getBoundingClientRect();
    pane.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
    pane.scrollTop += inner.top - outer.top - (outer.height - inner.height) / 2;
  }
}

for (const pair of document.querySelectorAll(".pair")) {
  const panes = [...pair.querySelectorAll(".pane")];
  panes.forEach((pane, index) => pane.addEventListener("scroll", () => {
    const other = panes[1 - index];
    if (Math.abs(other.scrollLeft - pane.scrollLeft) > 1) other.scrollLeft = pane.scrollLeft;
    if (Math.abs(other.scrollTop - pane.scrollTop) > 1) other.scrollTop = pane.scrollTop;
  }));
  // What a reader came for stands in the middle as soon as the cause is opened.
  const shown = pair.closest(".cause"), first = pair.querySelector("g.box[tabindex]");
  if (first) {
    shown.addEventListener("toggle", () => shown.open && bring(first), {once: true});
    if (shown.open) bring(first);
  }
  const button = pair.previousElementSibling.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", pair.classList.toggle("fit"));
  });
  for (const pane of panes) {
    const marked = [...pane.querySelectorAll("g.box[tabindex]")];
    marked.forEach((box, index) => box.addEventListener("keydown", (event) => {
      const by = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
      const next = by && marked[index + by];
      if (!by) return;
      event.preventDefault();
      if (!next) return;
      box.tabIndex = -1;
      next.tabIndex = 0;
      next.focus({preventScroll: true});
    }));
  }
}
for (const box of document.querySelectorAll("g.box")) {
  for (const name of ["focus", "mouseenter"]) box.addEventListener(name, () => light(box, true));
  for (const name of ["blur", "mouseleave"]) box.addEventListener(name, () => light(box, false));
  box.addEventListener("focus", () => bring(box));
}

function open() {
  const cause = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (cause?.matches(".cause")) cause.open = true;
}

if (bar) {
  bar.hidden = false;
  query.addEventListener("input", filter);
  kind.addEventListener("change", filter);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && event.target === query) { query.value = ""; filter(); query.blur(); }
    if (event.target.matches?.("input, select")) return;
    const act = {"/": () => query.focus(), j: () => step(1), k: () => step(-1)}[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  filter();
}
window.addEventListener("hashchange", open);
open();
