"""From JSON to fields of a protobuf message, strictly: what a field cannot hold is refused by its path."""

from collections.abc import Mapping

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from pydantic import JsonValue

from ringroad.actors.errors import InvalidField

_BITS = {
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
}
_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)
_NAMES = {
    FieldDescriptor.CPPTYPE_BOOL: (bool, "true or false"),
    FieldDescriptor.CPPTYPE_STRING: (str, "a string"),
}


class UnknownParameter(InvalidField):
    """Nothing here has this name."""

    def __init__(self, field: str) -> None:
        super().__init__(field, "is no parameter here")


def fill(message: Message, field: FieldDescriptor, said: JsonValue, path: str) -> None:
    """Sets one field; null leaves it unset. `path` is the client's name for it. Raises InvalidField."""
    if said is None:
        return
    oneof = field.containing_oneof
    if oneof is not None and (other := message.WhichOneof(oneof.name)):
        raise InvalidField(path, f"cannot be set together with {other}")
    target, kind = getattr(message, field.name), field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        keys, values = kind.fields_by_name["key"], kind.fields_by_name["value"]
        for key, value in _object(said, path).items():
            target[_key(keys, key, path)] = _scalar(values, value, f"{path}[{key}]")
    elif field.is_repeated:
        for n, item in enumerate(_list(said, path)):
            if kind is None:
                target.append(_scalar(field, item, f"{path}[{n}]"))
            else:
                fill_all(target.add(), _object(item, f"{path}[{n}]"), f"{path}[{n}]")
    elif kind is None:
        setattr(message, field.name, _scalar(field, said, path))
    else:
        target.SetInParent()
        fill_all(target, _object(said, path), path)


def fill_all(message: Message, said: Mapping[str, JsonValue], path: str) -> None:
    """Sets fields by their names. Raises UnknownParameter, InvalidField."""
    for name, value in said.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if not isinstance(field, FieldDescriptor):
            raise UnknownParameter(f"{path}.{name}")
        fill(message, field, value, f"{path}.{name}")


def _scalar(field: FieldDescriptor, said: JsonValue, path: str) -> bool | int | float | str:
    if field.enum_type is not None:
        return _enum(field.enum_type, said, path)
    if bounds := _BITS.get(field.cpp_type):
        least, most = bounds
        if type(said) is not int or not least <= said <= most:
            raise InvalidField(path, f"must be an integer from {least} to {most}")
        return said
    if field.cpp_type in _FLOATS:
        if not isinstance(said, int | float) or isinstance(said, bool):
            raise InvalidField(path, "must be a number")
        return _number(said, path)
    kind, name = _NAMES[field.cpp_type]
    if isinstance(said, bool | str) and isinstance(said, kind):
        return said
    raise InvalidField(path, f"must be {name}")


def _number(said: float, path: str) -> float:
    try:
        return float(said)
    except OverflowError as error:
        raise InvalidField(path, "is too large") from error


def _enum(kind: EnumDescriptor, said: JsonValue, path: str) -> int:
    """By the lower-case name of a value, without what all names of the enum begin with."""
    prefix = "".join(f"_{c}" if c.isupper() else c for c in kind.name).strip("_").upper() + "_"
    names = {value.name.removeprefix(prefix).lower(): value.number for value in kind.values if value.number}
    if not isinstance(said, str) or said not in names:
        raise InvalidField(path, f"must be one of {', '.join(names)}")
    return names[said]


def _key(field: FieldDescriptor, key: str, path: str) -> int | str:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return key
    if not (key.isascii() and key.isdigit() and len(key) <= 20):
        raise InvalidField(f"{path}[{key}]", "is not named by an integer")
    return int(_scalar(field, int(key), f"{path}[{key}]"))


def _object(said: JsonValue, path: str) -> Mapping[str, JsonValue]:
    if not isinstance(said, dict):
        raise InvalidField(path, "must be an object")
    return said


def _list(said: JsonValue, path: str) -> list[JsonValue]:
    if not isinstance(said, list):
        raise InvalidField(path, "must be a list")
    return said
