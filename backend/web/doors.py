"""Doors beside GraphQL: who stands before one, what he brings within bounds, and how he is told no.

A door is a function from a `Visit` to an answer. `Doors.answer` finds out who asks, calls the door, and turns
a refusal into JSON in the reader's language with a status of its own. What nobody expected goes on to `app.Edge`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from backend.admission import Admission
from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.devices import DeviceState, unread
from backend.domain.messages import Catalogue, render_problem
from backend.domain.rates import retry_after_seconds
from backend.domain.wishes import accepted_locale
from backend.errors import Code, Problem, Refused, refuse_if
from backend.sync.counted import count_refused
from backend.sync.poke import Standings
from backend.sync.protocol import check_streaming
from backend.telemetry import name_caller
from backend.usecases.sessions import Sessions, Standing

ACTIVE = "ACTIVE"
WHOLE_NUMBER_DIGITS_MAX = 19
RETRY_AFTER_SECONDS = 5
STATUS_OF: Mapping[Code, int] = {
    Code.UNAUTHENTICATED: 401,
    Code.TOKEN_EXPIRED: 401,
    Code.SIGN_IN_FAILED: 401,
    Code.PROVIDER_UNAVAILABLE: 503,
    Code.NOT_PERMITTED: 403,
    Code.DEVICE_REVOKED: 403,
    Code.DEVICE_WIPED: 403,
    Code.DEVICE_DRAINING: 403,
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.ID_TAKEN: 409,
    Code.INVALID_TRANSITION: 409,
    Code.MUTATION_ID_REUSED: 409,
    Code.DELETED: 410,
    Code.CURSOR_EXPIRED: 410,
    Code.UPLOAD_OFFSET: 409,
    Code.NOT_EDITABLE: 409,
    Code.NOT_UPLOADED: 404,
    Code.TOO_LARGE: 413,
    Code.FILE_TYPE_MISMATCH: 415,
    Code.FILE_HASH_MISMATCH: 422,
    Code.UPLOAD_QUOTA: 429,
    Code.RATE_LIMITED: 429,
    Code.STORAGE_FULL: 507,
    Code.UPGRADE_REQUIRED: 426,
    Code.BUSY: 503,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}
"""What is not named here is 400."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request, and who stands behind it."""

    request: Request
    principal: Principal
    device_state: str
    locale: str


Door = Callable[[Visit], Awaitable[Response]]


class CutOff(Refused):
    """The sender of a request may not be here any more, and whatever else he sends of it is not waited for."""


