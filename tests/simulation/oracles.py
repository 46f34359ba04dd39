"""What must hold of a world when it is over: the texts, their endings, and that nobody holds anything."""

from dataclasses import replace
from functools import cache, lru_cache

from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.engine.tenant import Tenant
from ringroad.actors.messages import Finish, Mode, Sampling
from ringroad.actors.router.policies import RULES, Scope
from tests import reference
from tests.simulation.gateway import GatewayProcess, Reader
from tests.simulation.models import LARGE, SMALL, model
from tests.simulation.processes import RoleProcess, RouterProcess
from tests.simulation.schedule import POLICIES, PROMPTS, SAMPLINGS, Ask, Schedule
from tests.simulation.world import World

MOST = 14  # tokens of a text


def run(schedule: Schedule, tracing: bool = False) -> World:
    """A world that is over, with all that is wrong with it among its errors."""
    world = World(schedule, tracing)
    world.run()
    for reader in world.readers.values():
        for problem in _read(reader, schedule):
            world.wrong(f"{reader.ask.name}: {problem}")
    for process in world.processes.values():
        held = _held(process, schedule.harsh)
        if held:
            world.wrong(f"{process.name} holds {held}")
    return world


def _read(reader: Reader, schedule: Schedule) -> list[str]:
    """What is wrong with what a client read."""
    ask, text = reader.ask, reader.tokens
    if reader.lost:
        return [] if _agrees(reader, schedule, whole=False) else [f"read {text} until the gateway was lost"]
    if len(reader.last) != 1:
        return [f"{len(reader.last)} terminal messages"]
    last = reader.last[0]
    if last.finish is Finish.ERROR:
        verifiers = sum(fault.target.startswith("verifier") for fault in schedule.faults)
        if schedule.harsh or ("given up" in last.error and verifiers >= 3):
            return []
        return [f"ended with {last.error!r}"]
    if last.finish is Finish.CANCELLED and not reader.left:
        return ["cancelled by nobody"]
    if not _agrees(reader, schedule, whole=last.finish is not Finish.CANCELLED):
        return [f"read {text} ({last.finish}), not {expected(ask) or 'the text without faults'}"]
    wanted = Finish.STOP if text and text[-1] in ask.ends else Finish.LENGTH
    if last.finish is not Finish.CANCELLED and last.finish is not wanted:
        return [f"ended with {last.finish}, not {wanted}"]
    return []


def _agrees(reader: Reader, schedule: Schedule, whole: bool) -> bool:
    ask, text = reader.ask, reader.tokens
    if ask.mode is Mode.ROUTED:
        if reader.degraded:
            return not whole or len(text) == ask.max_tokens or text[-1] in ask.ends
        known = routed(ask)
    else:
        known = expected(ask)
    return text == known if whole else text == known[: len(text)]


def expected(ask: Ask) -> list[int]:
    """What one model says by itself, up to the first end."""
    if ask.mode is Mode.ROUTED:
        return []
    return _cut(_plain(SMALL if ask.mode is Mode.SMALL else LARGE, ask.prompt, ask.sampling), ask)


def _cut(text: list[int], ask: Ask) -> list[int]:
    text = text[: ask.max_tokens]
    stop = next((i + 1 for i, token in enumerate(text) if token in ask.ends), len(text))
    return text[:stop]


@cache
def _plain(name: str, prompt: int, sampling: int) -> list[int]:
    asked: Sampling = SAMPLINGS[sampling]
    return reference.plain_text(model(name), PROMPTS[prompt], asked, MOST)


@lru_cache(maxsize=20_000)
def _routed(ask: Ask) -> list[int]:
    world = World(Schedule(0, drafters=1, verifiers=1, asks=(ask,)))
    world.run()
    return world.readers[ask.name].tokens


def routed(ask: Ask) -> list[int]:
    """What both models say together where nothing breaks."""
    whole = Ask("a", 0.0, ask.prompt, ask.sampling, ask.mode, MOST, (), 3, ask.policy)
    if RULES[POLICIES[ask.policy or 0].name].scope is Scope.TOKEN:
        return _cut(_routed(whole), ask)
    # Who decides wider than by tokens looks at where the text ends.
    return _routed(replace(whole, max_tokens=ask.max_tokens, ends=ask.ends))


def _held(process: object, harsh: bool) -> str:
    """What a process still holds of requests that are over."""
    if isinstance(process, RouterProcess):
        return _filled(
            running=process.router._running,
            waiting=process.router._waiting,
            rulings=process.router._rulings._pending,
            sessions=[name for peer in process.router._peers.values() for name in peer.sessions],
            rounds=[name for peer in process.router._peers.values() for name in peer.foresight._rounds],
        )
    if isinstance(process, GatewayProcess):
        return _filled(running=process.running, routed=process.routed)
    # Where a Close and what it ends change places, a role holds what nobody can tell it to let go of.
    if isinstance(process, RoleProcess) and isinstance(process.role, Tenant) and not harsh:
        role = process.role
        engine = role._engine
        found = _filled(
            held=role._held, tasks=role._tasks, sessions=engine._sessions, blocks=engine._pool._holders
        )
        if isinstance(role, ModelDrafter):
            found += _filled(
                growers=role._growers, free=role._free, guessed=role._guessed, ahead=role._idle._ahead
            )
        return found
    return ""


def _filled(**parts: object) -> str:
    return " ".join(f"{name}: {list(part)}" for name, part in parts.items() if part)  # type: ignore[call-overload]
