"""What the first rank tells the others: every call of its engine, so that all keep the same books."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.msgpack import Decoder

from ringroad.actors.engine.engine import Engine, Work
from ringroad.actors.messages import Sampling


class Call(Struct, frozen=True, tag=True, array_like=True):
    """A call of an engine's method of that name."""

    def apply(self, engine: Engine) -> None:
        """Makes the call."""
        raise NotImplementedError


class Open(Call, frozen=True, tag=True, array_like=True):
    session: str
    sampling: Sampling
    expected: int

    def apply(self, engine: Engine) -> None:
        engine.open(self.session, self.sampling, self.expected)


class Close(Call, frozen=True, tag=True, array_like=True):
    session: str

    def apply(self, engine: Engine) -> None:
        engine.close(self.session)


class Adopt(Call, frozen=True, tag=True, array_like=True):
    session: str
    text: Sequence[int]

    def apply(self, engine: Engine) -> None:
        engine.adopt(self.session, self.text)


class Reserve(Call, frozen=True, tag=True, array_like=True):
    work: Work
    givers: list[str]

    def apply(self, engine: Engine) -> None:
        engine.reserve(self.work, self.givers)


class Settle(Call, frozen=True, tag=True, array_like=True):
    session: str
    length: int

    def apply(self, engine: Engine) -> None:
        engine.settle(self.session, self.length)


class Truncate(Call, frozen=True, tag=True, array_like=True):
    session: str
    length: int

    def apply(self, engine: Engine) -> None:
        engine.truncate(self.session, self.length)


class Keep(Call, frozen=True, tag=True, array_like=True):
    session: str
    path: list[int]

    def apply(self, engine: Engine) -> None:
        engine.keep(self.session, self.path)


class Step(Call, frozen=True, tag=True, array_like=True):
    batch: list[Work]

    def apply(self, engine: Engine) -> None:
        engine.step(self.batch)


CALLS = Decoder(list[Open | Close | Adopt | Reserve | Settle | Truncate | Keep | Step])
