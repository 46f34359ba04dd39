"""How a role follows a session's text from the differences the router sends."""


class Behind(Exception):
    """The router counts on more tokens than are held here: the session must be opened again."""


def follow(text: list[int], base: int, tokens: list[int]) -> int:
    """Makes `text` its own first `base` tokens, then `tokens`. Raises Behind when it is shorter.

    Returns how many of its leading tokens stand where they stood: `base`, and what was guessed right.
    """
    if base > len(text):
        raise Behind
    pairs = enumerate(zip(text[base:], tokens, strict=False), base)
    agreed = next((at for at, (old, new) in pairs if old != new), min(len(text), base + len(tokens)))
    text[base:] = tokens
    return agreed
