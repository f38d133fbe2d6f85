"""Retention: what is past its period goes, what is not stays, and the preview says beforehand how much."""

from typing import Any

import orjson
import pytest

from backend.config import Settings, load_messages
from backend.domain.audit import AuditAction
from backend.domain.consent import CONSENT_EVENTS_MAX
from backend.domain.messages import LOCALES
from backend.domain.retention import RetentionClass, last_word_ms, may_market
from backend.domain.times import DAY_MS, instant_text
from backend.ids import new_id
from backend.sync.doctor import check_feed
from backend.usecases.privacy.eraser import Eraser
from backend.usecases.retention import STEPS, Carried, carry_out, look, rules_of
from backend.wiring import open_eraser, open_file_service
from tests.house import House
from tests.usecases.asking import ask, data
from tests.usecases.phones import sync, synced
from tests.usecases.test_erasure import _rows, change, contact_at, make, shop

YEAR = 366
SETTINGS = Settings(
    retain_unrelated_contact_days=100,
    retain_unconsented_birthday_days=100,
    retain_visit_position_days=100,
    retain_attachment_days=100,
    retain_settled_issue_days=100,
    retain_import_problem_days=100,
    retain_audit_value_days=100,
    retain_audit_entry_days=200,
    retain_ended_device_days=100,
    retain_ended_sign_in_days=100,
    retain_security_event_days=100,
    nightly_rows_per_work=2,
)
K = RetentionClass


async def carried(house: House, tmp_path: Any, settings: Settings = SETTINGS) -> Carried:
    settings = settings.model_copy(update={"data_dir": tmp_path / "var"})
    files = open_file_service(settings, house.engine, lambda: house.now_ms)
    eraser: Eraser = open_eraser(settings, house.engine, files, lambda: house.now_ms)

    async def erase(one: str, reason: Any) -> None:
        await eraser.erase(house.people["system"], one, reason, by_operator=True)

    try:
        return await carry_out(house.engine, settings=settings, clock=lambda: house.now_ms, erase=erase)
    finally:
        await files.close()


async def previewed(house: House) -> dict[RetentionClass, int | None]:
    async with house.engine.read() as conn:
        return {one.rule.kept: one.rows for one in await look(conn, SETTINGS, house.now_ms)}


