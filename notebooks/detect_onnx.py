"""Run a network that `padseg export --format onnx` wrote, without padseg and PyTorch.

    python -m pip install onnxruntime numpy pillow
    python detect_onnx.py net.onnx part1.png part2.png

Prints system, score and verdict of each image and writes its score map as <name>_map.png.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

network, *paths = sys.argv[1:]
session = onnxruntime.InferenceSession(network)
described = json.loads(session.get_modelmeta().custom_metadata_map["padseg"])
names = [output.name for output in session.get_outputs()]
for path in map(Path, paths):
    with path.open("rb") as file, Image.open(file) as stored:
        picture = ImageOps.exif_transpose(stored)  # upright, as in training
    if picture.mode.startswith("I;16"):  # padseg uses the upper eight of 16 bits
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    image = np.asarray(picture.convert("RGB"))
    found = dict(zip(names, session.run(names, {"image": image[None]}), strict=True))
    verdict = ""
    if "anomalous" in found:  # the network holds the threshold
        verdict = "anomalous" if found["anomalous"][0] else "normal"
    print(path, described["system"], f"{found['image_score'][0]:.4f}", verdict)
    heat = Image.fromarray((255 * found["score_map"][0, 0]).round().astype(np.uint8))
    heat.resize(image.shape[1::-1], Image.Resampling.BILINEAR).save(f"{path.stem}_map.png")
