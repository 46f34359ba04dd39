"""What an operator may set of the ledger."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

NONE = "none"
_SCHEMES = ("redis", "rediss", "unix")
_TLS = ("tls_ca", "tls_cert", "tls_key")


class LedgerConfig(BaseModel):
    """Frozen; an unknown key raises."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    # Any Redis from 6.2 on: redis://[USER@]HOST[:PORT][/DB], rediss:// with TLS, unix://PATH. Empty: a server
    # of the cluster's own, with its file in the state folder. "none": no ledger, streams cannot be resumed.
    url: str = ""
    # Where the password is; read anew by whoever connects, so that a corrected one is found.
    password_file: Path | None = None
    password_env: str | None = None  # the name of a variable of the gateway's process
    tls_ca: Path | None = None  # what the server's certificate is checked with; None: what the system trusts
    tls_cert: Path | None = None  # the gateway's own, where the server asks for one
    tls_key: Path | None = None
    expiry_seconds: PositiveInt = 3600  # after the last token of a request nobody can resume it any more
    # A gateway not heard from for so long is taken for gone, and its requests may be taken up by others.
    lease_seconds: float = Field(default=3.0, ge=0.1)
    timeout_seconds: PositiveFloat = 0.5  # of every answer
    write_seconds: PositiveFloat = 0.015  # between two writes, each of all that came up meanwhile
    # Requests that ended and could not be written yet; of more than these the oldest are given up.
    max_unwritten: PositiveInt = 1000
    embedded_mb: PositiveInt = 512  # memory of the cluster's own server; a full one refuses to write

    @field_validator("url")
    @classmethod
    def _is_a_server(cls, url: str) -> str:
        if url in ("", NONE):
            return url
        parts = urlsplit(url)
        if parts.password is not None or "password" in parts.query:
            raise ValueError("holds a password: name a password_file or a password_env instead")
        if parts.scheme not in _SCHEMES or not (parts.path if parts.scheme == "unix" else parts.hostname):
            raise ValueError(f"{NONE!r}, or a URL of {', '.join(f'{s}://' for s in _SCHEMES)}, or empty")
        if parts.query or parts.fragment:
            raise ValueError("takes nothing behind a ? or a #")
        if parts.scheme != "unix":
            parts.port  # noqa: B018  # raises ValueError where it is none
            if not (database := parts.path.strip("/")).isdecimal() and database:
                raise ValueError("takes the number of a database behind its last slash")
        return url

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.password_file and self.password_env:
            raise ValueError("password_file and password_env: only one of them")
        if self.url in ("", NONE) and (self.password_file or self.password_env):
            raise ValueError("password_file and password_env need a url")
        given = [name for name in _TLS if getattr(self, name)]
        if given and not self.url.startswith("rediss://"):
            raise ValueError(f"{', '.join(given)}: only with a url of rediss://")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key: both or none")
        return self
