"""Lines about progress where no bar can move."""

import io
import re

import pytest
from rich.console import Console

from padseg.machine import console, progress
from padseg.machine.progress import Pace, duration, rate_text, tracked


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("padseg.machine.progress.time.monotonic", lambda: now[0])
    return now


def test_a_pace_counts_since_the_last_line(clock):
    pace = Pace(100, 1000)
    clock[0] += 59
    assert not pace.is_due()
    clock[0] += 1
    assert pace.is_due()
    assert pace.text(220, "steps") == "220 of 1000 steps, 2 a second, 6 min left"
    assert not pace.is_due()
    clock[0] += 60
    assert pace.text(250, "steps") == "250 of 1000 steps, 30 a minute, 25 min left"
    clock[0] += 60
    assert pace.text(250) == "250 of 1000, 0 a minute"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_rates():
    assert rate_text(12.345) == "12.3 a second"
    assert rate_text(0.05) == "3 a minute"


def test_without_a_terminal_there_are_plain_lines(clock, capsys):
    for _ in tracked(range(4), "Scoring [x]", 4):
        clock[0] += 40
    assert capsys.readouterr().out.splitlines() == ["Scoring [x]: 2 of 4, 1.5 a minute, 80 s left"]


@pytest.mark.parametrize(("width", "bar"), [(24, False), (40, True), (50, True), (60, True)])
def test_a_bar_fits_a_narrow_terminal(width, bar, monkeypatch):
    out = io.StringIO()
    narrow = Console(file=out, force_terminal=True, color_system=None, width=width)
    monkeypatch.setattr("padseg.machine.progress.Console", lambda: narrow)
    assert list(tracked(iter(range(4)), "Scoring", 4)) == [0, 1, 2, 3]
    shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", out.getvalue())
    lines = [line.strip("\r") for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert re.fullmatch(r"Scoring (━+ )?100% 0:00:0\d", lines[-1].strip())
    assert ("━" in lines[-1]) is bar
    assert max(map(len, lines)) <= width


def test_quiet_says_nothing(clock, capsys):
    with console.quietly():
        for _ in tracked(range(4), "Scoring", 4):
            clock[0] += 70
        console.say("done")
    assert capsys.readouterr().out == ""
    console.say("and no longer")
    assert capsys.readouterr().out == "and no longer\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(progress, "Console", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert progress.shows_bars()
    with console.quietly():
        assert not progress.shows_bars()
    assert progress.shows_bars()


@pytest.mark.parametrize("installed", [True, False])
def test_a_notebook_gets_a_bar_where_rich_can_draw_one(installed, monkeypatch):
    monkeypatch.setattr(progress, "Console", lambda: Console(force_jupyter=True))
    monkeypatch.setattr(progress, "find_spec", lambda name: name if installed else None)
    assert progress.shows_bars() is installed


def test_commands_to_copy_are_quoted():
    assert console.shell("padseg", "report", "my runs") == "padseg report 'my runs'"
