"use strict";
// Attention on the image: IN beside RL and their difference, over the same text, by layer or averaged over a region.

class AttentionMaps {
  constructor(section, data) {
    this.section = section;
    this.data = data;
    this.form = section.querySelector("form");
    const { run, example, text, over, layer } = this.form.elements;
    run.replaceChildren(...Object.entries(data.runs).map(([name, { recipe, number }]) => make("option", { value: name }, `${recipe}, run ${number}`)));
    text.replaceChildren(make("option", { value: "IN" }, "IN's response"), make("option", { value: "RL" }, "RL's response"));
    this.layers = Object.values(data.runs)[0].examples[0].maps.IN.IN.top.length;
    layer.max = this.layers - 1;
    layer.value = Math.floor(this.layers / 2);
    const [first, second] = data.cuts ?? [];
    this.ranges = { "all layers": [0, this.layers], ...(data.cuts && { Early: [0, first], Mid: [first, second], Late: [second, this.layers] }) };
    over.replaceChildren(make("option", { value: "" }, "one layer"), ...Object.keys(this.ranges).map((name) => make("option", { value: name }, `mean of ${name}`)));
    run.addEventListener("input", () => this.choose());
    example.addEventListener("input", () => this.drawExample());
    for (const control of [text, over, layer]) control.addEventListener("input", () => this.drawMaps());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.cell = 0;
    addEventListener("hashchange", () => this.read());
    if (!this.read()) this.choose();
  }
  // #attention-maps?run=...&example=...&text=...&over=...&layer=...
  read() {
    const [place, query] = location.hash.split("?");
    if (place !== "#attention-maps" || query === undefined) return false;
    const asked = Object.fromEntries(new URLSearchParams(query));
    for (const name of ["run", "text", "over", "layer"]) {
      const control = this.form.elements[name];
      if (!control.options || [...control.options].some(({ value }) => value === asked[name])) control.value = asked[name] ?? control.value;
    }
    this.choose(asked.example);
    return true;
  }
  get chosen() {
    return this.data.runs[this.form.elements.run.value].examples[this.form.elements.example.value];
  }
  choose(id = null) {
    const { examples } = this.data.runs[this.form.elements.run.value];
    this.form.elements.example.replaceChildren(...examples.map((one, i) => make("option", { value: i }, `${one.id}: ${one.prompt}`)));
    this.form.elements.example.value = Math.max(0, examples.findIndex((one) => one.id === id));
    this.drawExample();
  }
  async drawExample() {
    const { image, id, rows, columns } = this.chosen;
    const [plain, ...below] = await Promise.all([`Image of ${id}`, "", "", ""].map((alt) => picture(image, alt)));
    this.maps = ["IN", "RL", "RL - IN"].map((name, n) => {
      const canvas = make("canvas", { width: columns, height: rows, tabindex: 0, role: "img" });
      canvas.addEventListener("pointermove", (event) => {
        const box = canvas.getBoundingClientRect();
        const column = Math.min(columns - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * columns)));
        const row = Math.min(rows - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * rows)));
        this.point(row * columns + column);
      });
      canvas.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
        if (!by) return;
        event.preventDefault();
        if (this.cell + by >= 0 && this.cell + by < rows * columns) this.point(this.cell + by);
      });
      const caption = make("figcaption", {});
      const shown = make("div", { class: "map" }, below[n], canvas);
      return { name, canvas, caption, figure: make("figure", {}, make("strong", {}, name), shown, caption) };
    });
    const first = make("figure", {}, make("strong", {}, "Image"), plain);
    this.section.querySelector(".pair").replaceChildren(first, ...this.maps.map(({ figure }) => figure));
    this.cell = 0;
    this.drawMaps();
  }
  // The weights of a model over a text, averaged over the chosen layers.
  weights(text, model) {
    const { rows, columns, maps } = this.chosen;
    const { top, values } = maps[text][model];
    const bytes = Uint8Array.from(atob(values), (character) => character.charCodeAt(0));
    const layer = Number(this.form.elements.layer.value);
    const [first, stop] = this.ranges[this.form.elements.over.value] ?? [layer, layer + 1];
    const mean = new Float64Array(rows * columns);
    for (let at = first; at < stop; at++)
      for (let i = 0; i < mean.length; i++) mean[i] += (bytes[at * mean.length + i] / 255) * (top[at] / (stop - first));
    return mean;
  }
  drawMaps() {
    const { text, over, layer } = this.form.elements;
    const { columns, texts } = this.chosen;
    layer.disabled = over.value !== "";
    this.section.querySelector(".value").textContent = over.value ? `mean of ${over.value}` : layer.value;
    this.section.querySelector(".read").textContent = texts[text.value] ?? "";
    const [before, after] = [this.weights(text.value, "IN"), this.weights(text.value, "RL")];
    this.shown = [before, after, after.map((weight, i) => weight - before[i])];
    const common = Math.max(...before, ...after) || 1;
    this.shown.forEach((weights, n) => {
      const { name, canvas, caption } = this.maps[n];
      const most = n < 2 ? common : Math.max(...weights.map(Math.abs)) || 1;
      const context = canvas.getContext("2d");
      const pixels = context.createImageData(canvas.width, canvas.height);
      weights.forEach((weight, i) => pixels.data.set([...(weight < 0 ? [0, 114, 178] : [213, 94, 0]), (190 * Math.abs(weight)) / most], 4 * i));
      context.putImageData(pixels, 0, 0);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const peak = weights.reduce((best, weight, i) => (Math.abs(weight) > Math.abs(weights[best]) ? i : best), 0);
      const strongest = `${n < 2 ? "highest" : "largest"} ${weights[peak].toPrecision(2)} in row ${Math.floor(peak / columns) + 1}, column ${(peak % columns) + 1}`;
      caption.textContent = `${n < 2 ? "mass on the image" : "change in mass"} ${total.toPrecision(3)}; ${strongest}`;
      canvas.setAttribute("aria-label", `${name}: ${caption.textContent}. Arrow keys read the cells.`);
    });
    this.point(this.cell);
    const { run } = this.form.elements;
    const query = { run: run.value, example: this.chosen.id, text: text.value, over: over.value, layer: layer.value };
    this.section.querySelector("a").href = `#attention-maps?${new URLSearchParams(query)}`;
  }
  point(cell) {
    this.cell = cell;
    const { columns } = this.chosen;
    const values = this.shown.map((weights, n) => `${this.maps[n].name} ${weights[cell].toPrecision(3)}`);
    this.section.querySelector(".cell").textContent = `Row ${Math.floor(cell / columns) + 1}, column ${(cell % columns) + 1}: ${values.join(", ")}`;
  }
}

const attending = document.getElementById("attention-maps");
if (attending) whenOpened(attending, async () => new AttentionMaps(attending, await source.part("attention")));
