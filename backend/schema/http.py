"""GraphQL over HTTP: from a request to a document, a caller and an answer.

The answer's form is negotiated: `application/graphql-response+json` tells by its status whether the request ran,
`application/json` answers 200 to every well-formed request, as older clients expect. Whatever is not a
well-formed request is answered 4xx and never reaches the executor. Source: GraphQL over HTTP, working draft.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from hashlib import sha256
from typing import Any

import orjson
import strawberry
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
)
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from backend.admission import Admission, is_large, within
from backend.auth.principal import Principal, kind_of
from backend.config import Settings
from backend.domain.messages import LOCALE_DEFAULT, Catalogue, render_problem
from backend.domain.rates import address_key, retry_after_seconds
from backend.domain.wishes import HEADER_CHARACTERS_MAX, accepted_locale, quality_of
from backend.errors import OPERATOR, Code, Problem, Refused
from backend.schema.context import Context
from backend.schema.deprecations import NAMELESS, Client, Deprecations, client_of
from backend.schema.errors import errors_json, refusal_extensions, refusal_message
from backend.schema.execute import Documents, Prepared, core_schema, document_hash, encode, run, subscribe
from backend.schema.introspection import SchemaAnswers, is_about_schema
from backend.schema.limits import Limits, Weight
from backend.schema.refusals import LATER_SECONDS, later_seconds
from backend.schema.rxdb import PUSH_FIELDS
from backend.sync.poke import Standings
from backend.telemetry import counter, name_caller
from backend.tracing import TRACES
from backend.usecases.sessions import Sessions, Standing

GRAPHQL_TYPE = "application/graphql-response+json"
JSON_TYPE = "application/json"
OPEN_FIELDS = frozenset(
    {"signIn", "refresh", "signOut", "acknowledgeWipe", "rescueKey", "__schema", "__type", "__typename"}
    | {"beginOidcSignIn", "signInWithOidc", "resetPassword"}
)
"""Root fields for which nobody needs to have signed in."""
DRAINING_FIELDS = OPEN_FIELDS | {"me", "serverTime", "syncPush", "syncReport", "watermelonPush"} | PUSH_FIELDS
"""Root fields for a device that may hand in what it holds and nothing else."""
STATUS_OF: Mapping[Code, int] = {
    Code.UNAUTHENTICATED: 401,
    Code.TOKEN_EXPIRED: 401,
    Code.DEVICE_REVOKED: 403,
    Code.DEVICE_DRAINING: 403,
    Code.DEVICE_WIPED: 403,
    Code.TOO_LARGE: 413,
    Code.RATE_LIMITED: 429,
    Code.BUSY: 503,
    Code.UNAVAILABLE: 503,
    Code.STORAGE_FULL: 507,
    Code.INTERNAL: 500,
}
"""Statuses of what stops a request before it runs; all else is 400."""
READING_METHODS = ("GET", "HEAD")
"""HTTP says of both that nothing is changed by them, whatever they carry."""
COST_HEADER = "x-query-cost"
"""Whoever sends it, whatever it says, is told what the request cost in `extensions.cost`."""
ANSWER_VARIES = "Accept, Accept-Language, Authorization"
"""Headers of a request that its answer depends on."""
TAG_CHARACTERS = 32
HEADERS_KEPT_MAX = 100
"""Wordings of a header of which it is remembered what they say."""
ANSWERED_AT_ONCE = (OperationType.QUERY, OperationType.MUTATION)

UNTRUSTED = "untrusted"
TRUSTED_NAMES_MAX = 500
_OPERATIONS = counter(
    "graphql_operations",
    "operations that were run, by kind and, of trusted documents, by name",
    kind=[kind.value for kind in OperationType],
    name=TRUSTED_NAMES_MAX,
)

MakeContext = Callable[[Standing | None, str], Context]
"""What a request's resolvers are handed, for who asks and in which language."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A well-formed request: a text, or the hash of one."""

    text: str | None
    operation_name: str | None
    variables: Mapping[str, Any]
    document_hash: str | None = None
    """of a trusted document, where there is no text"""
    body_bytes: int = 0
    client: Client = NAMELESS


