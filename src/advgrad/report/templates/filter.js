// Filters over what the page already shows; without this script it shows everything.
(() => {
  "use strict";
  const root = document.documentElement, form = document.forms[0], main = document.querySelector("main");
  const names = ["paper", "network", "verdict"], said = form.querySelector("output"), everything = said.textContent;
  const papers = [...document.querySelectorAll("[data-paper]")], groups = [...document.querySelectorAll(".group")];
  const tables = [...document.querySelectorAll("section.table")].map((table) => ({
    table,
    paper: table.closest("[data-paper]").dataset.paper,
    cells: [...table.querySelectorAll(".grid td[data-verdict]")],
    rows: [...table.querySelectorAll(".grid tbody tr")],
    lines: [...table.querySelectorAll(".long tbody tr")],
    links: document.querySelectorAll(`.contents a[href="#${table.id}"]`),
  }));

  function apply() {
    const want = Object.fromEntries(names.map((name) => [name, form[name].value]));
    const ofCells = Boolean(want.network || want.verdict); // which figures, claims and findings have nothing to do with
    const fits = ({ dataset }) =>
      (!want.network || dataset.network === want.network) && (!want.verdict || dataset.verdict === want.verdict);
    const left = {}; // paper -> cells
    for (const { table, paper, cells, rows, lines, links } of tables) {
      for (const cell of cells) cell.classList.toggle("hit", fits(cell));
      for (const row of rows) row.hidden = !row.querySelector(".hit");
      for (const line of lines) line.hidden = !fits(line);
      const fitting = lines.filter((line) => !line.hidden).length;
      for (const place of [table, ...links]) place.hidden = !fitting;
      left[paper] = (left[paper] || 0) + fitting;
    }
    for (const group of groups) group.hidden = !group.querySelector("section.table:not([hidden])");
    for (const part of papers) {
      const paper = part.dataset.paper;
      part.hidden = Boolean(want.paper && want.paper !== paper) || (ofCells && !left[paper]);
    }
    const filtered = Boolean(want.paper) || ofCells;
    const shown = Object.keys(left).reduce((sum, paper) => sum + (!want.paper || want.paper === paper ? left[paper] : 0), 0);
    root.classList.toggle("filtered", filtered);
    root.classList.toggle("cells-only", ofCells);
    said.textContent = filtered ? `${shown} of ${everything}` : everything;
  }

  function keep() {
    const kept = String(new URLSearchParams(names.map((name) => [name, form[name].value]).filter(([, value]) => value)));
    history.replaceState(null, "", kept ? `#${kept}` : location.pathname + location.search);
    apply();
    if (main.getBoundingClientRect().top < 0) main.scrollIntoView();
  }

  function restore() {
    const hash = location.hash.slice(1);
    if (!hash.includes("=")) return; // a place on the page
    const kept = new URLSearchParams(hash);
    for (const name of names) {
      form[name].value = kept.get(name) || "";
      if (form[name].selectedIndex < 0) form[name].value = ""; // no such paper, network or verdict
    }
    apply();
  }

  form.addEventListener("change", keep);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(keep));
  addEventListener("hashchange", restore);
  root.classList.add("js");
  apply();
  restore();
})();
