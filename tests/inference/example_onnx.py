"""Score images with an exported network: needs onnxruntime, numpy and Pillow only."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

network, *paths = sys.argv[1:]
session = onnxruntime.InferenceSession(network)
described = json.loads(session.get_modelmeta().custom_metadata_map["padseg"])
names = [output.name for output in session.get_outputs()]
for path in map(Path, paths):
    picture = Image.open(path)
    if picture.mode.startswith("I;16"):  # of 16 bits the upper ones, as in training
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    image = np.asarray(picture.convert("RGB"))
    found = dict(zip(names, session.run(names, {"image": image[None]}), strict=True))
    verdict = ""
    if "anomalous" in found:  # the network holds the threshold
        verdict = "anomalous" if found["anomalous"][0] else "normal"
    print(path, described["system"], f"{found['image_score'][0]:.4f}", verdict)  # noqa: T201
    heat = Image.fromarray((255 * found["score_map"][0, 0]).round().astype(np.uint8))
    heat.resize(image.shape[1::-1], Image.Resampling.BILINEAR).save(f"{path.stem}_map.png")
