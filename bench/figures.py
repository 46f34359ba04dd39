"""What it costs to be seen: counting in each role's way, a heartbeat's weight, a scrape, tracing that is off.

python bench/figures.py
"""

import asyncio
import json
from collections.abc import Callable
from time import perf_counter

import msgspec
from msgspec.structs import replace

from ringroad.actors import tracing
from ringroad.actors.figures import RoleFigures, RouterFigures
from ringroad.actors.gateway.config import GatewayConfig
from ringroad.actors.gateway.measures import Measures
from ringroad.actors.gateway.metrics import Metrics
from ringroad.actors.gateway.noledger import NoLedger
from ringroad.actors.gateway.peers import Peers
from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.sessions import Sessions
from ringroad.actors.ledger.ledger import Record
from ringroad.actors.messages import Chunk, Counts, Hello, Mode, Roster, Sampling, Speaker, Submit, Verdict
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.opening import begin
from ringroad.actors.router.watch import Watch

TIMES = 20_000
ASKED = Submit("s", [1, 2, 3], 1 << 20, Mode.SPECULATIVE, Sampling())
SPOKEN = [Speaker.SMALL_ACCEPTED] * 3 + [Speaker.LARGE]


def each(work: Callable[[], object], times: int = TIMES) -> float:
    """Microseconds of one, the least of five rounds."""
    rounds = []
    for _ in range(5):
        began = perf_counter()
        for _ in range(times):
            work()
        rounds.append((perf_counter() - began) / times * 1e6)
    return round(min(rounds), 3)


def step() -> float:
    """A forward pass of a drafter or verifier."""
    figures = RoleFigures()

    def count() -> None:
        figures.steps.observe(0.03)
        figures.rows += 9

    return each(count)


def verdict() -> float:
    """A verdict on eight guesses, of which three stay, at the router."""
    config = RouterConfig()
    state = begin(ASKED, 8, config.policy.policy(), None, {"drafter", "verifier"})
    state = replace(state, guesses=tuple(range(8)))
    watch, answer = Watch(0), Verdict("s", 0, 3, [0, 1, 2], 7)
    return each(lambda: watch.answered("s", state, answer))


def chunk() -> tuple[float, float]:
    """A chunk of four tokens at the gateway: with and without its being counted."""

    def taken(counted: bool) -> float:
        session = Session(Record(ASKED, [], b""), None, resumable=False, recorded=False)  # type: ignore[arg-type]
        measures, at = Measures(), iter(range(0, 1 << 30, 4))
        measures.placed(session)

        def take() -> None:
            offset = next(at)
            session.put(Chunk("s", offset, [1, 2, 3, 4], SPOKEN, counts=Counts(offset, offset, offset)))
            if counted:
                measures.heard(session, offset)

        return each(take, 4000)

    return taken(True), taken(False)


def heartbeat() -> dict[str, float]:
    """Of a verifier, with and without figures: bytes, and microseconds to encode."""
    bare = Hello("verifier", "model", 150_000, 32_768, 4, 10_000, 10**9, 1000, 0.5, place=["host core 0"] * 2)
    full = replace(bare, figures=RoleFigures())
    encode = msgspec.msgpack.Encoder().encode
    return {
        "bytes": len(encode([full])),
        "bytes without": len(encode([bare])),
        "encode us": each(lambda: encode([full])),
        "encode without us": each(lambda: encode([bare])),
    }


async def scrape() -> dict[str, float]:
    """A whole answer of /metrics, with a verifier and two drafters behind the gateway."""
    peers, config = Peers(), GatewayConfig()
    names = ("verifier", 0), ("drafter", 0), ("drafter", 1)
    roles = [Hello(name, replica=number, figures=RoleFigures(kv_room=1)) for name, number in names]
    peers.told(Roster(roles, figures=RouterFigures()))
    sessions = Sessions(config, None, peers, NoLedger())  # type: ignore[arg-type]
    metrics = Metrics("1", tuple(Mode), config.max_sessions, sessions, peers, None)
    text, _ = metrics.text("")
    return {"ms": round(each(lambda: metrics.text(""), 20) / 1000, 2), "bytes": len(text)}


def untraced() -> float:
    """A call's span where nobody collects."""

    def call() -> None:
        with tracing.call():
            pass

    return each(call)


if __name__ == "__main__":
    counted, plain = chunk()
    found = {
        "a step, us": step(),
        "a verdict on 8 guesses, us": verdict(),
        "a chunk of 4 tokens, us": round(counted - plain, 3),
        "the same chunk put into its session, us": plain,
        "a heartbeat": heartbeat(),
        "a scrape": asyncio.run(scrape()),
        "a call that is not traced, us": untraced(),
    }
    print(json.dumps(found, indent=1))
