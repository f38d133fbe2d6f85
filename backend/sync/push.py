"""The push: a device's queue, in order, each mutation answered once and for ever.

One work for the whole request; a savepoint for each group, so that a group is all or nothing and the others go
on. Consecutive ungrouped mutations of one collection are one batch for their use case. The table
(collection, intent) → use case is handed in: these are the very use cases of the online mutations.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from backend.auth.principal import Formerly, Principal
from backend.domain.capture import CLOCK_OFFSET_DAYS_MAX, capture_times, clock_offset_ms
from backend.domain.territories import GRACE_DAYS
from backend.errors import Code, Problem, Refused
from backend.ids import is_id, new_id
from backend.storage.deleted import customers_followed
from backend.storage.dialects import Dialect
from backend.storage.engine import Engine
from backend.storage.trouble import wants_another_try
from backend.storage.visibility import visible_to
from backend.sync.changes import Change, Intent, Outcome, Status, UseCase
from backend.sync.collections import COLLECTIONS
from backend.sync.counted import count_pushed
from backend.sync.devices import lock_pushing_device
from backend.sync.grace import late_changes
from backend.sync.issues import keep_refused, tells_of_erased
from backend.sync.kept import sendable
from backend.sync.places import STORED_COLUMNS, Row, shown_rows, stored_rows
from backend.sync.receipts import ERASED_HASH, Receipt, has_receipts_up_to, receipts_of
from backend.sync.versions import SCHEMA_VERSION
from backend.sync.work import Work
from backend.telemetry import error_told, logger

_LOG = logger(__name__)

_BODY = json.JSONEncoder(sort_keys=True, check_circular=False)

UseCaseTable = Mapping[tuple[str, Intent], UseCase]
CUSTOMERS_CHILDREN = ("customerContacts", "visits", "orders", "tasks", "answers", "cases", "judgements")


@dataclass(frozen=True, slots=True)
class Mutation:
    """One entry of a device's queue. `group` ties mutations that stand or fall together."""

    id: str
    client_seq: int
    collection: str
    record_id: str
    base_rev: int | None
    fields: Mapping[str, object]
    delete: bool = False
    group: str | None = None
    captured_at_ms: int | None = None
    base: Mapping[str, object] | None = None
    formerly: Formerly | None = None
    """Set when it is late: its device sees no more what it names, and did when it was captured."""
    problems: tuple[Problem, ...] = ()
    """What the door found wrong with its form: it is refused and kept like any other, and stops nobody."""
    restore: bool = False
    """Bring a deleted record back as it was; whatever else is to change follows as a mutation of its own."""

    @property
    def intent(self) -> Intent:
        if self.restore:
            return Intent.RESTORE
        if self.delete:
            return Intent.DELETE
        return Intent.CREATE if self.base_rev is None else Intent.PATCH

    @property
    def change(self) -> Change:
        return Change(
            self.record_id,
            self.intent,
            self.fields,
            self.base_rev,
            self.captured_at_ms,
            self.id,
            self.base,
        )

    @property
    def body_hash(self) -> str:
        """What makes a replay the same mutation."""
        body: list[object] = [self.collection, self.record_id, self.base_rev, self.fields, self.delete, self.group]
        if self.restore:
            body.append("restore")
        # the standard library prints whatever JSON can bring: integers of any size, halves of a surrogate pair
        return hashlib.sha256(_BODY.encode(body).encode()).hexdigest()


@dataclass(slots=True)
class Answer:
    """What became of one mutation; `records` are the rows it wrote, as they stand for the caller now.

    `late`: taken from a former holder, because it was captured before a territory changed hands.
    """

    mutation_id: str
    status: Status
    problems: tuple[Problem, ...] = ()
    written: tuple[tuple[str, str], ...] = ()
    records: list[Row] = field(default_factory=list)
    late: bool = False


UNNUMBERED = -1
"""The `client_seq` of a mutation whose number cannot be read: it is taken for the next one."""


class _GroupFailed(Exception):
    """Takes a group's savepoint back; carries what each of its mutations is answered."""


