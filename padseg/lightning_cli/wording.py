"""Messages of the parser and of Lightning about wrong options, in words that users of padseg understand."""

import re

from padseg.names import SCORING_COMMANDS

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
    # About an option that is linked to another.
    r"argument \w+\(model\) --> .*": "--data.image_size is the model's: pass --model.image_size",
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
    about_model = message.startswith('Parser key "model"')
    for pattern, replacement in REPLACEMENTS.items():
        message = re.sub(pattern, replacement, message)
    more = "--model.help padseg.modules.StudentDistillModule" if about_model else "--help=all"
    return f"{message} (see padseg {command} {more})"


def missing_checkpoint(command: str) -> str:
    """The message for a command without a checkpoint to score with."""
    return f"--ckpt_path is not set: padseg {command} needs the checkpoint of a training."
