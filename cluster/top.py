"""What `ringroad top` shows: a gateway's load and the roles behind it, as they change."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Annotated, NamedTuple, NoReturn

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Column, Table

from ringroad.cluster import daemon
from ringroad.cluster.client import CallFailed, Client

KEPT = 60  # rates in the curve
_DEFAULT_TARGET = "127.0.0.1:50051"
_BARS = "▁▂▃▄▅▆▇█"


app = typer.Typer(add_completion=False)


@app.command(epilog="Exit codes: 0 ended; 2 wrong usage; 3 no server.")
def top(
    target: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT[,...]", help="Gateways; without it, the cluster that `up` started."),
    ] = None,
    every: Annotated[float, typer.Option(min=0.01, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show the difference of two looks, and end.")] = False,
) -> None:
    """Watch a gateway's load, its router's backlog and the roles behind it, until Ctrl-C.

    Keys and certificates are found as the environment says: RINGROAD_API_KEY_FILE, RINGROAD_TLS_CA and so on.
    """
    running = None if target else daemon.find()
    where = target or (running.target if running else _DEFAULT_TARGET)
    try:
        with Client(where) as client:
            watch(client, where, every, Console(highlight=False, markup=False), once)
    except ValueError as error:  # the environment's key or certificates
        _fail(2, str(error))
    except CallFailed as error:
        _fail(3, f"{where}: {error}")
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _fail(code: int, message: str) -> NoReturn:
    typer.echo(f"ringroad: {message}", err=True)
    raise typer.Exit(code)


class Role(NamedTuple):
    """A process behind the gateway; counts are since it started."""

    name: str
    model: str
    sessions: int
    memory: int  # bytes
    held: int  # tokens of room in its cache that sessions hold
    room: int  # in all
    steps: int
    seconds: float  # of these
    rows: int  # in these


class Look(NamedTuple):
    """What a gateway said; counts are since it started."""

    at: float  # seconds of a steady clock
    version: str
    ledger: str
    running: int
    waiting: int
    places: int
    wait: float  # seconds, for who comes now
    rate: float  # tokens a second
    cache: float  # share of the fullest verifier's
    backlog: int  # sessions that wait for a verdict
    committed: int  # tokens, likewise the next three
    large: int
    accepted: int
    drafted: int
    consults: int
    roles: dict[str, Role]


def look(client: Client) -> Look:
    """Asks the first gateway that answers. Raises CallFailed."""
    load, info = client.load(), client.server_info()
    roles = {
        f"{each.name} {each.replica}": Role(
            each.name,
            each.model,
            each.sessions,
            each.memory_bytes,
            each.kv_held_tokens,
            each.kv_room_tokens,
            each.steps,
            each.step_seconds,
            each.step_rows,
        )
        for each in info.roles
    }
    return Look(
        time.monotonic(),
        info.version,
        info.ledger,
        load.running,
        load.waiting,
        load.capacity,
        load.queue_wait_seconds,
        load.tokens_per_second,
        load.kv_share,
        load.consult_backlog,
        load.committed_tokens,
        load.large_tokens,
        load.accepted_tokens,
        load.drafted_tokens,
        load.consults,
        roles,
    )


def watch(client: Client, target: str, every: float, console: Console, once: bool) -> None:
    """Shows the gateway until interrupted, or once. `every`: seconds between two looks. Raises CallFailed."""
    before, rates = look(client), deque[float](maxlen=KEPT)
    if once:
        time.sleep(every)
        console.print(view(target, before, look(client), rates))
        return
    with Live(view(target, before, before, rates), console=console, screen=True) as live:
        while True:
            time.sleep(every)
            now = look(client)
            rates.append(now.rate)
            live.update(view(target, before, now, rates))
            before = now


def view(target: str, before: Look, now: Look, rates: Sequence[float]) -> RenderableType:
    """Two looks, one after the other: what is there now, and what was done between them."""
    committed, consults = now.committed - before.committed, now.consults - before.consults
    drafted = now.drafted - before.drafted
    lines = [
        f"{target}  ringroad {now.version}  ledger {now.ledger or 'unknown'}",
        f"requests   {now.running} of {now.places} running, {now.waiting} waiting, "
        f"a place in {now.wait:.1f} s",
        f"tokens     {now.rate:,.1f}/s  large {_share(now.large - before.large, committed)}  {curve(rates)}",
        f"guesses    accepted {_share(now.accepted - before.accepted, drafted)}  "
        f"tokens a consult {_ratio(committed, consults)}  waiting for a verdict {now.backlog}",
        f"cache      {now.cache:.0%} of the fullest verifier's",
    ]
    names = ("model", "sessions", "steps/s", "ms a step", "rows a step", "cache", "memory")
    table = Table(Column("role", no_wrap=True), *names)
    for name, role in now.roles.items():
        table.add_row(*_row(name, before.roles.get(name), role, now.at - before.at))
    return Group(*lines, table)


def curve(rates: Sequence[float]) -> str:
    """Bars as high as the rates are beside the highest."""
    most = max(rates, default=0.0)
    return "".join(_BARS[round(rate / most * (len(_BARS) - 1))] if most else _BARS[0] for rate in rates)


def _row(name: str, before: Role | None, role: Role, seconds: float) -> tuple[str, ...]:
    if before is None or role.steps < before.steps:  # it has just come, or come again
        before = role
    steps = role.steps - before.steps
    return (
        name,
        role.model,
        f"{role.sessions:,}",
        _ratio(steps, seconds),
        _ratio(1000 * (role.seconds - before.seconds), steps),
        _ratio(role.rows - before.rows, steps),
        f"{role.held:,} of {role.room:,}" if role.room else "-",
        f"{role.memory / 1e6:,.0f} MB",
    )


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole > 0 else "-"


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:,.1f}" if whole > 0 else "-"
