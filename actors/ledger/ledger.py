"""What a gateway needs of a ledger: what it writes without waiting, and what it reads to resume a request.

A request's text is a function of what is recorded here, so whoever takes it up goes on with the same. One
gateway owns it, and what others say of it is not written. Nothing of a running request waits for the ledger.
What is noted while it is away is written when it is back, as long as the request runs here.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from ringroad.actors.errors import RingroadError
from ringroad.actors.messages import Counts, Finish, Logprob, Speaker, Submit


class LedgerAway(RingroadError):
    """The ledger does not answer, or refuses."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A request as it was asked for, all that its text depends on included."""

    submit: Submit  # under the client's name for it, with the seed that was drawn and nothing committed
    stops: list[str]
    digest: bytes  # of the client's own message: the same name with another is another request
    echo: bool = False  # whether the prompt is sent as well
    priority: int = 0  # as asked for; nothing of the text depends on it


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """How a request ended."""

    finish: Finish
    length: int  # tokens that count: a stop string may end the text before all that were committed
    counts: Counts
    error: str = ""
    first_token: float = 0.0  # seconds from the gateway's receipt of the request
    total: float = 0.0  # likewise, to the end


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Committed tokens from `offset` on, and the ending, once it is known."""

    offset: int
    tokens: list[int]
    speakers: list[Speaker]
    ending: Ending | None = None
    logprobs: list[Logprob] = []  # of each, where the request asks; no ledger keeps them


class Entry(msgspec.Struct, frozen=True):
    """All that is known of a request."""

    record: Record
    part: Part  # from offset 0 on
    owner: str | None  # the gateway that generates it, if that one lives; None also where it has ended


class Ledger(Protocol):
    """`begin`, `commit` and `end` never wait and never raise; the others raise LedgerAway."""

    @property
    def there(self) -> bool:
        """Whether it answered last."""

    @property
    def waiting(self) -> int:
        """Requests of which it lacks something."""

    @property
    def given_up(self) -> int:
        """Requests that ended while it was away and were too many to keep."""

    def begin(self, record: Record) -> None:
        """This gateway generates a request from now on. One that takes a request up commits what was known of
        it again, from 0 on: what is there already is not written twice."""

    def commit(
        self, request_id: str, offset: int, tokens: Sequence[int], speakers: Sequence[Speaker]
    ) -> None:
        """Tokens of it were committed. What is known already is passed over, and so is what leaves a gap."""

    def end(self, request_id: str, ending: Ending) -> None:
        """It has ended; it is kept for a while, to be read. Only its owner's word counts."""

    def drop(self, request_id: str) -> None:
        """This gateway does not generate it any more, though it has not ended: another may take it up."""

    async def find(self, request_id: str) -> Entry | None:
        """A request by its name; None for one that nobody has begun, or that expired."""

    async def claim(self, request_id: str) -> bool:
        """Makes this gateway the owner of a request whose owner is gone; False where another was faster, and
        where it has ended or is not known. Followed by `begin`."""

    def follow(self, request_id: str, offset: int) -> AsyncIterator[Part]:
        """What another gateway commits from `offset` on, up to its ending. Ends without one when its owner is
        gone."""

    async def abort(self, request_id: str) -> bool:
        """Has the owner of a request end it, and whoever else generates it; False where nobody does."""

    async def aborted(self) -> str:
        """Waits until another gateway wants a request of this one ended; its name. Waits on while the ledger
        is away."""

    async def draw(self, tenant: str, tokens: int, a_minute: int) -> float:
        """Takes tokens of what a tenant may use. 0 where that was allowed, else the seconds until it will
        be."""

    def spend(self, tenant: str, tokens: int, a_minute: int) -> None:
        """A tenant took so many more, or gave them back where they are less than 0. Never waits, never
        raises."""

    async def enter(self, tenant: str, streams: int, most: int) -> bool:
        """Has it that this gateway reads so many streams for a tenant, unless all gateways together had more
        than `most`: then nothing is changed, and the answer is False."""

    def streams(self, tenant: str, streams: int) -> None:
        """This gateway reads so many streams for a tenant. Never waits, never raises."""
