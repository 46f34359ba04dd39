"""What a request changes in logits, against a twin that goes token by token."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ringroad.actors.messages import Shaping
from ringroad.kernels.shaping import shaped
from tests import reference

SIZE = 30
tokens = st.integers(0, SIZE - 1)
texts = st.lists(tokens, max_size=20)


def changed(logits: torch.Tensor, shaping: Shaping, text: list[int]) -> torch.Tensor:
    answer = text[shaping.prompt :]
    return shaped(
        logits,
        bias=dict(shaping.bias),
        repetition=shaping.repetition,
        presence=shaping.presence,
        frequency=shaping.frequency,
        prompt=set(text[: shaping.prompt]),
        answer=Counter(answer),
        barred=shaping.late if len(answer) < shaping.least else (),
    )


@given(
    st.integers(0, 10**6),
    texts,
    texts,
    st.dictionaries(tokens, st.sampled_from([-100.0, -0.3, 0.7, 100.0]), max_size=5),
    st.sampled_from([0.5, 1.0, 1.3, 10.0]),
    st.sampled_from([-2.0, 0.0, 0.1, 2.0]),
    st.sampled_from([-2.0, 0.0, 0.1, 2.0]),
    st.integers(0, 25),
    st.lists(tokens, max_size=4, unique=True),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_token_by_token(
    seed: int,
    prompt: list[int],
    answer: list[int],
    bias: dict[int, float],
    repetition: float,
    presence: float,
    frequency: float,
    least: int,
    late: list[int],
    dtype: torch.dtype,
) -> None:
    logits = (torch.randn(SIZE, generator=torch.Generator().manual_seed(seed)) * 4).to(dtype)
    before = logits.clone()
    shaping = Shaping(len(prompt), tuple(bias.items()), repetition, presence, frequency, least, tuple(late))
    found = changed(logits, shaping, [*prompt, *answer])
    assert found.dtype == torch.float32
    assert found.tolist() == reference.shaped(logits.tolist(), shaping, [*prompt, *answer])
    assert torch.equal(logits, before)


def test_by_hand() -> None:
    logits = torch.tensor([2.0, -2.0, 1.0, 1.0, 0.5])
    text = [0, 1, 2, 2]
    assert changed(logits, Shaping(2, repetition=2.0), text).tolist() == [1.0, -4.0, 0.5, 1.0, 0.5]
    assert changed(logits, Shaping(2, presence=0.25), text).tolist() == [2.0, -2.0, 0.75, 1.0, 0.5]
    assert changed(logits, Shaping(2, frequency=0.25), text).tolist() == [2.0, -2.0, 0.5, 1.0, 0.5]
    assert changed(logits, Shaping(2, ((4, 3.0),)), text).tolist() == [2.0, -2.0, 1.0, 1.0, 3.5]
    assert changed(logits, Shaping(2, least=3, late=(3,)), text)[3] == -math.inf
    assert changed(logits, Shaping(2, least=2, late=(3,)), text)[3] == 1.0


@pytest.mark.parametrize("width", [1, 3])
def test_of_the_first_ids_alone(width: int) -> None:
    """As of the whole vocabulary, cut there."""
    logits, text = torch.randn(10), [0, 2, 7, 9, 9]
    shaping = Shaping(2, ((1, 1.0), (8, 2.0)), 1.5, 0.5, 0.5, 9, (2, 5))
    assert torch.equal(changed(logits[:width], shaping, text), changed(logits, shaping, text)[:width])
