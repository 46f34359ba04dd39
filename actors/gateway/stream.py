"""What a client reads of one request: parts become deltas, and at last a final."""

from ringroad.actors.errors import InvalidField, Unavailable
from ringroad.actors.gateway.answers import delta_of, final_of
from ringroad.actors.gateway.text import text_of
from ringroad.actors.ledger.ledger import Ending, Part, Record
from ringroad.actors.messages import Finish, Logprob, Speaker
from ringroad.actors.tokenizer import Tokenizer
from ringroad.v1 import inference_pb2


class Answer:
    """The stream from one of the text's tokens on.

    The text of the first n tokens is a function of these, so a stream that begins at n begins where another
    was cut behind n tokens: what precedes is read as well and not sent. A token behind which text is held
    back is itself held back, for with the end the rest of its text would come.
    """

    def __init__(self, record: Record, tokenizer: Tokenizer, next_offset: int = 0, sample: int = 0) -> None:
        """Raises InvalidField where no such token can be asked for."""
        self.have = 0  # tokens taken in
        self.begun = next_offset > 0  # the client has some of the text
        self._sample = sample
        self._record = record
        self._tokenizer = tokenizer
        self._text = text_of(record, tokenizer)
        self._next = next_offset  # of the next token to send
        self._tokens: list[int] = []  # not sent yet, and who spoke them
        self._speakers: list[Speaker] = []
        self._logprobs: list[Logprob] = []
        self._text_before, self._text_last = "", ""  # that these complete: all but the last one, and the last
        if next_offset > record.submit.max_tokens:
            raise InvalidField("resume.next_offset", f"is beyond max_tokens, {record.submit.max_tokens}")

    def delta(self, part: Part) -> inference_pb2.GenerateResponse | None:
        """What to send for a part, if anything. Raises InvalidField where the text had ended before."""
        self.have = part.offset + len(part.tokens)
        tokens, speakers, logprobs = part.tokens, part.speakers, part.logprobs
        if (passed := self._next - part.offset) > 0:  # the client has these
            self._text.push(tokens[:passed])
            tokens, speakers, logprobs = tokens[passed:], speakers[passed:], logprobs[passed:]
        if tokens:
            self._text_before += self._text_last
            if len(tokens) > 1:
                self._text_before += self._text.push(tokens[:-1]).text
            self._text_last = self._text.push(tokens[-1:]).text
            self._tokens += tokens
            self._speakers += speakers
            self._logprobs += logprobs
        if part.ending is not None:
            self._check(part.ending)
            self._text_last += self._text.finish().text
        return self._send(holding=part.ending is None and self._text.pending)

    def _send(self, holding: bool) -> inference_pb2.GenerateResponse | None:
        count = len(self._tokens) - holding
        if count <= 0:
            return None
        text = self._text_before if holding else self._text_before + self._text_last
        said = self._tokens[:count], self._next, self._speakers[:count], self._logprobs[:count]
        delta = delta_of(text, *said)
        if self._sample:
            delta.delta.sample = self._sample
        if self._record.echo and self._next == 0:
            prompt = self._record.submit.prompt
            delta.delta.prompt = self._tokenizer.decode(prompt)
            delta.delta.prompt_token_ids.extend(prompt)
        del self._tokens[:count], self._speakers[:count], self._logprobs[:count]
        self._text_before, self._text_last = "", self._text_last if holding else ""
        self._next += count
        self.begun = True
        return delta

    def final(self, ending: Ending) -> inference_pb2.GenerateResponse:
        """The terminal message. Raises Unavailable when the cluster failed before anything was sent."""
        if ending.finish is Finish.ERROR and not self.begun:
            raise Unavailable(ending.error or "the cluster failed")
        return final_of(self._record.submit, ending)

    def _check(self, ending: Ending) -> None:
        # One that was cut short may have lost, with its gateway, tokens that the client has.
        whole = ending.finish in (Finish.STOP, Finish.LENGTH)
        if whole and self._next > ending.length:
            raise InvalidField("resume.next_offset", f"is beyond the text, which has {ending.length} tokens")
