"""Coupled sampling: a guess stays where the large model, given the same noise, says the same."""

from collections.abc import Collection, Sequence


def accept(
    outcomes: Sequence[int],
    guesses: Sequence[int],
    parents: Sequence[int] = (),
    trusted: Collection[int] = (),
) -> tuple[list[int], int]:
    """Walks down a proposal as long as the large model says the same.

    outcomes[0] is the large model's token after the committed text, outcomes[1 + i] the one after
    guess i and its ancestors. Returns the path of guesses that stay and the token that follows it:
    recovered, or bonus where the path ran to a leaf. Under coupled sampling equality is all there
    is to verification, so the text is the one that plain decoding gives. Guesses that are `trusted`
    stay whatever the large model says: a router has decided about those.
    """
    parents = parents or range(-1, len(guesses) - 1)
    path: list[int] = []
    node = -1
    while True:
        token = outcomes[node + 1]
        children = (i for i, p in enumerate(parents) if p == node)
        child = next((i for i in children if guesses[i] == token or i in trusted), None)
        if child is None:
            return path, token
        path.append(child)
        node = child