class Malformed(Exception):
    """The request is not a GraphQL request. `status` says in which way."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: Code = Code.BAD_REQUEST,
        allow: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = {**(headers or {}), **({"allow": allow} if allow else {})}


class Unrun(Exception):
    """A well-formed request that was not run, with what to answer.

    `always` says that its status holds for clients that look for 200 too.
    """

    def __init__(
        self, status: int, result: Mapping[str, Any], *, always: bool = False, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status)
        self.status = status
        self.result = result
        self.always = always
        self.headers = headers


class GraphQLEdge:
    """Answers GraphQL requests: those of one path, and the operations of connections that stay open."""

    def __init__(
        self,
        schema: strawberry.Schema,
        documents: Documents,
        limits: Limits,
        sessions: Sessions,
        standings: Standings,
        admission: Admission,
        *,
        settings: Settings,
        messages: Catalogue,
        make_context: MakeContext,
    ) -> None:
        self._schema = schema
        self._documents = documents
        self._limits = limits
        self._sessions = sessions
        self.standings = standings
        self.admission = admission
        self._settings = settings
        self._messages = messages
        self._make_context = make_context
        self._schema_answers = SchemaAnswers(schema, settings)
        self.deprecations = Deprecations(core_schema(schema), documents_max=settings.document_cache_entries_max)

    async def answer(self, request: Request) -> Response:
        """The answer to a GET or POST; never raises for what a client sent."""
        headers = _headers_of(request)
        media_type = answered_type(headers.get("accept"))
        if media_type is None:
            return _respond(error_result(Code.BAD_REQUEST, f"wanted: {GRAPHQL_TYPE} or {JSON_TYPE}"), 406, JSON_TYPE)
        try:
            asked = await self.asked(request, headers)
        except Malformed as malformed:
            return malformed_response(malformed, media_type)
        standing, refused = await self.who(headers.get("authorization"))
        locale = _locale(standing, headers.get("accept-language"))
        reading = request.method in READING_METHODS
        try:
            prepared, operation, weight = self._ready(
                asked, standing, refused, locale, (OperationType.QUERY,) if reading else ANSWERED_AT_ONCE
            )
        except Unrun as unrun:
            return unrun_response(unrun, media_type, locale)
        context = self._make_context(standing, locale)
        context.address = address_key(request.client.host) if request.client else ""
        try:
            async with self.admission.places.place(large=is_large(weight.cost, asked.body_bytes)):
                result = await self._run(context, prepared, operation, asked)
        except Refused as busy:
            return unrun_response(self._turned_away(busy, locale), media_type, locale)
        if COST_HEADER in headers:
            result = {**result, "extensions": {"cost": self._told_cost(weight, prepared, operation)}}
        status = 200 if "data" in result else _status(400, media_type)
        response = _respond(result, status, media_type, locale=locale)
        after_seconds = context.retry_after_seconds or later_seconds(_codes_of(result))
        if after_seconds is not None:
            response.headers["retry-after"] = str(after_seconds)
        if reading and "errors" not in result:
            return _unless_held(response, headers.get("if-none-match"), standing)
        return response

    async def _run(
        self, context: Context, prepared: Prepared, operation: OperationDefinitionNode, asked: Asked
    ) -> dict[str, Any]:
        with TRACES.span(
            "operation", kind=operation.operation.value, name=_name_to_count(prepared, operation), document=prepared.key
        ):
            document = prepared.document
            assert document is not None
            if is_about_schema(operation, lambda: root_fields(document, operation)):
                return await self._schema_answers.answer(context, prepared, asked.variables, asked.operation_name)
            return await run(self._schema, context, prepared, asked.variables, asked.operation_name)

    async def answers(
        self,
        asked: Asked,
        authorization: str | None,
        language: str | None,
        *,
        kinds: Collection[OperationType],
        connected_clock: int | None = None,
        address: str = "",
    ) -> AsyncGenerator[dict[str, Any] | None, None]:
        """The answers to an operation on a connection that stays open: one, or one per event of a subscription.

        Now and then None, when nothing happened for a while and the caller still may. An answer without `data` is
        the last. Raises `Unrun` before anything has run.
        """
        standing, refused = await self.who(authorization)
        locale = _locale(standing, language)
        prepared, operation, weight = self._ready(asked, standing, refused, locale, kinds)
        context = self._make_context(standing, locale)
        context.address = address
        if operation.operation is not OperationType.SUBSCRIPTION:
            try:
                async with self.admission.places.place(large=is_large(weight.cost, asked.body_bytes)):
                    result = await self._run(context, prepared, operation, asked)
            except Refused as busy:
                raise self._turned_away(busy, locale) from None
            yield result
            return

        async def look_again() -> Principal | None:
            still, reason = await self.who(authorization)
            if shut := _shut(prepared, operation, still, reason):
                raise shut[1]
            return still.principal if still else None

        context.look_again, context.connected_clock = look_again, connected_clock
        with self.standings.watch(standing.principal.user_id if standing else None) as changed:
            events = subscribe(self._schema, context, prepared, asked.variables, asked.operation_name)
            async with aclosing(events), aclosing(self._events(context, events, changed)) as told:
                async for event in told:
                    yield event

    async def _events(
        self, context: Context, events: AsyncGenerator[dict[str, Any], None], changed: asyncio.Event
    ) -> AsyncGenerator[dict[str, Any] | None, None]:
        """What happens, as long as the caller may hear it: he is asked for again now and then, and when told to."""
        coming = asyncio.ensure_future(anext(events, None))
        told = asyncio.ensure_future(changed.wait())
        try:
            while True:
                await asyncio.wait(
                    {coming, told},
                    timeout=self._settings.stream_check_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if told.done():
                    changed.clear()
                    told = asyncio.ensure_future(changed.wait())
                    await context.caller_now()
                if not coming.done():
                    await context.caller_now()
                    yield None
                    continue
                if (event := coming.result()) is None:
                    return
                yield event
                coming = asyncio.ensure_future(anext(events, None))
        except Refused as refusal:
            yield refusal_result(refusal)
        finally:
            coming.cancel()
            told.cancel()
            await asyncio.wait({coming, told})

    def document(self, asked: Asked) -> DocumentNode | None:
        """The document of a request that was answered."""
        if asked.text:
            return self._documents.prepare(asked.text).document
        found = self._documents.trusted(asked.document_hash or "")
        return found.document if found else None

    async def look_up(self, authorizations: Iterable[str | None]) -> None:
        """Read in one turn what `who` is about to ask of each of these."""
        parts = [(one or "").partition(" ") for one in authorizations]
        await self._sessions.look_up([token.strip() for scheme, _, token in parts if scheme.lower() == "bearer"])

    async def clock(self) -> int:
        """The feed's clock as it is committed."""
        return await self._make_context(None, LOCALE_DEFAULT).pokes.now()

    def _ready(
        self,
        asked: Asked,
        standing: Standing | None,
        refused: Refused | None,
        locale: str,
        kinds: Collection[OperationType],
    ) -> tuple[Prepared, OperationDefinitionNode, Weight]:
        """The document, its operation and what it asks for, when this caller may run it here. Raises `Unrun`."""
        self._count(standing, 0, locale)
        prepared = self._prepared(asked, standing, refused, locale)
        if prepared.document is None:
            raise Unrun(400, {"errors": errors_json(prepared.errors)})
        operation = operation_of(prepared.document, asked.operation_name)
        if operation is None:
            raise Unrun(
                400, error_result(Code.BAD_REQUEST, "operationName names no operation of the document, or is needed")
            )
        if operation.operation not in kinds:
            if OperationType.MUTATION not in kinds:
                told = error_result(Code.BAD_REQUEST, "GET is for reading only")
                raise Unrun(405, told, always=True, headers={"allow": "POST"})
            raise Unrun(400, error_result(Code.BAD_REQUEST, "subscriptions are not answered here"))
        if shut := _shut(prepared, operation, standing, refused):
            field, reason = shut
            raise self._turned_away(reason, locale, field)
        try:
            weight = self._limits.check_variables(prepared.document, operation, asked.variables)
        except Refused as costly:
            raise Unrun(400, refusal_result(costly)) from None
        _OPERATIONS.add(kind=operation.operation.value, name=_name_to_count(prepared, operation))
        self._count(standing, weight.cost, locale)
        self.deprecations.count(asked.client, prepared.key, prepared.document, operation, asked.variables)
        return prepared, operation, weight

    def _count(self, standing: Standing | None, cost: int, locale: str) -> None:
        """One more request of this caller's, or what it costs. Raises `Unrun` when he asks too often."""
        try:
            if standing is not None:
                self.admission.caller_asks(standing.principal, cost)
        except Refused as limited:
            raise self._turned_away(limited, locale) from None

    def _told_cost(self, weight: Weight, prepared: Prepared, operation: OperationDefinitionNode) -> dict[str, int]:
        """What a request cost, for developers who ask by a header."""
        assert prepared.document is not None
        depth_max, cost_max = self._limits.most(root_fields(prepared.document, operation))
        return {
            "cost": weight.cost,
            "limit": cost_max,
            "depth": weight.depth,
            "depthLimit": depth_max,
            "aliases": weight.aliases,
            "aliasesLimit": self._settings.document_aliases_max,
        }

    def _prepared(self, asked: Asked, standing: Standing | None, refused: Refused | None, locale: str) -> Prepared:
        """The document asked for, whether it can run or not. Raises `Unrun` for one this caller may not ask."""
        if asked.text is None:
            found = self._documents.trusted(asked.document_hash or "")
            if found is None:
                raise self._untaken(Code.PERSISTED_QUERY_NOT_FOUND, locale)
            return found
        kind = kind_of(standing.principal if standing else None)
        if kind.value in self._settings.trusted_documents_only and not self._documents.is_trusted(asked.text):
            if refused is not None:  # with the token he meant to send he may be of a kind that may ask anything
                raise self._turned_away(refused, locale)
            raise self._untaken(Code.DOCUMENT_NOT_TRUSTED, locale)
        return self._documents.prepare(asked.text)

    def _turned_away(self, reason: Refused, locale: str, field: str | None = None) -> Unrun:
        """Why this caller may not ask, told by a status that holds for every client."""
        code = reason.problems[0].code
        entry = self._entry(reason, locale) | ({"path": [field]} if field else {})
        return Unrun(STATUS_OF[code], {"errors": [entry]}, always=True, headers=_told_by(reason))

    def _untaken(self, code: Code, locale: str) -> Unrun:
        return Unrun(400, {"errors": [self._entry(Refused(Problem(code)), locale)]})

    def _entry(self, reason: Refused, locale: str) -> dict[str, Any]:
        message = " ".join(render_problem(self._messages, problem, locale) for problem in reason.problems)
        return {"message": message, "extensions": refusal_extensions(reason)}

    async def language(self, authorization: str | None, accept_language: str | None) -> str:
        """The language in which this caller is answered."""
        standing, _ = await self.who(authorization)
        return _locale(standing, accept_language)

    async def who(self, authorization: str | None) -> tuple[Standing | None, Refused | None]:
        """Who asks; nobody, with the reason, when the token is not taken.

        A worn-out token is no obstacle to `refresh`, so the reason matters only when a field needs somebody.
        """
        if authorization is None:
            return None, None
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None, Refused(Problem(Code.UNAUTHENTICATED))
        try:
            standing = await self._sessions.standing(token.strip())
        except Refused as refused:
            return None, refused
        asking = standing.principal
        name_caller(user_id=asking.user_id, device_id=asking.device_id, service_id=asking.service_id)
        return standing, None

    async def asked(self, request: Request, headers: Mapping[str, str] | None = None) -> Asked:
        """What a GET or POST asks; its headers, where they were read already. Raises `Malformed`."""
        headers = _headers_of(request) if headers is None else headers
        if request.method in READING_METHODS:
            return asked_from(_query_parameters(request, self._settings.value_depth_max), client=client_of(headers))
        _check_content_type(headers.get("content-type"))
        try:
            body = await within(
                self._settings.body_seconds_max,
                _read_body(request, headers.get("content-length", "0"), self._settings.body_bytes_max),
            )
        except Refused:
            raise Malformed(
                503, "too much is being received", code=Code.BUSY, headers={"retry-after": str(LATER_SECONDS)}
            ) from None
        except TimeoutError:
            raise Malformed(408, f"the body took longer than {self._settings.body_seconds_max} s to arrive") from None
        except ClientDisconnect:
            raise Malformed(400, "the body ended early") from None
        found = read_json(body, self._settings.value_depth_max, "the body")
        return asked_from(found, body_bytes=len(body), client=client_of(headers))


