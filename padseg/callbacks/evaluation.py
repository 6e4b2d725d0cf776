"""Metrics during validation and test."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torchmetrics import SumMetric

from padseg.data.datasets import HeldOutDataset, TestDataset
from padseg.data.pairs import check_batch
from padseg.data.samples import GOOD
from padseg.errors import ConfigError, PadsegError
from padseg.metrics import AUPIMO, SPRO, ImageMetrics, MetricInputError, PixelMetrics
from padseg.metrics.further import FURTHER
from padseg.models.scores import map_at_size
from padseg.modules.trainer_parts import callbacks_of


class EvaluationCallback(Callback):
    """Computes all metrics of a validation or test run and logs them.

    Test figures have the names of `PixelMetrics` (with `pro5`, its PRO up to 0.05), `ImageMetrics` and
    `FURTHER`; validation figures the prefix `val_`. Categories of MVTec LOCO have `spro5` as well, the sPRO
    up to 0.05 at the images' own size, the mean of that of logical and of structural anomalies.
    `val_score_map` is the mean over the score maps of held-out normal images, by which STPM chooses its
    best step. A test compares score maps and masks at the network's size or, if the data module's
    `evaluation` is `native`, at each image's own. No score maps are kept, and the figures do not depend
    on the number of devices (except for the last bits of that mean).

    Args:
        exact: Keep all maps and sort once instead of using the bounded state.
        fpr_limit: False-positive rate up to which PRO is integrated.
        recall: Instance recall at which the precision is reported (`iap90` for 0.9).
    """

    def __init__(self, exact: bool = False, fpr_limit: float = 0.3, recall: float = 0.9) -> None:
        self.pixel = PixelMetrics(
            exact=exact, fpr_limit=fpr_limit, recall=recall, further_fpr_limits=(0.05,)
        )
        self.image = ImageMetrics()
        self.spro: dict[str, SPRO] = {}  # by the kind of anomaly
        self.exact = exact
        self.further = {name: metric.build() for name, metric in FURTHER.items()}
        # The module has already checked for NaN; a second check would make the host wait for the GPU. Without one,
        # MeanMetric leaves out the weights (torchmetrics 1.9).
        self._normal_score = SumMetric(nan_strategy="disable")
        self._normal_count = SumMetric(nan_strategy="disable")
        self._dataset: Any = None  # that is being evaluated

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Reject a second such callback: Lightning would report the means of both under the same names.

        Raises:
            ConfigError: The Trainer has one.
        """
        if len(callbacks_of(trainer, EvaluationCallback)) > 1:
            raise ConfigError(
                "--trainer.callbacks: there are several EvaluationCallbacks, whose figures have the same names: give "
                "one (on the command line, which has one already, set --evaluation.fpr_limit and the like instead)."
            )

    def _metrics(self) -> tuple[Any, ...]:
        own = (self.pixel, self.image, self._normal_score, self._normal_count)
        return *own, *self.spro.values(), *self.further.values()

    def _update(self, outputs: Any, batch: dict[str, Any]) -> None:
        native = getattr(self._dataset, "native", False)
        check_batch(batch, "label", "index" if native else "regions")
        label, (score_map, image_score) = batch["label"], scores_of(outputs)
        if native:
            # One after the other: the images' own sizes differ, and can be large.
            for at, index in enumerate(batch["index"].tolist()):
                own = torch.from_numpy(self._dataset.own_regions(index)).to(score_map.device)
                enlarged = map_at_size(score_map[at : at + 1], (own.shape[0], own.shape[1]))
                self._update_pixels(enlarged, own[None, None], label[at : at + 1])
        else:
            self._update_pixels(score_map, batch["regions"], label)
        self.image.update(image_score, label)
        if getattr(self._dataset, "saturations", None):
            self._update_spro(score_map, batch["index"].tolist())
        for name, metric in self.further.items():
            if FURTHER[name].level == "image":
                metric.update(image_score, label)
        self._normal_score.update(score_map.mean(dim=(1, 2, 3)).masked_fill(label, 0))
        self._normal_count.update((~label).float())

    def _update_spro(self, score_map: Tensor, indices: list[int]) -> None:
        """Count the defects of MVTec LOCO, whose areas are those of the images' own size."""
        for at, index in enumerate(indices):
            own = self._dataset.own_defects(index)
            enlarged = map_at_size(score_map[at : at + 1], own[0].shape[1:])
            defects, saturation = (torch.from_numpy(each).to(score_map.device) for each in own)
            for kind, metric in self.spro.items():
                if self._dataset.samples[index].defect in (GOOD, kind):
                    metric.update(enlarged, defects, saturation)

    def _update_pixels(self, score_map: Tensor, regions: Tensor, label: Tensor) -> None:
        """Count the pixels of images; `regions` is 0 outside of defects."""
        mask = (regions > 0).byte()
        self.pixel.update(score_map, mask, regions)
        for name, metric in self.further.items():
            if isinstance(metric, AUPIMO):
                metric.update(score_map, mask, defective=label)
            elif FURTHER[name].level == "pixel":
                metric.update(score_map, mask)

    def _figures(self, trainer: Trainer) -> dict[str, Tensor]:
        figures = self.image.compute() | self.pixel.compute()
        figures |= {name: metric.compute() for name, metric in self.further.items()}
        if getattr(self._dataset, "saturations", None):
            # As published: each kind of anomaly has false positives of its own.
            areas = [_area(metric) for metric in self.spro.values()]
            figures["spro5"] = torch.tensor(areas, dtype=torch.float64).mean()  # nan without any
        # Loaders of others may leave images out, and their data may have no length.
        if isinstance(self._dataset, TestDataset | HeldOutDataset) and not _limited(trainer):
            seen, expected = self.pixel.images_seen, len(self._dataset)
            if seen != expected:
                raise PadsegError(
                    f"{seen} images were evaluated, the data has {expected}: some process got a wrong "
                    "share of them; do not replace the data module's samplers."
                )
        return figures

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the metrics."""
        self._dataset = evaluated_dataset(trainer, evaluation_stage(trainer))
        if getattr(self._dataset, "saturations", None):
            kinds = {sample.defect for sample in self._dataset.samples} - {GOOD}
            self.spro = {kind: SPRO(exact=self.exact) for kind in sorted(kinds)}
        for metric in self._metrics():
            # Lightning does not move the metrics of callbacks, and NCCL reduces only states on the GPU.
            metric.to(pl_module.device)
            metric.reset()

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Update the metrics with one batch."""
        self._update(outputs, batch)

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log `val_*`, with segmentation figures only if there are synthetic defects."""
        if trainer.sanity_checking:
            return  # only a few batches, whose logs are discarded
        figures = {"score_map": self._normal_score.compute() / self._normal_count.compute()}
        if getattr(self._dataset, "defects", None) is not None:
            with warnings.catch_warnings():
                # Among a few held-out images, the draws may leave all without a defect.
                warnings.filterwarnings("ignore", message=".*not defined and set to nan")
                figures |= self._figures(trainer)
        self._log(pl_module, {f"val_{name}": value for name, value in figures.items()})

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the test figures."""
        self._log(pl_module, self._figures(trainer))

    def _log(self, pl_module: LightningModule, figures: dict[str, Tensor]) -> None:
        # The metrics are already reduced across processes.
        values = {name: value.to(torch.float32) for name, value in figures.items()}
        pl_module.log_dict(values, sync_dist=False)


