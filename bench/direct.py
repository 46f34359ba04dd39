"""The engine called directly, as a worker: what a token costs before any cluster is around it.

Speaks the same lines as the peers' workers: one JSON request on stdin, one JSON answer on stdout.
"""

import json
import sys
from time import perf_counter

import torch

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.model import Model
from ringroad.actors.engine.weights import open_weights
from ringroad.actors.messages import Sampling
from ringroad.cluster.models import locate


def generate(engine: Engine, prompt: list[int], max_tokens: int) -> dict[str, object]:
    """Greedy tokens for one prompt, one a step."""
    engine.open("bench", Sampling())
    start = perf_counter()
    tokens = engine.step([Work("bench", prompt)])[0].tokens
    first = perf_counter()
    while len(tokens) < max_tokens:
        tokens += engine.step([Work("bench", tokens[-1:])])[0].tokens
    end = perf_counter()
    engine.close("bench")
    return {
        "tokens": [tokens],
        "first_token_seconds": first - start,
        "tokens_per_second": (max_tokens - 1) / (end - first),
    }


def main() -> None:
    """usage: direct.py MODEL THREADS"""
    model, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    engine = Engine(Model(open_weights(locate(model)), "bf16", threads))
    for line in sys.stdin:
        request = json.loads(line)
        answer = generate(engine, request["prompts"][0], request["max_tokens"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
