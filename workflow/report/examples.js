"use strict";
// The browser of examples. What it shows is in the address (#examples?...), so that each view and each example has a link.

const VERDICTS = { r: ["right", "✓"], w: ["wrong", "✗"], a: ["abstained", "–"], u: ["ungraded", "?"] };
const CONDITIONS = {
  image: "with the image",
  black: "with a black image",
  described: "with a black image and a description",
  text: "text alone",
  shuffled: "with another example's image",
};
const OUTCOMES = { "": "any", right: "right", not: "not right", wrong: "wrong", abstained: "abstained", ungraded: "ungraded" };
const ON_PAGE = 50;

class Examples {
  constructor(section, index) {
    this.section = section;
    this.index = index;
    this.form = section.querySelector("form");
    this.list = section.querySelector("ol");
    this.shown = section.querySelector("article");
    this.pools = {}; // sets of tasks that links to pooled rates have named
    this.turn = 0; // of several updates under way, only the last one draws
    this.form.addEventListener("input", (event) => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.go(this.filters()), event.target.name === "find" ? 250 : 0);
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of section.querySelectorAll("[data-preset]")) {
      const preset = Object.fromEntries(new URLSearchParams(button.dataset.preset));
      button.addEventListener("click", () => this.go({ run: this.state.run, task: this.state.task, ...preset }));
    }
    for (const button of section.querySelectorAll("[data-pages]"))
      button.addEventListener("click", () => this.step(Number(button.dataset.pages) * ON_PAGE));
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.shown.addEventListener("keydown", (event) => this.key(event));
    addEventListener("hashchange", () => this.draw(this.read()));
  }

  // The state is what the address says.
  async read() {
    const [place, query] = location.hash.split("?");
    const here = place === "#examples" && query !== undefined;
    if (this.state && !here) return;
    this.state = here ? Object.fromEntries(new URLSearchParams(query)) : {};
    this.fill();
    await this.update();
    settle();
  }
  go(state) {
    this.state = state;
    history.replaceState(null, "", this.address(state));
    this.fill();
    this.draw(this.update());
  }
  // What cannot be read, as from a server that has been stopped, is said.
  draw(drawn) {
    drawn.catch((error) => (this.section.querySelector("[role=status]").textContent = `Cannot be shown: ${error.message}`));
  }
  address(state) {
    return `#examples?${new URLSearchParams(Object.entries(state).filter(([, value]) => value))}`;
  }
  filters() {
    return Object.fromEntries([...new FormData(this.form)].filter(([, value]) => value));
  }

  // The options of the filters, as far as the others leave them; what an address has and they do not is dropped.
  fill() {
    const { tasks, runs, metrics } = this.index;
    const offer = (name, choices) => {
      const select = this.form.elements[name];
      select.replaceChildren(...Object.entries(choices).map(([value, text]) => make("option", { value }, text)));
      if (!Object.hasOwn(choices, this.state[name] ?? "")) delete this.state[name];
      select.value = this.state[name] ?? Object.keys(choices)[0];
    };
    const named = (names) => Object.fromEntries(names.map((name) => [name, name]));
    offer("run", Object.fromEntries(runs.map(({ name, recipe, number }) => [name, `${recipe}, run ${number}`])));
    this.state.run ??= runs[0].name;
    const pool = this.tasks;
    if (pool.length > 1 && this.state.task && pool.every((name) => Object.hasOwn(tasks, name))) this.pools[this.state.task] = pool.join(", ");
    offer("task", { "": "all tasks", ...named(Object.keys(tasks)), ...this.pools });
    const { task } = this.state;
    const categories = [...new Set(tasks[task]?.categories ?? [])].sort();
    offer("category", { "": "all", ...named(categories) });
    this.form.elements.category.closest("label").hidden = !categories.length;
    const chosen = this.tasks.map((name) => tasks[name]);
    const asked = new Set(chosen.flatMap((of) => of.asked.map(([, condition]) => condition)));
    const of = { "": "as published" };
    const conditions = Object.keys(CONDITIONS).filter((condition) => asked.has(condition));
    for (const condition of conditions) of[condition] = CONDITIONS[condition];
    for (const metric of Object.keys(metrics)) if (metrics[metric].task === task) of[metric] = `${metric} (counted: right)`;
    for (const condition of conditions) of[`format, ${condition}`] = `in the format, ${CONDITIONS[condition]}`;
    const roles = named(Object.keys(this.run.roles));
    offer("role", { "": "any", ...roles });
    offer("role2", { "": "none", ...roles });
    offer("of", of);
    offer("of2", of);
    offer("is", OUTCOMES);
    offer("is2", { ...OUTCOMES, differs: "not the same" });
    this.form.elements.find.value = this.state.find ?? "";
    for (const name of ["of", "is"]) {
      this.form.elements[name].disabled = !this.state.role;
      this.form.elements[`${name}2`].disabled = !this.state.role2;
    }
  }
  // The tasks of the address: all, one, or several joined by commas.
  get tasks() {
    return this.state.task ? this.state.task.split(",") : Object.keys(this.index.tasks);
  }
  get run() {
    return this.index.runs.find(({ name }) => name === this.state.run);
  }

  // "r", "w", "a", "u", or "-" where a checkpoint was not asked an example, under a condition, metric or format.
  code(task, i, role, of) {
    const { asked, verdicts } = this.index.tasks[task];
    const checkpoint = this.run.roles[role];
    const under = (condition) => {
      const column = asked.findIndex(([name, other]) => name === checkpoint && other === condition);
      return column < 0 ? "-" : verdicts[column][i];
    };
    const metric = this.index.metrics[of];
    if (metric) {
      if (metric.task !== task) return "-";
      const codes = Object.entries(metric.rule).map(([condition, right]) => [under(condition).toLowerCase(), right]);
      if (codes.some(([code]) => code === "-")) return "-";
      return codes.every(([code, right]) => (right ? code === "r" : code !== "r" && code !== "u")) ? "r" : "w";
    }
    const format = of?.startsWith("format, ");
    const code = under(format ? of.slice("format, ".length) : of || this.published(task));
    if (code === "-" || !format) return code.toLowerCase();
    return code === code.toUpperCase() ? "r" : "w";
  }
  published(task) {
    return this.index.tasks[task].asked.some(([, condition]) => condition === "image") ? "image" : "text";
  }

  holds(task, i) {
    const { role, of, is, role2, of2, is2, category } = this.state;
    if (category && this.index.tasks[task].categories[i] !== category) return false;
    const first = role ? this.code(task, i, role, of) : null;
    const second = role2 ? this.code(task, i, role2, of2) : null;
    const meets = (code, outcome) =>
      code === null ||
      (code !== "-" &&
        (!outcome ||
          (outcome === "not" && code !== "r") ||
          (outcome === "differs" && first !== null && (first === "r") !== (code === "r")) ||
          VERDICTS[code][0] === outcome));
    return meets(first, is) && meets(second, is2);
  }

  async update() {
    const turn = ++this.turn;
    const { find, run } = this.state;
    const places = [];
    let of = 0;
    for (const name of this.tasks) {
      const all = [...this.index.tasks[name].ids.keys()];
      of += all.length;
      const found = find ? await source.search(name, find, run) : all;
      for (const i of found) if (this.holds(name, i)) places.push([name, i]);
    }
    if (turn !== this.turn) return;
    this.places = places;
    let [name, id] = places.length ? [places[0][0], this.index.tasks[places[0][0]].ids[places[0][1]]] : [null, null];
    if (this.state.at) [name, id] = [this.state.at.split("/", 1)[0], this.state.at.slice(this.state.at.indexOf("/") + 1)];
    const i = Object.hasOwn(this.index.tasks, name ?? "") ? this.index.tasks[name].ids.indexOf(id) : -1;
    this.at = this.places.findIndex((place) => place[0] === name && place[1] === i);
    await Promise.all([this.drawList(turn), this.drawExample(turn, name, i)]);
    const count = `${places.length.toLocaleString("en")} of ${of.toLocaleString("en")} examples`;
    if (turn === this.turn) this.section.querySelector("[role=status]").textContent = count;
  }

  name(task, i) {
    const id = this.index.tasks[task].ids[i];
    return id.startsWith(task) ? id : `${task} ${id}`;
  }
  link(task, i) {
    const { run, ...filters } = this.state;
    return this.address({ run, ...filters, at: `${task}/${this.index.tasks[task].ids[i]}` });
  }

  async drawList(turn) {
    const first = Math.floor(Math.max(this.at, 0) / ON_PAGE) * ON_PAGE;
    const places = this.places.slice(first, first + ON_PAGE);
    const prompts = new Map();
    for (const task of new Set(places.map(([name]) => name))) {
      const mine = places.filter(([name]) => name === task).map(([, i]) => i);
      const questions = await source.questions(task, mine);
      mine.forEach((i, n) => prompts.set(`${task} ${i}`, questions[n].prompt));
    }
    if (turn !== this.turn) return;
    const roles = [...new Set(["Base", "IN", "RL", this.state.role, this.state.role2])];
    this.list.start = first + 1;
    this.list.replaceChildren(
      ...places.map(([task, i], n) => {
        const marks = make("span", { class: "marks" });
        for (const role of roles) {
          const code = role ? this.code(task, i, role, role === this.state.role ? this.state.of : role === this.state.role2 ? this.state.of2 : "") : "-";
          if (code !== "-") marks.append(make("span", { class: VERDICTS[code][0], title: `${role}: ${VERDICTS[code][0]}` }, `${role} ${VERDICTS[code][1]}`), " ");
        }
        const prompt = prompts.get(`${task} ${i}`);
        const link = make("a", { href: this.link(task, i) }, make("b", {}, this.name(task, i)), ` ${prompt.slice(0, 140)} `, marks);
        if (first + n === this.at) link.setAttribute("aria-current", "true");
        link.addEventListener("click", (event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          this.open(first + n, true);
        });
        return make("li", {}, link);
      }),
    );
    for (const button of this.section.querySelectorAll("[data-pages]"))
      button.disabled = Number(button.dataset.pages) < 0 ? !first : first + ON_PAGE >= this.places.length;
    this.section.querySelector(".page").textContent = places.length ? `${first + 1} to ${first + places.length}` : "";
    const current = this.list.querySelector("[aria-current]");
    if (current) this.list.scrollTop = Math.max(0, current.offsetTop - 40);
    if (this.focusList) current?.focus({ preventScroll: true });
    this.focusList = false;
  }

  // Shows the match of a rank; focus: the list keeps the keyboard.
  open(at, focus) {
    if (!this.places[at]) return;
    const [task, i] = this.places[at];
    this.focusList = focus;
    this.state = { ...this.state, at: `${task}/${this.index.tasks[task].ids[i]}` };
    history.replaceState(null, "", this.address(this.state));
    this.at = at;
    const turn = ++this.turn;
    this.draw(Promise.all([this.drawList(turn), this.drawExample(turn, task, i)]));
  }
  step(by) {
    this.open(Math.min(Math.max(this.at + by, 0), this.places.length - 1), false);
  }
  key(event) {
    const by = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: ON_PAGE, PageUp: -ON_PAGE }[event.key];
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.currentTarget === this.shown && event.key.length > 1) return; // there the arrows scroll
    event.preventDefault();
    this.open(Math.min(Math.max(this.at + by, 0), this.places.length - 1), event.currentTarget === this.list);
  }

  async drawExample(turn, task, i) {
    if (i < 0) return this.shown.replaceChildren(make("p", {}, this.state.at ? `There is no example ${this.state.at} here.` : "No example is like this."));
    const [[question], answers] = await Promise.all([source.questions(task, [i]), source.answers(task, i, this.state.run)]);
    const { ids, asked, categories } = this.index.tasks[task];
    const parts = [make("h3", {}, this.name(task, i))];
    const links = make("p", { class: "note" });
    for (const [text, by] of [["Previous", -1], ["Next", 1]]) {
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => {
        this.step(by);
        this.shown.focus({ preventScroll: true });
      });
      button.disabled = !this.places[this.at + by];
      links.append(button, " ");
    }
    links.append(make("a", { href: this.address({ run: this.state.run, at: `${task}/${ids[i]}` }) }, "Link to this example"));
    parts.push(links);
    if (question.image) parts.push(await picture(question.image, `Image of ${this.name(task, i)}`));
    const facts = make("dl", {});
    const fact = (name, value) => value && facts.append(make("dt", {}, name), make("dd", { class: "said" }, value));
    fact("Question", question.prompt);
    fact("Choices", question.choices?.join(" · "));
    fact("Correct answer", question.gold);
    fact("Category", categories[i]);
    parts.push(facts);
    for (const condition of Object.keys(CONDITIONS)) {
      const rows = [];
      for (const [role, checkpoint] of Object.entries(this.run.roles)) {
        const column = asked.findIndex(([name, other]) => name === checkpoint && other === condition);
        if (column < 0 || !answers[column]) continue;
        const [verdict, mark] = VERDICTS[this.code(task, i, role, condition)];
        const [said, extracted, reason] = answers[column];
        const read = extracted && extracted !== said ? make("div", { class: "note" }, `read as: ${extracted}`) : "";
        const why = reason ? make("div", { class: "note" }, reason) : "";
        rows.push(
          make(
            "tr",
            role === this.state.role || role === this.state.role2 ? { class: "chosen" } : {},
            make("th", { scope: "row" }, role),
            make("td", {}, make("span", { class: `verdict ${verdict}` }, `${mark} ${verdict}`), read, why),
            make("td", { class: "said" }, said ?? "no response"),
          ),
        );
      }
      if (!rows.length) continue;
      parts.push(make("h4", {}, `Answers ${CONDITIONS[condition]}`));
      if (condition === "described" && question.described) parts.push(make("p", { class: "said note" }, `The prompt: ${question.described}`));
      if (condition === "shuffled" && question.other) parts.push(await picture(question.other, "The other example's image"));
      const head = make("tr", {}, ...["Model", "Verdict", "Response"].map((text) => make("th", { scope: "col" }, text)));
      parts.push(make("table", { class: "answers" }, make("thead", {}, head), make("tbody", {}, ...rows)));
    }
    if (turn === this.turn) this.shown.replaceChildren(...parts);
  }
}

const browser = document.getElementById("examples");
if (browser) whenOpened(browser, async () => new Examples(browser, await source.part("index")).read());
