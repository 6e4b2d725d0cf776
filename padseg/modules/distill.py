"""Phase one: the student learns to reproduce the teacher's features."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from padseg.data.images import Size
from padseg.data.pairs import check_batch
from padseg.errors import CheckpointError, ConfigError, DataError
from padseg.models import FeaturePair, MemoryStudentTeacher, NetworkOptions, find_system
from padseg.modules.base import AnomalyModule
from padseg.modules.header import STORED_WEIGHTS
from padseg.modules.launchers import refuse_averages
from padseg.modules.optimizer import build_optimizer, refuse_frozen
from padseg.modules.trainer_parts import callbacks_of, data_of
from padseg.names import (
    STUDENT_INPUTS,
    Fusion,
    Gates,
    LossReduction,
    Recalibration,
    SecondConv,
    StudentInput,
    Upsample,
)
from padseg.options import as_stored, one_of

CANDIDATES_KEY = "memory_candidates"
"""Key of what a memory chooses its entries from, in checkpoints of trainings that have not reached their last step."""
# Options of networks that learn by gradients.
_OF_GRADIENTS = (
    *("width", "fusion", "gates", "second_conv", "loss_reduction", "loss_scale", "lr", "momentum"),
    "weight_decay",
)


class StudentDistillModule(AnomalyModule):
    """Distils a frozen teacher into a student; alone, it scores by the distance between the two.

    STPM and RSTPM end here. DeSTSeg, PFADSeg and TEDSeg continue with `SegmentationModule`, which reads
    the checkpoint of this module.

    A student that is a memory (TEDSeg) has no gradients: its steps collect features of clean images, of which the
    last one chooses some. Its optimiser only counts the steps, and options of losses and rates do not apply.

    Args:
        system: `stpm`, `rstpm`, `destseg`, `pfadseg`, `tedseg` or a registered one; the options below are its own when
            None.
        teacher: Tag of a timm backbone with levels at strides 4, 8 and 16; for TEDSeg also of a vision transformer.
        weights: `pretrained` for timm's hub, a weight file (safetensors, or a state dict), or `random`.
        teacher2: Second teacher of RSTPM. TEDSeg can be given one, of the same kinds as the first; its features are
            remembered and segmented apart from those of the first.
        weights2: Its weights.
        width: Channels of the student's first stage, 16 or more.
        fusion: How a residual block joins its branches: `add`, or `aff` (attentional feature fusion).
        gates: How AFF starts: `neutral`, as plain addition, or `random`, as in its authors' code; then the
            encoder's BatchNorms, too, start at one.
        second_conv: A residual block's second convolution: `conv`, or `pcar` (parallel
            convolutional attention recalibration).
        kernels: Kernel sizes of PCAR's branches.
        dilations: Dilations of PCAR's branches.
        recalibration: Whether PCAR weighs each `channel` or each `pixel` of a branch.
        upsample: How RSTPM's reconstruction student upsamples.
        memory_size: Entries of each memory bank of TEDSeg, the size of PatchCore's coreset.
        blocks: Groups of a vision transformer's blocks, from 0, such as `[[3,4,5],[6,7,8]]`: a level each; without
            them, the second and the third quarter of its blocks. With two transformers, of both.
        image_size: Height and width in pixels, or one number for both.
        top_k: Pixels averaged to the image score.
        student_input: `corrupted`, or `clean` for the ablation without denoising (DeSTSeg, Tab. 4). Students of STPM,
            RSTPM and TEDSeg always see clean images.
        loss_reduction: Over the batch; `batch_sum` as in DeSTSeg's official code, so that the step
            grows with the batch, or `mean`.
        loss_scale: Factor of the loss.
        lr: Learning rate of SGD.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD, on all parameters.

    Raises:
        ConfigError: An option cannot be used.
        CheckpointError: The teacher's weights cannot be read.
    """

    def __init__(
        self,
        system: str = "destseg",
        teacher: str | None = None,
        weights: str | Path = "pretrained",
        teacher2: str | None = None,
        weights2: str | Path = "pretrained",
        width: int = 64,
        fusion: Fusion | None = None,
        gates: Gates = "neutral",
        second_conv: SecondConv | None = None,
        kernels: tuple[int, int, int] = (3, 3, 3),
        dilations: tuple[int, int, int] = (1, 2, 3),
        recalibration: Recalibration = "channel",
        upsample: Upsample = "deconv",
        memory_size: int = 2000,
        blocks: list[list[int]] | None = None,
        image_size: int | tuple[int, int] = 256,
        top_k: int | None = None,
        student_input: StudentInput | None = None,
        loss_reduction: LossReduction | None = None,
        loss_scale: float | None = None,
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__()
        # Before they are saved, so that loggers can show them.
        weights, weights2 = str(weights), str(weights2)
        parts = find_system(system)
        lr = parts.lr if lr is None else lr
        chooses = parts.synthetic and not parts.memory
        student_input = student_input or ("corrupted" if chooses else "clean")
        one_of("student_input", student_input, STUDENT_INPUTS)
        self.save_hyperparameters(ignore=[] if chooses else ["student_input"])
        network = NetworkOptions(
            system=system,
            teacher=teacher,
            teacher2=teacher2,
            width=width,
            fusion=fusion,
            gates=gates,
            second_conv=second_conv,
            kernels=tuple(kernels),
            dilations=tuple(dilations),
            recalibration=recalibration,
            upsample=upsample,
            memory_size=memory_size,
            blocks=None if blocks is None else tuple(tuple(group) for group in blocks),
        )
        if weights != STORED_WEIGHTS:  # the options of a checkpoint were checked before
            self._refuse_unread(network)
        self.build(network, weights, weights2, image_size, top_k)
        self.student_input = student_input if chooses else "clean"
        self.loss_reduction = loss_reduction or self.parts.loss_reduction
        self.loss_scale = self.parts.loss_scale if loss_scale is None else loss_scale
        # Lightning then counts the calls of the optimiser's `step`, gradients or not.
        self.automatic_optimization = not self.parts.memory
        self.ready()

    def _refuse_unread(self, network: NetworkOptions) -> None:
        parts, own = find_system(network.system), inspect.signature(StudentDistillModule).parameters
        given: Mapping[str, Any] = self.hparams
        unread = [*_OF_GRADIENTS] if parts.memory else ["memory_size", "blocks"]
        block = network.block(parts.block)
        if block.fusion != "aff":
            unread += ["gates"]
        if block.second_conv != "pcar":
            unread += ["kernels", "dilations", "recalibration"]
        if len(parts.teachers) == 1:
            unread += ["upsample"]
            if not parts.takes_second:
                unread += ["teacher2"]
            if not (parts.takes_second and network.teacher2):
                unread += ["weights2"]
        for name in unread:
            default = parts.lr if name == "lr" else own[name].default
            # Stored weights are a checkpoint's, not an option that somebody gave.
            if as_stored(given[name]) not in (as_stored(default), STORED_WEIGHTS):
                lacking = parts.takes_second and name == "weights2"
                raise ConfigError(
                    f"--model.{name} belongs to a part that {parts.title} with these options does not have: "
                    f"leave it out{', or give --model.teacher2' if lacking else ''}."
                )

    def score_map(self, pairs: list[FeaturePair], size: Size) -> Tensor:
        """The fused distance maps of the system."""
        return self.parts.distance_map(pairs, size)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
        """Distance between the teacher on the clean and the student on the corrupted image."""
        check_batch(batch, "clean", *(["index"] if self.parts.memory else []))
        if self.parts.memory:
            self._remember(batch)
            return None
        corrupted = None
        if self.student_input == "corrupted":
            if "corrupted" not in batch:
                raise ConfigError(
                    f"{self.system} trains on synthetic pairs, but the data has none: set "
                    "--data.synthesis and --data.textures."
                )
            corrupted = batch["corrupted"]
        pairs = self.student_teacher(batch["clean"], corrupted)
        loss = self.parts.distillation_loss(pairs, self.loss_reduction, self.loss_scale)
        self.report_loss(loss, batch_idx)
        if self.loss_reduction == "batch_sum":
            # DDP averages the gradients over the devices, and Lightning over the batches of a step; the
            # sum over all images is meant.
            loss = loss * (self.trainer.world_size * self.trainer.accumulate_grad_batches)
        return loss

    def _remember(self, batch: dict[str, Tensor]) -> None:
        """A step of a student that is a memory."""
        network, image = self.student_teacher, batch["clean"]
        assert isinstance(network, MemoryStudentTeacher)
        step, steps = self.global_step, self.trainer.max_steps
        first = (step * self.trainer.world_size + self.global_rank) * len(image)
        network.collect(image, batch["index"], first, steps, self._gathered)
        if step + 1 >= steps:
            network.student.choose()
            network.student.candidates = []
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.step()

    def _gathered(self, x: Tensor) -> Tensor:
        """The tensors of all processes, one after another."""
        every = self.all_gather(x)  # with one process, x itself
        assert isinstance(every, Tensor)
        return every.reshape(-1, *x.shape[1:])

    def setup(self, stage: str) -> None:
        """See AnomalyModule.

        Raises:
            ConfigError: A memory is trained in 16-mixed, for a limited time, without a last step, or with averages.
            DataError: It is trained on a single image.
        """
        if stage == "fit" and self.parts.memory:
            refuse_averages(self.trainer, self.parts.title)
        super().setup(stage)
        trainer = self.trainer
        if stage != "fit" or not self.parts.memory:
            return
        if trainer.max_steps < 1:
            raise ConfigError(
                f"--trainer.max_steps is {trainer.max_steps}; {self.parts.title} must know its last step."
            )
        data = data_of(trainer)
        if data is not None and data.trained_images and data.trained_images.count < 2:
            raise DataError(
                f"there is 1 normal image to train on; {self.parts.title}, which compares an image with the others, "
                "needs more."
            )
        if any(timer.time_remaining() is not None for timer in callbacks_of(trainer, Timer)):
            raise ConfigError(
                f"--trainer.max_time: {self.parts.title}'s memory is complete after its last step alone; leave it "
                "out of this phase, or give fewer steps."
            )
        if trainer.precision == "16-mixed":  # whose scaler looks for gradients
            raise ConfigError(
                f"--trainer.precision is 16-mixed; {self.parts.title}'s first phase takes 32-true or bf16-mixed."
            )

    def on_train_start(self) -> None:
        """See AnomalyModule; a memory is filled anew, but a training that resumes keeps what it chooses from."""
        super().on_train_start()
        network = self.student_teacher
        if isinstance(network, MemoryStudentTeacher):
            if self.global_step == 0:
                network.student.candidates = []
            elif not network.student.candidates:
                raise CheckpointError(
                    f"--ckpt_path: its memory was complete after {self.global_step} steps, and cannot go on: train "
                    "again, for as many steps as you want."
                )
            network.student.forget()

    def on_train_end(self) -> None:
        """Choose what to remember, if the training ends early; one that resumes chooses again, from more."""
        super().on_train_end()
        network = self.student_teacher
        if isinstance(network, MemoryStudentTeacher) and network.student.candidates:
            network.student.choose()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See AnomalyModule; until a memory has chosen its entries, also what it chooses from."""
        super().on_save_checkpoint(checkpoint)
        network = self.student_teacher
        if isinstance(network, MemoryStudentTeacher) and network.student.candidates:
            checkpoint[CANDIDATES_KEY] = [list(of) for of in network.student.all_candidates()]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See AnomalyModule.

        Raises:
            CheckpointError: As there; or it is of an unfinished training, and this is none.
        """
        super().on_load_checkpoint(checkpoint)
        resumes = self._trainer is not None and self.trainer.state.fn == "fit"
        if not resumes:
            require_memory(checkpoint, "the checkpoint")
        network = self.student_teacher
        if isinstance(network, MemoryStudentTeacher):
            stored = checkpoint.get(CANDIDATES_KEY) if resumes else None
            network.student.candidates = [stored] if stored else []

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimiser; students without shared parameters do not affect each other in it."""
        parameters = [p for p in self.student_teacher.parameters() if p.requires_grad]
        if self.parts.memory:
            refuse_frozen(parameters)
            return torch.optim.SGD(parameters, lr=self.hparams["lr"])
        return build_optimizer(self, [{"params": parameters, "lr": self.hparams["lr"]}])

    def stored_hparams(self) -> dict[str, Any]:
        """The teachers' weights are in the checkpoint."""
        return {"weights": STORED_WEIGHTS, "weights2": STORED_WEIGHTS}


def require_memory(
    checkpoint: Mapping[str, Any], what: str, *, trained_to_end: bool = False
) -> None:
    """Refuse, with a CheckpointError, a checkpoint whose memory has not chosen its entries yet.

    Args:
        checkpoint: as `read_checkpoint` returns it.
        what: its name in the message.
        trained_to_end: refuse also those of trainings that ended early, which have chosen from what there was.
    """
    image = checkpoint["state_dict"].get("student_teacher.student.memories.0.image")
    is_empty = image is not None and image[0] < 0
    if is_empty or (trained_to_end and CANDIDATES_KEY in checkpoint):
        raise CheckpointError(
            f"{what} was saved before its memory was complete: finish its training first, with `fit` and "
            "--ckpt_path."
        )
