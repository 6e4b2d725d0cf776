"""What the parser and Lightning's Trainer say of wrong options."""

import pytest

from padseg.cli import main
from padseg.lightning_cli.recipes import config_path

from .conftest import QUIET, SMALL, data_args


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("--nothing=1", "unrecognized arguments: --nothing=1 (see padseg fit --help)"),
        ("--seed_everything=true", "--seed_everything: give a number"),
        ("--seed_everything=5000000000", "it must be from 0 to 4294967295"),
        (
            "--model.foo=1",
            "--model: StudentDistillModule: Option 'foo' is not accepted (see padseg fit --model.help ",
        ),
        ("--model.lr=x", "--model: StudentDistillModule: --lr: expected float, not x (see"),
        ("--model.student.foo=1", "StudentDistillModule: unrecognized arguments: --student.foo=1"),
        ("--data.batch_size=x", "--data.batch_size: expected int, not x (see padseg fit --help)"),
        ("--data.augmentation=x", "expected one of 'auto', 'none', 'slight', 'full', not x"),
        ("--data.synthesis.threshold=x", "SynthesisParams: --threshold: expected float, not x"),
        ("--data.image_size=64", "--data.image_size is the model's: pass --model.image_size"),
    ],
)
def test_options_of_fit_are_told_in_one_sentence(wrong, told, data_root, textures, capsys):
    recipe = ["fit", "--config", str(config_path("destseg", "distill"))]
    assert main([*recipe, *data_args(data_root, textures), wrong]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line


@pytest.mark.parametrize("option", ["accelerator=nothing", "devices=0", "strategy=nothing"])
def test_wrong_trainer_options_are_told(option, data_root, textures, capsys):
    arguments = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL]
    arguments += [*data_args(data_root, textures), "--trainer.accelerator=cpu"]
    assert main([*arguments, f"--trainer.{option}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--trainer: " in line


def test_lightnings_refusal_of_a_checkpoint_option_is_told(data_root, textures, capsys):
    arguments = ["fit", "--config", str(config_path("destseg", "distill")), *SMALL, *QUIET]
    arguments += [*data_args(data_root, textures), "--checkpoint.save_top_k=3"]
    assert main(arguments) == 2
    assert "--checkpoint or --trainer.callbacks: " in capsys.readouterr().err
