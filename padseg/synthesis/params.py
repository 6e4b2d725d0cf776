"""Parameters of synthetic defects, after DRAEM and DeSTSeg; see `padseg.synthesis.draws`."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from padseg.errors import ConfigError
from padseg.options import one_of
from padseg.synthesis.fills import FILLS
from padseg.synthesis.kinds import MASKS, MIXED
from padseg.synthesis.shapes import SHAPES

PERLIN = "perlin"
_MAX_EXPONENT = 8


@dataclass(frozen=True)
class Mixture:
    """How often each shape and fill of a defect is drawn with the back-end "mixed".

    Weights are relative: they need not add up to 1, and a name that is not given is never drawn.

    Attributes:
        shapes: the weight of each shape: perlin, line, spot, blob, band, zone. By default, all are Perlin masks,
            with which TEDSeg finds more single defects than with the other shapes among them.
        fills: the weight of each fill: texture; self, a part of the image itself or of another normal image;
            tone, the image lighter, darker, of another contrast or tint, or blurred; flat, one colour. Three
            fifths of the zones are filled with tone in any case, unless it has no weight.
        soft_edges: share of the defects with a blurred edge, 0 to 1.
        visible: a defect that changes its pixels by less than this on average (the channel that
            changes most counts) is removed: its mask is empty and its image clean. Within 0 to 1.

    Raises:
        ConfigError: a field is outside its range.
    """

    shapes: dict[str, float] = field(default_factory=lambda: {PERLIN: 1.0})
    fills: dict[str, float] = field(
        default_factory=lambda: {"texture": 0.60, "self": 0.15, "tone": 0.17, "flat": 0.08}
    )
    soft_edges: float = 0.5
    visible: float = 0.015

    def __post_init__(self) -> None:
        _require_weights(self, "shapes", (PERLIN, *SHAPES))
        _require_weights(self, "fills", FILLS)
        _require(self, "soft_edges", 0 <= self.soft_edges <= 1, "within 0 to 1")
        _require(self, "visible", 0 <= self.visible <= 1, "within 0 to 1")


@dataclass(frozen=True)
class SynthesisParams:
    """How synthetic defects are drawn; the defaults are those of DeSTSeg.

    Attributes:
        exponents: smallest and largest exponent e, both inclusive; the lattice has 2^e cells along an
            axis, and each axis draws its own e. Within 0 to 8.
        threshold: a pixel is masked if the noise, within -1 to 1, is above this. From 0 to below 1, so
            that the corners that the rotation uncovers (noise 0) are never masked.
        rotation: the noise is rotated by an angle drawn uniformly from -rotation to +rotation, in
            degrees, within 0 to 180.
        resampled: rotate the picture of the noise and interpolate it bilinearly, as in DRAEM's and DeSTSeg's
            code, instead of evaluating the noise at rotated coordinates. The draws are the same, but
            peaks and fine lattices are smoothed, so that slightly less is masked. Not for "noise".
        opacity: smallest and largest opacity of the texture inside the mask, drawn uniformly;
            0 leaves the image unchanged, 1 shows only the texture.
        probability: share of the samples that get a defect, 0 to 1. Their masks can still be empty.
        retries: number of further lattices to try if a mask is empty, 0 or more.
        backend: "perlin" draws random unit gradients and evaluates them in a batch; "noise" reads
            the fixed gradient table of the `noise` package, pixel by pixel, in the data workers;
            "mixed" fills Perlin masks, or lines, spots, blobs, bands and zones, with textures, the image's
            own parts, changes of tone or colours; a registered kind of mask has its own name.
        octaves: number of octaves of the "noise" back-end, each with twice the frequency and half the
            amplitude of the one before; 1 to 8. "perlin" has one.
        mixture: how often each shape and fill is drawn with the back-end "mixed". Its Perlin masks
            follow the fields above; `opacity` is that of textures.

    Raises:
        ConfigError: a field is outside its range.
    """

    exponents: tuple[int, int] = (0, 5)
    threshold: float = 0.5
    rotation: float = 90.0
    resampled: bool = False
    opacity: tuple[float, float] = (0.2, 1.0)
    probability: float = 1.0
    retries: int = 0
    backend: str = "perlin"
    octaves: int = 1
    mixture: Mixture = field(default_factory=Mixture)

    def __post_init__(self) -> None:
        # Each test is written so that a NaN fails it.
        _require(
            self,
            "exponents",
            [type(exponent) for exponent in self.exponents] == [int, int]
            and 0 <= self.exponents[0] <= self.exponents[1] <= _MAX_EXPONENT,
            f"two whole numbers, the smaller first, within 0 to {_MAX_EXPONENT}",
        )
        _require(self, "threshold", 0 <= self.threshold < 1, "from 0 to below 1")
        _require(self, "rotation", 0 <= self.rotation <= 180, "within 0 to 180 degrees")
        _require(
            self,
            "opacity",
            len(self.opacity) == 2 and 0 <= self.opacity[0] <= self.opacity[1] <= 1,
            "two numbers, the smaller first, within 0 to 1",
        )
        _require(self, "probability", 0 <= self.probability <= 1, "within 0 to 1")
        whole = type(self.retries) is int and self.retries >= 0
        _require(self, "retries", whole, "a whole number, 0 or more")
        one_of("Synthesis option backend", self.backend, (*MASKS, MIXED))
        whole = type(self.octaves) is int and 1 <= self.octaves <= 8
        _require(self, "octaves", whole, "a whole number within 1 to 8")
        noise = self.backend == "noise"
        _require(self, "octaves", noise or self.octaves == 1, 'left at 1 unless backend is "noise"')
        unread = noise and self.resampled
        _require(self, "resampled", not unread, 'left at False if backend is "noise"')
        known = isinstance(self.mixture, Mixture)
        _require(self, "mixture", known, "a padseg.synthesis.Mixture")
        if self.mixture != Mixture() and self.backend != MIXED:
            raise ConfigError(
                f'Synthesis option mixture has no effect with backend "{self.backend}": set backend to '
                f'"{MIXED}", or leave mixture out.'
            )


def require_params(given: SynthesisParams | None) -> SynthesisParams | None:
    """The parameters as they are given.

    Raises:
        ConfigError: they are something else, such as a dict.
    """
    if given is None or isinstance(given, SynthesisParams):
        return given
    raise ConfigError(
        f"synthesis is {given!r}: give padseg.synthesis.SynthesisParams, such as "
        'SynthesisParams(backend="mixed"), or None.'
    )


def _require_weights(mixture: Mixture, field: str, known: Collection[str]) -> None:
    weights: dict[str, float] = getattr(mixture, field)
    for name in weights:
        one_of(f"A name in synthesis option mixture.{field}", name, known)
    usable = all(0 <= weight < math.inf for weight in weights.values()) and any(weights.values())
    _require(mixture, field, usable, "weights of 0 or more, one of them above 0")


def _require(params: Mixture | SynthesisParams, field: str, holds: bool, rule: str) -> None:
    if not holds:
        option = f"mixture.{field}" if isinstance(params, Mixture) else field
        value = getattr(params, field)
        raise ConfigError(f"Synthesis option {option} is {value!r}, but must be {rule}.")
