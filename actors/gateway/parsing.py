"""Bytes to requests, saying which field is at fault.

protobuf refuses invalid UTF-8 without naming the field and gRPC would answer INTERNAL. So a parse
that fails is repeated with twins of the messages whose strings are bytes, to find the one that is
no text. Fields this server does not know are refused too: nothing asked for is silently ignored.
"""

from collections.abc import Callable
from functools import cache

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError, Message

from ringroad.actors.errors import InvalidField


def parser(kind: type[Message]) -> Callable[[bytes], Message | InvalidField]:
    """A gRPC deserializer. It returns what is wrong: raised in here, it would become INTERNAL."""

    def parse(data: bytes) -> Message | InvalidField:
        try:
            request = kind.FromString(data)
        except DecodeError:
            return _fault(kind, data)
        size = request.ByteSize()
        request.DiscardUnknownFields()
        if request.ByteSize() != size:
            return InvalidField("request", "holds a field that this server does not know")
        return request

    return parse


def _fault(kind: type[Message], data: bytes) -> InvalidField:
    twin = message_factory.GetMessageClass(
        _twins(kind.DESCRIPTOR.file).FindMessageTypeByName(kind.DESCRIPTOR.full_name)
    )
    try:
        field = _not_text(twin.FromString(data))
    except DecodeError:
        field = ""
    return InvalidField(field, "is not UTF-8") if field else InvalidField("request", "is damaged")


@cache
def _twins(file: FileDescriptor) -> descriptor_pool.DescriptorPool:
    """The messages of `file` and all it imports, every string declared as bytes."""
    pool = descriptor_pool.DescriptorPool()

    def add(file: FileDescriptor) -> None:
        for imported in file.dependencies:
            add(imported)
        twin = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(twin)
        for message in twin.message_type:
            for field in message.field:
                if field.type == field.TYPE_STRING:
                    field.type = field.TYPE_BYTES
        pool.Add(twin)

    add(file)
    return pool


def _not_text(message: Message) -> str:
    """The path of the first field below `message` that is not UTF-8; empty when all are."""
    for field, value in message.ListFields():
        many = field.is_repeated
        for n, item in enumerate(value if many else [value]):
            name = f"{field.name}[{n}]" if many else field.name
            if isinstance(item, Message):
                if inner := _not_text(item):
                    return f"{name}.{inner}"
            elif isinstance(item, bytes) and not _is_text(item):
                return name
    return ""


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
