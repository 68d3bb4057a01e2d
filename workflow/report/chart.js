"use strict";
// A line chart over layers (or ranks), with a cursor that follows a slider, the pointer or both.

const COLORS = ["#0072b2", "#d55e00", "#009e73", "#b0578d", "#2f7fa8", "#6b6b6b"];
const WIDTH = 440;
const HEIGHT = 200;
const MARGIN = { left: 48, right: 12, top: 10, bottom: 36 };

function draw(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// series: [{ name, points: [[x, y, low, high]] }]; top: of the axis, else that of the data; onPoint: called with the x that is pointed
// at. Returns { node, move(x) }.
function chart({ series, label, xLabel, yLabel, top: least, onPoint }) {
  const points = series.flatMap((one) => one.points);
  const [first, last] = [Math.min(...points.map(([x]) => x)), Math.max(...points.map(([x]) => x))];
  const ys = points.flatMap(([, y, low, high]) => [y, low, high]).filter(Number.isFinite);
  const [bottom, top] = [Math.min(0, ...ys), Math.max(...ys, least ?? 0)];
  const x = (value) => MARGIN.left + ((value - first) / (last - first || 1)) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (value) => HEIGHT - MARGIN.bottom - ((value - bottom) / (top - bottom || 1)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "chart" });
  const text = (at, down, words, anchor) => draw("text", { x: at, y: down, "text-anchor": anchor }, words);
  svg.append(
    draw("path", { d: `M${MARGIN.left} ${MARGIN.top}V${y(bottom)}H${WIDTH - MARGIN.right}`, class: "axis" }),
    text(MARGIN.left - 4, y(bottom), bottom.toPrecision(2) / 1, "end"),
    text(MARGIN.left - 4, MARGIN.top + 10, top.toPrecision(2) / 1, "end"),
    text(MARGIN.left, HEIGHT - 20, first, "middle"),
    text(WIDTH - MARGIN.right, HEIGHT - 20, last, "end"),
    text((WIDTH + MARGIN.left) / 2, HEIGHT - 4, `${xLabel} (up: ${yLabel})`, "middle"),
  );
  series.forEach((one, n) => {
    const stroke = COLORS[n % COLORS.length];
    const finite = one.points.filter(([, value]) => Number.isFinite(value));
    const banded = finite.filter(([, , low, high]) => Number.isFinite(low) && Number.isFinite(high));
    const corners = [...banded.map(([at, , low]) => [at, low]), ...banded.toReversed().map(([at, , , high]) => [at, high])];
    if (corners.length) svg.append(draw("polygon", { points: corners.map(([at, value]) => `${x(at)},${y(value)}`).join(" "), fill: stroke, opacity: 0.12 }));
    const dash = n < COLORS.length ? "" : "5 3";
    svg.append(draw("polyline", { points: finite.map(([at, value]) => `${x(at)},${y(value)}`).join(" "), fill: "none", stroke, "stroke-width": 2, "stroke-dasharray": dash }));
  });
  const cursor = draw("line", { y1: MARGIN.top, y2: y(bottom), class: "cursor" });
  svg.append(cursor);
  const xs = [...new Set(points.map(([at]) => at))].sort((a, b) => a - b);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    onPoint(xs.reduce((best, other) => (Math.abs(x(other) - at) < Math.abs(x(best) - at) ? other : best)));
  });
  const legend = make("p", { class: "note legend" });
  series.forEach((one, n) => legend.append(make("span", { class: "swatch", style: `background: ${COLORS[n % COLORS.length]}` }), ` ${one.name}   `));
  return {
    node: make("div", {}, svg, series.length > 1 ? legend : ""),
    move(at) {
      cursor.setAttribute("x1", x(at));
      cursor.setAttribute("x2", x(at));
    },
  };
}
