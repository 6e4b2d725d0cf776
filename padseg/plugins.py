"""Plugins: modules of users that extend padseg.

A plugin is an ordinary Python module that registers its extensions when it is imported:

    padseg.models.register            a system, with its own student, head or loss
    padseg.data.layouts.register      a layout of data sets
    padseg.synthesis.register         a kind of synthetic defect
    padseg.metrics.register           a metric of evaluations

In Python, import it before using it; on the command line, name it with `--plugin`.
"""

import importlib
import os
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path

from padseg.errors import ConfigError

PLUGIN_HELP = "your module that registers systems, layouts, defects or metrics"
_loaded: dict[str, None] = {}  # names, in the order of their first import


def load_plugin(name: str | None) -> None:
    """Import a plugin.

    Args:
        name: Name as in `import`, on Python's path or in the working folder. None to import nothing.

    Raises:
        ConfigError: There is no such module, or its import fails.
    """
    if name is None:
        return
    top, folder = name.partition(".")[0], str(Path.cwd())
    if not name.replace(".", "").isidentifier() or name.endswith(".py"):
        raise ConfigError(
            f"--plugin is {name!r}; give the name of a module as in `import`, without .py."
        )
    if top not in sys.modules and find_spec(top) is None:
        sys.path.append(folder)
    try:
        importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"--plugin is {name}; there is no such module on Python's path or in {folder}."
            ) from error
        file, line, reason = _mistake(error)
        raise ConfigError(
            f"--plugin {name} cannot be imported: {type(error).__name__} in {file}, line {line}: {reason}."
        ) from error
    _loaded[name] = None


def _mistake(error: Exception) -> tuple[str | None, int | None, str]:
    """File and line of the plugin, not of padseg or Python's import, where an error was made, and what it says."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return error.filename, error.lineno, error.msg
    frames = traceback.extract_tb(error.__traceback__)
    inner = (f"{Path(__file__).parent}{os.sep}", "<frozen")
    last = [frame for frame in frames if not frame.filename.startswith(inner)][-1]
    return last.filename, last.lineno, str(error).rstrip(".") or "it says no more"


def plugin_option(name: str | None) -> tuple[str, ...]:
    """The option that names a plugin, for a command to copy; nothing without one."""
    return () if name is None else ("--plugin", name)


def loaded_plugins() -> tuple[str, ...]:
    """The names of the plugins that this process has imported."""
    return tuple(name for name in _loaded if name in sys.modules)


def plugin_file(name: str) -> Path:
    """The file of a loaded plugin; for a package, its `__init__.py`."""
    return Path(str(sys.modules[name].__file__))
