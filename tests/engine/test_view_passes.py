"""Passes over a part of a text: what is left out is as if masked, and nothing of it reaches others."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch

from ringroad.actors.engine import focus
from ringroad.actors.engine.cache import Span
from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.engine.pool import BLOCK
from ringroad.actors.engine.views import View, make
from ringroad.actors.messages import Sampling
from ringroad.kernels.attention import visible
from tests import reference
from tests.engine.tiny import SHAPE, Kind, TinyWeights, bits, prompt, tiny

TEXT = prompt(9 * BLOCK + 20, 4)
SAMPLING = Sampling(3, 0.8)
SOME = View(lambda past, room: [0, 3, past.blocks - 1], looks=False, room=4)
UNSEEN = [place for place in range(9 * BLOCK) if place // BLOCK not in (0, 3, 8)]
TREE = Work("s", [5, 6, 7, 8], [-1, 0, 0, 2], answers=4, features=True, partial=True)
STAYS = [0, 2, 3]
CHAIN = Work("s", [9, 10], answers=2, features=True, partial=True)


def opened(kind: Kind = "fp32", view: View | None = None, engine: Engine | None = None) -> Engine:
    engine = engine or Engine(tiny(kind), view=view)
    engine.open("s", SAMPLING)
    found = engine.adopt("s", TEXT)
    engine.step([Work("s", TEXT[found:], answers=0)])
    return engine


def kept(engine: Engine) -> torch.Tensor:
    return bits(engine._sessions["s"].cache)


@contextmanager
def masked() -> Iterator[None]:
    """The slow way to leave places out: attention over everything, with a mask."""

    def mask(base: int, parents: list[int] | None, count: int, dtype: torch.dtype) -> torch.Tensor:
        seen = visible(base, parents, count, dtype)
        seen[:, UNSEEN] = float("-inf")
        return seen

    with patch("ringroad.actors.engine.model.visible", mask):
        yield


@pytest.mark.parametrize("kind", ["fp32", "paged", "bf16", "torch-bf16"])
def test_what_is_left_out_is_as_if_masked(kind: Kind) -> None:
    """A tree, of which a side branch stays, then a chain behind it."""
    slow: Kind = "torch-bf16" if "bf16" in kind else "fp32"
    part, mask, whole = opened(kind, SOME), opened(slow), opened(slow)
    for work, stays in ((TREE, STAYS), (CHAIN, [0, 1])):
        (found,), _ = part.step([work]), whole.step([work])
        with masked():
            (expected,) = mask.step([work])
        if slow == "fp32":
            assert found.tokens == expected.tokens
            assert found.features is not None
            assert expected.features is not None
            assert found.features.entropy == pytest.approx(expected.features.entropy, abs=1e-3)
        for engine in (part, mask, whole):
            engine.keep("s", stays)
    ours, theirs, others = (kept(engine)[len(TEXT) :, 1].double() for engine in (part, mask, whole))
    assert len(ours) == 5
    assert (ours - theirs).norm() < (1e-3 if slow == "fp32" else 0.1) * (ours - others).norm()


@pytest.mark.parametrize("kind", ["fp32", "bf16", "paged"])
def test_what_there_is_room_for_is_all_seen(kind: Kind) -> None:
    """The same bits as without a view, of all 9 blocks; and with one that nobody asks about."""
    plain = opened(kind)
    expected = [plain.step([CHAIN]), kept(plain)]
    for view, work in ((make("window", 9), CHAIN), (SOME, Work("s", [9, 10], answers=2, features=True))):
        engine = opened(kind, view)
        assert engine.step([work]) == expected[0]
        assert torch.equal(kept(engine), expected[1])
        assert engine.whole("s") == len(TEXT) + 2


# --- what was computed from a part stays with who asked for it --------------------------------------


def test_no_one_else_gets_it() -> None:
    """The text is known, what follows is not; once computed from all, it is."""
    engine = opened(view=SOME)
    more = prompt(2 * BLOCK, 5)
    engine.step([Work("s", more, answers=1, partial=True)])
    assert engine.whole("s") == len(TEXT)
    engine.open("other", SAMPLING)
    assert engine.adopt("other", TEXT + more) == len(TEXT)
    engine.close("other")
    engine.truncate("s", len(TEXT))
    assert engine.whole("s") == len(TEXT)
    engine.step([Work("s", more, answers=1)])
    engine.open("other", SAMPLING)
    assert engine.adopt("other", TEXT + more) == len(TEXT + more) - 1


def test_what_others_know_takes_its_place() -> None:
    engine, more = opened(view=SOME), prompt(2 * BLOCK, 5)
    engine.open("other", SAMPLING)
    engine.step([Work("other", TEXT + more)])
    engine.step([Work("s", more[:BLOCK], answers=0, partial=True)])
    assert engine.adopt("s", TEXT + more) == engine.whole("s") == len(TEXT + more) - 1


def test_an_answer_of_the_whole_text_follows_from_the_whole_text() -> None:
    engine = opened(view=SOME)
    expected = opened().step([CHAIN])
    engine.step([CHAIN])
    with pytest.raises(ValueError, match="s: an answer behind tokens that saw a part"):
        engine.step([Work("s", [9])])
    engine.truncate("s", engine.whole("s"))
    assert engine.step([Work("s", [9, 10], answers=2, features=True)]) == expected


def test_a_block_that_others_read_is_not_written() -> None:
    """Two sessions on the same text: what one computes from a part, the other does not see."""
    engine = opened(view=SOME)
    engine.open("other", SAMPLING)
    lack = TEXT[engine.adopt("other", TEXT) :]
    engine.step([Work("other", lack, answers=0)])
    engine.step([CHAIN, Work("other", [11])])
    alone = opened()
    alone.step([Work("s", [11])])
    assert torch.equal(bits(engine._sessions["other"].cache), kept(alone))


# --- where attention goes ---------------------------------------------------------------------------


def slow_shares(text: list[int], cached: int) -> list[float]:
    """Of the last token of a text in layer 1, between the blocks of the first `cached` tokens: one number at
    a time, in double precision, but for the keys and values, which are a fresh engine's."""
    engine = Engine(tiny())
    engine.open("s", SAMPLING)
    engine.step([Work("s", text, answers=0)])
    weights, places = TinyWeights(), kept(engine).double()

    def product(name: str, row: list[float]) -> list[float]:
        matrix = weights.read(f"model.layers.{name}.weight", torch.float32).double()
        bias = f"model.layers.{name}.bias"
        shift = weights.read(bias, torch.float32).double() if weights.has(bias) else 0.0
        found: list[float] = (matrix @ torch.tensor(row).double() + shift).tolist()
        return found

    def normed(name: str, row: list[float]) -> list[float]:
        weight = weights.read(f"model.layers.{name}.weight", torch.float32).tolist()
        return reference.rms_norm(row, weight, SHAPE.eps)

    def query(layer: int, row: list[float]) -> torch.Tensor:
        flat = product(f"{layer}.self_attn.q_proj", normed(f"{layer}.input_layernorm", row))
        heads = [flat[at : at + SHAPE.head_dim] for at in range(0, len(flat), SHAPE.head_dim)]
        return torch.tensor([reference.rotated(head, len(text) - 1, SHAPE.theta) for head in heads])

    row = weights.read("model.embed_tokens.weight", torch.float32)[text[-1]].tolist()
    keys, values = places[:, 0, 0].transpose(0, 1), places[:, 0, 1].transpose(0, 1)
    seen = reference.attention(query(0, row)[None], keys, values, [range(len(text))])[0].tolist()
    row = [a + b for a, b in zip(row, product("0.self_attn.o_proj", seen), strict=True)]
    inside = normed("0.post_attention_layernorm", row)
    gate, up = product("0.mlp.gate_proj", inside), product("0.mlp.up_proj", inside)
    gated = [reference.gated(g, u) for g, u in zip(gate, up, strict=True)]
    row = [a + b for a, b in zip(row, product("0.mlp.down_proj", gated), strict=True)]
    blocks, asked = cached // BLOCK, query(1, row)
    total = [0.0] * blocks
    for head, each in enumerate(asked):
        mine = places[: blocks * BLOCK, 1, 0, head * SHAPE.kv_heads // SHAPE.heads]
        chances = reference.softmax([float(key @ each.double()) / SHAPE.head_dim**0.5 for key in mine])
        for place, chance in enumerate(chances):
            total[place // BLOCK] += chance / len(asked)
    return total


@pytest.mark.parametrize("kind", ["fp32", "paged", "bf16"])
def test_shares_are_those_of_the_middle_layer(kind: Kind) -> None:
    engine = opened(kind)
    cache = engine._sessions["s"].cache
    engine.reserve(Work("s", [0]))
    with torch.inference_mode():
        at = Span(cache, 0, 1)
        found = focus.shares(engine.model, at, torch.tensor([9]), torch.tensor([len(TEXT)]))
    expected = slow_shares([*TEXT, 9], len(TEXT))
    assert len(found) == 9
    assert sum(found) == pytest.approx(1.0)
    assert found == pytest.approx(expected, abs=1e-4 if kind != "bf16" else 0.03)
    assert max(expected) > 2 * min(expected), "a rule that shares evenly would be seen"


def test_attention_is_looked_at_once_in_a_while() -> None:
    """And the guesses that follow see what it said: here the blocks that got most."""
    engine = opened(view=make("relevant", 4))
    looked: list[int] = []

    def watched(model, at, tokens, positions):  # type: ignore[no-untyped-def]
        looked.append(at.cache.length)
        return [0.0, 0.0, 0.7, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0]

    with patch("ringroad.actors.engine.focus.shares", watched):
        for _ in range(2 * focus.AGAIN):
            engine.step([Work("s", [1], partial=True)])
    assert looked == [len(TEXT), len(TEXT) + focus.AGAIN]
    mine = engine._sessions["s"]
    assert mine.focus._chosen == [0, 2, 4, 9]
    assert mine.focus._past.ever == pytest.approx([0, 0, 1.4, 0, 0.6, 0, 0, 0, 0])


def test_a_prompt_in_part_is_not_looked_at() -> None:
    engine = opened(view=make("heavy", 4))
    with patch("ringroad.actors.engine.focus.shares", side_effect=AssertionError):
        engine.step([Work("s", prompt(focus.LOOKERS + 1), partial=True)])
    assert engine.whole("s") == len(TEXT)