def read_json(sent: bytes | str, depth_max: int, what: str) -> object:
    """What a client wrote as JSON, by whichever door. Raises `Malformed`, also for what is nested too deeply."""
    try:
        found: object = orjson.loads(sent)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        raise Malformed(400, f"{what} is not JSON in UTF-8") from None
    opened = sent.count(b"[") + sent.count(b"{") if isinstance(sent, bytes) else sent.count("[") + sent.count("{")
    if opened > depth_max and is_deep(found, depth_max):
        raise Malformed(400, f"values stand in each other more than {depth_max} deep")
    return found


def is_deep(found: object, most: int) -> bool:
    """Whether lists and maps stand in each other deeper than `most`. Takes one look at each value."""
    level = [found]
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _name_to_count(prepared: Prepared, operation: OperationDefinitionNode) -> str:
    """Names of trusted documents are ours; any other is a client's own words."""
    return operation.name.value if prepared.trusted and operation.name else UNTRUSTED


def _shut(
    prepared: Prepared, operation: OperationDefinitionNode, standing: Standing | None, refused: Refused | None
) -> tuple[str, Refused] | None:
    """A root field this caller may not ask for, and why; None when all are open to him."""
    assert prepared.document is not None
    if standing is not None and standing.device_state == "ACTIVE":
        return None
    allowed = OPEN_FIELDS if standing is None else DRAINING_FIELDS
    shut = sorted(root_fields(prepared.document, operation) - allowed)
    if not shut:
        return None
    return shut[0], refused or Refused(Problem(Code.UNAUTHENTICATED if standing is None else Code.DEVICE_DRAINING))


