"""Roles that are lost in the middle of a text, and others that take their places: the text stays the same."""

import pytest

from ringroad.actors.colocated import Colocated
from ringroad.actors.messages import Mode
from ringroad.actors.role import Role
from ringroad.actors.router.config import RouterConfig
from ringroad.kernels.linear import Weights
from tests.roles.pair import (
    KINDS,
    SAMPLINGS,
    SOMETIMES,
    counts_of,
    drafter,
    generated,
    plain,
    request,
    speakers_of,
    text_of,
    verifier,
)


class Mortal(Colocated):
    """A colocated form in which, after some steps, a role is lost or another comes."""

    def __init__(self, *roles: Role, lost: bytes, steps: int, came: tuple[bytes, Role] | None = None) -> None:
        super().__init__(RouterConfig(), *roles)
        self._lost, self._left, self._came = lost, steps, came
        self.happened = False

    def _step(self) -> bool:
        self._left -= 1
        if self._left == 0:
            self.happened = True
            del self._roles[self._lost]
            self._router.lose(self._lost)
            if self._came is not None:
                address, role = self._came
                self._roles[address] = role
                self._router.receive(address, role.hello(), now=0.0)
        return super()._step() or self._left == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13])
def test_losing_the_drafter_changes_nothing(kind: Weights, steps: int) -> None:
    submit = request(SAMPLINGS[1], draft_tokens=3)
    room = Mortal(verifier(kind), drafter(kind), lost=b"drafter-1", steps=steps)
    chunks = room.generate(submit)["s"]
    assert room.happened
    assert text_of(chunks) == plain(kind, submit)
    assert counts_of(chunks).degraded == ["drafter"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("mode", [Mode.SPECULATIVE, Mode.LARGE, Mode.ROUTED])
def test_a_lost_verifier_is_replaced_by_another(kind: Weights, steps: int, mode: Mode) -> None:
    submit = request(SAMPLINGS[2], mode, draft_tokens=3, policy=SOMETIMES if mode is Mode.ROUTED else None)
    whole = generated(submit, verifier(kind), drafter(kind))
    came = (b"verifier-9", verifier(kind))
    room = Mortal(verifier(kind), drafter(kind), lost=b"verifier-0", steps=steps, came=came)
    chunks = room.generate(submit)["s"]
    assert room.happened
    assert text_of(chunks) == text_of(whole)
    assert counts_of(chunks).degraded == ["verifier"]


@pytest.mark.parametrize("steps", [2, 3, 5, 8])
@pytest.mark.parametrize("mode", [Mode.SPECULATIVE, Mode.SMALL, Mode.ROUTED])
def test_a_lost_drafter_is_replaced_by_another(steps: int, mode: Mode) -> None:
    submit = request(SAMPLINGS[2], mode, draft_tokens=3, policy=SOMETIMES if mode is Mode.ROUTED else None)
    whole = generated(submit, verifier("bf16"), drafter("bf16"))
    room = Mortal(verifier("bf16"), drafter("bf16"), drafter("bf16"), lost=b"drafter-1", steps=steps)
    chunks = room.generate(submit)["s"]
    assert room.happened
    assert text_of(chunks) == text_of(whole)
    if mode is not Mode.SPECULATIVE:
        assert speakers_of(chunks) == speakers_of(whole), "the other drafter was there to speak"
