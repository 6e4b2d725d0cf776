"""The model card of an exported folder, written from what the run measured."""

import timm

from padseg.errors import count
from padseg.export.description import Description
from padseg.metrics.calibration import Calibration
from padseg.metrics.names import METRIC_KEYS
from padseg.models import SYSTEMS
from padseg.run.results import RunResult

_UNKNOWN = "other"  # as hubs call a licence that is not in their list
_TEMPLATE = """---
library_name: padseg
license: {license}
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
from padseg import Predictor

found = Predictor.from_pretrained("this/folder"{tile})("part.png")
```

Images are resized to {size} pixels. `padseg export` turns the folder into ONNX, OpenVINO and
torch.export files, which resize images themselves.

## Limits

The scores are valid for images like those in training, with the same part, camera, light and pose.

## Licence

{origin} The licence of the training images may apply to the weights as well; that of MVTec AD and of some
other public data sets excludes commercial use.
"""


def model_card(description: Description, run: RunResult | None, license: str | None) -> str:
    """Markdown with a hub's front matter.

    Args:
        description: The description of the exported weights.
        run: The run that trained them; None if unknown, as the card then says.
        license: Identifier of their licence; None for that of the teacher.
    """
    system, calibration = SYSTEMS[description.system], description.calibration
    of_teachers = [_license(name) for name in description.teacher]
    origin = " ".join(
        f"According to timm, the weights of the teacher {name} are under {found}."
        for name, found in zip(description.teacher, of_teachers, strict=True)
        if found != _UNKNOWN
    )
    return _TEMPLATE.format(
        license=license or (of_teachers[0] if len(set(of_teachers)) == 1 else _UNKNOWN),
        origin=origin or "The licence of the teacher's weights is not known.",
        system=system.name,
        title=system.title + (f" for {description.category}" if description.category else ""),
        paper=system.paper,
        results=_results(description, run),
        training=_training(description, run),
        thresholds=_thresholds(calibration),
        size=" x ".join(map(str, description.image_size)),
        tile=f", tile={calibration.tile}" if calibration and calibration.tile else "",
    )


def _license(teacher: str) -> str:
    """The identifier of the licence of a teacher's weights, as hubs spell it."""
    config = timm.get_pretrained_cfg(teacher, allow_unregistered=True)
    return (config and config.license) or _UNKNOWN


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
    tiles = "" if calibration.tile is None else f", in tiles of {calibration.tile} pixels"
    return (
        f"An image is anomalous above {calibration.image_threshold:.6g}, a pixel "
        f"above {calibration.pixel_threshold:.6g}. The thresholds were set on "
        f"{count(calibration.normal_images, 'normal image')}{tiles}; expect at most "
        f"{100 * calibration.expected_false_alarm_rate:.3g} % of further ones to be called anomalous."
    )
