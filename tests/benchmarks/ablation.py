"""TEDSeg without one of its ingredients at a time: a plugin whose systems `results.yaml` trains.

padseg run tedseg-one-net --plugin tests.benchmarks.ablation --root mvtec_ad --textures dtd/images --category pill --out runs
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from padseg.models import SYSTEMS, FeaturePair, register
from padseg.models.distance_network import DistanceNetwork
from padseg.models.memory_network import MemoryStudentTeacher, Source, memory_network
from padseg.models.scores import probability_map

WHOLE = SYSTEMS["tedseg"]
FINE, COARSE = Source(levels=(0, 1)), Source(levels=(1, 2), zoom=2.0)


class RemembersOwn(MemoryStudentTeacher):
    """Compares a training image with its own features, too."""

    def forward(
        self, clean: Tensor, corrupted: Tensor | None = None, index: Tensor | None = None
    ) -> list[FeaturePair]:
        return super().forward(clean, corrupted)


def remembers_own(*args: Any, **kwargs: Any) -> MemoryStudentTeacher:
    whole = memory_network(*args, **kwargs)
    return RemembersOwn([whole.teacher], whole.student, whole.sources)


def sources(*chosen: Source) -> partial[MemoryStudentTeacher]:
    assert isinstance(WHOLE.network, partial)
    return partial(memory_network, **{**WHOLE.network.keywords, "sources": chosen})


VARIANTS: Mapping[str, dict[str, Any]] = {
    "one-net": {"segmentation": partial(DistanceNetwork, products=2, members=1)},
    "no-products": {"segmentation": partial(DistanceNetwork, products=0, members=2)},
    "all-products": {"segmentation": partial(DistanceNetwork, products=4, members=2)},
    "own": {"network": partial(remembers_own, **WHOLE.network.keywords)},
    "fine": {"network": sources(FINE)},
    "coarse": {"network": sources(COARSE)},
    "not-enlarged": {"network": sources(FINE, replace(COARSE, zoom=1.0))},
    "not-averaged": {"network": sources(*(replace(one, pool=1) for one in (FINE, COARSE)))},
    "probability": {"segmentation_map": probability_map},
    "focal": {"gamma": 4.0, "l1_weight": 1.0},
}

RECIPES = Path(__file__).parents[2] / "configs" / "tedseg"
for name, changes in VARIANTS.items():
    register(replace(WHOLE, name=f"tedseg-{name}", recipes=RECIPES, **changes))
