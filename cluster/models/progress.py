"""How far a download is, told to whoever watches."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

__all__ = ["SILENT", "Progress", "RichProgress", "Silent"]


class Progress(Protocol):
    """Told from any thread how much of a model is here."""

    def update(self, done: int) -> None:
        """`done` bytes of the model's size are here; falls back when a source is given up."""


class Silent:
    """Nobody watches."""

    def update(self, done: int) -> None: ...


SILENT = Silent()


class RichProgress:
    """A bar on the console while entered; `total` in bytes."""

    def __init__(self, console: Console, label: str, total: int) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bars.add_task(label, total=total)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def update(self, done: int) -> None:
        self._bars.update(self._task, completed=done)
