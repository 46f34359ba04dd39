"""What is committed of a request: written once, read by as many as like to, each from where it is."""

import asyncio
from array import array
from collections.abc import Sequence

from ringroad.actors.errors import RingroadError
from ringroad.actors.gateway.text import StoppingText
from ringroad.actors.ledger.ledger import Ending, Part
from ringroad.actors.messages import Logprob, Speaker

_MOST_TOKENS = 4096  # of a part: as a message it is far below what gRPC takes


class Gap(RingroadError):
    """Tokens before these are missing."""


class Transcript:
    """Tokens, who spoke them, and how it ended. Four bytes a token are all that a slow reader makes us keep.

    `stopping` finds the stop strings: the token that completes one is the last that counts.
    """

    def __init__(self, stopping: StoppingText | None = None) -> None:
        self.tokens = array("I")
        self.speakers: list[Speaker] = []
        self.logprobs: list[Logprob] = []  # where the request asks
        self.stopped = False
        self.ending: Ending | None = None
        self.failure: RingroadError | None = None  # readers get it in place of an ending
        self._stopping = stopping
        self._waiting: set[asyncio.Future[None]] = set()  # for more

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.ending is not None or self.failure is not None

    def put(
        self,
        offset: int,
        tokens: Sequence[int],
        speakers: Sequence[Speaker],
        logprobs: Sequence[Logprob] = (),
    ) -> None:
        """Adds what is new of these; raises Gap when some before them are missing."""
        if self.over or self.stopped:
            return
        known = len(self.tokens) - offset
        if known < 0:
            raise Gap("tokens were lost on the way")
        if known:
            tokens, speakers, logprobs = tokens[known:], speakers[known:], logprobs[known:]
        if self._stopping is not None:
            _, count, self.stopped = self._stopping.push(tokens)
            tokens, speakers, logprobs = tokens[:count], speakers[:count], logprobs[:count]
        self.tokens.extend(tokens)
        self.speakers.extend(speakers)
        self.logprobs.extend(logprobs)
        if tokens:
            self._tell()

    def stops_at_the_end(self) -> bool:
        """Whether a stop string ends the text, now that no token follows."""
        if self._stopping is not None and not self.stopped:
            self.stopped = self._stopping.finish().stopped
        return self.stopped

    def end(self, ending: Ending) -> None:
        """The last word, unless there was one."""
        if not self.over:
            self.ending = ending
            self._tell()

    def fail(self, failure: RingroadError) -> None:
        """Ends it for its readers here, though the request has not ended."""
        if not self.over:
            self.failure = failure
            self._tell()

    async def after(self, have: int) -> Part:
        """What follows the first `have` tokens, once there is something. Raises what it failed with."""
        while (length := len(self.tokens)) <= have and not self.over:
            await self._news()
        if self.failure is not None and length <= have:
            raise self.failure
        to = min(length, have + _MOST_TOKENS)
        ending = self.ending if to == length else None
        said = self.tokens[have:to].tolist(), self.speakers[have:to]
        return Part(have, *said, ending, self.logprobs[have:to])

    async def _news(self) -> None:
        news = asyncio.get_running_loop().create_future()
        self._waiting.add(news)
        try:
            await news
        finally:
            self._waiting.discard(news)

    def _tell(self) -> None:
        for news in self._waiting:
            if not news.done():
                news.set_result(None)
