"""`padseg demo`: train and test on a small generated data set."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from padseg.demo.dataset import DEMO_CATEGORIES, DEMO_TEACHER, make_demo
from padseg.run.experiment import run
from padseg.run.options import RunOptions


def demo(
    out: Path, categories: Sequence[str] = DEMO_CATEGORIES, *, quiet: bool = False
) -> pd.DataFrame:
    """Make the demo data set in `out`, train DeSTSeg on some of its categories and test.

    Args:
        out: The folder.
        categories: Of `DEMO_CATEGORIES`.
        quiet: Whether to say nothing but warnings and errors.

    Returns:
        Their rows of `results.csv`; the runs lie in `out/runs/demo/<category>/seed0`.
    """
    data = make_demo(out / "data")
    return run(
        RunOptions(
            system="destseg",
            root=data,
            categories=tuple(categories),
            out=out / "runs",
            textures=data / "textures",
            steps=(64, 120),
            batch_size=8,
            # The features of an untrained teacher hardly differ, and bfloat16 rounds the differences away.
            precision="32-true",
            weights=str(DEMO_TEACHER),
            label="demo",
            quiet=quiet,
            overrides={
                "model.teacher": "test_resnet",
                "model.width": "16",
                "model.segmentation_width": "32",
                "model.image_size": "128",
                "model.lr": "0.2",
                "model.lr_head": "0.1",
                "data.augmentation": "none",
            },
        )
    )
