"""A tape that stands for a CUDA graph on a CPU: what was called, with the numbers and memory of that time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import GridExecutor

from ringroad.kernels.triton.graphs import Outputs, Replay

aten = torch.ops.aten
WAITING = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default}


class Tape(TorchDispatchMode):
    """Writes down operations of torch and launches of interpreted kernels, while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Callable[..., Any], Any, Any, Any]] = []
        self._launches = False
        self.launches = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._launches:
            if func in WAITING:
                raise AssertionError(f"{func} would wait for the GPU")
            self._calls.append((func, args, kwargs or {}, result))
        return result

    @contextmanager
    def running(self) -> Iterator[None]:
        """Everything inside is written down."""
        launch = GridExecutor.__call__

        def call(executor: Any, *args: Any, **kwargs: Any) -> None:
            self._launches = True
            launch(executor, *args, **kwargs)
            self._launches = False
            self.launches += 1
            self._calls.append((launch, (executor, *args), kwargs, None))

        with patch.object(GridExecutor, "__call__", call), self:
            yield

    def replay(self) -> None:
        """All of it again, into the same memory: not a line of the recorded function runs."""
        for func, args, kwargs, result in self._calls:
            again = func(*args, **kwargs)
            for place, fresh in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(place, Tensor) and place.data_ptr() != fresh.data_ptr():
                    place.copy_(fresh)


class Tapes:
    """A `Capture`."""

    def __init__(self) -> None:
        self.made: list[Tape] = []
        self.replays = 0

    def __call__(self, run: Callable[[], Outputs]) -> tuple[Outputs, Replay]:
        tape = Tape()
        with tape.running():
            outputs = run()
        self.made.append(tape)

        def replay() -> None:
            self.replays += 1
            tape.replay()

        return outputs, replay
