"""Compiled answers against ordinary ones: `python -m tests.reads.fuzz [sqlite|postgres] [documents] [seed]`.

Every document is answered both ways over the same world and compared to the byte: data, nulls, order and errors.
A third of the documents is a sweep, which asks for everything there is once; the rest is drawn, by hypothesis and by
our own writer. What was compared is counted where records are read, so that nothing passes for want of a record.
"""

import asyncio
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from graphql import FieldNode, TypeInfo, TypeInfoVisitor, Visitor, get_named_type, parse, print_schema, visit
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes, queries

from backend.reads.entities.entity import Many, Relation, snake
from backend.reads.entities.table import ENTITIES
from backend.reads.ordinary import Record
from backend.schema.execute import core_schema
from backend.schema.executor import COMPUTED_FIELDS
from backend.storage.engine import Engine, open_engine
from tests.benchmarks.bench_bulk import say
from tests.databases import RunFolder, fresh_postgres, fresh_sqlite
from tests.reads.asking import SCHEMA, Asker
from tests.reads.documents import LONG, WIDE, Writer
from tests.reads.world import EVERYBODY, World, make_world

ROOT_FIELDS = (
    "node", "customer", "customers", "contact", "contacts", "visit", "visits", "order", "orders", "task", "tasks",
    "territory", "territories", "people", "scores", "scoreRuns", "styles", "seasons", "priceLists", "syncIssue",
    "syncIssues", "syncStatus", "importBatch", "importBatches", "matchQueue", "auditTrail", "customField",
    "customFields", "form", "forms", "answer", "answers", "case", "cases", "judgement", "judgements",
)  # fmt: skip
"""Every field of the root that is answered by a selection."""
DOCUMENTS, HYPOTHESIS_SHARE, SWEPT = 5_000, 0.1, 3
_ID = re.compile(r'\b((?:id|\w+Id): )"(?:[^"\\]|\\.)*"')
_COUNT = re.compile(r"\b(first|last): -?\d+")
_CURSOR = re.compile(r'\b(?:after|before): (?:"(?:[^"\\]|\\.)*"|null)(?:, )?')
_LAST = re.compile(r"\blast: (?:-?\d+|null)(?:, )?")
_EMPTY = re.compile(r"\(\s*\)")
CURSOR_GIVEN = re.compile(r'"([0-9A-F]{60,})"')
_COMPUTED = frozenset(COMPUTED_FIELDS)


