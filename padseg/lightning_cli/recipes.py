"""The configurations that come with padseg, in a checkout and in an installed package."""

from pathlib import Path

from padseg.errors import ConfigError
from padseg.models import find_system

_PACKAGE = Path(__file__).parents[1]


def config_path(system: str, phase: str) -> Path:
    """The configuration of a phase.

    Raises:
        ConfigError: There is none.
    """
    own = find_system(system).recipes
    name = f"{phase}.yaml"
    path = packaged_config(f"configs/{system}/{name}") if own is None else own / name
    if path is None or not path.is_file():
        where = "it is registered without the folder of its recipes" if own is None else f"{path}"
        raise ConfigError(f"system {system} has no configuration of phase {phase}: {where}.")
    return path


def packaged_config(name: str) -> Path | None:
    """The path of `configs/<folder>/<name>.yaml`; None if padseg has no such file."""
    if Path(name).parts[:1] != ("configs",):
        return None
    found = (folder / name for folder in (_PACKAGE, _PACKAGE.parent))
    return next((path for path in found if path.is_file()), None)
