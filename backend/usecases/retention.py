"""Carrying out retention: what each class ends, counted first, in small transactions, with one audit entry a class.

Safe while the server answers, and when cut short: what is left is found again the next night. Source: R49.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.config import Settings
from backend.domain.audit import AuditAction, FieldChange
from backend.domain.cases import CaseState
from backend.domain.consent import CONSENT_EVENT
from backend.domain.devices import DeviceState, days_ago
from backend.domain.fields import records_stored
from backend.domain.permissions import Action, Collection, Reach, reach
from backend.domain.privacy import ERASED_TEXT, POSITIONS_OF_VISIT, ErasureReason
from backend.domain.retention import RetentionClass, Rule, last_word_ms, may_market, rules
from backend.domain.times import local_day
from backend.errors import Code, Problem, Refused
from backend.storage.audit import (
    count_audit_before,
    forget_values_before,
    remove_audit_before,
)
from backend.storage.deleted import DELETED_FILES_BEFORE, remove_deleted_before, remove_deleted_files_before
from backend.storage.engine import Connection, Engine
from backend.sync.collections import COLLECTIONS
from backend.sync.issues import ISSUES
from backend.sync.work import Door, Work, in_work

RETAINER = Principal(PrincipalKind.SERVICE, service_id="retention")
RETENTION = "retention"
"""What audit entries of retention are about; the record is the class."""
KEPT = RetentionClass


@dataclass(frozen=True, slots=True)
class Found:
    """A class with how many rows its period is over for; None where another job carries it out."""

    rule: Rule
    rows: int | None


@dataclass(slots=True)
class Carried:
    """What a run did: class → rows."""

    rows: dict[RetentionClass, int] = field(default_factory=dict)


Progress = Callable[[RetentionClass, int, int], None]
"""Told (class, rows done, rows to do) after each transaction."""
Erase = Callable[[str, ErasureReason], Awaitable[None]]
"""Erases one person from end to end."""


def rules_of(settings: Settings) -> tuple[Rule, ...]:
    """Every class with its period, as set."""
    return rules(
        {
            KEPT.UNRELATED_CONTACTS: settings.retain_unrelated_contact_days,
            KEPT.UNCONSENTED_BIRTHDAYS: settings.retain_unconsented_birthday_days,
            KEPT.VISIT_POSITIONS: settings.retain_visit_position_days,
            KEPT.ATTACHMENTS: settings.retain_attachment_days,
            KEPT.ANSWERS: settings.retain_answer_days,
            KEPT.CLOSED_CASES: settings.retain_closed_case_days,
            KEPT.JUDGEMENTS: settings.retain_judgement_days,
            KEPT.SETTLED_ISSUES: settings.retain_settled_issue_days,
            KEPT.IMPORT_PROBLEMS: settings.retain_import_problem_days,
            KEPT.AUDIT_VALUES: settings.retain_audit_value_days,
            KEPT.AUDIT_ENTRIES: settings.retain_audit_entry_days,
            KEPT.DELETED_RECORDS: settings.restore_days,
            KEPT.ENDED_DEVICES: settings.retain_ended_device_days,
            KEPT.ENDED_SIGN_INS: settings.retain_ended_sign_in_days,
            KEPT.SECURITY_EVENTS: settings.retain_security_event_days,
            KEPT.RECEIPTS: settings.receipt_days,
        }
    )


async def preview(conn: Connection, principal: Principal, settings: Settings, now_ms: int) -> list[Found]:
    """What a run at this moment would end, class by class; changes nothing. Raises NOT_PERMITTED but for admins."""
    if principal.role is None or reach(principal.role, Action.ERASE, Collection.CONTACTS) is not Reach.ALL:
        raise Refused(Problem(Code.NOT_PERMITTED))
    return await look(conn, settings, now_ms)


async def look(conn: Connection, settings: Settings, now_ms: int) -> list[Found]:
    """As `preview`, for whoever runs the server."""
    found = []
    for rule in rules_of(settings):
        step = STEPS.get(rule.kept)
        rows = None if step is None else 0
        if step is not None and rule.ends:
            rows = await step.count(conn, days_ago(now_ms, rule.days))
        found.append(Found(rule, rows))
    return found


async def carry_out(
    engine: Engine, *, settings: Settings, clock: Clock, erase: Erase, progress: Progress | None = None
) -> Carried:
    """End whatever is past its period."""
    carried = Carried()
    await _in_work(engine, settings, clock, note_unrelated)
    for rule in rules_of(settings):
        step = STEPS.get(rule.kept)
        if step is None or not rule.ends:
            continue
        before_ms = days_ago(clock(), rule.days)
        async with engine.read() as conn:
            total = await step.count(conn, before_ms)
        done = 0
        while done < total:
            if step.people is not None:
                rows = await _erase_people(engine, step.people, before_ms, settings.nightly_rows_per_work, erase)
            else:
                rows = await _in_work(
                    engine,
                    settings,
                    clock,
                    lambda work, step=step, before_ms=before_ms: step.end(  # type: ignore[misc]
                        work, before_ms, settings.nightly_rows_per_work
                    ),
                )
            done += rows
            if progress is not None:
                progress(rule.kept, done, max(done, total))
            if rows == 0:
                break
        carried.rows[rule.kept] = done
        if done:
            await _in_work(
                engine,
                settings,
                clock,
                lambda work, kept=rule.kept, done=done: _tell(work, kept, done),  # type: ignore[misc]
            )
    return carried


async def _tell(work: Work, kept: RetentionClass, rows: int) -> None:
    work.audit(AuditAction.RETAIN, RETENTION, kept.value, changes=(FieldChange("rows", None, rows),))


async def _in_work(
    engine: Engine, settings: Settings, clock: Clock, story: Callable[[Work], Awaitable[int | None]]
) -> int:
    rows, _ = await in_work(engine, RETAINER, story, clock=clock, retries_max=settings.write_retries_max, door=Door.JOB)
    return rows or 0


async def _erase_people(engine: Engine, people: "People", before_ms: int, rows_max: int, erase: Erase) -> int:
    async with engine.read() as conn:
        ids = await people(conn, before_ms, rows_max)
    for one in ids:
        await erase(one, ErasureReason.PURPOSE_ENDED)
    return len(ids)


# -- contacts -----------------------------------------------------------------------------------------------------


async def note_unrelated(work: Work) -> int:
    """Since when a contact works nowhere: as of now for those that were not noted yet, and no more for the others."""
    linked = "EXISTS (SELECT 1 FROM customer_contact l WHERE l.contact_id = contact.id)"
    await work.conn.execute(f"UPDATE contact SET unrelated_since = NULL WHERE unrelated_since IS NOT NULL AND {linked}")
    rows = await work.conn.fetch(
        f"UPDATE contact SET unrelated_since = ? WHERE unrelated_since IS NULL AND NOT {linked} RETURNING id",
        work.now_ms,
    )
    return len(rows)


_UNRELATED = (
    "FROM contact WHERE unrelated_since < ?"
    " AND NOT EXISTS (SELECT 1 FROM customer_contact l WHERE l.contact_id = contact.id)"
)


async def _count_unrelated(conn: Connection, before_ms: int) -> int:
    return await _count(conn, _UNRELATED, before_ms)


async def _unrelated(conn: Connection, before_ms: int, rows_max: int) -> list[str]:
    rows = await conn.fetch(f"SELECT id {_UNRELATED} ORDER BY id LIMIT ?", before_ms, rows_max)
    return [row[0] for row in rows]


async def _birthdays(conn: Connection, before_ms: int, rows_max: int | None) -> list[str]:
    """Contacts whose birthday nobody may use, since before a moment; at most so many, None for all."""
    found: list[str] = []
    after = ""
    while True:
        rows = await conn.fetch(
            "SELECT id, consent_events, created_at FROM contact WHERE birth_date IS NOT NULL AND created_at < ?"
            " AND id > ? ORDER BY id LIMIT 1000",
            before_ms,
            after,
        )
        if not rows:
            return found
        after = rows[-1][0]
        for contact_id, text, made_at in rows:
            events = records_stored(CONSENT_EVENT, orjson.loads(text))
            if not may_market(events) and last_word_ms(events, made_at) < before_ms:
                found.append(contact_id)
                if rows_max is not None and len(found) == rows_max:
                    return found


async def _count_birthdays(conn: Connection, before_ms: int) -> int:
    return len(await _birthdays(conn, before_ms, None))


async def _end_birthdays(work: Work, before_ms: int, rows_max: int) -> int:
    ids = await _birthdays(work.conn, before_ms, rows_max)
    await work.conn.execute("UPDATE contact SET birth_date = NULL WHERE id = ANY(?)", ids)
    for contact_id in ids:
        work.touched("contacts", contact_id, ("birthDate",))
    return len(ids)


# -- visits, files, issues ----------------------------------------------------------------------------------------

_POSITIONS = [COLLECTIONS["visits"].columns[name] for name in POSITIONS_OF_VISIT]
_POSITIONED = f"FROM visit WHERE happens_at < ? AND ({' OR '.join(f'{one} IS NOT NULL' for one in _POSITIONS)})"


async def _count_positions(conn: Connection, before_ms: int) -> int:
    return await _count(conn, _POSITIONED, before_ms)


async def _end_positions(work: Work, before_ms: int, rows_max: int) -> int:
    rows = await work.conn.fetch(
        f"UPDATE visit SET {', '.join(f'{one} = NULL' for one in _POSITIONS)}"
        f" WHERE id IN (SELECT id {_POSITIONED} ORDER BY happens_at, id LIMIT ?) RETURNING id",
        before_ms,
        rows_max,
    )
    for (visit_id,) in rows:
        work.touched("visits", visit_id, POSITIONS_OF_VISIT)
    return len(rows)


_OLD_FILES = "FROM attachment WHERE created_at < ? AND collection <> 'orders'"


async def _count_files(conn: Connection, before_ms: int) -> int:
    return await _count(conn, _OLD_FILES, before_ms) + await _count(conn, DELETED_FILES_BEFORE, before_ms)


async def _end_files(work: Work, before_ms: int, rows_max: int) -> int:
    rows = await work.conn.fetch(
        f"DELETE FROM attachment WHERE id IN (SELECT id {_OLD_FILES} ORDER BY created_at, id LIMIT ?)"
        " RETURNING id, stored_sha256, preview_sha256",
        before_ms,
        rows_max,
    )
    digests = sorted({digest for row in rows for digest in row[1:] if digest})
    await work.conn.execute("UPDATE stored_file SET check_at = ? WHERE sha256 = ANY(?)", work.now_ms, digests)
    for row in rows:
        work.deleted("attachments", row[0])
    # nor may those be brought back that somebody deleted meanwhile
    room = rows_max - len(rows)
    return len(rows) + await remove_deleted_files_before(work.conn, before_ms, work.now_ms, rows_max=room)


_ANSWERED = "FROM answer WHERE answered_at < ? AND (said <> '{}' OR contact_id IS NOT NULL)"


async def _count_answers(conn: Connection, before_ms: int) -> int:
    return await _count(conn, _ANSWERED, before_ms)


async def _end_answers(work: Work, before_ms: int, rows_max: int) -> int:
    rows = await work.conn.fetch(
        "UPDATE answer SET said = '{}', contact_id = NULL"
        f" WHERE id IN (SELECT id {_ANSWERED} ORDER BY answered_at, id LIMIT ?) RETURNING id",
        before_ms,
        rows_max,
    )
    for (answer_id,) in rows:
        work.touched("answers", answer_id, ("contactId", "values"))
    return len(rows)


_TOLD_OF_CASE = ("contactId", "subject", "notes", "resolution")
_CLOSED = (
    f"FROM service_case WHERE state = '{CaseState.CLOSED.value}' AND resolved_at < ? AND (subject <> '{ERASED_TEXT}'"
    " OR notes IS NOT NULL OR resolution IS NOT NULL OR contact_id IS NOT NULL)"
)


async def _count_cases(conn: Connection, before_ms: int) -> int:
    return await _count(conn, _CLOSED, before_ms)


async def _end_cases(work: Work, before_ms: int, rows_max: int) -> int:
    rows = await work.conn.fetch(
        f"UPDATE service_case SET subject = '{ERASED_TEXT}', notes = NULL, resolution = NULL, contact_id = NULL"
        f" WHERE id IN (SELECT id {_CLOSED} ORDER BY resolved_at, id LIMIT ?) RETURNING id",
        before_ms,
        rows_max,
    )
    for (case_id,) in rows:
        work.touched("cases", case_id, _TOLD_OF_CASE)
    return len(rows)


_NOTED = "FROM judgement WHERE ends_on < ? AND note IS NOT NULL"


async def _count_notes(conn: Connection, before_ms: int) -> int:
    rows = await conn.fetch(f"SELECT count(*) {_NOTED}", local_day(before_ms, "UTC"))
    return int(rows[0][0])


async def _end_notes(work: Work, before_ms: int, rows_max: int) -> int:
    rows = await work.conn.fetch(
        f"UPDATE judgement SET note = NULL WHERE id IN (SELECT id {_NOTED} ORDER BY ends_on, id LIMIT ?) RETURNING id",
        local_day(before_ms, "UTC"),
        rows_max,
    )
    for (judgement_id,) in rows:
        work.touched("judgements", judgement_id, ("note",))
    return len(rows)


_SETTLED = "FROM sync_issue WHERE state = 'RESOLVED' AND resolved_at < ?"


async def _count_issues(conn: Connection, before_ms: int) -> int:
    return await _count(conn, _SETTLED, before_ms)


async def _end_issues(work: Work, before_ms: int, rows_max: int) -> int:
    rows = await work.conn.fetch(
        f"DELETE FROM sync_issue WHERE id IN (SELECT id {_SETTLED} ORDER BY resolved_at, id LIMIT ?) RETURNING id",
        before_ms,
        rows_max,
    )
    for (issue_id,) in rows:
        work.deleted(ISSUES, issue_id)
    return len(rows)


# -- what nobody syncs --------------------------------------------------------------------------------------------

_PROBLEMS = "FROM import_row WHERE problems <> '[]' AND batch_id IN (SELECT id FROM import_batch WHERE finished_at < ?)"
_DEVICES = (
    f"FROM device WHERE state IN ('{DeviceState.REVOKED.value}', '{DeviceState.WIPED.value}')"
    " AND (name <> '' OR state_reason IS NOT NULL) AND coalesce(state_since, last_seen_at) < ?"
)
_SIGN_INS = "FROM refresh_family WHERE CASE WHEN revoked_at < expires_at THEN revoked_at ELSE expires_at END < ?"
_EVENTS = "FROM security_event WHERE at < ?"
_VALUES = "FROM audit_entry WHERE at < ? AND (changes IS NOT NULL OR personal_changes IS NOT NULL)"
_COPIES = "FROM deleted_record WHERE deleted_at < ?"


def _counter(rest: str) -> Callable[[Connection, int], Awaitable[int]]:
    async def count(conn: Connection, before_ms: int) -> int:
        return await _count(conn, rest, before_ms)

    return count


def _ender(verb: str, key: str, rest: str) -> Callable[[Work, int, int], Awaitable[int]]:
    async def end(work: Work, before_ms: int, rows_max: int) -> int:
        rows = await work.conn.fetch(
            f"{verb} WHERE {key} IN (SELECT {key} {rest} ORDER BY {key} LIMIT ?) RETURNING {key}", before_ms, rows_max
        )
        return len(rows)

    return end


async def _count(conn: Connection, rest: str, before_ms: int) -> int:
    return int((await conn.fetch(f"SELECT count(*) {rest}", before_ms))[0][0])


async def _count_entries(conn: Connection, before_ms: int) -> int:
    return await count_audit_before(conn, before_ms, (), ())


async def _end_entries(work: Work, before_ms: int, rows_max: int) -> int:
    return await remove_audit_before(work.conn, before_ms, (), (), rows_max=rows_max)


async def _end_values(work: Work, before_ms: int, rows_max: int) -> int:
    return await forget_values_before(work.conn, before_ms, rows_max=rows_max)


async def _end_copies(work: Work, before_ms: int, rows_max: int) -> int:
    return await remove_deleted_before(work.conn, before_ms, work.now_ms, rows_max=rows_max)


async def _nothing(_work: Work, _before_ms: int, _rows_max: int) -> int:
    return 0


Count = Callable[[Connection, int], Awaitable[int]]
End = Callable[[Work, int, int], Awaitable[int]]
People = Callable[[Connection, int, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Step:
    """How a class is carried out: how many rows, and ending some of them; or whom to erase."""

    count: Count
    end: End = _nothing
    people: People | None = None


STEPS: Mapping[RetentionClass, Step] = {
    KEPT.UNRELATED_CONTACTS: Step(_count_unrelated, people=_unrelated),
    KEPT.UNCONSENTED_BIRTHDAYS: Step(_count_birthdays, _end_birthdays),
    KEPT.VISIT_POSITIONS: Step(_count_positions, _end_positions),
    KEPT.ATTACHMENTS: Step(_count_files, _end_files),
    KEPT.ANSWERS: Step(_count_answers, _end_answers),
    KEPT.CLOSED_CASES: Step(_count_cases, _end_cases),
    KEPT.JUDGEMENTS: Step(_count_notes, _end_notes),
    KEPT.SETTLED_ISSUES: Step(_count_issues, _end_issues),
    KEPT.IMPORT_PROBLEMS: Step(_counter(_PROBLEMS), _ender("UPDATE import_row SET problems = '[]'", "id", _PROBLEMS)),
    KEPT.AUDIT_VALUES: Step(_counter(_VALUES), _end_values),
    KEPT.AUDIT_ENTRIES: Step(_count_entries, _end_entries),
    KEPT.DELETED_RECORDS: Step(_counter(_COPIES), _end_copies),
    KEPT.ENDED_DEVICES: Step(
        _counter(_DEVICES), _ender("UPDATE device SET name = '', state_reason = NULL", "id", _DEVICES)
    ),
    KEPT.ENDED_SIGN_INS: Step(_counter(_SIGN_INS), _ender("DELETE FROM refresh_family", "id", _SIGN_INS)),
    KEPT.SECURITY_EVENTS: Step(_counter(_EVENTS), _ender("DELETE FROM security_event", "id", _EVENTS)),
}
"""Class → how. Receipts go with `selvedge collect`, which knows what devices may still ask for."""
