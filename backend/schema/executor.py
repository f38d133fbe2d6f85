"""The executor that completes a `Selection` in the database.

A resolver of a table-backed field checks permission and returns a `Selection`. What the document asks below it
becomes one SQL statement (`backend/reads/compiler.py`), whose bytes stand in the answer as they come. Records that
stand in one list of an answer share a statement. Where a computed field is asked, or more levels than the database
can read, records are read the ordinary way and the library goes on as usual: that is counted by field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    get_named_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import VariableValues
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from backend.errors import Code, Problem, Refused
from backend.reads.compiler import compile_selection
from backend.reads.entities.table import ENTITIES
from backend.reads.ordinary import Loader, Record, RecordPage
from backend.reads.plans import Plan, scope_class
from backend.reads.selection import Form, PageRequest, Selection, Span, usual
from backend.schema.context import Context
from backend.schema.finished import Finished, pick, picked_of
from backend.schema.selection import NestedPage, Wanted, page_request, spans_of, variables_shape, wanted_of
from backend.schema.types import COMPUTED
from backend.telemetry import counter, gauge

DEPTH = "depth"
COMPUTED_FIELDS = tuple(f"{kind}.{name}" for kind, fields in sorted(COMPUTED.items()) for name in sorted(fields))
"""Fields that always send their selection the ordinary way, as `Type.field`."""
_COMPILED = counter("reads_compiled", "Selections answered by one statement.")
_FALLBACKS = counter(
    "reads_fallbacks",
    "Selections read field by field, by the computed field asked; depth: nested deeper than the database reads.",
    field=(*COMPUTED_FIELDS, DEPTH),
)
_PLAN_LOOKUPS = counter("plan_lookups", "How often a plan was looked for in the cache.", outcome=("hit", "miss"))
_PLANS = gauge("plans", "Plans in the cache.")


@dataclass(frozen=True, slots=True)
class Kept:
    """Beside a plan: the connections inside, and the spans where no request can ask for others."""

    nested: tuple[NestedPage, ...]
    spans: tuple[Span, ...]


def _is_the_same_always(selection: Selection, nested: Sequence[NestedPage]) -> bool:
    return selection.page == PageRequest() and all(found.page is not None for found in nested)


class SelectionExecutor(StrawberryGraphQLCoreExecutionContext):
    """Graphql-core's executor, which knows selections and the records of the ordinary way."""

    context_value: Context

    def __init__(
        self,
        *args: Any,
        beforehand: tuple[OperationDefinitionNode, VariableValues] | None = None,
        **named: Any,
    ) -> None:
        """`beforehand`: the operation as it was written, where some of its variables were coerced already; those."""
        super().__init__(*args, **named)
        if beforehand is not None:
            self.operation, coerced = beforehand
            held = self.variable_values
            self.variable_values = VariableValues(
                {**held.sources, **coerced.sources}, {**held.coerced, **coerced.coerced}
            )

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        if isinstance(result, Selection):
            return self._complete_selection(return_type, field_details_list, info, path, result, position_context)
        if isinstance(result, Finished):
            fields = picked_of(self, self.schema.get_type(result.typename), field_details_list)
            if path.prev is None:
                self.context_value.reads.finished = fields
            return pick(result.value, fields)
        if isinstance(result, Record):
            kind = self.schema.get_type(result.typename)
            assert isinstance(kind, GraphQLObjectType)
            return self.collect_and_execute_subfields(kind, field_details_list, path, result, position_context)
        return super().complete_value(return_type, field_details_list, info, path, result, position_context)

    async def _complete_selection(
        self,
        return_type: GraphQLOutputType,
        details: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        selection: Selection,
        position_context: Any,
    ) -> Any:
        """The answer's bytes, or None.

        Raised here when null may not stand: the caller sees a coroutine, which is never None.
        """
        at = path.as_list()
        steps = tuple(step for step in at if isinstance(step, str))
        if len(steps) < len(at) and selection.form is Form.ONE:
            found = await self._with_its_siblings(return_type, details, info, selection, steps)
        else:
            self._count_selection(info)
            self.context_value.reads.at_root += path.prev is None
            found = await self._read(return_type, details, selection, (info.parent_type.name, *steps))
        if isinstance(found, orjson.Fragment) or found is None:
            answer = found
        else:
            answer = self.complete_value(return_type, details, info, path, found, position_context)
            if self.is_awaitable(answer):
                answer = await answer
        if answer is None and is_non_null_type(return_type):
            raise TypeError(f"Cannot return null for non-nullable field {info.parent_type}.{info.field_name}.")
        return answer

    async def _with_its_siblings(
        self,
        return_type: GraphQLOutputType,
        details: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        selection: Selection,
        steps: tuple[str, ...],
    ) -> Any:
        """One record of a list of answers: read together with those that stand at the same place of the others."""
        ((name, (record_id,)),) = selection.where
        assert name == "id", "records in a list are named by their ids"

        async def load(ids: list[str]) -> Mapping[str, Any]:
            self._count_selection(info)
            each = Selection(selection.entity, Form.EACH, (("ids", (ids,)),))
            found: Mapping[str, Any] = await self._read(return_type, details, each, (info.parent_type.name, *steps))
            return found

        place = (info.parent_type.name, steps, selection.entity)
        return await self._loader().soon(place, record_id, load)

    async def _read(
        self,
        return_type: GraphQLOutputType,
        details: FieldDetailsList,
        selection: Selection,
        place: tuple[str, ...],
    ) -> Any:
        """Finished bytes, or records (a page, a list) of the ordinary way; of EACH, by id. `place`: type, then path."""
        plan_or_wanted, spans = self._planned(return_type, details, selection, place)
        if isinstance(plan_or_wanted, Plan):
            return await run_plan(self.context_value, plan_or_wanted, selection, spans)
        return await self._loader().read(selection, spans[0])

    def _count_selection(self, info: GraphQLResolveInfo[Any]) -> None:
        context = self.context_value
        context.reads.selections += 1
        most = context.settings.root_selections_max
        if context.reads.selections > most:
            raise Refused(Problem(Code.TOO_MANY, (info.field_name,), allowed=(str(most),)))

    def _planned(
        self,
        return_type: GraphQLOutputType,
        details: FieldDetailsList,
        selection: Selection,
        place: tuple[str, ...],
    ) -> tuple[Plan | Wanted, Sequence[Span]]:
        """A plan, kept or new; or what is wanted, when it cannot be compiled."""
        context = self.context_value
        steps = place[1:]
        operation_name = self.operation.name.value if self.operation.name else None
        key = plan_key(context, operation_name, place, selection, variables_shape(self.variable_values.coerced))
        if context.compiled and context.document_key and (plan := context.plans.get(key)) is not None:
            kept: Kept = plan.note
            spans = kept.spans or self._spans(selection, kept.nested, steps)
            if kept.spans or plan.fits(spans):
                count_hit(context)
                return plan, spans
        wanted = wanted_of(self, selection, self._kind(return_type, selection), details, steps)
        spans = self._spans(selection, wanted.nested, steps)
        if not context.compiled:
            return wanted, spans
        plan = None if wanted.computed else self._compiled(selection, wanted, spans)
        if plan is None:
            context.reads.fallbacks += 1
            for field in wanted.computed or (DEPTH,):
                _FALLBACKS.add(field=field)
            return wanted, spans
        if context.document_key:
            _PLAN_LOOKUPS.add(outcome="miss")
            context.plans.keep(key, plan)
            _PLANS.set(len(context.plans))
        return plan, spans

    def _compiled(self, selection: Selection, wanted: Wanted, spans: list[Span]) -> Plan | None:
        context = self.context_value
        return compile_selection(
            selection,
            wanted.asked,
            spans,
            context.caller,
            context.engine.dialect,
            note=Kept(wanted.nested, tuple(spans) if _is_the_same_always(selection, wanted.nested) else ()),
        )

    def _spans(self, selection: Selection, nested: tuple[NestedPage, ...], steps: tuple[str, ...]) -> list[Span]:
        context = self.context_value
        pages = [found.page or page_request(self, found.field, found.details) for found in nested]
        return spans_of(selection, nested, pages, steps, context.caller, context.settings)

    def _kind(self, return_type: GraphQLOutputType, selection: Selection) -> GraphQLObjectType:
        """The concrete type: of an interface, the one the selection's entity is."""
        if selection.form is Form.PAGE:
            kind: GraphQLNamedType | None = get_named_type(return_type)
        else:
            kind = self.schema.get_type(ENTITIES[selection.entity].typename)
        assert isinstance(kind, GraphQLObjectType)
        return kind

    def _loader(self) -> Loader:
        context = self.context_value
        if context.loader is None:
            context.loader = Loader(context.engine, context.caller, context.now_ms, context.reads.count_statement)
        return context.loader


