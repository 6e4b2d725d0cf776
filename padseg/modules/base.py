"""What the modules of both phases share: scoring, evaluation steps, checkpoints."""

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from padseg.data import AnomalyDataModule
from padseg.data.depth import ALL_BITS
from padseg.data.images import Size, as_size
from padseg.data.pairs import check_batch
from padseg.errors import CheckpointError, ConfigError, PadsegError
from padseg.metrics.calibration import Calibration
from padseg.models import (
    FeaturePair,
    NetworkOptions,
    StudentTeacher,
    System,
    build_student_teacher,
    find_system,
)
from padseg.modules.averages import ResumableAverages
from padseg.modules.checkpoint import (
    Checkpoint,
    drop_unreadable,
    mismatch_explained,
    own_header,
    store_teachers,
)
from padseg.modules.expected_warnings import ignore_expected_warnings
from padseg.modules.header import DATA_KEY, STORED_WEIGHTS, Header
from padseg.modules.launchers import refuse_lossy_training, refuse_shards
from padseg.modules.resuming import refuse_other_training, store_data
from padseg.modules.sync_batch_norm import prepare, take_statistics_of_first
from padseg.modules.trainer_parts import callbacks_of, data_of, forget_earlier_data, state_of_data
from padseg.names import PRECISION_NAMES
from padseg.options import as_stored, one_of

MODULE = "the module"  # what was trained, in messages
_CHECK_EVERY = 50  # steps between checks of the loss on a GPU, each of which must wait


