"""`ringroad`: run a cluster on this machine, and ask any gateway for text.

Each command imports what it needs when it runs: Ray and torch take seconds, gRPC a fifth of one,
and neither `--help` nor `generate` should cost more than it uses.
"""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Exit, Option

from ringroad.actors.messages import Mode

main = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__.splitlines()[0])

Config = Annotated[
    Path | None,
    Option(exists=True, dir_okay=False, resolve_path=True, help="A TOML file; without it, the defaults."),
]
_SHARING = "How tokens are shared"
_SAMPLING = "How tokens are drawn"
_EXITS = (
    "Exit codes: 0 the text ended; 1 another error; 2 wrong usage or a refused parameter, which is named; "
    "3 no server, or none that can serve; 4 past the deadline; 5 the server is full; 130 interrupted."
)
_EXIT_OF_STATUS = {
    "INVALID_ARGUMENT": 2,
    "UNAVAILABLE": 3,
    "DEADLINE_EXCEEDED": 4,
    "RESOURCE_EXHAUSTED": 5,
}


@main.command(epilog="Exit codes: 0 ended or started; 1 failed or already running; 2 wrong usage.")
def up(
    config: Config = None,
    detach: Annotated[bool, Option("--detach", help="Return once it serves; `down` ends it.")] = False,
) -> None:
    """Run a cluster here, until Ctrl-C or `ringroad down`."""
    from rich.console import Console

    from ringroad.cluster import daemon
    from ringroad.cluster.config import ConfigError, load_config

    try:
        gateway = load_config(config).gateway
    except ConfigError as error:
        _fail(2, str(error))
    target = daemon.target_of(gateway.host, gateway.port)
    try:
        if detach:
            daemon.start(config, target, Console(stderr=True))
            typer.echo(target)
        else:
            _run_here(config, target)
    except (daemon.AlreadyRunning, daemon.StartFailed) as error:
        _fail(1, str(error))


@main.command(epilog="Exit codes: 0 nothing runs any more; 1 something cannot be ended.")
def down() -> None:
    """End the cluster that `up` started, and all its processes."""
    from ringroad.cluster import daemon
    from ringroad.cluster.processes import StillAlive

    try:
        stopped = daemon.stop()
    except StillAlive as error:
        _fail(1, str(error))
    typer.echo("stopped" if stopped else "nothing was running", err=True)


@main.command(epilog="Exit codes: 0 ready; 1 running, but not ready; 3 not running.")
def status() -> None:
    """Show the cluster that `up` started: models, roles, load, and the memory of its processes."""
    from rich.console import Console

    from ringroad.cluster import daemon
    from ringroad.cluster.report import report

    running = daemon.find()
    if running is None:
        _fail(3, "not running")
    raise Exit(0 if report(running, Console(highlight=False, markup=False)) else 1)


@main.command(epilog=_EXITS)
def generate(
    prompt: Annotated[str, Argument(help="What to say; - reads it from standard input.")],
    target: Annotated[
        str | None, Option(metavar="HOST:PORT", help="A gateway; without it, the cluster that `up` started.")
    ] = None,
    chat: Annotated[
        bool, Option("--chat/--raw", help="PROMPT is a user's message, or a text to continue as it is.")
    ] = True,
    model: Annotated[str | None, Option(help="The pair of models, where a gateway serves several.")] = None,
    max_tokens: Annotated[int | None, Option(min=0, max=2**32 - 1)] = None,
    stop: Annotated[list[str] | None, Option(help="End before this text; may be repeated.")] = None,
    timeout: Annotated[float | None, Option(min=0, help="The deadline, in seconds.")] = None,
    json: Annotated[bool, Option("--json", help="Show one object instead of the text.")] = False,
    mode: Annotated[Mode | None, Option(rich_help_panel=_SHARING)] = None,
    draft_tokens: Annotated[
        int | None, Option(min=0, max=2**32 - 1, rich_help_panel=_SHARING, help="Guesses per consult.")
    ] = None,
    policy: Annotated[str | None, Option(rich_help_panel=_SHARING, help="In mode routed: the rule.")] = None,
    threshold: Annotated[float | None, Option(rich_help_panel=_SHARING, help="When the rule asks.")] = None,
    seed: Annotated[int | None, Option(min=0, max=2**64 - 1, rich_help_panel=_SAMPLING)] = None,
    temperature: Annotated[float | None, Option(rich_help_panel=_SAMPLING)] = None,
    top_k: Annotated[int | None, Option(min=0, max=2**32 - 1, rich_help_panel=_SAMPLING)] = None,
    top_p: Annotated[float | None, Option(rich_help_panel=_SAMPLING)] = None,
    min_p: Annotated[float | None, Option(rich_help_panel=_SAMPLING)] = None,
) -> None:
    """Generate a text: it alone on standard output as it comes, its figures on standard error.

    Ctrl-C cancels the request on the server.
    """

    ...
