"""Output for any terminal or pipe: letters that it cannot show are escaped, and no figure is cut off."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

_quiet = False
_GAP = 1
_NAME = 12  # columns that a name gets at least; longer names are folded


def escape_output() -> None:
    """Let letters that the terminal or the pipe cannot show appear as escapes instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def quietly(quiet: bool = True) -> Iterator[None]:
    """Inside the block, print only warnings and errors if `quiet`."""
    global _quiet
    before, _quiet = _quiet, quiet
    try:
        yield
    finally:
        _quiet = before


def is_quiet() -> bool:
    """Whether only warnings and errors are shown."""
    return _quiet


def say(text: str) -> None:
    """Print a line as it is, unless the command is quiet."""
    if not _quiet:
        # Names may contain brackets.
        Console(markup=False, emoji=False).print(text, highlight=False, soft_wrap=True)


def shell(*words: object) -> str:
    """A command to copy into a shell, with quotes where a name needs them."""
    return shlex.join(str(word) for word in words)


def print_figures(
    title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str] = ()
) -> None:
    """Print rows of a name and figures, as a table or, where this is too wide, one below the other.

    Long names are folded. A figure is never cut, however narrow the terminal is.

    Args:
        title: Printed above.
        headers: Of the columns, of one or two lines.
        rows: The name, then the figures.
        total: A last row, set apart; none if empty.
    """
    if _quiet:
        return
    console = Console(markup=False, emoji=False)  # names may contain brackets
    lines = [line for line in (headers, *rows, total) if line]
    widths = [
        max(cell_len(part) for line in lines for part in line[column].split("\n"))
        for column in range(len(headers))
    ]
    figures = sum(width + _GAP for width in widths[1:])
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = max(console.width, widths[0] + _GAP + figures)  # for `grep`
    console.print(title, style="italic", highlight=False, soft_wrap=True)
    if console.width >= min(widths[0], _NAME) + _GAP + figures:
        console.print(_as_table(headers, rows, total))
        return
    for name, *values in [*rows, total] if total else rows:
        console.print(f"\n{name}", style="bold", highlight=False, soft_wrap=True)
        labels = [" ".join(header.split()) for header in headers[1:]]
        longest, widest = max(map(cell_len, labels)), max(map(cell_len, values))
        for label, value in zip(labels, values, strict=True):
            space = " " * (longest - cell_len(label) + widest - cell_len(value))
            if value:
                console.print(f"  {label}{space} {value}", highlight=False, soft_wrap=True)


def _as_table(headers: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="bold")
    lines = max(header.count("\n") for header in headers)
    bottom = ["\n" * (lines - header.count("\n")) + header for header in headers]
    table.add_column(bottom[0], overflow="fold")
    for header in bottom[1:]:
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    if total:
        table.add_section()
        table.add_row(*total)
    return table
