"""`padseg`, one process of which receives a signal to stop. Not a test by itself.

    python stopped_worker.py RANK training_step fit ...

It comes during the fourth training step, while the other process waits in the reduction of the gradients,
or, for `score_batch`, while the first batch is scored for the thresholds.
"""

import os
import signal
import sys
import time

from padseg.cli import main
from padseg.modules import StudentDistillModule

TOLD, WHERE = int(sys.argv[1]), sys.argv[2]
step = getattr(StudentDistillModule, WHERE)


def told_amid_a_step(self, batch, *number):
    training = WHERE == "training_step"
    if self.global_rank == TOLD and number == ((3,) if training else ()):
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, batch, *number)


if __name__ == "__main__":
    setattr(StudentDistillModule, WHERE, told_amid_a_step)
    sys.exit(main(sys.argv[3:]))
