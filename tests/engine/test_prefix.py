"""Prefixes from the cache: the bits that would have been computed, and shared with whom they may be."""

import pytest
import torch

from ringroad.actors.engine.engine import Work
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.messages import Sampling
from tests.engine.prefixes import KINDS, TEXT, WARM, A, B, kept, opened, read
from tests.engine.tiny import Kind, prompt


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK - 1, 3 * BLOCK, 540])
def test_a_prefix_from_the_cache_has_the_bits_of_one_computed_anew(kind: Kind, length: int) -> None:
    text = prompt(length, 7)
    engine, fresh = opened(kind=kind), opened("s", kind=kind)
    engine.open("first", Sampling(seed=99, temperature=0.3))
    for at in range(0, length, 50):
        engine.step([Work("first", text[at : at + 50])])
    engine.close("first")
    engine.open("second", WARM)
    found = engine.adopt("second", text)
    assert found == engine.length("second") == length - 1
    expected = fresh.step([Work("s", text, answers=length)])[0].tokens
    assert engine.step([Work("second", text[found:], answers=length - found)])[0].tokens == expected[found:]
    assert torch.equal(kept(engine, "second"), kept(fresh, "s"))
    assert engine.step([Work("second", [5])]) == fresh.step([Work("s", [5])])


@pytest.mark.parametrize("left", [1, 20, BLOCK - 1, BLOCK + 30])
def test_a_text_goes_on_where_it_was_left_within_a_block(left: int) -> None:
    engine, fresh = opened(), opened("s")
    read(engine, "first", TEXT[:left])
    engine.close("first")
    assert read(engine, "other", [*TEXT[: left - 1], 9, *TEXT[left:]]) == left // BLOCK * BLOCK
    assert read(engine, "second", TEXT) == left
    assert read(engine, "third", TEXT) >= left  # who goes on has not taken it from others
    fresh.step([Work("s", TEXT)])
    assert torch.equal(kept(engine, "second"), kept(fresh, "s"))
    assert torch.equal(kept(engine, "third"), kept(fresh, "s"))


def test_a_text_goes_on_beside_the_one_it_goes_on_from() -> None:
    """Its router is lost, and another one begins it before this is known."""
    engine, fresh = opened(), opened("s")
    read(engine, "first", TEXT[:100])
    assert read(engine, "second", TEXT) == 100
    engine.step([Work("first", [7])])
    fresh.step([Work("s", TEXT)])
    assert torch.equal(kept(engine, "second"), kept(fresh, "s"))
    fresh.truncate("s", 100)
    fresh.step([Work("s", [7])])
    assert torch.equal(kept(engine, "first"), kept(fresh, "s"))


def test_what_is_left_again_and_again_keeps_the_name_of_all_its_tokens() -> None:
    engine = opened()
    read(engine, "first", TEXT[:40])
    engine.close("first")
    engine.open("second", WARM)
    assert engine.adopt("second", TEXT[:31]) == 0  # only whole does a begun block serve
    assert engine.adopt("second", TEXT[:41]) == 40
    engine.truncate("second", 30)
    engine.close("second")
    assert read(engine, "third", TEXT[:50]) == 40
    engine.close("third")
    assert read(engine, "fourth", [*TEXT[:30], 9]) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_who_shares_a_prefix_does_not_see_the_other_roll_back(kind: Kind) -> None:
    engine, fresh = opened(kind=kind), opened("s", kind=kind)
    fresh.step([Work("s", TEXT)])
    text = TEXT[: 3 * BLOCK]
    read(engine, "a", text)
    assert read(engine, "b", text) == 3 * BLOCK - 1
    before = kept(engine, "b")
    engine.truncate("a", BLOCK + 3)
    engine.step([Work("a", prompt(3 * BLOCK, 8))])
    assert torch.equal(kept(engine, "b"), before)
    assert torch.equal(before, kept(fresh, "s")[: 3 * BLOCK])
    fresh.truncate("s", BLOCK + 3)
    fresh.step([Work("s", prompt(3 * BLOCK, 8))])
    assert torch.equal(kept(engine, "a"), kept(fresh, "s"))


def test_a_text_rolled_back_is_not_taken_for_the_one_in_its_place() -> None:
    engine, fresh = opened(), opened("s")
    fresh.step([Work("s", TEXT)])
    read(engine, "a", TEXT)
    engine.truncate("a", BLOCK + 3)
    engine.step([Work("a", prompt(3 * BLOCK, 8))])
    assert read(engine, "b", TEXT) == BLOCK
    assert torch.equal(kept(engine, "b"), kept(fresh, "s"))


