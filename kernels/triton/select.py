"""Which kernels a device takes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ringroad.kernels.triton import twins
from ringroad.kernels.triton.batch import Draws, Guesses, Step, Turn, Verdicts


@dataclass(frozen=True)
class Kernels:
    """What is hot, in one of its two forms; `twins` documents each."""

    attend: Callable[[Tensor, Tensor, Tensor, Step], tuple[Tensor, Tensor]]
    merge: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    verdicts: Callable[[Tensor, Draws, Guesses], Verdicts]
    noisy: Callable[[Tensor, Draws], Tensor]
    add_norm: Callable[[Tensor, Tensor | None, Tensor, float], Tensor]
    place: Callable[[Tensor, Tensor, Tensor, Turn], Tensor]


TWINS = Kernels(twins.attend, twins.merge, twins.verdicts, twins.noisy, twins.add_norm, twins.place)


def kernels_for(device: torch.device) -> Kernels:
    """Triton's for a CUDA device, torch's for any other. Raises ImportError on CUDA without triton."""
    return tritons() if device.type == "cuda" else TWINS


def tritons() -> Kernels:
    """Triton's, which a CPU can run in the interpreter alone."""
    # Here alone, because a machine without a GPU need not have triton.
    from ringroad.kernels.triton.attention import attend
    from ringroad.kernels.triton.merge import merge
    from ringroad.kernels.triton.noisy import noisy
    from ringroad.kernels.triton.norm import add_norm
    from ringroad.kernels.triton.place import place
    from ringroad.kernels.triton.verdicts import verdicts

    return Kernels(attend, merge, verdicts, noisy, add_norm, place)
