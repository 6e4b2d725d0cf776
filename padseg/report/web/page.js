// The page as a whole: the choice of what is shown, and the theme.

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

function drawAll() {
  drawChoice();
  drawVerdicts();
  drawFilters();
  drawCards();
  drawCurves();
  drawTrainings();
}

function listByReason(list, pairs) {
  const grouped = new Map();
  for (const [folder, reason] of pairs) grouped.set(reason, [...(grouped.get(reason) || []), folder]);
  for (const [reason, folders] of grouped) list.append(make("li", {}, `${reason}: ${folders.join(", ")}`));
}

function drawWarnings() {
  const warnings = data.warnings.map(([folder, warning]) => [folder, warning.replace(/\.$/, "")]);
  listByReason(byId("warnings"), warnings);
  byId("warnings").hidden = !warnings.length;
}

function drawMissing() {
  listByReason(byId("missing-list"), data.missing);
  if (data.left_out) {
    byId("missing-list").append(make("li", {}, `${data.left_out} images have no pictures here, to keep the page small, but their scores are included`));
  }
  byId("missing").hidden = !data.missing.length && !data.left_out;
}

// Printers take what is painted: all cards then, in light colours.
let themeBefore = null;
addEventListener("beforeprint", () => {
  themeBefore = document.documentElement.dataset.theme;
  setTheme(false);
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
});
addEventListener("afterprint", () => setTheme(themeBefore === "dark"));

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
byId("footer").textContent = `Made by padseg ${data.version}. This page contains its pictures and scores and works offline.`;
chooseRuns();
drawTableControls();
drawTable();
drawWarnings();
drawMissing();
drawAll();
setTheme(dark.matches);
