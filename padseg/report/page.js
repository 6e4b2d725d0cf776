// The page itself: results, verdicts, gallery, curves.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const COLOURS = ["--series1", "--series2", "--series3", "--series4", "--series5", "--series6"];
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 4", "4 2"];
const VERDICTS = { hit: "✓ found", miss: "✕ missed", "false alarm": "! false alarm", correct: "✓ passed" };
const CURVES = {
  image_precision_recall: ["Image precision and recall", "recall", "precision", 1],
  image_roc: ["Image ROC", "fpr", "tpr", 1],
  pixel_precision_recall: ["Pixel precision and recall", "recall", "precision", 1],
  pixel_roc: ["Pixel ROC", "fpr", "tpr", 1],
  pro: ["Per-region overlap (PRO)", "fpr", "pro", 0.3],
  iap: ["Instance recall and precision (IAP)", "recall", "precision", 1],
};
const AXES = { fpr: "false-positive rate", tpr: "true-positive rate", pro: "mean overlap" };
const CARDS_AT_ONCE = 60;

const labels = [...new Set(data.runs.map((run) => run.label))];
const manySeeds = new Set(data.runs.map((run) => run.seed)).size > 1;
const categories = [...new Set(data.runs.map((run) => run.category))];
const colourOf = (run) => `var(${COLOURS[labels.indexOf(run.label) % COLOURS.length]})`;
const dashOf = (run) => DASHES[labels.indexOf(run.label) % DASHES.length];
const nameOf = (run) => (manySeeds ? `${run.label}, seed ${run.seed}` : run.label);

data.runs.forEach((run) => {
  run.rows = (data.images[run.category] || [])
    .filter((image) => Object.hasOwn(run.scores, image.path))
    .map((image) => ({ score: run.scores[image.path], label: image.label }));
  run.stops = thresholdStops(run.rows, run.threshold);
  run.chosen = run.threshold !== null ? run.threshold : bestThreshold(run.rows, run.stops);
});

const state = {
  seeds: false, published: data.published.length > 0,
  category: categories.find((name) => (data.images[name] || []).length) || categories[0],
  a: null, b: null, opacity: 0.75, outline: true,
  defect: "", verdict: "", sort: "high", cards: CARDS_AT_ONCE,
};

const runsHere = () => data.runs.filter((run) => run.category === state.category && run.rows.length);
const shownRuns = () => [state.a, state.b].filter((run) => run !== null);

function chooseRuns() {
  const runs = runsHere();
  const like = (old) => runs.find((run) => old && run.label === old.label && run.seed === old.seed);
  state.a = like(state.a) || runs[0] || null;
  const others = runs.filter((run) => run !== state.a);
  state.b = like(state.b) || others.find((run) => run.label !== state.a.label) || null;
  if (state.b === state.a) state.b = null;
}

// ---- results

