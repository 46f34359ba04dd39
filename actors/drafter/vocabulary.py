"""Which ids are worth looking at for a guess."""

from collections.abc import Sequence

RECENT = 64  # tokens of the text that tell
MOST_RARE = 1 / 8  # of them; more is a text in another script, where a cut would lose every guess


def frequent(text: Sequence[int], count: int) -> int | None:
    """The first `count` ids, or None for all: where there is no cut, or the text's end lies beyond it.

    VocabTrim (Goel et al. 2025) keeps the most frequent tokens of the output head. Ids of byte-pair
    vocabularies are in the order of merges, which is nearly that of frequency: so a prefix does, and the
    ids and their noise stay what they are.
    """
    recent = text[-RECENT:]
    rare = sum(token >= count for token in recent)
    return count if count and rare <= MOST_RARE * len(recent) else None
