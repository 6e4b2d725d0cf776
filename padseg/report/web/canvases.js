// Images with their maps: decoded when they come into view, drawn on canvases.

const decoded = new Map();
const DECODED_AT_MOST = 600;

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

function heat(image) {
  return pixelsOf(image, (data) => {
    for (let i = 0; i < data.length; i += 4) data.set(HEAT[data[i]], i);
  });
}

// The border of the defect: light inside, dark outside, visible on any image.
function outline(image) {
  return pixelsOf(image, (data, width, height) => {
    const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && source[4 * (y * width + x)] > 127;
    const source = data.slice();
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const here = inside(x, y);
        const border = [[1, 0], [-1, 0], [0, 1], [0, -1]].some(([a, b]) => inside(x + a, y + b) !== here);
        const colour = border ? (here ? [86, 220, 255, 255] : [0, 20, 40, 255]) : [0, 0, 0, 0];
        data.set(colour, 4 * (y * width + x));
      }
    }
  });
}

// layers: {image, map, mask, opacity}; what is null is not drawn.
async function paint(canvas, layers) {
  const ticket = {};
  canvas.ticket = ticket;
  const [image, map, mask] = await Promise.all(
    [layers.image, layers.map, layers.mask].map((uri) => (uri ? decode(uri).catch(() => null) : null)),
  );
  if (canvas.ticket !== ticket) return;
  const size = image || mask;
  if (!size) return;
  canvas.width = 2 * size.naturalWidth;
  canvas.height = 2 * size.naturalHeight;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  const lay = (what) => context.drawImage(what, 0, 0, canvas.width, canvas.height);
  if (image) lay(image);
  if (layers.solid && mask) lay(mask);
  context.globalAlpha = layers.opacity;
  if (map) lay(heat(map));
  context.globalAlpha = 1;
  if (mask && !layers.solid) lay(outline(mask));
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
