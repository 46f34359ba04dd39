"""`ringroad`: run a cluster on this machine, and ask any gateway for text.

Each command imports what it needs when it runs: Ray and torch take seconds, gRPC a fifth of one,
and neither `--help` nor `generate` should cost more than it uses.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Exit, Option

from ringroad.cluster.ask import EXITS, fail, generate

main = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__.splitlines()[0])

Config = Annotated[
    Path | None,
    Option(exists=True, dir_okay=False, resolve_path=True, help="A TOML file; without it, the defaults."),
]


@main.command(epilog="Exit codes: 0 ended or started; 1 failed or already running; 2 wrong usage.")
def up(
    config: Config = None,
    detach: Annotated[bool, Option("--detach", help="Return once it serves; `down` ends it.")] = False,
) -> None:
    """Run a cluster here, until Ctrl-C or `ringroad down`."""
    from rich.console import Console

    from ringroad.actors.errors import RingroadError
    from ringroad.cluster import daemon
    from ringroad.cluster.access import Access
    from ringroad.cluster.config import ConfigError, load_config
    from ringroad.cluster.models import ModelError

    try:
        gateway = load_config(config).gateway
        target, http = daemon.targets_of(gateway), daemon.http_of(gateway)
        if detach:
            if gateway.tls is not None and not Access.found().secure:
                fail(2, "gateway.tls: RINGROAD_TLS_CA must say whom to believe, to see whether it serves")
            daemon.start(config, target, Console(stderr=True))
            typer.echo(target)
            if http:
                typer.echo(f"OpenAI's API: {http}", err=True)
            return
        with daemon.recorded(target):
            from ringroad.cluster import launch

            os.chdir(daemon.state_folder())  # for the reason in daemon.py
            launch.run(config)
    except ConfigError as error:
        fail(2, str(error))
    except (ModelError, RingroadError, daemon.AlreadyRunning, daemon.StartFailed) as error:
        fail(1, str(error))


@main.command(epilog="Exit codes: 0 nothing runs any more; 1 something cannot be ended.")
def down() -> None:
    """End the cluster that `up` started, and all its processes."""
    from ringroad.cluster import daemon
    from ringroad.cluster.processes import StillAlive

    try:
        stopped = daemon.stop()
    except StillAlive as error:
        fail(1, str(error))
    typer.echo("stopped" if stopped else "nothing was running", err=True)


@main.command(epilog="Exit codes: 0 ready; 1 running, but not ready; 3 not running.")
def status() -> None:
    """Show the cluster that `up` started: models, roles, load, and the memory of its processes."""
    from rich.console import Console

    from ringroad.cluster import daemon
    from ringroad.cluster.report import report

    running = daemon.find()
    if running is None:
        fail(3, "not running")
    try:
        ready = report(running, Console(highlight=False, markup=False))
    except ValueError as error:  # of RINGROAD_TLS_CA and its like
        fail(1, str(error))
    raise Exit(0 if ready else 1)


main.command(epilog=EXITS)(generate)


def _others(name: str, module: str, usage: str, about: str) -> None:
    """A command that is an application of its own: imported, with what it needs, by who calls it."""

    def called(arguments: Annotated[list[str] | None, Argument(metavar=usage)] = None) -> None:
        import_module(module).app(arguments or [], prog_name=f"ringroad {name}")

    passing_on = {"ignore_unknown_options": True, "help_option_names": []}
    main.command(name, help=about, context_settings=passing_on)(called)


for _other in (
    ("top", "ringroad.cluster.top", "[OPTIONS]", "Watch a gateway's load and the roles behind it."),
    ("models", "ringroad.cluster.models.cli", "pull|list|path [NAME]", "Pull, list and find models."),
    (
        "router",
        "ringroad.cluster.training.cli",
        "train|show [PATH]",
        "Train a token router, show one's card.",
    ),
    (
        "bench",
        "ringroad.cluster.bench",
        "ring [KEY=VALUE]...",
        "What a ring of ranks would take, by a model.",
    ),
    ("keys", "ringroad.cluster.keys", "new|revoke|list", "Make and revoke API keys."),
    ("certs", "ringroad.cluster.certs", "dev [FOLDER]", "Make certificates to try TLS with."),
):
    _others(*_other)


if __name__ == "__main__":
    main()
