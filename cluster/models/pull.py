"""Bring a model onto this machine: whole and verified, or not at all."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from ringroad.cluster.models.assemble import assemble
from ringroad.cluster.models.catalogue import CATALOGUE, Entry
from ringroad.cluster.models.download import Downloaders
from ringroad.cluster.models.errors import (
    NoSourceReachable,
    SourceFailed,
    UnknownModel,
    UnusableModel,
)
from ringroad.cluster.models.progress import SILENT, Progress
from ringroad.cluster.models.store import check_folder, is_hub_id, model_path

__all__ = ["pull"]

_REAL = Downloaders()
_ONE_FILE = "download the file yourself and give its path"


def pull(
    model: str,
    progress: Progress = SILENT,
    *,
    download: Downloaders = _REAL,
    catalogue: Mapping[str, Entry] = CATALOGUE,
) -> Path:
    """Download a catalogue model or a hub repository `org/name`, unless it is already here.

    A catalogue model is one file, checked for size and SHA-256, which appears at its place at
    once or not at all; a killed pull resumes at the next part, and of two at once one waits for
    the other. A hub repository goes into the hub's own cache and leaves `progress` alone.

    Raises:
        UnknownModel: neither a catalogue name nor a hub id.
        UnusableModel: a GGUF file of the hub, or a repository without safetensors.
        NoSourceReachable: with the reason of each source.
    """
    if entry := catalogue.get(model):
        return _pull_entry(entry, progress, download)
    if model.endswith(".gguf"):
        raise UnusableModel(model, _ONE_FILE)
    if not is_hub_id(model):
        raise UnknownModel(model, tuple(catalogue))
    try:
        return check_folder(download.repository(model))
    except SourceFailed as error:
        raise NoSourceReachable(model, (("Hugging Face hub", str(error)),)) from error
    except UnusableModel as error:
        raise UnusableModel(model, f"{error.reason}; of a GGUF repository, {_ONE_FILE}") from error


def _pull_entry(entry: Entry, progress: Progress, download: Downloaders) -> Path:
    target = model_path(entry.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        scratch = target.parent / f"{entry.name}.parts"
        if target.exists() and _fault(target, entry) is None:
            progress.update(entry.size)
        else:
            os.replace(_fetch(entry, scratch, progress, download), target)
        shutil.rmtree(scratch, ignore_errors=True)  # also what a pull killed at its very end left
    return target


def _fetch(entry: Entry, scratch: Path, progress: Progress, download: Downloaders) -> Path:
    """The verified file, still beside its place, from the first source that delivers it."""
    part = scratch.parent / f"{entry.name}.gguf.part"
    failures: list[tuple[str, str]] = []
    for source in entry.sources:
        scratch.mkdir(exist_ok=True)
        try:
            assemble(source, scratch, part, progress, download)
            fault = _fault(part, entry)
        except SourceFailed as error:
            failures.append((str(source), str(error)))
            continue
        if fault is None:
            return part
        failures.append((str(source), fault))
        part.unlink()
        shutil.rmtree(scratch)  # kept parts would give the same wrong file for ever
    raise NoSourceReachable(entry.name, tuple(failures))


def _fault(path: Path, entry: Entry) -> str | None:
    if (size := path.stat().st_size) != entry.size:
        return f"size mismatch: {size} bytes, expected {entry.size}"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return None if found == entry.sha256 else f"sha256 mismatch: {found}, expected {entry.sha256}"
