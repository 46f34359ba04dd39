"""How a role follows a session's text from the differences the router sends."""


class Behind(Exception):
    """The router counts on more tokens than are held here: the session must be opened again."""


def follow(text: list[int], base: int, tokens: list[int]) -> None:
    """Makes `text` its own first `base` tokens, then `tokens`. Raises Behind when it is shorter."""
    if base > len(text):
        raise Behind
    text[base:] = tokens
