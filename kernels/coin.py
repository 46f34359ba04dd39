"""The coin of the rule that looks at nothing: as much a function of its place as the noise of tokens."""

from hashlib import blake2b


def coin(seed: int, position: int) -> float:
    """In [0, 1), of a session's seed and a token's index in its text. Specified in docs/noise.md."""
    place = seed.to_bytes(8, "little") + position.to_bytes(8, "little")
    word = int.from_bytes(blake2b(place, digest_size=8, person=b"ringroad coin").digest(), "little")
    return (word >> 11) * 2.0**-53