def _area(metric: SPRO) -> float:
    try:
        return float(metric.compute())
    except MetricInputError:
        # The pixel figures have been computed, so nothing is wrong with the scores: no image was counted.
        return math.nan


def scores_of(outputs: Any) -> tuple[Tensor, Tensor]:
    """Score maps (B, 1, H, W) and image scores (B,) in float32 that a module's step has returned.

    Raises:
        ConfigError: It returned something else.
    """
    if not isinstance(outputs, Mapping) or not {"score_map", "image_score"} <= outputs.keys():
        raise ConfigError(
            "the module's test_step or validation_step must return a dict with score_map (B, 1, H, W) and image_score "
            "(B,), as padseg's do."
        )
    return outputs["score_map"], outputs["image_score"].float()


def _limited(trainer: Trainer) -> bool:
    """Whether the user limited the images; `fast_dev_run` sets whole numbers."""
    limits = (trainer.limit_val_batches, trainer.limit_test_batches)
    return any(isinstance(limit, int) or limit < 1 for limit in limits)


def evaluation_stage(trainer: Trainer) -> str:
    """`test` or `val`."""
    return "test" if trainer.testing else "val"


def evaluated_dataset(trainer: Trainer, stage: str) -> Any:
    """The dataset of an evaluation, `test` or `val`."""
    given = trainer.test_dataloaders if stage == "test" else trainer.val_dataloaders
    # Lightning takes one loader in a list or dict, too; several need steps that padseg's modules do not have.
    return CombinedLoader(given).flattened[0].dataset
