"""What a stream of events amounts to: the text with its speakers, and the figures."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Self

from ringroad.cluster.wire import Event
from ringroad.v1 import inference_pb2
from ringroad.v1.inference_pb2 import Delta, Usage


@dataclass
class Answer:
    """A text, gathered from its events; an "error" until the final has come."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)  # of each token: small_kept, small_accepted, large
    finish_reason: str = "error"  # stop, length, cancelled, error
    usage: Usage = field(default_factory=Usage)
    error: str = "the stream ended without a final"

    def add(self, event: Event) -> None:
        """Takes the next event."""
        if isinstance(event, Delta):
            self.text += event.text
            self.token_ids += event.token_ids
            self.speakers += map(speaker_name, event.speakers)
        else:
            name = inference_pb2.FinishReason.Name(event.finish_reason)
            self.finish_reason = name.removeprefix("FINISH_REASON_").lower()
            self.usage = event.usage
            self.error = event.error

    @classmethod
    async def gather(cls, events: AsyncGenerator[Event, None], hear: Callable[[Delta], None]) -> Self:
        """The answer of a whole stream; `hear` is called with each delta as it comes."""
        answer = cls()
        async with aclosing(events):
            async for event in events:
                answer.add(event)
                if isinstance(event, Delta):
                    hear(event)
        return answer

    @property
    def whole(self) -> bool:
        """Whether the text ended as it should."""
        return self.finish_reason in ("stop", "length")

    def figures(self) -> str:
        """How it came about, in words."""
        usage, figures = self.usage, Figures.of([self.usage])
        parts = [
            f"{usage.completion_tokens} tokens ({self.finish_reason})",
            f"{figures.tokens_per_second:.1f} tokens/s",
            f"first token after {figures.seconds_to_first_token:.2f} s",
            f"{figures.accepted_per_consult:.2f} accepted per consult",
            f"{figures.consults_per_token:.2f} consults per token",
            f"{figures.large_share:.0%} by the large model",
            f"seed {usage.seed}",
        ]
        if usage.degraded:
            parts.append(f"without {', '.join(usage.degraded)}")
        return ", ".join(parts)

    def as_dict(self) -> dict[str, object]:
        """What `ringroad generate --json` shows."""
        return {
            "text": self.text,
            "token_ids": self.token_ids,
            "speakers": self.speakers,
            "finish_reason": self.finish_reason,
            "usage": {name: _plain(getattr(self.usage, name)) for name in Usage.DESCRIPTOR.fields_by_name},
        }


@dataclass(frozen=True)
class Figures:
    """How texts came about, over all of them; 0 where nothing can be divided."""

    tokens_per_second: float
    seconds_to_first_token: float  # the mean
    accepted_per_consult: float
    consults_per_token: float
    large_share: float  # of the tokens

    @classmethod
    def of(cls, usages: Sequence[Usage]) -> Self:
        """From what the gateway measured."""
        tokens = sum(usage.completion_tokens for usage in usages)
        consults = sum(usage.consults for usage in usages)
        first = sum(usage.time_to_first_token_seconds for usage in usages)
        return cls(
            tokens_per_second=_ratio(tokens, sum(usage.total_seconds for usage in usages)),
            seconds_to_first_token=_ratio(first, len(usages)),
            accepted_per_consult=_ratio(sum(usage.accepted_tokens for usage in usages), consults),
            consults_per_token=_ratio(consults, tokens),
            large_share=_ratio(sum(usage.large_tokens for usage in usages), tokens),
        )


def speaker_name(number: inference_pb2.Speaker.ValueType) -> str:
    """Who spoke, as messages call it."""
    return inference_pb2.Speaker.Name(number).removeprefix("SPEAKER_").lower()


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _plain(value: object) -> object:
    return value if isinstance(value, int | float) else list(value)  # type: ignore[call-overload]
