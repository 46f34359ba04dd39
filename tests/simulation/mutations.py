"""Deliberate bugs, each a change of a few words in the product. The simulation has to catch every one."""

import importlib
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any
from unittest.mock import patch

from tests.simulation.oracles import run
from tests.simulation.schedule import drawn

MOST = 2000  # seeds until a bug counts as missed


@dataclass(frozen=True)
class Change:
    """`old` becomes `new` in the source of a function, which is named as module:Class.method."""

    where: str
    old: str
    new: str

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The product with it. Raises ValueError where the text is not there once."""
        module_name, path = self.where.split(":")
        *owners, name = path.split(".")
        owner: Any = reduce(getattr, owners, importlib.import_module(f"ringroad.actors.{module_name}"))
        function = getattr(owner, name)
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise ValueError(f"{source.count(self.old)} times in {self.where}: {self.old}")
        found: dict[str, Any] = {}
        exec(source.replace(self.old, self.new), function.__globals__, found)
        with patch.object(owner, name, found[name]):
            yield


@dataclass(frozen=True)
class Mutation:
    """A deliberate bug: a change, and `more` where one alone leaves the rule standing elsewhere."""

    name: str
    where: str
    old: str
    new: str
    more: tuple[Change, ...] = ()
    quick: bool = False  # caught by few seeds: tried in every test run

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The product with this bug. Raises ValueError."""
        with ExitStack() as all_of_it:
            for change in (Change(self.where, self.old, self.new), *self.more):
                all_of_it.enter_context(change.applied())
            yield


