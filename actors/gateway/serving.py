"""Servicers as gRPC handlers: the outermost edge, where what a method raises becomes a status."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Protocol, TypeAlias

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ringroad.actors.errors import InvalidField, RingroadError, traced
from ringroad.actors.gateway.caller import Caller
from ringroad.actors.gateway.keys import Keys, Scope
from ringroad.actors.gateway.parsing import parser
from ringroad.actors.gateway.status import broken, status_of
from ringroad.actors.gateway.tenants import ANYBODY, Tenant
from ringroad.actors.tracing import called

_log = logging.getLogger(__name__)
_MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
_Context = grpc.aio.ServicerContext[Any, Any]
_Method = Callable[[Any, _Context], Awaitable[Message | None]]
Refused = Callable[[RingroadError], None]
_RpcHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_asking: ContextVar[Tenant] = ContextVar("asking", default=ANYBODY)


class Servicer(Protocol):
    """What has methods of a service, which take these scopes. Methods raise what is wrong."""

    SCOPES: ClassVar[Mapping[str, Scope]]


def asking() -> Tenant:
    """Who asks, within a method of a servicer."""
    return _asking.get()


class OverGrpc(Caller):
    """Who asked within a method of a servicer."""

    def __init__(self, context: _Context) -> None:
        self.tenant = asking()
        self._context = context

    def patience(self) -> float | None:
        """As gRPC tells it."""
        return self._context.time_remaining()


def handlers(
    service: ServiceDescriptor, servicer: Servicer, keys: Keys, refused: Refused
) -> grpc.GenericRpcHandler:
    """The methods of a service that `servicer` has a coroutine for, of the same name; the others are
    UNIMPLEMENTED.

    A method whose scope it leaves out raises KeyError here, rather than be open. refused: told every error
    that is answered.
    """
    methods = {
        f"/{service.full_name}/{m.name}": (
            servicer.SCOPES[m.name],
            _handler(m, getattr(servicer, m.name), refused),
        )
        for m in service.methods
        if hasattr(servicer, m.name)
    }
    return _Door(keys, refused, methods)


class _Door(grpc.GenericRpcHandler):
    """Finds out who asks before a byte of what is asked is read."""

    def __init__(
        self, keys: Keys, refused: Refused, methods: Mapping[str, tuple[Scope, _RpcHandler]]
    ) -> None:
        self._keys = keys
        self._refused = refused
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "_RpcHandler | None":
        """gRPC's question who serves a call; asked in the task of the call."""
        if (found := self._methods.get(handler_call_details.method)) is None:
            return None
        scope, handler = found
        said = {k: v for k, v in handler_call_details.invocation_metadata or () if isinstance(v, str)}
        called(said.get("traceparent", ""))
        try:
            _asking.set(self._keys.tenant(said.get("authorization"), scope))
        except RingroadError as error:
            self._refused(error)
            return _refusal(status_of(error))
        return handler


def _refusal(status: grpc.Status) -> _RpcHandler:
    async def refuse(requests: object, context: _Context) -> None:
        await context.abort_with_status(status)

    return grpc.stream_stream_rpc_method_handler(refuse)  # which reads no message unless asked for one


def _handler(method: MethodDescriptor, call: _Method, refused: Refused) -> _RpcHandler:
    return _MAKERS[method.client_streaming, method.server_streaming](
        _guarded(method.full_name, call, refused),
        request_deserializer=parser(GetMessageClass(method.input_type)),
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )


def _guarded(name: str, call: _Method, refused: Refused) -> _Method:
    async def guarded(request: Message | InvalidField, context: _Context) -> Message | None:
        try:
            if isinstance(request, InvalidField):
                raise request
            return await call(request, context)
        except RingroadError as error:
            refused(error)
            status = status_of(error)
        except grpc.aio.BaseError:  # the client has left, or the server is stopping: gRPC knows
            raise
        except Exception as error:  # noqa: BLE001 - the edge
            _log.error("%s failed with %s", name, traced(error))
            status = broken()
        return await context.abort_with_status(status)

    return guarded
