"""Who may ask for what: API keys, of which the server keeps hashes only.

    [tenants.acme]            # optional: what `Tenant` has
    tokens_per_minute = 100_000

    [[keys]]
    id = "f3a91c02"           # of a key "rr_f3a91c02_...": no secret
    hash = "..."              # SHA-256 of the whole key, in hexadecimal
    tenant = "acme"
    scopes = ["generate"]
    expires = 2027-01-01T00:00:00Z  # optional
    revoked = true                  # optional

A key holds 256 random bits, so one round of a plain hash is enough: there is nothing to guess.
"""

import hashlib
import hmac
import logging
import os
import secrets
import tomllib
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ringroad.actors.errors import RingroadError
from ringroad.actors.gateway.tenants import ANYBODY, Tenant

_log = logging.getLogger(__name__)
_MARK = "rr"
_ID_BYTES, _SECRET_BYTES = 4, 32
_NOBODYS = "0" * 64  # compared where no key has the id: an unknown id takes as long as a wrong secret


class Scope(StrEnum):
    """What a key is for."""

    GENERATE = "generate"  # texts, and to read on and end the tenant's own
    CONTROL = "control"  # how the cluster is, and how busy
    ADMIN = "admin"  # what the admin port shows


class Unauthenticated(RingroadError):
    """Nobody knows who asks. Says not why: whoever guesses learns nothing."""

    def __init__(self) -> None:
        super().__init__("a valid API key is needed")


class Forbidden(RingroadError):
    """The key is good, for other things."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"the API key lacks the scope {scope}")


class Key(BaseModel):
    """What the server knows of a key. Frozen; an unknown field raises."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str = Field(pattern=r"^[0-9a-f]{8}$")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    tenant: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    scopes: frozenset[Scope] = frozenset({Scope.GENERATE})
    expires: AwareDatetime | None = None
    revoked: bool = False


class KeyFile(BaseModel):
    """All keys, and what is said of tenants. Frozen; an unknown field raises."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tenants: dict[str, Tenant] = {}
    keys: list[Key] = []

    @model_validator(mode="after")
    def _has_no_twins(self) -> Self:
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("keys: two have the same id")
        if wrong := [name for name, tenant in self.tenants.items() if tenant.name not in ("", name)]:
            raise ValueError(f"tenants.{wrong[0]}: has another name within")
        return self

    def tenant(self, name: str) -> Tenant:
        """One that is not described has no limits of its own."""
        return self.tenants.get(name, ANYBODY).model_copy(update={"name": name})


class Keys(Protocol):
    """What every door asks."""

    def tenant(self, authorization: str | None, scope: Scope) -> Tenant:
        """Who asks, by an `Authorization` header: "Bearer " and a key. Raises Unauthenticated, Forbidden."""


class NoKeys:
    """Nobody is asked who they are."""

    def tenant(self, authorization: str | None, scope: Scope) -> Tenant:
        """Anybody."""
        return ANYBODY


class _State(NamedTuple):
    """What tells that a file has changed."""

    inode: int
    size: int
    changed: int  # ns


class FileKeys:
    """The keys of a file, read again when it has changed. One that is damaged or gone changes nothing."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError for a file that is missing or damaged: a gateway must not start open."""
        self._path = path
        self._state = _state(path)
        self._keys: dict[str, Key] = {}
        self._tenants: dict[str, Tenant] = {}
        self._take(read(path))

    def tenant(self, authorization: str | None, scope: Scope) -> Tenant:
        """As `Keys` says."""
        self._look()
        kind, _, token = (authorization or "").partition(" ")
        key = self._keys.get(_id_of(token))
        same = hmac.compare_digest(hash_of(token), key.hash if key else _NOBODYS)
        if kind.lower() != "bearer" or key is None or not same or key.revoked or _expired(key):
            raise Unauthenticated
        if scope not in key.scopes:
            raise Forbidden(scope)
        return self._tenants[key.id]

    def _look(self) -> None:
        state = _state(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._take(read(self._path))
            _log.info("%s: %d keys", self._path, len(self._keys))
        except ValueError as error:
            _log.error("the keys stay as they were: %s", error)

    def _take(self, file: KeyFile) -> None:
        self._keys = {key.id: key for key in file.keys}
        self._tenants = {key.id: file.tenant(key.tenant) for key in file.keys}


def read(path: Path) -> KeyFile:
    """What is in a file. Raises ValueError, which quotes nothing of it."""
    try:
        return parse(path.read_text())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse(text: str) -> KeyFile:
    """Likewise, of what is in its text."""
    try:
        return KeyFile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError("; ".join(problems)) from None
    except tomllib.TOMLDecodeError:
        raise ValueError("is no TOML") from None


def new(tenant: str, scopes: frozenset[Scope], expires: datetime | None = None) -> tuple[str, Key]:
    """A key, which nobody keeps but its user, and what the server is to know of it."""
    ident = secrets.token_hex(_ID_BYTES)
    token = f"{_MARK}_{ident}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return token, Key(id=ident, hash=hash_of(token), tenant=tenant, scopes=scopes, expires=expires)


def hash_of(token: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _id_of(token: str) -> str:
    mark, _, rest = token.partition("_")
    return rest.partition("_")[0] if mark == _MARK else ""


def _expired(key: Key) -> bool:
    return key.expires is not None and key.expires <= datetime.now(UTC)


def _state(path: Path) -> _State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _State(found.st_ino, found.st_size, found.st_mtime_ns)
