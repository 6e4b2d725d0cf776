"use strict";
// Thresholds, verdicts and counts, independent of the page.

// An image is anomalous when its score is above the threshold, as everywhere in padseg.
function verdictOf(score, label, threshold) {
  if (score > threshold) return label ? "hit" : "false alarm";
  return label ? "miss" : "correct";
}

function countVerdicts(rows, threshold) {
  const counts = { hit: 0, miss: 0, "false alarm": 0, correct: 0 };
  for (const row of rows) counts[verdictOf(row.score, row.label, threshold)] += 1;
  const found = counts.hit + counts["false alarm"];
  const defective = counts.hit + counts.miss;
  counts.precision = found ? counts.hit / found : null;
  counts.recall = defective ? counts.hit / defective : null;
  return counts;
}

// Every threshold that changes a verdict, ascending, and the calibrated one.
function thresholdStops(rows, calibrated) {
  const values = new Set([0, ...rows.map((row) => row.score)]);
  if (calibrated !== null) values.add(calibrated);
  return [...values].sort((a, b) => a - b);
}

// The stop that is nearest below or at a value.
function stopAt(stops, value) {
  let low = 0;
  let high = stops.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (stops[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

// The threshold with the highest F1 on these images; the lowest of equals.
function bestThreshold(rows, stops) {
  const ordered = [...rows].sort((a, b) => a.score - b.score);
  let found = ordered.length;
  let hits = ordered.filter((row) => row.label).length;
  const defective = hits;
  let best = [-1, stops[0]];
  let next = 0;
  for (const stop of stops) {
    for (; next < ordered.length && ordered[next].score <= stop; next += 1) {
      found -= 1;
      if (ordered[next].label) hits -= 1;
    }
    const f1 = found + defective ? (2 * hits) / (found + defective) : 0;
    if (f1 > best[0]) best = [f1, stop];
  }
  return best[1];
}

function percent(value) {
  return value === null ? "–" : (100 * value).toFixed(1);
}

// Four significant digits, as padseg.drawing.score_text writes them.
function scoreText(value) {
  return value !== 0 && value < 1e-4 ? value.toExponential(3) : value.toPrecision(4);
}

// Found and all images of each kind of defect, the kinds in alphabetical order.
function recallByKind(rows, threshold) {
  const kinds = new Map();
  for (const { score, label, defect } of rows) {
    if (!label) continue;
    const [found, all] = kinds.get(defect) || [0, 0];
    kinds.set(defect, [found + (score > threshold), all + 1]);
  }
  return [...kinds].sort(([a], [b]) => (a < b ? -1 : 1));
}

// Numbers of good and of defective images in bins of equal width that hold all scores and, if there is one, the threshold.
function histogram(rows, threshold, bins) {
  const values = rows.map((row) => row.score);
  if (threshold !== null) values.push(threshold);
  // Not Math.min(...values), which takes some 100,000 of them at most.
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  const counts = Array.from({ length: bins }, () => [0, 0]);
  for (const { score, label } of rows) {
    const bin = Math.floor(((score - low) / (high - low || 1)) * bins);
    counts[Math.min(bins - 1, bin)][label] += 1;
  }
  return { low, high, counts };
}

// Multiples of a round number, about `count` of them from `low` to `high`.
function roundTicks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const ticks = [];
  for (let at = Math.ceil(low / unit); at * unit <= high; at += 1) ticks.push(Number((at * unit).toPrecision(6)));
  return ticks;
}
