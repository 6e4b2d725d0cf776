"""The masks on which pixel figures rest."""

from dataclasses import dataclass


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
