"""One request between this gateway and its router."""

import asyncio

import msgspec

from ringroad.actors.messages import Chunk, Finish, Submit


class Session:
    """A request's chunks on their way to its client.

    Chunks that pile up while the client is slow are handed out as one, so what is held is never
    more than the request's own tokens.
    """

    def __init__(self, submit: Submit) -> None:
        self.submit = submit
        self.placed_at: float | None = None  # seconds of the event loop's clock; None: in line
        self.turn = asyncio.Event()  # the wait in line is over
        self.cancelled = False  # the router was told
        self.ended = False
        self.settling: asyncio.TimerHandle | None = None
        self._chunks: list[Chunk] = []
        self._next = 0  # offset of the next token
        self._news = asyncio.Event()

    def put(self, chunk: Chunk) -> None:
        """Takes a chunk in; repeated tokens and whatever follows the last chunk are dropped."""
        if self.ended:
            return
        if chunk.offset > self._next:
            chunk = self._last(Finish.ERROR, "tokens were lost on the way")
        elif known := min(self._next - chunk.offset, len(chunk.tokens)):
            chunk = msgspec.structs.replace(
                chunk, offset=self._next, tokens=chunk.tokens[known:], speakers=chunk.speakers[known:]
            )
        self._next += len(chunk.tokens)
        self.ended = chunk.finish is not None
        self._chunks.append(chunk)
        self._news.set()

    def end(self, finish: Finish, error: str = "") -> None:
        """Ends the session from this side, unless it has ended."""
        self.put(self._last(finish, error))

    async def get(self) -> Chunk:
        """All that has come since the last call, as one; waits for something to come."""
        await self._news.wait()
        self._news.clear()
        chunks, self._chunks = self._chunks, []
        if len(chunks) == 1:
            return chunks[0]
        return msgspec.structs.replace(
            chunks[-1],
            offset=chunks[0].offset,
            tokens=[token for chunk in chunks for token in chunk.tokens],
            speakers=[speaker for chunk in chunks for speaker in chunk.speakers],
        )

    def _last(self, finish: Finish, error: str) -> Chunk:
        return Chunk(self.submit.session, self._next, [], [], finish=finish, error=error)
