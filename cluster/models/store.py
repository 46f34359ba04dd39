"""Where models lie on this machine."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from ringroad.cluster.models.catalogue import CATALOGUE, Entry
from ringroad.cluster.models.download import cached_repository
from ringroad.cluster.models.errors import ModelNotCached, UnknownModel, UnusableModel

__all__ = ["cache_folder", "cached", "check_folder", "is_hub_id", "locate", "model_path"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def cache_folder() -> Path:
    """$RINGROAD_CACHE, else $XDG_CACHE_HOME/ringroad, else ~/.cache/ringroad; may not exist yet."""
    if own := os.environ.get("RINGROAD_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "ringroad"
    return Path.home() / ".cache" / "ringroad"


def model_path(name: str) -> Path:
    """Where the catalogue model `name` lies once pulled."""
    return cache_folder() / "models" / f"{name}.gguf"


def cached(catalogue: Mapping[str, Entry] = CATALOGUE) -> list[tuple[Entry, Path | None]]:
    """Every catalogue entry with its file, or None where it has to be pulled first."""
    return [(entry, _cached_file(entry)) for entry in catalogue.values()]


def locate(model: str | Path, catalogue: Mapping[str, Entry] = CATALOGUE) -> Path:
    """The files of a catalogue name, a local .gguf file or model folder, or a cached hub id.

    Looks on this machine only, in that order; a cached file is checked for its size, not its sum.

    Raises:
        ModelNotCached: known by name or shaped like a hub id, but not on this machine.
        UnusableModel: the local file or folder is not a model.
        UnknownModel: none of these.
    """
    text = str(model)
    if entry := catalogue.get(text):
        if path := _cached_file(entry):
            return path
        raise ModelNotCached(text)
    path = Path(text).expanduser()
    if path.is_dir():
        return check_folder(path)
    if path.exists():
        if path.suffix != ".gguf":
            raise UnusableModel(text, "a model file must end in .gguf")
        return path
    if is_hub_id(text):
        if snapshot := cached_repository(text):
            return check_folder(snapshot)
        raise ModelNotCached(text)
    raise UnknownModel(text, tuple(catalogue))


def is_hub_id(text: str) -> bool:
    """Whether the text reads `org/name`; one ending in .gguf is a file that is not there."""
    return bool(_HUB_ID.fullmatch(text)) and not text.endswith(".gguf")


def check_folder(folder: Path) -> Path:
    """The folder itself, if it holds a config.json and all of its *.safetensors.

    Raises:
        UnusableModel: naming what is missing.
    """
    if not (folder / "config.json").is_file():
        raise UnusableModel(str(folder), "the folder holds no config.json")
    if not any(folder.glob("*.safetensors")):
        raise UnusableModel(str(folder), "the folder holds no *.safetensors")
    if missing := sorted(shard for shard in _shards(folder) if not (folder / shard).is_file()):
        raise UnusableModel(str(folder), f"the folder lacks {', '.join(missing)}")
    return folder


def _shards(folder: Path) -> set[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return set()
    try:
        return set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError) as error:
        raise UnusableModel(str(folder), f"{index.name} is not a safetensors index") from error


def _cached_file(entry: Entry) -> Path | None:
    path = model_path(entry.name)
    return path if path.is_file() and path.stat().st_size == entry.size else None
