"""The options of all phases of a run, checked before the first one is trained."""

from dataclasses import fields
from pkgutil import resolve_name
from typing import Any

from padseg.lightning_cli.cli import PadsegCLI
from padseg.lightning_cli.option_errors import options_explained
from padseg.models import NetworkOptions
from padseg.modules import SegmentationModule
from padseg.run.files import PhaseFiles
from padseg.run.one import lightning_quiet
from padseg.run.runs import Run


class _Parsed(PadsegCLI):
    """Parses the options of a phase and builds nothing; `build_on` builds all but the Trainer.

    A Trainer looks for its devices, and jobs of `--ray` run on other machines.
    """

    def instantiate_classes(self) -> None:
        """Wait for `build_on`."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build none."""

    def build_on(self, first: "_Parsed") -> None:
        """Build data and module as from a checkpoint, untrained, after the phase that begins the run."""
        own, known = (cli.config.model.init_args for cli in (self, first))
        names = [field.name for field in fields(NetworkOptions) if field.name in known]
        own.network = NetworkOptions(**{name: known[name] for name in names}).to_dict()
        own.distilled, own.image_size = None, own.get("image_size") or known.get("image_size")
        super().instantiate_classes()


def check_options(run: Run) -> None:
    """Reject options that a phase cannot take; those of the first one are checked further when it begins.

    Raises:
        PadsegError: An option cannot be used.
    """
    args = [run.fit_args(PhaseFiles(run.folder, phase)) for phase in run.options.phases]
    with options_explained(), lightning_quiet():
        first, *later = (_Parsed(each, run=False) for each in args)
        for phase in later:
            # A user's own class may need the checkpoint of the phase before.
            if resolve_name(phase.config.model.class_path) is SegmentationModule:
                phase.build_on(first)