function drawTable() {
  const several = labels.length > 1;
  const head = make("tr", {},
    make("th", { scope: "col" }, "System"), make("th", { scope: "col" }, "Seeds"),
    ...data.metrics.map(([, name]) => make("th", { scope: "col" }, name)),
    make("th", { scope: "col" }, "Train min"));
  const table = make("table", {}, make("thead", {}, head));
  for (const category of [...new Set(data.summary.map((row) => row.category))]) {
    const rows = data.summary.filter((row) => row.category === category);
    // Means over other categories do not compare.
    const rivals = rows.filter((row) => category !== null || row.categories === categories.length);
    const best = Object.fromEntries(data.metrics.map(([key]) =>
      [key, Math.max(...rivals.map((row) => row.values[key][0] ?? -1))]));
    const body = make("tbody", {}, make("tr", { class: "group" },
      make("th", { colspan: data.metrics.length + 3, scope: "rowgroup" },
        category === null ? "Mean over categories" : category)));
    for (const row of rows) {
      const of = category === null ? ` · ${row.categories} of ${categories.length} categories` : "";
      const system = row.system === row.label ? "" : ` ${row.system}`;
      body.append(make("tr", {},
        make("th", { scope: "row" }, row.label, make("small", {}, system + of)),
        make("td", { class: "seeds" }, row.seeds.length > 4
          ? `${row.seeds.length} seeds` : row.seeds.join(", ")),
        ...data.metrics.map(([key]) =>
          figureCell(row.values[key], several && rivals.includes(row) && row.values[key][0] === best[key])),
        make("td", {}, row.minutes === null ? "–" : row.minutes.toFixed(1))));
      if (state.seeds && row.seeds.length > 1) {
        for (const one of row.each) {
          body.append(make("tr", { class: "quiet" }, make("th", { scope: "row" }, "seed"),
            make("td", { class: "seeds" }, String(one.seed)),
            ...data.metrics.map(([key]) => figureCell([one.values[key], null], false)),
            make("td", {}, one.minutes === null ? "–" : one.minutes.toFixed(1))));
        }
      }
    }
    const published = data.published.filter((row) => row.category === category);
    for (const row of state.published ? published : []) {
      const link = make("a", { href: row.link, title: `${row.source}; ${row.note}`, rel: "noreferrer" },
        row.method);
      body.append(make("tr", { class: "quiet" },
        make("th", { scope: "row" }, link, make("small", {}, " published")), make("td", {}),
        ...data.metrics.map(([key]) => figureCell(row.values[key] || [null, null], false)),
        make("td", {})));
    }
    table.append(body);
  }
  byId("table").replaceChildren(table);
}

function figureCell([mean, spread], best) {
  const cell = make("td", best ? { class: "best" } : {}, percent(mean));
  if (spread !== null) cell.append(make("small", {}, ` ±${percent(spread)}`));
  return cell;
}

function drawTableControls() {
  const controls = byId("table-controls");
  if (data.summary.some((row) => row.seeds.length > 1)) {
    controls.append(checkbox("each seed", state.seeds, (on) => { state.seeds = on; drawTable(); }));
  }
  if (data.published.length) {
    controls.append(checkbox("published figures", state.published, (on) => { state.published = on; drawTable(); }));
  }
  byId("table-hint").textContent = "Percent, on the test images; ± is the sample standard deviation over seeds."
    + (labels.length > 1 ? " Bold: the best of the systems here." : "");
}

// ---- what is shown below

function drawChoice() {
  const runs = runsHere();
  const options = runs.map((run) => [data.runs.indexOf(run), nameOf(run)]);
  const box = byId("choose");
  box.replaceChildren(choice("Category", categories.map((name) => [name, name]), state.category, (name) => {
    state.category = name;
    state.defect = "";
    chooseRuns();
    drawAll();
    box.querySelector("select").focus();
  }));
  if (!runs.length) return;
  const pick = (key) => (value) => {
    state[key] = value === "" ? null : data.runs[Number(value)];
    const other = key === "a" ? "b" : "a";
    if (state[key] !== null && state[other] === state[key]) state[other] = null;
    if (state.a === null) [state.a, state.b] = [state.b, null];
    state.a = state.a || runs[0];
    drawAll();
    box.querySelectorAll("select")[key === "a" ? 1 : 2].focus();
  };
  box.append(choice("System", options, data.runs.indexOf(state.a), pick("a")));
  if (runs.length > 1) {
    const value = state.b === null ? "" : data.runs.indexOf(state.b);
    box.append(choice("beside", [["", "nothing"], ...options], value, pick("b")));
  }
}

// ---- verdicts

function drawVerdicts() {
  byId("verdict-panels").replaceChildren(...shownRuns().map(verdictPanel));
  if (!shownRuns().length) byId("verdict-panels").append(nothing("No scores of this category were recorded."));
}

const nothing = (text) => make("p", { class: "note" }, text);

