"use strict";
(() => {
  const bar = document.getElementById("tools");
  if (!bar) return;
  bar.hidden = false;
  const groups = [...document.querySelectorAll("details.group")];
  const setAll = (open) => groups.forEach((group) => { group.open = open; });
  document.getElementById("expand").addEventListener("click", () => setAll(true));
  document.getElementById("collapse").addEventListener("click", () => setAll(false));

  const box = document.getElementById("filter");
  const status = document.getElementById("found");
  const entries = groups.flatMap((group) =>
    [...group.querySelectorAll(".sample")].map((node) => ({ group, node, text: node.textContent.toLowerCase() })));
  box.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase();
    const hits = new Set();
    let found = 0;
    for (const { group, node, text } of entries) {
      const hit = text.includes(wanted);
      node.hidden = !hit;
      if (hit) { hits.add(group); found += 1; }
    }
    for (const group of groups) {
      group.hidden = wanted !== "" && !hits.has(group);
      if (wanted !== "" && hits.has(group)) group.open = true;
    }
    status.textContent = wanted === "" ? "" : `${found} of ${entries.length} samples`;
  });
})();
