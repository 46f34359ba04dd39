"""TLS for every door: what the server shows and whom it believes, read again when files change.

Both gRPC and Python's ssl ask here at each handshake, so there is nothing to restart and nothing to wait for.
Files that are damaged, or do not belong together, change nothing: the ones before stay in force.
"""

import logging
import os
import ssl
import threading
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import grpc
from pydantic import AfterValidator, BaseModel, ConfigDict

_log = logging.getLogger(__name__)


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must begin with a slash: a gateway may run in any folder")
    return path


File = Annotated[Path, AfterValidator(_absolute)]


class TlsConfig(BaseModel):
    """PEM files. Frozen; an unknown key raises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: File  # the server's own first, then what leads to a root
    key: File  # of the first; without a passphrase
    client_ca: File | None = None  # roots, of which clients must show a certificate; None: they need none

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))


class _State(NamedTuple):
    """What tells that a file has changed."""

    inode: int
    size: int
    changed: int  # ns

    @classmethod
    def of(cls, path: Path) -> Self:
        """Raises OSError."""
        found = os.stat(path)
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


class _Loaded(NamedTuple):
    """What files hold, in the words of both libraries."""

    context: ssl.SSLContext
    grpc: Any  # grpc.ServerCertificateConfiguration


class Certificates:
    """Asked from gRPC's threads and from the event loop."""

    def __init__(self, config: TlsConfig) -> None:
        """Raises ValueError for files that are missing, damaged, or do not belong together."""
        self._config = config
        self._lock = threading.Lock()
        try:
            self._states = self._look()
            self._loaded = self._load()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ValueError(f"tls: {_said(error)}") from None

    def grpc(self) -> grpc.ServerCredentials:
        """For `add_secure_port`."""
        shown = self._loaded.grpc

        def changed() -> Any:
            nonlocal shown
            now = self._current().grpc
            if now is shown:
                return None
            shown = now
            return now

        credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            shown, changed, require_client_authentication=self._config.client_ca is not None
        )
        return credentials

    def web(self, *, strict: bool = True) -> ssl.SSLContext:
        """For a server of asyncio's. strict: where `client_ca` is set, who shows no certificate is refused;
        else a handler may ask for the transport's `peercert`."""
        front = self._context()

        def turn(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            connection.context = self._current().context

        front.sni_callback = turn  # called whether or not the client names a server
        if not strict and self._config.client_ca is not None:
            front.verify_mode = ssl.CERT_OPTIONAL
        return front

    def _current(self) -> _Loaded:
        with self._lock:
            try:
                states = self._look()
                if states != self._states:
                    self._states = states
                    self._loaded = self._load()
                    _log.info("tls: certificates were read again")
            except (OSError, ValueError) as error:
                _log.error("tls: certificates stay as they were: %s", _said(error))
            return self._loaded

    def _look(self) -> list[_State]:
        return [_State.of(path) for path in self._config.files]

    def _load(self) -> _Loaded:
        config = self._config
        chain = config.key.read_bytes(), config.certificate.read_bytes()
        roots = config.client_ca.read_bytes() if config.client_ca else None
        # Also looks whether key and certificate belong together, which gRPC leaves to the first client.
        context = self._context()
        return _Loaded(context, grpc.ssl_server_certificate_configuration([chain], root_certificates=roots))

    def _context(self) -> ssl.SSLContext:
        config = self._config
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(config.certificate, config.key, password=_no_password)
        if config.client_ca is not None:
            context.load_verify_locations(config.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _no_password() -> str:
    raise ValueError("the key has a passphrase, and nobody is there to type it")


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
