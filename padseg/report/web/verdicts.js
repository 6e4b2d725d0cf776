// The effect of a threshold: a panel for each run, with slider and counts.

const VERDICTS = { hit: "✓ found", miss: "✕ missed", "false alarm": "! false alarm", correct: "✓ passed" };

function drawVerdicts() {
  byId("verdict-panels").replaceChildren(...shownRuns().map(verdictPanel));
  if (!shownRuns().length) byId("verdict-panels").append(nothing("No scores of this category were recorded."));
}

function verdictPanel(run) {
  const strip = make("canvas", { class: "strip", role: "img",
    "aria-label": "All test images in the order of their scores, defects above, good ones below" });
  const slider = make("input", { type: "range", min: 0, max: run.stops.length - 1, step: 1,
    value: stopAt(run.stops, run.chosen), "aria-label": `Threshold of ${nameOf(run)}`, class: "threshold" });
  const exact = make("input", { type: "number", min: 0, max: 1, step: "any", "aria-label": `Threshold of ${nameOf(run)}, as a number` });
  const cells = Object.fromEntries(["hit", "miss", "false alarm", "correct", "precision", "recall"]
    .map((name) => [name, make("strong", { "data-count": name })]));
  const chart = draw("svg", { class: "histogram", role: "img",
    "aria-label": `Scores of ${nameOf(run)}: number of defective images above, of good ones below the line` });
  const kinds = make("tbody");
  const update = () => {
    const counts = countVerdicts(run.rows, run.chosen);
    for (const name of Object.keys(VERDICTS)) cells[name].textContent = String(counts[name]);
    for (const name of ["precision", "recall"]) cells[name].textContent = counts[name] === null ? "–" : `${percent(counts[name])} %`;
    slider.setAttribute("aria-valuetext", scoreText(run.chosen));
    kinds.replaceChildren(...recallByKind(run.rows, run.chosen).map(kindRow));
    drawHistogram(chart, run);
    drawStrip(strip, run);
  };
  const moved = (value) => {
    run.chosen = value;
    update();
    scheduleGallery();
  };
  slider.addEventListener("input", () => {
    exact.value = shortened(run.stops[Number(slider.value)]);
    moved(run.stops[Number(slider.value)]);
  });
  exact.addEventListener("change", () => {
    if (!exact.checkValidity() || exact.value === "") { exact.value = shortened(run.chosen); return; }
    slider.value = stopAt(run.stops, Number(exact.value));
    moved(Number(exact.value));
  });
  exact.value = shortened(run.chosen);
  const reset = (value) => () => {
    exact.value = shortened(value);
    slider.value = stopAt(run.stops, value);
    moved(value);
  };
  const best = bestThreshold(run.rows, run.stops);
  const buttons = make("span", { class: "buttons" },
    run.threshold === null ? null : make("button", { type: "button", onclick: reset(run.threshold) }, "calibrated"),
    make("button", { type: "button", onclick: reset(best), title: "The highest F1 on these images: an upper bound, not a result" }, "best F1 here"));
  const count = (name, text) => make("div", { class: `cell ${name.replace(" ", "-")}` }, cells[name], make("span", {}, text));
  const panel = make("div", { class: "panel", "data-run": data.runs.indexOf(run) },
    make("h3", {}, swatch(run), nameOf(run)),
    make("div", { class: "threshold-row" }, make("span", {}, "Threshold"), exact, buttons),
    make("div", { class: "axis-box" },
      make("div", { class: "strip-names", "aria-hidden": "true" }, make("span", {}, "defect"), make("span", {}, "good")),
      make("div", {}, strip, slider)),
    make("p", { class: "hint" }, `Images in the order of their scores, lowest left. ${run.threshold === null
      ? "No threshold was calibrated; it starts where F1 on these images is highest, which is unknown in practice."
      : "It starts at the calibrated threshold."}`),
    make("div", { class: "matrix" },
      count("hit", "defects found"), count("miss", "defects missed"), count("recall", "recall"),
      count("false alarm", "false alarms"), count("correct", "good ones passed"), count("precision", "precision")),
    make("figure", {}, make("figcaption", {}, make("b", { class: "defective" }, "Defective"), " images above, ",
      make("b", { class: "good" }, "good"), " ones below, by score"), chart),
    make("table", { class: "kinds" }, make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Kind of defect"),
      make("th", { scope: "col" }, "found"), make("th", { scope: "col" }, "recall"))), kinds));
  new ResizeObserver(() => { drawStrip(strip, run); drawHistogram(chart, run); }).observe(strip);
  update();
  return panel;
}

function kindRow([kind, [found, all]]) {
  return make("tr", { "data-kind": kind }, make("th", { scope: "row" }, kind), make("td", {}, `${found} of ${all}`),
    make("td", {}, `${percent(found / all)} %`));
}

// Four digits are shown; the threshold itself keeps all of them.
const shortened = (value) => String(Number(value.toPrecision(4)));

// A tick for each image at its stop, under which the thumb of the slider lies.
function drawStrip(canvas, run) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const place = (stop) => 9 + ((width - 18) * stop) / Math.max(1, run.stops.length - 1);
  const tick = Math.max(1, Math.min(4, (width / run.stops.length) * 0.6));
  for (const row of run.rows) {
    context.fillStyle = style.getPropertyValue(row.label ? "--defect" : "--good");
    context.globalAlpha = row.score > run.chosen ? 1 : 0.5;
    context.fillRect(place(stopAt(run.stops, row.score)) - tick / 2, row.label ? 0 : height / 2 + 1, tick, height / 2 - 1);
  }
  context.globalAlpha = 1;
  context.fillStyle = style.getPropertyValue("--text");
  // Between the last image that passes and the first that does not.
  context.fillRect(place(Math.min(stopAt(run.stops, run.chosen) + 0.5, run.stops.length - 1)) - 1, 0, 2, height);
}
