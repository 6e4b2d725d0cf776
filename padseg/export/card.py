"""The model card of an exported folder, written from what the run measured."""

from padseg.errors import count
from padseg.export.description import Description
from padseg.metrics.calibration import Calibration
from padseg.metrics.names import METRIC_KEYS
from padseg.models import SYSTEMS
from padseg.run.results import RunResult

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

The module takes images of {size} pixels, resized with Pillow's bilinear filter. `padseg export` turns
it into ONNX, OpenVINO and torch.export files, which resize images themselves.

## Limits

The scores are valid for images like those in training, with the same part, camera, light and pose. The
licence of the training data may apply to the weights.
"""


def model_card(description: Description, run: RunResult | None) -> str:
    """Markdown with a hub's front matter.

    Args:
        description: The description of the exported weights.
        run: The run that trained them; None if unknown, as the card then says.
    """
    system = SYSTEMS[description.system]
    return _TEMPLATE.format(
        system=system.name,
        title=system.title + (f" for {description.category}" if description.category else ""),
        paper=system.paper,
        results=_results(description, run),
        training=_training(description, run),
        thresholds=_thresholds(description.calibration),
        size=" x ".join(map(str, description.image_size)),
    )


def _results(description: Description, run: RunResult | None) -> str:
    if run is None:
        return "Not known: there was no metrics.json beside the checkpoint."
    metrics = run.metrics
    if description.module == "StudentDistillModule" and run.distill is not None:
        metrics = run.distill.metrics
    cells = [_percent(metrics.get(name)) for name in METRIC_KEYS]
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


def _training(description: Description, run: RunResult | None) -> str:
    rows = {
        "teacher": ", ".join(description.teacher),
        "teacher's SHA-256": description.teacher_sha256,
        "exported by padseg": description.padseg,
    }
    if run is not None and run.fingerprint is not None:
        options = run.fingerprint.options
        overrides = ", ".join(f"{name} {value}" for name, value in options["overrides"].items())
        versions = ", ".join(f"{name} {value}" for name, value in run.fingerprint.versions.items())
        minutes = "-" if run.train_minutes is None else f"{run.train_minutes:.1f}"
        rows |= {
            "steps": " + ".join(map(str, options["steps"])) or "as published",
            "batch size": options["batch_size"] or "as published",
            "seed": str(run.seed),
            "changed options": overrides or "-",
            "minutes": minutes,
            "data's SHA-256": run.fingerprint.data_sha256,
            "versions": versions,
        }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |\n|---|---|", *lines])


def _thresholds(calibration: Calibration | None) -> str:
    if calibration is None:
        return "None: the module is not calibrated and gives only scores."
    return (
        f"An image is anomalous above {calibration.image_threshold:.6g}, a pixel "
        f"above {calibration.pixel_threshold:.6g}: set on "
        f"{count(calibration.normal_images, 'normal image')} for a false-alarm rate of {calibration.false_alarm_rate:g}."
    )
