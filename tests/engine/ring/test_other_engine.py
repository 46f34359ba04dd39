"""What a rank that follows another says of calls that fail."""

import logging

import pytest
from msgspec.msgpack import encode

from ringroad.actors.engine.ring.calls import Keep, Truncate
from ringroad.actors.engine.ring.engine import OtherEngine
from tests.engine.tiny import tiny


def test_a_failed_call_is_warned_of_once_a_kind(caplog: pytest.LogCaptureFixture) -> None:
    told = [Keep("nobody", [0]), Keep("nobody", []), Truncate("nobody", 1), Truncate("nobody", 1)]
    OtherEngine(tiny(), 10**7).follow(encode([call]) for call in told)
    warned = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert all(each.exc_info for each in warned)
    assert [each.message.split()[0] for each in warned] == ["Keep", "Truncate"]
