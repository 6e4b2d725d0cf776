"""Blending, which determines what a synthetic defect looks like.

Source: Zavrtanik et al., DRAEM, ICCV 2021, equation 1; Zhang et al., DeSTSeg, CVPR 2023.
"""

from torch import Tensor


def blend(clean: Tensor, texture: Tensor, mask: Tensor, opacity: Tensor) -> Tensor:
    """Lay a texture over the masked part of an image.

    Blend before normalising: both images must be in the range 0 to 1.

    Args:
        clean: (B, 3, H, W) float, within 0 to 1.
        texture: (B, 3, H, W) float, within 0 to 1.
        mask: (B, 1, H, W), 1 where the texture goes, else 0.
        opacity: (B,) float, within 0 to 1; 1 shows the texture alone.

    Returns:
        (B, 3, H, W): opacity * texture + (1 - opacity) * clean inside the mask, and exactly `clean`
        outside it.
    """
    opacity = mask * opacity[:, None, None, None]
    # Added in place, because allocating another image takes a third of the time on a CPU. Where the
    # opacity is 0, this adds 0 to the clean image, which changes no bit.
    return (opacity * texture).add_((1 - opacity) * clean)
