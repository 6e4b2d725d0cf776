"""The model card of an exported folder, written from what the run has measured."""

from typing import Any

from padseg.metrics.calibration import Calibration
from padseg.metrics.names import METRIC_KEYS
from padseg.models import SYSTEMS

_TEMPLATE = """---
library_name: padseg
pipeline_tag: image-segmentation
tags:
- anomaly-detection
- {system}
---

# {title}

Visual anomaly detection: finds defects after training on normal images. Method: {paper}.

## Results

{results}

## Training

{training}

## Thresholds

{thresholds}

## Use

```python
from padseg.inference import load_module

module = load_module("this/folder")
scores = module(image)  # (B, 3, H, W) uint8; score_map (B, 1, H, W), image_score (B,)
```

The module takes images of {size} pixels, resized with Pillow's bilinear filter. `padseg export` makes
ONNX, OpenVINO and torch.export files of it, which resize by themselves.

## Limits

The scores hold for images like those of the training: same part, camera, light and pose. The licence of
the training data may bind the weights.
"""


def model_card(described: dict[str, Any], run: dict[str, Any] | None) -> str:
    """Markdown with a hub's front matter.

    Args:
        described: As `padseg.inference.export.describe` gives it.
        run: What `padseg run` has measured; None: the card says that nothing is known.
    """
    system = SYSTEMS[described["system"]]
    return _TEMPLATE.format(
        system=system.name,
        title=system.title + (f" for {described['category']}" if described["category"] else ""),
        paper=system.paper,
        results=_figures(described, run),
        training=_training(described, run),
        thresholds=_thresholds(described["calibration"]),
        size=" x ".join(map(str, described["image_size"])),
    )


def _figures(described: dict[str, Any], run: dict[str, Any] | None) -> str:
    if run is None:
        return "Not known: there was no metrics.json beside the checkpoint."
    alone = described["module"] == "StudentDistillModule" and SYSTEMS[run["system"]].segmentation
    figures = run["distill"]["metrics"] if alone else run
    cells = [_percent(figures.get(name)) for name in METRIC_KEYS]
    return "\n".join(
        [
            "Test images, in percent.\n",
            f"| {' | '.join(METRIC_KEYS)} |",
            "|---" * len(METRIC_KEYS) + "|",
            f"| {' | '.join(cells)} |",
        ]
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _training(described: dict[str, Any], run: dict[str, Any] | None) -> str:
    rows = {
        "teacher": ", ".join(described["teacher"]),
        "teacher's SHA-256": described["teacher_sha256"],
        "padseg that exported": described["padseg"],
    }
    if run is not None:
        options = run["fingerprint"]["options"]
        rows |= {
            "steps": " + ".join(map(str, options["steps"])) or "as published",
            "batch size": options["batch_size"] or "as published",
            "seed": run["seed"],
            "changed options": ", ".join(f"{k} {v}" for k, v in options["overrides"].items())
            or "-",
            "minutes": f"{run['train_minutes']:.1f}",
            "data's SHA-256": run["fingerprint"]["data_sha256"],
            "versions": ", ".join(f"{k} {v}" for k, v in run["fingerprint"]["versions"].items()),
        }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |\n|---|---|", *lines])


def _thresholds(described: dict[str, Any] | None) -> str:
    if described is None:
        return "None: the module is not calibrated, it gives scores only."
    calibration = Calibration.from_dict(described)
    return (
        f"An image is anomalous above {calibration.image_threshold:.6g}, a pixel "
        f"above {calibration.pixel_threshold:.6g}: set on {calibration.normal_images} normal "
        f"images for a false-alarm rate of {calibration.false_alarm_rate:g}."
    )
