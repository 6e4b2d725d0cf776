"""The configurations that come with padseg, in a checkout and in an installed package."""

from pathlib import Path

from padseg.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]


def config_path(system: str, phase: str) -> Path:
    """The configuration of a phase.

    Raises:
        ConfigError: It is missing from the installation.
    """
    path = packaged_config(f"configs/{system}/{phase}.yaml")
    if path is None:
        raise ConfigError(
            f"there is no configuration of {system}'s phase {phase}: install padseg again."
        )
    return path


def packaged_config(name: str) -> Path | None:
    """The path of `configs/<folder>/<name>.yaml`; None if padseg has no such file."""
    if Path(name).parts[:1] != ("configs",):
        return None
    found = (folder / name for folder in (_PACKAGE, _PACKAGE.parent))
    return next((path for path in found if path.is_file()), None)
