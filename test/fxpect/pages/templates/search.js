"use strict";

// An entry is [kind, name, page, text, positions in catalogue.keywords]. Every word of the query must be somewhere in
// it; a hit in the name counts for more than one in the rest. Equal hits keep the order of the index.
function search(catalogue, query, limit) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const scored = [];
  if (words.length) {
    catalogue.entries.forEach((entry, position) => {
      const name = entry[1].toLowerCase();
      const rest = [entry[0], entry[3], ...entry[4].map((one) => catalogue.keywords[one])].join("\n").toLowerCase();
      let score = 0;
      for (const word of words) {
        const at = name.indexOf(word);
        if (name === word) score += 8;
        else if (at === 0 || (at > 0 && !/[a-z0-9]/.test(name[at - 1]))) score += 4;
        else if (at > 0) score += 2;
        else if (rest.includes(word)) score += 1;
        else return;
      }
      scored.push([score, position]);
    });
  }
  scored.sort((one, two) => two[0] - one[0] || one[1] - two[1]);
  return { total: scored.length, found: scored.slice(0, limit).map(([, position]) => catalogue.entries[position]) };
}

function wire() {
  const root = document.documentElement.dataset.root;
  const form = document.getElementById("search");
  const box = document.getElementById("query");
  const results = document.getElementById("results");
  const list = results.querySelector("ol");
  const links = () => [...list.querySelectorAll("a")];

  function show() {
    const { total, found } = search(CATALOGUE, box.value, 30);
    list.replaceChildren(...found.map(([kind, name, page, text]) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      const what = document.createElement("span");
      link.href = root + page;
      link.textContent = name;
      what.textContent = kind + (text ? ": " + text : "");
      item.append(link, " ", what);
      return item;
    }));
    document.getElementById("found").textContent =
      total === found.length ? total + " found" : total + " found, the best " + found.length + " are shown";
    results.hidden = !box.value.trim();
  }

  function close() {
    results.hidden = true;
  }

  form.hidden = false;
  box.addEventListener("input", show);
  box.addEventListener("focus", show);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const [best] = links();
    if (best && !results.hidden) best.click();
  });
  list.addEventListener("click", close); // a link into the same page loads nothing
  form.addEventListener("keydown", (event) => {
    const all = links();
    const at = all.indexOf(document.activeElement);
    if (event.key === "Escape") {
      box.focus();
      close();
    } else if (event.key === "ArrowDown" && all.length && !results.hidden) {
      all[Math.min(at + 1, all.length - 1)].focus();
    } else if (event.key === "ArrowUp" && at >= 0) {
      (all[at - 1] || box).focus();
    } else {
      return;
    }
    event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      box.focus();
    }
  });
  document.addEventListener("click", (event) => {
    if (!form.contains(event.target)) close();
  });
}

if (typeof document !== "undefined") wire();
