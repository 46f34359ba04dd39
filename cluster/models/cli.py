"""`ringroad models`: pull, list and find models."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ringroad.cluster.models.catalogue import CATALOGUE
from ringroad.cluster.models.errors import ModelError
from ringroad.cluster.models.progress import SILENT, RichProgress
from ringroad.cluster.models.pull import pull as pull_model
from ringroad.cluster.models.store import cached, locate

__all__ = ["app"]

app = typer.Typer(help="Pull, list and find models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A catalogue name or a hub id like org/name.")]


@app.command()
def pull(name: Name) -> None:
    """Download a model, verify it, and show its path."""
    entry = CATALOGUE.get(name)
    console = Console(stderr=True)
    with _failing_plainly():
        with RichProgress(console, name, entry.size) if entry else nullcontext(SILENT) as progress:
            path = pull_model(name, progress)
        typer.echo(path)


@app.command()
def path(name: Annotated[str, typer.Argument(help="A name, a hub id, or a path.")]) -> None:
    """Show where a model lies on this machine."""
    with _failing_plainly():
        typer.echo(locate(name))


@app.command("list")
def list_models() -> None:
    """Show the catalogue, and what of it is cached."""
    table = Table("name", "licence", "size", "cached")
    for entry, file in cached():
        table.add_row(entry.name, entry.licence, f"{entry.size / 1e6:,.0f} MB", "yes" if file else "no")
    Console().print(table)


@contextmanager
def _failing_plainly() -> Iterator[None]:
    """A failure the user can act on is a message and exit code 1, not a traceback."""
    try:
        yield
    except (ModelError, OSError) as error:
        typer.echo(f"ringroad: {error}", err=True)
        raise typer.Exit(1) from error
