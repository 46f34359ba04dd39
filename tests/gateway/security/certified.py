"""Certificates of tests: a server's, and of clients good and bad."""

import ssl
from pathlib import Path

import grpc

from ringroad.actors.gateway.certificates import TlsConfig
from ringroad.cluster.certs import Pair


class Folder:
    """A CA, what a server shows, and what a good client does; all can be made anew in place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authority = Pair.authority()
        self.renew(self.authority)

    def renew(self, authority: Pair) -> None:
        """Everything by another CA."""
        self.authority = authority
        authority.write(self.path / "ca")
        authority.server(["127.0.0.1"]).write(self.path / "server")
        authority.client("good").write(self.path / "client")

    def config(self, *, mutual: bool = True) -> TlsConfig:
        path = self.path
        ca = path / "ca.pem" if mutual else None
        return TlsConfig(certificate=path / "server.pem", key=path / "server.key", client_ca=ca)

    def show(self, name: str, pair: Pair) -> "Shown":
        pair.write(self.path / name)
        return self.shown(name)

    def shown(self, name: str = "client") -> "Shown":
        """What a client of this name shows."""
        return Shown(self.path, name)


class Shown:
    """A client's side; without a name it shows nothing."""

    def __init__(self, path: Path, name: str = "") -> None:
        self.ca = path / "ca.pem"
        self.pair = (path / f"{name}.pem", path / f"{name}.key") if name else None

    @property
    def grpc(self) -> grpc.ChannelCredentials:
        roots = self.ca.read_bytes()
        if self.pair is None:
            return grpc.ssl_channel_credentials(roots)
        certificate, key = (path.read_bytes() for path in self.pair)
        return grpc.ssl_channel_credentials(roots, key, certificate)

    @property
    def ssl(self) -> ssl.SSLContext:
        """For HTTP."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.pair is not None:
            context.load_cert_chain(*self.pair)
        return context