async def push(
    work: Work,
    mutations: Sequence[Mutation],
    table: UseCaseTable,
    *,
    mutations_max: int,
    device_now_ms: int | None = None,
    grace_days: int = GRACE_DAYS,
    clock_offset_days_max: int = CLOCK_OFFSET_DAYS_MAX,
    rescued: bool = False,
) -> list[Answer]:
    """Take a device's queue; one answer per mutation, in order. Raises `Refused` for the request as a whole.

    `rescued`: it comes from a rescue file, by an operator's decision: whatever became of the device, and though what
    was missing before will never come. Numbers are then counted on only where there is no gap, so that a device
    that does send again finds everything answered or taken.
    `device_now_ms`: what the device's clock showed while sending, by which capture times are corrected; without
    it they are by what it last said.
    """
    if len(mutations) > mutations_max:
        raise Refused(Problem(Code.TOO_MANY, ("mutations",), (str(mutations_max),)))
    device = await lock_pushing_device(work, whatever_state=rescued)
    last_seq = device.last_client_seq
    offset_ms = device.clock_offset_ms if device_now_ms is None else clock_offset_ms(device_now_ms, work.now_ms)
    captured = capture_times(
        [mutation.captured_at_ms for mutation in mutations],
        offset_ms=offset_ms or 0,
        now_ms=work.now_ms,
        offset_days_max=clock_offset_days_max,
    )
    mutations = [
        mutation if mutation.captured_at_ms == at else replace(mutation, captured_at_ms=at)
        for mutation, at in zip(mutations, captured, strict=True)
    ]
    known = await receipts_of(work.conn, [mutation.id for mutation in mutations if is_id(mutation.id)])
    answers: dict[int, Answer] = {}
    fresh: list[tuple[int, Mutation]] = []
    first_at: dict[str, int] = {}
    repeats: list[tuple[int, int]] = []
    for index, mutation in enumerate(mutations):
        mutation = _numbered(mutation, known, last_seq, mutations[index + 1 : index + 2])
        in_turn = mutation.client_seq == last_seq + 1
        first = first_at.get(mutation.id)
        if first is not None and mutations[first].body_hash == mutation.body_hash:
            repeats.append((index, first))
        elif first is not None or _reused(mutation, known) or not is_id(mutation.id):
            reason = (
                Problem(Code.MUTATION_ID_REUSED, ("id",))
                if is_id(mutation.id)
                else Problem(Code.INVALID_VALUE, ("id",), ("UUID",))
            )
            answers[index] = Answer(mutation.id, Status.REFUSED, (reason,))
            if in_turn or mutation.client_seq == UNNUMBERED:  # kept the first time it comes, not at each replay
                await _keep_refused(work, mutation, answers[index])
        elif (receipt := known.get(mutation.id)) is not None:
            answers[index] = Answer(
                mutation.id, Status(receipt.status), receipt.problems, receipt.records, late=receipt.late
            )
        elif mutation.client_seq <= last_seq and not await has_receipts_up_to(
            work.conn, str(work.principal.device_id), mutation.client_seq
        ):
            answers[index] = Answer(mutation.id, Status.ALREADY_HANDLED)
        elif in_turn or rescued:
            first_at[mutation.id] = index
            late = None if rescued else device.problem_of(mutation.captured_at_ms)
            fresh.append((index, replace(mutation, problems=(*mutation.problems, late)) if late else mutation))
        else:  # before it something is missing, or its number is another's: a device counts on from here
            gap = Problem(Code.CLIENT_SEQ_GAP, ("clientSeq",), (str(last_seq + 1),))
            answers[index] = Answer(mutation.id, Status.RETRY, (gap,))
        if in_turn:  # answered for good in any case: what can never be taken must not stop those behind it
            last_seq = mutation.client_seq
    taken = await take(work, [mutation for _, mutation in fresh], table, grace_days=grace_days)
    for (index, mutation), answer in zip(fresh, taken, strict=True):
        work.receipts.append(_receipt(work, answer, mutation))
        answers[index] = answer
    for index, first in repeats:
        answers[index] = answers[first]
    await work.conn.execute(
        "UPDATE device SET last_client_seq = ?, last_seen_at = ?, pushed_at = ?, clock_offset_ms = ? WHERE id = ?",
        last_seq,
        work.now_ms,
        work.now_ms,
        offset_ms,
        work.principal.device_id,
    )
    told = [answers[index] for index in range(len(mutations))]
    count_pushed([answer.status for answer in told], [problem for answer in told for problem in answer.problems])
    return told