@lru_cache(maxsize=HEADERS_KEPT_MAX)
def answered_type(accept: str | None) -> str | None:
    """The media type to answer with; None when the client takes neither.

    Nothing said, or anything taken, means `application/json`: what clients older than the draft expect.
    """
    if accept is None or not accept.strip():
        return JSON_TYPE
    wishes: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept[:HEADER_CHARACTERS_MAX].split(",")):
        name, _, parameters = part.strip().partition(";")
        offered = {GRAPHQL_TYPE: GRAPHQL_TYPE, JSON_TYPE: JSON_TYPE, "application/*": JSON_TYPE, "*/*": JSON_TYPE}
        media_type = offered.get(name.strip().lower())
        quality = quality_of(parameters)
        if media_type and quality > 0:
            wishes.append((-quality, place, media_type))
    return min(wishes)[2] if wishes else None


def takes(accept: str | None, media_type: str) -> bool:
    """True when an Accept header, or its absence, takes answers of that type."""
    ranges = {media_type, f"{media_type.partition('/')[0]}/*", "*/*"}
    found = []
    for part in (accept or "*/*")[:HEADER_CHARACTERS_MAX].split(","):
        name, _, parameters = part.strip().partition(";")
        if name.strip().lower() in ranges:
            found.append(quality_of(parameters))
    return any(found)


