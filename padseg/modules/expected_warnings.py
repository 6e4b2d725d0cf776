"""Warnings of Lightning about what is meant to be so in every training of these modules."""

import logging
import warnings

_MESSAGES = (
    "Found .* module.* in eval mode",  # the frozen parts
    "You're resuming from a checkpoint that ended before the epoch",  # the data counts its samples
    ".*isinstance\\(treespec, LeafSpec\\)",  # Lightning 2.6 with torch 2.13 and later
    ".*does not have many workers",  # decoded images are cached
    '.*add the following callbacks: \\[("(Resume|Best)Checkpoint{[^"]*"(, )?)+\\]',  # a test has neither
    "It is recommended to use `self.log",  # the metrics are already reduced across processes
    "Total length of `list` across ranks is zero",  # `val_fraction=0` leaves nothing to validate on
    "Precision .*-mixed is not supported by the model summary",  # its 32 bits per weight are right
    ".*exists and is not empty",  # a resumed run continues in its folder
)


def ignore_expected_warnings() -> None:
    """Ignore them, by their words, in this process."""
    for message in _MESSAGES:
        warnings.filterwarnings("ignore", message=message)
    # TensorBoard's "NaN or Inf found in input tensor": a metric that is undefined on these images.
    logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
