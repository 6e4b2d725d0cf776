// The curves behind the metrics, and the line charts that show them.

function drawCurves() {
  const runs = data.runs.filter((run) => run.category === state.category && Object.keys(run.curves).length);
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.curves)))];
  const order = [...Object.keys(data.axes).filter((name) => names.includes(name)), ...names.filter((name) => !Object.hasOwn(data.axes, name))];
  const first = labels.map((label) => runs.find((run) => run.label === label)).filter(Boolean);
  byId("curve-legend").replaceChildren(...first.map((run) => make("span", { class: "legend" }, swatch(run),
    runs.filter((other) => other.label === run.label).length > 1 ? `${run.label}, one line per seed` : run.label)));
  byId("charts").replaceChildren(...order.map((name) => chart(name, runs)).filter((figure) => figure !== null));
  if (!runs.length) byId("charts").append(nothing("No curves of this category were recorded."));
  if (runs.length && shownRuns().length && names.some((name) => name.startsWith("image_"))) {
    byId("curve-legend").append(make("span", { class: "hint" }, "Dots: the thresholds above."));
  }
}

function chart(name, runs) {
  const known = Object.hasOwn(data.axes, name) ? data.axes[name] : null;
  const series = [];
  let axes = known && [known.x, known.y];
  for (const run of runs) {
    if (!Object.hasOwn(run.curves, name)) continue;
    const curve = run.curves[name];
    axes = axes || Object.keys(curve).filter((axis) => axis !== "threshold").slice(0, 2);
    const [xs, ys] = axes.map((axis) => curve[axis]);
    if (!xs || !ys) continue;
    const points = xs.map((x, i) => [x, ys[i]]).filter(([x, y]) => x !== null && y !== null && y !== undefined);
    if (points.length && points[0][0] > points[points.length - 1][0]) points.reverse();
    series.push({ name: nameOf(run), colour: colourOf(run), dash: dashOf(run), points, mark: operatingPoint(name, run) });
  }
  if (!series.length) return null;
  const [xTitle, yTitle] = axes.map((axis) => (Object.hasOwn(data.axis_titles, axis) ? data.axis_titles[axis] : axis));
  return lineChart(known ? known.title : name, xTitle, yTitle, linearAxis(known ? known.x_limit : 1), linearAxis(1), series);
}

function operatingPoint(name, run) {
  if (!shownRuns().includes(run)) return null;
  const counts = countVerdicts(run.rows, run.chosen);
  const good = counts["false alarm"] + counts.correct;
  if (name === "image_roc" && good && counts.recall !== null) return [counts["false alarm"] / good, counts.recall];
  if (name === "image_precision_recall" && counts.precision !== null && counts.recall !== null) return [counts.recall, counts.precision];
  return null;
}

// An axis: its end, the values of its ticks, and the share of its length at which a value lies.
function linearAxis(high) {
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => Number((share * high).toFixed(3)));
  return { high, ticks, shareOf: (value) => value / high };
}

function stepAxis(last) {
  const high = Math.max(last, 5);
  return { high, ticks: roundTicks(0, high, 5), shareOf: (value) => value / high };
}

function logAxis(low, high) {
  const [from, to] = [Math.floor(Math.log10(low)), Math.max(Math.ceil(Math.log10(high)), Math.floor(Math.log10(low)) + 1)];
  const every = Math.ceil((to - from) / 6);
  const ticks = [];
  for (let power = from; power <= to; power += every) ticks.push(Number(`1e${power}`));
  return { high: 10 ** to, ticks, shareOf: (value) => (Math.log10(value) - from) / (to - from) };
}

const extent = (values) => [Math.min(...values), Math.max(...values)];

// series: [{name, colour, dash, points: [[x, y]], mark: [x, y] or null}]
function lineChart(title, xName, yName, xAxis, yAxis, series) {
  const [width, height, left, top, right, bottom] = [320, 250, 54, 10, 12, 40];
  const x = (value) => left + (width - left - right) * xAxis.shareOf(value);
  const y = (value) => height - bottom - (height - top - bottom) * yAxis.shareOf(value);
  const [[x0, x1], [y0, y1]] = [[left, width - right], [height - bottom, top]];
  const svg = draw("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${title}: ${yName} over ${xName} of ${series.map((one) => one.name).join(", ")}`,
  });
  for (const tick of yAxis.ticks) {
    svg.append(draw("line", { class: "grid", x1: x0, x2: x1, y1: y(tick), y2: y(tick) }),
      draw("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const tick of xAxis.ticks) {
    svg.append(draw("line", { class: "grid", x1: x(tick), x2: x(tick), y1: y0, y2: y1 }),
      draw("text", { x: x(tick), y: y0 + 16, "text-anchor": "middle" }, String(tick)));
  }
  svg.append(
    draw("text", { class: "axis", x: (x0 + x1) / 2, y: height - 6, "text-anchor": "middle" }, xName),
    draw("text", { class: "axis", x: 0, y: 0, "text-anchor": "middle",
      transform: `translate(11 ${(y0 + y1) / 2}) rotate(-90)` }, yName),
  );
  for (const one of series) {
    const inside = one.points.filter(([at]) => at <= xAxis.high);
    const beyond = one.points.find(([at]) => at > xAxis.high);
    if (beyond && inside.length) {
      const [lastX, lastY] = inside[inside.length - 1];
      inside.push([xAxis.high, lastY + ((beyond[1] - lastY) * (xAxis.high - lastX)) / (beyond[0] - lastX)]);
    }
    if (inside.length === 1) {
      svg.append(draw("circle", { cx: x(inside[0][0]), cy: y(inside[0][1]), r: 3, fill: one.colour }));
    }
    const path = inside.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
    svg.append(draw("polyline", { points: path, stroke: one.colour, "stroke-dasharray": one.dash }));
    if (one.mark) {
      svg.append(draw("circle", { cx: x(one.mark[0]), cy: y(one.mark[1]), r: 4.5, fill: one.colour }));
    }
  }
  return make("figure", {}, make("figcaption", {}, title), svg);
}
