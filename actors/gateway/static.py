"""Files that a browser gets as they are: few and small, so they are read once and kept."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

PAGE = Path(__file__).parent / "page"
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    # Nothing from elsewhere, nothing inline, no markup made of strings, and nobody's frame.
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # kept, and asked for again by its ETag: a new release is seen at once
}

_Handler = Callable[[web.Request], Awaitable[web.Response]]


def page_routes(folder: Path = PAGE) -> list[web.RouteDef]:
    """The page at "/", its parts below "/page/". Raises KeyError for a kind of file that is not known."""
    parts = sorted(path for path in folder.iterdir() if path.name != _INDEX)
    routes = [web.get("/", _file(folder / _INDEX))]
    return routes + [web.get(f"/page/{path.name}", _file(path)) for path in parts]


def _file(path: Path) -> _Handler:
    body, kind = path.read_bytes(), _TYPES[path.suffix]
    tag = hashlib.sha256(body).hexdigest()[:32]

    async def handler(request: web.Request) -> web.Response:
        if any(known.value in (tag, "*") for known in request.if_none_match or ()):
            response = web.Response(status=304, headers=_HEADERS)
        else:
            response = web.Response(body=body, content_type=kind, charset="utf-8", headers=_HEADERS)
        response.etag = tag
        return response

    return handler
