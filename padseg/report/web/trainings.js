// How the shown runs were trained: losses by phase, and options side by side.

const PHASE_TITLES = { distill: "Loss of the distillation", segment: "Loss of the segmentation" };

function drawTrainings() {
  // Runs without test images cannot be chosen.
  const runs = shownRuns().length ? shownRuns() : data.runs.filter((run) => run.category === state.category);
  byId("losses").replaceChildren(...Object.keys(PHASE_TITLES).map((phase) => lossChart(phase, runs)).filter(Boolean));
  if (!byId("losses").children.length) byId("losses").append(nothing("No losses of these runs were logged."));
  byId("options").replaceChildren(...(runs.length ? [optionsTable(runs)] : []));
}

function lossChart(phase, runs) {
  const series = runs.filter((run) => Object.hasOwn(run.losses, phase))
    .map((run) => ({ name: nameOf(run), colour: colourOf(run), dash: dashOf(run), mark: null,
      points: run.losses[phase].filter(([, loss]) => loss > 0) }))
    .filter((one) => one.points.length);
  if (!series.length) return null;
  const points = series.flatMap((one) => one.points);
  return lineChart(PHASE_TITLES[phase], "step", "loss", stepAxis(Math.max(...points.map(([step]) => step))),
    logAxis(...extent(points.map(([, loss]) => loss))), series);
}

function optionsTable(runs) {
  const table = make("table", { class: "options" });
  const groups = [["Options", "options"], ["Software and devices", "software"]];
  for (const [title, key] of groups) {
    const names = [...new Set(runs.flatMap((run) => Object.keys(run[key])))];
    if (!names.length) continue;
    const body = make("tbody", {}, make("tr", {}, make("th", { scope: "col" }, title),
      ...runs.map((run) => make("th", { scope: "col" }, nameOf(run)))));
    for (const name of names) {
      const values = runs.map((run) => (Object.hasOwn(run[key], name) ? run[key][name] : "–"));
      const differ = new Set(values).size > 1;
      body.append(make("tr", differ ? { class: "differ" } : {}, make("th", { scope: "row" }, name),
        ...values.map((value) => make("td", {}, value))));
    }
    table.append(body);
  }
  const count = table.querySelectorAll("tr.differ").length;
  const summary = runs.length > 1 ? `Options of both runs (${count} differ)` : "Options of the run";
  return table.children.length ? make("details", {}, make("summary", {}, summary), make("div", { class: "scroll" }, table))
    : nothing("The options of these runs were not recorded.");
}
