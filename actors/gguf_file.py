"""Reads a GGUF file: its metadata and where its tensors lie, without numpy or torch.

The `gguf` package reads both too, but takes eight seconds for a vocabulary of 150,000 tokens, and
every role opens the file at its start. Layout: the GGUF specification of the ggml project, version 3.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringroad.actors.errors import ModelError

_SCALARS = dict(enumerate(["B", "b", "H", "h", "I", "i", "f", "?"])) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: shape is row-major (GGUF's own order reversed), offset in bytes into the file."""

    name: str
    shape: tuple[int, ...]
    kind: int  # ggml's number of the storage type
    offset: int


class GgufFile:
    """The header of a GGUF file. `metadata` maps keys to Python values, `tensors` names to places."""

    def __init__(self, path: Path) -> None:
        """Raises ModelError when the file is not GGUF, of another version, or cut short."""
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.tensors: dict[str, TensorInfo] = {}
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                self._read(data)
        except (struct.error, ValueError, IndexError, UnicodeDecodeError, KeyError) as error:
            raise ModelError(f"{path}: damaged GGUF header ({error})") from error

    def architecture_value(self, key: str, default: Any = None) -> Any:
        """`metadata` under the model's own prefix: "block_count" is "qwen2.block_count"."""
        full = f"{self.metadata['general.architecture']}.{key}"
        if default is None and full not in self.metadata:
            raise ModelError(f"{self.path}: no {full}")
        return self.metadata.get(full, default)

    def _read(self, data: mmap.mmap) -> None:
        magic, version, tensors, entries = struct.unpack_from("<4sIQQ", data, 0)
        if magic != b"GGUF":
            raise ModelError(f"{self.path}: not a GGUF file")
        if version not in (2, 3):
            raise ModelError(f"{self.path}: GGUF version {version}; 2 and 3 are read")
        at = 24
        for _ in range(entries):
            key, at = _string(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            self.metadata[key], at = _value(data, at + 4, kind)
        found: list[TensorInfo] = []
        for _ in range(tensors):
            name, at = _string(data, at)
            (rank,) = struct.unpack_from("<I", data, at)
            *shape, kind, offset = struct.unpack_from(f"<{rank}QIQ", data, at + 4)
            at += 4 + 8 * rank + 12
            found.append(TensorInfo(name, tuple(reversed(shape)), kind, offset))
        step = self.metadata.get("general.alignment", 32)
        start = -(-at // step) * step
        for t in found:
            self.tensors[t.name] = TensorInfo(t.name, t.shape, t.kind, start + t.offset)


def _string(data: mmap.mmap, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + size
    if end > len(data):
        raise ValueError("a string runs past the end")
    return data[at + 8 : end].decode(), end


def _value(data: mmap.mmap, at: int, kind: int) -> tuple[Any, int]:
    if kind == _STRING:
        return _string(data, at)
    if kind != _ARRAY:
        layout = "<" + _SCALARS[kind]
        return struct.unpack_from(layout, data, at)[0], at + struct.calcsize(layout)
    item, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if item in _SCALARS:
        layout = f"<{count}{_SCALARS[item]}"
        return list(struct.unpack_from(layout, data, at)), at + struct.calcsize(layout)
    values = []
    for _ in range(count):
        value, at = _value(data, at, item)
        values.append(value)
    return values, at
