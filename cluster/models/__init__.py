"""Models by name: the catalogue, the cache on this machine, and the way from one to the other."""

from ringroad.cluster.models.catalogue import CATALOGUE, Entry, HubFile, IndexParts, Source
from ringroad.cluster.models.download import Downloaders
from ringroad.cluster.models.errors import (
    ModelError,
    ModelNotCached,
    NoSourceReachable,
    SourceFailed,
    UnknownModel,
    UnusableModel,
)
from ringroad.cluster.models.progress import SILENT, Progress, RichProgress
from ringroad.cluster.models.pull import pull
from ringroad.cluster.models.store import cache_folder, cached, locate, model_path

__all__ = [
    "CATALOGUE",
    "SILENT",
    "Downloaders",
    "Entry",
    "HubFile",
    "IndexParts",
    "ModelError",
    "ModelNotCached",
    "NoSourceReachable",
    "Progress",
    "RichProgress",
    "Source",
    "SourceFailed",
    "UnknownModel",
    "UnusableModel",
    "cache_folder",
    "cached",
    "locate",
    "model_path",
    "pull",
]
