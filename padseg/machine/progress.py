"""How far a piece of work is: a bar on a terminal, elsewhere a plain line every minute."""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from padseg.machine.console import is_quiet, say

_MINUTE = 60.0  # seconds between two lines
_LONGEST_BAR, _SHORTEST_BAR = 40, 4  # columns
_FIGURES = 16  # columns of percentage, time and gaps
Item = TypeVar("Item")


def shows_bars() -> bool:
    """Whether there is a terminal or a notebook that can show a moving bar."""
    console = Console()
    if console.is_jupyter:
        moves = find_spec("ipywidgets") is not None  # without which rich warns instead
    else:
        moves = console.is_terminal and not console.is_dumb_terminal
    return moves and not is_quiet()


def tracked(
    items: Iterable[Item], description: str, total: int, *, transient: bool = False
) -> Iterator[Item]:
    """Pass items on and show how many of `total` are done; a `transient` bar disappears at the end."""
    if shows_bars():
        with _bar(description, transient) as bar:
            yield from bar.track(items, total, description=escape(description))
        return
    pace = Pace(0, total)
    for done, item in enumerate(items):
        if pace.is_due():
            say(f"{description}: {pace.text(done)}")
        yield item


def _bar(description: str, transient: bool) -> Progress:
    """A bar that leaves room for the words and figures beside it, or none if there is no room for it."""
    console = Console()
    room = min(_LONGEST_BAR, console.width - cell_len(description) - _FIGURES)
    columns: list[ProgressColumn] = [TextColumn("{task.description}")]
    columns += [BarColumn(room)] if room >= _SHORTEST_BAR else []
    columns += [TaskProgressColumn(), TimeRemainingColumn(elapsed_when_finished=True)]
    return Progress(*columns, console=console, transient=transient)


def working(description: str) -> AbstractContextManager[object]:
    """Show on a terminal that work of unknown length is going on."""
    return Console().status(escape(description)) if shows_bars() else nullcontext()


class Pace:
    """The rate of counted work and the time left, since the last line about it.

    Args:
        done: How much of it is done already.
        total: How much there is; None if unknown.
    """

    def __init__(self, done: int, total: int | None) -> None:
        self.total = total
        self._done = done
        self._since = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time for a line."""
        return time.monotonic() - self._since >= _MINUTE

    def text(self, done: int, unit: str = "") -> str:
        """`120 of 1000 steps, 3.4 a second, 4 min left`; the next line counts from here."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        rate = (done - self._done) / seconds
        self._done, self._since = done, time.monotonic()
        words = unit and f" {unit}"
        if self.total is None:
            return f"{done}{words}, {rate_text(rate)}"
        left = (
            ""
            if rate <= 0 or done >= self.total
            else f", {duration((self.total - done) / rate)} left"
        )
        return f"{done} of {self.total}{words}, {rate_text(rate)}{left}"


def rate_text(rate: float) -> str:
    """`3.4 a second`, or `5.1 a minute` for slow work."""
    return f"{rate:.3g} a second" if rate >= 1 else f"{60 * rate:.3g} a minute"


def duration(seconds: float) -> str:
    """`40 s`, `12 min` or `2 h 5 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
