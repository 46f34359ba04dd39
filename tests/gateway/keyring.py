"""Keys of tests, and the file that a gateway knows them by."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ringroad.actors.gateway.keys import Key, Scope, new

ALL = frozenset(Scope)


def entry(key: Key, **more: Any) -> str:
    """A key as a file has it."""
    fields = key.model_dump(mode="json", exclude_none=True) | more
    lines = [f"{name} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for name, v in fields.items()]
    return "\n".join(["[[keys]]", *lines, ""])


def ring(path: Path, tenants: Sequence[str], limits: str = "") -> list[str]:
    """A file with a key of every scope for each of these tenants, and these keys."""
    made = [new(tenant, ALL) for tenant in tenants]
    path.write_text(limits + "".join(entry(key) for _, key in made))
    return [token for token, _ in made]


def expired() -> tuple[str, Key]:
    """A key whose time is over."""
    return new("acme", ALL, datetime.now(UTC) - timedelta(seconds=1))
