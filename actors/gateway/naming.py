"""Which generation a request means: its name, what it says, and where to read on."""

import hashlib
import re
import secrets

from ringroad.actors.errors import InvalidField, RingroadError
from ringroad.v1 import inference_pb2

MAX_SALT_CHARACTERS = 256
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Duplicate(RingroadError):
    """Another request has this name."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request_id {told(request_id)} is that of another request")


class Unknown(RingroadError):
    """Nobody knows a request of this name, or nobody does any more."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"no request {told(request_id)} is known")


def request_id_of(request: inference_pb2.GenerateRequest) -> str:
    """The client's name for the request, or one made here. Raises InvalidField."""
    request_id = request.request_id or secrets.token_hex(8)
    if not _REQUEST_ID.fullmatch(request_id):
        raise InvalidField("request_id", "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")
    return request_id


def name_of(tenant: str, request_id: str) -> str:
    """What a request is called within: whatever one tenant calls its own is no other's."""
    return f"{tenant}/{request_id}" if tenant else request_id


def told(name: str) -> str:
    """What its client calls a request of this name."""
    return name.rpartition("/")[2]


def salt_of(tenant: str, cache_salt: str) -> bytes:
    """Names those whose texts may share what was computed of them; empty: who has neither tenant nor salt.
    Raises InvalidField."""
    if len(cache_salt) > MAX_SALT_CHARACTERS:
        raise InvalidField("cache_salt", f"is longer than {MAX_SALT_CHARACTERS} characters")
    if not tenant and not cache_salt:
        return b""
    both = f"{tenant}/{cache_salt}".encode()
    return hashlib.blake2b(both, digest_size=16, person=b"ringroad-salt").digest()


def digest_of(request: inference_pb2.GenerateRequest) -> bytes:
    """Two requests of one name are the same request if this is the same."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


def resumed_from(request: inference_pb2.GenerateRequest) -> int:
    """The first token that is still to be sent. Raises InvalidField for whatever else is asked."""
    if not request.request_id:
        raise InvalidField("request_id", "must name the request to resume")
    for field, _ in request.ListFields():
        if field.name not in ("request_id", "resume", "resumable"):
            raise InvalidField(field.name, "cannot be set together with resume")
    return request.resume.next_offset
