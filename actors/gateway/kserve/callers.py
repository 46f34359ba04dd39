"""Who reads what a model infers: whole texts, or pieces of one."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc.aio

from ringroad.actors.errors import RingroadError, Unavailable
from ringroad.actors.gateway.kserve import tensors
from ringroad.actors.gateway.kserve.asking import VERSION, Asked
from ringroad.actors.gateway.serving import OverGrpc
from ringroad.v1 import inference_pb2, kserve_pb2

Give = Callable[[kserve_pb2.ModelInferResponse], Awaitable[None]]
_Context = grpc.aio.ServicerContext[Any, Any]
_LAST = "triton_final_response"
_FINISHES = {inference_pb2.FINISH_REASON_STOP: "stop", inference_pb2.FINISH_REASON_LENGTH: "length"}


class Cancelled(RingroadError):
    """Somebody called Abort for the request."""


class Inferred(OverGrpc):
    """`give` gets each response, the last of which says that it is."""

    def __init__(self, context: _Context, asked: Asked, model: str, give: Give) -> None:
        super().__init__(context)
        self._asked = asked
        self._model = model
        self._give = give
        self._texts: dict[int, str] = {}  # that were not given yet
        self._ends: dict[int, tuple[str, int]] = {}  # of each sample: why, and its tokens

    async def named(self, request_id: str) -> None:
        """The protocol has no place for it."""

    async def write(self, answer: inference_pb2.GenerateResponse) -> None:
        """Takes a piece. Raises Unavailable and Cancelled where the protocol has no word for an end."""
        match answer.WhichOneof("event"):
            case "delta":
                delta = answer.delta
                text = self._texts.get(delta.sample, "") + delta.prompt + delta.text
                self._texts[delta.sample] = text
                if self._asked.stream and text:
                    await self._give(
                        self._response([self._texts.pop(delta.sample)], [("", 0)], 0, last=False)
                    )
            case "sample_end":
                end = answer.sample_end
                self._ended(end.sample, end.finish_reason, end.usage, end.error)
            case "final":
                final = answer.final
                if not self._ends:
                    self._ended(0, final.finish_reason, final.usage, final.error)
                ends = [self._ends[sample] for sample in sorted(self._ends)]
                texts = [self._texts.get(sample, "") for sample in sorted(self._ends)]
                await self._give(self._response(texts, ends, final.usage.prompt_tokens, last=True))

    def _ended(
        self,
        sample: int,
        reason: inference_pb2.FinishReason.ValueType,
        usage: inference_pb2.Usage,
        error: str,
    ) -> None:
        if reason == inference_pb2.FINISH_REASON_CANCELLED:
            raise Cancelled("the request was aborted")
        if reason not in _FINISHES:
            raise Unavailable(error or "the cluster failed")
        self._ends[sample] = _FINISHES[reason], usage.completion_tokens

    def _response(
        self, texts: list[str], ends: list[tuple[str, int]], prompt: int, *, last: bool
    ) -> kserve_pb2.ModelInferResponse:
        response = kserve_pb2.ModelInferResponse(
            model_name=self._model, model_version=VERSION, id=self._asked.id
        )
        response.parameters[_LAST].bool_param = last
        values: dict[str, Sequence[str | int]] = {
            "text_output": texts,
            "finish_reason": [reason for reason, _ in ends],
            "num_input_tokens": [prompt] * len(ends),
            "num_output_tokens": [tokens for _, tokens in ends],
        }
        names = (
            self._asked.outputs if last else [name for name in self._asked.outputs if name == "text_output"]
        )
        tensors.give(response, names, values)
        return response
