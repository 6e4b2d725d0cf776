"""What the figures of a test rest on besides the scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MaskCounts:
    """The masks of a test set, and what their reduction loses.

    Attributes:
        images: Images with a mask.
        lost_images: Those of them whose reduced mask is empty.
        regions: 8-connected regions at the masks' own size.
        lost_regions: Those of them of which no pixel is left.
    """

    images: int = 0
    lost_images: int = 0
    regions: int = 0
    lost_regions: int = 0

    def __add__(self, other: "MaskCounts") -> "MaskCounts":
        return MaskCounts(
            self.images + other.images,
            self.lost_images + other.lost_images,
            self.regions + other.regions,
            self.lost_regions + other.lost_regions,
        )


@dataclass(frozen=True)
class Evaluation:
    """What test figures depend on besides the scores.

    Attributes:
        size: Height and width at which pixel figures compare score maps and masks; None for each image's
            own.
        masks: The masks, and what is lost of them at this size.
        warnings: What may have changed figures, as sentences.
    """

    size: tuple[int, int] | None
    masks: MaskCounts
    warnings: tuple[str, ...]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any] | None) -> "Evaluation | None":
        """Read the content of a JSON file; None in those of early versions."""
        if content is None:
            return None
        size = content["size"]
        return cls(
            size=None if size is None else (int(size[0]), int(size[1])),
            masks=MaskCounts(**content["masks"]),
            warnings=tuple(str(warning) for warning in content["warnings"]),
        )

    @property
    def resolution(self) -> str:
        """The size in words."""
        if self.size is None:
            return "pixel figures at the images' own size"
        return f"pixel figures at {self.size[0]}x{self.size[1]}"