class AnomalyModule(LightningModule):
    """A student-teacher system that computes a score map and a score for an image.

    A subclass sets `student_teacher` and `network`, the options that rebuild it, and calls `ready`.

    Attributes:
        student_teacher: Teachers and students.
        network: Options that it is built with.
        image_size: (H, W) in pixels, of the images it is trained with.
        top_k: Pixels averaged to the image score.
        complete: Whether the weights are there: given, or loaded since.
        previous_data: What the data module of the phase before has left in its checkpoint.
        trained_on: The same, of the training that the weights come from, ended or not; None if it is unknown.
        calibration: Thresholds from normal images; None before calibration.
        bits: Bits that the pixels of 16-bit images use, by the images it is trained on.
    """

    student_teacher: StudentTeacher
    network: NetworkOptions
    image_size: Size
    top_k: int
    complete: bool
    previous_data: Mapping[str, Any] | None = None
    trained_on: Mapping[str, Any] | None = None
    calibration: Calibration | None = None
    bits: int = ALL_BITS
    _last_loss: Tensor | None = None

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Build a trained module in eval mode, on the CPU; no pickle is executed.

        Args:
            path: A folder or safetensors file that `padseg export --format safetensors` wrote, or a
                checkpoint. A folder on a hub is downloaded first, such as with
                `huggingface_hub.snapshot_download`.

        Raises:
            CheckpointError: There is none, it is damaged, or it is of another class.
        """
        from padseg.modules.loading import load_module  # which knows the classes

        module = load_module(path)
        if not isinstance(module, cls):
            name = type(module).__name__
            raise CheckpointError(f"{path} is of class {name}: use {name}.from_pretrained.")
        return module

    def build(
        self,
        network: NetworkOptions,
        weights: str,
        weights2: str,
        image_size: int | tuple[int, int],
        top_k: int | None,
    ) -> None:
        """Build the student-teacher network; see `StudentDistillModule` for the arguments.

        The weights are `STORED_WEIGHTS` where a checkpoint will bring them.

        Raises:
            ConfigError: An option cannot be used.
        """
        # Optimisers and checkpoints take them from here; numbers of NumPy could not be read again.
        self.hparams.update(as_stored(dict(self.hparams)))
        given = (weights, weights2)
        sources = ("random" if source == STORED_WEIGHTS else source for source in given)
        self.network = network
        self.student_teacher = build_student_teacher(network, *sources)
        self.complete = STORED_WEIGHTS not in given
        self.image_size = as_size(image_size)
        self.top_k = self.parts.highest(self.image_size) if top_k is None else top_k
        if self.top_k < 1:
            raise ConfigError(f"--model.top_k is {self.top_k}; it must be at least 1.")

    def ready(self) -> None:
        """Finish the construction: the last call in a subclass's constructor."""
        # Convolutions run up to twice as fast in this layout, on CPUs and on GPUs with tensor cores.
        self.to(memory_format=torch.channels_last)
        # The Trainer does not change modes, so frozen parts must be in eval mode by now.
        self.train()

    @property
    def system(self) -> str:
        """Name of the system."""
        return self.network.system

    @property
    def parts(self) -> System:
        """The `System` record that `system` names."""
        return find_system(self.system)

    def compare(self, image: Tensor) -> list[FeaturePair]:
        """Features of teachers and students for images (B, 3, H, W) in [0, 1]."""
        pairs: list[FeaturePair] = self.student_teacher(image)
        return pairs

    @abstractmethod
    def score_map(self, pairs: list[FeaturePair], size: Size) -> Tensor:
        """The score map (B, 1, H, W), float32 in [0, 1], from the output of `compare`."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Score images.

        Args:
            image: (B, 3, H, W), float in [0, 1] or uint8.

        Returns:
            `score_map` (B, 1, H, W) float32 in [0, 1], at the size of the image, and `image_score` (B,)
            float32: the mean of its `top_k` largest pixels, or what the system has instead.
        """
        if image.dtype == torch.uint8:
            image = image.float() / 255
        pairs = self.compare(image.contiguous(memory_format=torch.channels_last))
        score_map = self.score_map(pairs, (image.shape[-2], image.shape[-1]))
        score = self.parts.image_score(score_map, self.top_k, pairs)
        return {"score_map": score_map, "image_score": score}

    def setup(self, stage: str) -> None:
        """Check the options of the Trainer and its data, and give the data module its starting position.

        Raises:
            ConfigError: The precision is unknown, the size of the data's images is not the module's, the phase
                before was trained on other data, or the Trainer would lose what this one learns.
        """
        ignore_expected_warnings()
        refuse_shards(self.trainer)
        if stage == "fit":
            refuse_lossy_training(self.trainer)
        one_of("--trainer.precision", str(self.trainer.precision), PRECISION_NAMES)
        data = getattr(self.trainer, "datamodule", None)
        prepare(self.trainer.strategy)
        if stage == "fit" and isinstance(data, AnomalyDataModule):
            if self.previous_data is not None and not self.trainer.global_step:
                data.begin_after(self.previous_data)
            self.bits = data.bits
        size = as_size(getattr(data, "image_size", self.image_size))
        if size != self.image_size:
            raise ConfigError(
                f"the data module's image_size is {list(size)}, the module's {list(self.image_size)}: "
                "give both the same."
            )

    def configure_callbacks(self) -> list[Callback]:
        """A training ends with thresholds; Lightning asks for this before every task."""
        from padseg.modules.thresholds import ThresholdCallback  # which knows this class

        forget_earlier_data(self.trainer)
        averages = callbacks_of(self.trainer, WeightAveraging)
        own = [ThresholdCallback, ResumableAverages] if averages else [ThresholdCallback]
        return [kind() for kind in own if not callbacks_of(self.trainer, kind)]

    def on_fit_start(self) -> None:
        """Set the training mode, also of a module that a `Predictor` or its user put into eval mode.

        Raises:
            ConfigError: The weights should have come from a checkpoint, and none was loaded.
            PadsegError: They were trained on images that may be held out now.
        """
        self._check_weights()
        self.train()

    def on_train_start(self) -> None:
        """Discard the thresholds, because the weights change now, and keep what is trained on, if it is interrupted."""
        self.calibration = None
        self.trained_on = state_of_data(self.trainer)

    def report_loss(self, loss: Tensor, batch_idx: int) -> None:
        """Log the loss, and stop a diverged training, without waiting for a GPU at every step.

        Raises:
            PadsegError: The loss is not finite.
        """
        self._last_loss = loss.detach()
        on_cpu = loss.device.type == "cpu"
        if (on_cpu or batch_idx % _CHECK_EVERY == 0) and not torch.isfinite(loss):
            raise _diverged(f"the loss at step {self.global_step} is {loss.item()}")
        # For a progress bar, Lightning would read it at every step; `StepBar` does so when it is drawn.
        self.log("train_loss", loss, prog_bar=on_cpu)

    def on_train_end(self) -> None:
        """Check the last loss, which may not have been checked on a GPU, and keep what was trained on.

        Raises:
            PadsegError: It is not finite.
        """
        if self._last_loss is not None and not torch.isfinite(self._last_loss):
            raise _diverged(f"the last loss is {self._last_loss.item()}")
        self.trained_on = state_of_data(self.trainer)

    def on_validation_start(self) -> None:
        """Evaluate one network on all devices, if its weights were loaded or trained, and not on what is held out.

        Raises:
            PadsegError: As in `on_fit_start`.
        """
        self._check_weights()
        if self.trainer.world_size > 1:
            take_statistics_of_first(self)

    on_test_start = on_validation_start
    on_predict_start = on_validation_start

    def score_batch(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Score a batch for an evaluation or for thresholds.

        Raises:
            ConfigError: The loader was given without its data module, or gives no images.
            PadsegError: A score is not finite.
        """
        check_batch(batch, "image")
        scores: dict[str, Tensor] = self(batch["image"])
        if not scores["image_score"].isfinite().all():
            raise _diverged("the scores are not finite")
        return scores

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Score a batch; callbacks evaluate the scores."""
        return self.score_batch(batch)

    test_step = validation_step
    predict_step = validation_step

    def _check_weights(self) -> None:
        if not self.complete:
            raise ConfigError(
                "the weights should come from a checkpoint, but none was loaded: pass the --ckpt_path of one, "
                "or, to train anew, --model.weights (and weights2) or --model.distilled."
            )
        if self.trained_on is not None and (data := data_of(self.trainer)) is not None:
            data.refuse_seen(self.trained_on, MODULE)

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make the checkpoint complete, so that nothing else is needed to load it, and leave out what cannot be read."""
        own = type(self)
        header = Header(
            class_name=self._phase.__name__,
            system=self.system,
            network=self.network,
            teacher_sha256=self.student_teacher.fingerprint(),
            hyper_parameters=self._constructor_arguments(),
            calibration=self.calibration,
            bits=self.bits,
            precision=None if self._trainer is None else str(self._trainer.precision),
            subclass=None if own is self._phase else f"{own.__module__}.{own.__qualname__}",
            scoring={"image_size": as_stored(self.image_size), "top_k": as_stored(self.top_k)},
        )
        checkpoint.update(header.to_checkpoint())
        store_teachers(self, checkpoint["state_dict"])
        store_data(checkpoint, self.trained_on, self._trainer)
        drop_unreadable(checkpoint)

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Reject checkpoints of other modules.

        Raises:
            CheckpointError: The checkpoint is another class's, system's or teacher's, or a training
                would go on with other options than it began with.
        """
        header = own_header(checkpoint, self._phase.__name__, self.system)
        if self._trainer is not None and self._trainer.state.fn == "fit":
            refuse_other_training(checkpoint, self._constructor_arguments(), self.trainer)
        self.complete = True
        self.calibration = header.calibration_for(self.image_size, self.top_k)
        self.bits = header.bits
        self.trained_on = checkpoint.get(DATA_KEY)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """See PyTorch.

        Raises:
            CheckpointError: The weights are those of another network.
        """
        with mismatch_explained("the checkpoint"):
            return super().load_state_dict(*args, **kwargs)

    @property
    def _phase(self) -> type:
        """The module of this phase, also of a user's class that is made from it."""
        # Own classes and mixins come from elsewhere.
        return next(kind for kind in type(self).__mro__ if kind.__module__.startswith("padseg."))

    def _constructor_arguments(self) -> dict[str, Any]:
        """The arguments that rebuild the module of this phase from its checkpoint, in plain values."""
        own = inspect.signature(self._phase).parameters
        return {
            **{name: value for name, value in self.hparams.items() if name in own},
            **self.stored_hparams(),
            "image_size": as_stored(self.image_size),
            "top_k": as_stored(self.top_k),
        }

    @abstractmethod
    def stored_hparams(self) -> dict[str, Any]:
        """The constructor's arguments that must differ when the weights come from a checkpoint."""


def _diverged(how: str) -> PadsegError:
    return PadsegError(
        f"training diverged: {how}; start again with a lower --model.lr (or lr_res, lr_head), or in "
        "32-true if that was another precision."
    )
