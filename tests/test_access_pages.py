"""What docs/ACCESS.md, docs/PRIVACY.md and docs/LIMITS.md list is what the code declares: by the same numbers."""

import re
from pathlib import Path

import pytest

from backend.config import Settings
from backend.domain.permissions import MASKED, RIGHTS, SERVICE_RIGHTS, Action, Collection, Role
from backend.domain.privacy import KEPT_OF_CUSTOMER
from backend.domain.retention import RetentionClass
from backend.domain.throttling import ACCOUNT_WAITS, ADDRESS_WAITS, DEVICE_WAITS, MINUTE_MS, Waits
from backend.sync.grants import SEES_EVERY_TERRITORY
from backend.sync.mentions import FIELD_MENTIONS_MAX
from backend.sync.protocol import SYNCING_ROLES
from backend.usecases.oidc import STATE_MS
from backend.usecases.retention import STEPS
from backend.usecases.services import REQUESTS_PER_MINUTE_DEFAULT
from backend.usecases.watching import PENDING_ROWS_MAX, PENDING_SECONDS

DOCS = Path(__file__).resolve().parent.parent / "docs"
ACCESS, PRIVACY = (re.sub(r"\s+", " ", (DOCS / name).read_text("utf-8")) for name in ("ACCESS.md", "PRIVACY.md"))


LIMIT = re.compile(r"^\| (?:[^|]+) \| ([^|]*`[A-Z_]{4,}`[^|]*) \| ([–\d,; ]+) \|", re.MULTILINE)


INNER = {"clock_offset_days_max", "document_cache_entries_max", "goals_shown_max", "password_hash_workers_max",
         "person_export_rows_max", "plan_cache_entries_max", "pool_connections_max", "pool_wait_seconds_max",
         "rxdb_stream_rows_max", "statement_seconds_max", "today_customers_max", "today_rows_max",
         "write_retries_max"}  # fmt: skip
"""Bounds of what the server does, not of what somebody sends, or told where they belong."""


def default(name: str) -> object:
    return Settings.model_fields[name].default


def test_every_right_of_a_service_is_named_and_none_besides() -> None:
    listed = re.search(r"Rights: (.*?), which reads everything", ACCESS)
    assert listed is not None
    found = set()
    for part in listed[1].split("; "):
        words = re.sub(r"\(.*?\)", "", part.removeprefix("and ")).strip()
        verb, _, names = words.partition("` ")
        if names:
            found |= {f"{verb.strip('`')}{name.strip()}" for name in names.split(",")}
        else:
            found.add(words.strip("`"))
    assert found == set(SERVICE_RIGHTS)


@pytest.mark.parametrize(
    ("row", "waits"),
    [
        ("account, tried from unknown devices", ACCOUNT_WAITS),
        ("address (of IPv6 the /64)", ADDRESS_WAITS),
        ("a device the account has signed in on", DEVICE_WAITS),
    ],
)
def test_how_long_a_guesser_waits_is_told_in_the_figures_that_hold(row: str, waits: Waits) -> None:
    found = re.search(rf"\| {re.escape(row)} \| (\d+) \| (.*?) \|", ACCESS)
    assert found is not None
    assert int(found[1]) == waits.free
    assert waits.first_ms == 1_000
    same = f"1 s, doubled each time, at most {ACCOUNT_WAITS.most_ms // MINUTE_MS} minutes"
    own = f"1 s, doubled, at most {waits.most_ms // MINUTE_MS} minutes"
    assert found[2] == (same if waits is ACCOUNT_WAITS else "the same" if waits is ADDRESS_WAITS else own)
    assert waits.forget_ms == 60 * MINUTE_MS
    assert waits.most_ms == ACCOUNT_WAITS.most_ms or row.startswith("a device")


