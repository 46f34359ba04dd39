"""From the core's answers to OpenAI's objects: chunks of a stream, or the whole."""

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from ringroad.actors.gateway.openai.logprobs import chat_logprobs, completion_logprobs
from ringroad.actors.tokenizer import TextStream, Tokenizer
from ringroad.v1 import inference_pb2

Said = dict[str, Any]
End = inference_pb2.Final | inference_pb2.SampleEnd

_FINISHES = {inference_pb2.FINISH_REASON_STOP: "stop", inference_pb2.FINISH_REASON_LENGTH: "length"}
_SPEAKERS = {
    inference_pb2.SPEAKER_SMALL_KEPT: "small_kept",
    inference_pb2.SPEAKER_SMALL_ACCEPTED: "small_accepted",
    inference_pb2.SPEAKER_LARGE: "large",
}
_OPENAIS = ("prompt_tokens", "completion_tokens")  # of Usage


class Answers(ABC):
    """Of one request. `extended`: with what only Ringroad tells, in objects named `ringroad`."""

    KIND: ClassVar[str]
    CHUNK: ClassVar[str]
    PREFIX: ClassVar[str]

    def __init__(self, model: str, tokenizer: Tokenizer, *, include_usage: bool, extended: bool) -> None:
        self.request_id = ""
        self._model = model
        self._tokenizer = tokenizer
        self._include_usage = include_usage
        self._extended = extended
        self._created = int(time.time())
        self._samples = defaultdict[int, _Sample](lambda: _Sample(tokenizer))
        self._several = False

    def chunks(self, answer: inference_pb2.GenerateResponse) -> Iterator[Said]:
        """What a stream tells of one of the core's, whose finish reason OpenAI has a word for."""
        if answer.HasField("delta"):
            if answer.delta.sample not in self._samples:
                yield from self._opening(answer.delta.sample)
            yield self._chunk([self._choice(answer.delta, whole=False)])
        elif answer.HasField("sample_end"):
            self._several = True
            end = self._end(answer.sample_end.sample, answer.sample_end)
            yield self._chunk([end | self._told(answer.sample_end)])
        else:
            told = self._told(answer.final)
            if not self._several:
                yield self._chunk([self._end(0, answer.final)]) | told
            elif told:
                yield self._chunk([]) | told
            if self._include_usage:
                yield self._chunk([]) | {"usage": _usage(answer.final.usage)}

    def whole(self, answers: Sequence[inference_pb2.GenerateResponse]) -> Said:
        """What one object tells of all of them."""
        *parts, last = answers
        deltas = defaultdict[int, list[inference_pb2.Delta]](list)
        for part in parts:
            if part.HasField("delta"):
                deltas[part.delta.sample].append(part.delta)
        ends = sorted((p.sample_end for p in parts if p.HasField("sample_end")), key=lambda end: end.sample)
        choices = []
        all_ends: Sequence[End] = ends or [last.final]
        for sample, end in enumerate(all_ends):
            choice = self._choice(_joined(deltas[sample], sample), whole=True)
            choice["finish_reason"] = _FINISHES[end.finish_reason]
            if ends and self._extended:
                choice["ringroad"] |= self._told(end)["ringroad"]
            choices.append(choice)
        told = {"usage": _usage(last.final.usage)} | self._told(last.final)
        return self._head(self.KIND) | {"choices": choices} | told

    def _opening(self, sample: int) -> Iterator[Said]:
        """Chunks before the first delta of a sample."""
        yield from ()

    @abstractmethod
    def _words(self, delta: inference_pb2.Delta, whole: bool) -> Said:
        """The part of a choice that is its text."""

    @abstractmethod
    def _logprobs(self, delta: inference_pb2.Delta, texts: Sequence[str], begins: int) -> Said:
        """Those of tokens that add `texts` to a text of so many characters."""

    def _choice(self, delta: inference_pb2.Delta, *, whole: bool) -> Said:
        sample = self._samples[delta.sample]
        words = self._words(delta, whole)
        said = {"index": delta.sample, **words, "logprobs": None, "finish_reason": None}
        if delta.logprobs or self._extended:
            texts = sample.texts(delta)
        if delta.logprobs:
            said["logprobs"] = self._logprobs(delta, texts, sample.characters)
        if self._extended:
            said["ringroad"] = _tokens(delta, texts)
        sample.characters += len(delta.text)
        return said

    def _end(self, sample: int, end: End) -> Said:
        words = self._words(inference_pb2.Delta(), whole=False)
        reason = _FINISHES[end.finish_reason]
        return {"index": sample, **words, "logprobs": None, "finish_reason": reason}

    def _told(self, end: End) -> Said:
        """What only Ringroad tells at an end, if it is to."""
        if not self._extended:
            return {}
        usage = {
            field.name: list(value) if field.is_repeated else value
            for field in inference_pb2.Usage.DESCRIPTOR.fields
            if field.name not in _OPENAIS
            for value in [getattr(end.usage, field.name)]
        }
        named = {"request_id": end.request_id} if isinstance(end, inference_pb2.Final) else {}
        return {"ringroad": named | {"usage": usage}}

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

    def _opening(self, sample: int) -> Iterator[Said]:
        """Who speaks."""
        delta = {"role": "assistant", "content": "", "refusal": None}
        yield self._chunk([{"index": sample, "delta": delta, "logprobs": None, "finish_reason": None}])

    def _words(self, delta: inference_pb2.Delta, whole: bool) -> Said:
        if whole:
            return {"message": {"role": "assistant", "content": delta.text, "refusal": None}}
        return {"delta": {"content": delta.text} if delta.token_ids else {}}

    def _logprobs(self, delta: inference_pb2.Delta, texts: Sequence[str], begins: int) -> Said:
        return chat_logprobs(delta, self._tokenizer)


