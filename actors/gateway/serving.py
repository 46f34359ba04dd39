"""Servicers as gRPC handlers: the outermost edge, where what a method raises becomes a status."""

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from ringroad.actors.errors import InvalidField, RingroadError
from ringroad.actors.gateway.keys import Keys, Scope
from ringroad.actors.gateway.parsing import parser
from ringroad.actors.gateway.status import broken, status_of
from ringroad.actors.gateway.tenants import Tenant

_log = logging.getLogger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]
_Method = Callable[[Any, _Context], Awaitable[Message | None]]
_asking: ContextVar[Tenant] = ContextVar("asking")


def asking() -> Tenant:
    """Who asks, within a method of a servicer."""
    return _asking.get()


def handlers(
    service: ServiceDescriptor, servicer: object, keys: Keys, scopes: Mapping[str, Scope]
) -> grpc.GenericRpcHandler:
    """All methods of a service; `servicer` has a coroutine of the same name for each.

    scopes: what each method takes; one that is left out raises KeyError here, rather than be open.
    """
    methods = {
        m.name: _handler(m, _admitted(getattr(servicer, m.name), keys, scopes[m.name]))
        for m in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def _handler(method: MethodDescriptor, call: _Method) -> "grpc.RpcMethodHandler[Any, Any]":
    make = (
        grpc.unary_stream_rpc_method_handler
        if method.server_streaming
        else grpc.unary_unary_rpc_method_handler
    )
    return make(
        _guarded(method.full_name, call),
        request_deserializer=parser(GetMessageClass(method.input_type)),
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )


def _admitted(call: _Method, keys: Keys, scope: Scope) -> _Method:
    async def admitted(request: Message | InvalidField, context: _Context) -> Message | None:
        said = dict(context.invocation_metadata() or ()).get("authorization")
        _asking.set(keys.tenant(said if isinstance(said, str) else None, scope))
        if isinstance(request, InvalidField):
            raise request
        return await call(request, context)

    return admitted


def _guarded(name: str, call: _Method) -> _Method:
    async def guarded(request: Message | InvalidField, context: _Context) -> Message | None:
        try:
            return await call(request, context)
        except RingroadError as error:
            status = status_of(error)
        except grpc.aio.BaseError:  # the client has left, or the server is stopping: gRPC knows
            raise
        except Exception as error:  # noqa: BLE001 - the edge
            # Without the exception's own words: they may quote a user's text.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("%s failed with %s\n%s", name, type(error).__qualname__, where)
            status = broken()
        return await context.abort_with_status(status)

    return guarded
