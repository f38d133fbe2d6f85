"""GraphiQL, as it was built into `static/graphiql`: a page and its parts, with no source but this server."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from backend.errors import OPERATOR, Code
from backend.web.pages import graphiql_unbuilt

BUILT = Path(__file__).parent / "static" / "graphiql"
PAGE = "index.html"
PLACE = "%SELVEDGE%"
"""Where the page reads what the server tells it."""
MEDIA_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".woff2": "font/woff2",
}
"""What a part may be; the file names of a build end in nothing else."""
FOR_GOOD = "public, max-age=31536000, immutable"
"""The name of a part holds the hash of its bytes, and there is nothing in it that is anybody's."""
POLICY = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # the editor sizes its lines by styles of their own
        "img-src 'self' data:",
        "font-src 'self' data:",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

People = Callable[[], Awaitable[Sequence[Mapping[str, str]]]]
"""Whom a newcomer may sign in as: email, name and role of each; nobody outside the demo company."""


class GraphiQL:
    """Answers the page and its parts; where it is closed, nothing."""

    def __init__(self, people: People, *, is_open: bool, password: str, folder: Path = BUILT) -> None:
        self._people = people
        self._open = is_open
        self._password = password
        built = (folder / PAGE).is_file()
        self._page = (folder / PAGE).read_text("utf-8") if built else None
        parts = sorted((folder / "assets").iterdir()) if built else []
        self._parts = {part.name: part for part in parts if part.suffix in MEDIA_TYPES}

    async def page(self, request: Request) -> Response:
        if not self._open:
            return _closed()
        if self._page is None:
            return HTMLResponse(graphiql_unbuilt(str(request.base_url).rstrip("/")), headers=_headers())
        people = [dict(person) for person in await self._people()]
        told = json.dumps({"people": people, "password": self._password} if people else {})
        return HTMLResponse(self._page.replace(PLACE, escape(told)), headers=_headers())

    async def part(self, request: Request) -> Response:
        path = self._parts.get(request.path_params["name"]) if self._open else None
        if path is None:
            return _closed()
        headers = {"cache-control": FOR_GOOD}
        return Response(path.read_bytes(), headers=headers, media_type=MEDIA_TYPES[path.suffix])


def is_built(folder: Path = BUILT) -> bool:
    return (folder / PAGE).is_file()


def _headers() -> dict[str, str]:
    return {"content-security-policy": POLICY, "content-language": "en"}


def _closed() -> Response:
    problem = {"message": OPERATOR[Code.NOT_FOUND], "extensions": {"code": Code.NOT_FOUND.value}}
    return JSONResponse({"errors": [problem]}, 404)
