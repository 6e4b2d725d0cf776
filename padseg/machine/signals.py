"""Ctrl-C and SIGTERM for commands that run until they are ended."""

import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Whether a signal has asked the process to end.

    An event of `threading` cannot be set from a signal's handler, which may interrupt it halfway.

    Attributes:
        asked: Whether one has come.
    """

    def __init__(self) -> None:
        self.asked = False
        self._bell, self._button = socket.socketpair()

    def ask(self, *_: object) -> None:
        """Handle a signal; the second one raises KeyboardInterrupt wherever the program is."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._button.send(b"\0")

    def wait(self, seconds: float) -> bool:
        """Wait for a signal, at most for some time, which on Windows no signal shortens; returns `asked`."""
        select.select([self._bell], [], [], seconds)
        return self.asked

    def close(self) -> None:
        """Release the sockets."""
        self._bell.close()
        self._button.close()


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Let Ctrl-C and SIGTERM ask for the end, so that nothing is interrupted halfway."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()
