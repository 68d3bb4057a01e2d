"use strict";
// The swap explorer: a probe pair, and what the Base answers about the target once a layer has the source's vision tokens.

const MODES = {
  hidden_state_at_layer: "hidden states at this layer",
  kv_from_layer: "keys and values from this layer on",
  kv_at_layer_only: "keys and values at this layer only",
};
const CHANGES = { c: ["changed", "wrong"], s: ["not changed", "ungraded"], f: ["unreadable", "ungraded"] };

class Swaps {
  constructor(section, data) {
    this.section = section;
    this.data = data;
    this.form = section.querySelector("form");
    const { pair, layer } = this.form.elements;
    this.form.elements.function.replaceChildren(...Object.keys(data.functions).map((name) => make("option", {}, name)));
    this.form.elements.function.addEventListener("input", () => this.choose());
    pair.addEventListener("input", () => this.drawPair());
    layer.addEventListener("input", () => this.drawAnswers());
    layer.min = -1;
    layer.max = data.layers - 1;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", () => this.read());
    if (!this.read()) this.choose();
  }
  get chosen() {
    return this.data.functions[this.form.elements.function.value];
  }
  // #swaps?function=...&pair=...&layer=...
  read() {
    const [place, query] = location.hash.split("?");
    if (place !== "#swaps" || query === undefined) return false;
    const asked = new URLSearchParams(query);
    if (Object.hasOwn(this.data.functions, asked.get("function") ?? "")) this.form.elements.function.value = asked.get("function");
    this.choose(asked.get("pair"), asked.get("layer"));
    return true;
  }
  choose(id = null, layer = null) {
    const { pair } = this.form.elements;
    const { pairs, rates } = this.chosen;
    pair.replaceChildren(...pairs.map((one, i) => make("option", { value: i }, `${one.id}: ${one.prompt}`)));
    pair.value = Math.max(0, pairs.findIndex((one) => one.id === id));
    this.form.elements.layer.value = layer ?? this.form.elements.layer.value;
    const name = this.form.elements.function.value;
    const series = Object.entries(rates).map(([mode, points]) => ({ name: MODES[mode], points }));
    const onPoint = (at) => {
      this.form.elements.layer.value = at;
      this.drawAnswers();
    };
    const label = `Change rate by layer over all ${pairs.length} pairs of ${name}; the numbers are with Figure 4`;
    this.chart = series.length ? chart({ series, label, xLabel: "layer", yLabel: "change rate over all pairs", top: 1, onPoint }) : null;
    this.section.querySelector(".rates").replaceChildren(this.chart?.node ?? "");
    this.drawPair();
  }
  async drawPair() {
    const one = this.chosen.pairs[this.form.elements.pair.value];
    const figures = await Promise.all(
      ["target", "source"].map(async (side) =>
        make("figure", {}, await picture(one[side].image, `The pair's ${side} image`), make("figcaption", {}, `${side}: correct answer `, make("b", {}, one[side].gold))),
      ),
    );
    this.section.querySelector(".pair").replaceChildren(...figures);
    this.section.querySelector(".prompt").textContent = one.prompt;
    this.drawAnswers();
  }
  drawAnswers() {
    const layer = Number(this.form.elements.layer.value);
    const one = this.chosen.pairs[this.form.elements.pair.value];
    const rates = this.chosen.rates;
    this.section.querySelector(".value").textContent = layer < 0 ? "nothing swapped" : `layer ${layer}`;
    const rows = Object.entries(one.answers).map(([mode, { said, codes }]) => {
      const code = codes[layer + 1];
      const rate = rates[mode]?.find(([at]) => at === layer);
      const shown = rate && Number.isFinite(rate[1]) ? `${(100 * rate[1]).toFixed(0)} % [${rate.slice(2).map((bound) => (100 * bound).toFixed(0)).join(", ")}]` : "";
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, MODES[mode]),
        make("td", { class: "said" }, this.data.texts[said[layer + 1]] || "(empty)"),
        make("td", {}, code in CHANGES ? make("span", { class: `verdict ${CHANGES[code][1]}` }, CHANGES[code][0]) : ""),
        make("td", { class: "number" }, shown),
      );
    });
    this.section.querySelector("tbody").replaceChildren(...rows);
    this.chart?.move(layer);
    const query = new URLSearchParams({ function: this.form.elements.function.value, pair: one.id, layer });
    this.section.querySelector("a").href = `#swaps?${query}`;
  }
}

const swapping = document.getElementById("swaps");
if (swapping) whenOpened(swapping, async () => new Swaps(swapping, await source.part("swaps")));
