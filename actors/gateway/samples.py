"""Several texts of one request: each is a session of its own, and whoever asked reads them as one stream."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

from msgspec.structs import replace

from ringroad.actors.errors import InvalidField, Unavailable
from ringroad.actors.gateway.answers import final_of
from ringroad.actors.gateway.session import Session
from ringroad.actors.gateway.stream import Answer
from ringroad.actors.ledger.ledger import Ending
from ringroad.actors.messages import Submit
from ringroad.kernels.seeds import seed_of
from ringroad.v1 import inference_pb2

MAX_SAMPLES = 16

Write = Callable[[inference_pb2.GenerateResponse], Awaitable[None]]


def samples_from(request: inference_pb2.GenerateRequest, most: int) -> int:
    """How many texts are asked for, of which there may be `most`. Raises InvalidField."""
    if not request.HasField("n"):
        return 1
    if not 1 <= request.n <= most:
        raise InvalidField("n", f"must be from 1 to {most}")
    if request.n > 1 and request.resumable:
        raise InvalidField("n", "cannot be above 1 together with resumable")
    return request.n


def sample_name(request_id: str, sample: int) -> str:
    """What the gateway calls a sample; of those above 0 no client's own name can be the same."""
    return f"{request_id}#{sample}" if sample else request_id


def sample_names(request_id: str) -> list[str]:
    """Those that a request's samples can have."""
    return [sample_name(request_id, sample) for sample in range(MAX_SAMPLES)]


def submits_of(submit: Submit, count: int) -> Iterator[Submit]:
    """The samples of a request, the first of which is what it would be alone."""
    for sample in range(count):
        sampling = replace(submit.sampling, seed=seed_of(submit.sampling.seed, sample))
        yield replace(submit, session=sample_name(submit.session, sample), sampling=sampling)


async def read(session: Session, answer: Answer, write: Write) -> Ending:
    """Writes the deltas of one text; how it ended."""
    while True:
        part = await session.transcript.after(answer.have)
        if delta := answer.delta(part):
            await write(delta)
        if part.ending is not None:
            return part.ending


async def read_all(
    sessions: Sequence[Session], answers: Sequence[Answer], write: Write
) -> inference_pb2.GenerateResponse:
    """Writes the deltas and ends of several texts, as they come; the final of them all.

    The others go on when one fails. Raises Unavailable when one did before anything was written.
    """
    turn = asyncio.Lock()

    async def write_in_turn(response: inference_pb2.GenerateResponse) -> None:
        async with turn:
            await write(response)

    async def whole(sample: int) -> inference_pb2.Final:
        ending = await read(sessions[sample], answers[sample], write_in_turn)
        final = final_of(sessions[sample].record.submit, ending).final
        if final.finish_reason != inference_pb2.FINISH_REASON_ERROR:
            await write_in_turn(_end_of(sample, final))
        return final

    tasks = [asyncio.create_task(whole(sample)) for sample in range(len(sessions))]
    try:
        finals = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    for sample, final in enumerate(finals):
        if final.finish_reason == inference_pb2.FINISH_REASON_ERROR:
            if not any(answer.begun for answer in answers):
                raise Unavailable(final.error or "the cluster failed")
            await write(_end_of(sample, final))
    return _final_of_all(finals)


def _end_of(sample: int, final: inference_pb2.Final) -> inference_pb2.GenerateResponse:
    end = inference_pb2.SampleEnd(
        sample=sample, finish_reason=final.finish_reason, usage=final.usage, error=final.error
    )
    return inference_pb2.GenerateResponse(sample_end=end)


def _final_of_all(finals: Sequence[inference_pb2.Final]) -> inference_pb2.GenerateResponse:
    usages = [final.usage for final in finals]
    first = usages[0]
    usage = inference_pb2.Usage(
        prompt_tokens=first.prompt_tokens,
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        drafted_tokens=sum(usage.drafted_tokens for usage in usages),
        accepted_tokens=sum(usage.accepted_tokens for usage in usages),
        consults=sum(usage.consults for usage in usages),
        small_tokens=sum(usage.small_tokens for usage in usages),
        large_tokens=sum(usage.large_tokens for usage in usages),
        time_to_first_token_seconds=min(usage.time_to_first_token_seconds for usage in usages),
        total_seconds=max(usage.total_seconds for usage in usages),
        seed=first.seed,
        degraded=dict.fromkeys(role for usage in usages for role in usage.degraded),
        fallback_tokens=sum(usage.fallback_tokens for usage in usages),
    )
    final = inference_pb2.Final(
        finish_reason=max(final.finish_reason for final in finals),
        usage=usage,
        error=next((final.error for final in finals if final.error), ""),
        request_id=finals[0].request_id,
    )
    return inference_pb2.GenerateResponse(final=final)
