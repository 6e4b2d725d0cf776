// Small building blocks: elements, SVG line charts, the colours of heatmaps.

const SVG = "http://www.w3.org/2000/svg";

// The only way in which text enters the page: as text.
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  return fill(node, attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function choice(label, options, value, onchange) {
  const select = make("select", { onchange: () => onchange(select.value) });
  for (const [key, text] of options) select.append(make("option", { value: key }, text));
  select.value = value;
  return make("label", {}, make("span", {}, label), select);
}

function checkbox(label, checked, onchange) {
  const box = make("input", { type: "checkbox", checked, onchange: () => onchange(box.checked) });
  return make("label", { class: "check" }, box, label);
}

// Anchors of matplotlib's "inferno": its lightness rises evenly, so that it reads without hues.
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85],
  [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
];

function heatColour(share) {
  const place = Math.min(share, 0.99999) * (INFERNO.length - 1);
  const at = Math.floor(place);
  return INFERNO[at].map((low, i) => Math.round(low + (place - at) * (INFERNO[at + 1][i] - low)));
}

// Low scores stay clear, so that the image can be seen under the map.
const HEAT = Array.from({ length: 256 }, (_, i) => [
  ...heatColour(0.25 + (0.75 * i) / 255),
  Math.round(255 * Math.min(1, i / 110)),
]);

function colourBar() {
  const canvas = make("canvas", { width: 256, height: 1, class: "colourbar", "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  for (let i = 0; i < 256; i += 1) {
    const [r, g, b, a] = HEAT[i];
    context.fillStyle = `rgba(${r},${g},${b},${a / 255})`;
    context.fillRect(i, 0, 1, 1);
  }
  return canvas;
}

// series: [{name, colour, dash, points: [[x, y]], mark: [x, y] or null}]
function lineChart(title, xName, yName, xMax, series) {
  const [width, height, left, top, right, bottom] = [320, 250, 54, 10, 12, 40];
  const x = (value) => left + ((width - left - right) * value) / xMax;
  const y = (value) => height - bottom - (height - top - bottom) * value;
  const svg = draw("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${title}: ${yName} over ${xName} of ${series.map((one) => one.name).join(", ")}`,
  });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(
      draw("line", { class: "grid", x1: x(0), x2: x(xMax), y1: y(share), y2: y(share) }),
      draw("line", { class: "grid", x1: x(share * xMax), x2: x(share * xMax), y1: y(0), y2: y(1) }),
      draw("text", { x: left - 6, y: y(share) + 4, "text-anchor": "end" }, String(share)),
      draw("text", { x: x(share * xMax), y: y(0) + 16, "text-anchor": "middle" },
        String(Number((share * xMax).toFixed(3)))),
    );
  }
  svg.append(
    draw("text", { class: "axis", x: x(xMax / 2), y: height - 6, "text-anchor": "middle" }, xName),
    draw("text", { class: "axis", x: 0, y: 0, "text-anchor": "middle",
      transform: `translate(11 ${y(0.5)}) rotate(-90)` }, yName),
  );
  for (const one of series) {
    const inside = one.points.filter(([at]) => at <= xMax);
    const beyond = one.points.find(([at]) => at > xMax);
    if (beyond && inside.length) {
      const [x0, y0] = inside[inside.length - 1];
      inside.push([xMax, y0 + ((beyond[1] - y0) * (xMax - x0)) / (beyond[0] - x0)]);
    }
    const path = inside.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
    svg.append(draw("polyline", { points: path, stroke: one.colour, "stroke-dasharray": one.dash }));
    if (one.mark) {
      svg.append(draw("circle", { cx: x(one.mark[0]), cy: y(one.mark[1]), r: 4.5, fill: one.colour }));
    }
  }
  return make("figure", {}, make("figcaption", {}, title), svg);
}
