"""`ringroad generate`: asks any gateway for text."""

import asyncio
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer import Argument, Exit, Option

from ringroad.actors.messages import Mode

_DEFAULT_TARGET = "127.0.0.1:50051"
_BEGIN_SECONDS = 1.0  # to find a gateway that can serve: a person waits for the answer
_ACCESS = (
    "Who asks (also RINGROAD_API_KEY, RINGROAD_API_KEY_FILE, RINGROAD_TLS, RINGROAD_TLS_CA, _CERT, _KEY)"
)
_SHARING = "How tokens are shared"
_SAMPLING = "How tokens are drawn"
EXITS = (
    "Exit codes: 0 the text ended; 1 another error; 2 wrong usage or a refused parameter, which is named; "
    "3 no server, or none that can serve; 4 past the deadline; 5 the server is full; 6 no valid key, or "
    "one for other things; 130 interrupted."
)
_EXIT_OF_STATUS = {
    "INVALID_ARGUMENT": 2,
    "UNAVAILABLE": 3,
    "DEADLINE_EXCEEDED": 4,
    "RESOURCE_EXHAUSTED": 5,
    "UNAUTHENTICATED": 6,
    "PERMISSION_DENIED": 6,
}


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

    where, text = target or running_target(), _read(prompt)

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
        fail(2, str(error))

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
                fail(2, str(error))
            return await Answer.gather(events, show)

    try:
        answer = asyncio.run(ask())
    except CallFailed as error:
        fail(_EXIT_OF_STATUS.get(error.code.name, 1), f"{where}: {error}")
    if json:
        typer.echo(dumps(answer.as_dict(), ensure_ascii=False))
    else:
        if sys.stdout.isatty():
            sys.stdout.write("\n")
        typer.echo(answer.figures(), err=True)
    if not answer.whole:
        fail(1, answer.error or answer.finish_reason)


def running_target() -> str:
    """The cluster that `up` started here, or where it would be."""
    from ringroad.cluster import daemon

    running = daemon.find()
    return running.target if running else _DEFAULT_TARGET


def _read(prompt: str) -> str:
    if prompt != "-":
        return prompt
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        fail(2, "standard input is not UTF-8")


def fail(code: int, message: str) -> NoReturn:
    """Ends the command."""
    typer.echo(f"ringroad: {message}", err=True)
    raise Exit(code)
