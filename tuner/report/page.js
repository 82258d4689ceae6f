"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen = null; // by the button, above what the system says

function theme() { return chosen || (dark.matches ? "dark" : "light"); }

function colours(name) {
  const isDark = name === "dark";
  return { ink: isDark ? "#e4e8ee" : "#1d2430", grid: isDark ? "#2d3541" : "#dfe3e8", paper: isDark ? "#14181f" : "#ffffff" };
}

function themed(layout, name) {
  const { ink, grid, paper } = colours(name), made = structuredClone(layout);
  made.paper_bgcolor = made.plot_bgcolor = "rgba(0,0,0,0)";
  made.font = { color: ink, size: 12, family: "system-ui, 'Segoe UI', Arial, sans-serif" };
  made.modebar = { bgcolor: "rgba(0,0,0,0)", color: grid, activecolor: ink };
  made.hoverlabel = { bgcolor: paper, bordercolor: grid, font: { color: ink } };
  for (const key of Object.keys(made).filter(key => /^[xy]axis/.test(key)))
    Object.assign(made[key], { gridcolor: grid, zerolinecolor: grid, linecolor: grid });
  return made;
}

const CONFIG = {
  responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"],
  displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
};

function draw(id, name) {
  const { data, layout } = FIGURES[id];
  return Plotly.react(id, data, themed(layout, name), CONFIG);
}

function drawAll(name) {
  document.documentElement.dataset.theme = name;
  return Promise.all(Object.keys(FIGURES).map(id => draw(id, name)));
}

function resizeWithin(element) {
  for (const plot of element.querySelectorAll(".plot")) if (plot.offsetParent) Plotly.Plots.resize(plot);
}

document.getElementById("theme").addEventListener("click", () => {
  chosen = theme() === "dark" ? "light" : "dark";
  drawAll(chosen);
});
dark.addEventListener("change", () => drawAll(theme()));
for (const details of document.querySelectorAll("details"))
  details.addEventListener("toggle", () => resizeWithin(details));
addEventListener("beforeprint", () => { drawAll("light"); resizeWithin(document.body); });
addEventListener("afterprint", () => { drawAll(theme()); resizeWithin(document.body); });

for (const table of document.querySelectorAll("table.sortable"))
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending", body = table.tBodies[0];
    table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const text = row => row.cells[column].textContent;
    const key = row => head.classList.contains("n") ? (text(row) === "" ? Infinity : Number(text(row))) : text(row);
    const rows = [...body.rows].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (up ? 1 : -1));
    body.append(...rows);
  }));

drawAll(theme()).then(() => { document.documentElement.dataset.drawn = Object.keys(FIGURES).length; });