async def scene(house: House, age_days: int) -> dict[str, str]:
    """Something of every class, so many days old. Rows nobody syncs are written straight into their tables."""
    now, house.now_ms = house.now_ms, house.now_ms - age_days * DAY_MS
    at = house.now_ms
    try:
        customer = await shop(house)
        found = {"customer": customer, "unrelated": await make(house, "wei", "contacts", nameEn="Ann")}
        agreed = {"channel": "ANY", "purpose": "MARKETING", "change": "GIVEN", "at": instant_text(at),
                  "source": "PAPER", "wordingVersion": "1"}  # fmt: skip
        withdrawn = {**agreed, "change": "WITHDRAWN"}
        for name, events in (("agreed", [agreed]), ("withdrawn", [agreed, withdrawn]), ("never", [])):
            found[name] = await contact_at(house, customer, nameEn=name, birthDate="1990-02-03", consentEvents=events)
        for number in range(3):
            began_at = at - (3 - number) * 3_600_000
            found[f"visit{number}"] = await make(
                house,
                "wei",
                "visits",
                customerId=customer,
                state="COMPLETED",
                outcome="CONTACT_MADE",
                checkInAt=began_at,
                checkInLatE7=312_300_000,
                checkInLonE7=1_214_700_000,
                checkInAccuracyM=8,
                checkInFixAgeS=2,
                checkOutAt=began_at + 60_000,
            )
    finally:
        house.now_ms = now
    async with house.engine.write() as conn:
        for table, columns in {
            "attachment": {"collection": "visits", "record_id": found["visit0"], "kind": "PHOTO", "file_name": "a.jpg",
                           "sha256": "0" * 64, "size_bytes": 1, "mime": "image/jpeg", "proof": False,
                           "state": "DECLARED", "preview_state": "NONE", "created_at": at, "created_by": "x"},
            "sync_issue": {"user_id": new_id(), "collection": "visits", "record_id": new_id(), "code": "CONFLICT",
                           "ways_out": "[]", "state": "RESOLVED", "created_at": at, "resolved_at": at},
            "import_batch": {"kind": "ORDERS", "system": "erp", "file_name": "f", "file_sha256": "0", "mapping": "{}",
                             "state": "DONE", "rows_total": 1, "rows_created": 0, "rows_unchanged": 0, "rows_failed": 1,
                             "started_at": at, "finished_at": at, "started_by": "x"},
            "refresh_family": {"user_id": new_id(), "device_id": new_id(), "generation": 1, "rotated_at": at,
                               "expires_at": at + YEAR * DAY_MS, "revoked_at": at},
            "security_event": {"at": at, "kind": "UNUSUAL_PULL", "user_id": new_id(), "rows": 1, "rows_expected": 1},
            "device": {"user_id": new_id(), "name": "Min's phone", "platform": "ANDROID", "state": "REVOKED",
                       "created_at": at, "last_seen_at": at, "acked_seq": 0, "last_client_seq": 0, "state_since": at},
        }.items():  # fmt: skip
            found[table] = new_id()
            names = ["id", *columns]
            marks = ", ".join("?" for _ in names)
            await conn.execute(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", found[table], *columns.values()
            )
        found["import_row"] = new_id()
        await conn.execute(
            "INSERT INTO import_row (id, batch_id, row_number, outcome, problems) VALUES (?, ?, 1, 'FAILED', ?)",
            found["import_row"],
            found["import_batch"],
            '[{"code":"REQUIRED"}]',
        )
        await conn.execute("UPDATE contact SET unrelated_since = ? WHERE id = ?", at, found["unrelated"])
    return found


@pytest.mark.requirement("R49")
async def test_what_is_past_its_period_goes_and_nothing_else_does(house: House, tmp_path: Any) -> None:
    old, young = await scene(house, 150), await scene(house, 50)
    expected = await previewed(house)
    assert await previewed(house) == expected  # looking changes nothing
    done = await carried(house, tmp_path)
    assert {kept: rows for kept, rows in done.rows.items() if kept is not K.AUDIT_VALUES} == {
        K.UNRELATED_CONTACTS: 1,
        K.UNCONSENTED_BIRTHDAYS: 2,
        K.VISIT_POSITIONS: 3,
        K.ATTACHMENTS: 1,
        K.ANSWERS: 0,
        K.CLOSED_CASES: 0,
        K.JUDGEMENTS: 0,
        K.SETTLED_ISSUES: 1,
        K.IMPORT_PROBLEMS: 1,
        K.AUDIT_ENTRIES: 0,
        K.DELETED_RECORDS: 0,
        K.ENDED_DEVICES: 1,
        K.ENDED_SIGN_INS: 1,
        K.SECURITY_EVENTS: 1,
    }
    told = {kept: rows for kept, rows in expected.items() if rows is not None}
    # values of a contact that is erased go with it, before their own turn
    assert {**told, K.AUDIT_VALUES: done.rows[K.AUDIT_VALUES]} == done.rows
    assert 0 < done.rows[K.AUDIT_VALUES] <= told[K.AUDIT_VALUES]
    assert expected[K.RECEIPTS] is None
    gone = {table: await house.row(table, old[table], "id") for table in ("attachment", "sync_issue", "refresh_family",
                                                                          "security_event")}  # fmt: skip
    assert gone == dict.fromkeys(gone, ())
    for table in gone:
        assert await house.row(table, young[table], "id") == (young[table],)
    assert await house.row("contact", old["unrelated"], "id") == ()
    assert await _rows(house, "SELECT reason FROM erased_person WHERE id = ?", old["unrelated"])
    assert await house.row("contact", young["unrelated"], "id") == (young["unrelated"],)
    days = {name: (await house.row("contact", old[name], "birth_date"))[0] for name in ("agreed", "withdrawn", "never")}
    assert days == {"agreed": "1990-02-03", "withdrawn": None, "never": None}
    assert (await house.row("contact", young["never"], "birth_date"))[0] == "1990-02-03"
    assert await house.row("visit", old["visit0"], "check_in_lat_e7", "check_in_accuracy_m") == (None, None)
    assert (await house.row("visit", young["visit0"], "check_in_lat_e7"))[0] == 312_300_000
    assert await house.row("device", old["device"], "name") == ("",)
    assert await house.row("device", young["device"], "name") == ("Min's phone",)
    assert await house.row("import_row", old["import_row"], "problems") == ("[]",)
    assert set((await previewed(house)).values()) == {0, None}
    untold = {old["sync_issue"], young["sync_issue"], young["attachment"]}  # written past the product
    mine = {*old.values(), *young.values()} - untold
    assert [one for one in (await check_feed(house.engine)).findings if one.record_id in mine] == []
    told = await _rows(house, "SELECT record_id, changes FROM audit_entry WHERE action = ?", AuditAction.RETAIN.value)
    assert {row[0]: orjson.loads(row[1])[0]["after"] for row in told} == {
        kept.value: rows for kept, rows in done.rows.items() if rows
    }
    assert not any((await carried(house, tmp_path)).rows.values())


