// The data of the page, and what the reader has chosen.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const COLOURS = ["--series1", "--series2", "--series3", "--series4", "--series5", "--series6"];
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 4", "4 2"];
const CARDS_AT_ONCE = 60;
const whenIdle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50)); // Safari has none

const labels = [...new Set(data.runs.map((run) => run.label))];
const manySeeds = new Set(data.runs.map((run) => run.seed)).size > 1;
const categories = [...new Set(data.runs.map((run) => run.category))];
const colourOf = (run) => `var(${COLOURS[labels.indexOf(run.label) % COLOURS.length]})`;
const dashOf = (run) => { // the seventh label has the first one's colour, and another dash
  const index = labels.indexOf(run.label);
  return DASHES[(index + Math.floor(index / COLOURS.length)) % DASHES.length];
};
const nameOf = (run) => (manySeeds ? `${run.label}, seed ${run.seed}` : run.label);

data.runs.forEach((run) => {
  run.rows = data.images[run.category]
    .filter((image) => Object.hasOwn(run.scores, image.path))
    .map((image) => ({ score: run.scores[image.path], label: image.label, defect: image.defect }));
  run.stops = thresholdStops(run.rows, run.threshold);
  run.chosen = run.threshold !== null ? run.threshold : bestThreshold(run.rows, run.stops);
});

const state = {
  seeds: false, further: false, published: data.published.length > 0,
  category: categories.find((name) => data.images[name].length) || categories[0],
  a: null, b: null, opacity: 1, truth: true, found: "verdict",
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

const nothing = (text) => make("p", { class: "note" }, text);

function swatch(run) {
  return draw("svg", { class: "swatch", viewBox: "0 0 28 8", "aria-hidden": "true" },
    draw("line", { x1: 0, x2: 28, y1: 4, y2: 4, stroke: colourOf(run), "stroke-dasharray": dashOf(run) }));
}