async def take(
    work: Work, mutations: Sequence[Mutation], table: UseCaseTable, *, grace_days: int = GRACE_DAYS
) -> list[Answer]:
    """Run mutations with distinct ids through their use cases, in order; one answer each. Keeps no receipts.

    What is refused is kept as a sync issue of the principal. Every door that brings records from devices ends here.
    """
    await _lock_customers(work, mutations)
    # after the locks: whoever moves one of these customers now, does it after this
    if any(mutation.captured_at_ms is not None for mutation in mutations):
        late = await late_changes(work, [(m.collection, m.change) for m in mutations], grace_days=grace_days)
        mutations = [
            mutation if when is None else replace(mutation, formerly=when)
            for mutation, when in zip(mutations, late, strict=True)
        ]
    answers: dict[str, Answer] = {}
    for part in _parts(mutations):
        for mutation, answer in zip(part, await _run_part(work, part, table), strict=True):
            answers[mutation.id] = answer
    return [answers[mutation.id] for mutation in mutations]


async def _lock_customers(work: Work, mutations: Sequence[Mutation]) -> None:
    """All customers of a queue at once and by id: two queues that name the same ones in another order take turns.

    One that says when it was captured may be late, which must not change between asking and taking it. SQLite's only
    writer holds everything already.
    """
    several = len(mutations) > 1 or any(mutation.captured_at_ms is not None for mutation in mutations)
    if work.conn.dialect is not Dialect.POSTGRES or not several:
        return
    named = {m.record_id for m in mutations if m.collection == "customers"}
    named |= {str(m.fields.get("customerId")) for m in mutations}
    of_table: dict[str, list[str]] = {COLLECTIONS[name].table: [] for name in CUSTOMERS_CHILDREN}
    for mutation in mutations:
        if mutation.collection in CUSTOMERS_CHILDREN and is_id(mutation.record_id):
            of_table[COLLECTIONS[mutation.collection].table].append(mutation.record_id)
    asked = [(table, ids) for table, ids in of_table.items() if ids]
    named |= await customers_followed(work.conn, [m.record_id for m in mutations if m.restore])
    owners = "".join(f" UNION ALL SELECT customer_id FROM {table} WHERE id = ANY(?)" for table, _ in asked)
    await work.conn.fetch(
        f"SELECT id FROM customer WHERE id = ANY(ARRAY(SELECT unnest(?::text[]){owners})) ORDER BY id"
        " FOR NO KEY UPDATE",
        sorted(filter(is_id, named)),
        *(ids for _, ids in asked),
    )


def _numbered(
    mutation: Mutation, known: Mapping[str, Receipt], last_seq: int, following: Sequence[Mutation]
) -> Mutation:
    """One whose number cannot be read is the next one: the first time it comes, as its id or its place tells."""
    in_place = bool(following) and following[0].client_seq == last_seq + 2
    if mutation.client_seq != UNNUMBERED or mutation.id in known or not (is_id(mutation.id) or in_place):
        return mutation
    return replace(mutation, client_seq=last_seq + 1)


def _reused(mutation: Mutation, known: Mapping[str, Receipt]) -> bool:
    return mutation.id in known and known[mutation.id].body_hash not in (mutation.body_hash, ERASED_HASH)


def _parts(mutations: Sequence[Mutation]) -> Iterator[list[Mutation]]:
    """Each group whole, where its first mutation stands; neighbours without a group that can share one batch."""
    groups: dict[str, list[Mutation]] = {}
    for mutation in mutations:
        if mutation.group is not None:
            groups.setdefault(mutation.group, []).append(mutation)
    part: list[Mutation] = []
    named: set[str] = set()
    for mutation in mutations:
        apart = mutation.group is not None or mutation.record_id in named
        if part and (apart or not _alike(part[0], mutation)):
            yield part
            part, named = [], set()
        if mutation.group is None:
            part.append(mutation)
            named.add(mutation.record_id)
        elif mutation.group in groups:
            yield groups.pop(mutation.group)
    if part:
        yield part