async def run_plan(context: Context, plan: Plan, selection: Selection, spans: Sequence[Span]) -> Any:
    """What a plan's statement finds: finished bytes, None, or of EACH bytes by id."""
    arguments = plan.arguments(context.caller, context.now_ms, selection, spans)
    context.reads.compiled += 1
    context.reads.statements += 1
    _COMPILED.add()
    rows = await context.engine.fetch(plan.sql, *arguments, steady=plan.steady)
    if selection.form is Form.EACH:
        return {row[0]: orjson.Fragment(row[1]) for row in rows}
    return orjson.Fragment(rows[0][0]) if rows else None


def plan_key(
    context: Context,
    operation_name: str | None,
    place: tuple[str, ...],
    selection: Selection,
    variables: tuple[Any, ...],
) -> tuple[Any, ...]:
    """Under what a plan is kept: all that changes its statement. `variables`: their shape."""
    return (
        context.document_key,
        operation_name,
        place,
        selection.shape,
        _page_shape(selection),
        variables,
        scope_class(context.caller),
        context.engine.dialect,
    )


def count_hit(context: Context) -> None:
    """A plan was kept and is used again."""
    context.reads.plan_hits += 1
    _PLAN_LOOKUPS.add(outcome="hit")


def _page_shape(selection: Selection) -> tuple[Any, ...]:
    page = selection.page
    given = tuple([value is None for value in (page.first, page.after, page.last, page.before)])
    return *given, usual(page.first if page.last is None else page.last)


def read_attribute(source: Any, name: str) -> Any:
    """How a field without a resolver of its own finds its value."""
    if isinstance(source, Record):
        return source.read(name)
    return getattr(source, "nodes" if isinstance(source, RecordPage) and name == source.listed else name)
