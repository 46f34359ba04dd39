"""`ringroad keys`: makes and revokes API keys in the file that gateways read."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from filelock import FileLock
from typer import Argument, Exit, Option

from ringroad.actors.gateway.keys import Key, Scope, new, parse, read
from ringroad.cluster.certs import put

app = typer.Typer(no_args_is_help=True, add_completion=False, help=(__doc__ or "").splitlines()[0])
File = Annotated[Path, Option("--file", dir_okay=False, help="What `gateway.keys_file` names.")]
_FILE = Path("keys.toml")


@app.command("new")
def make(
    tenant: Annotated[str, Argument(help="Whose requests it is for.")],
    file: File = _FILE,
    scope: Annotated[list[Scope] | None, Option(help="May be repeated; generate where left out.")] = None,
    days: Annotated[float | None, Option(min=0, help="Until it expires; never where left out.")] = None,
) -> None:
    """Make a key and add its hash to the file. The key is shown now and never again."""
    try:
        token, key = new(
            tenant,
            frozenset(scope or [Scope.GENERATE]),
            None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days),
        )
        _change(file, lambda text: _added(text, key))
    except ValueError as error:
        _fail(str(error))
    typer.echo(token)


@app.command()
def revoke(ident: Annotated[str, Argument(metavar="ID")], file: File = _FILE) -> None:
    """Refuse a key from now on; ID is what stands between the underscores of it."""
    try:
        _change(file, lambda text: _revoked(text, ident))
    except ValueError as error:
        _fail(str(error))


@app.command("list")
def show(file: File = _FILE) -> None:
    """Show the keys of a file, as far as it knows them."""
    try:
        keys = read(file).keys
    except ValueError as error:
        _fail(str(error))
    for key in keys:
        state = "revoked" if key.revoked else f"until {key.expires:%Y-%m-%d}" if key.expires else ""
        typer.echo("  ".join([key.id, key.tenant, ",".join(sorted(key.scopes)), state]).rstrip())


def _entry(key: Key) -> str:
    scopes = ", ".join(f'"{scope}"' for scope in sorted(key.scopes))
    lines = [f'id = "{key.id}"', f'hash = "{key.hash}"', f'tenant = "{key.tenant}"', f"scopes = [{scopes}]"]
    if key.expires is not None:
        lines.append(f"expires = {key.expires.isoformat()}")
    return "\n".join(["[[keys]]", *lines, ""])


def _added(text: str, key: Key) -> str:
    return f"{text.rstrip()}\n\n{_entry(key)}".lstrip()


def _revoked(text: str, ident: str) -> str:
    """The same file, comments and all. Raises ValueError where a key is written in another way than here."""
    changed = re.sub(rf"""(?m)^(\s*id\s*=\s*["']{re.escape(ident)}["'].*)$""", r"\1\nrevoked = true", text)
    before = {key.id: key for key in parse(text).keys}
    if ident not in before:
        raise ValueError(f"there is no key {ident}")
    if before[ident].revoked:
        return text
    before[ident] = before[ident].model_copy(update={"revoked": True})
    with suppress(ValueError):
        if {key.id: key for key in parse(changed).keys} == before:
            return changed
    raise ValueError(f"key {ident} has to be revoked by hand: set revoked = true there")


def _change(file: Path, changed: Callable[[str], str]) -> None:
    """Changes a file at one stroke, and beside no other command. Raises ValueError, then it is as it was."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            text = changed(file.read_text() if file.exists() else "")
            parse(text)
            put(file, text.encode(), 0o600)
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error


def _fail(message: str) -> NoReturn:
    typer.echo(f"ringroad: {message}", err=True)
    raise Exit(1)
