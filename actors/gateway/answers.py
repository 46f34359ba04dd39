"""From messages to protobuf answers."""

from collections.abc import Sequence

from ringroad.actors.figures import RoleFigures
from ringroad.actors.gateway.config import Pair
from ringroad.actors.gateway.naming import told
from ringroad.actors.ledger.ledger import Ending
from ringroad.actors.messages import Finish, Hello, Logprob, Mode, Speaker, Submit
from ringroad.v1 import control_pb2, inference_pb2

_MODES = {
    Mode.LARGE: inference_pb2.MODE_LARGE,
    Mode.SMALL: inference_pb2.MODE_SMALL,
    Mode.SPECULATIVE: inference_pb2.MODE_SPECULATIVE,
    Mode.ROUTED: inference_pb2.MODE_ROUTED,
}
_SPEAKERS = {
    Speaker.SMALL_KEPT: inference_pb2.SPEAKER_SMALL_KEPT,
    Speaker.SMALL_ACCEPTED: inference_pb2.SPEAKER_SMALL_ACCEPTED,
    Speaker.LARGE: inference_pb2.SPEAKER_LARGE,
}
_FINISHES = {
    Finish.STOP: inference_pb2.FINISH_REASON_STOP,
    Finish.LENGTH: inference_pb2.FINISH_REASON_LENGTH,
    Finish.CANCELLED: inference_pb2.FINISH_REASON_CANCELLED,
    Finish.ERROR: inference_pb2.FINISH_REASON_ERROR,
}


def delta_of(
    text: str,
    tokens: Sequence[int],
    offset: int,
    speakers: Sequence[Speaker],
    logprobs: Sequence[Logprob] = (),
) -> inference_pb2.GenerateResponse:
    """Committed tokens and the text they complete; `offset` is how many were sent before."""
    response = inference_pb2.GenerateResponse()
    delta = response.delta  # filled in place: a third of the time that its constructor takes
    delta.text = text
    delta.token_ids.extend(tokens)
    delta.offset = offset
    delta.speakers.extend([_SPEAKERS[s] for s in speakers])
    if logprobs:
        delta.logprobs.extend(map(_logprob, logprobs))
    return response


def _logprob(said: Logprob) -> inference_pb2.Logprob:
    pairs = zip(said.likeliest, said.logs, strict=True)
    top = [inference_pb2.Logprob.Candidate(token_id=token, logprob=log) for token, log in pairs]
    return inference_pb2.Logprob(logprob=said.own, top=top)


def final_of(submit: Submit, ending: Ending) -> inference_pb2.GenerateResponse:
    """The terminal message, the same for everybody who reads the request."""
    counts = ending.counts
    usage = inference_pb2.Usage(
        prompt_tokens=len(submit.prompt),
        completion_tokens=ending.length,
        drafted_tokens=counts.drafted,
        accepted_tokens=counts.accepted,
        consults=counts.consults,
        small_tokens=counts.kept + counts.accepted,
        large_tokens=counts.large,
        time_to_first_token_seconds=ending.first_token,
        total_seconds=ending.total,
        seed=submit.sampling.seed,
        degraded=counts.degraded,
        fallback_tokens=counts.fallbacks,
    )
    error = ending.error if ending.finish is Finish.ERROR else ""
    final = inference_pb2.Final(
        finish_reason=_FINISHES[ending.finish], usage=usage, error=error, request_id=told(submit.session)
    )
    return inference_pb2.GenerateResponse(final=final)


def role_of(peer: Hello) -> control_pb2.Role:
    """A peer of the latest roster: what is in it answers."""
    figures = peer.figures or RoleFigures()
    return control_pb2.Role(
        name=peer.role,
        model=peer.model,
        ready=True,
        sessions=peer.sessions,
        cached_tokens=peer.cached_tokens,
        memory_bytes=peer.memory_bytes,
        idle_tokens=peer.idle_tokens,
        found_share=peer.found_share,
        rulings=peer.rulings,
        replica=peer.replica,
        kv_held_tokens=figures.kv_held,
        kv_room_tokens=figures.kv_room,
        steps=sum(figures.steps.counts),
        step_seconds=figures.steps.sum,
        step_rows=figures.rows,
    )


def mode_number(mode: Mode) -> inference_pb2.Mode.ValueType:
    """The protobuf number of a mode."""
    return _MODES[mode]


def pair_of(pair: Pair) -> control_pb2.ModelPair:
    """The pair as ListModels shows it."""
    return control_pb2.ModelPair(
        name=pair.name,
        large=pair.large,
        small=pair.small,
        context_length=pair.context_length,
        vocabulary=pair.vocabulary,
    )
