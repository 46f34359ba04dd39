"""Rollback is exact: after any history a session goes on as one that never knew another text."""

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from ringroad.actors.engine.cache import Cache
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.pool import BLOCK, Pool
from ringroad.actors.messages import Sampling
from tests import reference
from tests.engine.tiny import SHAPE, Kind, bits, prompt, same_after_a_tree, tiny

NAMES = ("a", "b", "c")
SAMPLINGS = {"a": Sampling(), "b": Sampling(11, 1.0), "c": Sampling(12, 0.8, top_k=30, min_p=0.01)}
tokens = st.integers(0, SHAPE.vocabulary - 1)
names = st.sampled_from(NAMES)


class History(RuleBasedStateMachine):
    """Random steps, kept paths, truncations and closings of several sessions, against their texts."""

    kind: Kind = "fp32"
    texts = Bundle("texts")

    @initialize(length=st.sampled_from([1, 5, 505]))
    def start(self, length: int) -> None:
        self.engine = Engine(tiny(self.kind))
        self.text: dict[str, list[int]] = {}
        for name in NAMES:
            self.engine.open(name, SAMPLINGS[name])
            self.text[name] = prompt(length, len(name))
            self.engine.step([Work(name, self.text[name])])

    @rule(name=names, new=st.lists(tokens, min_size=1, max_size=8))
    def chain(self, name: str, new: list[int]) -> None:
        self.engine.step([Work(name, new)])
        self.text[name] += new

    @rule(name=names, new=st.lists(tokens, min_size=1, max_size=8), data=st.data())
    def tree(self, name: str, new: list[int], data: st.DataObject) -> None:
        parents = [data.draw(st.integers(-1, i - 1)) for i in range(len(new))]
        path = reference.ancestors(parents, data.draw(st.integers(-1, len(new) - 1)))
        self.engine.step([Work(name, new, parents)])
        self.engine.keep(name, path)
        self.text[name] += [new[node] for node in path]

    @rule(name=names, back=st.integers(0, 12))
    def truncate(self, name: str, back: int) -> None:
        length = max(0, len(self.text[name]) - back)
        self.engine.truncate(name, length)
        del self.text[name][length:]

    @rule(name=names)
    def begin_again(self, name: str) -> None:
        self.engine.close(name)
        assert name not in self.engine
        self.engine.open(name, SAMPLINGS[name])
        self.text[name] = []

    @rule(each=st.lists(tokens, min_size=3, max_size=3))
    def together_as_if_fresh(self, each: list[int]) -> None:
        ours = self.engine.step([Work(name, [token]) for name, token in zip(NAMES, each, strict=True)])
        for name, token, outcome in zip(NAMES, each, ours, strict=True):
            self.text[name].append(token)
            fresh = Engine(tiny(self.kind))
            fresh.open(name, SAMPLINGS[name])
            assert fresh.step([Work(name, self.text[name])])[0] == outcome
            kept, expected = (bits(each._sessions[name].cache) for each in (self.engine, fresh))
            assert same_after_a_tree(self.kind, kept, expected)

    @invariant()
    def lengths_are_those_of_the_texts(self) -> None:
        if hasattr(self, "engine"):
            assert {name: self.engine.length(name) for name in NAMES} == {
                name: len(text) for name, text in self.text.items()
            }
            assert self.engine.cached_tokens == sum(map(len, self.text.values()))


class HistoryInBf16(History):
    kind = "bf16"


class HistoryInInt4(History):
    kind = "int4"


class HistoryByPages(History):
    kind = "paged"


# No shrinking: it would take minutes here, and a failure's steps are few as they are.
bounded = settings(max_examples=15, stateful_step_count=15, deadline=None, phases=[Phase.generate])
TestFp32 = History.TestCase
TestFp32.settings = bounded
TestBf16 = HistoryInBf16.TestCase
TestBf16.settings = bounded
TestInt4 = HistoryInInt4.TestCase
TestInt4.settings = bounded
TestPaged = HistoryByPages.TestCase
TestPaged.settings = settings(bounded, max_examples=5)


def test_keep_of_a_step_drops_the_rest() -> None:
    engine = Engine(tiny())
    engine.open("s", SAMPLINGS["b"])
    engine.step([Work("s", prompt(4))])
    engine.step([Work("s", prompt(6, 1))])
    engine.keep("s", [0, 1])
    assert engine.length("s") == 6
    engine.keep("s", [])
    assert engine.length("s") == 4


@pytest.mark.parametrize("length", [-1, 5])
def test_truncate_beyond_what_is_kept_is_an_error(length: int) -> None:
    engine = Engine(tiny())
    engine.open("s", Sampling())
    engine.step([Work("s", prompt(4))])
    with pytest.raises(ValueError, match="cannot truncate"):
        engine.truncate("s", length)


def test_closing_frees() -> None:
    engine = Engine(tiny())
    for name in NAMES:
        engine.open(name, Sampling())
        engine.step([Work(name, prompt(4))])
    engine.close("a")
    engine.close("a")
    assert "a" not in engine
    assert "b" in engine
    assert len(engine._sessions) == 2
    assert engine.cached_tokens == 8


def test_opening_again_forgets() -> None:
    engine = Engine(tiny())
    engine.open("s", Sampling())
    engine.step([Work("s", prompt(4))])
    engine.open("s", SAMPLINGS["b"])
    assert engine.length("s") == 0


def test_a_cache_grows_by_blocks_and_keeps_what_it_held() -> None:
    cache = Cache(Pool(SHAPE, torch.float32, torch.device("cpu"), max_bytes=10**6))
    cache.reserve(3)
    assert cache.places == BLOCK
    key = torch.randn(3, SHAPE.kv_heads, SHAPE.head_dim)
    for layer in range(SHAPE.layers):
        keys, values = cache.write(layer, key, -key)
        assert keys.shape == values.shape == (SHAPE.kv_heads, 512, SHAPE.head_dim)
    cache.keep(0, [0, 1, 2])
    cache.reserve(513)
    assert cache.places == 9 * BLOCK
    keys, values = cache.write(0, key[:1], key[:1])
    assert torch.equal(keys[:, :3], key.transpose(0, 1))
    assert torch.equal(values[:, :3], -key.transpose(0, 1))
    places = cache.places
    cache.reserve(20)
    assert cache.places == places
