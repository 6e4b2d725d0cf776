"""The help of `fit`, `validate`, `test` and `predict`: the options that people need.

`--help=all` lists all of them, several hundred lines from Lightning's parser.
"""

import argparse

from padseg.names import SCORING_COMMANDS

_FIT = ("fit",)
_ALL = (*_FIT, *SCORING_COMMANDS)
# The options of each section: the commands that take one, its name with its value, and what it is.
SECTIONS: dict[str, tuple[tuple[tuple[str, ...], str, str], ...]] = {
    "model": (
        (_FIT, "config FILE", "recipe, such as configs/destseg/distill.yaml; may be repeated"),
        (_FIT, "model.distilled CKPT", "phase two: the checkpoint of phase one"),
        (_FIT, "model.weights FILE", "phase one: the teacher's weights (default: timm's hub)"),
        (_FIT, "model.image_size N", "height and width in pixels, or [HEIGHT,WIDTH]"),
        (_FIT, "model.KEY VALUE", "others: --model.help padseg.modules.StudentDistillModule"),
        (_FIT, "ckpt_path CKPT", "resume; `last` for the one in --checkpoint.dirpath"),
        (SCORING_COMMANDS, "ckpt_path CKPT", "the checkpoint to score with; it needs no recipe"),
        (_FIT, "seed_everything N", "seed of all draws (default: 0)"),
        (_ALL, "plugin MODULE", "your module that registers systems, layouts and the like"),
    ),
    "data": (
        (_ALL, "data.root DIR", "folder of the data set"),
        (_ALL, "data.category NAME", "category in it"),
        (_ALL, "data.layout NAME", "its layout: mvtec (default), folder, visa, ..."),
        (
            ("fit", "validate"),
            "data.textures DIR",
            "textures for synthetic defects, such as dtd/images",
        ),
        (_ALL, "data.batch_size N", "images per step and device (default: the recipe's)"),
        (
            ("fit", "validate"),
            "data.val_fraction X",
            "share of normal images held out (default: the recipe's)",
        ),
        (_FIT, "data.augmentation NAME", "auto, none, slight or full: rotations of normal images"),
        (_FIT, "data.foreground WHERE", "otsu, or a folder of masks: defects only on the object"),
        (("test",), "data.evaluation SIZE", "model, or native: the size of pixel metrics"),
    ),
    "trainer": (
        (_FIT, "trainer.max_steps N", "optimiser steps (default: the recipe's)"),
        (_ALL, "trainer.devices N", "devices (default: 1)"),
        (_ALL, "trainer.accelerator NAME", "cpu, gpu, ... (default: a GPU if there is one)"),
        (
            _ALL,
            "trainer.precision NAME",
            "32-true, bf16-mixed or 16-mixed (default: the fastest safe one)",
        ),
        (_FIT, "trainer.max_time TIME", "stop after days:hours:minutes:seconds"),
        (_FIT, "trainer.val_check_interval N", "batches between validations"),
        (_ALL, "trainer.logger NAME", "TensorBoardLogger, CSVLogger, WandbLogger or false"),
    ),
    "results": (
        (_FIT, "checkpoint.dirpath DIR", "folder of last.ckpt (default: the logger's)"),
        (
            _FIT,
            "checkpoint.every_n_train_steps N",
            "steps between saves (default: every two minutes)",
        ),
        (
            _FIT,
            "thresholds.false_alarm_rate X",
            "share of good images that may be anomalous (default: 0.01)",
        ),
        (
            ("fit", "validate", "test"),
            "pictures.folder DIR",
            "draw the worst false alarms and misses",
        ),
        (("test",), "evaluation.exact true", "keep all score maps instead of a bounded state"),
        (("predict",), "predictions.out DIR", "folder for score maps, overlays, masks and tables"),
    ),
}


def help_text(command: str, purpose: str) -> str:
    """The help of a command.

    Args:
        command: `fit`, `validate`, `test` or `predict`.
        purpose: What it does, in a few words.
    """
    source = "--config FILE" if command == "fit" else "--ckpt_path CKPT"
    parser = argparse.ArgumentParser(
        usage=f"padseg {command} {source} --data.root DIR --data.category NAME [options]",
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=f"padseg {command} --help=all lists every option.",
        add_help=False,
    )
    for title, options in SECTIONS.items():
        group = parser.add_argument_group(title)
        for commands, option, text in options:
            if command in commands:
                name, value = option.split()
                group.add_argument(f"--{name}", metavar=value, help=text)
    return parser.format_help()
