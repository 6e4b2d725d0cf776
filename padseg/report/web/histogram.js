// The scores of good and defective images on an axis that has the threshold.

const BINS = 40;

// Drawn anew for each width, so that letters keep their size.
function drawHistogram(svg, run) {
  const [width, height, left, right, top, bottom] = [svg.clientWidth || 480, 190, 8, 8, 18, 34];
  const { low, high, counts } = histogram(run.rows, run.threshold, BINS);
  const x = (score) => left + ((width - left - right) * (score - low)) / (high - low || 1);
  const [most, mostDefective] = [0, 1].map((label) => Math.max(1, ...counts.map((pair) => pair[label])));
  const room = height - top - bottom;
  const base = top + (room * mostDefective) / (most + mostDefective);
  const unit = room / (most + mostDefective);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const bar = (width - left - right) / BINS;
  counts.forEach((pair, at) => pair.forEach((count, label) => {
    if (!count) return;
    const box = { x: (left + at * bar + 0.5).toFixed(2), width: Math.max(0.5, bar - 1).toFixed(2), height: (count * unit).toFixed(2),
      y: (label ? base - count * unit : base).toFixed(2), class: label ? "defective" : "good", "data-count": count };
    svg.append(draw("rect", box, draw("title", {}, `${count} ${label ? "defective" : "good"}`)));
  }));
  svg.append(draw("line", { class: "base", x1: left, x2: width - right, y1: base, y2: base }));
  const anchorAt = (at, margin) => (at < margin ? "start" : at > width - margin ? "end" : "middle");
  for (const tick of roundTicks(low, high, 6)) {
    svg.append(draw("line", { class: "grid", x1: x(tick), x2: x(tick), y1: height - bottom, y2: height - bottom + 4 }),
      draw("text", { x: x(tick), y: height - bottom + 15, "text-anchor": anchorAt(x(tick), 20) }, String(tick)));
  }
  const at = Math.min(Math.max(x(run.chosen), left), width - right);
  svg.append(draw("text", { class: "axis", x: width / 2, y: height - 5, "text-anchor": "middle" }, "image score"),
    draw("line", { class: "mark", x1: at, x2: at, y1: top - 4, y2: height - bottom }),
    draw("text", { class: "mark-text", x: at, y: top - 7, "text-anchor": anchorAt(at, 60) },
      `threshold ${scoreText(run.chosen)}`));
}
