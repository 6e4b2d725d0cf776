// The colours of score maps: those of padseg.drawing, which come with the data.

const withOpacity = (opacities) =>
  data.heat.colours.map((colour, level) => [...colour, Math.round(255 * opacities[level])]);

// Over an image, only what exceeds the pixel threshold is coloured, if there is one.
const HEAT = {
  calibrated: withOpacity(data.heat.calibrated),
  uncalibrated: withOpacity(data.heat.uncalibrated),
  solid: withOpacity(data.heat.colours.map(() => 1)),
};

const heatOf = (run) => (run.pixel_threshold === null ? HEAT.uncalibrated : HEAT.calibrated);

function colourBar() {
  const canvas = make("canvas", { width: 256, height: 1, class: "colourbar", "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  HEAT.solid.forEach(([r, g, b], level) => {
    context.fillStyle = `rgb(${r},${g},${b})`;
    context.fillRect(level, 0, 1, 1);
  });
  return canvas;
}
