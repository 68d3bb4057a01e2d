"use strict";
// Under a layerwise figure: its lines as a chart, and their numbers at one layer.

async function readLayers(details) {
  const { axis, interval, top, charts } = (await source.part("layers"))[details.dataset.figure];
  const names = Object.keys(charts);
  const select = make("select", {}, ...names.map((name) => make("option", {}, name)));
  const slider = make("input", { type: "range", value: 0 });
  const shown = make("span");
  const place = make("div");
  const body = make("tbody", { "aria-live": "polite" });
  const head = make("tr", {}, ...["", axis, interval].map((text) => make("th", { scope: "col" }, text)));
  let drawn;
  const move = () => {
    const layer = Number(slider.value);
    shown.textContent = layer < 0 ? "none" : layer;
    drawn.move(layer);
    const rows = charts[select.value].map(({ name, points }) => {
      const [, value, low, high] = points.find(([at]) => at === layer) ?? [];
      const bounds = low === null || low === undefined ? "" : `[${low}, ${high}]`;
      return make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "number" }, value ?? ""), make("td", { class: "number" }, bounds));
    });
    body.replaceChildren(...rows);
  };
  const choose = () => {
    const series = charts[select.value];
    const layers = series.flatMap(({ points }) => points.map(([at]) => at));
    slider.min = Math.min(...layers);
    slider.max = Math.max(...layers);
    const onPoint = (at) => {
      slider.value = at;
      move();
    };
    drawn = chart({ series, label: `${axis} by layer, ${select.value}; the table has the numbers of the chosen layer`, xLabel: "layer", yLabel: axis, top, onPoint });
    place.replaceChildren(drawn.node);
    move();
  };
  select.addEventListener("input", choose);
  slider.addEventListener("input", move);
  const choice = make("label", {}, "Of ", select);
  choice.hidden = names.length < 2;
  const layer = make("label", { class: "wide" }, make("span", {}, "Layer: ", shown), slider);
  details.append(make("div", { class: "filters" }, choice, layer), place, make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), body)));
  choose();
}

for (const details of document.querySelectorAll("details[data-figure]"))
  details.addEventListener("toggle", () => readLayers(details), { once: true });
