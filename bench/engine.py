"""The engine alone against what this machine's memory allows.

    python bench/engine.py [--prompts 16] [--tokens 128] [--rounds 16] [--config deploy/local.toml]

For the verifier's model and the drafter's, as the configuration has them: plain decoding at batch 1
and 8, a prompt's rate, seconds per step by rows, and the share of the roofline: bytes that a step
reads / (bandwidth * seconds), and the same for the bytes of all weights written out, which an engine
reads that does not keep them as codes. The bandwidth is measured right before and after the steps it is
compared with, since a machine's memory may change its speed by a third within minutes; shares are
medians over such rounds. For the verifier also the time to a first token where a prefix is cached, over none.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from harness import LOCAL, RESULTS, console, heading, write
from plots import axes, bars, level, lines, save
from prompts import Turns, mixed
from rich.progress import track
from roofline import Bandwidth, cache_bytes, weight_bytes, written_out_bytes

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.weights import open_weights
from ringroad.actors.messages import Sampling
from ringroad.actors.tokenizer import Tokenizer
from ringroad.cluster.config import load_config
from ringroad.cluster.models import locate

STEPS = 16  # between two measures of the bandwidth
BATCHES, ROWS = (1, 8), (1, 2, 4, 8, 16, 24, 32)
CHUNK = 256  # tokens of a prompt in a step, as the roles read it
CONTEXT, PREFILL, PREFIX, TAIL = 500, 512, 1500, 40  # tokens
PREFIX_TARGET, ROOFLINE_TARGET = 0.15, 0.85


class Round(NamedTuple):
    """Some like steps, and the bandwidth around them."""

    seconds: float  # of a step, the median
    bandwidth: float  # GB/s, the mean of before and after
    share: float  # of the roofline
    written_out: float  # share, were every weight written out


class Bench:
    """One model in an engine."""

    def __init__(self, name: str, weights: Any, bandwidth: Bandwidth) -> None:
        threads = os.cpu_count() or 1
        torch.set_num_threads(threads)
        self.weights = weights
        self.engine = Engine(Model(open_weights(locate(name)), weights, threads), 2 * 10**9)
        self.bandwidth = bandwidth

    def plain(self, prompts: Sequence[list[int]], tokens: int) -> Iterator[Round]:
        """Rounds of greedy decoding, the prompts as one batch."""
        names = [str(index) for index in range(len(prompts))]
        last = [self._begin(name, prompt) for name, prompt in zip(names, prompts, strict=True)]
        for at in range(0, tokens, STEPS):
            before, times = self.bandwidth.measure(), []
            places = sum(map(self.engine.length, names))
            for _ in range(min(STEPS, tokens - at)):
                began = perf_counter()
                outcomes = self.engine.step(
                    [Work(name, [token]) for name, token in zip(names, last, strict=True)]
                )
                last = [outcome.tokens[0] for outcome in outcomes]
                times.append(perf_counter() - began)
            yield self._round(times, before, places)
        for name in names:
            self.engine.close(name)

    def rows(self, text: list[int], rounds: int) -> dict[int, list[Round]]:
        """Rounds of a step by its rows, each answered: what it takes to check a chain of guesses."""
        self._begin("rows", text[:CONTEXT])
        found: dict[int, list[Round]] = {rows: [] for rows in ROWS}
        for _ in track(range(rounds), "steps by rows", transient=True):
            for rows in ROWS:
                before = self.bandwidth.measure()
                times = [self._checked("rows", text[CONTEXT : CONTEXT + rows]) for _ in range(3)]
                found[rows].append(self._round(times, before, CONTEXT))
        self.engine.close("rows")
        return found

    def prefill(self, text: list[int], rounds: int) -> list[float]:
        """Tokens per second of prompts read."""
        times = [self.first_token(text[at : at + PREFILL], adopt=False) for at in range(rounds)]
        return [PREFILL / seconds for seconds in times]

    def prefix(self, text: list[int], rounds: int) -> list[tuple[float, float]]:
        """Seconds to the first token of a text, and of another one that begins with the same."""
        found = []
        for at in track(range(0, 7 * rounds, 7), "shared prefixes", transient=True):
            shared, rest = text[at : at + PREFIX], text[at + PREFIX :]
            first = self.first_token(shared + rest[:TAIL])
            found.append((first, self.first_token(shared + rest[TAIL : 2 * TAIL])))
        return found

    def first_token(self, text: list[int], adopt: bool = True) -> float:
        """Seconds from a text to its first token."""
        began = perf_counter()
        self._begin("first", text, adopt)
        seconds = perf_counter() - began
        self.engine.close("first")
        return seconds

    def _begin(self, name: str, text: list[int], adopt: bool = False) -> int:
        """Opens a session and reads its text; its first token."""
        self.engine.open(name, Sampling())
        at = self.engine.adopt(name, text) if adopt else 0
        while len(text) - at > CHUNK:
            self.engine.step([Work(name, text[at : at + CHUNK], answers=0)])
            at += CHUNK
        return self.engine.step([Work(name, text[at:])])[0].tokens[0]

    def _checked(self, name: str, guesses: list[int]) -> float:
        length, began = self.engine.length(name), perf_counter()
        self.engine.step([Work(name, guesses, answers=len(guesses))])
        seconds = perf_counter() - began
        self.engine.truncate(name, length)
        return seconds

    def _round(self, times: Sequence[float], before: float, places: int) -> Round:
        seconds, speed = median(times), (before + self.bandwidth.measure()) / 2
        model = self.engine.model
        cached = cache_bytes(model.shape, self.weights, places)
        weights = (weight_bytes(model, self.weights), written_out_bytes(model.shape, self.weights))
        return Round(seconds, speed, *((each + cached) / 1e9 / speed / seconds for each in weights))


def summed(rounds: Sequence[Round], rows: int = 1) -> dict[str, float]:
    """Medians over rounds; `rows` tokens come of a step."""
    return {
        "seconds": round(median(each.seconds for each in rounds), 5),
        "tokens_per_second": round(median(rows / each.seconds for each in rounds), 2),
        "bandwidth": round(median(each.bandwidth for each in rounds), 2),
        "roofline_share": round(median(each.share for each in rounds), 3),
        "roofline_share_written_out": round(median(each.written_out for each in rounds), 3),
    }


def of_model(bench: Bench, prompts: list[list[int]], args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one model."""
    result: dict[str, Any] = {"weight_gigabytes": weight_bytes(bench.engine.model, bench.weights) / 1e9}
    text = [token for prompt in prompts * 100 for token in prompt]
    rounds: dict[str, Any] = {}
    for size in BATCHES:
        groups = [prompts[at : at + size] for at in range(0, max(1, len(prompts) - size + 1), size)]
        says = f"plain, batch {size}"
        found = [each for group in track(groups, says) for each in bench.plain(group, args.tokens)]
        result[f"plain_{size}"], rounds[f"plain_{size}"] = summed(found, size), found
    checks = bench.rows(text, args.rounds)
    result["rows"] = {rows: summed(each, rows) for rows, each in checks.items()}
    rounds["rows"] = checks
    result["prefill_tokens_per_second"] = round(median(bench.prefill(text, args.rounds)), 1)
    return {**result, "rounds": rounds}