def _alike(one: Mutation, other: Mutation) -> bool:
    """True when one batch may hold both: what may be seen by one capture may not by another."""
    return one.collection == other.collection and one.formerly == other.formerly


async def _run_part(work: Work, part: Sequence[Mutation], table: UseCaseTable) -> list[Answer]:
    grouped = part[0].group is not None
    answers: list[Answer] = []
    try:
        async with work.part():
            for batch in _batches(part):
                answers += await _run_batch(work, batch, table)
            if grouped and any(answer.status is Status.REFUSED for answer in answers):
                raise _GroupFailed
    except _GroupFailed:
        answers = [answer if answer.status is Status.REFUSED else _failed_with_its_group(answer) for answer in answers]
    except Exception as error:
        if wants_another_try(error):
            raise
        if not grouped and len(part) > 1:
            return [answer for mutation in part for answer in await _run_part(work, [mutation], table)]
        problems = _problems_of(error)
        answers = [Answer(mutation.id, Status.REFUSED, problems) for mutation in part]
    for mutation, answer in zip(part, answers, strict=True):
        answer.problems = tuple(_sayable(problem) for problem in answer.problems)
        if answer.status in (Status.REFUSED, Status.DEPENDENCY_FAILED):
            await _keep_refused(work, mutation, answer)
    return answers


def _problems_of(error: Exception) -> tuple[Problem, ...]:
    """A refusal's own; of anything else only that it happened, logged under an id."""
    if isinstance(error, Refused):
        return error.problems
    error_id = new_id()
    _LOG.error("a mutation failed", error_id=error_id, code=Code.INTERNAL.value, **error_told(error))
    return (Problem(Code.INTERNAL, params={"id": error_id}),)


def _sayable(problem: Problem) -> Problem:
    """A path may repeat a key as it was sent, also one that no answer can carry."""
    return replace(problem, path=tuple(sendable(part) for part in problem.path))


def _failed_with_its_group(answer: Answer) -> Answer:
    return Answer(answer.mutation_id, Status.DEPENDENCY_FAILED, (Problem(Code.DEPENDENCY_FAILED, ("group",)),))


def _batches(part: Sequence[Mutation]) -> Iterator[list[Mutation]]:
    """Runs of one collection with distinct ids, late ones apart, in order."""
    batch: list[Mutation] = []
    ids: set[str] = set()
    for mutation in part:
        if batch and (not _alike(batch[0], mutation) or mutation.record_id in ids):
            yield batch
            batch, ids = [], set()
        batch.append(mutation)
        ids.add(mutation.record_id)
    if batch:
        yield batch


async def _run_batch(work: Work, batch: Sequence[Mutation], table: UseCaseTable) -> list[Answer]:
    by_use_case: dict[UseCase, list[Mutation]] = {}
    answers: dict[str, Answer] = {}
    for mutation in batch:
        use_case = table.get((mutation.collection, mutation.intent))
        if mutation.problems:
            answers[mutation.id] = Answer(mutation.id, Status.REFUSED, mutation.problems)
        elif mutation.restore and (mutation.delete or mutation.fields):
            alone = Problem(Code.INVALID_VALUE, ("change", mutation.collection, "restore"), ("{id, restore: true}",))
            answers[mutation.id] = Answer(mutation.id, Status.REFUSED, (alone,))
        elif not is_id(mutation.record_id):
            problem = Problem(Code.INVALID_VALUE, ("change", mutation.collection, "id"), ("UUID",))
            answers[mutation.id] = Answer(mutation.id, Status.REFUSED, (problem,))
        elif use_case is None:
            allowed = tuple(sorted({name for name, intent in table if intent is mutation.intent}))
            problem = Problem(Code.NOT_ALLOWED_VALUE, ("change", mutation.collection), allowed)
            answers[mutation.id] = Answer(mutation.id, Status.REFUSED, (problem,))
        else:
            by_use_case.setdefault(use_case, []).append(mutation)
    for use_case, mutations in by_use_case.items():
        with work.acting_as(replace(work.principal, formerly=batch[0].formerly)):
            outcomes = await use_case(work, [mutation.change for mutation in mutations])
        for mutation, outcome in zip(mutations, outcomes, strict=True):
            answers[mutation.id] = _answer(mutation, outcome)
    return [answers[mutation.id] for mutation in batch]