def test_the_other_figures_of_access_are_the_defaults() -> None:
    assert default("access_token_seconds") == 600
    assert "an access token of 10 minutes" in ACCESS
    assert f"given again for {default('refresh_grace_seconds')} seconds" in ACCESS
    assert "24 hours, `SELVEDGE_PASSWORD_RESET_HOURS`" in ACCESS
    assert default("password_reset_hours") == 24
    assert f"`SELVEDGE_KEY_OVERLAP_SECONDS` ({default('key_overlap_seconds')})" in ACCESS
    assert STATE_MS == 10 * MINUTE_MS
    assert "finished once, within ten minutes" in ACCESS
    assert f"(`requestsPerMinute`, {REQUESTS_PER_MINUTE_DEFAULT} unless said)" in ACCESS
    named = set(re.findall(r"SELVEDGE_(OIDC_[A-Z_]+)", ACCESS))
    assert named == {name.upper() for name in Settings.model_fields if name.startswith("oidc_")}


def test_what_is_said_of_roles_is_what_they_may() -> None:
    assert all(set(rights) == {Action.READ} for rights in RIGHTS[Role.BACK_OFFICE].values())
    assert Role.BACK_OFFICE in SEES_EVERY_TERRITORY - SYNCING_ROLES - MASKED
    assert "it writes nothing, exports nothing and syncs nothing" in ACCESS
    assert frozenset({Role.MARKETER, Role.ANALYST}) == MASKED == MASKED - SYNCING_ROLES
    assert "Marketers and analysts read personal fields masked" in PRIVACY
    clear = {role for role in SEES_EVERY_TERRITORY if role not in MASKED}
    assert clear == {Role.SERVICE_AGENT, Role.BACK_OFFICE, Role.ADMIN}
    assert "see every territory in clear (service agents, back office, admins, other systems)" in PRIVACY


def test_who_has_nothing_to_do_with_evaluations_and_the_five_steps_is_named() -> None:
    for page, told in (
        ("EVALUATION.md", "Reps, service agents and the back office do not"),
        ("FIVE_STEPS.md", "Reps, service agents and the back office have nothing to do with it"),
    ):
        assert told in re.sub(r"\s+", " ", (DOCS / page).read_text("utf-8"))
    for collection in (Collection.EVALUATIONS, Collection.IMPLEMENTATION):
        without = {role for role in Role if collection not in RIGHTS[role]}
        assert without == {Role.REP, Role.SERVICE_AGENT, Role.BACK_OFFICE}


def test_every_class_of_retention_is_named_and_none_besides() -> None:
    rows = re.findall(r"\n\| (`[A-Z_`, ]+) \|", (DOCS / "PRIVACY.md").read_text("utf-8"))
    assert {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)} == {kept.value for kept in RetentionClass}
    assert set(STEPS) == set(RetentionClass) - {RetentionClass.RECEIPTS}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)(?:=false)?`", PRIVACY))
    named -= {"secure_delete", "selvedge_security_events_total"}  # SQLite's, and a metric
    assert named <= set(Settings.model_fields), named - set(Settings.model_fields)


def test_pulls_are_written_down_when_the_page_says() -> None:
    assert f"a second after {PENDING_ROWS_MAX} rows" in PRIVACY
    assert PENDING_SECONDS == 60
    assert "after a minute" in PRIVACY


def test_every_bound_is_told_with_its_default_and_none_is_left_out() -> None:
    page = (DOCS / "LIMITS.md").read_text("utf-8")
    told: dict[str, str] = {}
    for names, values in LIMIT.findall(page):
        pairs = zip(re.findall(r"`([A-Z_]+)`|–", names), re.split("[,;] ", values.strip()), strict=True)
        told |= {name.lower(): value.replace(",", "") for name, value in pairs if name}
    assert told == {name: str(default(name)) for name in told}
    named = {name.lower() for name in re.findall(r"`([A-Z_]+)`", page)}
    bounds = {name for name in Settings.model_fields if name.endswith(("_max", "_per_minute"))}
    assert bounds - named <= INNER, "say on the page whom it bounds"


def test_as_many_mentions_of_a_person_are_listed_as_the_page_says() -> None:
    assert f"at most {FIELD_MENTIONS_MAX} per field" in PRIVACY


def test_nothing_closer_than_the_city_is_kept_of_an_erased_consumer() -> None:
    assert not KEPT_OF_CUSTOMER & {
        "district",
        "street",
        "postcode",
        "latE7",
        "lonE7",
        "phone",
        "email",
        "notes",
        "tags",
    }
    assert "place no closer than the city" in PRIVACY
