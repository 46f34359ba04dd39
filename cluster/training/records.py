"""Files of a stage: one JSON object a line, each with the key of what it is about, written as they come."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Records:
    """What a stage has done so far. A line cut short by an interruption does not count, and goes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                record = json.loads(line)
                self._known[record["key"]] = record
                whole += len(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(whole)

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: str, **record: Any) -> None:
        """One more; on disk when this returns."""
        self._known[key] = {"key": key, **record}
        with self._path.open("a") as file:
            file.write(json.dumps(self._known[key], ensure_ascii=False) + "\n")
