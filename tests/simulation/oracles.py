"""What must hold of a world when it is over: the texts, their endings, and that nobody holds anything."""

from dataclasses import replace
from functools import cache, lru_cache

from ringroad.actors.messages import Finish, Mode, Sampling
from ringroad.actors.router.policies import RULES, Scope
from ringroad.v1 import inference_pb2
from tests import reference
from tests.simulation.clients import Reader
from tests.simulation.models import LARGE, SMALL, model
from tests.simulation.schedule import POLICIES, PROMPTS, SAMPLINGS, Ask, Schedule
from tests.simulation.text import before_stops, stopped, text_of
from tests.simulation.world import World

FINISHES = {
    inference_pb2.FINISH_REASON_STOP: Finish.STOP,
    inference_pb2.FINISH_REASON_LENGTH: Finish.LENGTH,
    inference_pb2.FINISH_REASON_CANCELLED: Finish.CANCELLED,
    inference_pb2.FINISH_REASON_ERROR: Finish.ERROR,
}
MOST = 14  # tokens of a text


def run(schedule: Schedule, tracing: bool = False) -> World:
    """A world that is over, with all that is wrong with it among its errors."""
    world = World(schedule, tracing)
    world.run()
    for reader in world.readers.values():
        for problem in [*reader.errors, *_read(reader, schedule)]:
            world.wrong(f"{reader.ask.name}: {problem}")
    for name, what in world.held.items():
        if what:
            world.wrong(f"{name} holds {what}")
    return world


def _read(reader: Reader, schedule: Schedule) -> list[str]:
    """What is wrong with what a client read."""
    ask, tokens = reader.ask, reader.tokens
    whole = _expected(ask)
    if reader.lost and not reader.last:
        same = tokens == whole[: len(tokens)] or ask.mode is Mode.ROUTED
        return [] if same else [f"read {tokens} until it was lost, not {whole}"]
    if len(reader.last) != 1:
        return [f"{len(reader.last)} terminal messages"]
    last, finish = reader.last[0], FINISHES[reader.last[0].finish_reason]
    changed = ask.mode is Mode.ROUTED and (bool(last.usage.degraded) or reader.anew)
    if finish is Finish.ERROR:
        lost = sum(fault.target.startswith("verifier") for fault in schedule.faults)
        given_up = schedule.harsh or ("given up" in last.error and lost >= 3)
        return [] if given_up else [f"ended with {last.error!r}"]
    if finish is Finish.CANCELLED:
        if not reader.left:
            return ["cancelled by nobody"]
        same = changed or tokens == whole[: len(tokens)]
        return [] if same else [f"read {tokens} and cancelled, not {whole}"]
    if changed:
        whole = cut(tokens, ask)
    problems = []
    if tokens != whole:
        problems.append(f"read {tokens} ({finish}), not {whole}")
    text = before_stops(text_of([token for token in whole if token not in ask.ends]), ask.stops)
    if reader.text != text:
        problems.append(f"read {reader.text!r}, not {text!r}")
    ends = tokens and tokens[-1] in ask.ends
    wanted = Finish.STOP if ends or stopped(tokens, ask.stops) is not None else Finish.LENGTH
    if finish is not wanted:
        problems.append(f"ended with {finish}, not {wanted}")
    if last.usage.completion_tokens != len(tokens):
        problems.append(f"was told of {last.usage.completion_tokens} tokens, read {len(tokens)}")
    return problems


def _expected(ask: Ask) -> list[int]:
    return routed(ask) if ask.mode is Mode.ROUTED else expected(ask)


def expected(ask: Ask) -> list[int]:
    """What one model says by itself, up to the first end."""
    return cut(_plain(SMALL if ask.mode is Mode.SMALL else LARGE, ask.prompt, ask.sampling), ask)


def cut(text: list[int], ask: Ask) -> list[int]:
    """Up to the limit, an end, or the token that completes a stop string."""
    text = text[: ask.max_tokens]
    end = next((i + 1 for i, token in enumerate(text) if token in ask.ends), len(text))
    return text[: min(end, stopped(text, ask.stops) or len(text))]


@cache
def _plain(name: str, prompt: int, sampling: int) -> list[int]:
    asked: Sampling = SAMPLINGS[sampling]
    return reference.plain_text(model(name), PROMPTS[prompt], asked, MOST)


@lru_cache(maxsize=20_000)
def _routed(ask: Ask) -> list[int]:
    world = World(Schedule(0, asks=(ask,)))
    world.run()
    return world.readers[ask.name].tokens


def routed(ask: Ask) -> list[int]:
    """What both models say together where nothing breaks."""
    whole = Ask("a", 0.0, ask.prompt, ask.sampling, ask.mode, MOST, policy=ask.policy)
    if RULES[POLICIES[ask.policy or 0].name].scope is Scope.TOKEN:
        return cut(_routed(whole), ask)
    # Who decides wider than by tokens looks at where the text ends.
    return cut(_routed(replace(whole, max_tokens=ask.max_tokens, ends=ask.ends)), ask)
