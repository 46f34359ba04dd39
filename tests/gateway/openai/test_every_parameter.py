"""Every parameter of OpenAI's API is honoured, or refused by its name: the list is its own client's."""

import pytest

from ringroad.actors.errors import InvalidField
from ringroad.v1.inference_pb2 import GenerateRequest
from tests.gateway.openai.parameters import (
    CHAT,
    COMPLETION,
    ELSEWHERE,
    IDLE,
    OWN,
    PARAMETERS,
    REFUSED,
    RINGROAD,
    asked,
    meant,
)


@pytest.mark.parametrize(("kind", "name"), sorted(PARAMETERS))
def test_each_is_honoured_or_refused_by_name(kind: str, name: str) -> None:
    honoured = CHAT if kind == "chat" else COMPLETION
    if name in honoured:
        value, meaning = honoured[name]
        assert asked(kind, **{name: value}) == meant(kind, meaning)
        assert asked(kind, **{name: value}) != asked(kind) or name in ("messages",)
    elif name in ELSEWHERE:
        assert asked(kind, **{name: ELSEWHERE[name]}) == asked(kind)
        with pytest.raises(InvalidField, match=f"^{name}"):
            asked(kind, **{name: 5})  # alone, or of a wrong kind
    else:
        with pytest.raises(InvalidField, match=f"^{name}: is not supported here"):
            asked(kind, **{name: REFUSED[name]})


@pytest.mark.parametrize(("kind", "name"), sorted(PARAMETERS))
def test_what_asks_for_nothing_is_no_harm(kind: str, name: str) -> None:
    if name not in ("messages", "prompt"):
        assert asked(kind, **{name: None}) == asked(kind)
    if name in IDLE:
        assert asked(kind, **{name: IDLE[name]}) == asked(kind)


@pytest.mark.parametrize("kind", ["chat", "completion"])
@pytest.mark.parametrize("name", RINGROAD)
def test_ringroads_own_are_honoured(kind: str, name: str) -> None:
    value, meaning = RINGROAD[name]
    assert asked(kind, ringroad={name: value}) == meant(kind, meaning)
    if name in OWN:
        assert asked(kind, **{name: value}) == meant(kind, meaning)
        with pytest.raises(InvalidField, match=f"^{name}: cannot be set together with ringroad.{name}$"):
            asked(kind, **{name: value}, ringroad={name: value})


@pytest.mark.parametrize("name", GenerateRequest.DESCRIPTOR.fields_by_name)
def test_a_field_of_the_core_is_never_passed_over(name: str) -> None:
    """Whatever is added to inference.proto can be said in `ringroad` at once."""
    if name != "sampling":
        with pytest.raises(InvalidField, match=rf"^ringroad\.{name}: must be"):
            asked("chat", ringroad={name: -0.5})
