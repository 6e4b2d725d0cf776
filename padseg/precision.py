"""The precision that training, test and prediction use unless told otherwise."""

import torch


def default_precision() -> str:
    """`bf16-mixed` where the processor computes in bfloat16, else `32-true`."""
    if torch.cuda.is_available():
        return (
            "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        )
    # Without these instructions a CPU emulates bfloat16, several times slower than float32.
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if fast else "32-true"