function verdictPanel(run) {
  const strip = make("canvas", { class: "strip", role: "img",
    "aria-label": "All test images in the order of their scores, defects above, good ones below" });
  const slider = make("input", { type: "range", min: 0, max: run.stops.length - 1, step: 1,
    value: stopAt(run.stops, run.chosen), "aria-label": `Threshold of ${nameOf(run)}`, class: "threshold" });
  const exact = make("input", { type: "number", min: 0, max: 1, step: "any", "aria-label": `Threshold of ${nameOf(run)}, as a number` });
  const cells = Object.fromEntries(["hit", "miss", "false alarm", "correct", "precision", "recall"]
    .map((name) => [name, make("strong", { "data-count": name })]));
  const update = () => {
    const counts = countVerdicts(run.rows, run.chosen);
    for (const name of Object.keys(VERDICTS)) cells[name].textContent = String(counts[name]);
    for (const name of ["precision", "recall"]) cells[name].textContent = counts[name] === null ? "–" : `${percent(counts[name])} %`;
    slider.setAttribute("aria-valuetext", scoreText(run.chosen));
    drawStrip(strip, run);
  };
  const moved = (value) => {
    run.chosen = value;
    update();
    scheduleGallery();
  };
  slider.addEventListener("input", () => {
    exact.value = run.stops[Number(slider.value)];
    moved(run.stops[Number(slider.value)]);
  });
  exact.addEventListener("change", () => {
    if (!exact.checkValidity() || exact.value === "") { exact.value = run.chosen; return; }
    slider.value = stopAt(run.stops, Number(exact.value));
    moved(Number(exact.value));
  });
  exact.value = run.chosen;
  const reset = (value) => () => {
    exact.value = value;
    slider.value = stopAt(run.stops, value);
    moved(value);
  };
  const best = bestThreshold(run.rows, run.stops);
  const buttons = make("span", { class: "buttons" },
    run.threshold === null ? null : make("button", { type: "button", onclick: reset(run.threshold) }, "calibrated"),
    make("button", { type: "button", onclick: reset(best), title: "The highest F1 on these very images: a bound, not a result" }, "best F1 here"));
  const count = (name, text) => make("div", { class: `cell ${name.replace(" ", "-")}` }, cells[name], make("span", {}, text));
  const panel = make("div", { class: "panel", "data-run": data.runs.indexOf(run) },
    make("h3", {}, swatch(run), nameOf(run)),
    make("div", { class: "threshold-row" }, make("span", {}, "Threshold"), exact, buttons),
    make("div", { class: "axis-box" },
      make("div", { class: "strip-names", "aria-hidden": "true" }, make("span", {}, "defect"), make("span", {}, "good")),
      make("div", { class: "strip-box" }, strip, slider)),
    make("p", { class: "hint" }, `Images by score, lowest left. ${run.threshold === null
      ? "No threshold was calibrated; it starts where F1 on these images is highest, which no one knows beforehand."
      : "It starts at the calibrated threshold."}`),
    make("div", { class: "matrix" },
      count("hit", "defects found"), count("miss", "defects missed"), count("recall", "recall"),
      count("false alarm", "false alarms"), count("correct", "good ones passed"), count("precision", "precision")));
  new ResizeObserver(() => drawStrip(strip, run)).observe(strip);
  update();
  return panel;
}

function swatch(run) {
  return draw("svg", { class: "swatch", viewBox: "0 0 28 8", "aria-hidden": "true" },
    draw("line", { x1: 0, x2: 28, y1: 4, y2: 4, stroke: colourOf(run), "stroke-dasharray": dashOf(run) }));
}

// A tick an image at the place of its stop, under which the slider's thumb comes to lie.
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

// ---- gallery

function verdictIn(run, image) {
  if (run === null || !Object.hasOwn(run.scores, image.path)) return null;
  return verdictOf(run.scores[image.path], image.label, run.chosen);
}

