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

from ringroad.cluster.ask import EXITS, fail, generate, running_target

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


<<<<<<< HEAD
@main.command(epilog=_EXITS)
def generate(
    prompt: Annotated[str, Argument(help="What to say; - reads it from standard input.")],
    target: Annotated[
        str | None,
        Option(
            metavar="HOST:PORT[,...]",
            help="A cluster's gateways; without it, the cluster that `up` started.",
        ),
    ] = None,
    chat: Annotated[
        bool, Option("--chat/--raw", help="PROMPT is a user's message, or a text to continue as it is.")
    ] = True,
    model: Annotated[str | None, Option(help="The pair of models, where a gateway serves several.")] = None,
    max_tokens: Annotated[int | None, Option(min=0)] = None,
    stop: Annotated[list[str] | None, Option(help="End before this text; may be repeated.")] = None,
    timeout: Annotated[float | None, Option(min=0, help="The deadline, in seconds.")] = None,
    json: Annotated[bool, Option("--json", help="Show one object instead of the text.")] = False,
    mode: Annotated[Mode | None, Option(rich_help_panel=_SHARING)] = None,
    draft_tokens: Annotated[int | None, Option(min=0, rich_help_panel=_SHARING, help="Per consult.")] = None,
    policy: Annotated[
        str | None,
        Option(
            rich_help_panel=_SHARING,
            help="In mode routed, the rule: learned, margin, entropy, max-prob, random, step or cascade.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        Option(rich_help_panel=_SHARING, help="The doubt at which it asks: 0 always, above 1 never."),
    ] = None,
    large_share: Annotated[
        float | None,
        Option(
            rich_help_panel=_SHARING, help="In place of a threshold: of tokens by the large model, 0 to 1."
        ),
    ] = None,
    seed: Annotated[int | None, Option(min=0, rich_help_panel=_SAMPLING)] = None,
    temperature: Annotated[float | None, Option(rich_help_panel=_SAMPLING)] = None,
    top_k: Annotated[int | None, Option(min=0, rich_help_panel=_SAMPLING)] = None,
    top_p: Annotated[float | None, Option(rich_help_panel=_SAMPLING)] = None,
    min_p: Annotated[float | None, Option(rich_help_panel=_SAMPLING)] = None,
    api_key_file: Annotated[Path | None, Option(rich_help_panel=_ACCESS, help="Holds the API key.")] = None,
    tls: Annotated[bool, Option("--tls", rich_help_panel=_ACCESS, help="Encrypt.")] = False,
    tls_ca: Annotated[Path | None, Option(rich_help_panel=_ACCESS, help="Roots to believe.")] = None,
    tls_cert: Annotated[Path | None, Option(rich_help_panel=_ACCESS, help="To show the server.")] = None,
    tls_key: Annotated[Path | None, Option(rich_help_panel=_ACCESS, help="Of the certificate.")] = None,
) -> None:
    """Generate a text: it alone on standard output as it comes, its figures on standard error.

    Ctrl-C cancels the request on the server. A text whose stream breaks goes on at the next gateway.
    """

    from ringroad.cluster.access import Access
    from ringroad.cluster.answer import Answer
    from ringroad.cluster.client import AsyncClient, CallFailed, Delta, Patience, user

    where, text = target or _running_target(), _read(prompt)

    def show(delta: Delta) -> None:
        if not json:
            sys.stdout.write(delta.text)
            sys.stdout.flush()

    try:
        access = Access.found(
            api_key_file=api_key_file, tls=tls, ca=tls_ca, certificate=tls_cert, private_key=tls_key
        )
        access.credentials()
    except ValueError as error:
        _fail(2, str(error))

    async def ask() -> Answer:
        async with AsyncClient(where, Patience(begin=_BEGIN_SECONDS), access) as client:
            try:
                events = client.generate(
                    user(text) if chat else text,
                    timeout=timeout,
                    model=model,
                    mode=mode,
                    max_tokens=max_tokens,
                    stop=stop or (),
                    draft_tokens=draft_tokens,
                    policy=policy,
                    threshold=threshold,
                    large_share=large_share,
                    seed=seed,
                    temperature=temperature,
                    top_k=top_k,
                    top_p=top_p,
                    min_p=min_p,
                )
            except ValueError as error:  # a number too large, or text that is not Unicode
                _fail(2, str(error))
            return await Answer.gather(events, show)

    try:
        answer = asyncio.run(ask())
    except CallFailed as error:
        _fail(_EXIT_OF_STATUS.get(error.code.name, 1), f"{where}: {error}")
    if json:
        typer.echo(dumps(answer.as_dict(), ensure_ascii=False))
    else:
        if sys.stdout.isatty():
            sys.stdout.write("\n")
        typer.echo(answer.figures(), err=True)
    if not answer.whole:
        _fail(1, answer.error or answer.finish_reason)
=======
main.command(epilog=EXITS)(generate)
>>>>>>> dea4da0 (ringroad generate has a file; commands that are applications are told in one table)


def _others(name: str, module: str, usage: str, about: str) -> None:
    """A command that is an application of its own: imported, with what it needs, by who calls it."""

    def called(arguments: Annotated[list[str] | None, Argument(metavar=usage)] = None) -> None:
        import_module(module).app(arguments or [], prog_name=f"ringroad {name}")

    passing_on = {"ignore_unknown_options": True, "help_option_names": []}
    main.command(name, help=about, context_settings=passing_on)(called)


<<<<<<< HEAD
@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def router(arguments: Annotated[list[str] | None, Argument(metavar="train|show [PATH]")] = None) -> None:
    """Train a token router, and show one's card."""
    from ringroad.cluster.training.cli import app

    app(arguments or [], prog_name="ringroad router")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def top(arguments: Annotated[list[str] | None, Argument(metavar="[--once]")] = None) -> None:
    """Watch a gateway's load and the roles behind it."""
    from ringroad.cluster.top import app

    app(arguments or [], prog_name="ringroad top")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def bench(arguments: Annotated[list[str] | None, Argument(metavar="ring [KEY=VALUE]...")] = None) -> None:
    """What a ring of ranks would take, by a model of its cost."""
    from ringroad.cluster.bench import app

    app(arguments or [], prog_name="ringroad bench")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def keys(arguments: Annotated[list[str] | None, Argument(metavar="new|revoke|list")] = None) -> None:
    """Make and revoke API keys."""
    from ringroad.cluster.keys import app

    app(arguments or [], prog_name="ringroad keys")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
def certs(arguments: Annotated[list[str] | None, Argument(metavar="dev [FOLDER]")] = None) -> None:
    """Make certificates to try TLS with."""
    from ringroad.cluster.certs import app

    app(arguments or [], prog_name="ringroad certs")


def _running_target() -> str:
    from ringroad.cluster import daemon

    running = daemon.find()
    return running.target if running else _DEFAULT_TARGET


def _read(prompt: str) -> str:
    if prompt != "-":
        return prompt
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        _fail(2, "standard input is not UTF-8")


def _fail(code: int, message: str) -> NoReturn:
    typer.echo(f"ringroad: {message}", err=True)
    raise Exit(code)
=======
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
>>>>>>> dea4da0 (ringroad generate has a file; commands that are applications are told in one table)


if __name__ == "__main__":
    main()
