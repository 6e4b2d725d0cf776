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
    """Make the demo data set in `out`, train TEDSeg on some of its categories and test.

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
            system="tedseg",
            root=data,
            categories=tuple(categories),
            out=out / "runs",
            textures=data / "textures",
            steps=(24, 50),
            batch_size=4,
            # So that the figures are the same with and without bfloat16 in the processor.
            precision="32-true",
            weights=str(DEMO_TEACHER),
            label="demo",
            quiet=quiet,
            overrides={
                "model.teacher": "test_byobnet",
                "model.memory_size": "500",
                "model.image_size": "192",
                "data.augmentation": "none",
            },
        )
    )
