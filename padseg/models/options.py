"""The options from which a checkpoint rebuilds its network, as flat plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from padseg.models.residual import BlockOptions
from padseg.names import Fusion, Gates, Recalibration, SecondConv, Upsample
from padseg.options import as_stored


@dataclass(frozen=True)
class NetworkOptions:
    """Options of teachers and students, without weights; None means the system's default.

    Attributes:
        system: name of a registered system.
        teacher: timm tag of a backbone with levels at 1/4, 1/8, 1/16 (RSTPM: 1/32 as well).
        teacher2: timm tag of the second teacher, which RSTPM has and TEDSeg can have.
        width: channels of the student's stem; 64 in the papers.
        fusion, gates, second_conv, kernels, dilations, recalibration: see BlockOptions.
        upsample: "deconv" or "bilinear", see ReconstructionStudent.
        memory_size: vectors that a student that is a memory keeps of each source.
        blocks: see Teacher.
    """

    system: str
    teacher: str | None = None
    teacher2: str | None = None
    width: int = 64
    fusion: Fusion | None = None
    gates: Gates = "neutral"
    second_conv: SecondConv | None = None
    kernels: tuple[int, ...] = (3, 3, 3)
    dilations: tuple[int, ...] = (1, 2, 3)
    recalibration: Recalibration = "channel"
    upsample: Upsample = "deconv"
    memory_size: int = 2000
    blocks: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        lists = {name: tuple(stored[name]) for name in ("kernels", "dilations")}
        blocks = stored.get("blocks")
        groups = None if blocks is None else tuple(tuple(group) for group in blocks)
        return cls(**(dict(stored) | lists | {"blocks": groups}))

    def to_dict(self) -> dict[str, Any]:
        """The options by name, as a checkpoint stores them: lists instead of tuples."""
        values: dict[str, Any] = as_stored(asdict(self))
        return values

    def teacher_names(self, own: Sequence[str]) -> list[str]:
        """The timm tags of all teachers; `own` are the system's."""
        given = zip((self.teacher, self.teacher2), [*own, None], strict=False)
        names = [default if name is None else name for name, default in given]
        return [name for name in names if name is not None]

    def block(self, own: BlockOptions) -> BlockOptions:
        """The options of the residual blocks.

        Args:
            own: the system's own block, which supplies the switches that these options leave open.

        Raises:
            ConfigError: a switch has an unknown value.
        """
        return BlockOptions(
            fusion=self.fusion or own.fusion,
            gates=self.gates,
            second_conv=self.second_conv or own.second_conv,
            kernels=self.kernels,
            dilations=self.dilations,
            recalibration=self.recalibration,
        )