async def test_a_contact_is_unrelated_from_the_night_it_is_first_found_so(house: House, tmp_path: Any) -> None:
    """One made years ago, whose last link went yesterday, is not erased tonight."""
    contact = await make(house, "wei", "contacts", nameEn="Ann")
    house.now_ms += 3_000 * DAY_MS
    assert (await carried(house, tmp_path)).rows[K.UNRELATED_CONTACTS] == 0
    house.now_ms += 60 * DAY_MS
    customer = await shop(house)
    link = await make(house, "wei", "customerContacts", customerId=customer, contactId=contact)
    await carried(house, tmp_path)
    assert await house.row("contact", contact, "unrelated_since") == (None,)
    async with house.engine.write() as conn:
        await conn.execute("DELETE FROM customer_contact WHERE id = ?", link)
    await carried(house, tmp_path)
    house.now_ms += 100 * DAY_MS
    assert (await carried(house, tmp_path)).rows[K.UNRELATED_CONTACTS] == 0
    house.now_ms += 1
    assert (await carried(house, tmp_path)).rows[K.UNRELATED_CONTACTS] == 1


async def test_a_period_of_nothing_is_for_ever(house: House, tmp_path: Any) -> None:
    old = await scene(house, 5_000)
    for_ever = {name: 0 for name in Settings.model_fields if name.startswith("retain_")}
    done = await carried(house, tmp_path, SETTINGS.model_copy(update=for_ever))
    assert set(done.rows) == {K.DELETED_RECORDS}
    assert await house.row("attachment", old["attachment"], "id") == (old["attachment"],)


async def test_admins_see_the_preview_in_their_language_and_nobody_else_does(house: House) -> None:
    asked = "{ retentionPreview { kept name purpose ground days rows } }"
    found = (await data(house, "admin", asked))["retentionPreview"]
    assert [one["kept"] for one in found] == [kept.value for kept in RetentionClass]
    assert all(one["name"] and one["purpose"] and one["ground"] for one in found)
    for who in ("wei", "manager", "agent", "analyst"):
        answer = await ask(house, who, asked)
        assert answer["errors"][0]["extensions"]["code"] == "NOT_PERMITTED", who


def test_every_class_has_a_period_and_is_told_in_every_language() -> None:
    texts = load_messages()
    assert {rule.kept for rule in rules_of(Settings())} == set(RetentionClass)
    assert set(STEPS) == set(RetentionClass) - {K.RECEIPTS}
    for rule in rules_of(Settings()):
        for locale in LOCALES:
            for key in (rule.purpose_key, rule.ground_key, f"enum.RetentionClass.{rule.kept.value}"):
                assert texts[locale][key].strip(), (locale, key)


