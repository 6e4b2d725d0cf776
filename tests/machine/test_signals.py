"""Commands that run until a signal ends them."""

import os
import signal
import sys
import threading
import time

import pytest

from padseg.machine.signals import stop_signals


@pytest.mark.skipif(sys.platform == "win32", reason="there, os.kill sends no signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_and_a_second_one_interrupts(number):
    before = signal.getsignal(number)
    with stop_signals() as stop:
        assert stop.wait(0.01) is stop.asked is False
        timer = threading.Timer(0.2, os.kill, (os.getpid(), number))
        timer.start()
        began = time.monotonic()
        assert stop.wait(60)
        assert time.monotonic() - began < 30
        timer.join()
        assert stop.asked
        assert stop.wait(60)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
