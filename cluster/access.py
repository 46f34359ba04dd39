"""How a client shows who it is, and how it knows whom it talks to."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc

_NO = ("", "0", "false", "no")


@dataclass(frozen=True)
class Access:
    """Without anything: no key, and a connection that everybody on its way can read."""

    api_key: str = field(default="", repr=False)
    tls: bool = False  # implied by what follows
    ca: Path | None = None  # PEM, whose servers are believed; None: those of the system's roots
    certificate: Path | None = None  # PEM, the client's own, where the server asks for one
    private_key: Path | None = None  # of the certificate

    @classmethod
    def found(
        cls,
        *,
        api_key_file: Path | None = None,
        tls: bool = False,
        ca: Path | None = None,
        certificate: Path | None = None,
        private_key: Path | None = None,
    ) -> Self:
        """What is given here, and for the rest what the environment says: RINGROAD_API_KEY or
        RINGROAD_API_KEY_FILE, RINGROAD_TLS, RINGROAD_TLS_CA, RINGROAD_TLS_CERT and RINGROAD_TLS_KEY.

        Raises ValueError for a key's file that cannot be read.
        """
        key = "" if api_key_file else os.environ.get("RINGROAD_API_KEY", "")
        if not key and (file := api_key_file or _path("API_KEY_FILE")):
            key = _read(file).decode(errors="replace").strip()
        return cls(
            api_key=key,
            tls=tls or os.environ.get("RINGROAD_TLS", "").lower() not in _NO,
            ca=ca or _path("TLS_CA"),
            certificate=certificate or _path("TLS_CERT"),
            private_key=private_key or _path("TLS_KEY"),
        )

    @property
    def secure(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls or any((self.ca, self.certificate, self.private_key))

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of every call."""
        return (("authorization", f"Bearer {self.api_key}"),) if self.api_key else ()

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Of a connection; None for one that is not encrypted. Raises ValueError."""
        if bool(self.certificate) != bool(self.private_key):
            raise ValueError("a client certificate and its private key: both or none")
        if not self.secure:
            return None
        files = (self.ca, self.private_key, self.certificate)
        return grpc.ssl_channel_credentials(*(_read(path) if path else None for path in files))


def _path(name: str) -> Path | None:
    said = os.environ.get(f"RINGROAD_{name}")
    return Path(said).expanduser() if said else None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