def test_consent_counts_as_it_was_last_said() -> None:
    given = {"channel": "EMAIL", "purpose": "PROFILING", "change": "GIVEN", "at": 5, "source": "WEB"}
    assert not may_market([])
    assert may_market([given])
    assert not may_market([given, {**given, "change": "WITHDRAWN", "at": 4}])
    assert not may_market([{**given, "purpose": "SERVICE"}])
    assert last_word_ms([given], 9) == 9
    assert last_word_ms([given, {**given, "at": 12}], 9) == 12
    assert CONSENT_EVENTS_MAX > 1


@pytest.mark.requirement("R49")
async def test_words_of_old_answers_and_closed_complaints_go_and_what_they_measure_stays(
    house: House, tmp_path: Any
) -> None:
    question = {"key": "happy", "kind": "CSAT", "nameEn": "Happy?", "measure": "CSAT"}
    form = await make(house, "admin", "forms", key="f", occasion="VISIT", nameEn="F", questions=[question])
    customer, now = await shop(house), house.now_ms
    contact = await contact_at(house, customer, nameEn="Ann")
    made: dict[str, list[str]] = {"old": [], "young": []}
    for name, days in (("old", 150), ("young", 50)):
        house.now_ms = now - days * DAY_MS
        made[name].append(await make(house, "wei", "answers", customerId=customer, contactId=contact, formId=form,
                                     values={"happy": 2}))  # fmt: skip
        for state in ("CLOSED", "NEW"):
            told = {"subject": "late", "notes": "two weeks", "resolution": "sent again", "contactId": contact}
            case = await make(house, "wei", "cases", customerId=customer, **told)
            made[name].append(case)
            if state == "CLOSED":
                await change(house, "agent", "cases", case, state=state)
    house.now_ms = now
    phone = await synced(house, "wei")
    settings = SETTINGS.model_copy(update={"retain_answer_days": 100, "retain_closed_case_days": 100})
    done = await carried(house, tmp_path, settings)
    assert (done.rows[K.ANSWERS], done.rows[K.CLOSED_CASES]) == (1, 1)
    await sync(house, "wei", phone)
    answer, closed, heard = made["old"]
    document = phone.documents["answers", answer]
    assert (document["values"], document["contactId"], document["measures"][0]["value"]) == ({}, None, 2)
    told = [phone.documents["cases", closed][name] for name in ("subject", "notes", "resolution", "contactId")]
    assert told == ["•••", None, None, None]
    assert phone.documents["cases", heard]["notes"] == "two weeks"
    assert phone.documents["answers", made["young"][0]]["values"] == {"happy": 2}
    assert phone.documents["cases", made["young"][1]]["notes"] == "two weeks"
    again = await carried(house, tmp_path, settings)
    assert (again.rows[K.ANSWERS], again.rows[K.CLOSED_CASES]) == (0, 0)


@pytest.mark.requirement("R49")
async def test_the_note_of_a_judgement_goes_after_its_end_and_the_judgement_stays(house: House, tmp_path: Any) -> None:
    customer, now, made = await shop(house), house.now_ms, []
    for days in (150, 50):
        house.now_ms = now - days * DAY_MS
        skip = {"kind": "SKIP", "reason": "OTHER", "note": "owner is ill"}
        made.append(await make(house, "wei", "judgements", customerId=customer, **skip))
    house.now_ms = now
    phone = await synced(house, "wei")
    settings = SETTINGS.model_copy(update={"retain_judgement_days": 100})
    assert (await carried(house, tmp_path, settings)).rows[K.JUDGEMENTS] == 1
    await sync(house, "wei", phone)
    assert [phone.documents["judgements", one]["note"] for one in made] == [None, "owner is ill"]
    assert phone.documents["judgements", made[0]]["reason"] == "OTHER"
    assert (await carried(house, tmp_path, settings)).rows[K.JUDGEMENTS] == 0
