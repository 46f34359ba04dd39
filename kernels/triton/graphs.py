"""CUDA graphs: a step's launches recorded once for each shape of its inputs, then replayed as one."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Outputs: TypeAlias = tuple[Tensor, ...]
Replay: TypeAlias = Callable[[], None]
Capture: TypeAlias = Callable[[Callable[[], Outputs]], tuple[Outputs, Replay]]


class OnCuda:
    """Records what runs; every replay computes anew from, and into, the same memory.

    What recordings need in passing lies in memory they share: one of them runs at a time.
    """

    def __init__(self) -> None:
        self._first: torch.cuda.CUDAGraph | None = None  # whose memory is everyone's

    def __call__(self, run: Callable[[], Outputs]) -> tuple[Outputs, Replay]:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()  # compiles what is launched for the first time: that cannot be recorded
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Another model's thread may allocate meanwhile: that is none of this recording's business.
        pool = None if self._first is None else self._first.pool()
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            outputs = run()
        self._first = self._first or graph
        return outputs, graph.replay


class Recorded:
    """A function of tensors that waits for nothing and takes all bounds from its inputs' shapes.

    On a CPU it is called as it is. On a GPU what it returns is overwritten by the next call.
    """

    def __init__(self, function: Callable[..., Outputs], capture: Capture | None = None) -> None:
        self._function = function
        self._capture = capture
        self._recordings: dict[tuple[object, ...], tuple[Outputs, Outputs, Replay]] = {}

    def __call__(self, *inputs: Tensor) -> Outputs:
        """The function's outputs for these inputs, all of one device."""
        if self._capture is None:
            if not inputs[0].is_cuda:
                return self._function(*inputs)
            self._capture = OnCuda()
        key = tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in inputs)
        if key not in self._recordings:
            held = tuple(tensor.clone() for tensor in inputs)
            self._recordings[key] = (held, *self._capture(lambda: self._function(*held)))
        held, outputs, replay = self._recordings[key]
        for place, tensor in zip(held, inputs, strict=True):
            place.copy_(tensor)
        replay()
        return outputs
