"""Phase two: a segmentation network reads the discrepancy between teacher and student."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from padseg.data.images import Size
from padseg.data.pairs import check_batch
from padseg.errors import CheckpointError, ConfigError
from padseg.models import RCM, FeaturePair, NetworkOptions, build_segmentation, find_system
from padseg.modules.base import MODULE, AnomalyModule
from padseg.modules.checkpoint import (
    Checkpoint,
    mismatch_explained,
    read_checkpoint,
    require_system,
)
from padseg.modules.distill import require_memory
from padseg.modules.header import DATA_KEY, STORED_WEIGHTS, Header
from padseg.modules.optimizer import build_optimizer
from padseg.modules.trainer_parts import data_of
from padseg.names import Context, Fusion, SecondConv


class SegmentationModule(AnomalyModule):
    """Trains the segmentation network on top of a distilled, now frozen, student.

    Its checkpoint is complete: it also holds teacher and student.

    Args:
        distilled: Checkpoint of `StudentDistillModule`, read when a training starts. None only when a
            checkpoint of this module is loaded.
        system: The system that `distilled` must belong to; None for any with a second phase.
        segmentation_width: Channels of the segmentation network; None: the system's own, like the
            following options.
        context: Its context module: `aspp`, or `rcm` (rectangular self-calibration).
        layer_scale: Initial layer scale of the RCM.
        fusion: How residual blocks join their branches, `add` or `aff`; None: as in phase one.
        second_conv: Their second convolution; None: as in phase one.
        image_size: Height and width in pixels; None: as in phase one.
        top_k: Pixels averaged to the image score; None: the system's own, like all options below.
        gamma: Focusing parameter of the focal loss: 0, or from 1 up, where its gradient is finite.
        focal_weight: Weight of the focal loss.
        l1_weight: Weight of the L1 loss.
        lr_res: Learning rate of the residual blocks.
        lr_head: Learning rate of the context module and the output.
        momentum: Momentum of SGD, or beta 1 of AdamW.
        weight_decay: Weight decay: with SGD, of all parameters; with AdamW, of weights alone.
        network: Options of the student-teacher network; a checkpoint fills them in.

    Raises:
        ConfigError: An option cannot be used.
        CheckpointError: `distilled` cannot be read or does not fit.
    """

    def __init__(
        self,
        distilled: str | Path | None = None,
        system: str | None = None,
        segmentation_width: int | None = None,
        context: Context | None = None,
        layer_scale: float = 1.0,
        fusion: Fusion | None = None,
        second_conv: SecondConv | None = None,
        image_size: int | tuple[int, int] | None = None,
        top_k: int | None = None,
        gamma: float | None = None,
        focal_weight: float = 1.0,
        l1_weight: float | None = None,
        lr_res: float | None = None,
        lr_head: float | None = None,
        momentum: float = 0.9,
        weight_decay: float | None = None,
        network: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if distilled is not None:
            distilled = str(distilled)
            checkpoint, header = read_distilled(distilled, system)
            options = header.network
            image_size = image_size or header.hyper_parameters["image_size"]
        elif network is not None:
            options = NetworkOptions.from_dict(network)
        else:
            raise ConfigError(
                "--model.distilled is not set: give the checkpoint of phase one. To use that checkpoint alone, "
                "use StudentDistillModule."
            )
        parts = find_system(options.system)
        if layer_scale != 1 and (context or parts.context) != "rcm":
            raise ConfigError(
                "--model.layer_scale belongs to the RCM: give --model.context rcm as well."
            )
        if parts.memory and (context or fusion or second_conv):
            raise ConfigError(
                f"--model.context, fusion and second_conv are of parts that {parts.title} does not have: leave "
                "them out."
            )
        if segmentation_width is None:
            segmentation_width = parts.segmentation_width
        gamma = parts.gamma if gamma is None else gamma
        l1_weight = parts.l1_weight if l1_weight is None else l1_weight
        lr_res = parts.lr_res if lr_res is None else lr_res
        lr_head = parts.lr_head if lr_head is None else lr_head
        weight_decay = parts.weight_decay if weight_decay is None else weight_decay
        self.save_hyperparameters()
        if gamma != 0 and gamma < 1:
            raise ConfigError(f"--model.gamma is {gamma}; it must be 0, or at least 1.")
        self.build(options, STORED_WEIGHTS, STORED_WEIGHTS, image_size or 256, top_k)
        if distilled is not None:
            self._take_over(checkpoint, header, distilled)
        own = replace(
            options, fusion=fusion or options.fusion, second_conv=second_conv or options.second_conv
        )
        build = partial(
            build_segmentation,
            own,
            width=segmentation_width,
            context=context,
            layer_scale=layer_scale,
        )
        self.segmentation = build(self.student_teacher.channels)
        second = self.student_teacher.channels2
        self.segmentation2 = build(second) if second else None
        self.ready()

    def _take_over(self, checkpoint: Checkpoint, header: Header, path: str) -> None:
        """Load teachers and student of phase one, and go on where its data ended.

        Raises:
            CheckpointError: They do not fit, or a teacher is not the one that phase one used.
        """
        prefix = "student_teacher."
        state = {
            key.removeprefix(prefix): value
            for key, value in checkpoint["state_dict"].items()
            if key.startswith(prefix)
        }
        with mismatch_explained(path):
            self.student_teacher.load_state_dict(state)
        self.complete = True
        if header.teacher_sha256 != self.student_teacher.fingerprint():
            raise CheckpointError(
                f"a teacher in {path} is not the one that its student was trained with: repeat the distillation."
            )
        # As published, one stream runs through both phases, so that no pair is seen twice.
        self.previous_data = checkpoint.get(DATA_KEY)

    def setup(self, stage: str) -> None:
        """See AnomalyModule.

        Raises:
            ConfigError: As there; or the student remembers images by their numbers, which are others now.
            CheckpointError: The images themselves are others now.
        """
        super().setup(stage)
        if stage == "fit" and self.previous_data is not None:
            self._refuse_other_numbers(self.previous_data, "--model.distilled")

    def on_fit_start(self) -> None:
        """See AnomalyModule.

        Raises:
            ConfigError: As in `setup`, for a module that was loaded, and CheckpointError likewise.
        """
        super().on_fit_start()
        if self.trained_on is not None:
            self._refuse_other_numbers(self.trained_on, MODULE)

    def _refuse_other_numbers(self, before: Mapping[str, Any], checkpoint: str) -> None:
        """Reject a memory of images that have other numbers now: it knows them by their numbers."""
        data, options = data_of(self.trainer), before.get("options")
        if not self.parts.memory or data is None or options is None:
            return
        data.stream_options().require_same_images(options, checkpoint)
        if (fraction := options.get("val_fraction", data.val_fraction)) != data.val_fraction:
            raise ConfigError(
                f"{checkpoint} was trained with --data.val_fraction {fraction}, not {data.val_fraction}: "
                f"{self.parts.title} remembers which image is which, so give both phases the same."
            )
        assert data.trained_images is not None
        data.trained_images.require_same(before.get("images"), checkpoint, data.category)

    def train(self, mode: bool = True) -> "SegmentationModule":
        """Train the segmentation network alone: teacher and student keep their BatchNorm statistics."""
        super().train(mode)
        self.student_teacher.eval().requires_grad_(False)
        return self

    @torch.no_grad()
    def compare(self, image: Tensor, index: Tensor | None = None) -> list[FeaturePair]:
        """Features of the frozen teacher and student.

        Args:
            image: (B, 3, H, W), in [0, 1].
            index: Numbers of the training images they are made from, (B,), for a student that is a memory.
        """
        if index is None:
            return super().compare(image)
        pairs: list[FeaturePair] = self.student_teacher(image, index=index)
        return pairs

    def logits(self, pairs: list[FeaturePair]) -> Tensor:
        """Segment what the student finds; with two networks, a defect is what one of them finds.

        Returns:
            (B, 1, h, w) float32; in training, those of all networks that learn side by side, (B, n, h, w).
        """
        each: list[Tensor] = [
            network(pair) for network, pair in zip(self._networks(), pairs, strict=True)
        ]
        if len(each) == 1:
            return each[0]
        return torch.cat(each, dim=1) if self.training else torch.maximum(*each)

    def _networks(self) -> list[nn.Module]:
        """The segmentation network of each pair."""
        return [net for net in (self.segmentation, self.segmentation2) if net is not None]

    def score_map(self, pairs: list[FeaturePair], size: Size) -> Tensor:
        """The segmentation's probabilities, upsampled, or what the system makes of them."""
        return self.parts.segmentation_map(self.logits(pairs), size, pairs)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Focal and L1 loss against the mask of the synthetic defect; without gamma, cross entropy."""
        check_batch(batch)
        if "corrupted" not in batch:
            raise ConfigError(
                "the segmentation trains on synthetic pairs, but the data has none: set "
                "--data.synthesis and --data.textures."
            )
        check_batch(batch, "mask", *(["index"] if self.parts.memory else []))
        # A memory would know the surroundings of the defect by heart, unlike those of a new image.
        index = batch["index"] if self.parts.memory else None
        pairs = self.compare(batch["corrupted"], index)
        pairs = [pair._replace(number=batch.get("number")) for pair in pairs]
        loss = self.parts.segmentation_loss(
            self.logits(pairs),
            batch["mask"],
            gamma=self.hparams["gamma"],
            focal_weight=self.hparams["focal_weight"],
            l1_weight=self.hparams["l1_weight"],
        )
        self.report_loss(loss, batch_idx)
        for part in self.segmentation.modules():
            if isinstance(part, RCM):
                # Near zero, where CGRSeg starts it, the RCM does nothing.
                self.log("layer_scale", part.layer_scale.detach().abs().mean())
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """An optimiser with a rate for the residual blocks and one for the rest."""
        named = [pair for network in self._networks() for pair in network.named_parameters()]
        res = [parameter for name, parameter in named if name.startswith("res.")]
        rest = [parameter for name, parameter in named if not name.startswith("res.")]
        groups = [
            {"params": res, "lr": self.hparams["lr_res"]},
            {"params": rest, "lr": self.hparams["lr_head"]},
        ]
        return build_optimizer(self, groups)

    def stored_hparams(self) -> dict[str, Any]:
        """Teacher and student are in the checkpoint."""
        return {"distilled": None, "network": self.network.to_dict(), "system": self.system}


def read_distilled(path: str, system: str | None) -> tuple[Checkpoint, Header]:
    """Read the checkpoint of phase one, and its header.

    Raises:
        CheckpointError: It cannot be read, is not of phase one, or is of another system.
    """
    checkpoint = read_checkpoint(path)
    header = Header.from_checkpoint(checkpoint)
    require_system(header, path)
    if header.class_name != "StudentDistillModule":
        raise CheckpointError(
            f"{path} is a checkpoint of {header.class_name}; --model.distilled takes one of phase one."
        )
    require_memory(checkpoint, path, trained_to_end=True)
    if system is not None and header.system != system:
        raise CheckpointError(f"{path} was distilled for {header.system}, not for {system}.")
    if find_system(header.system).segmentation is None:
        raise CheckpointError(f"{path} is of {header.system}, which has no segmentation phase.")
    return checkpoint, header
