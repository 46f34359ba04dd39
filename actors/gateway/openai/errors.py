"""Errors in OpenAI's shape, with the statuses that its clients know."""

import logging
import math
from typing import Any, NamedTuple

import grpc
import msgspec
from aiohttp import web

from ringroad.actors.errors import InvalidField, RingroadError, Unavailable, traced
from ringroad.actors.gateway.filling import UnknownParameter
from ringroad.actors.gateway.openai.asking import Unsupported
from ringroad.actors.gateway.status import UNAVAILABLE_RETRY_SECONDS, status_of

_log = logging.getLogger(__name__)
_REQUEST, _SERVER = "invalid_request_error", "server_error"
# What gRPC's clients are told, told to OpenAI's: status, type and code.
_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: (400, _REQUEST, "invalid_value"),
    grpc.StatusCode.UNAUTHENTICATED: (401, _REQUEST, "invalid_api_key"),
    grpc.StatusCode.PERMISSION_DENIED: (403, _REQUEST, "insufficient_permissions"),
    grpc.StatusCode.NOT_FOUND: (404, _REQUEST, "not_found"),
    grpc.StatusCode.ALREADY_EXISTS: (409, _REQUEST, "already_exists"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (429, "rate_limit_error", "rate_limit_exceeded"),
    grpc.StatusCode.UNAVAILABLE: (503, _SERVER, "unavailable"),
}


class Cancelled(RingroadError):
    """Somebody called Abort for the request."""


class Failure(NamedTuple):
    """What a client is told in place of an answer, or after a part of it."""

    status: int
    kind: str
    message: str
    param: str | None = None
    code: str | None = None
    retry_seconds: float | None = None

    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        said = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": said}

    def response(self) -> web.Response:
        """As HTTP says it."""
        headers = {}
        if self.retry_seconds is not None:
            headers["Retry-After"] = str(math.ceil(self.retry_seconds))
            headers["Retry-After-Ms"] = str(math.ceil(1000 * self.retry_seconds))
        body = msgspec.json.encode(self.body())
        return web.Response(body=body, status=self.status, headers=headers, content_type="application/json")


def failure_of(error: Exception) -> Failure:
    """What an error means to a client. Of one that nobody meant the words are neither logged nor told."""
    match error:
        case Cancelled():
            return Failure(499, _SERVER, str(error), code="cancelled")
        case RingroadError():
            return _meant(error)
        case TimeoutError():
            return Failure(504, _SERVER, "timeout_seconds have passed", code="deadline_exceeded")
        case web.HTTPException():
            return Failure(error.status, _REQUEST, error.reason.lower())
        case _:
            return _broken(error)


def _meant(error: RingroadError) -> Failure:
    status = status_of(error)
    if status.code not in _STATUSES:
        return _broken(error)
    number, kind, code = _STATUSES[status.code]
    retry_seconds = UNAVAILABLE_RETRY_SECONDS if isinstance(error, Unavailable) else None
    failure = Failure(
        number, kind, status.details, code=code, retry_seconds=getattr(error, "retry_seconds", retry_seconds)
    )
    match error:
        case InvalidField(field="model"):
            return failure._replace(status=404, param="model", code="model_not_found")
        case UnknownParameter(field=field):
            return failure._replace(param=field, code="unknown_parameter")
        case Unsupported(field=field):
            return failure._replace(param=field, code="unsupported_parameter")
        case InvalidField(field=field):
            return failure._replace(param=field)
    return failure


def _broken(error: Exception) -> Failure:
    _log.error("a request failed with %s", traced(error))
    return Failure(500, _SERVER, "internal error", code="internal_error")
