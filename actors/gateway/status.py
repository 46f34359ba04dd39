"""Errors as rich statuses: `google.rpc.Status` with details, carried in the trailing metadata."""

from datetime import timedelta

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from ringroad.actors.errors import InvalidField, QuotaExceeded, RingroadError, TooBusy, Unavailable
from ringroad.actors.gateway.keys import Forbidden, Unauthenticated
from ringroad.actors.gateway.naming import Duplicate, Unknown

_MOST_CHARACTERS = 300  # more would not fit into the trailing metadata; errors may quote requests
UNAVAILABLE_RETRY_SECONDS = 1.0  # about what a lost verifier takes to come back


def status_of(error: RingroadError) -> grpc.Status:
    """The status of an error that was raised on purpose."""
    match error:
        case InvalidField(field=field, problem=problem):
            violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=_clip(problem))
            details = error_details_pb2.BadRequest(field_violations=[violation])
            return _status(code_pb2.INVALID_ARGUMENT, str(error), details)
        case TooBusy(retry_seconds=seconds):
            return _status(code_pb2.RESOURCE_EXHAUSTED, str(error), _retry_in(seconds))
        case QuotaExceeded(tenant=tenant, retry_seconds=seconds):
            violation = error_details_pb2.QuotaFailure.Violation(
                subject=f"tenant:{tenant}", description=str(error)
            )
            failure = error_details_pb2.QuotaFailure(violations=[violation])
            return _status(code_pb2.RESOURCE_EXHAUSTED, str(error), failure, _retry_in(seconds))
        case Unavailable():
            return _status(code_pb2.UNAVAILABLE, str(error), _retry_in(UNAVAILABLE_RETRY_SECONDS))
        case Unauthenticated():
            return _status(code_pb2.UNAUTHENTICATED, str(error))
        case Forbidden():
            return _status(code_pb2.PERMISSION_DENIED, str(error))
        case Duplicate():
            return _status(code_pb2.ALREADY_EXISTS, str(error))
        case Unknown():
            return _status(code_pb2.NOT_FOUND, str(error))
        case _:
            return _status(code_pb2.INTERNAL, str(error))


def broken() -> grpc.Status:
    """The status of an error nobody meant; what it was is in the log."""
    return _status(code_pb2.INTERNAL, "internal error")


def _status(code: int, message: str, *details: Message) -> grpc.Status:
    status = status_pb2.Status(code=code, message=_clip(message))
    for detail in details:
        status.details.add().Pack(detail)
    rich: grpc.Status = rpc_status.to_status(status)
    return rich


def _clip(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"


def _retry_in(seconds: float) -> Message:
    delay = Duration()
    delay.FromTimedelta(timedelta(seconds=seconds))
    retry: Message = error_details_pb2.RetryInfo(retry_delay=delay)
    return retry
