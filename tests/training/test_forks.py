"""Both sentences at a mismatch, with a large model whose words the test chooses."""

import pytest
import torch

from ringroad.actors.engine.engine import Outcome
from ringroad.cluster.training.collecting import Fork
from tests.training.toys import pair


def branched(answer: bytes, place: int, small: str, goes_on: str) -> tuple[bytes, bytes]:
    """Of a scripted answer both sentences at a mismatch: the large model would go on so, byte by byte."""
    both, said = pair(), list(answer)
    tokens = torch.tensor(said)
    tokens[place] = ord(small)
    fork = Fork(both, [7], said, {"tokens": tokens, "spoken": torch.tensor(said)})
    assert fork.places == [place]
    script, left = fork.script(), iter(goes_on.encode())
    try:
        ask = next(script)
        while True:
            assert list(ask.text[: place + 2]) == [7, *said[:place], ord(small)]
            ask = script.send(Outcome([next(left)]))
    except StopIteration as ended:
        (other,) = ended.value
    return bytes(fork.own(place)), bytes(other)


@pytest.mark.parametrize(
    ("answer", "place", "small", "goes_on", "own", "other"),
    [
        (b"It is 5. So", 3, "w", "as. And", b"is 5. So", b"was."),
        (b"It is 3.5 now.", 7, ".", "", b".5 now.", None),
        (b"It is 3x now.", 7, ".", "5 or so.", b"x now.", b".5 or so."),  # may be a decimal point
        (b"It is so. Now", 8, "!", "", b".", b"!"),
        (b"It is so", 6, "4", ".5 or 6.\nyes", b"so", b"4.5 or 6.\n"),
        (b"a\nb", 0, "c", "d\ne", b"a\n", b"cd\n"),
        (b".", 0, "!", "", b".", b"!"),
        (b"3. x", 1, "!", "? Well.", b". x", b"!?"),  # what stands behind a digit ends nothing
    ],
)
def test_a_sentence_ends_by_what_stands_before_it(
    answer: bytes, place: int, small: str, goes_on: str, own: bytes, other: bytes | None
) -> None:
    """From the very first token on, on both sides of a mismatch."""
    if other is None:  # no mismatch at all
        fork = Fork(
            pair(), [7], list(answer), dict.fromkeys(("tokens", "spoken"), torch.tensor(list(answer)))
        )
        assert fork.places == []
        assert bytes(fork.own(place)) == own
    else:
        assert branched(answer, place, small, goes_on) == (own, other)
