"""From the core's answers to OpenAI's objects: chunks of a stream, or the whole."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from ringroad.actors.gateway.openai.logprobs import chat_logprobs, completion_logprobs
from ringroad.actors.tokenizer import TextStream, Tokenizer
from ringroad.v1 import inference_pb2

Said = dict[str, Any]

_FINISHES = {inference_pb2.FINISH_REASON_STOP: "stop", inference_pb2.FINISH_REASON_LENGTH: "length"}
_SPEAKERS = {
    inference_pb2.SPEAKER_SMALL_KEPT: "small_kept",
    inference_pb2.SPEAKER_SMALL_ACCEPTED: "small_accepted",
    inference_pb2.SPEAKER_LARGE: "large",
}
_OWN = ("prompt_tokens", "completion_tokens")  # of Usage: those that OpenAI's has


class Answers(ABC):
    """Of one request. `extended`: with what only Ringroad tells, in an object `ringroad`."""

    KIND: str
    CHUNK: str
    PREFIX: str

    def __init__(self, model: str, tokenizer: Tokenizer, *, include_usage: bool, extended: bool) -> None:
        self.request_id = ""
        self._model = model
        self._tokenizer = tokenizer
        self._include_usage = include_usage
        self._extended = extended
        self._created = int(time.time())
        self._pieces = _Pieces(tokenizer)
        self._length = 0  # of the text so far, in characters

    def opening(self) -> Iterator[Said]:
        """Chunks before the first delta."""
        yield from ()

    def chunks(self, answer: inference_pb2.GenerateResponse) -> Iterator[Said]:
        """What a stream tells of one of the core's."""
        if answer.HasField("delta"):
            yield self._chunk([self._choice(answer.delta, whole=False)])
            return
        ending = self._choice(inference_pb2.Delta(), whole=False)
        ending["finish_reason"] = _FINISHES[answer.final.finish_reason]
        ending.pop("ringroad", None)
        yield self._chunk([ending]) | self._told(answer.final)
        if self._include_usage:
            yield self._chunk([]) | {"usage": _usage(answer.final.usage)}

    def whole(self, answers: Sequence[inference_pb2.GenerateResponse]) -> Said:
        """What one object tells of all of them."""
        *deltas, last = answers
        choice = self._choice(_joined([answer.delta for answer in deltas]), whole=True)
        choice["finish_reason"] = _FINISHES[last.final.finish_reason]
        head = self._head(self.KIND)
        return head | {"choices": [choice], "usage": _usage(last.final.usage)} | self._told(last.final)

    @abstractmethod
    def _words(self, delta: inference_pb2.Delta, whole: bool) -> Said:
        """The part of a choice that is its text."""

    @abstractmethod
    def _logprobs(self, delta: inference_pb2.Delta, begins: int) -> Said:
        """Those of tokens whose text begins after so many characters."""

    def _choice(self, delta: inference_pb2.Delta, *, whole: bool) -> Said:
        begins = self._length
        self._length += len(delta.text)
        said = {"index": 0, **self._words(delta, whole), "finish_reason": None}
        said["logprobs"] = self._logprobs(delta, begins) if delta.logprobs else None
        if self._extended:
            said["ringroad"] = self._tokens(delta)
        return said

    def _tokens(self, delta: inference_pb2.Delta) -> Said:
        said: Said = {
            "offset": delta.offset,
            "token_ids": list(delta.token_ids),
            "texts": self._pieces.of(delta),
            "speakers": [_SPEAKERS[speaker] for speaker in delta.speakers],
        }
        if delta.HasField("prompt"):
            said |= {"prompt": delta.prompt, "prompt_token_ids": list(delta.prompt_token_ids)}
        return said

    def _told(self, final: inference_pb2.Final) -> Said:
        if not self._extended:
            return {}
        usage = {
            field.name: list(value) if field.is_repeated else value
            for field in inference_pb2.Usage.DESCRIPTOR.fields
            if field.name not in _OWN
            for value in [getattr(final.usage, field.name)]
        }
        return {"ringroad": {"request_id": final.request_id, "usage": usage}}

    def _chunk(self, choices: list[Said]) -> Said:
        usage = {"usage": None} if self._include_usage else {}
        return self._head(self.CHUNK) | {"choices": choices} | usage

    def _head(self, kind: str) -> Said:
        return {
            "id": f"{self.PREFIX}-{self.request_id}",
            "object": kind,
            "created": self._created,
            "model": self._model,
            "system_fingerprint": None,
        }


class ChatAnswers(Answers):
    """As POST /v1/chat/completions says it."""

    KIND = "chat.completion"
    CHUNK = "chat.completion.chunk"
    PREFIX = "chatcmpl"

    def opening(self) -> Iterator[Said]:
        """Who speaks, as OpenAI's first chunk says."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        yield self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])

    def _words(self, delta: inference_pb2.Delta, whole: bool) -> Said:
        if whole:
            return {"message": {"role": "assistant", "content": delta.text, "refusal": None}}
        return {"delta": {"content": delta.text} if delta.token_ids else {}}

    def _logprobs(self, delta: inference_pb2.Delta, begins: int) -> Said:
        return chat_logprobs(delta, self._tokenizer)


class CompletionAnswers(Answers):
    """As POST /v1/completions says it: with echo, the prompt is a part of the text."""

    KIND = CHUNK = "text_completion"
    PREFIX = "cmpl"

    def _words(self, delta: inference_pb2.Delta, whole: bool) -> Said:
        return {"text": delta.prompt + delta.text}

    def _logprobs(self, delta: inference_pb2.Delta, begins: int) -> Said:
        return completion_logprobs(delta, self._tokenizer, begins)


class _Pieces:
    """The text of each token: joined, they are the text of the deltas."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._stream = TextStream(tokenizer)

    def of(self, delta: inference_pb2.Delta) -> list[str]:
        left, pieces = delta.text, []
        for token in delta.token_ids:
            length = len(self._stream.push((token,)))
            pieces.append(left[:length])
            left = left[length:]
        if left and pieces:  # of a character that nothing completed
            pieces[-1] += left
        return pieces


def _joined(deltas: Sequence[inference_pb2.Delta]) -> inference_pb2.Delta:
    whole = inference_pb2.Delta()
    for delta in reversed(deltas):  # so that what is said once is as the first says it
        whole.MergeFrom(delta)
    for name in ("token_ids", "speakers", "logprobs"):
        whole.ClearField(name)
        for delta in deltas:
            getattr(whole, name).extend(getattr(delta, name))
    whole.text = "".join(delta.text for delta in deltas)
    return whole


def _usage(usage: inference_pb2.Usage) -> Said:
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
