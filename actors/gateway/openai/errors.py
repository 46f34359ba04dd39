"""Errors in OpenAI's shape, with the statuses that its clients know."""

import logging
import math
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from ringroad.actors.errors import InvalidField, QuotaExceeded, RingroadError, TooBusy, Unavailable, traced
from ringroad.actors.gateway.keys import Forbidden, Unauthenticated
from ringroad.actors.gateway.naming import Duplicate, Unknown
from ringroad.actors.gateway.openai.asking import Unsupported
from ringroad.actors.gateway.openai.filling import UnknownParameter

_log = logging.getLogger(__name__)
_UNAVAILABLE_RETRY_SECONDS = 1.0  # about what a lost verifier takes to come back
_MOST_CHARACTERS = 300  # errors may quote requests


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
        text = self.message
        clipped = text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"
        return {"error": {"message": clipped, "type": self.kind, "param": self.param, "code": self.code}}

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
        case InvalidField(field="model", problem=problem):
            return Failure(404, "invalid_request_error", f"model: {problem}", "model", "model_not_found")
        case InvalidField(field=field):
            return Failure(400, "invalid_request_error", str(error), field, _code(error))
        case Unauthenticated():
            return Failure(401, "invalid_request_error", str(error), code="invalid_api_key")
        case Forbidden():
            return Failure(403, "invalid_request_error", str(error), code="insufficient_permissions")
        case TooBusy(retry_seconds=seconds) | QuotaExceeded(retry_seconds=seconds):
            return Failure(
                429, "rate_limit_error", str(error), code="rate_limit_exceeded", retry_seconds=seconds
            )
        case Unavailable():
            return _server_error(503, str(error), "unavailable", _UNAVAILABLE_RETRY_SECONDS)
        case Duplicate():
            return _server_error(409, str(error), "already_exists")
        case Unknown():
            return Failure(404, "invalid_request_error", str(error), code="not_found")
        case Cancelled():
            return _server_error(499, str(error), "cancelled")
        case TimeoutError():
            return _server_error(504, "timeout_seconds have passed", "deadline_exceeded")
        case web.HTTPException():
            return Failure(error.status, "invalid_request_error", error.reason.lower())
        case _:
            _log.error("a request failed with %s", traced(error))
            return _server_error(500, "internal error", "internal_error")


def _server_error(status: int, message: str, code: str, retry_seconds: float | None = None) -> Failure:
    return Failure(status, "server_error", message, code=code, retry_seconds=retry_seconds)


def _code(error: InvalidField) -> str:
    if isinstance(error, UnknownParameter):
        return "unknown_parameter"
    return "unsupported_parameter" if isinstance(error, Unsupported) else "invalid_value"
