"""Phase two: a segmentation network reads the discrepancy of teacher and student."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from padseg.data import AnomalyDataModule
from padseg.errors import CheckpointError, ConfigError
from padseg.losses import segmentation_loss
from padseg.models import RCM, SYSTEMS, build_segmentation
from padseg.modules.base import AnomalyModule
from padseg.modules.checkpoint import read_checkpoint
from padseg.modules.header import STORED_WEIGHTS, Header
from padseg.names import Context, Fusion, SecondConv


class SegmentationModule(AnomalyModule):
    """Trains the segmentation network on top of a distilled, now frozen, student.

    Its checkpoint is complete: it also holds teacher and student.

    Args:
        distilled: Checkpoint of `StudentDistillModule`, read when a training starts. None only when a
            checkpoint of this module is loaded.
        system: The system that `distilled` must be of; None takes any with a second phase.
        segmentation_width: Channels of the segmentation network.
        context: What widens its view: `aspp`, or `rcm` (rectangular self-calibration); None: the
            system's own.
        layer_scale: Initial layer scale of the RCM.
        fusion: As in phase one; None: as in phase one.
        second_conv: As in phase one; None: as in phase one.
        image_size: Height and width in pixels; None: as in phase one.
        top_k: Pixels averaged to the image score; None: the system's own.
        gamma: Focusing parameter of the focal loss: 0, or from 1 up, where its gradient is finite.
        focal_weight: Weight of the focal loss.
        l1_weight: Weight of the L1 loss.
        lr_res: Learning rate of the residual blocks.
        lr_head: Learning rate of the context module and the output.
        momentum: Of SGD.
        weight_decay: Of SGD, on all parameters.
        network: Options of the student-teacher network; a checkpoint fills them in.

    Raises:
        ConfigError: An option cannot be used.
        CheckpointError: `distilled` cannot be read or does not fit.
    """

    def __init__(
        self,
        distilled: str | None = None,
        system: str | None = None,
        segmentation_width: int = 256,
        context: Context | None = None,
        layer_scale: float = 1.0,
        fusion: Fusion | None = None,
        second_conv: SecondConv | None = None,
        image_size: int | tuple[int, int] | None = None,
        top_k: int | None = None,
        gamma: float = 4.0,
        focal_weight: float = 1.0,
        l1_weight: float = 1.0,
        lr_res: float = 0.1,
        lr_head: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        network: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if distilled is not None:
            checkpoint = read_distilled(distilled, system)
            header = Header.from_checkpoint(checkpoint)
            network = dict(header.network)
            image_size = image_size or header.hyper_parameters["image_size"]
            if layer_scale != 1 and (context or SYSTEMS[network["system"]].context) != "rcm":
                raise ConfigError(
                    "--model.layer_scale is of the RCM: give --model.context rcm as well."
                )
        elif network is None:
            raise ConfigError("--model.distilled is not set: it names the checkpoint of phase one.")
        assert network is not None
        if gamma != 0 and gamma < 1:
            raise ConfigError(f"--model.gamma is {gamma}; it must be 0, or at least 1.")
        stored = {"weights": STORED_WEIGHTS, "weights2": STORED_WEIGHTS}
        self.build(network, stored, image_size or 256, top_k)
        if distilled is not None:
            self._take_over(checkpoint["state_dict"], header.teacher_sha256, distilled)
            # As published, one stream goes through both phases: no pair is seen twice.
            self.previous_data = checkpoint.get(AnomalyDataModule.__qualname__)
        self.student_teacher.requires_grad_(False)
        self.segmentation = build_segmentation(
            self.system,
            self.student_teacher.teacher.channels[:3],
            width=segmentation_width,
            fusion=fusion or network["fusion"],
            second_conv=second_conv or network["second_conv"],
            context=context,
            layer_scale=layer_scale,
            kernels=network["kernels"],
            dilations=network["dilations"],
            recalibration=network.get("recalibration", "channel"),
        )
        self.ready()

    def _take_over(self, weights: Mapping[str, Tensor], teacher_sha256: str, path: str) -> None:
        """Load teacher and student of phase one.

        Raises:
            CheckpointError: They do not fit, or the teacher is not the one that phase one used.
        """
        prefix = "student_teacher."
        state = {
            key.removeprefix(prefix): value
            for key, value in weights.items()
            if key.startswith(prefix)
        }
        try:
            self.student_teacher.load_state_dict(state)
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not fit its own options: {error}") from error
        self.complete = True
        if self.student_teacher.fingerprint() != teacher_sha256:
            raise CheckpointError(
                f"the teacher in {path} is not the one that its student was trained with: distil again."
            )

    def train(self, mode: bool = True) -> "SegmentationModule":
        """Train the segmentation network alone: teacher and student keep their BatchNorm statistics."""
        super().train(mode)
        self.student_teacher.eval()
        return self

    def logits(self, image: Tensor) -> Tensor:
        """(B, 1, h, w) float32 at the resolution of the finest features."""
        with torch.no_grad():
            (pair,) = self.student_teacher(image)
        logits: Tensor = self.segmentation(pair)
        return logits

    def score_map(self, image: Tensor) -> Tensor:
        """The segmentation's probabilities, upsampled."""
        probability = self.logits(image).float().sigmoid()
        size = image.shape[-2:]
        return nn.functional.interpolate(probability, size, mode="bilinear", align_corners=False)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Focal and L1 loss against the painted mask."""
        if "corrupted" not in batch:
            raise ConfigError(
                "the segmentation trains on synthetic pairs, but the data has none: set "
                "--data.synthesis and --data.textures."
            )
        loss = segmentation_loss(
            self.logits(batch["corrupted"]),
            batch["mask"],
            gamma=self.hparams["gamma"],
            focal_weight=self.hparams["focal_weight"],
            l1_weight=self.hparams["l1_weight"],
        )
        self.check_loss(loss, batch_idx)
        self.log("train_loss", loss, prog_bar=True)
        context = self.segmentation.head.context
        if isinstance(context, RCM):
            # Near zero the RCM does nothing, as it was started in CGRSeg.
            self.log("layer_scale", context.layer_scale.detach().abs().mean())
        return loss

    def configure_optimizers(self) -> Any:
        """SGD with a rate for the residual blocks and one for the head."""
        groups = [
            {"params": list(self.segmentation.res.parameters()), "lr": self.hparams["lr_res"]},
            {"params": list(self.segmentation.head.parameters()), "lr": self.hparams["lr_head"]},
        ]
        return self.sgd(groups, self.hparams["momentum"], self.hparams["weight_decay"])

    def stored_hparams(self) -> dict[str, Any]:
        """Teacher and student are in the checkpoint."""
        return {"distilled": None, "network": self.network, "system": self.system}


def read_distilled(path: str, system: str | None) -> dict[str, Any]:
    """Read the checkpoint of phase one.

    Raises:
        CheckpointError: It cannot be read, is not of phase one, or is of another system.
    """
    checkpoint = read_checkpoint(path)
    header = Header.from_checkpoint(checkpoint)
    if header.class_name != "StudentDistillModule":
        raise CheckpointError(
            f"{path} is a checkpoint of {header.class_name}; --model.distilled takes one of phase one."
        )
    if system is not None and header.system != system:
        raise CheckpointError(f"{path} was distilled for {header.system}, not for {system}.")
    if not SYSTEMS[header.system].segmentation:
        raise CheckpointError(f"{path} is of {header.system}, which has no segmentation phase.")
    return checkpoint
