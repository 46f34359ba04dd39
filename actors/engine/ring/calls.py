"""What the first rank tells the others: every call of its engine, so that all keep the same books."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.msgpack import Decoder

from ringroad.actors.engine.engine import Outcome, Work
from ringroad.actors.messages import Sampling


class Mirror(Protocol):
    """An engine that does as another does."""

    def open(self, session: str, sampling: Sampling, expected: int = 0, salt: bytes = b"") -> None: ...
    def close(self, session: str) -> None: ...
    def adopt(self, session: str, text: Sequence[int]) -> int: ...
    def reserve(self, work: Work, givers: Iterable[str] = ()) -> None: ...
    def settle(self, session: str, length: int) -> None: ...
    def truncate(self, session: str, length: int) -> None: ...
    def keep(self, session: str, path: Sequence[int]) -> None: ...
    def step(self, batch: Sequence[Work]) -> list[Outcome]: ...
    def stand(self) -> None: ...


class Call(Struct, frozen=True, tag=True, array_like=True):
    """A call of an engine's method of that name."""

    def apply(self, engine: Mirror) -> None:
        """Makes the call."""
        raise NotImplementedError


class Open(Call, frozen=True, tag=True, array_like=True):
    session: str
    sampling: Sampling
    expected: int
    salt: bytes

    def apply(self, engine: Mirror) -> None:
        engine.open(self.session, self.sampling, self.expected, self.salt)


class Close(Call, frozen=True, tag=True, array_like=True):
    session: str

    def apply(self, engine: Mirror) -> None:
        engine.close(self.session)


class Adopt(Call, frozen=True, tag=True, array_like=True):
    session: str
    text: Sequence[int]

    def apply(self, engine: Mirror) -> None:
        engine.adopt(self.session, self.text)


class Reserve(Call, frozen=True, tag=True, array_like=True):
    work: Work
    givers: list[str]

    def apply(self, engine: Mirror) -> None:
        engine.reserve(self.work, self.givers)


class Settle(Call, frozen=True, tag=True, array_like=True):
    session: str
    length: int

    def apply(self, engine: Mirror) -> None:
        engine.settle(self.session, self.length)


class Truncate(Call, frozen=True, tag=True, array_like=True):
    session: str
    length: int

    def apply(self, engine: Mirror) -> None:
        engine.truncate(self.session, self.length)


class Keep(Call, frozen=True, tag=True, array_like=True):
    session: str
    path: list[int]

    def apply(self, engine: Mirror) -> None:
        engine.keep(self.session, self.path)


class Step(Call, frozen=True, tag=True, array_like=True):
    batch: list[Work]

    def apply(self, engine: Mirror) -> None:
        engine.step(self.batch)


class Stand(Call, frozen=True, tag=True, array_like=True):
    """What the last step computed is kept: the first rank has answered it."""

    def apply(self, engine: Mirror) -> None:
        engine.stand()


CALLS = Decoder(list[Open | Close | Adopt | Reserve | Settle | Truncate | Keep | Step | Stand])
