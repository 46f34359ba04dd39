"""The noise: the numbers of docs/noise.md, and the quick argmax that must agree with them always."""

import math
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from ringroad.kernels.noise import TINY, gumbel, noisy_argmax
from tests import reference

pytestmark = pytest.mark.usefixtures("both_readings")

DOC = Path(__file__).parents[2] / "docs" / "noise.md"
ONES = 2**64 - 1

words = st.integers(0, ONES)
positions = st.integers(0, 2**40)


def vectors() -> list[list[str]]:
    rows = [line.strip("| \n").split(" | ") for line in DOC.read_text().splitlines() if line.startswith("|")]
    return rows[2:]


# Of the authors' own known answers (Random123, kat_vectors).
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        (
            (0, 0, 0, 0),
            (0, 0),
            (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
        ),
        (
            (ONES, ONES, ONES, ONES),
            (ONES, ONES),
            (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0),
        ),
        (
            (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
            (0x452821E638D01377, 0xBE5466CF34E90C6C),
            (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
        ),
    ],
)
def test_the_reference_is_the_published_generator(
    counter: tuple[int, ...], key: tuple[int, ...], answer: tuple[int, ...]
) -> None:
    assert reference.philox(counter, key) == answer


def test_the_page_has_its_vectors() -> None:
    assert len(vectors()) == 9


@pytest.mark.parametrize("row", vectors(), ids=lambda row: "-".join(row[:4]))
def test_vectors_of_the_page(row: list[str]) -> None:
    seed, stream, position, token = (int(cell) for cell in row[:4])
    word, value, bits = row[4:]
    assert f"{reference.noise_word(seed, position, token, stream):08x}" == word
    ours = float(gumbel(seed, position, token + 1, stream)[token])
    assert struct.pack(">f", ours).hex() == bits
    assert struct.pack(">f", float(value)).hex() == bits


@given(words, positions, st.integers(1, 70), words)
@example(ONES, 0, 17, ONES)
def test_same_bits_as_the_reference(seed: int, position: int, vocabulary: int, stream: int) -> None:
    ours = gumbel(seed, position, vocabulary, stream)
    assert ours.dtype == torch.float32
    assert ours.tolist() == [reference.noise(seed, position, v, stream) for v in range(vocabulary)]


def test_a_vocabulary_is_a_prefix_of_a_larger_one() -> None:
    assert torch.equal(gumbel(3, 5, 1001), gumbel(3, 5, 4096)[:1001])


def test_extreme_words_give_finite_noise() -> None:
    found = gumbel(1, 1, 1 << 21)
    assert found.isfinite().all()
    assert -3.2 < float(found.min()) < -2.5
    assert 12.0 < float(found.max()) < 22.9


def exact_argmax(scores: torch.Tensor, seed: int, position: int, stream: int = 0) -> int:
    noise = [reference.noise(seed, position, v, stream) for v in range(len(scores))]
    sums = (scores + torch.tensor(noise)).tolist()
    return max(range(len(sums)), key=lambda v: (sums[v], -v))


@st.composite
def score_vectors(draw: st.DrawFn) -> torch.Tensor:
    """Flat, spread, peaked, tied and masked scores."""
    size = draw(st.integers(1, 120))
    spread = draw(st.sampled_from([0.0, 0.1, 1.0, 10.0, 1000.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    scores = torch.randn(size, generator=generator) * spread
    if draw(st.booleans()):
        scores = scores.round()  # ties
    if draw(st.booleans()):
        scores[draw(st.integers(0, size - 1))] += 30.0
    kept = draw(st.integers(0, size - 1))
    masked = torch.rand(size, generator=generator) < draw(st.sampled_from([0.0, 0.5, 0.98]))
    masked[kept] = False
    return scores.masked_fill(masked, -math.inf)


@given(score_vectors(), words, positions, st.sampled_from([0, 1, ONES]))
def test_noisy_argmax_is_the_argmax(scores: torch.Tensor, seed: int, position: int, stream: int) -> None:
    assert noisy_argmax(scores, seed, position, stream) == exact_argmax(scores, seed, position, stream)


def test_noisy_argmax_over_a_large_vocabulary() -> None:
    generator = torch.Generator().manual_seed(5)
    for position in range(60):
        scores = torch.randn(151_936, generator=generator) * (position % 6)
        sums = scores + gumbel(2**63 + 1, position, len(scores))
        assert noisy_argmax(scores, 2**63 + 1, position) == int((sums == sums.max()).nonzero()[0])


def two_left(size: int, first: int, second: int, lead: float, seed: int, position: int) -> torch.Tensor:
    """Scores under which only two tokens can win, the first by `lead`."""
    scores = torch.full((size,), -math.inf)
    scores[first] = 0.0
    gap = reference.noise(seed, position, first) - reference.noise(seed, position, second)
    scores[second] = gap - lead
    return scores


RANKS = [*range(12), 16, 25, 40, 80, 200, 600, 2_000, 10_000, 100_000, 1_000_000]


@pytest.mark.parametrize("lead", [s * lead for lead in (2e-6, 1e-4, 1e-3, 2e-3) for s in (1, -1)])
def test_close_calls_where_the_estimate_is_rough(lead: float) -> None:
    """Tokens of little noise, whose words fp32 knows least of, against a rival close by."""
    size = 1 << 21
    ranked = gumbel(1, 1, size).sort().indices
    for token in ranked[RANKS].tolist():
        rival = (token + 1) % size
        scores = two_left(size, token, rival, lead, 1, 1)
        assert noisy_argmax(scores, 1, 1) == exact_of_two(scores, token, rival), f"token {token}"


@pytest.mark.parametrize("scale", [2.0**15, 2.0**17, 2.0**20])
def test_close_calls_between_large_scores(scale: float) -> None:
    """A low temperature makes scores so large that their own rounding decides: it must do so here too."""
    noise = gumbel(3, 2, 1 << 18)
    sums = noise + scale
    step = float(torch.tensor(scale).nextafter(torch.tensor(math.inf)) - scale)
    edge = ((noise / step) % 1.0 - 0.5).abs()  # 0: the sum lies between two floats
    compared = 0
    for token in edge.topk(200, largest=False).indices.tolist():
        equals = (sums == sums[token]).nonzero().squeeze(1)[:2].tolist()
        if token in equals or len(equals) < 2:
            continue
        rival = equals[0]
        scores = torch.full_like(noise, -math.inf)
        scores[[token, rival]] = scale
        assert noisy_argmax(scores, 3, 2) == min(token, rival)
        compared += 1
    assert compared > 50


def exact_of_two(scores: torch.Tensor, first: int, second: int) -> int:
    sums = [(float(scores[v] + torch.tensor(reference.noise(1, 1, v))), -v) for v in (first, second)]
    return -max(sums)[1]


def test_tiny_words_are_few() -> None:
    """The exact path stays the exception: else the quick one is not quick."""
    assert TINY < 2**32 / 10_000