def _answer(mutation: Mutation, outcome: Outcome) -> Answer:
    written = () if outcome.status is Status.REFUSED else ((mutation.collection, outcome.id),)
    problems = outcome.problems or tuple(
        Problem(Code.CONFLICT, tuple(conflict.path.split("."))) for conflict in outcome.conflicts
    )
    late = mutation.formerly is not None and outcome.status is not Status.REFUSED
    return Answer(mutation.id, outcome.status, problems, written, late=late)


def _receipt(work: Work, answer: Answer, mutation: Mutation) -> Receipt:
    return Receipt(
        mutation.id,
        work.principal.device_id or "",
        mutation.client_seq,
        ERASED_HASH if tells_of_erased(answer.problems) else mutation.body_hash,
        answer.status.value,
        answer.problems,
        answer.written,
        answer.late,
    )


async def _keep_refused(work: Work, mutation: Mutation, answer: Answer) -> None:
    """What the server does not take stays with its author, whole."""
    await keep_refused(
        work,
        collection=mutation.collection,
        record_id=mutation.record_id,
        intent=mutation.intent.value,
        base_rev=mutation.base_rev,
        fields=_asked(mutation),
        problems=answer.problems,
        fallback=answer.status.value,
        mutation_id=mutation.id,
        captured_at_ms=mutation.captured_at_ms,
        sendable_again=not mutation.restore,
    )


def _asked(mutation: Mutation) -> dict[str, object]:
    """What it wanted, as its sync issue shows it."""
    if mutation.restore:
        return {"restore": True}
    return {"delete": True} if mutation.delete else dict(mutation.fields)


async def read_answered(
    engine: Engine, principal: Principal, answers: Sequence[Answer], *, version: int = SCHEMA_VERSION
) -> list[Answer]:
    """The answers with the records they wrote, read after commit under the caller's scope of now.

    As clients of a schema version know them; what came late is answered without its record.
    """
    wanted: dict[str, set[str]] = {}
    for answer in answers:
        for collection, record_id in answer.written:
            wanted.setdefault(collection, set()).add(record_id)
    found = await _seen_rows(engine, principal, wanted, version)
    for answer in answers:
        answer.records = [found[written] for written in answer.written if written in found]
    return list(answers)


async def _seen_rows(
    engine: Engine, principal: Principal, wanted: Mapping[str, set[str]], version: int
) -> dict[tuple[str, str], Row]:
    """Those of the records, by collection, that the caller sees: of one snapshot."""
    if len(wanted) == 1:
        # one statement is a snapshot of its own, unless something has to be printed anew
        ((name, ids),) = wanted.items()
        sql, args = _seen_stored(principal, name, ids)
        found, behind = stored_rows(await engine.fetch(sql, *args, steady=True), version=version)
        if not behind:
            return found
    seen: dict[tuple[str, str], Row] = {}
    if wanted:
        async with engine.read() as conn:
            for name, ids in wanted.items():
                sql, args = _seen_stored(principal, name, ids)
                seen.update(await shown_rows(conn, await conn.fetch(sql, *args), version=version))
    return seen


def _seen_stored(principal: Principal, name: str, ids: Iterable[str]) -> tuple[str, list[object]]:
    """The statement, and its arguments, for what is stored of those records the caller sees."""
    declared = COLLECTIONS[name]
    visible, args = visible_to(principal, name, "t", record_column=declared.record_column)
    columns = ", ".join(f"f.{column}" for column in STORED_COLUMNS)
    return (
        f"SELECT {columns} FROM {declared.table} t JOIN feed f ON f.key = '{name}:' || t.{declared.record_column}"
        f" WHERE t.{declared.record_column} = ANY(?) AND {visible}",
        [sorted(ids), *args],
    )