function chosenImages() {
  const { a, b } = state;
  if (a === null) return [];
  const score = (image) => (Object.hasOwn(a.scores, image.path) ? a.scores[image.path] : -1);
  const images = (data.images[state.category] || []).filter((image) => {
    if (image.image === null || (state.defect && image.defect !== state.defect)) return false;
    const verdicts = [verdictIn(a, image), verdictIn(b, image)];
    if (state.verdict === "differ") return verdicts[0] !== null && verdicts[1] !== null && verdicts[0] !== verdicts[1];
    if (state.verdict === "wrong") return verdicts.includes("miss") || verdicts.includes("false alarm");
    return !state.verdict || verdicts.includes(state.verdict);
  });
  return images.sort((x, y) => (state.sort === "high" ? score(y) - score(x) : score(x) - score(y)));
}

function drawFilters() {
  const images = data.images[state.category] || [];
  const counts = new Map();
  for (const image of images) counts.set(image.defect, (counts.get(image.defect) || 0) + 1);
  const defects = [...counts].sort().map(([name, count]) => [name, `${name} (${count})`]);
  const set = (key) => (value) => { state[key] = value; state.cards = CARDS_AT_ONCE; drawCards(); };
  const verdicts = [["", "all"], ["wrong", "wrong"], ["false alarm", "false alarms"], ["miss", "missed"],
    ["hit", "found"], ["correct", "passed"]];
  if (state.b) verdicts.push(["differ", "the two differ"]);
  if (!verdicts.some(([key]) => key === state.verdict)) state.verdict = "";
  const opacity = make("input", { type: "range", min: 0, max: 100, value: 100 * state.opacity, id: "opacity",
    oninput: () => { state.opacity = opacity.value / 100; repaintAll(); } });
  byId("filters").replaceChildren(
    choice("Defect", [["", `all (${images.length})`], ...defects], state.defect, set("defect")),
    choice("Verdict", verdicts, state.verdict, set("verdict")),
    choice("Order", [["high", "highest score first"], ["low", "lowest score first"]], state.sort, set("sort")),
    make("label", {}, make("span", {}, "Heatmap"), opacity),
    checkbox("true defect outlined", state.outline, (on) => { state.outline = on; repaintAll(); }));
  byId("legends").replaceChildren(...shownRuns().map((run) => make("p", { class: "legend" },
    swatch(run), make("span", {}, `${nameOf(run)}: pixel scores`), make("span", {}, `≤ ${scoreText(run.range[0])}`), colourBar(),
    make("span", {}, `≥ ${scoreText(run.range[1])}`))));
}

let redraw = 0;
function scheduleGallery() {
  cancelAnimationFrame(redraw);
  // With a filter on verdicts other cards may come; else only the verdicts' words change.
  redraw = requestAnimationFrame(() => {
    if (state.verdict) drawCards();
    else document.querySelectorAll("#cards .card").forEach((card) => card.update());
    drawCurves();
  });
}

function drawCards() {
  const images = chosenImages();
  const all = (data.images[state.category] || []).length;
  const pictured = (data.images[state.category] || []).filter((image) => image.image !== null).length;
  byId("shown").textContent = `${images.length} of ${all} images`
    + (pictured < all ? ` (${pictured} have pictures here)` : "");
  const box = byId("cards");
  const had = [...box.querySelectorAll(".card")].findIndex((card) => card === document.activeElement);
  watcher.disconnect();
  box.replaceChildren(...images.slice(0, state.cards).map((image, at) => makeCard(image, images, at)));
  box.classList.toggle("pairs", state.b !== null);
  if (!images.length) box.append(nothing(pictured ? "No image meets these filters." : "No pictures of this category were recorded."));
  if (images.length > state.cards) {
    box.append(make("button", { type: "button", class: "more", onclick: () => {
      const first = state.cards;
      state.cards += CARDS_AT_ONCE;
      drawCards();
      box.querySelectorAll(".card")[first].focus();
    } }, `Show ${Math.min(CARDS_AT_ONCE, images.length - state.cards)} more`));
  }
  if (had >= 0) box.querySelectorAll(".card")[Math.min(had, images.length - 1)]?.focus();
}

