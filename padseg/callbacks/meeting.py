"""What the processes of a training decide together, without meeting in every step."""

import math
import time

import torch
from lightning import Trainer

PAUSE = 1.0
"""Seconds between two meetings."""
LONGEST = 100
"""Most calls between two meetings, however fast the steps are."""


class Meeting:
    """Lets processes agree about once a second, at the same step.

    To meet means to reduce a small tensor and to wait for the result, which in every step would keep a GPU
    from being fed. The processes also agree on the number of calls until they meet again.
    """

    def __init__(self) -> None:
        self._calls_left = 0
        self._calls = 1
        self._since = -math.inf

    def any(self, trainer: Trainer, mine: bool) -> bool:
        """Whether `mine` is true in any process; False between two meetings.

        All processes must call it equally often. With one process, every call counts.

        Args:
            trainer: The Trainer whose processes meet.
            mine: What holds for this process.
        """
        if trainer.world_size == 1:
            return mine
        if self._calls_left > 0:
            self._calls_left -= 1
            return False
        now = time.monotonic()
        each = (now - self._since) / self._calls  # seconds a call; infinite at first
        wish = max(1, min(LONGEST, math.floor(PAUSE / max(each, 1e-6))))
        # The most cautious process decides how long they wait.
        own = torch.tensor([float(mine), -float(wish)], device=trainer.strategy.root_device)
        found, calls = trainer.strategy.reduce(own, reduce_op="max").tolist()
        self._calls, self._since = int(-calls), now
        self._calls_left = self._calls - 1
        return bool(found)
