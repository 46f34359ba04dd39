"""Long texts on rings of 1, 2 and 4 ranks: the same tokens, and what each rank keeps and takes.

    python bench/ring_texts.py [--model smollm2-135m] [--weights fp32] [--tokens 8000] [--ranks 1 2 4]

Every rank is a process, over gloo on loopback. The prompt is a needle in a haystack: a number is told at a
tenth, a half and nine tenths of a long list of other sentences, and asked for at the end. Each ring answers
in modes `large` and `speculative` (drafting by suffix lookup); what the first one says in `large` is right.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from harness import RESULTS, console, heading, write
from torch.distributed import FileStore  # type: ignore[attr-defined]  # it is there, and documented

from ringroad.actors.colocated import Colocated
from ringroad.actors.drafter.free import FreeDrafter
from ringroad.actors.drafter.strategies import make as strategy
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.ring.engine import FirstEngine, OtherEngine
from ringroad.actors.engine.ring.gang import Gang
from ringroad.actors.engine.ring.model import RingModel, Way
from ringroad.actors.engine.ring.shards import Pools
from ringroad.actors.messages import Mode, Sampling, Submit
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.tokenizer import Tokenizer
from ringroad.actors.verifier.config import VerifierConfig
from ringroad.actors.verifier.verifier import Verifier
from ringroad.cluster.models import locate
from ringroad.cluster.roles import model
from ringroad.kernels.ring.cost import Device, Link

DEPTHS = (0.1, 0.5, 0.9)
ANSWER = 24  # tokens
HAY = "Item {} of the list is {}, as it was noted in the year {}. "
THINGS = (
    "a grey stone",
    "an old lamp",
    "a broken cup",
    "two blue chairs",
    "a map of the coast",
    "a tin of nails",
)
NEEDLE = "The secret number is {}. "
ASK = "\nWhat is the secret number? Answer with the number alone."


def prompt(tokenizer: Tokenizer, tokens: int, depth: float) -> list[int]:
    """About so many tokens, the needle at a share of them."""
    size = len(tokenizer.encode(HAY.format(100, THINGS[0], 1900)))
    places = range(max(1, (tokens - 80) // (size + 2)))
    lines = [HAY.format(i, THINGS[i * 5 % len(THINGS)], 1700 + i * 7 % 300) for i in places]
    lines.insert(round(depth * len(lines)), NEEDLE.format(number(depth)))
    return tokenizer.encode_chat([{"role": "user", "content": "".join(lines) + ASK}])


def number(depth: float) -> int:
    """What is hidden at a depth."""
    return 48_211 + round(depth * 1000) * 37


def rank(args: argparse.Namespace) -> None:
    """One process of a ring; the first says what was found."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // args.count))
    config = VerifierConfig(model=args.model, weights=args.weights)
    loaded = model(config)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // args.count))
    gang = Gang(FileStore(args.store, args.count), args.rank, args.count, "127.0.0.1", "gloo", 300.0)
    way = Way("auto", Link(2e9, 5e-4), Device(1.2e10, 2.5e9))
    ring = RingModel(loaded, gang.ring, gang.back, 0, way)
    if gang.rank:
        told = iter(lambda: next(heard), b"")
        heard = gang.heard(threading.Event())
        OtherEngine(ring, args.cache).follow(told)
        return
    engine = FirstEngine(ring, args.cache, gang.tell)
    print(json.dumps(found(engine, args)))
    gang.tell(b"")


def found(engine: FirstEngine, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Every depth in both modes."""
    tokenizer = Tokenizer.open(locate(args.model))
    lines = []
    for depth in args.depths:
        text = prompt(tokenizer, args.tokens, depth)
        for mode in (Mode.LARGE, Mode.SPECULATIVE):
            drafter = FreeDrafter([strategy("suffix")])
            loop = Colocated(RouterConfig(adapt=False), Verifier(engine, "large"), drafter)
            began = perf_counter()
            chunks = loop.generate(Submit("s", text, ANSWER, mode, Sampling(), tokenizer.ends))["s"]
            said = [token for chunk in chunks for token in chunk.tokens]
            counts = chunks[-1].counts
            assert counts is not None
            line = {"depth": depth, "mode": mode.value, "prompt": len(text), "tokens": said}
            line |= {"text": tokenizer.decode(said), "consults": counts.consults}
            lines.append(line | {"seconds": round(perf_counter() - began, 2), "kept": kept(engine)})
    return lines


def kept(engine: FirstEngine) -> list[int]:
    """Tokens that each rank has room for, of texts that are there or kept for later."""
    pools = engine._pool
    assert isinstance(pools, Pools)
    return [(pool.held + pool.idle) * BLOCK for pool in pools.each]


def ring(args: argparse.Namespace, count: int) -> list[dict[str, Any]]:
    """Runs as many processes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            __file__,
            *sys.argv[1:],
            "--count",
            str(count),
            "--store",
            f"{folder}/store",
        ]
        env = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
        processes = [
            subprocess.Popen([*command, "--rank", str(each)], env=env, stdout=subprocess.PIPE, text=True)
            for each in range(count)
        ]
        try:
            said: list[dict[str, Any]] = json.loads(processes[0].communicate(timeout=args.limit)[0])
        finally:
            for process in processes:
                process.kill()
        return said


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--weights", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--tokens", type=int, default=8000, help="of the prompt")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--depths", type=float, nargs="+", default=list(DEPTHS))
    parser.add_argument("--cache", type=int, default=2 * 10**9, help="bytes of each rank")
    parser.add_argument("--limit", type=float, default=3600, help="seconds of a ring")
    parser.add_argument("--out", type=Path, default=RESULTS / "ring_texts.json")
    for name in ("--rank", "--count"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    return parser.parse_args()


def plain(line: dict[str, Any]) -> bool:
    """Whether nothing was guessed."""
    return bool(line["mode"] == Mode.LARGE.value)


def main() -> None:
    """Writes bench/results/ring_texts.json."""
    args = arguments()
    if args.rank is not None:
        rank(args)
        return
    result: dict[str, Any] = {**heading(), "model": args.model, "weights": args.weights, "rings": {}}
    right: dict[float, list[int]] = {}
    for count in args.ranks:
        result["rings"][str(count)] = lines = ring(args, count)
        right = right or {line["depth"]: line["tokens"] for line in lines if plain(line)}
        for line in lines:
            line["equal"] = line["tokens"] == right[line["depth"]]
            seen = (line[name] for name in ("mode", "depth", "equal", "seconds", "text"))
            console.print(count, *seen)
    write(args.out, result)


if __name__ == "__main__":
    main()
