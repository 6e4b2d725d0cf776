"""`padseg`, one process of which receives a signal to stop during a step. Not a test by itself.

    python stopped_worker.py RANK fit ...

The other process waits for it in the reduction of the gradients meanwhile.
"""

import os
import signal
import sys
import time

from padseg.cli import main
from padseg.modules import StudentDistillModule

TOLD = int(sys.argv[1])
training_step = StudentDistillModule.training_step


def told_amid_a_step(self, batch, batch_idx):
    if batch_idx == 3 and self.global_rank == TOLD:
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGTERM)
    return training_step(self, batch, batch_idx)


if __name__ == "__main__":
    StudentDistillModule.training_step = told_amid_a_step
    sys.exit(main(sys.argv[2:]))