function layersOf(run, image) {
  const map = run !== null && Object.hasOwn(run.maps, image.path) ? run.maps[image.path] : null;
  return { image: image.image, map, mask: state.outline ? image.mask : null, opacity: state.opacity };
}

function picture(layers, name) {
  const canvas = make("canvas", { width: 2, height: 2, role: "img", "aria-label": name });
  canvas.repaint = () => paint(canvas, layers());
  return canvas;
}

function verdictBadge(run, image) {
  const badge = make("span", { class: "badge" });
  badge.update = () => {
    const verdict = verdictIn(run, image);
    badge.className = `badge ${verdict === null ? "" : verdict.replace(" ", "-")}`;
    badge.textContent = verdict === null ? "not scored" : VERDICTS[verdict];
  };
  badge.update();
  return badge;
}

function makeCard(image, images, at) {
  const badges = [];
  const sides = shownRuns().map((run) => {
    const canvas = picture(() => layersOf(run, image), `Score map of ${nameOf(run)}`);
    const badge = verdictBadge(run, image);
    badges.push(badge);
    watcher.observe(canvas);
    const score = run.scores[image.path];
    return make("span", { class: "side" }, canvas, make("span", { class: "line" }, badge,
      make("span", { class: "score", title: nameOf(run) }, state.b ? swatch(run) : "", score === undefined ? "" : scoreText(score))));
  });
  const card = make("button", { type: "button", class: "card", "data-path": image.path, onclick: () => openViewer(images, at),
    onkeydown: (event) => moveFocus(event, card) },
  make("span", { class: "sides" }, ...sides),
  make("span", { class: "name" }, make("b", {}, image.defect), " ", make("span", {}, image.path.split("/").pop())));
  card.update = () => badges.forEach((badge) => badge.update());
  return card;
}

function moveFocus(event, card) {
  const cards = [...byId("cards").querySelectorAll(".card")];
  const columns = cards.filter((other) => other.offsetTop === cards[0].offsetTop).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  if (event.key in steps) {
    event.preventDefault();
    cards[cards.indexOf(card) + steps[event.key]]?.focus();
  }
}

function repaintAll() {
  document.querySelectorAll("#cards canvas").forEach((canvas) => canvas.near && canvas.repaint?.());
}

// ---- one image, large

function openViewer(images, start) {
  const viewer = byId("viewer");
  let at = start;
  const show = (step) => {
    at = (at + step + images.length) % images.length;
    const image = images[at];
    const tile = (canvas, ...caption) => {
      canvas.repaint();
      return make("figure", {}, canvas, make("figcaption", {}, ...caption));
    };
    const tiles = [tile(picture(() => ({ image: image.image, opacity: 0 }), "Image"), "image")];
    if (image.label) {
      tiles.push(image.mask
        ? tile(picture(() => ({ mask: image.mask, solid: true, opacity: 0 }), "True defect"), "true defect")
        : make("figure", {}, nothing("no mask"), make("figcaption", {}, "true defect")));
    }
    for (const run of shownRuns()) {
      const score = run.scores[image.path];
      tiles.push(tile(picture(() => layersOf(run, image), `Score map of ${nameOf(run)}`),
        make("b", {}, nameOf(run)), " ", verdictBadge(run, image),
        make("span", { class: "quiet" }, score === undefined ? ""
          : ` score ${scoreText(score)}, threshold ${scoreText(run.chosen)}`)));
    }
    viewer.querySelector("h2").textContent = image.defect;
    viewer.querySelector(".path").textContent = `${image.path} · ${at + 1} of ${images.length}`;
    viewer.querySelector(".tiles").replaceChildren(...tiles);
  };
  const button = (text, name, onclick) => make("button", { type: "button", "aria-label": name, title: name, onclick }, text);
  viewer.replaceChildren(
    make("div", { class: "bar" },
      make("div", {}, make("h2", { id: "viewer-title" }), make("p", { class: "path" })),
      make("span", { class: "buttons" },
        button("←", "Previous image (left arrow)", () => show(-1)), button("→", "Next image (right arrow)", () => show(1)),
        button("✕", "Close (Escape)", () => viewer.close()))),
    make("div", { class: "tiles", "aria-live": "polite" }));
  viewer.onkeydown = (event) => {
    if (event.key === "ArrowRight") show(1);
    else if (event.key === "ArrowLeft") show(-1);
  };
  viewer.onclick = (event) => { if (event.target === viewer) viewer.close(); };
  viewer.onclose = () => byId("cards").querySelectorAll(".card")[at]?.focus();
  show(0);
  viewer.showModal();
}

