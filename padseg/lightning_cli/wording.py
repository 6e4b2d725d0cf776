"""Messages of the parser and of Lightning about wrong options, in words that users of padseg understand."""

import re
from collections.abc import Iterable
from inspect import signature

from padseg.errors import did_you_mean
from padseg.modules import SegmentationModule, StudentDistillModule
from padseg.names import SCORING_COMMANDS
from padseg.synthesis import SynthesisParams

# From the parser's wording to ours, applied in this order.
REPLACEMENTS = {
    # The types that were tried, followed by what was wrong with each.
    r"(- )?Does not validate against any of the Union subtypes .*? Errors: (- )?": "",
    r" - Expected a <class 'NoneType'>": "",
    r"\.? Given value type: <class 'jsonargparse.*": "",
    r"\.? Given value type: <class '\w+'> Given value:|\. Got value:": ", not",
    r"Expected a <class '(\w+)'>": r"expected \1",
    r"Expected a typing\.Literal\[(.*?)\]": r"expected one of \1",
    r"Problem with given class_path '(?:\w+\.)*(\w+)':": r"\1:",
    r'Parser key "([\w.]+)":': r"--\1:",
    # Options that are missing, with the command before their names.
    r"\b(?:fit|validate|test|predict)\.data\.": "--data.",
    # About an option that is linked to another, which Python 3.14 does not name.
    r"(argument model\.image_size --> .*: )?int \| tuple\[int, int\] is not callable": (
        "--data.image_size is the model's: pass --model.image_size"
    ),
}
# About an option that does not exist, itself or as the group and the name.
_UNKNOWN = (
    r"^unrecognized arguments: --([\w.]+)|does not accept option '([\w.]+)'"
    r"|^--(model|data\.synthesis): \w+: Option '(\w+)' is not accepted"
)
_CLASSES = {
    "model": (StudentDistillModule, SegmentationModule),
    "data.synthesis": (SynthesisParams,),
}
_NO_MODEL = r"are required: .*\bmodel\b|class_path 'padseg.modules.AnomalyModule'"


def in_plain_words(message: str, command: str) -> str:
    """Turn the parser's message about a wrong option into a sentence about that option.

    Args:
        message: The parser's message, over several lines.
        command: `fit`, `validate`, `test` or `predict`.
    """
    message = " ".join(message.split())
    if re.search(_NO_MODEL, message):
        if command in SCORING_COMMANDS:
            return missing_checkpoint(command)
        return "--config is not set: name a recipe, such as configs/destseg/distill.yaml."
    model = re.match(r'Parser key "model".*?class_path \'(padseg[\w.]+)\'', message)
    for pattern, replacement in REPLACEMENTS.items():
        message = re.sub(pattern, replacement, message)
    more = "--help=all" if model is None else f"--model.help {model[1]}"
    return f"{message} (see padseg {command} {more})"


def nearest_option(said: str, parsed: Iterable[str]) -> str:
    """A question about the option that was meant, if the sentence is about one that does not exist.

    Args:
        said: The sentence.
        parsed: The options that the parser knows, which does not list those of classes.
    """
    unknown = re.search(_UNKNOWN, said)
    if unknown is None:
        return ""
    option = ".".join(filter(None, unknown.groups()))
    known = {name.removeprefix("--") for name in parsed}
    for group, kinds in _CLASSES.items():
        known |= {f"{group}.{name}" for kind in kinds for name in signature(kind).parameters}
    return did_you_mean(option, sorted(known))


def missing_checkpoint(command: str) -> str:
    """The message for a command without a checkpoint to score with."""
    return f"--ckpt_path is not set: padseg {command} needs the checkpoint of a training."
