"""CUDA graphs: a step's launches recorded once for each shape of its inputs, then replayed as one."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Outputs: TypeAlias = tuple[Tensor, ...]
Replay: TypeAlias = Callable[[], None]
Capture: TypeAlias = Callable[[Callable[[], Outputs]], tuple[Outputs, Replay]]


def on_cuda(run: Callable[[], Outputs]) -> tuple[Outputs, Replay]:
    """Records `run`; every replay computes anew from, and into, the same memory."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()  # compiles what is launched for the first time: that cannot be recorded
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = run()
    return outputs, graph.replay


class Recorded:
    """A function of tensors that waits for nothing and takes all bounds from its inputs' shapes.

    On a CPU it is called as it is. On a GPU what it returns is overwritten by the next call of the
    same shapes.
    """

    def __init__(self, function: Callable[..., Outputs], capture: Capture | None = None) -> None:
        self._function = function
        self._capture = capture
        self._recordings: dict[tuple[object, ...], tuple[Outputs, Outputs, Replay]] = {}

    def __call__(self, *inputs: Tensor) -> Outputs:
        """The function's outputs for these inputs, all of one device."""
        capture = self._capture or (on_cuda if inputs[0].is_cuda else None)
        if capture is None:
            return self._function(*inputs)
        key = tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in inputs)
        if key not in self._recordings:
            held = tuple(tensor.clone() for tensor in inputs)
            self._recordings[key] = (held, *capture(lambda: self._function(*held)))
        held, outputs, replay = self._recordings[key]
        for place, tensor in zip(held, inputs, strict=True):
            place.copy_(tensor)
        replay()
        return outputs
