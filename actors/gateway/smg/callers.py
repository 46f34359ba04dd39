"""Who reads the engine protocol: tokens only, and an end of its own for each sample."""

from typing import Any

import grpc.aio
from smg_grpc_proto.generated import vllm_engine_pb2

from ringroad.actors.errors import Unavailable
from ringroad.actors.gateway.serving import OverGrpc
from ringroad.v1 import inference_pb2

_Context = grpc.aio.ServicerContext[Any, Any]
_FINISHES = {
    inference_pb2.FINISH_REASON_STOP: "stop",
    inference_pb2.FINISH_REASON_LENGTH: "length",
    inference_pb2.FINISH_REASON_CANCELLED: "abort",
}


class Engaged(OverGrpc):
    """`stream`: reads pieces, too; else the ends alone, which have all there is."""

    def __init__(self, context: _Context, request: inference_pb2.GenerateRequest, *, stream: bool) -> None:
        super().__init__(context)
        self._stream = stream
        self._several = request.n > 1
        self._stops = set(request.stop_token_ids)
        self._prompt = len(request.token_ids.ids)
        self._said: dict[int, inference_pb2.Delta] = {}  # all of each sample so far

    async def named(self, request_id: str) -> None:
        """It has its name."""

    async def write(self, answer: inference_pb2.GenerateResponse) -> None:
        """A piece, or the end of a sample. Raises Unavailable where the protocol has no word for an end."""
        match answer.WhichOneof("event"):
            case "delta":
                await self._piece(answer.delta)
            case "sample_end":
                end = answer.sample_end
                await self._end(end.sample, end.finish_reason, end.usage, end.error)
            case "final" if not self._several:
                await self._end(0, answer.final.finish_reason, answer.final.usage, answer.final.error)

    async def _piece(self, delta: inference_pb2.Delta) -> None:
        self._prompt = len(delta.prompt_token_ids) or self._prompt
        said = self._said.setdefault(delta.sample, inference_pb2.Delta())
        said.token_ids.extend(delta.token_ids)
        said.logprobs.extend(delta.logprobs)
        if not self._stream:
            return
        chunk = vllm_engine_pb2.GenerateStreamChunk(
            token_ids=delta.token_ids,
            prompt_tokens=self._prompt,
            completion_tokens=len(said.token_ids),
            output_logprobs=_logprobs(delta),
            index=delta.sample,
        )
        await self._context.write(vllm_engine_pb2.GenerateResponse(chunk=chunk))

    async def _end(
        self,
        sample: int,
        reason: inference_pb2.FinishReason.ValueType,
        usage: inference_pb2.Usage,
        error: str,
    ) -> None:
        if reason not in _FINISHES:
            raise Unavailable(error or "the cluster failed")
        said = self._said.pop(sample, inference_pb2.Delta())
        complete = vllm_engine_pb2.GenerateComplete(
            output_ids=said.token_ids,
            finish_reason=_FINISHES[reason],
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            output_logprobs=_logprobs(said),
            index=sample,
            spec_accepted_tokens=usage.accepted_tokens,
            spec_draft_tokens=usage.drafted_tokens,
        )
        stopped = reason == inference_pb2.FINISH_REASON_STOP and said.token_ids
        if stopped and said.token_ids[-1] in self._stops:
            complete.matched_token_id = said.token_ids[-1]
        await self._context.write(vllm_engine_pb2.GenerateResponse(complete=complete))


def _logprobs(delta: inference_pb2.Delta) -> vllm_engine_pb2.OutputLogProbs | None:
    if not delta.logprobs:
        return None
    return vllm_engine_pb2.OutputLogProbs(
        token_logprobs=[said.logprob for said in delta.logprobs],
        token_ids=delta.token_ids,
        top_logprobs=[
            vllm_engine_pb2.TopLogProbs(
                values=[each.logprob for each in said.top], token_ids=[each.token_id for each in said.top]
            )
            for said in delta.logprobs
        ],
    )