def hypothesis_documents(count: int) -> list[str]:
    """Documents drawn by hypothesis, the same every time; no shrinking: the database is asked elsewhere."""
    found: list[str] = []
    scalars = {
        "DateTime": st.sampled_from(["2026-01-01T00:00:00.000Z", "2025-12-30T23:59:59.999Z"]).map(nodes.String),
        "Date": st.just("2026-01-01").map(nodes.String),
        "JSON": st.just("{}").map(nodes.String),
        "BigInt": st.just(1).map(nodes.Int),
    }
    schema = print_schema(core_schema(SCHEMA))
    strategy = queries(schema, fields=list(ROOT_FIELDS), custom_scalars=scalars, allow_x00=False)

    @settings(
        max_examples=count,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def gather(document: str) -> None:
        found.append(document)

    gather()
    return found


def made_real(document: str, world: World, rng: random.Random) -> str:
    """The same document with ids that exist and pages that are mostly allowed."""
    ids = world.everything
    text = _ID.sub(lambda found: f'{found[1]}"{rng.choice(ids)}"', document)
    text = _COUNT.sub(lambda found: f"{found[1]}: {rng.choice([0, 1, 2, 3, 20, rng.randrange(-1, 120)])}", text)
    if rng.random() < 0.9:
        text = _EMPTY.sub("", _LAST.sub("", _CURSOR.sub("", text)))
    return text


@dataclass(frozen=True, slots=True)
class Question:
    who: str
    document: str
    variables: Mapping[str, Any]


class Questions:
    """Who asks what. Cursors of earlier answers come back as arguments of later documents.

    `sweep`: so many parts of each type in one document of the sweep; 0 for no sweep.
    """

    def __init__(
        self, drawn: Sequence[str], world: World, seed: int, written: int, *, sweep: int = 0, people: Sequence[str]
    ) -> None:
        self.rng = random.Random(seed)
        self.world = world
        self.drawn = drawn
        self.written = written
        self.people = people
        self.swept = sweep
        self.writer = Writer(core_schema(SCHEMA), world.everything, seed, tables=world.ids)

    def __iter__(self) -> Iterator[Question]:
        rng = self.rng
        for document in self.drawn:
            yield Question(rng.choice(self.people), made_real(document, self.world, rng), {})
        if self.swept:
            # whoever sees all of it answers for the coverage; the others take turns besides
            for number, document in enumerate(self.writer.sweep(ROOT_FIELDS, self.swept)):
                yield Question("ADMIN", document, {})
                if number % 3 == 0 or self.swept > SWEPT:
                    yield Question(self.people[number // 3 % len(self.people)], document, {})
            yield from self._walks()
        for _ in range(self.written):
            document = self.writer.document(ROOT_FIELDS)
            yield Question(rng.choice(self.people), document, self.writer.variables(document))

    def _walks(self) -> Iterator[Question]:
        """The second page of each list in each order, and back, by the cursors of the first."""
        query = core_schema(SCHEMA).query_type
        assert query is not None
        below = "{ pageInfo { startCursor endCursor hasNextPage hasPreviousPage } totalCount }"
        for number, root in enumerate(ROOT_FIELDS):
            arguments = query.fields[root].args
            if "after" not in arguments or root == "matchQueue":
                continue
            sorts = [f"sort: {one}, " for one in _named(arguments["sort"]).values] if "sort" in arguments else [""]
            for sort in sorts:
                for who in ("ADMIN", self.people[number % len(self.people)]):
                    self.writer.cursors = []
                    yield Question(who, f"{{ {root}({sort}first: 2) {below} }}", {})
                    for way in (
                        ("first: 2, after", "last: 2, before") if "before" in arguments else ("first: 2, after",)
                    ):
                        if self.writer.cursors:
                            at = self.writer.cursors[-1]
                            yield Question(who, f'{{ {root}({sort}{way}: "{at}") {below} }}', {})

    def learn(self, answer: bytes) -> None:
        self.writer.cursors = (self.writer.cursors + CURSOR_GIVEN.findall(answer.decode()))[-40:]


@dataclass
class Coverage:
    """What was compared, how often."""

    read: Counter[str] = field(default_factory=Counter)
    """`Type.field`: read of a record for an ordinary answer; `=` behind it: and it was not null"""
    asked: Counter[str] = field(default_factory=Counter)
    """`Type.field`, `Type.field(argument)`, input fields and enum values as written in documents"""
    people: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Counts what records are asked for while it is open."""
        read, related, counts = Record.read, Record.related, self.read

        def counted(record: Record, attribute: str) -> Any:
            value = read(record, attribute)
            name = f"{record.typename}.{attribute}"
            counts[name] += 1
            counts[f"{name}="] += value is not None
            return value

        def counted_too(record: Record, name: str, span: Any = None) -> Any:
            found = related(record, name, span)
            counts[f"{record.typename}.{name}"] += 1

            async def seen() -> Any:
                value = await found
                there = value.nodes if hasattr(value, "nodes") else value
                counts[f"{record.typename}.{name}="] += bool(there)
                return value

            return seen()

        Record.read, Record.related = counted, counted_too  # type: ignore[method-assign]
        try:
            yield
        finally:
            Record.read, Record.related = read, related  # type: ignore[method-assign]

    def note(self, question: Question) -> None:
        document = question.document
        self.people[question.who] += 1
        info, outer = TypeInfo(core_schema(SCHEMA)), self

        class Names(Visitor):
            def enter_field(self, node: FieldNode, *_: Any) -> None:
                parent = info.get_parent_type()
                outer.asked[f"{getattr(parent, 'name', '?')}.{node.name.value}"] += 1
                for argument in node.arguments or ():
                    outer.asked[f"{node.name.value}({argument.name.value})"] += 1
                selected = node.selection_set.selections if node.selection_set else ()
                outer.shapes["64 fields at one level"] += len(selected) >= WIDE

            def enter_object_field(self, node: Any, *_: Any) -> None:
                kind = info.get_parent_input_type()
                outer.asked[f"{getattr(kind, 'name', '?')}.{node.name.value}"] += 1

            def enter_enum_value(self, node: Any, *_: Any) -> None:
                outer.asked[f"enum {node.value}"] += 1

        visit(parse(document), TypeInfoVisitor(info, Names()))
        for name, mark in (
            ("alias beyond 63 characters", LONG),
            ("fragment", "fragment "),
            ("@include", "@include"),
            ("@skip", "@skip"),
            ("cursor", "after:"),
            ("backwards", "last:"),
        ):
            self.shapes[name] += mark in document
        self.shapes["variables given"] += bool(question.variables)

    def lacking_fields(self, times: int) -> list[str]:
        """Fields and relations of entities that were compared less often, with something in them."""
        wanted = Counter[str]()
        for entity in ENTITIES.values():
            for found in entity.fields:
                name = found.name if isinstance(found, Relation) else snake(found.name)
                wanted[f"{entity.typename}.{name}"] = times
        for name in wanted.copy():
            # with something there, or it proves nothing
            wanted[f"{name}="] = times
        return [f"{name} {self.read[name]}" for name, least in wanted.items() if self.read[name] < least]

    def lacking(self, times: int) -> list[str]:
        """What was compared less often: fields and relations of entities, filters, sorts, roles and shapes."""
        missing = self.lacking_fields(times)
        asked = dict.fromkeys(_arguments(), times)
        missing += [f"asked {name} {self.asked[name]}" for name, least in asked.items() if self.asked[name] < least]
        missing += [f"asked by {who} {self.people[who]}" for who in EVERYBODY if self.people[who] < times]
        shapes = ("64 fields at one level", "alias beyond 63 characters", "fragment", "@include", "@skip", "cursor")
        return missing + [f"{name} {self.shapes[name]}" for name in shapes if self.shapes[name] < times]


def _named(argument: Any) -> Any:
    """The type of an argument without its lists and exclamation marks."""
    return get_named_type(argument.type)


def _arguments() -> Iterator[str]:
    """Every argument, filter and sort of the root fields, and the page arguments and fields of every connection."""
    schema = core_schema(SCHEMA)
    assert schema.query_type is not None
    for root in ROOT_FIELDS:
        for name, argument in schema.query_type.fields[root].args.items():
            yield f"{root}({name})"
            kind = _named(argument)
            if hasattr(kind, "fields"):
                yield from (f"{kind.name}.{key}" for key in kind.fields)
            elif name == "sort":
                yield from (f"enum {key}" for key in kind.values)
    for entity in ENTITIES.values():
        if entity.page_typename in schema.type_map:
            yield from (f"{entity.page_typename}.{key}" for key in schema.type_map[entity.page_typename].fields)  # type: ignore[attr-defined]
        for relation in entity.relations:
            if relation.many is Many.PAGE:
                yield from (f"{relation.name}({key})" for key in ("first", "last"))
    yield from (f"PageInfo.{key}" for key in ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor"))


@dataclass
class Report:
    """What came of the documents."""

    documents: int = 0
    compiled: int = 0
    fallbacks: int = 0
    shortcuts: int = 0
    """documents asked again, and answered without an executor"""
    refused: Counter[str] = field(default_factory=Counter)
    """answers with errors, by code"""
    answered_bytes: int = 0
    differences: list[str] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)


async def compare(asker: Asker, questions: Questions, *, differences_max: int = 1) -> Report:
    """Ask everything both ways; stops after so many differences."""
    report = Report()
    with report.coverage.watching():
        for question in questions:
            who, document, variables = question.who, question.document, dict(question.variables)
            expected = await asker.bytes(who, document, variables, compiled=False)
            answer = await asker.bytes(who, document, variables)
            report.documents += 1
            report.coverage.note(question)
            report.compiled += asker.reads.compiled
            report.fallbacks += asker.reads.fallbacks
            if any(asker.documents.prepare(document).shortcuts.values()):
                answer = await asker.bytes(who, document, variables)
                report.shortcuts += asker.reads.shortcuts
            report.answered_bytes += len(answer)
            for error in orjson.loads(answer).get("errors", ()):
                report.refused[error.get("extensions", {}).get("code", "none")] += 1
            if answer != expected or b'"INTERNAL"' in answer:
                at = next((n for n, (a, b) in enumerate(zip(answer, expected, strict=False)) if a != b), 0)
                near = slice(max(0, at - 80), at + 80)
                report.differences.append(
                    f"{who} {variables}\n{document}\ncompiled …{answer[near]!r}\nordinary …{expected[near]!r}"
                )
                if len(report.differences) >= differences_max:
                    break
            questions.learn(answer)
    return report


async def fuzz(engine: Engine, documents: int, seed: int) -> Report:
    """So many documents by everybody over a fresh world."""
    asker = Asker(engine, await make_world(engine))
    drawn = hypothesis_documents(int(documents * HYPOTHESIS_SHARE))
    swept = len(list(Questions((), asker.world, seed, 0, sweep=SWEPT, people=EVERYBODY)))
    written = max(0, documents - len(drawn) - swept)
    questions = Questions(drawn, asker.world, seed, written, sweep=SWEPT, people=EVERYBODY)
    return await compare(asker, questions, differences_max=5)


async def main(folder: RunFolder, databases: Sequence[str], documents: int, seed: int) -> bool:
    """True when nothing differed and nothing was left out."""
    good = True
    async with AsyncExitStack() as stack:
        for database in databases:
            if database == "sqlite":
                path = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                url = fresh_sqlite(folder.sqlite_template(), path)
            else:
                url = await stack.enter_async_context(fresh_postgres(folder.postgres_url()))
            engine = open_engine(url)
            await engine.start()
            began = time.perf_counter()
            try:
                report = await fuzz(engine, documents, seed)
            finally:
                await engine.close()
            lacking = report.coverage.lacking(max(1, documents // 1_000))
            say(
                f"{database}: {report.documents:,} documents, {report.compiled:,} selections compiled,"
                f" {report.fallbacks:,} read the ordinary way, {report.answered_bytes:,} bytes,"
                f" {time.perf_counter() - began:.0f} s; errors by code: {dict(report.refused)}"
            )
            say(f"  fields read: {sum(report.coverage.read.values()):,}; {dict(report.coverage.shapes)}")
            say(f"  asked by: {dict(report.coverage.people)}")
            for line in [*report.differences, *(f"too seldom: {name}" for name in lacking)]:
                say(f"  {line}")
            say(f"  {len(report.differences)} differences")
            good = good and not report.differences and not lacking
    return good


if __name__ == "__main__":
    words, folder = sys.argv[1:], RunFolder.begin()
    numbers = [int(word) for word in words if word.isdigit()]
    wanted = [name for name in ("sqlite", "postgres") if name in words] or ["sqlite", "postgres"]
    try:
        if "sqlite" in wanted:
            folder.sqlite_template()
        if "postgres" in wanted:
            folder.postgres_url()
        passed = asyncio.run(main(folder, wanted, (numbers or [DOCUMENTS])[0], (numbers[1:] or [1])[0]))
    finally:
        folder.end()
    sys.exit(0 if passed else 1)
