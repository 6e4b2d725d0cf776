// The images with their score maps: filters and cards.

function verdictIn(run, image) {
  if (run === null || !Object.hasOwn(run.scores, image.path)) return null;
  return verdictOf(run.scores[image.path], image.label, run.chosen);
}

function chosenImages() {
  const { a, b } = state;
  if (a === null) return [];
  const score = (image) => (Object.hasOwn(a.scores, image.path) ? a.scores[image.path] : -1);
  const images = data.images[state.category].filter((image) => {
    if (image.image === null || (state.defect && image.defect !== state.defect)) return false;
    const verdicts = [verdictIn(a, image), verdictIn(b, image)];
    if (state.verdict === "differ") return verdicts[0] !== null && verdicts[1] !== null && verdicts[0] !== verdicts[1];
    if (state.verdict === "wrong") return verdicts.includes("miss") || verdicts.includes("false alarm");
    return !state.verdict || verdicts.includes(state.verdict);
  });
  return images.sort((x, y) => (state.sort === "high" ? score(y) - score(x) : score(x) - score(y)));
}

function drawFilters() {
  const images = data.images[state.category];
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
    choice("Found regions", [["verdict", "outlined if anomalous"], ["all", "outlined"], ["none", "not outlined"]],
      state.found, (value) => { state.found = value; repaintAll(); }),
    checkbox("true defect outlined", state.truth, (on) => { state.truth = on; repaintAll(); }));
  byId("legends").replaceChildren(
    make("p", { class: "legend" }, line(FOUND_COLOUR), "found", line(TRUE_COLOUR), "true defect"),
    ...shownRuns().map((run) => make("p", { class: "legend" }, swatch(run), `${nameOf(run)}: pixel score 0`, colourBar(),
      run.pixel_threshold === null ? `${scoreText(run.top)} or more`
        : `1; the middle is the pixel threshold, ${scoreText(run.pixel_threshold)}, below which nothing is coloured`)));
}

function line(colour) {
  return draw("svg", { class: "line-swatch", viewBox: "0 0 28 12", "aria-hidden": "true" },
    draw("rect", { width: 28, height: 12, fill: "#000" }), draw("rect", { y: 3, width: 28, height: 6, fill: colour }));
}

let redraw = 0;
function scheduleGallery() {
  cancelAnimationFrame(redraw);
  // With a filter on verdicts, the cards may change; otherwise only the verdicts do.
  redraw = requestAnimationFrame(() => {
    if (state.verdict) drawCards();
    else document.querySelectorAll("#cards .card").forEach((card) => card.update());
    if (state.found === "verdict") repaintAll();
    drawCurves();
  });
}

function drawCards() {
  const images = chosenImages();
  const all = data.images[state.category];
  const pictured = all.filter((image) => image.image !== null).length;
  byId("shown").textContent = `${images.length} of ${all.length} images`
    + (pictured < all.length ? ` (${pictured} have pictures here)` : "");
  const box = byId("cards");
  const had = [...box.querySelectorAll(".card")].findIndex((card) => card === document.activeElement);
  watcher.disconnect();
  box.replaceChildren(...images.slice(0, state.cards).map((image, at) => makeCard(image, images, at)));
  box.classList.toggle("pairs", state.b !== null);
  if (!images.length) box.append(nothing(pictured ? "No image matches these filters." : "No pictures of this category were recorded."));
  if (images.length > state.cards) {
    box.append(make("button", { type: "button", class: "more", onclick: () => {
      const first = state.cards;
      state.cards += CARDS_AT_ONCE;
      drawCards();
      box.querySelectorAll(".card")[first].focus();
    } }, `Show ${Math.min(CARDS_AT_ONCE, images.length - state.cards)} more`));
  }
  whenIdle(paintWhenIdle);
  if (had >= 0) box.querySelectorAll(".card")[Math.min(had, images.length - 1)]?.focus();
}

function layersOf(run, image) {
  const map = run !== null && Object.hasOwn(run.maps, image.path) ? run.maps[image.path] : null;
  const found = run !== null && run.pixel_threshold !== null
    && (state.found === "all" || (state.found === "verdict" && run.scores[image.path] > run.chosen));
  return { image: image.image, map, colours: run === null ? null : heatOf(run), opacity: state.opacity,
    mask: state.truth ? image.mask : null, found };
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

// The cards out of view are painted while nothing else is to be done, so that they can be printed.
function paintWhenIdle() {
  const canvas = document.querySelector("#cards canvas:not([data-painted])");
  if (canvas === null) return;
  canvas.dataset.painted = "0";
  canvas.repaint();
  whenIdle(paintWhenIdle);
}

function repaintAll() {
  document.querySelectorAll("#cards canvas").forEach((canvas) => canvas.near && canvas.repaint?.());
}
