"""Log-probabilities in the shapes of both APIs. Every token has one, the one that ends the text too."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ringroad.actors.tokenizer import Tokenizer
from ringroad.v1 import inference_pb2

Said = dict[str, Any]


def chat_logprobs(delta: inference_pb2.Delta, tokenizer: Tokenizer) -> Said:
    """With bytes, since a token may be a part of a character."""
    content = []
    for token, told in zip(delta.token_ids, delta.logprobs, strict=True):
        top = [_token(one.token_id, one.logprob, tokenizer) for one in told.top]
        content.append(_token(token, told.logprob, tokenizer) | {"top_logprobs": top})
    return {"content": content, "refusal": None}


def completion_logprobs(
    delta: inference_pb2.Delta, tokenizer: Tokenizer, texts: Sequence[str], begins: int
) -> Said:
    """By the tokens' spelling. They add `texts` to a text of `begins` characters."""
    return {
        "tokens": [_spelled(token, tokenizer) for token in delta.token_ids],
        "token_logprobs": [told.logprob for told in delta.logprobs],
        "top_logprobs": [
            {_spelled(one.token_id, tokenizer): one.logprob for one in told.top} for told in delta.logprobs
        ],
        "text_offset": list(accumulate(map(len, texts[:-1]), initial=begins)),
    }


def _token(token: int, logprob: float, tokenizer: Tokenizer) -> Said:
    data = tokenizer.bytes_of(token)
    return {"token": tokenizer.decode([token]), "logprob": logprob, "bytes": list(data)}


def _spelled(token: int, tokenizer: Tokenizer) -> str:
    """Different for different tokens: what is no text of its own is told in bytes, or by its number."""
    data = tokenizer.bytes_of(token)
    if not data:
        return f"token_id:{token}"
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
