"""A text as gateways send it from any token on, for tests of who reads it."""

from ringroad.v1.inference_pb2 import (
    FINISH_REASON_LENGTH,
    SPEAKER_LARGE,
    SPEAKER_SMALL_ACCEPTED,
    Delta,
    Final,
)

FULL = "One, zwei, 三 und vier <st"
# Characters that may be sent once so many tokens are known: the fourth token begins a character that the
# fifth ends, and the last ones might have become a stop string.
SENT = [0, 4, 9, 11, 11, 12, 16, 22, 22]
IDS = [11, 12, 13, 14, 15, 16, 17, 18]
SPEAKERS = [SPEAKER_LARGE, SPEAKER_SMALL_ACCEPTED] * 4


def stream(offset: int, size: int, *, tail_apart: bool) -> list[Delta | Final]:
    """From a token on, so many tokens at a time; what was held back with the last ones or after them."""
    pieces: list[Delta | Final] = []
    for start in range(offset, len(IDS), size):
        end = min(start + size, len(IDS))
        text = FULL[SENT[start] : SENT[end]]
        pieces.append(Delta(text=text, token_ids=IDS[start:end], offset=start, speakers=SPEAKERS[start:end]))
    held = FULL[SENT[-1] :]
    if pieces and isinstance(last := pieces[-1], Delta) and not tail_apart:
        last.text += held
    else:
        pieces.append(Delta(text=held, offset=len(IDS)))
    return [*pieces, Final(finish_reason=FINISH_REASON_LENGTH)]
