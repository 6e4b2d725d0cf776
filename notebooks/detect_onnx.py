"""Run a network that `padseg export --format onnx` wrote, without padseg and PyTorch.

    python -m pip install onnxruntime numpy pillow
    python detect_onnx.py net.onnx part1.png part2.png
    python detect_onnx.py net.onnx parts

The second line takes the images of a folder, without those of its subfolders. Prints system, score and verdict of
each image and writes its score map into the folder `maps`, as <name>.png, or <name>_2.png and so on where names
recur. Where the network is calibrated, 0.5 is the threshold, of the score and of the map.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read_rgb(path: Path, bits: int) -> np.ndarray:
    """(H, W, 3) uint8, as padseg reads it: upright, the upper eight of the bits that are used."""
    with path.open("rb") as file, Image.open(file) as stored:
        layouts = [
            str(tile.args if isinstance(tile.args, str) else tile.args[0]) for tile in stored.tile
        ]
        if bits < 16 and any(of.startswith(("RGB", "LA")) and ";16" in of for of in layouts):
            sys.exit(
                f"{path} has colours of 16 bits, of which Pillow keeps the upper eight: save 8 bits."
            )
        with suppress(Exception):
            stored.getexif()  # Pillow raises errors of broken metadata once, and ignores it afterwards
        picture, tags = ImageOps.exif_transpose(stored), getattr(stored, "tag_v2", {})
    int16 = tags.get(339) in (2, (2,)) and tags.get(258) in (16, (16,))  # of a TIFF
    signed = picture.mode == "I" and int16
    if not picture.mode.startswith("I;16") and not signed:
        if picture.mode in ("I", "F"):
            sys.exit(f"{path} has pixels of 32 bits, of unknown range: save it with 8 or 16.")
        return np.asarray(picture.convert("RGB"))
    declared = min(tags.get(258, (16,)))  # such as 12, packed
    bits = declared if declared < 16 else min(bits, 15 if signed else 16)
    grey = np.minimum(np.asarray(picture) >> (bits - 8), 255).astype(np.uint8)
    grey = 255 - grey if tags.get(262) == 0 else grey  # 0 is white
    return np.dstack([grey] * 3)


network, *given = sys.argv[1:] or [""]
suffixes, paths = Image.registered_extensions(), []
for path in map(Path, given):
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    paths += [file for file in files if file == path or file.suffix.lower() in suffixes]
if not paths:
    sys.exit(__doc__)
session = onnxruntime.InferenceSession(network)
described = json.loads(session.get_modelmeta().custom_metadata_map["padseg"])
names = [output.name for output in session.get_outputs()]
maps = Path("maps")
taken = {path.resolve() for path in paths}  # no image is overwritten by a map
for path in paths:
    image = read_rgb(path, described.get("bits", 16))
    found = dict(zip(names, session.run(names, {"image": image[None]}), strict=True))
    score, score_map, verdict = found["image_score"][0], found["score_map"], ""
    if "anomalous" in found:  # the network holds the thresholds
        score, score_map = found["score"][0], found["normalised_map"]
        verdict = "anomalous" if found["anomalous"][0] else "normal"
    print(path, described["system"], f"{score:#.4g}", verdict)
    heat = Image.fromarray((255 * score_map[0, 0]).round().astype(np.uint8))
    out, number = maps / f"{path.stem}.png", 1
    while out.resolve() in taken:
        number += 1
        out = maps / f"{path.stem}_{number}.png"
    taken.add(out.resolve())
    maps.mkdir(exist_ok=True)
    heat.resize(image.shape[1::-1], Image.Resampling.BILINEAR).save(out)
