"""What a client reads of one request: chunks become deltas, and at last a final."""

import time
from collections.abc import Sequence

from ringroad.actors.errors import Unavailable
from ringroad.actors.gateway.answers import Tally, delta_of, final_of
from ringroad.actors.gateway.text import StoppingText
from ringroad.actors.messages import Chunk, Counts, Finish, Speaker, Submit
from ringroad.actors.tokenizer import Tokenizer
from ringroad.v1 import inference_pb2


class Answer:
    """`received` is the monotonic time of the request, in seconds."""

    def __init__(self, submit: Submit, stops: Sequence[str], tokenizer: Tokenizer, received: float) -> None:
        self.stopped = False  # by a stop string: nothing more will be sent
        self._submit = submit
        self._text = StoppingText(tokenizer, stops)
        self._tally = Tally(received)

    def delta(self, chunk: Chunk) -> inference_pb2.GenerateResponse | None:
        """What to send for a chunk, if anything."""
        if self.stopped:
            return None
        text, taken, self.stopped = self._text.push(chunk.tokens)
        if chunk.finish is not None and not self.stopped:
            tail = self._text.finish()
            text += tail.text
            self.stopped = tail.stopped
        if not taken and not text:
            return None
        tokens, speakers = chunk.tokens[:taken], chunk.speakers[:taken]
        delta = delta_of(text, tokens, self._tally.sent, speakers)
        if self._tally.first_token is None:
            self._tally.first_token = time.monotonic()
        self._tally.sent += taken
        self._tally.large += speakers.count(Speaker.LARGE)
        return delta

    def final(self, last: Chunk) -> inference_pb2.GenerateResponse:
        """The terminal message. Raises Unavailable when the cluster failed before anything was sent."""
        finish = Finish.STOP if self.stopped or last.finish is None else last.finish
        if finish is Finish.ERROR and self._tally.first_token is None:
            raise Unavailable(last.error or "the cluster failed")
        error = last.error if finish is Finish.ERROR else ""
        counts = last.counts or Counts()
        return final_of(self._submit, finish, error, self._tally, counts, time.monotonic())
