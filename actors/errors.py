"""What can be wrong with a request, by name: raised by rooms, turned into a status by the gateway."""

import traceback


def traced(error: BaseException | None) -> str:
    """The kind of an error that nobody meant, and where it came from: what a log may say of it. Its own words
    may quote a user's text."""
    if error is None:
        return "nothing"
    return f"{type(error).__qualname__}\n{''.join(traceback.format_tb(error.__traceback__))}"


class RingroadError(Exception):
    """Anything Ringroad raises on purpose."""


class InvalidField(RingroadError):
    """A request's field holds what cannot be served. `field` is its path, as in `sampling.top_p`."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class Unavailable(RingroadError):
    """The cluster cannot serve this now; the same request may succeed later."""


class TooBusy(RingroadError):
    """Every place is taken and so is the queue. `retry_seconds` is when to ask again."""

    def __init__(self, problem: str, retry_seconds: float) -> None:
        super().__init__(problem)
        self.retry_seconds = retry_seconds


class QuotaExceeded(RingroadError):
    """A tenant has used up what it may. `quota` is the limit's name, as `Tenant` has it; `retry_seconds` is
    when to ask again."""

    def __init__(self, tenant: str, quota: str, limit: float, retry_seconds: float) -> None:
        super().__init__(f"{quota}: the limit of {limit:g} is reached")
        self.tenant = tenant
        self.quota = quota
        self.retry_seconds = retry_seconds


class CacheFull(RingroadError):
    """No block of a role's cache can be freed: sessions hold them all."""


class ModelError(RingroadError):
    """A model's files are missing, damaged or of a kind no engine here runs."""
