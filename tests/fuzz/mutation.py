"""Requests made wrong: a value here and there, or bytes; all from one generator, so a seed says it all."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MOST_BYTES = 20_000
INTEGERS = (
    0,
    1,
    2,
    15,
    16,
    17,
    20,
    21,
    63,
    64,
    65,
    255,
    260,
    261,
    300,
    4096,
    1 << 16,
    1 << 31,
    1 << 32,
    1 << 64,
)
FLOATS = (
    0.0,
    -0.0,
    1e-45,
    1e-9,
    0.5,
    1.0,
    1.0000001,
    2.0,
    10.0,
    10.1,
    100.0,
    3.4e38,
    float("inf"),
    float("nan"),
)
STRINGS = (
    *("", "a", " ", "\0", "\n\n", "é", "🙂", "\u202e", "\ufffd", "\U0010ffff", "..", "a~b", "a#1", "toy"),
    *("boom", "user", "margin", "cascade", "<|im_end|>", "<tool>", "{}", "[]", "(", "[^", "(a|b)*c", "(?=x)"),
    *("a{9999}", "start:", "start: start", '{"type":"object"}', "%s%n", "x" * 65, "y" * 257, "z" * 16_385),
)
JSONS: tuple[Any, ...] = (None, True, False, [], {}, "", -1, 1e400, 0.1, *INTEGERS, *STRINGS)
REPEATS = (1, 2, 16, 65, 301)


class Mutator:
    """Mutations of valid requests."""

    def __init__(self, draw: Random, valid: Sequence[Message]) -> None:
        self._draw = draw
        self._valid = valid  # of one kind

    def request(self) -> bytes:
        """The bytes of a valid request with some fields changed, some bytes, or both."""
        changed = type(self._valid[0])()
        changed.CopyFrom(self._draw.choice(self._valid))
        how = self._draw.randrange(4)
        if how != 1:
            for _ in range(self._draw.choice((1, 1, 2, 3, 6))):
                self._edit(changed)
        data = changed.SerializeToString()
        return self.bytes(data) if how in (1, 2) else data

    def bytes(self, data: bytes) -> bytes:
        """Some bytes of these changed, cut, repeated, or put in place of others."""
        edited = bytearray(data)
        for _ in range(self._draw.choice((1, 1, 2, 4, 9))):
            at, other = self._place(edited), self._place(edited)
            first, last = min(at, other), max(at, other)
            match self._draw.randrange(7):
                case 0 if edited:
                    edited[min(at, len(edited) - 1)] ^= 1 << self._draw.randrange(8)
                case 1:
                    edited[at:at] = self._draw.choice(
                        (b"\0", b"\xff", b"\x80" * 11, b"\xc3", b"\r\n", b"%", b"0")
                    )
                case 2:
                    del edited[first:last]
                case 3:
                    del edited[at:]
                case 4:
                    edited[other:other] = edited[first:last]
                case 5:
                    edited[at:at] = self._draw.randbytes(self._draw.choice((1, 2, 8)))
                case 6:
                    source = self._draw.choice(self._valid).SerializeToString()
                    edited[first:last] = source[self._place(source) :]
        return bytes(edited[:MOST_BYTES])

    def text(self, value: Any) -> str:
        """JSON text of a value with some of its parts changed; now and then it is none any more."""
        text = json.dumps(self.json(value))
        if self._draw.random() < 0.2:
            at = self._place(text)
            text = (
                text[:at]
                + self._draw.choice(("", ",", "}", '"', "\\u", "\\ud800", "1e999", "[" * 2000))
                + text[at + 1 :]
            )
        return text

    def json(self, value: Any) -> Any:
        """A value with some of its parts changed, dropped, repeated or exchanged."""
        for _ in range(self._draw.choice((1, 1, 2, 4))):
            value = self._changed(value)
        return value

    def _changed(self, value: Any) -> Any:
        descend = self._draw.random() < 0.8
        match value:
            case dict() if value and descend:
                name = self._draw.choice(list(value))
                match self._draw.randrange(6):
                    case 0:
                        return {key: each for key, each in value.items() if key != name}
                    case 1:
                        return value | {self._draw.choice([*value, *STRINGS[:-3]]): value[name]}
                    case _:
                        return value | {name: self._changed(value[name])}
            case list() if value and descend:
                at = self._draw.randrange(len(value))
                match self._draw.randrange(5):
                    case 0:
                        return value[:at] + value[at + 1 :]
                    case 1:
                        return value * self._draw.choice(REPEATS[:3])
                    case _:
                        return [*value[:at], self._changed(value[at]), *value[at + 1 :]]
            case str() if descend and value:
                at = self._place(value)
                return value[:at] + self._draw.choice(STRINGS[:-3]) + value[at + 1 :]
        return self._draw.choice(JSONS)

    def _edit(self, message: Message) -> None:
        fields = message.DESCRIPTOR.fields
        if not fields:
            return
        field = self._draw.choice(fields)
        if self._draw.random() < 0.15:
            message.ClearField(field.name)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            for _ in range(self._draw.choice(REPEATS)):
                key, value = (self._scalar(each) for each in field.message_type.fields)
                getattr(message, field.name)[key] = value
        elif field.is_repeated:
            self._lengthen(getattr(message, field.name), field)
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            self._edit(inner)
        elif field.name == "json_schema" and getattr(message, field.name):
            setattr(message, field.name, self._schema(getattr(message, field.name)))
        else:
            setattr(message, field.name, self._scalar(field))

    def _lengthen(self, values: Any, field: FieldDescriptor) -> None:
        many = self._draw.choice(REPEATS)
        if field.message_type is not None:
            if values and self._draw.random() < 0.7:
                self._edit(self._draw.choice(values))
            else:
                for _ in range(many):
                    values.add()
            return
        values.extend([self._scalar(field)] * many)

    def _schema(self, known: str) -> str:
        try:
            return self.text(json.loads(known))
        except (ValueError, RecursionError):
            return self._draw.choice(STRINGS)

    def _scalar(self, field: FieldDescriptor) -> Any:
        choice = self._draw.choice
        makers: dict[int, Callable[[], Any]] = {
            FieldDescriptor.CPPTYPE_UINT32: lambda: min(choice(INTEGERS), (1 << 32) - 1),
            FieldDescriptor.CPPTYPE_UINT64: lambda: min(choice(INTEGERS), (1 << 64) - 1),
            FieldDescriptor.CPPTYPE_INT32: lambda: choice((1, -1)) * min(choice(INTEGERS), (1 << 31) - 1),
            FieldDescriptor.CPPTYPE_FLOAT: lambda: choice((1, -1)) * choice(FLOATS),
            FieldDescriptor.CPPTYPE_BOOL: lambda: choice((False, True)),
            FieldDescriptor.CPPTYPE_ENUM: lambda: choice((0, 1, 2, 3, 4, 5, -1, (1 << 31) - 1)),
            FieldDescriptor.CPPTYPE_STRING: lambda: choice(STRINGS),
        }
        return makers[field.cpp_type]()

    def _place(self, data: Sequence[Any]) -> int:
        return self._draw.randrange(len(data) + 1)
