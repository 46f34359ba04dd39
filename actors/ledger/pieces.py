"""A text in the ledger: pieces that may overlap, each at the place where it ends."""

from collections.abc import Mapping, Sequence

import msgspec

from ringroad.actors.ledger.ledger import Ending, Part
from ringroad.actors.messages import Speaker

_SPEAKERS = tuple(Speaker)
_CODES = {speaker: code for code, speaker in enumerate(_SPEAKERS)}  # what one byte says of a token

Stored = tuple[bytes, Mapping[bytes, bytes]]  # an id of the stream, and what is under it

encode = msgspec.msgpack.Encoder().encode
_decode_piece = msgspec.msgpack.Decoder(tuple[int, list[int], bytes]).decode
_decode_ending = msgspec.msgpack.Decoder(Ending).decode


def codes(speakers: Sequence[Speaker]) -> bytes:
    """A byte for each."""
    return bytes(map(_CODES.__getitem__, speakers))


def piece(offset: int, tokens: Sequence[int], speakers: bytes) -> bytes:
    """Tokens from `offset` on, `speakers` in codes."""
    return encode((offset, list(tokens), speakers))


def joined(stored: Sequence[Stored], offset: int) -> Part:
    """What pieces say from `offset` on, each token once; up to a gap, if there is one."""
    tokens: list[int] = []
    speakers: list[Speaker] = []
    for _, fields in stored:
        if b"ending" in fields:
            return Part(offset, tokens, speakers, _decode_ending(fields[b"ending"]))
        first, more, who = _decode_piece(fields[b"piece"])
        known = offset + len(tokens) - first
        if known < 0:
            break
        tokens += more[known:]
        speakers += [_SPEAKERS[code] for code in who[known:]]
    return Part(offset, tokens, speakers)
