"""How a peer works for a measurement: one JSON request a line on stdin, one JSON answer a line on stdout.

Only the standard library: every peer has an environment of its own.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TextIO


class RequestError(Exception):
    """A line that is no request, or one that the peer cannot do."""


@dataclass(frozen=True)
class Request:
    """Prompts that start together as one batch, and go on past the model's end."""

    prompts: list[list[int]]
    max_tokens: int
    temperature: float = 0.0  # 0 is greedy; nothing else shapes the distribution
    way: str = "plain"  # for a peer that has several


@dataclass(frozen=True)
class Answer:
    """Times are from handing in the first prompt; first_token is when every prompt has one."""

    seconds_total: float
    first_token_seconds: float
    tokens: list[list[int]]
    tokens_per_second: float | None  # of the tokens after that; None where there are none
    steps: int | None = None  # forward passes of the decode, where the peer tells


def parse(line: str) -> Request:
    """The request in a line. Raises RequestError."""
    try:
        request = Request(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise RequestError(f"no request: {error}") from error
    prompts = request.prompts
    lists = isinstance(prompts, list) and prompts and all(isinstance(ids, list) and ids for ids in prompts)
    if not (lists and all(type(token) is int for ids in prompts for token in ids)):
        raise RequestError("prompts is a list of lists of token ids, none of them empty")
    if type(request.max_tokens) is not int or request.max_tokens < 1:
        raise RequestError("max_tokens is a positive integer")
    if not isinstance(request.temperature, int | float) or request.temperature < 0:
        raise RequestError("temperature is a number from 0 on")
    return request


def claim_stdout() -> TextIO:
    """The real stdout, for answers alone; from here on everyone's file descriptor 1 is stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def serve(generate: Callable[[Request], Answer], answers: TextIO) -> None:
    """Answers requests until the end of stdin; one that cannot be done with {"error": ...}."""
    for line in filter(str.strip, sys.stdin):
        answer: dict[str, Any]
        try:
            answer = asdict(generate(parse(line)))
        except RequestError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers)


def log(text: str) -> None:
    """A word on stderr, under the script's name."""
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr, flush=True)