def test_sessions_that_begin_alike_hold_their_blocks_once() -> None:
    engine = opened("late", blocks=5)
    for i in range(8):
        read(engine, str(i), [*TEXT[: 2 * BLOCK], i])
        engine.truncate(str(i), 2 * BLOCK)
    assert engine._pool.held == 2
    # One who began before the others were done has read the same by itself.
    engine.step([Work("late", TEXT[: 2 * BLOCK])])
    assert engine._pool.held == 2
    assert engine.cached_tokens == 9 * 2 * BLOCK


def test_a_prompt_goes_on_from_what_another_has_read_meanwhile() -> None:
    engine = opened("a", "b")
    engine.step([Work("a", TEXT[:BLOCK], answers=0)])
    assert engine.adopt("b", TEXT) == BLOCK
    engine.step([Work("b", TEXT[BLOCK : BLOCK + 10], answers=0)])
    assert engine.adopt("b", TEXT) == BLOCK + 10
    engine.step([Work("a", TEXT[BLOCK : 3 * BLOCK], answers=0)])
    assert engine.adopt("b", TEXT) == 3 * BLOCK
    assert torch.equal(kept(engine, "b"), kept(engine, "a"))


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_another_salt_share_nothing(kind: Kind) -> None:
    engine = opened(kind=kind)
    read(engine, "a", TEXT, A)
    assert read(engine, "b", TEXT, B) == read(engine, "c", TEXT) == 0
    assert read(engine, "d", TEXT, A) == read(engine, "e", TEXT, B) == len(TEXT) - 1
    assert torch.equal(kept(engine, "d"), kept(engine, "e"))


def test_nobody_can_count_whether_others_asked_the_same() -> None:
    """What a tenant finds, and what the roles tell of their caches, is the same whatever another one said."""

    def seen(others: list[int]) -> tuple[int, int, int]:
        engine = opened()
        read(engine, "other", others, A)
        engine.close("other")
        found = read(engine, "mine", TEXT, B)
        held = engine._pool.held
        engine.close("mine")
        return found, held, engine.idle_tokens

    assert seen(TEXT) == seen(prompt(len(TEXT), 8)) == (0, 4, 8 * BLOCK)


@pytest.mark.parametrize("at", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 5])
def test_a_prefix_ends_before_the_block_that_differs(at: int) -> None:
    engine = opened("b")
    read(engine, "a", TEXT)
    other = [*TEXT[:at], TEXT[at] + 1, *TEXT[at + 1 :]]
    assert engine.adopt("b", other) == at // BLOCK * BLOCK


def test_a_block_is_known_by_all_before_it() -> None:
    engine = opened("b")
    read(engine, "a", TEXT[BLOCK:])
    assert engine.adopt("b", TEXT) == 0
    assert engine.adopt("b", TEXT[BLOCK:]) == len(TEXT) - BLOCK - 1


def test_guesses_are_known_to_others_only_once_they_stayed() -> None:
    engine = opened("a", "b")
    engine.step([Work("a", TEXT[: BLOCK + 3], answers=5)])
    assert engine.adopt("b", TEXT) == BLOCK - 1  # of the last four tokens none is sure
    engine.keep("a", range(BLOCK + 2))
    engine.step([Work("a", [1])])
    assert engine.adopt("b", TEXT) == BLOCK


def test_a_block_that_got_a_longer_name_is_not_found_by_the_shorter_one() -> None:
    engine = opened("a", "b")
    engine.step([Work("a", TEXT[:30], answers=5)])
    engine.keep("a", range(30))
    engine.truncate("a", 10)
    engine.step([Work("a", [1, 2])])
    assert engine.adopt("b", TEXT) == 0


def test_what_was_computed_beside_another_branch_is_for_nobody_else() -> None:
    """In fp32 its last bits are its own; neither it nor what follows is shared, until it is gone."""
    engine = opened("a", "b")
    engine.step([Work("a", TEXT[: BLOCK + 5])])
    engine.step([Work("a", [0, TEXT[BLOCK + 5]], [-1, -1])])
    engine.keep("a", [1])
    engine.step([Work("a", TEXT[BLOCK + 6 :])])
    assert engine.adopt("b", TEXT) == BLOCK + 5
    engine.truncate("a", BLOCK + 5)
    engine.step([Work("a", TEXT[BLOCK + 5 :])])
    assert engine.adopt("b", TEXT) == len(TEXT) - 1


def test_who_takes_over_what_was_computed_plainly_shares_what_follows() -> None:
    engine = opened("a")
    engine.step([Work("a", TEXT[:5])])
    engine.step([Work("a", [0, TEXT[5]], [-1, -1])])
    engine.keep("a", [1])
    read(engine, "b", TEXT)
    assert engine.adopt("a", TEXT) == len(TEXT) - 1
    engine.step([Work("a", prompt(BLOCK, 4))])
    assert read(engine, "c", TEXT[:-1] + prompt(BLOCK, 4)) == len(TEXT) + BLOCK - 2
