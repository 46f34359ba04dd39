"""`ringroad bench ring`: what a ring of GPUs would take for a long text, by a model of its cost."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ringroad.cluster.simulator import GPUS, Run, Setup, compared, read, simulate

__all__ = ["app"]

app = typer.Typer(help="What a ring of ranks would take, by a model of its cost.", no_args_is_help=True)

Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="gpus, link, model, tokens, gpu, weights."),
]


@app.callback()
def bench() -> None:
    """A model of costs; for measured figures see bench/ in the repository."""


@app.command()
def ring(
    settings: Settings = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Each schedule, by the shape of a step.")
    ] = False,
    simulated: Annotated[bool, typer.Option("--simulate", help="A whole text.")] = False,
) -> None:
    """Say what long texts take, e.g. --simulate gpus=8 link=nvlink model=qwen2.5-72b tokens=1M."""
    if not (explain or simulated):
        raise typer.BadParameter("one of --explain and --simulate")
    try:
        setup = read(settings or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console()
    if explain:
        console.print(_explained(setup))
    if simulated:
        console.print(_told(simulate(setup)))


def _title(setup: Setup) -> str:
    return f"{setup.model}, {setup.tokens:,} tokens, {setup.gpus} x {setup.gpu} over {setup.link}"


def _explained(setup: Setup) -> Table:
    """One layer's attention of a step by each schedule."""
    columns = ("step", "schedule", "MB sent", "computing, ms", "moving, ms", "hidden", "total, ms", "")
    table = Table(*columns, title=_title(setup))
    for of, schedule, cost, picked in compared(setup):
        computing, moving, total = (f"{1e3 * time:.3f}" for time in (cost.computing, cost.moving, cost.total))
        figures = f"{cost.bytes / 1e6:.3f}", computing, moving, f"{cost.hidden:.0%}", total
        table.add_row(
            of, schedule, *figures, "picked" if picked else "", end_section=schedule == "token_ring"
        )
    return table


def _told(run: Run) -> Table:
    """A whole text's time, bytes and memory."""
    table = Table("what", "how much", title=_title(run.setup))
    picked = ", ".join(f"{schedule} {count}" for schedule, count in run.schedules.items())
    memory = GPUS[run.setup.gpu].memory
    for line in (
        ("prefill", f"{run.prefill:.2f} s"),
        ("of it attention", f"{run.attention:.2f} s"),
        ("steps by schedule", picked),
        ("sent by the busiest rank", f"{run.bytes / 1e9:.2f} GB"),
        ("of moving hidden", f"{run.hidden:.1%}"),
        ("a token after it", f"{1e3 * run.decode:.2f} ms"),
        ("weights a rank", f"{run.weights / 1e9:.1f} GB in {run.setup.weights}"),
        ("keys and values a rank", f"{run.keys / 1e9:.2f} GB"),
        ("a GPU's memory", f"{memory / 1e9:.0f} GB: {'enough' if run.fits else 'too little'}"),
    ):
        table.add_row(*line)
    return table
