"""The help of Lightning's commands."""

import pytest

from padseg.cli import LIGHTNING_COMMANDS, main
from padseg.commands.lightning_help import SECTIONS


@pytest.mark.parametrize("command", LIGHTNING_COMMANDS)
def test_the_short_help_names_options_of_the_long_one(command, capsys):
    assert main([command, "--help"]) == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) < 100
    with pytest.raises(SystemExit) as end:
        main([command, "--help=all"])
    assert end.value.code == 0
    every = capsys.readouterr().out
    options = (option for section in SECTIONS.values() for option in section)
    names = [option.split()[0] for commands, option, _ in options if command in commands]
    assert {"data.root", "data.category"} <= set(names)
    for name in names:
        assert f"--{name} " in short
        # The parser lists those of a module on demand only.
        assert f"--{name} " in every or name.startswith("model.")
