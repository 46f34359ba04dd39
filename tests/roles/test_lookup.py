"""Drafting by looking the text up in itself, against a search from the back."""

from hypothesis import given
from hypothesis import strategies as st

from ringroad.actors.drafter.free import FreeDrafter
from ringroad.actors.drafter.strategies.lookup import LONGEST, make
from ringroad.actors.messages import Close, Draft, Forgotten, Message, Open, Proposal, Sampling, Welcome


def opened(epoch: int = 0) -> FreeDrafter:
    drafter = FreeDrafter([make()])
    drafter.receive(Open("s", epoch, Sampling()))
    return drafter


def asked(drafter: FreeDrafter, draft: Draft) -> Message:
    drafter.receive(draft)
    assert drafter.busy
    (answer,) = drafter.step()
    assert not drafter.busy
    return answer


def assert_guessed(answer: Message, length: int, tokens: list[int]) -> None:
    """A chain of these tokens, ever less likely."""
    assert isinstance(answer, Proposal)
    assert (answer.session, answer.epoch, answer.length) == ("s", 0, length)
    assert (answer.tokens, answer.parents) == (tokens, [])
    assert len(answer.scores) == len(tokens)
    assert answer.scores == sorted(answer.scores, reverse=True)
    assert all(0 < score < 1 for score in answer.scores)


def searched(text: list[int], budget: int) -> list[int]:
    """What followed the latest earlier place of the longest end of the text that has one."""
    for size in range(min(LONGEST, len(text)), 0, -1):
        for end in range(len(text) - 1, size - 1, -1):
            if text[end - size : end] == text[len(text) - size :]:
                return text[end : end + budget]
    return []


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=8), st.integers(1, 8)
)
def test_guesses_are_what_a_search_finds(news: list[list[int]], budget: int) -> None:
    """Also when the text comes bit by bit and the index grows with it."""
    drafter, text = opened(), []
    for new in news:
        answer = asked(drafter, Draft("s", 0, len(text), new, budget))
        text += new
        assert_guessed(answer, len(text), searched(text, budget))


def test_nothing_repeats_nothing_is_guessed() -> None:
    answer = asked(opened(), Draft("s", 0, 0, [1, 2, 3], 4))
    assert_guessed(answer, 3, [])


def test_the_longest_repeat_wins() -> None:
    text = [1, 2, 3, 9, 2, 3, 8, 1, 2, 3]
    answer = asked(opened(), Draft("s", 0, 0, text, 2))
    assert_guessed(answer, len(text), [9, 2])


def test_what_is_not_held_is_forgotten() -> None:
    drafter = opened(epoch=3)
    assert asked(drafter, Draft("other", 0, 0, [1], 2)) == Forgotten("other", 0)
    assert asked(drafter, Draft("s", 2, 0, [1], 2)) == Forgotten("s", 2)
    assert asked(drafter, Draft("s", 3, 1, [1], 2)) == Forgotten("s", 3)
    asked(drafter, Draft("s", 3, 0, [1], 2))
    drafter.receive(Open("s", 4, Sampling()))
    assert asked(drafter, Draft("s", 4, 1, [1], 2)) == Forgotten("s", 4), "opened again: empty"
    drafter.receive(Close("s"))
    assert asked(drafter, Draft("s", 4, 0, [1], 2)) == Forgotten("s", 4)


def test_another_router_voids_everything_and_the_same_nothing() -> None:
    drafter = FreeDrafter([make()])
    drafter.receive(Welcome("one"))
    drafter.receive(Open("s", 0, Sampling()))
    drafter.receive(Welcome("one"))
    assert drafter.hello().sessions == 1
    drafter.receive(Welcome("two"))
    assert drafter.hello().sessions == 0