ROUTER, SESSION = "router.router:Router", "router.session"
TENANT, VERIFIER = "engine.tenant:Tenant", "verifier.verifier:Verifier"
MUTATIONS = [
    Mutation(
        "an answer about another length is taken",
        f"{SESSION}:fits",
        "(None, role, answer.epoch, answer.length)",
        "(None, role, answer.epoch, waits[3])",
        quick=True,
    ),
    Mutation(
        "whatever comes is taken",
        f"{SESSION}:fits",
        "return waits == (None, role, answer.epoch, answer.length)",
        "return waits[:2] == (None, role)",
        quick=True,
    ),
    Mutation(
        "nobody looks at epochs",
        f"{SESSION}:fits",
        "answer.epoch, ",
        "waits[2], ",
        more=(
            Change(f"{SESSION}:advance", "message.epoch != state.peer(role).epoch", "False"),
            Change(f"{TENANT}._follow", "or held.epoch != ask.epoch", ""),
        ),
    ),
    Mutation(
        "roles do not look at epochs",
        f"{TENANT}._follow",
        "or held.epoch != ask.epoch",
        "",
    ),
    Mutation(
        "routers do not look at epochs",
        f"{SESSION}:fits",
        "answer.epoch, ",
        "waits[2], ",
        more=(Change(f"{SESSION}:advance", "message.epoch != state.peer(role).epoch", "False"),),
    ),
    Mutation(
        "an opening that comes again voids what was begun",
        f"{TENANT}.receive",
        "held.epoch >= epoch",
        "False",
    ),
    Mutation(
        "the cache is not rolled back",
        f"{TENANT}._roll_back",
        "agreed, len(",
        "len(",
        quick=True,
    ),
    Mutation(
        "rejected guesses stay in the cache",
        f"{VERIFIER}._answer",
        "[*range(own), *(own + node for node in path)]",
        "range(len(work.tokens))",
        quick=True,
    ),
    Mutation(
        "a text grows where it should be replaced",
        "engine.tenant:follow",
        "text[base:] = tokens",
        "text += tokens[max(0, len(text) - base):]",
        quick=True,
    ),
    Mutation(
        "Close is forgotten at the end",
        f"{ROUTER}._end",
        "self._send(address, Close(name))",
        "pass",
        quick=True,
    ),
    Mutation(
        "what was committed elsewhere is not taken over",
        f"{ROUTER}._begin",
        "events.Begin(tuple(submit.committed), tuple(submit.speakers))",
        "events.Begin()",
        quick=True,
    ),
    Mutation(
        "a consult that waits is lost with its verifier",
        f"{SESSION}:_without",
        "role == DRAFTER or state.peer(role).there",
        "role == DRAFTER",
    ),
    Mutation(
        "guesses are committed before they are judged",
        f"{SESSION}:_proposed",
        "if state.judged:",
        "if state.judged and not guesses:",
        quick=True,
    ),
    Mutation(
        "ends inside a verdict are passed over",
        f"{SESSION}:_commit",
        "_through(tokens[: state.limit - state.length], state.ends)",
        "len(tokens[: state.limit - state.length])",
    ),
    Mutation(
        "the drafter is taken to hold more than it does",
        f"{SESSION}:_judged",
        "min(count, len(stayed), state.held) if chain else 0",
        "count",
    ),
    Mutation(
        "sessions of a lost gateway go on",
        f"{ROUTER}._leave",
        "if running.gateway == address:",
        "if False:",
        quick=True,
    ),
    Mutation(
        "a cancel is passed over",
        f"{ROUTER}._act",
        "self._advance(message.session, message)",
        "pass",
    ),
    Mutation(
        "a verifier keeps a session in its count",
        f"{ROUTER}._end",
        "self._peers[address].leave(name, self._now)",
        "pass",
        quick=True,
    ),
    Mutation(
        "a role that forgot is not told again",
        f"{SESSION}:advance",
        "replace(state.peer(role), has=None)",
        "state.peer(role)",
    ),
    Mutation(
        "blocks behind a rollback are not let go of",
        "engine.cache:Cache.truncate",
        "self._pool.drop(block)",
        "pass",
        quick=True,
    ),
    Mutation(
        "a session is given to the next router without what is committed",
        "gateway.session:Session.submit",
        "committed=self.transcript.tokens.tolist()",
        "committed=[]",
    ),
    Mutation(
        "tokens that are known are delivered again",
        "gateway.transcript:Transcript.put",
        "tokens[known:]",
        "tokens",
        quick=True,
    ),
    Mutation(
        "a place is kept",
        "gateway.sessions:Sessions._release",
        "self._places.leave(session)",
        "pass",
        quick=True,
    ),
    Mutation(
        "what a lost router had is not given to the next",
        "gateway.routes:Routes.found",
        "self._submit(session)",
        "pass",
    ),
    Mutation(
        "who leaves tells the router nothing",
        "gateway.routes:Routes.leave",
        "self._send(Cancel(session.name))",
        "pass",
    ),
    Mutation(
        "the name at a lost router stays",
        "gateway.routes:Routes.lost",
        "routed, self._routed = self._routed, {}",
        "routed = self._routed",
    ),
    Mutation(
        "a stream begins at the text's beginning wherever it is resumed",
        "gateway.stream:Answer.__init__",
        "self._next = next_offset",
        "self._next = 0",
        quick=True,
    ),
    Mutation(
        "the ledger is not told of what was committed",
        "gateway.sessions:Sessions._note",
        "self._ledger.commit(",
        "(lambda *_: None)(",
        quick=True,
    ),
    Mutation(
        "who follows does not notice that the gateway it follows is gone",
        "gateway.resuming:Resuming._follow",
        "if await self._ledger.claim(session.request_id):",
        "if False:",
    ),
    Mutation(
        "without readers a request goes on for ever",
        "gateway.sessions:Sessions._left",
        "call_later(seconds,",
        "call_later(1e6,",
    ),
    Mutation(
        "who waits for a role is not told that one has come",
        f"{ROUTER}._place",
        "self._advance(name, events.Gained(role))",
        "pass",
    ),
    Mutation(
        "what a lost router has begun stays at the roles",
        "shared:Shared.lost",
        "self.role.receive(Close(session))",
        "pass",
    ),
    Mutation(
        "a router that took a silent gateway for dead ends its texts",
        "gateway.routes:Routes.deliver",
        "chunk.finish is Finish.CANCELLED and session.cancelled is None",
        "False",
    ),
]


def hunt(mutation: Mutation, seeds: int = MOST) -> int | None:
    """The first seed that catches a bug, if one of so many does."""
    with mutation.applied():
        for seed in range(seeds):
            if run(drawn(seed)).errors:
                return seed
    return None


def hunt_all() -> int:
    """Every bug in turn; how many were missed."""
    missed = 0
    for mutation in MUTATIONS:
        seed = hunt(mutation)
        missed += seed is None
        print(f"{'MISSED' if seed is None else f'seed {seed}':>9}  {mutation.name}", flush=True)  # noqa: T201
    sys.stdout.flush()
    return missed