def _locale(standing: Standing | None, accept_language: str | None) -> str:
    return standing.principal.locale if standing else accepted_locale(accept_language)


def operation_of(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    """The operation of that name, or the only one; None when there is no telling."""
    operations = [found for found in document.definitions if isinstance(found, OperationDefinitionNode)]
    if name is not None:
        operations = [found for found in operations if found.name is not None and found.name.value == name]
    return operations[0] if len(operations) == 1 else None


def root_fields(document: DocumentNode, operation: OperationDefinitionNode) -> set[str]:
    """Names of the fields an operation asks for at its root, through fragments."""
    fragments = {found.name.value: found for found in document.definitions if isinstance(found, FragmentDefinitionNode)}
    names: set[str] = set()
    spread: set[str] = set()
    waiting = [operation.selection_set]
    while waiting:
        for selection in waiting.pop().selections:
            if isinstance(selection, FieldNode):
                names.add(selection.name.value)
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
                spread.add(selection.name.value)
                waiting.append(fragments[selection.name.value].selection_set)
    return names


def _headers_of(request: Request) -> dict[str, str]:
    """The headers by their names in small letters; of several with one name the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(request.scope["headers"])}


async def _read_body(request: Request, stated: str, bytes_max: int) -> bytes:
    if stated.isdecimal() and int(stated[:20]) > bytes_max:
        raise _too_large(bytes_max)
    share, receive = request.state.share, request.receive
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        share.add(len(part))
        size += len(part)
        if size > bytes_max:
            raise _too_large(bytes_max)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(bytes_max: int) -> Malformed:
    return Malformed(413, f"the body is larger than {bytes_max} bytes", code=Code.TOO_LARGE)


def _check_content_type(content_type: str | None) -> None:
    if content_type != JSON_TYPE and not _is_json(content_type):
        raise Malformed(415, f"the body must be {JSON_TYPE} in UTF-8")


@lru_cache(maxsize=HEADERS_KEPT_MAX)
def _is_json(content_type: str | None) -> bool:
    message = Message()
    message["content-type"] = content_type or ""
    charset = message.get_param("charset", "utf-8")
    return message.get_content_type() == JSON_TYPE and str(charset).lower() in {"utf-8", "utf8"}


def _query_parameters(request: Request, depth_max: int) -> dict[str, object]:
    found: dict[str, object] = dict(request.query_params)
    for name in ("variables", "extensions"):
        if found.get(name):
            found[name] = read_json(str(found[name]), depth_max, name)
        else:
            found.pop(name, None)
    return found


def asked_from(found: object, *, body_bytes: int = 0, client: Client = NAMELESS) -> Asked:
    """The request that a JSON value is. Raises `Malformed`."""
    if isinstance(found, list):
        raise Malformed(400, "requests are not taken in batches: send one operation per request")
    if not isinstance(found, dict):
        raise Malformed(400, "the request must be a map with `query`")
    text, name, variables, extensions = (
        found.get(key) for key in ("query", "operationName", "variables", "extensions")
    )
    if name is not None and not isinstance(name, str):
        raise Malformed(400, "`operationName` must be a text or null")
    if variables is not None and not isinstance(variables, dict):
        raise Malformed(400, "`variables` must be a map or null")
    if extensions is not None and not isinstance(extensions, dict):
        raise Malformed(400, "`extensions` must be a map or null")
    wanted = _document_hash(found.get("documentId"), (extensions or {}).get("persistedQuery"))
    if wanted is not None and (text is None or text == ""):
        return Asked(None, name or None, variables or {}, wanted, body_bytes, client)
    if not isinstance(text, str) or not text:
        raise Malformed(400, "`query` must be a text")
    if wanted is not None and wanted != document_hash(text):
        raise Malformed(400, "the hash is not that of `query`")
    return Asked(text, name or None, variables or {}, None, body_bytes, client)


def _document_hash(document_id: object, persisted: object) -> str | None:
    """The hash of the document asked for in one of the two forms, or in both; None when neither is there."""
    if document_id is not None and not isinstance(document_id, str):
        raise Malformed(400, "`documentId` must be a text or null")
    if persisted is not None and not isinstance(persisted, dict):
        raise Malformed(400, "`extensions.persistedQuery` must be a map or null")
    named = (persisted or {}).get("sha256Hash")
    if persisted is not None and not isinstance(named, str):
        raise Malformed(400, "`extensions.persistedQuery.sha256Hash` must be a text")
    hashes = {given.lower() for given in ((document_id or "").removeprefix("sha256:"), named) if given}
    if len(hashes) > 1:
        raise Malformed(400, "`documentId` and `persistedQuery` name different documents")
    return hashes.pop() if hashes else None


def _status(status: int, media_type: str) -> int:
    """A well-formed request that could not run: told by the status only where the client expects that."""
    return status if media_type == GRAPHQL_TYPE else 200


def _told_by(reason: Refused) -> dict[str, str]:
    """What a status asks for beside the answer."""
    code = reason.problems[0].code
    if STATUS_OF[code] == 401:
        return {"www-authenticate": "Bearer"}
    seconds = later_seconds([code]) or retry_after_seconds(reason)
    return {} if seconds is None else {"retry-after": str(seconds)}


def code_of(result: Mapping[str, Any]) -> str:
    """The code of the first error of a result that has errors."""
    return str(result["errors"][0]["extensions"]["code"])


def _codes_of(result: Mapping[str, Any]) -> set[str]:
    """The codes of all errors of a result."""
    return {str(error.get("extensions", {}).get("code")) for error in result.get("errors", ())}


def error_result(code: Code, detail: str) -> dict[str, Any]:
    return {"errors": [{"message": f"{OPERATOR[code]}: {detail}", "extensions": {"code": code.value}}]}


def refusal_result(refused: Refused) -> dict[str, Any]:
    return {"errors": [{"message": refusal_message(refused), "extensions": refusal_extensions(refused)}]}


def malformed_response(malformed: Malformed, media_type: str) -> Response:
    result = error_result(malformed.code, malformed.message)
    return _respond(result, malformed.status, media_type, malformed.headers)


def unrun_response(unrun: Unrun, media_type: str, locale: str) -> Response:
    status = unrun.status if unrun.always else _status(unrun.status, media_type)
    return _respond(unrun.result, status, media_type, unrun.headers, locale=locale)


def _respond(
    result: Mapping[str, Any],
    status: int,
    media_type: str,
    headers: Mapping[str, str] | None = None,
    *,
    locale: str = LOCALE_DEFAULT,
) -> Response:
    told = {"content-language": locale, "vary": ANSWER_VARIES, **(headers or {})}
    return Response(encode(result), status, told, f"{media_type}; charset=utf-8")


def _unless_held(response: Response, if_none_match: str | None, standing: Standing | None) -> Response:
    """The answer with its tag; without its body, when the caller holds it already.

    A tag is of one caller: nobody learns from another's whether he was answered the same. It is a weak one, as
    the bytes may travel compressed.
    """
    holder = standing.principal.holder if standing else ""
    seen = sha256("\n".join((holder, response.headers["content-type"], "")).encode() + bytes(response.body))
    tag = f'W/"{seen.hexdigest()[:TAG_CHARACTERS]}"'
    response.headers["etag"] = tag
    held = {part.strip() for part in (if_none_match or "")[:HEADER_CHARACTERS_MAX].split(",")}
    if held.isdisjoint({"*", tag, tag.removeprefix("W/")}):
        return response
    kept = {name: response.headers[name] for name in ("content-language", "etag", "vary")}
    return Response(status_code=304, headers=kept)


def make_documents(schema: strawberry.Schema, settings: Settings) -> tuple[Documents, Limits]:
    """The kept documents of a schema, held to the limits before they are validated."""
    limits = Limits(core_schema(schema), settings)
    return Documents(schema, settings, limits), limits
