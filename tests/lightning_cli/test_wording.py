"""What the parser says of wrong options."""

import re

import pytest

from padseg.cli import main
from padseg.errors import ConfigError
from padseg.lightning_cli import cli, wording
from padseg.lightning_cli.recipes import config_path

from .conftest import data_args


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--nothing=1", "unrecognized arguments: --nothing=1 (see padseg fit --help=all)"),
        ("--textures=dtd", "(see padseg fit --help=all) Did you mean --data.textures?"),
        ("--model.imagesize=64", " Did you mean --model.image_size?"),
        ("--data.synthesis.backnd=x", " Did you mean --data.synthesis.backend?"),
        ("--seed_everything=true", "--seed_everything: give a number"),
        ("--seed_everything=5000000000", "it must be from 0 to 4294967295"),
        (
            "--model.foo=1",
            "--model: StudentDistillModule: Option 'foo' is not accepted (see padseg fit --model.help ",
        ),
        ("--model.lr=x", "--model: StudentDistillModule: --lr: expected float, not x (see"),
        ("--model.student.foo=1", "StudentDistillModule: unrecognized arguments: --student.foo=1"),
        (
            "--data.batch_size=x",
            "--data.batch_size: expected int, not x (see padseg fit --help=all)",
        ),
        ("--data.augmentation=x", "expected one of 'auto', 'none', 'slight', 'full', not x"),
        ("--data.synthesis.threshold=x", "SynthesisParams: --threshold: expected float, not x"),
        ("--data.image_size=64", "--data.image_size is the model's: pass --model.image_size"),
        ("--data.synthesis=x", "--data.synthesis: - Expected a path but x either not accessible"),
    ],
)
def test_a_wrong_option_of_fit_gets_one_sentence(wrong, said, data_root, textures, capsys):
    recipe = ["fit", "--config", str(config_path("destseg", "distill"))]
    assert main([*recipe, *data_args(data_root, textures), wrong]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


# A wrong option for each pattern, and what the sentence must not hold on to.
NEEDED_BY = {
    r"(- )?Does not validate against any of the Union subtypes .*? Errors: (- )?": "--data.num_workers=x",
    r" - Expected a <class 'NoneType'>": "--data.num_workers=x",
    r"\.? Given value type: <class 'jsonargparse.*": "--model.lr=x",
    r"\.? Given value type: <class '\w+'> Given value:|\. Got value:": "--data.batch_size=x",
    r"Expected a <class '(\w+)'>": "--data.batch_size=x",
    r"Expected a typing\.Literal\[(.*?)\]": "--data.augmentation=x",
    r"Problem with given class_path '(?:\w+\.)*(\w+)':": "--model.lr=x",
    r'Parser key "([\w.]+)":': "--data.batch_size=x",
    r"\b(?:fit|validate|test|predict)\.data\.": None,  # none at all: that of the category is missing
    r"(argument model\.image_size --> .*: )?int \| tuple\[int, int\] is not callable": "--data.image_size=64",
}
PYTHONS_OWN = re.compile(
    r"Union|<class|typing|class_path|Parser key|jsonargparse|Got value|callable|None|fit\.data"
)


def test_every_pattern_has_its_case():
    assert list(NEEDED_BY) == list(wording.REPLACEMENTS)


@pytest.mark.parametrize("pattern", NEEDED_BY)
def test_without_a_pattern_the_parsers_own_words_remain(pattern, data_root, monkeypatch):
    monkeypatch.setattr(cli, "in_plain_words", lambda message, command: message)
    args = ["fit", "--config", str(config_path("destseg", "distill")), f"--data.root={data_root}"]
    wrong = NEEDED_BY[pattern]
    with pytest.raises(ConfigError) as refused:
        cli.PadsegCLI([*args, *(["--data.category=widget", wrong] if wrong else [])])
    message = str(refused.value)
    assert not PYTHONS_OWN.search(wording.in_plain_words(message, "fit"))
    others = {key: words for key, words in wording.REPLACEMENTS.items() if key != pattern}
    monkeypatch.setattr(wording, "REPLACEMENTS", others)
    assert PYTHONS_OWN.search(wording.in_plain_words(message, "fit"))
