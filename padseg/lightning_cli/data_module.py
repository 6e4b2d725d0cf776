"""A data module from options of the command line, without a model."""

from collections.abc import Mapping

from jsonargparse import ArgumentParser

from padseg.data import AnomalyDataModule
from padseg.errors import ConfigError, PadsegError
from padseg.lightning_cli.wording import in_plain_words


def build_data_module(options: Mapping[str, str]) -> AnomalyDataModule:
    """Build a data module.

    Args:
        options: From `data.KEY`, as of `fit`, to the value.

    Raises:
        ConfigError: An option is unknown or cannot be used.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(AnomalyDataModule, "data")
    try:
        parsed = parser.parse_args([f"--{key}={value}" for key, value in options.items()])
        data: AnomalyDataModule = parser.instantiate(parsed).data
    except PadsegError:
        raise
    except Exception as error:  # parsers raise errors of many types
        # The message of a dataclass is wrapped in those of everything that the parser tried.
        if isinstance(error.__cause__, PadsegError):
            raise error.__cause__ from None
        raise ConfigError(in_plain_words(str(error), "fit")) from error
    return data
