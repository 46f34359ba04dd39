"""How the ledger's entries are called. A request's share a hash tag: a Redis cluster keeps them together."""

from hashlib import blake2b
from typing import NamedTuple

_PREFIX = "ringroad"


class Keys(NamedTuple):
    """Of one request."""

    record: str
    text: str  # a stream of pieces; see pieces.py
    owner: str  # the gateway that generates it
    others: str  # a set of gateways that generate it though it is not theirs


def of_request(request_id: str) -> Keys:
    """Clients choose the names of requests: none of them is in a key."""
    tag = f"{_PREFIX}:{{{blake2b(request_id.encode(), digest_size=16).hexdigest()}}}"
    return Keys(f"{tag}:record", f"{tag}:text", f"{tag}:owner", f"{tag}:others")


def lease(gateway: str) -> str:
    """There as long as the gateway is."""
    return f"{_PREFIX}:gateway:{{{gateway}}}:lease"


def aborts(gateway: str) -> str:
    """A list of the requests that others want this gateway to end."""
    return f"{_PREFIX}:gateway:{{{gateway}}}:aborts"


def bucket(tenant: str) -> str:
    """What a tenant may use of tokens just now."""
    return f"{_PREFIX}:tenant:{{{tenant}}}:tokens"


def streams(tenant: str) -> str:
    """How many streams each gateway reads for it."""
    return f"{_PREFIX}:tenant:{{{tenant}}}:streams"
