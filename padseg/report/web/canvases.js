// Images with their maps: decoded when they come into view, drawn on canvases.

const decoded = new Map();
const DECODED_AT_MOST = 600;
const FOUND_LINE = 3;
const TRUE_LINE = 1.6;
const FOUND_COLOUR = "#fff";
const TRUE_COLOUR = "#37e0ff";
// Between the levels 120 and 128 of the maps, of which only the latter is above the pixel threshold.
const FOUND_LEVEL = 124;

function decode(uri) {
  if (!decoded.has(uri)) {
    const image = new Image();
    image.src = uri;
    decoded.set(uri, image.decode().then(() => image));
    if (decoded.size > DECODED_AT_MOST) decoded.delete(decoded.keys().next().value);
  }
  return decoded.get(uri);
}

function pixelsOf(image, recolour) {
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  recolour(pixels.data, canvas.width, canvas.height);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function heat(image, colours) {
  return pixelsOf(image, (data) => {
    for (let i = 0; i < data.length; i += 4) data.set(colours[data[i]], i);
  });
}

// The region where a grey image reaches a level, in the size of a canvas, so that its border is smooth.
function regionOf(image, canvas, level) {
  const region = make("canvas", { width: canvas.width, height: canvas.height });
  const context = region.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, region.width, region.height);
  const pixels = context.getImageData(0, 0, region.width, region.height);
  for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] = pixels.data[i] < level ? 0 : 255;
  context.putImageData(pixels, 0, 0);
  return region;
}

// What lies around a region, up to a distance in pixels of the canvas.
function ring(region, ink, width) {
  const stamp = make("canvas", { width: region.width, height: region.height });
  const stamped = stamp.getContext("2d");
  stamped.drawImage(region, 0, 0);
  stamped.globalCompositeOperation = "source-in";
  stamped.fillStyle = ink;
  stamped.fillRect(0, 0, stamp.width, stamp.height);
  const canvas = make("canvas", { width: region.width, height: region.height });
  const context = canvas.getContext("2d");
  for (let turn = 0; turn < 8; turn += 1) {
    const angle = (turn * Math.PI) / 4;
    context.drawImage(stamp, width * Math.cos(angle), width * Math.sin(angle));
  }
  context.globalCompositeOperation = "destination-out";
  context.drawImage(region, 0, 0);
  return canvas;
}

// layers: {image, map, colours, opacity, mask, found, solid}; what is null is not drawn. `mask` is the true
// defect, `found` whether to outline what the map found; `solid` draws the mask itself.
async function paint(canvas, layers) {
  const ticket = {};
  canvas.ticket = ticket;
  const [image, map, mask] = await Promise.all(
    [layers.image, layers.map, layers.mask].map((uri) => (uri ? decode(uri).catch(() => null) : null)),
  );
  if (canvas.ticket !== ticket) return;
  const size = image || map || mask;
  if (!size) return;
  canvas.width = 2 * size.naturalWidth;
  canvas.height = 2 * size.naturalHeight;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  const lay = (what) => context.drawImage(what, 0, 0, canvas.width, canvas.height);
  if (image) lay(image);
  if (layers.solid && mask) lay(mask);
  context.globalAlpha = layers.opacity;
  if (map) lay(heat(map, layers.colours));
  context.globalAlpha = 1;
  const truth = mask && !layers.solid ? regionOf(mask, canvas, 128) : null;
  const found = map && layers.found ? regionOf(map, canvas, FOUND_LEVEL) : null;
  // Dark rims make the lines visible on any image; the narrower line is on top where the two coincide.
  if (truth) lay(ring(truth, "#000", 2 * TRUE_LINE));
  if (found) lay(ring(found, "#000", FOUND_LINE + TRUE_LINE));
  if (found) lay(ring(found, FOUND_COLOUR, FOUND_LINE));
  if (truth) lay(ring(truth, TRUE_COLOUR, TRUE_LINE));
  canvas.dataset.painted = "1";
}

// Paint canvases when they come near the view.
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      target.near = isIntersecting;
      if (isIntersecting) target.repaint();
    }
  },
  { rootMargin: "300px" },
);
