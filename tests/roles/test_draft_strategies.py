"""Drafting without a model: what each strategy makes of the texts it has seen."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.actors.drafter import corpus, shapes, strategies
from ringroad.actors.drafter.config import DrafterConfig
from ringroad.actors.drafter.corpus import Corpus
from ringroad.actors.drafter.hits import MEMORY, Hits
from ringroad.actors.drafter.strategies import recycling
from ringroad.actors.drafter.strategies.recycling import BELIEVED, Recycling
from ringroad.actors.drafter.strategies.suffix import BELIEVED as BELIEF
from ringroad.actors.drafter.strategies.suffix import LONGEST, STEPS, Suffix
from tests.roles import draft_reference
from tests.roles.drafting import ensemble, paths, proposed

texts = st.lists(st.integers(0, 3), min_size=1, max_size=40)
pieces = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=6)


# --- suffix ---------------------------------------------------------------------------------------


def repeats(text: list[int]) -> tuple[list[int], int]:
    return draft_reference.repeats(text, corpus.ORDERS, corpus.PLACES, LONGEST)


@given(texts, st.integers(1, 6))
def test_suffix_guesses_are_what_a_search_finds(text: list[int], depth: int) -> None:
    """Of the places of the longest repeat every continuation, scored by its part of them."""
    strategy = Suffix(Corpus())
    strategy.observe("s", text)
    places, length = repeats(text)
    lengths = [min(length + i, LONGEST) for i in range(depth)] if places else []
    shares = [BELIEF[max(n for n, step in enumerate(STEPS) if step <= length)] for length in lengths]
    everything = draft_reference.continued(text, places, shares) if places else {}
    found = paths(strategy.propose("s", text, depth))
    assert found == pytest.approx({path: everything[path] for path in found})
    assert len(found) == min(depth, len(everything))
    assert sorted(found.values()) == pytest.approx(sorted(everything.values())[-depth:])


@given(pieces)
def test_suffix_reads_a_text_bit_by_bit(news: list[list[int]]) -> None:
    strategy, text = Suffix(Corpus()), []
    for new in news:
        text += new
        places, _ = repeats(text)
        expected = {tuple(text[at:end]) for at in places for end in range(at + 1, len(text) + 1)}
        assert set(paths(proposed(strategy, text, 400))) == expected


def test_suffix_reads_other_requests() -> None:
    strategy = Suffix(Corpus())
    proposed(strategy, [1, 2, 3, 4, 5, 6, 7], session="before")
    strategy.forget("before")
    proposed(strategy, [1, 2, 3, 4, 9, 9], session="beside")
    tree = proposed(strategy, [8, 2, 3, 4], 6)
    assert set(paths(tree)) == {(5,), (5, 6), (5, 6, 7), (9,), (9, 9)}
    longer = paths(proposed(strategy, [1, 2, 3, 4], 6, "longer"))
    assert set(longer) == set(paths(tree))
    alone = Suffix(Corpus())
    assert len(proposed(alone, [8, 2, 3, 4])) == 0, "nothing repeats"


def test_suffix_prefers_what_was_seen_more_often_and_trusts_longer_repeats() -> None:
    strategy = Suffix(Corpus())
    found = paths(proposed(strategy, [0, 1, 2, 3, 7, 4, 1, 2, 3, 7, 5, 1, 2, 3, 8, 6, 1, 2, 3], 9))
    assert found[(7,)] == pytest.approx(2 * found[(8,)])
    short = paths(proposed(Suffix(Corpus()), [5, 1, 9, 9, 1]))
    long = paths(proposed(Suffix(Corpus()), [*range(10, 30), 1, 9, *range(10, 30), 1]))
    assert short[(9,)] < 0.5 < 0.8 < long[(9,)]


def test_suffix_learns_what_its_guesses_are_worth() -> None:
    wrong, right = Suffix(Corpus()), Suffix(Corpus())
    first = paths(proposed(wrong, [1, 2, 3, 4, 1, 2, 3]))[(4,)]
    text, copied = [1, 2, 3, 4], [1, 2, 3, 4] * 30
    for i in range(30):
        text += [1, 2, 3, 100 + i]
        proposed(wrong, text[:-1])
        proposed(wrong, text)
        proposed(right, copied[: 7 + i])
    wrong.forget("s")
    right.forget("s")
    assert max(proposed(wrong, [9, 1, 2, 3], session="t").scores) < first / 3
    assert right._hits.share(8) > 0.95


def test_the_corpus_forgets_the_oldest_and_stays_small() -> None:
    small = Corpus(capacity=50)
    text = small.begin()
    small.extend(text, range(1000))
    kept = [token for token in range(1000) if small.places([token])]
    assert kept
    assert min(kept) >= 1000 - 102
    assert max(kept) == 998
    repeated = Corpus()
    repeated.extend(repeated.begin(), [7] * 500)
    assert len(repeated.places([7, 7, 7])) == corpus.PLACES


def test_the_work_of_a_step_does_not_grow_with_the_text() -> None:
    """Counted in tokens that the index compares and takes in, not in seconds."""
    strategy = Suffix(Corpus())
    text = [token % 50 for token in range(20_000)]
    strategy.observe("s", text)

    class Counted(list[int]):
        read = 0

        def __getitem__(self, at: object) -> object:
            Counted.read += 1 if isinstance(at, int) else len(range(*at.indices(len(self))))  # type: ignore
            return super().__getitem__(at)  # type: ignore

    counted = Counted([*text, 0])
    strategy.observe("s", counted)
    strategy.propose("s", counted, 8)
    assert 0 < Counted.read < 400


# --- recycling ------------------------------------------------------------------------------------


def test_recycling_unrolls_its_rows() -> None:
    strategy = Recycling()
    strategy.observe("s", [5])
    strategy.learn("s", [[5, 1, 2, 3], [1, 4], [2, 5]])
    first, second, third = BELIEVED[:3]
    found = paths(strategy.propose("s", [5], 4))
    assert found == pytest.approx({(1,): first, (1, 4): first**2, (2,): second, (3,): third})


@given(texts, st.integers(1, 30))
def test_recycling_takes_the_likeliest_paths(text: list[int], budget: int) -> None:
    strategy = Recycling()
    strategy.observe("s", text)
    found = paths(strategy.propose("s", text, budget))
    rows = draft_reference.successors_in(text, 8)
    everything = draft_reference.unrolled(rows, text[-1], BELIEVED, 4)
    best = sorted(everything.values(), reverse=True)[:budget]
    shallow = [score for path, score in found.items() if len(path) <= 4]
    assert all(everything[path] == pytest.approx(s) for path, s in found.items() if len(path) <= 4)
    assert sorted(shallow, reverse=True) == pytest.approx(best[: len(shallow)])


def test_recycling_learns_which_ranks_are_right() -> None:
    strategy = Recycling()
    strategy.observe("s", [3])
    text = [3]
    for _ in range(100):
        strategy.learn("s", [[3, 8, 4], [4, 9, 3]])
        text.append(7 - text[-1])  # always the second
        strategy.observe("s", text)
    strategy.learn("s", [[3, 8, 4]])
    found = paths(strategy.propose("s", [3], 2))
    assert found[(4,)] > 0.85
    assert found[(4,)] > 5 * strategy._hits.share(0)


def test_recycling_keeps_a_row_for_a_token_and_no_more_than_eight() -> None:
    strategy = Recycling()
    strategy.observe("s", [token for i in range(100) for token in (1, 2 + i)])
    assert strategy._rows[b"", 1] == tuple(range(101, 93, -1))
    strategy.learn("s", [[1, 7, 8]])
    assert strategy._rows[b"", 1] == (7, 8)


def test_recycling_forgets_the_oldest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recycling, "MOST_ROWS", 3)
    strategy = Recycling()
    strategy.learn("s", [[token, token + 1] for token in range(5)])
    assert list(strategy._rows) == [(b"", 2), (b"", 3), (b"", 4)]


# --- together -------------------------------------------------------------------------------------


def test_an_ensemble_merges() -> None:
    both = ensemble("lookup", "recycling")
    text = [1, 2, 3, 1, 2]
    both.observe("s", text)
    both.learn("s", [[2, 9, 3]])
    found = paths(both.propose("s", text, 8))
    assert {(3,), (3, 1), (9,)} <= set(found)
    assert both.learns
    assert not ensemble("lookup", "suffix").learns
    assert len(both.propose("s", text, 2)) == 2
    high = ensemble("lookup", floor=0.39)
    assert all(score >= 0.39 for score in proposed(high, text).scores)


@pytest.mark.parametrize("name", strategies.names())
def test_what_one_asks_never_shows_in_guesses_for_another(name: str) -> None:
    strategy = strategies.make(name)
    for session, salt in (("mine", b"a" * 16), ("other", b"b" * 16), ("again", b"a" * 16)):
        strategy.begin(session, salt)
    strategy.observe("mine", [1, 2, 3, 4, 5, 6])
    strategy.learn("mine", [[3, 4], [4, 5]])
    assert not paths(proposed(strategy, [9, 1, 2, 3], session="other"))
    assert not paths(proposed(strategy, [9, 1, 2, 3], session="nobody's"))
    strategy.forget("mine")
    strategy.begin("mine", b"b" * 16)
    assert not paths(proposed(strategy, [9, 1, 2, 3], session="mine"))
    assert bool(paths(proposed(strategy, [9, 1, 2, 3], session="again"))) == (name != "lookup")


@pytest.mark.parametrize("name", strategies.names())
@given(
    text=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    cut=st.integers(0, 30),
    budget=st.integers(0, 9),
)
def test_any_strategy_gives_trees_for_any_text(name: str, text: list[int], cut: int, budget: int) -> None:
    """Also where a text was cut back and goes on otherwise, or comes again after it was forgotten."""
    strategy = strategies.make(name)
    for seen in (text, text[:cut] or [0], [*text[:cut], 9, *text], text):
        tree = proposed(strategy, seen, budget)
        paths(tree)
        assert len(tree) <= budget
    strategy.forget("s")
    strategy.forget("s")
    paths(proposed(strategy, text, budget))


def test_hits_count_and_fade() -> None:
    hits = Hits([0.5, 0.25])
    assert (hits.share(0), hits.share(1), len(hits)) == (0.5, 0.25, 2)
    for _ in range(8):
        hits.saw(0, True)
    assert hits.share(0) == 0.75
    assert hits.share(1) == 0.25
    for _ in range(3 * int(MEMORY)):
        hits.saw(1, True)
    for _ in range(int(MEMORY)):
        hits.saw(1, False)
    assert hits.share(1) < 0.4, "what is long ago counts less"


# --- what an operator chooses ---------------------------------------------------------------------


def test_the_choices_are_the_files() -> None:
    assert strategies.names() == ["lookup", "recycling", "suffix"]
    assert shapes.names() == ["beam", "branch", "dyspec", "threshold"]


def test_a_file_more_is_a_strategy_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "again.py").write_text("def make():\n    return 'what is made there'\n")
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    assert strategies.names() == ["again", "lookup", "recycling", "suffix"]
    assert strategies.make("again") == "what is made there"
    assert DrafterConfig(strategies=["again"]).model_free == ["again"]


def test_defaults_and_choices() -> None:
    pair, alone = DrafterConfig(model="m"), DrafterConfig()
    assert (pair.model_guesses, pair.model_free) == (True, ["suffix"])
    assert (alone.model_guesses, alone.model_free) == (False, ["suffix"])
    chosen = DrafterConfig(model="m", strategies=["recycling"], tree="dyspec")
    assert (chosen.model_guesses, chosen.model_free) == (False, ["recycling"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": "m", "strategies": ["sufix"]}, "sufix: known are model, lookup, recycling, suffix"),
        ({"strategies": ["model"]}, "there is no model"),
        ({"model": "m", "tree": "oak"}, "oak: known are chain, beam, branch, dyspec, threshold"),
    ],
)
def test_the_unknown_is_refused_with_the_known(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DrafterConfig.model_validate(values)