class Doors:
    """What every door shares. One per process."""

    def __init__(
        self,
        sessions: Sessions,
        admission: Admission,
        *,
        settings: Settings,
        messages: Catalogue,
        standings: Standings,
    ) -> None:
        self.settings = settings
        self._standings = standings
        self._admission = admission
        self.ending = asyncio.Event()
        """set when the server is about to stop: long answers break off"""
        self._sessions = sessions
        self._messages = messages

    async def answer(
        self, request: Request, door: Door, *, syncing: bool = True, draining: bool = False, large: bool = False
    ) -> Response:
        """The door's answer, or why not. `syncing`: only roles that sync, on a device. `draining`: a device that may
        only hand in what it holds may come in too. `large`: what takes a place of large work to begin."""
        locale = accepted_locale(request.headers.get("accept-language"))
        try:
            visit = await self.visit(request, syncing=syncing, draining=draining)
            locale = visit.locale
            if not large:
                return await door(visit)
            async with self._admission.places.place(large=True):
                return await door(visit)
        except Refused as refused:
            return self.refusal(refused, locale)

    async def visit(self, request: Request, *, syncing: bool = True, draining: bool = False) -> Visit:
        """Who asks. Raises `Refused`: UNAUTHENTICATED, TOKEN_EXPIRED, DEVICE_REVOKED, DEVICE_WIPED,
        DEVICE_DRAINING, NOT_PERMITTED."""
        standing = await self._standing(request.headers.get("authorization"))
        _check(standing, syncing=syncing, draining=draining)
        asking = standing.principal
        name_caller(user_id=asking.user_id, device_id=asking.device_id, service_id=asking.service_id)
        self._admission.caller_asks(standing.principal)
        return Visit(request, standing.principal, standing.device_state, standing.principal.locale)

    async def look_again(self, visit: Visit, *, syncing: bool = True, draining: bool = False) -> None:
        """Within a long answer: raise what a new request of the same caller would be refused with."""
        standing = await self._standing(visit.request.headers.get("authorization"))
        _check(standing, syncing=syncing, draining=draining)

    async def as_long_as_here(
        self, visit: Visit, parts: AsyncIterator[bytes], *, syncing: bool = True, draining: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """What comes of a long request, as long as its sender may be here: he is asked for again when told to.

        Raises `CutOff` with what a new request of the same caller would be refused with, though nothing more comes.
        """
        with self._standings.watch(visit.principal.user_id) as changed:
            told = asyncio.ensure_future(changed.wait())
            coming = asyncio.ensure_future(anext(parts, None))
            try:
                while True:
                    await asyncio.wait({coming, told}, return_when=asyncio.FIRST_COMPLETED)
                    if told.done():
                        changed.clear()
                        told = asyncio.ensure_future(changed.wait())
                        try:
                            await self.look_again(visit, syncing=syncing, draining=draining)
                        except Refused as refused:
                            raise CutOff(*refused.problems) from None
                    if not coming.done():
                        continue
                    if (part := coming.result()) is None:
                        return
                    yield part
                    coming = asyncio.ensure_future(anext(parts, None))
            finally:
                coming.cancel()
                told.cancel()
                await asyncio.wait({coming, told})
                if not coming.cancelled():
                    coming.exception()  # what it says does not matter any more

    def refusal(self, refused: Refused, locale: str) -> Response:
        """The answer that says no, with every problem and a status by the first."""
        count_refused(refused.problems, "door")
        code = refused.problems[0].code
        status = STATUS_OF.get(code, 400)
        headers = {"content-language": locale, "vary": "Accept-Language, Authorization"}
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        if status in (503, 507):
            headers["retry-after"] = str(RETRY_AFTER_SECONDS)
        if (seconds := retry_after_seconds(refused)) is not None:
            headers["retry-after"] = str(seconds)
        return json_answer(self.refusal_json(refused, locale), status, headers)

    def refusal_json(self, refused: Refused, locale: str) -> dict[str, Any]:
        """A refusal as JSON: `{"errors": [{"message", "extensions": {code, path, allowed, retry, params}}]}`."""
        return {"errors": [self._problem_json(problem, locale) for problem in refused.problems]}

    def _problem_json(self, problem: Problem, locale: str) -> dict[str, Any]:
        return {
            "message": render_problem(self._messages, problem, locale),
            "extensions": {
                "code": problem.code.value,
                "path": list(problem.path),
                "allowed": list(problem.allowed),
                "retry": problem.retry.value,
                "params": dict(problem.params),
            },
        }

    async def _standing(self, authorization: str | None) -> Standing:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise Refused(Problem(Code.UNAUTHENTICATED))
        return await self._sessions.standing(token.strip())

    async def body(self, request: Request, *, bytes_max: int | None = None) -> bytes:
        """The whole body, within `bytes_max` (default: the setting) and the seconds a request may take to arrive.

        Raises `Refused`: TOO_LARGE, or BAD_REQUEST for one that ends early or takes too long.
        """
        most = self.settings.body_bytes_max if bytes_max is None else bytes_max
        check_stated_bytes(request, most)
        body = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_seconds_max):
                async for chunk in request.stream():
                    request.state.share.add(len(chunk))
                    body += chunk
                    if len(body) > most:
                        raise Refused(Problem(Code.TOO_LARGE, (), (str(most),)))
        except (TimeoutError, ClientDisconnect):
            raise Refused(Problem(Code.BAD_REQUEST)) from None
        return bytes(body)


def _check(standing: Standing, *, syncing: bool, draining: bool) -> None:
    if not draining and (problem := unread(DeviceState(standing.device_state))):
        raise Refused(problem)
    if syncing:
        check_streaming(standing.principal)


def check_stated_bytes(request: Request, bytes_max: int) -> None:
    """Raise TOO_LARGE for a body that says itself that it is, before any of it is read."""
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated[:WHOLE_NUMBER_DIGITS_MAX]) > bytes_max:
        raise Refused(Problem(Code.TOO_LARGE, (), (str(bytes_max),)))


def query_of(request: Request, characters_max: Mapping[str, int]) -> dict[str, str]:
    """The query's parameters, of those named with the most characters of each.

    Raises `Refused` with all problems: UNKNOWN_FIELD, INVALID_VALUE for one given twice, TOO_LONG.
    """
    found: dict[str, str] = {}
    problems = []
    for name, value in request.query_params.multi_items():
        if name not in characters_max:
            problems.append(Problem(Code.UNKNOWN_FIELD, (name[:100],), tuple(characters_max)))
        elif name in found:
            problems.append(Problem(Code.INVALID_VALUE, (name,)))
        elif len(value) > characters_max[name]:
            problems.append(Problem(Code.TOO_LONG, (name,), (str(characters_max[name]),)))
        found[name] = value
    refuse_if(problems)
    return found


def whole_number(query: Mapping[str, str], name: str, *, default: int, least: int, most: int) -> int:
    """A parameter as a whole number within bounds. Raises `Refused`: INVALID_VALUE, OUT_OF_RANGE."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= WHOLE_NUMBER_DIGITS_MAX):
        raise Refused(Problem(Code.INVALID_VALUE, (name,), ("integer",)))
    if not least <= int(text) <= most:
        raise Refused(Problem(Code.OUT_OF_RANGE, (name,), (str(least), str(most))))
    return int(text)


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, dict(headers or {}), "application/json; charset=utf-8")
