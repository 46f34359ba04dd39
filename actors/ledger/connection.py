"""From a configuration to a client of Redis."""

import os
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, ConnectionError

from ringroad.actors.ledger.config import LedgerConfig

_MOST_CONNECTIONS = 10_000  # whoever follows a text holds one


class _Password(CredentialProvider):
    """Reads the password whenever a connection is made."""

    def __init__(self, config: LedgerConfig) -> None:
        self._config = config
        self._user = unquote(urlsplit(config.url).username or "")

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._read()
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()

    def _read(self) -> str:
        if self._config.password_file:
            try:
                return self._config.password_file.read_text().rstrip("\r\n")
            except OSError as error:
                problem = f"password_file {self._config.password_file}: {error.strerror}"
                raise AuthenticationError(problem) from error
        name = self._config.password_env or ""
        if name and name not in os.environ:
            raise AuthenticationError(f"password_env {name}: not set where the gateway runs")
        return os.environ.get(name, "")


def connect(config: LedgerConfig) -> Redis:
    """A client of the configured server; connects when it is first used, and anew when it has to.

    A command takes `timeout_seconds` at most, and is said once more only where a connection broke.
    """
    where = urlsplit(config.url)
    secret = config.password_file or config.password_env or where.username
    files = {"ssl_ca_certs": config.tls_ca, "ssl_certfile": config.tls_cert, "ssl_keyfile": config.tls_key}
    tls: dict[str, Any] = {key: str(path) for key, path in files.items() if path}
    return Redis.from_url(
        where._replace(netloc=where.netloc.rpartition("@")[2]).geturl(),
        credential_provider=_Password(config) if secret else None,
        protocol=2,  # what every server speaks
        driver_info=None,
        socket_timeout=config.timeout_seconds,
        socket_connect_timeout=config.timeout_seconds,
        retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        max_connections=_MOST_CONNECTIONS,
        **tls,
    )