def prefix_figures(bench: Bench, text: list[int], rounds: int) -> dict[str, Any]:
    """The cache's worth for a second request."""
    pairs = bench.prefix(text, rounds)
    return {
        "prefix_tokens": PREFIX,
        "first_seconds": round(median(first for first, _ in pairs), 4),
        "second_seconds": round(median(second for _, second in pairs), 4),
        "second_over_first": round(median(second / first for first, second in pairs), 4),
        "target": PREFIX_TARGET,
    }


def plot(result: dict[str, Any], out: Path) -> None:
    """Shares of the roofline, and a step's cost by its rows."""
    figure, (left, right) = axes(2, f"The engine alone, {result['date']}, {result['machine']}")
    models = result["models"]
    shares = {
        f"{name}{says}": [each[f"plain_{n}"][key] for n in BATCHES]
        for name, each in models.items()
        for key, says in (("roofline_share", ", as read"), ("roofline_share_written_out", ", written out"))
    }
    bars(left, [f"batch {n}" for n in BATCHES], shares, "share of the roofline of a plain step")
    level(left, ROOFLINE_TARGET)
    steps = {name: [1000 * each["rows"][rows]["seconds"] for rows in ROWS] for name, each in models.items()}
    lines(right, ROWS, steps, "rows of a step", "milliseconds")
    save(figure, out)


def tokenized(model: str, count: int) -> list[list[int]]:
    """The prompts in a model's tokens."""
    tokenizer = Tokenizer.open(locate(model))

    def encoded(turns: Turns) -> list[int]:
        return tokenizer.encode_chat([{"role": role, "content": text} for role, text in turns])

    return [encoded(prompt.turns) for prompt in mixed(count)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument(
        "--rounds", type=int, default=16, help="of steps by rows, prompts and shared prefixes"
    )
    parser.add_argument("--config", type=Path, default=LOCAL)
    parser.add_argument("--out", type=Path, default=RESULTS / "engine.json")
    return parser.parse_args()


def main() -> None:
    """Runs everything and writes bench/results/engine.json and .png."""
    args = arguments()
    config, result = load_config(args.config), heading()
    bandwidth = Bandwidth(os.cpu_count() or 1)
    readings = [bandwidth.measure() for _ in range(20)]
    result["bandwidth"] = {"best": round(max(readings), 2), "median": round(median(readings), 2)}
    result["prompts"], result["tokens_each"], result["models"] = args.prompts, args.tokens, {}
    prompts = tokenized(config.verifier.model, args.prompts)
    for role in (config.verifier, config.drafter):
        console.print(f"loading {role.model} {role.weights}")
        bench = Bench(role.model, role.weights, bandwidth)
        result["models"][f"{role.model} {role.weights}"] = of_model(bench, prompts, args)
        if role is config.verifier:
            text = [token for prompt in prompts * 100 for token in prompt]
            result["prefix"] = prefix_figures(bench, text, args.rounds)
        del bench
    write(args.out, result)
    plot(result, args.out)
    shown = {name: {k: v for k, v in m.items() if k != "rounds"} for name, m in result["models"].items()}
    console.print_json(data={**result, "models": shown})


if __name__ == "__main__":
    main()
