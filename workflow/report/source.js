"use strict";
// Where the examples come from: the page itself, a folder beside it, or `frankenstein view`. All text that a model or a data set
// wrote becomes text nodes here, never markup.

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

// Parts that were packed with the report: in the page, or each in a script of the folder beside it, which calls `receive`.
class Packed {
  constructor(folder) {
    this.folder = folder;
    this.parts = new Map();
  }
  part(name) {
    if (!this.parts.has(name)) this.parts.set(name, (this.folder ? this.beside(name) : this.inside(name)).then(unpack));
    return this.parts.get(name);
  }
  async inside(name) {
    return document.getElementById(`part-${name}`).textContent;
  }
  beside(name) {
    return new Promise((resolve, reject) => {
      globalThis.receive ??= (of, text) => this.waiting.get(of)(text);
      (this.waiting ??= new Map()).set(name, resolve);
      const script = make("script", { src: `${this.folder}/${name}.js` });
      script.addEventListener("error", () => reject(new Error(`${script.src} does not load`)));
      document.head.append(script);
    });
  }
  async questions(task, at) {
    const { questions } = await this.part(`task.${task}`);
    return at.map((i) => questions[i]);
  }
  async answers(task, i) {
    return (await this.part(`task.${task}`)).answers[i];
  }
  async search(task, text, run) {
    const index = await this.part("index");
    const { questions, answers } = await this.part(`task.${task}`);
    const { ids, asked } = index.tasks[task];
    const members = new Set(Object.values(index.runs.find((other) => other.name === run).roles));
    const columns = [...asked.keys()].filter((column) => members.has(asked[column][0]));
    const holds = (part) => (part ?? "").toLowerCase().includes(text.toLowerCase());
    return [...ids.keys()].filter(
      (i) =>
        [ids[i], questions[i].prompt, questions[i].gold].some(holds) || columns.some((column) => holds(answers[i][column]?.[0])),
    );
  }
  async image(path) {
    const { names, uris } = await this.part("images");
    if (!(path in names)) return null;
    return this.folder ? `${this.folder}/images/${names[path]}` : uris[names[path]];
  }
}

// The same from the server of `frankenstein view`, which reads the study's files.
class Served {
  async get(path, query) {
    const answer = await fetch(`/${path}?${new URLSearchParams(query)}`);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }
  part(name) {
    return this.get("part", { name });
  }
  questions(task, at) {
    return at.length ? this.get("questions", { task, at }) : [];
  }
  async answers(task, i, run) {
    return (await this.get("answers", { task, at: i, run }))[0];
  }
  search(task, text, run) {
    return this.get("search", { task, text, run });
  }
  async image(path) {
    return `/image/${path.split("/").map(encodeURIComponent).join("/")}`;
  }
}

const source = document.body.dataset.source === "server" ? new Served() : new Packed(document.body.dataset.folder);

// An image of the study; words in its place where the results do not have it.
async function picture(path, alt) {
  const src = await source.image(path);
  return src ? make("img", { src, alt }) : make("p", { class: "note" }, `${alt}: not among the results`);
}

// The section that the address leads to, or the one example, comes into view again when a section above it has grown, until the reader
// moves.
const addressed = () => document.getElementById(location.hash.slice(1).split("?")[0]);
let moved = false;
for (const event of ["wheel", "touchmove", "pointerdown", "keydown"]) addEventListener(event, () => (moved = true), { passive: true });
addEventListener("hashchange", () => (moved = false));
function settle() {
  const example = new URLSearchParams(location.hash.split("?")[1]).has("at") && addressed()?.querySelector("article");
  if (!moved) (example || addressed())?.scrollIntoView();
}

// Runs `start` once: when the section comes near the window, or when an address within the page leads into it.
function whenOpened(section, start) {
  const begin = () => {
    seen.disconnect();
    removeEventListener("hashchange", arrive);
    start().then(settle, (error) => section.append(make("p", { class: "warning", role: "alert" }, `Cannot be shown: ${error.message}`)));
  };
  const arrive = () => addressed() === section && begin();
  const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && begin(), { rootMargin: "200px" });
  seen.observe(section);
  addEventListener("hashchange", arrive);
  arrive();
}
