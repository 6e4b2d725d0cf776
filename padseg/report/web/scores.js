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

function percent(value, digits = 1) {
  return value === null || value === undefined ? "–" : (100 * value).toFixed(digits);
}

function scoreText(value) {
  return value !== 0 && value < 0.01 ? value.toExponential(2) : value.toFixed(4);
}
