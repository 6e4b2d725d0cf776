"""The best step of a training, on held-out images."""

from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from padseg.callbacks.resume import ResumeCheckpoint
from padseg.modules.trainer_parts import callbacks_of


class BestCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that saves beside the file that training resumes from, unless a folder is given.

    It remembers the best step when a training is resumed. Lightning forgets it if the folder has another
    name than before, as that of a logger's next version has.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Use the folder of `ResumeCheckpoint`, which protects the files of other trainings."""
        if self.dirpath is None:
            folders = [resume.dirpath for resume in callbacks_of(trainer, ResumeCheckpoint)]
            self.dirpath = next(iter(folders), None)
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with the best checkpoint, wherever it is now."""
        state = dict(state_dict)
        for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[key] = self._moved(state.get(key) or "")
        models = state.get("best_k_models", {})
        state["best_k_models"] = {self._moved(path): score for path, score in models.items()}
        super().load_state_dict(state | {"dirpath": self.dirpath})

    def _moved(self, path: str) -> str:
        moved = Path(self.dirpath or "") / Path(path).name
        # Not the path stored before: training in a copied folder must not change the original.
        return str(moved) if path and moved.exists() else path