// ---- curves

function drawCurves() {
  const runs = data.runs.filter((run) => run.category === state.category && Object.keys(run.curves).length);
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.curves)))];
  const order = [...Object.keys(CURVES).filter((name) => names.includes(name)), ...names.filter((name) => !Object.hasOwn(CURVES, name))];
  const first = labels.map((label) => runs.find((run) => run.label === label)).filter(Boolean);
  byId("curve-legend").replaceChildren(...first.map((run) => make("span", { class: "legend" }, swatch(run),
    runs.filter((other) => other.label === run.label).length > 1 ? `${run.label}, a line each seed` : run.label)));
  byId("charts").replaceChildren(...order.map((name) => chart(name, runs)).filter((figure) => figure !== null));
  if (!runs.length) byId("charts").append(nothing("No curves of this category were recorded."));
  if (runs.length && shownRuns().length && names.some((name) => name.startsWith("image_"))) {
    byId("curve-legend").append(make("span", { class: "hint" }, "Dots: the thresholds above."));
  }
}

function chart(name, runs) {
  const known = Object.hasOwn(CURVES, name) ? CURVES[name] : null;
  const series = [];
  let axes = known && known.slice(1, 3);
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
  return lineChart(known ? known[0] : name, AXES[axes[0]] || axes[0], AXES[axes[1]] || axes[1], known ? known[3] : 1, series);
}

function operatingPoint(name, run) {
  if (!shownRuns().includes(run)) return null;
  const counts = countVerdicts(run.rows, run.chosen);
  const good = counts["false alarm"] + counts.correct;
  if (name === "image_roc" && good && counts.recall !== null) return [counts["false alarm"] / good, counts.recall];
  if (name === "image_precision_recall" && counts.precision !== null && counts.recall !== null) return [counts.recall, counts.precision];
  return null;
}

// ---- the rest

function drawAll() {
  drawChoice();
  drawVerdicts();
  drawFilters();
  drawCards();
  drawCurves();
}

function drawMissing() {
  const grouped = new Map();
  for (const [folder, reason] of data.missing) grouped.set(reason, [...(grouped.get(reason) || []), folder]);
  for (const [reason, folders] of grouped) {
    byId("missing-list").append(make("li", {}, `${reason}: ${folders.join(", ")}`));
  }
  if (data.left_out) {
    byId("missing-list").append(make("li", {}, `${data.left_out} images have no pictures here, to keep the page small; their scores count all the same`));
  }
  byId("missing").hidden = !data.missing.length && !data.left_out;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
function setTheme(isDark) {
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  byId("theme").textContent = isDark ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Use ${isDark ? "light" : "dark"} colours`);
  document.querySelectorAll(".panel").forEach((panel) => drawStrip(panel.querySelector(".strip"), data.runs[panel.dataset.run]));
}
byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
dark.addEventListener("change", () => setTheme(dark.matches));

const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;
byId("subtitle").textContent = [plural(data.runs.length, "run", "runs"), plural(labels.length, "system", "systems"),
  plural(categories.length, "category", "categories")].join(" · ");
byId("footer").textContent = `Made by padseg ${data.version}. This page holds its pictures and scores and fetches nothing.`;
chooseRuns();
drawTableControls();
drawTable();
drawMissing();
drawAll();
setTheme(dark.matches);
