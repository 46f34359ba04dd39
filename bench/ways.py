"""Ways from prompts to tokens, all asked alike: over gRPC through a cluster, or a worker on lines of JSON."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from prompts import Prompt, Turns
from rich.progress import track

from ringroad.cluster.client import Chat, Client, Delta
from ringroad.v1.inference_pb2 import ChatMessage, TokenIds, Usage

Ids = list[int]


class Batch(NamedTuple):
    """Prompts that are handed in together."""

    prompts: list[Ids]
    tokens: int  # for each prompt, whatever its end
    temperature: float = 0.0
    seed: int = 0  # of the first prompt; the next has the next


@dataclass(frozen=True)
class Run:
    """What came of a batch. Rates count what follows after every prompt has its first token."""

    rate: float  # tokens per second, to the end of the last text
    texts: list[Ids]
    ttft: float  # seconds until every prompt has a token
    accepted_per_consult: float = 0.0
    consults_per_token: float = 0.0
    full_rate: float | None = None  # tokens per second while all texts of the batch run

    def figures(self) -> dict[str, float]:
        """All but the texts."""
        return {name: value for name, value in asdict(self).items() if name != "texts"}


Ask = Callable[[Batch], Run]
Runs = dict[str, list[Run]]


class WorkerFailed(Exception):
    """A worker has ended, or says that it cannot do what it was asked."""


class Stream(NamedTuple):
    """One text as it came: how many tokens there were when, and what it took."""

    ids: Ids
    times: list[tuple[float, int]]
    usage: Usage

    def had(self, moment: float) -> int:
        """Tokens that were there."""
        return max((count for time, count in self.times if time <= moment), default=0)


def over_grpc(client: Client, mode: str, ignore_eos: bool = True, **extra: Any) -> Ask:
    """Batches through the whole cluster, each prompt a request of its own, with `extra` options."""

    def stream(prompt: Ids, batch: Batch, seed: int) -> Stream:
        ids: Ids = []
        times: list[tuple[float, int]] = []
        usage = Usage()
        options: dict[str, Any] = {"temperature": batch.temperature, "seed": seed, **extra}
        for event in client.generate(
            TokenIds(ids=prompt), mode=mode, max_tokens=batch.tokens, ignore_eos=ignore_eos, **options
        ):
            if isinstance(event, Delta):
                ids += event.token_ids
                times.append((perf_counter(), len(ids)))
            else:
                usage = event.usage
        return Stream(ids, times, usage)

    def ask(batch: Batch) -> Run:
        seeds = range(batch.seed, batch.seed + len(batch.prompts))
        with ThreadPoolExecutor(len(batch.prompts)) as pool:
            began = perf_counter()
            streams = list(pool.map(stream, batch.prompts, [batch] * len(seeds), seeds))
        return _run(streams, began)

    return ask


def _run(streams: Sequence[Stream], began: float) -> Run:
    first = max(each.times[0][0] for each in streams)
    ends = [each.times[-1][0] for each in streams]
    tokens = sum(len(each.ids) for each in streams)
    consults = sum(each.usage.consults for each in streams)

    def rate(until: float) -> float:
        return sum(each.had(until) - each.had(first) for each in streams) / (until - first)

    return Run(
        rate=rate(max(ends)),
        full_rate=rate(min(ends)) if min(ends) > first else None,
        texts=[each.ids for each in streams],
        ttft=first - began,
        accepted_per_consult=sum(each.usage.accepted_tokens for each in streams) / max(1, consults),
        consults_per_token=consults / tokens,
    )


@contextmanager
def worker(*command: str | Path) -> Iterator[Callable[..., Ask]]:
    """A line-driven worker; yields what makes a way of it, `extra` being part of each request."""
    with subprocess.Popen(
        list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        send, receive = process.stdin, process.stdout

        def answer(request: Mapping[str, Any]) -> dict[str, Any]:
            try:
                send.write(json.dumps(request) + "\n")
                send.flush()
                line = receive.readline()
            except BrokenPipeError:
                line = ""
            found: dict[str, Any] = json.loads(line or '{"error": "it has ended"}')
            if "error" in found:
                raise WorkerFailed(f"{command[1]}: {found['error']}")
            return found

        def way(**extra: str) -> Ask:
            def ask(batch: Batch) -> Run:
                request = {"prompts": batch.prompts, "max_tokens": batch.tokens, **extra}
                if batch.temperature:
                    request["temperature"] = batch.temperature
                found = answer(request)
                return Run(found["tokens_per_second"], found["tokens"], found["first_token_seconds"])

            return ask

        try:
            yield way
        finally:
            with suppress(BrokenPipeError):
                send.close()


def tokenized(client: Client, prompts: Sequence[Prompt]) -> list[Ids]:
    """The prompts as the model's chat template writes them."""
    return [list(client.tokenize(chat(prompt.turns)).token_ids) for prompt in prompts]


def chat(turns: Turns) -> Chat:
    """A conversation as the client sends it."""
    return Chat(messages=[ChatMessage(role=role, content=text) for role, text in turns])


def batches(prompts: Sequence[Ids], size: int, tokens: int, temperature: float = 0.0) -> list[Batch]:
    """The prompts in batches of a size, the last one full as well: what is left over is left out."""
    whole = range(0, len(prompts) - size + 1, size)
    return [Batch(list(prompts[at : at + size]), tokens, temperature, seed=at) for at in whole]


def once(ways: Mapping[str, Ask], batch: Batch, turn: int) -> dict[str, Run]:
    """Every way through one batch; each turn begins with another way."""
    names = list(ways)
    shift = turn % max(1, len(names))
    return {name: ways[name](batch) for name in names[shift:] + names[:shift]}


def measure(ways: Mapping[str, Ask], batches: Sequence[Batch], says: str = "measuring") -> Runs:
    """Every way through every batch, taking turns."""
    rounds = [once(ways, batch, turn) for turn, batch in enumerate(track(batches, says, transient=True))]
    return {name: [found[name] for found in rounds] for name in ways}


def ratio(runs: Runs, way: str, base: str) -> float:
    """Median over the batches of how much faster `way` was than `base`."""
    return median(a.rate / b.rate for a, b in zip(runs[way], runs[base], strict=True))


def full_ratio(runs: Runs, way: str, base: str) -> float | None:
    """The same while all texts of a batch run: without the end, where the slowest run alone."""
    pairs = zip(runs[way], runs[base], strict=True)
    found = [a.full_rate / b.full_rate for a, b in pairs if a.full_rate and b.full_rate]
    return median(found) if found else None


def rate(runs: Sequence[Run]) -> float:
    """Median tokens per second."""
    return median(run.rate for run in runs)


def same_texts(runs: Runs, way: str, base: str) -> tuple[int, int]:
    """How many texts are the same by both ways, and of how many."""
    pairs = [
        (a, b)
        for mine, other in zip(runs[way], runs[base], strict=True)
        for a, b in zip(mine.texts, other.texts, strict=True)
    ]
    return sum(a == b for a, b in pairs), len(pairs)
