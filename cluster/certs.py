"""A development CA: certificates for trying TLS out. Who serves strangers has a CA of its own."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Self

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 90
app = typer.Typer(no_args_is_help=True, add_completion=False, help=(__doc__ or "").splitlines()[0])
_SKEW = timedelta(minutes=5)  # clocks differ


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def authority(cls, name: str = "ringroad development CA", days: float = DAYS) -> Self:
        """One that vouches for itself, and may for others."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        draft = (
            _draft(_named(name), _named(name), key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(draft.sign(key, hashes.SHA256()), key)

    def server(self, hosts: Sequence[str], days: float = DAYS) -> Self:
        """For who listens under these names or addresses."""
        return self._issue(hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, hosts, days)

    def client(self, name: str, days: float = DAYS) -> Self:
        """For who connects."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, [name], days)

    def write(self, path: Path) -> None:
        """PATH.pem and PATH.key, each at one stroke; the key for its owner's eyes."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        put(path.with_suffix(".key"), key, 0o600)
        put(path.with_suffix(".pem"), self.certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def _issue(self, name: str, use: x509.ObjectIdentifier, hosts: Sequence[str], days: float) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        draft = (
            _draft(_named(name), self.certificate.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
            .add_extension(issuer, critical=False)
        )
        return type(self)(draft.sign(self.key, hashes.SHA256()), key)


@app.callback()
def certs() -> None:
    """Certificates to try TLS with."""


@app.command()
def dev(
    folder: Annotated[Path, typer.Argument(file_okay=False)] = Path("certs"),
    host: Annotated[
        list[str] | None, typer.Option(help="A name or address of the server; may be repeated.")
    ] = None,
) -> None:
    """Make a CA, a server's and a client's certificate, good for 90 days: ca, server and client, each .pem
    and .key."""
    try:
        develop(folder, host or ["localhost", "127.0.0.1", "::1"])
    except OSError as error:
        typer.echo(f"ringroad: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(folder)


def develop(folder: Path, hosts: Sequence[str]) -> None:
    """Makes ca, server and client, each .pem and .key. Raises FileExistsError rather than replace a CA."""
    if (folder / "ca.key").exists():
        raise FileExistsError(f"{folder}: holds a CA already")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = Pair.authority()
    authority.write(folder / "ca")
    authority.server(hosts).write(folder / "server")
    authority.client("client").write(folder / "client")


def put(path: Path, content: bytes, mode: int) -> None:
    """Writes a file at one stroke: whoever reads it meanwhile has the old one or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    draft.replace(path)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    """days: below 0 for one that expired so long ago."""
    now = datetime.now(UTC)
    until = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, until - timedelta(days=1)) - _SKEW)
        .not_valid_after(until)
    )