class CompletionAnswers(Answers):
    """As POST /v1/completions says it: with echo, the prompt is a part of the text."""

    KIND = CHUNK = "text_completion"
    PREFIX = "cmpl"

    def _words(self, delta: inference_pb2.Delta, whole: bool) -> Said:
        return {"text": delta.prompt + delta.text}

    def _logprobs(self, delta: inference_pb2.Delta, texts: Sequence[str], begins: int) -> Said:
        return completion_logprobs(delta, self._tokenizer, texts, begins)


class _Sample:
    """One text, as far as it was told."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.characters = 0
        self._stream = TextStream(tokenizer)

    def texts(self, delta: inference_pb2.Delta) -> list[str]:
        """What each token adds: joined, they are the delta's text."""
        left, texts = delta.text, []
        for token in delta.token_ids:
            length = len(self._stream.push((token,)))
            texts.append(left[:length])
            left = left[length:]
        if left and texts:  # of a character that nothing completed
            texts[-1] += left
        return texts


def _tokens(delta: inference_pb2.Delta, texts: Sequence[str]) -> Said:
    said: Said = {
        "offset": delta.offset,
        "token_ids": list(delta.token_ids),
        "texts": texts,
        "speakers": [_SPEAKERS[speaker] for speaker in delta.speakers],
    }
    if delta.HasField("prompt"):
        said |= {"prompt": delta.prompt, "prompt_token_ids": list(delta.prompt_token_ids)}
    return said


def _joined(deltas: Sequence[inference_pb2.Delta], sample: int) -> inference_pb2.Delta:
    """One delta of all tokens of a sample."""
    whole = inference_pb2.Delta(sample=sample)
    for n, delta in enumerate(deltas):
        if n == 0:
            whole.CopyFrom(delta)
        else:
            whole.text += delta.text
            whole.token_ids.extend(delta.token_ids)
            whole.speakers.extend(delta.speakers)
            whole.logprobs.extend(delta.logprobs)
    return whole


def _usage(usage: inference_pb2.Usage) -> Said:
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
