// One image, large.

function openViewer(images, start) {
  const viewer = byId("viewer");
  let at = start;
  const show = (step) => {
    at = (at + step + images.length) % images.length;
    const image = images[at];
    const tile = (canvas, ...caption) => {
      canvas.repaint();
      return make("figure", {}, canvas, make("figcaption", {}, ...caption));
    };
    const tiles = [tile(picture(() => ({ image: image.image, opacity: 0 }), "Image"), "image")];
    if (image.label) {
      tiles.push(image.mask
        ? tile(picture(() => ({ mask: image.mask, solid: true, opacity: 0 }), "True defect"), "true defect")
        : make("figure", {}, nothing("no mask"), make("figcaption", {}, "true defect")));
    }
    for (const run of shownRuns()) {
      const score = run.scores[image.path];
      tiles.push(tile(picture(() => layersOf(run, image), `Score map of ${nameOf(run)}`),
        make("b", {}, nameOf(run)), " ", verdictBadge(run, image),
        make("span", { class: "quiet" }, score === undefined ? ""
          : ` score ${scoreText(score)}, threshold ${scoreText(run.chosen)}`)));
      const { map } = layersOf(run, image);
      if (map !== null) {
        tiles.push(tile(picture(() => ({ map, colours: HEAT.solid, opacity: 1 }), `Colours of all scores of ${nameOf(run)}`),
          nameOf(run), ": score map"));
      }
    }
    viewer.querySelector("h2").textContent = image.defect;
    viewer.querySelector(".path").textContent = `${image.path} · ${at + 1} of ${images.length}`;
    viewer.querySelector(".tiles").replaceChildren(...tiles);
  };
  const button = (text, name, onclick) => make("button", { type: "button", "aria-label": name, title: name, onclick }, text);
  viewer.replaceChildren(
    make("div", { class: "bar" },
      make("div", {}, make("h2", { id: "viewer-title" }), make("p", { class: "path" })),
      make("span", { class: "buttons" },
        button("←", "Previous image (left arrow)", () => show(-1)), button("→", "Next image (right arrow)", () => show(1)),
        button("✕", "Close (Escape)", () => viewer.close()))),
    make("div", { class: "tiles", "aria-live": "polite" }));
  viewer.onkeydown = (event) => {
    if (event.key === "ArrowRight") show(1);
    else if (event.key === "ArrowLeft") show(-1);
  };
  viewer.onclick = (event) => { if (event.target === viewer) viewer.close(); };
  viewer.onclose = () => byId("cards").querySelectorAll(".card")[at]?.focus();
  show(0);
  viewer.showModal();
}
