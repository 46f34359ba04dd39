"""Guesses that the drafter made without its model, and does not keep as its text."""

import pytest

from ringroad.actors.drafter.free import FreeDrafter
from ringroad.actors.drafter.strategies.lookup import make
from ringroad.actors.messages import Forgotten, Message, Open, Sampling
from ringroad.actors.role import Role
from tests.roles.drafting import planned
from tests.roles.pair import counts_of, generated, plain, request, small, text_of, verifier

TEXT = [1, 2, 3, 4, 5, 6, 7, 8] * 6


class Heard:
    """A role, and what was said to it and by it."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self.opened = 0
        self.forgot = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._role, name)

    def receive(self, message: Message) -> None:
        self.opened += isinstance(message, Open)
        self._role.receive(message)

    def step(self) -> list[Message]:
        answers = self._role.step()
        self.forgot += sum(isinstance(answer, Forgotten) for answer in answers)
        return answers


def drafters() -> dict[str, Role]:
    return {
        "without a model": FreeDrafter([make()]),
        "offhand": planned(small("fp32"), "lookup", enough=0.5),
        "behind the model's": planned(small("fp32"), "lookup", enough=99.0),
    }


@pytest.mark.parametrize("kind", drafters())
def test_a_drafter_whose_guesses_stayed_goes_on_from_what_it_has(kind: str) -> None:
    drafter = Heard(drafters()[kind])
    submit = request(Sampling(1, 0.0), text=TEXT, max_tokens=60, draft_tokens=6)
    chunks = generated(submit, drafter, verifier("fp32"))
    assert text_of(chunks) == plain("fp32", submit)
    assert counts_of(chunks).accepted > 1
    assert (drafter.opened, drafter.forgot) == (1, 0)
