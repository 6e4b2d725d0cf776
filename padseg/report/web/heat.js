// The colours of heatmaps.

// Anchors of matplotlib's "inferno": its lightness rises evenly, so that it reads without hues.
const INFERNO = [
  [0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85],
  [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
];

function heatColour(share) {
  const place = Math.min(share, 0.99999) * (INFERNO.length - 1);
  const at = Math.floor(place);
  return INFERNO[at].map((low, i) => Math.round(low + (place - at) * (INFERNO[at + 1][i] - low)));
}

// Low scores are transparent, so that the image is visible under the map.
const HEAT = Array.from({ length: 256 }, (_, i) => [
  ...heatColour(0.25 + (0.75 * i) / 255),
  Math.round(255 * Math.min(1, i / 110)),
]);

function colourBar() {
  const canvas = make("canvas", { width: 256, height: 1, class: "colourbar", "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  for (let i = 0; i < 256; i += 1) {
    const [r, g, b, a] = HEAT[i];
    context.fillStyle = `rgba(${r},${g},${b},${a / 255})`;
    context.fillRect(i, 0, 1, 1);
  }
  return canvas;
}
