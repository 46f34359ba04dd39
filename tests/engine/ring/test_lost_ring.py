"""Two rings behind one router. One breaks: its sessions go on at the other, and nobody else notices."""

from contextlib import ExitStack

import pytest

from ringroad.actors.colocated import GATEWAY, Colocated
from ringroad.actors.engine.engine import Outcome
from ringroad.actors.messages import Chunk, Finish, Message, Mode, Sampling, Submit
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.actors.router.state import VERIFIER
from ringroad.actors.verifier.verifier import Verifier
from ringroad.kernels.ring.communicator import RingBroken
from tests import reference
from tests.engine.ring.gangs import Ring, ring
from tests.engine.tiny import prompt, tiny

FIRST, SECOND = b"verifier-0", b"verifier-1"
TOKENS = 12
READ = 4  # steps in which all prompts are read
SUBMITS = [
    Submit(name, prompt(150, ord(name)), TOKENS, Mode.LARGE, Sampling(ord(name), 0.8)) for name in "abcd"
]


class Rings(Colocated):
    """A verifier that breaks is gone, as for a hub of sockets; what the others are told is noted."""

    def __init__(self, *roles: Role) -> None:
        self.told: dict[bytes, list[tuple[int, Message]]] = {}
        self.turn = 0
        super().__init__(RouterConfig(), *roles)

    def begin(self) -> dict[str, list[Chunk]]:
        """All texts, with a verifier that is new once one is gone."""
        for submit in SUBMITS:
            self._router.receive(GATEWAY, submit, now=0.0)
        while self._step():
            pass
        return {each.session: [c for c in self._chunks if c.session == each.session] for each in SUBMITS}

    def _step(self) -> bool:
        self.turn += 1
        busy = [(address, role) for address, role in self._roles.items() if role.busy]
        for address, role in busy:
            try:
                answers = role.step()
            except RingBroken:
                del self._roles[address]
                self._router.lose(address)
            else:
                self._router.receive_all(address, answers, now=0.0)
        return bool(busy)

    def _deliver(self, address: bytes, message: Message) -> None:
        self.told.setdefault(address, []).append((self.turn, message))
        super()._deliver(address, message)

    def about(self, address: bytes, *sessions: str) -> list[tuple[int, Message]]:
        """What a verifier was told of some sessions, and in which turn of all."""
        return [each for each in self.told[address] if getattr(each[1], "session", None) in sessions]


def breaking(found: Ring, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many steps its first rank finds it broken."""
    step, left = found.first.step, iter(range(steps))

    def broken(batch: object) -> list[Outcome]:
        if next(left, None) is None:
            raise RingBroken(1, "gone")
        return step(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(found.first, "step", broken)


def served(monkeypatch: pytest.MonkeyPatch, steps: int | None) -> tuple[Rings, dict[str, list[Chunk]]]:
    """Four texts on two rings, of which the first breaks after so many steps."""
    with ExitStack() as stack:
        found = [stack.enter_context(ring(tiny(), 2)) for _ in range(2)]
        if steps is not None:
            breaking(found[0], steps, monkeypatch)
        rings = Rings(*(Verifier(each.first, "toy", 64, 128) for each in found))
        return rings, rings.begin()


@pytest.mark.parametrize("steps", [0, 1, 4, 8], ids=lambda steps: f"after {steps} steps")
def test_others_notice_nothing(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, _ = served(monkeypatch, None)
    rings, chunks = served(monkeypatch, steps)
    for submit in SUBMITS:
        text = [token for chunk in chunks[submit.session] for token in chunk.tokens]
        assert text == reference.plain_text(tiny(), submit.prompt, submit.sampling, TOKENS)
        last = chunks[submit.session][-1]
        assert last.finish is Finish.LENGTH
        assert last.counts is not None
        assert last.counts.degraded == ([VERIFIER] if submit.session in "ac" else [])
    assert rings.about(SECOND, "a", "c")
    ours, theirs = (each.about(SECOND, "b", "d") for each in (rings, undisturbed))
    assert [message for _, message in ours] == [message for _, message in theirs] != []
    if steps >= READ:  # until then all share the room for prompts in a step
        assert ours == theirs
