"""The routes of OpenAI's API: a body in, the core asked, its answers out."""

import asyncio
import time
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from ringroad.actors.errors import InvalidField
from ringroad.actors.gateway.generation import Generation
from ringroad.actors.gateway.keys import Keys, Scope
from ringroad.actors.gateway.openai.answers import Answers, ChatAnswers, CompletionAnswers
from ringroad.actors.gateway.openai.asking import Asked
from ringroad.actors.gateway.openai.bodies import ChatBody, CompletionBody, read
from ringroad.actors.gateway.openai.callers import Collector, Reader
from ringroad.actors.gateway.openai.errors import failure_of
from ringroad.actors.gateway.tenants import Tenant

_PREFIX = "/v1/"


class OpenAi:
    """Models, chat completions and completions."""

    def __init__(self, generation: Generation, keys: Keys) -> None:
        self._generation = generation
        self._keys = keys
        self._offer = generation.offer
        self._began = int(time.time())

    @property
    def routes(self) -> list[web.RouteDef]:
        """Of `Web`, under `errors`."""
        return [
            web.get("/v1/models", self._models),
            web.get("/v1/models/{name:.+}", self._model),
            web.post("/v1/chat/completions", self._chat),
            web.post("/v1/completions", self._completion),
        ]

    async def _models(self, http: web.Request) -> web.Response:
        self._tenant(http)
        return _json({"object": "list", "data": [self._pair()]})

    async def _model(self, http: web.Request) -> web.Response:
        self._tenant(http)
        if http.match_info["name"] != self._offer.pair.name:
            raise InvalidField("model", f"is not served here; {self._offer.pair.name!r} is")
        return _json(self._pair())

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        tenant = self._tenant(http)
        asked = Asked.chat(read(ChatBody, await _body(http)))
        return await self._answer(http, tenant, asked, ChatAnswers)

    async def _completion(self, http: web.Request) -> web.StreamResponse:
        tenant = self._tenant(http)
        asked = Asked.completion(read(CompletionBody, await _body(http)))
        return await self._answer(http, tenant, asked, CompletionAnswers)

    def _tenant(self, http: web.Request) -> Tenant:
        return self._keys.tenant(http.headers.get("Authorization"), Scope.GENERATE)

    async def _answer(
        self, http: web.Request, tenant: Tenant, asked: Asked, kind: type[Answers]
    ) -> web.StreamResponse:
        answers = kind(
            self._offer.pair.name,
            self._offer.tokenizer,
            include_usage=asked.include_usage,
            extended=asked.extended,
        )
        if not asked.stream:
            collector = Collector(tenant, answers, asked.timeout)
            await self._generate(asked, collector)
            return collector.response()
        reader = Reader(http, tenant, answers, asked.timeout)
        try:
            await self._generate(asked, reader)
        except ConnectionError:
            raise
        except Exception as error:
            if reader.response is None:
                raise
            await reader.fail(failure_of(error))
        assert reader.response is not None
        return reader.response

    async def _generate(self, asked: Asked, caller: Reader | Collector) -> None:
        try:
            async with asyncio.timeout(asked.timeout):
                await self._generation.generate(asked.request, caller)
        except InvalidField as error:
            raise asked.named(error) from error

    def _pair(self) -> dict[str, Any]:
        pair = self._offer.pair
        return {
            "id": pair.name,
            "object": "model",
            "created": self._began,
            "owned_by": "ringroad",
            "ringroad": {
                "large": pair.large,
                "small": pair.small,
                "context_length": pair.context_length,
                "vocabulary": pair.vocabulary,
                "modes": list(pair.modes),
                "default_mode": self._offer.default_mode,
                "policies": dict(self._offer.policies.thresholds),
                "default_policy": self._offer.policies.default,
                "default_max_tokens": self._offer.default_max_tokens,
            },
        }


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever is wrong under /v1/ is said in OpenAI's shape."""
    if not request.path.startswith(_PREFIX):
        return await handler(request)
    try:
        return await handler(request)
    except ConnectionError:  # the client has left
        raise
    except Exception as error:  # noqa: BLE001 - the edge
        return failure_of(error).response()


async def _body(http: web.Request) -> bytes:
    """Raises HTTPUnsupportedMediaType: other kinds a page of another site could send without asking."""
    if http.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="Content-Type must be application/json")
    return await http.read()


def _json(said: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(said), content_type="application/json")
