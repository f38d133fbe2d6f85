"""From a document's text to the bytes of its answer. Parsed and validated documents are kept, bounded."""

from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from inspect import isawaitable
from typing import Any

import orjson
import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OverlappingFieldsCanBeMergedRule,
    parse,
    specified_rules,
    validate,
)
from graphql import execute as graphql_execute
from graphql import subscribe as graphql_subscribe
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from backend.config import Settings
from backend.domain.privacy import is_watched
from backend.errors import Refused
from backend.schema.coercion import Light, light_operations
from backend.schema.context import Context, ReadCounts
from backend.schema.errors import errors_json
from backend.schema.executor import SelectionExecutor
from backend.schema.limits import Limits
from backend.schema.malformed import put_aside
from backend.schema.overlaps import bounded_overlaps
from backend.schema.shortcut import Shortcut, shortcut_of
from backend.telemetry import counter

RULES = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)

_LOOKUPS = counter("document_lookups", "documents looked for among those kept", found=("yes", "no", "trusted"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to run, or what is wrong with it. `key` is the SHA-256 of its text in UTF-8, in hex."""

    key: str
    document: DocumentNode | None
    errors: tuple[GraphQLError, ...] = ()
    trusted: bool = False
    light: Mapping[str | None, Light] = field(default_factory=dict)
    """as in `light_operations`"""
    shortcuts: dict[str | None, Shortcut | None] = field(default_factory=dict, compare=False, repr=False)
    """By the name of the operation asked for, of those that ran; at most one of each and one without a name."""


class Documents:
    """Parsed, checked and validated documents by the hash of their text; the least recently used leave.

    Trusted ones are prepared once, stay, and take no room of the others.
    """

    def __init__(self, schema: strawberry.Schema, settings: Settings, limits: Limits | None = None) -> None:
        self._schema = core_schema(schema)
        self._settings = settings
        self._limits = limits
        overlaps = bounded_overlaps(settings.document_comparisons_max)
        self._rules = [overlaps if rule is OverlappingFieldsCanBeMergedRule else rule for rule in RULES]
        self._prepared: OrderedDict[str, tuple[int, Prepared]] = OrderedDict()
        self._characters = 0
        self._trusted_texts: dict[str, str] = {}
        self._trusted: dict[str, Prepared] = {}

    def trust(self, text: str) -> str:
        """Take a document to be asked for by its hash, which is answered. It is prepared when first asked for."""
        key = document_hash(text)
        self._trusted_texts[key] = text
        return key

    def trusted(self, key: str) -> Prepared | None:
        """The trusted document with this hash."""
        found = self._trusted.get(key)
        if found is None and (text := self._trusted_texts.get(key)) is not None:
            found = self._trusted[key] = replace(self._prepare(key, text), trusted=True)
        return found

    def is_trusted(self, text: str) -> bool:
        return document_hash(text) in self._trusted_texts

    def __len__(self) -> int:
        return len(self._prepared)

    def prepare(self, text: str) -> Prepared:
        key = document_hash(text)
        if (trusted := self.trusted(key)) is not None:
            _LOOKUPS.add(found="trusted")
            return trusted
        found = self._prepared.get(key)
        _LOOKUPS.add(found="no" if found is None else "yes")
        if found is not None:
            self._prepared.move_to_end(key)
            return found[1]
        prepared = self._prepare(key, text)
        self._prepared[key] = len(text), prepared
        self._characters += len(text)
        settings = self._settings
        while (
            len(self._prepared) > settings.document_cache_entries_max
            or self._characters > settings.document_cache_characters_max
        ):
            _, (characters, _) = self._prepared.popitem(last=False)
            self._characters -= characters
        return prepared

    def _prepare(self, key: str, text: str) -> Prepared:
        try:
            if self._limits is not None:
                self._limits.check_text(text)
            document = parse(text, max_tokens=self._settings.document_tokens_max)
            if self._limits is not None:
                self._limits.check(document)
            errors = validate(self._schema, document, self._rules, max_errors=self._settings.document_errors_max)
        except Refused as refused:
            return Prepared(key, None, (GraphQLError(str(refused), original_error=refused),))
        except GraphQLSyntaxError as error:
            return Prepared(key, None, (error,))
        except RecursionError:
            return Prepared(key, None, (GraphQLError("The document is nested too deeply to be read."),))
        if errors:
            return Prepared(key, None, tuple(errors))
        return Prepared(key, document, light=light_operations(self._schema, document))


def document_hash(text: str) -> str:
    """By what a document is known: the SHA-256 of its text, in hex."""
    return sha256(text.encode(errors="surrogatepass")).hexdigest()


def core_schema(schema: strawberry.Schema) -> GraphQLSchema:
    """The graphql-core schema behind a Strawberry one."""
    return schema._schema


async def execute(
    schema: strawberry.Schema,
    context: Context,
    documents: Documents,
    document: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> dict[str, Any]:
    """The answer to a document's text: see `run`."""
    return await run(schema, context, documents.prepare(document), variables, operation_name)


async def run(
    schema: strawberry.Schema,
    context: Context,
    prepared: Prepared,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> dict[str, Any]:
    """The answer as a dictionary for `encode`: without `data` when the request never ran.

    That is so for parse, check, validation and coercion errors and for an unknown operation name.
    """
    if prepared.document is None:
        return {"errors": errors_json(prepared.errors)}
    context.document_key = prepared.key
    found = await _answered(schema, context, prepared, variables, operation_name)
    await _note_sensitive(context, prepared.document, found)
    if "data" in found or not variables:
        return found
    # nothing has run: what a device's queue holds and cannot be read is answered entry by entry
    aside = put_aside(core_schema(schema), prepared.document, operation_name, variables)
    if aside is None:
        return found
    context.put_aside = aside.entries
    return await _run(schema, context, prepared, aside.variables, operation_name)


async def _answered(
    schema: strawberry.Schema,
    context: Context,
    prepared: Prepared,
    variables: Mapping[str, Any] | None,
    operation_name: str | None,
) -> dict[str, Any]:
    """By the short way where there is one; else by the usual, after which it is known whether there is one."""
    shortcut = prepared.shortcuts.get(operation_name)
    if shortcut is not None and context.compiled and shortcut.fits(variables or {}):
        result = await shortcut.answer(context, variables or {})
        if result is not None:
            return answer(result)
    found = await _run(schema, context, prepared, variables, operation_name)
    reads = context.reads
    once = reads.at_root == reads.selections == reads.compiled == 1
    finished = None if reads.selections else reads.finished
    known = prepared.document is None or operation_name in prepared.shortcuts
    if (once or finished) and prepared.document is not None and not known:
        prepared.shortcuts[operation_name] = shortcut_of(schema, prepared.document, operation_name, finished)
    return found


async def _note_sensitive(context: Context, document: DocumentNode, found: Mapping[str, Any]) -> None:
    """Note an answer that shows the contact data of many people to somebody who sees all of them."""
    watch, keys, principal = context.watch_door, context.sensitive_keys, context.principal
    if watch is None or keys is None or principal is None or "data" not in found or not is_watched(principal.role):
        return
    if shown := keys.shown(context.document_key, document, found["data"]):
        await watch.read(principal, shown)


async def _run(
    schema: strawberry.Schema,
    context: Context,
    prepared: Prepared,
    variables: Mapping[str, Any] | None,
    operation_name: str | None,
) -> dict[str, Any]:
    result = begin(schema, context, prepared, variables, operation_name)
    return answer(await result if isawaitable(result) else result)


def begin(
    schema: strawberry.Schema,
    context: Context,
    prepared: Prepared,
    variables: Mapping[str, Any] | None,
    operation_name: str | None,
) -> ExecutionResult | Awaitable[ExecutionResult]:
    """Execute as far as nothing has to be waited for, which for questions about the schema is to the end."""
    assert prepared.document is not None
    light = prepared.light.get(operation_name)
    coerced = light.coerced(variables or {}) if light else None
    return graphql_execute(
        core_schema(schema),
        light.document if light and coerced else prepared.document,
        context_value=context,
        variable_values=dict(variables) if variables else None,
        operation_name=operation_name,
        executor_class=SelectionExecutor,
        is_awaitable=optimized_is_awaitable,  # type: ignore[arg-type]
        operation_extensions=None,
        beforehand=(light.operation, coerced) if light and coerced else None,
    )


async def subscribe(
    schema: strawberry.Schema,
    context: Context,
    prepared: Prepared,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> AsyncGenerator[dict[str, Any], None]:
    """The answers to a subscription, one per event. One without `data` is the last: why it did not begin, or ended."""
    if prepared.document is None:
        yield {"errors": errors_json(prepared.errors)}
        return
    context.document_key = prepared.key
    begun: Any = graphql_subscribe(
        core_schema(schema),
        prepared.document,
        context_value=context,
        variable_values=dict(variables) if variables else None,
        operation_name=operation_name,
        executor_class=SelectionExecutor,
        operation_extensions=None,
    )
    if isawaitable(begun):
        begun = await begun
    if isinstance(begun, ExecutionResult):
        yield answer(begun)
        return
    async with aclosing(begun):
        try:
            async for result in begun:
                yield answer(result)
                # each event is a request of its own
                context.reads, context.loader, context.now_ms = ReadCounts(), None, context.clock()
        except Exception as error:  # noqa: BLE001 - whatever its source fails with is told as a resolver's failure is
            yield {"errors": errors_json([GraphQLError(str(error), original_error=error)])}


def answer(result: ExecutionResult) -> dict[str, Any]:
    """An execution result as a dictionary for `encode`. Request errors have no path and no data at all."""
    if not result.errors:
        return {"data": result.data}
    entries = errors_json(_in_order(result.errors))
    if result.data is None and all(error.path is None for error in result.errors):
        return {"errors": entries}
    return {"errors": entries, "data": result.data}


def _in_order(errors: Sequence[GraphQLError]) -> list[GraphQLError]:
    """By path, because which of two fields fails first is a matter of chance."""
    return sorted(errors, key=lambda error: [str(step).rjust(8) for step in error.path or ()])


def encode(result: Mapping[str, Any]) -> bytes:
    """The answer's bytes; what the database printed goes through untouched."""
    return orjson.dumps(result, option=orjson.OPT_PASSTHROUGH_DATETIME)
