"""`make demo`: the same prompts in every mode, from a real pair of models, over gRPC."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer import Exit, Option

from ringroad.actors.errors import RingroadError
from ringroad.actors.messages import Mode, Speaker
from ringroad.actors.tokenizer import TextStream, Tokenizer
from ringroad.cluster import daemon
from ringroad.cluster.answer import Answer, Figures, speaker_name
from ringroad.cluster.client import AsyncClient, CallFailed, Delta, user
from ringroad.cluster.config import ConfigError, load_config
from ringroad.cluster.models import ModelError, ModelNotCached, locate
from ringroad.cluster.models.cli import pull
from ringroad.cluster.processes import StillAlive

PROMPTS = (
    "Write a Python function that says whether a word is a palindrome.",
    "What is a hash table? Answer in three sentences.",
    "Write a SQL query for the three customers with the most orders.",
)
MODES = (Mode.LARGE, Mode.SPECULATIVE, Mode.ROUTED, Mode.SMALL)
SEED = 7
TEMPERATURE = 0.7
MAX_TOKENS = 80
COLOURS = {Speaker.SMALL_KEPT: "green", Speaker.SMALL_ACCEPTED: "cyan", Speaker.LARGE: "magenta"}

# What may go wrong and says itself how.
_KNOWN = (
    daemon.AlreadyRunning,
    daemon.StartFailed,
    StillAlive,
    ModelError,
    ConfigError,
    RingroadError,
    CallFailed,
)

Answers = Mapping[Mode, Sequence[Answer]]


def demo(
    config: Annotated[
        Path | None, Option(exists=True, dir_okay=False, resolve_path=True, help="As for `ringroad up`.")
    ] = None,
) -> None:
    """Pull the models, start a cluster, let it speak in every mode, and shut it down again.

    Exit codes: 0 shown, and modes large and speculative said the same; 1 anything else; 130 interrupted.
    """
    console = Console(highlight=False)
    # Ended either way, it unwinds: the cluster must not stay behind.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        lossless = _run(config, console)
    except _KNOWN as error:
        console.print(str(error), style="red", markup=False)
        raise Exit(1) from error
    raise Exit(0 if lossless else 1)


def _run(config: Path | None, console: Console) -> bool:
    settings = load_config(config)
    for model in filter(None, (settings.verifier.model, settings.drafter.model)):
        try:
            locate(model)
        except ModelNotCached:
            pull(model)
    tokenizer = Tokenizer.open(locate(settings.verifier.model))
    target = daemon.targets_of(settings.gateway)
    process = daemon.start(config, target, console)
    try:
        return asyncio.run(_show(target, tokenizer, console))
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        with console.status("shutting down"):
            daemon.stop()
            process.wait()
        console.print("The cluster is shut down.")


async def _show(target: str, tokenizer: Tokenizer, console: Console) -> bool:
    console.print(Text.assemble("Spoken by: ", *_legend()))
    answers: dict[Mode, list[Answer]] = {mode: [] for mode in MODES}
    async with AsyncClient(target) as client:
        for mode in MODES:  # so that no mode's figures hold what only a first request takes
            await Answer.gather(client.generate(user("Hello"), mode=mode, max_tokens=4), lambda _: None)
        for prompt in PROMPTS:
            console.rule(prompt)
            for mode in MODES:
                console.print(f"\n{mode}", style="bold")
                answers[mode].append(await _speak(client, prompt, mode, tokenizer, console))
    console.rule("All prompts together")
    console.print(table(answers))
    lossless = same(answers)
    console.print(
        f"large and speculative: the same text, token by token, for all {len(PROMPTS)} prompts."
        if lossless
        else "large and speculative differ: that must not be.",
        style="bold" if lossless else "bold red",
    )
    return lossless


async def _speak(
    client: AsyncClient, prompt: str, mode: Mode, tokenizer: Tokenizer, console: Console
) -> Answer:
    """One text, as it comes, each token in the colour of who spoke it."""
    text = TextStream(tokenizer)

    def show(delta: Delta) -> None:
        for token, speaker in zip(delta.token_ids, delta.speakers, strict=True):
            console.out(text.push([token]), style=COLOURS[Speaker(speaker_name(speaker))], end="")

    events = client.generate(
        user(prompt), mode=mode, seed=SEED, temperature=TEMPERATURE, max_tokens=MAX_TOKENS
    )
    answer = await Answer.gather(events, show)
    console.out(text.finish())
    return answer


def same(answers: Answers) -> bool:
    """Whether the modes that promise the same tokens gave them, each text whole."""
    pairs = zip(answers[Mode.LARGE], answers[Mode.SPECULATIVE], strict=True)
    return all(one.whole and two.whole and one.token_ids == two.token_ids for one, two in pairs)


def table(answers: Answers) -> Table:
    """The figures of each mode, over all its texts."""
    shown = Table(
        "mode",
        "tokens/s",
        "first\ntoken",
        "accepted\nper consult",
        "consults\nper token",
        "by the\nlarge model",
    )
    for mode, texts in answers.items():
        figures = Figures.of([answer.usage for answer in texts])
        shown.add_row(
            mode,
            f"{figures.tokens_per_second:.1f}",
            f"{figures.seconds_to_first_token:.2f} s",
            f"{figures.accepted_per_consult:.2f}",
            f"{figures.consults_per_token:.2f}",
            f"{figures.large_share:.0%}",
        )
    return shown


def _legend() -> list[tuple[str, str]]:
    words = {
        Speaker.SMALL_KEPT: "the small model, kept  ",
        Speaker.SMALL_ACCEPTED: "the small model, accepted by the large  ",
        Speaker.LARGE: "the large model",
    }
    return [(words[speaker], colour) for speaker, colour in COLOURS.items()]


if __name__ == "__main__":
    typer.run(demo)
