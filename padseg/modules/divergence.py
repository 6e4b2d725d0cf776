"""The error of a training whose loss or scores are not finite any more."""

from padseg.errors import PadsegError


def diverged(how: str) -> PadsegError:
    """The error to raise, which says what to do about it."""
    return PadsegError(
        f"training diverged: {how}; start again with a lower --model.lr (or lr_res, lr_head), or in "
        "32-true if that was another precision."
    )
