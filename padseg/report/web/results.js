// The table of results.

function drawTable() {
  const metrics = data.metrics.filter(({ key }) => state.further || !data.further.includes(key));
  const head = make("tr", {},
    make("th", { scope: "col" }, "System"), make("th", { scope: "col" }, "Seeds"),
    ...metrics.map(({ title }) => make("th", { scope: "col" }, title)),
    make("th", { scope: "col" }, "Train min"));
  const table = make("table", {}, make("thead", {}, head));
  // The mean comes last, as below any column of figures.
  const groups = [...new Set(data.summary.map((row) => row.category))].sort((a, b) => (a === null) - (b === null));
  for (const category of groups) {
    const rows = data.summary.filter((row) => row.category === category);
    // Means over other categories are not comparable.
    const rivals = rows.filter((row) => category !== null || row.categories === categories.length);
    const best = Object.fromEntries(metrics.map(({ key }) => {
      const values = rivals.map((row) => row.values[key][0]).filter((value) => value !== null);
      return [key, Math.max(...values)];
    }));
    const body = make("tbody", category === null ? { class: "mean" } : {}, make("tr", { class: "group" },
      make("th", { colspan: metrics.length + 3, scope: "rowgroup" },
        category === null ? `Mean over ${categories.length} categories` : category)));
    for (const row of rows) {
      const of = category === null ? ` · ${row.categories} of ${categories.length} categories` : "";
      const system = row.system === row.label ? "" : ` ${row.system}`;
      const seeds = row.seeds.length > 4 ? `${row.seeds.length} seeds` : row.seeds.join(", ");
      body.append(make("tr", {},
        make("th", { scope: "row" }, row.label, make("small", {}, system + of)),
        make("td", { class: "seeds" }, row.seeds.length > 1 ? `mean of ${seeds}` : seeds),
        ...metrics.map(({ key }) =>
          figureCell(row.values[key], rows.length > 1 && rivals.includes(row) && row.values[key][0] === best[key])),
        make("td", {}, row.minutes === null ? "–" : row.minutes.toFixed(1))));
      if (state.seeds && row.seeds.length > 1) {
        for (const one of row.each) {
          body.append(make("tr", { class: "quiet" }, make("th", { scope: "row" }, "seed"),
            make("td", { class: "seeds" }, String(one.seed)),
            ...metrics.map(({ key }) => figureCell([one.values[key], null], false)),
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
        ...metrics.map(({ key }) => figureCell(row.values[key] || [null, null], false)),
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
  if (data.further.length) {
    controls.append(checkbox("further metrics", state.further, (on) => { state.further = on; drawTable(); }));
  }
  if (data.published.length) {
    controls.append(checkbox("published figures", state.published, (on) => { state.published = on; drawTable(); }));
  }
  byId("table-hint").textContent = "Percent, on the test images; ± is the sample standard deviation over seeds."
    + (labels.length > 1 ? " ▲ marks the best of the systems in each group." : "") + resolutionHint();
}

function resolutionHint() {
  const words = [...new Set(Object.values(data.resolutions))];
  if (!words.length) return "";
  if (words.length === 1) return ` ${words[0][0].toUpperCase()}${words[0].slice(1)}.`;
  return ` ${Object.entries(data.resolutions).map(([label, text]) => `${label}: ${text}`).join("; ")}.`;
}
