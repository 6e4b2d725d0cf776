"""The configurations that come with padseg, in a checkout and in an installed package."""

import json
from pathlib import Path

import yaml

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


def phases_of(system: str) -> tuple[str, ...]:
    """The phases of a system, as its configurations are named."""
    return ("distill",) if find_system(system).segmentation is None else ("distill", "segment")


def data_options(system: str) -> dict[str, str]:
    """What the configuration of a system's last phase sets for the data, from `data.KEY` to the value.

    Raises:
        ConfigError: As `config_path`.
    """
    path = config_path(system, phases_of(system)[-1])
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        f"data.{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in recipe.get("data", {}).items()
    }


def packaged_config(name: str) -> Path | None:
    """The path of `configs/<folder>/<name>.yaml`; None if padseg has no such file."""
    if Path(name).parts[:1] != ("configs",):
        return None
    found = (folder / name for folder in (_PACKAGE, _PACKAGE.parent))
    return next((path for path in found if path.is_file()), None)
