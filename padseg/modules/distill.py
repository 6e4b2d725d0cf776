"""Phase one: the student learns to reproduce the teacher's features."""

import inspect
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from padseg.data.images import Size
from padseg.errors import ConfigError
from padseg.models import FeaturePair, NetworkOptions, find_system
from padseg.modules.base import AnomalyModule, ParameterGroup
from padseg.modules.header import STORED_WEIGHTS
from padseg.names import (
    STUDENT_INPUTS,
    Fusion,
    LossReduction,
    Recalibration,
    SecondConv,
    StudentInput,
    Upsample,
)
from padseg.options import as_stored, one_of


class StudentDistillModule(AnomalyModule):
    """Distils a frozen teacher into a student; alone, it scores by the distance between the two.

    STPM and RSTPM end here. DeSTSeg and PFADSeg continue with `SegmentationModule`, which reads the
    checkpoint of this module.

    Args:
        system: `stpm`, `rstpm`, `destseg`, `pfadseg` or a registered one; the options below are its own when
            None.
        teacher: Tag of a timm backbone with levels at strides 4, 8 and 16.
        weights: `pretrained` for timm's hub, a weight file (safetensors, or a state dict), or `random`.
        teacher2: Second teacher (RSTPM).
        weights2: Its weights.
        width: Channels of the student's first stage, 16 or more.
        fusion: How a residual block joins its branches: `add`, or `aff` (attentional feature fusion).
        second_conv: A residual block's second convolution: `conv`, or `pcar` (parallel
            convolutional attention recalibration).
        kernels: Kernel sizes of PCAR's branches.
        dilations: Dilations of PCAR's branches.
        recalibration: Whether PCAR weighs each `channel` or each `pixel` of a branch.
        upsample: How RSTPM's reconstruction student upsamples.
        image_size: Height and width in pixels, or one number for both.
        top_k: Pixels averaged to the image score.
        student_input: `corrupted`, or `clean` for the ablation without denoising (DeSTSeg, Tab. 4).
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
        weights: str = "pretrained",
        teacher2: str | None = None,
        weights2: str = "pretrained",
        width: int = 64,
        fusion: Fusion | None = None,
        second_conv: SecondConv | None = None,
        kernels: tuple[int, int, int] = (3, 3, 3),
        dilations: tuple[int, int, int] = (1, 2, 3),
        recalibration: Recalibration = "channel",
        upsample: Upsample = "deconv",
        image_size: int | tuple[int, int] = 256,
        top_k: int | None = None,
        student_input: StudentInput = "corrupted",
        loss_reduction: LossReduction | None = None,
        loss_scale: float | None = None,
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__()
        lr = (
            find_system(system).lr if lr is None else lr
        )  # before it is saved, so that loggers can show it
        self.save_hyperparameters()
        network = NetworkOptions(
            system=system,
            teacher=teacher,
            teacher2=teacher2,
            width=width,
            fusion=fusion,
            second_conv=second_conv,
            kernels=tuple(kernels),
            dilations=tuple(dilations),
            recalibration=recalibration,
            upsample=upsample,
        )
        one_of("student_input", student_input, STUDENT_INPUTS)
        if weights != STORED_WEIGHTS:  # the options of a checkpoint were checked before
            self._refuse_unread(network, weights2)
        self.build(network, weights, weights2, image_size, top_k)
        self.student_input = student_input if self.parts.synthetic else "clean"
        self.loss_reduction = loss_reduction or self.parts.loss_reduction
        self.loss_scale = self.parts.loss_scale if loss_scale is None else loss_scale
        self.ready()

    def _refuse_unread(self, network: NetworkOptions, weights2: str) -> None:
        parts, own = find_system(network.system), inspect.signature(type(self)).parameters
        given = network.to_plain() | {"weights2": weights2}
        unread: list[str] = []
        if network.block(parts.block).second_conv != "pcar":
            unread += ["kernels", "dilations", "recalibration"]
        if len(parts.teachers) == 1:
            unread += ["teacher2", "weights2", "upsample"]
        for name in unread:
            if given[name] != as_stored(own[name].default):
                raise ConfigError(
                    f"--model.{name} is of a part that {parts.title} with these options does not have: "
                    "leave it out."
                )

    def score_map(self, pairs: list[FeaturePair], size: Size) -> Tensor:
        """The fused distance maps of the system."""
        return self.parts.distance_map(pairs, size)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Distance between the teacher on the clean and the student on the corrupted image."""
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
        self.check_loss(loss, batch_idx)
        self.log("train_loss", loss, prog_bar=True)
        if self.loss_reduction == "batch_sum":
            # DDP averages the gradients over the devices, and Lightning over the batches of a step; the
            # sum over all images is meant.
            loss = loss * (self.trainer.world_size * self.trainer.accumulate_grad_batches)
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimiser; students without shared parameters do not affect each other in it."""
        parameters = [p for p in self.student_teacher.parameters() if p.requires_grad]
        return self.build_optimizer([ParameterGroup(parameters, self.hparams["lr"])])

    def stored_hparams(self) -> dict[str, Any]:
        """The teachers' weights are in the checkpoint."""
        return {"weights": STORED_WEIGHTS, "weights2": STORED_WEIGHTS}
