"""A small world in every table: two territories, two reps, a manager and those who see all.

Rows are filled from the models themselves, so a new column is in the world the day it exists. Everything is drawn
from one seed: the same rows on both databases.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson
from tortoise import fields
from tortoise.models import Model

from backend.auth.principal import Principal, PrincipalKind
from backend.domain.attachments import AttachmentKind, AttachmentState, PreviewState
from backend.domain.cases import CaseKind, CasePriority, CaseState
from backend.domain.catalogue import ArticleState
from backend.domain.consent import Channel
from backend.domain.contacts import ContactRole, Language
from backend.domain.custom import Customised, CustomKind
from backend.domain.customers import CustomerKind, LifecycleStage
from backend.domain.devices import DeviceState
from backend.domain.duplicates import MatchReason
from backend.domain.forms import FormOccasion, Measured
from backend.domain.imports import ImportState, RowOutcome
from backend.domain.issues import IssueState, Resolution, WayOut
from backend.domain.judgements import JudgementKind, JudgementReason
from backend.domain.names import search_keys, sort_key
from backend.domain.orders import OrderSource, OrderState
from backend.domain.permissions import DEVICES_RIGHT, Role
from backend.domain.tasks import TaskPriority, TaskSource, TaskState
from backend.domain.territories import TerritoryKind
from backend.domain.visits import VisitOutcome, VisitPurpose, VisitReason, VisitState, VisitVerification
from backend.storage.engine import Connection, Engine
from backend.storage.models import (
    attachments,
    catalogue,
    custom,
    customers,
    feedback,
    insight,
    judged,
    merges,
    people,
    records,
    sync,
    territories,
    work,
)
from backend.storage.models.columns import Day, Id, JsonText, LongText, Millis, Minor
from backend.storage.visibility import HOLDERS
from backend.sync.collections import COLLECTIONS
from backend.usecases.matches import MatchState
from tests.factories import NOW_MS, grant, insert

CUSTOM: Mapping[str, tuple[CustomKind, tuple[Any, ...]]] = {
    "b": (CustomKind.CHOICE, ("gold", "plain")),
    "size": (CustomKind.INT, (0, 3, 2**40, -7)),
    "since": (CustomKind.DATE, ("2025-05-01", "2026-01-02")),
    "vip": (CustomKind.BOOL, (True, False)),
    "marks": (CustomKind.CHOICES, (["a"], ["a", "가"], [])),
    "remark": (CustomKind.TEXT, ('O\'Neil "x"', "온유", "")),
    "가": (CustomKind.TEXT, ("back\\slash", "🧵")),
}
"""Key of a custom field → kind, values."""
SEEN_BY_ALL = (Role.ADMIN, Role.ANALYST, Role.MARKETER, Role.SERVICE_AGENT)

MEMBERS: Mapping[tuple[str, str], type[StrEnum]] = {
    ("customer", "kind"): CustomerKind,
    ("customer", "stage"): LifecycleStage,
    ("contact", "preferred_channel"): Channel,
    ("contact", "locale"): Language,
    ("customer_contact", "role"): ContactRole,
    ("visit", "state"): VisitState,
    ("visit", "purpose"): VisitPurpose,
    ("visit", "verification"): VisitVerification,
    ("visit", "outcome"): VisitOutcome,
    ("visit", "reason"): VisitReason,
    ("sales_order", "state"): OrderState,
    ("sales_order", "source"): OrderSource,
    ("task", "state"): TaskState,
    ("task", "priority"): TaskPriority,
    ("task", "source"): TaskSource,
    ("attachment", "kind"): AttachmentKind,
    ("attachment", "state"): AttachmentState,
    ("attachment", "preview_state"): PreviewState,
    ("territory", "kind"): TerritoryKind,
    ("user_account", "role"): Role,
    ("user_account", "locale"): Language,
    ("customer_score", "stage"): LifecycleStage,
    ("custom_field", "collection"): Customised,
    ("custom_field", "kind"): CustomKind,
    ("form", "occasion"): FormOccasion,
    ("answer_measure", "measure"): Measured,
    ("judgement", "kind"): JudgementKind,
    ("judgement", "reason"): JudgementReason,
    ("service_case", "kind"): CaseKind,
    ("service_case", "priority"): CasePriority,
    ("service_case", "state"): CaseState,
    ("style", "state"): ArticleState,
    ("sku", "state"): ArticleState,
    ("device", "state"): DeviceState,
    ("import_batch", "state"): ImportState,
    ("sync_issue", "state"): IssueState,
    ("sync_issue", "resolution"): Resolution,
    ("match_pair", "state"): MatchState,
}
LISTS = {("customer", "tags"), ("style", "size_scale")}
TEXTS = (
    "北辰百货",
    "온유",
    'a "quoted" text',
    "back\\slash",
    "two\nlines\tand\u0001control",
    "O'Neil & Söhne",
    "🧵 thread",
    "",
    "100%_",
    "/slash\u007f",
)
NAMES = ("王伟", "北辰百货", "김민수", "온유 스토어", "Grace Miller", "Beyond Retail")


@dataclass
class World:
    """Ids by what they are; `foreign` what only the other rep may see."""

    people: dict[str, str] = field(default_factory=dict)
    territories: list[str] = field(default_factory=list)
    customers: dict[str, list[str]] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)
    territory_of: dict[str, str | None] = field(default_factory=dict)

    def principal(self, who: str) -> Principal:
        if who == SERVICE:
            return Principal(PrincipalKind.SERVICE, service_id=self.people[who], rights=SERVICE_MAY)
        role = {"rep1": Role.REP, "rep2": Role.REP, "manager": Role.MANAGER}.get(who) or Role(who)
        return Principal(PrincipalKind.STAFF, user_id=self.people[who], device_id="d", role=role)

    @property
    def everything(self) -> list[str]:
        return [record_id for found in self.ids.values() for record_id in found]


SERVICE, BACK_OFFICE = "service", Role.BACK_OFFICE.value
SERVICE_MAY = frozenset({"read:customers", "read:orders", "read:catalogue", "read:territories", DEVICES_RIGHT})
"""What the world's service may: it reads no contacts, visits, tasks or scores."""
PRINCIPALS = ("rep1", "rep2", "manager", *(role.value for role in SEEN_BY_ALL))
EVERYBODY = (*PRINCIPALS, BACK_OFFICE, SERVICE)


class Filler:
    """Draws whole rows."""

    def __init__(self, conn: Connection, seed: int = 7) -> None:
        self.conn = conn
        self.rng = random.Random(seed)
        self.aside = random.Random(seed + 1)
        self.world = World()
        self.count = 0

    def id(self) -> str:
        bits = f"{self.rng.getrandbits(128):032x}"
        return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"

    async def row(self, model: type[Model], **given: Any) -> str:
        """Insert a row; what is not given is drawn. Returns its primary key."""
        meta = model._meta
        table = str(meta.db_table)
        values = {
            name: given[name] if name in given else self.value(table, name, found)
            for name, found in meta.fields_map.items()
        }
        await insert(self.conn, table, **{f'"{name}"': value for name, value in values.items()})
        key = str(values[meta.pk_attr])
        self.world.ids.setdefault(table, []).append(key)
        self.world.territory_of[key] = values.get("territory_id")
        return key

    def value(self, table: str, name: str, found: Any) -> Any:
        rng = self.rng
        if found.pk or (isinstance(found, Id) and not found.null):
            return self.id()
        if found.null and rng.random() < 0.3:
            return None
        if name == "custom":
            return self.custom()
        if (table, name) in MEMBERS:
            return rng.choice(list(MEMBERS[table, name])).value
        if (table, name) in LISTS:
            return orjson.dumps(sorted(rng.sample(["vip", "春", 'x"vip', "밤"], rng.randrange(3)))).decode()
        match found:
            case Id():
                return None
            case Day():
                return f"20{rng.randrange(20, 29)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
            case JsonText():
                value = {"b": [1, None, "온유"], "가": {"n": rng.randrange(2**40)}} if rng.random() < 0.8 else {}
                return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
            case Millis():
                # few moments, so that sorts have ties
                return NOW_MS + rng.randrange(-3, 4) * 86_400_123
            case Minor():
                return rng.choice([0, 1, -5, 2**31 + 7, 11_600_000_000, 2**53 - 1])
            case fields.BooleanField():
                return rng.random() < 0.5
            case fields.BigIntField():
                return rng.randrange(2**31)
            case fields.IntField():
                return rng.randrange(5)
            case LongText():
                return rng.choice(TEXTS) * rng.randrange(1, 4)
        self.count += 1
        if found.unique:
            return f"{table[:6]}-{self.count}"
        return rng.choice(TEXTS)[: found.max_length]

    def custom(self) -> str:
        """Values of some of the custom fields there are."""
        drawn = {key: self.aside.choice(values) for key, (_, values) in CUSTOM.items() if self.aside.random() < 0.6}
        return orjson.dumps(drawn, option=orjson.OPT_SORT_KEYS).decode()


async def make_world(engine: Engine, seed: int = 7) -> World:
    async with engine.write() as conn:
        return await _World(conn, seed).make()


def _scopes_of(territories: list[str], *, tasks: bool = True) -> list[str]:
    """What stands in territories and in none; what is to be done there only for who reads others' tasks."""
    customers = [*(f"territory:{one}" for one in territories), "unassigned"]
    return [*customers, *(f"tasks:{one}" for one in territories), "unassigned_tasks"] if tasks else customers


class _World(Filler):
    async def make(self) -> World:
        await self.people()
        await self.catalogue()
        for who, territory_id in (("rep1", self.north), ("rep2", self.south)):
            await self.patch(who, territory_id)
        await self.across()
        await self.attached()
        await self.defined()
        await self.said()
        await self.revisions()
        await self.others()
        await self.edges()
        return self.world

    async def people(self) -> None:
        root = await self.row(territories.Territory, parent_id=None, path="/cn")
        self.north = await self.row(territories.Territory, parent_id=root, path="/cn/north")
        self.south = await self.row(territories.Territory, parent_id=root, path="/cn/south")
        self.world.territories = [root, self.north, self.south]
        scopes = {
            "rep1": [f"territory:{self.north}", f"tasks:{self.north}"],
            "rep2": [f"territory:{self.south}", f"tasks:{self.south}"],
            "manager": _scopes_of(self.world.territories),
        }
        for who in PRINCIPALS:
            role = {"rep1": "REP", "rep2": "REP", "manager": "MANAGER"}.get(who, who)
            user_id = await self.row(people.User, role=role, active=True, name=self.rng.choice(NAMES))
            self.world.people[who] = user_id
            await grant(
                self.conn,
                user_id,
                *scopes.get(who, _scopes_of(self.world.territories, tasks=role == Role.ADMIN)),
                f"user:{user_id}",
                "catalogue",
                "organisation",
            )

    async def catalogue(self) -> None:
        self.season = await self.row(catalogue.Season)
        self.price_list = await self.row(catalogue.PriceList)
        self.articles: list[tuple[str, str]] = []
        for _ in range(3):
            style = await self.row(catalogue.Style, season_id=self.rng.choice([self.season, None]))
            await self.row(catalogue.Price, price_list_id=self.price_list, style_id=style)
            for _ in range(2):
                colour = await self.row(catalogue.Colour, style_id=style)
                await self.row(catalogue.Sku, style_id=style, colour_id=colour)
                self.articles.append((style, colour))
        self.run = await self.row(insight.ScoreRun)

    async def patch(self, who: str, territory_id: str) -> None:
        rep = self.world.people[who]
        mine = self.world.customers[who] = []
        for number in range(7):
            mine.append(await self.customer(territory_id, parent_id=mine[0] if number in (2, 3) else None))
        for customer_id in mine[:5]:
            await self.around(customer_id, territory_id, rep)
        # a task of one's own, about nobody
        await self.row(work.Task, customer_id=None, territory_id=None, assignee_id=rep)

    async def customer(self, territory_id: str | None, parent_id: str | None = None) -> str:
        names = {"zh": self.rng.choice((*NAMES, None)), "en": self.rng.choice(NAMES)}
        phone = f"+8613{self.rng.randrange(10**9):09d}"
        return await self.row(
            customers.Customer,
            territory_id=territory_id,
            parent_id=parent_id,
            name_zh=names["zh"],
            name_en=names["en"],
            phone=phone,
            search_keys=search_keys(names, phones=[phone]),
            sort_key=sort_key(names),
            price_list_id=self.rng.choice([self.price_list, None]),
            lat_e7=self.rng.choice([312_304_160, None]),
            lon_e7=self.rng.choice([1_214_737_010, None]),
        )

    async def contact(self, customer_id: str, territory_id: str | None) -> str:
        names = {"zh": self.rng.choice(NAMES)}
        contact_id = await self.row(
            customers.Contact,
            name_zh=names["zh"],
            search_keys=search_keys(names),
            sort_key=sort_key(names, person=True),
        )
        await self.link(customer_id, contact_id, territory_id)
        return contact_id

    async def link(self, customer_id: str, contact_id: str, territory_id: str | None) -> None:
        await self.row(
            customers.CustomerContact, customer_id=customer_id, contact_id=contact_id, territory_id=territory_id
        )

    async def around(self, customer_id: str, territory_id: str, rep: str) -> None:
        for _ in range(self.rng.randrange(3)):
            await self.contact(customer_id, territory_id)
        place = {"customer_id": customer_id, "territory_id": territory_id}
        previous = None
        for _ in range(self.rng.randrange(4)):
            previous = await self.row(work.Visit, **place, rep_id=rep, rescheduled_from_id=previous)
        if previous is not None:
            ahead = {"state": VisitState.PLANNED.value, "planned_at": NOW_MS + 86_400_123}
            await self.row(work.Visit, **place, **ahead, rep_id=rep, rescheduled_from_id=None)
        for _ in range(self.rng.randrange(5)):
            order_id = await self.row(
                work.SalesOrder, **place, rep_id=self.rng.choice([rep, None]), season_id=self.season, currency="KRW"
            )
            for position in range(self.rng.randrange(4)):
                style, colour = self.rng.choice([*self.articles, (None, None)])
                await self.row(
                    work.OrderLine, order_id=order_id, position=position // 2, style_id=style, colour_id=colour
                )
        for _ in range(self.rng.randrange(3)):
            await self.row(work.Task, **place, assignee_id=rep)
        if self.rng.random() < 0.8:
            await self.row(insight.CustomerScore, **place, run_id=self.run, currency="CNY")
            for position in range(self.rng.randrange(4)):
                await self.row(insight.ScoreLine, customer_id=customer_id, position=position)

    async def across(self) -> None:
        """What makes scopes and masks hard: a head in another territory, a buyer of two shops, a customer of nobody,
        customers who are persons, one of them with doors."""
        north, south = self.world.customers["rep1"], self.world.customers["rep2"]
        persons = [north[0], north[4], *south[2:5]]
        await self.conn.execute("UPDATE customer SET kind = ? WHERE id = ANY(?)", CustomerKind.CONSUMER.value, persons)
        self.head = await self.customer(self.south)
        await self.around(self.head, self.south, self.world.people["rep2"])
        await self.row(
            insight.CustomerScore, customer_id=await self.customer(self.south), territory_id=self.south, run_id=self.run
        )
        await self.conn.execute("UPDATE customer SET parent_id = ? WHERE id = ?", self.head, north[1])
        buyer = await self.contact(north[0], self.north)
        await self.link(south[0], buyer, self.south)
        await self.contact(await self.customer(None), None)
        self.world.customers["head"] = [self.head]

    async def attached(self) -> None:
        """Something on every third record that can hold it."""
        for holder in HOLDERS:
            for record_id in self.world.ids[COLLECTIONS[holder].table][::3]:
                for _ in range(self.rng.randrange(1, 4)):
                    attachment_id = await self.row(attachments.Attachment, collection=holder, record_id=record_id)
                    at = None if record_id == self.head else self.world.territory_of[record_id]
                    self.world.territory_of[attachment_id] = at

    async def others(self) -> None:
        """Who reads but is not of the field: a back office and another system."""
        office = await self.row(people.User, role=BACK_OFFICE, active=True)
        everywhere = _scopes_of(self.world.territories)
        await grant(self.conn, office, *everywhere, f"user:{office}", "catalogue", "organisation")
        service = self.id()
        north = (f"territory:{self.north}", f"tasks:{self.north}")
        await grant(self.conn, service, *north, "catalogue", "organisation")
        self.world.people |= {BACK_OFFICE: office, SERVICE: service}
        # who answers for whom
        for who in ("manager", Role.ADMIN.value):
            await grant(self.conn, self.world.people[who], f"user:{self.world.people['rep1']}")

    async def edges(self) -> None:
        """What is no record of the trade: devices, imports, pairs, sync issues."""
        ((clock, _),) = await self.conn.fetch("SELECT seq, horizon FROM sync_clock")
        users = [self.world.people[who] for who in ("rep1", "rep2", "manager", Role.ADMIN.value, Role.MARKETER.value)]
        batch = ""
        for user_id in users:
            for acked in (clock, clock - 1, 7):
                await self.row(people.Device, user_id=user_id, acked_seq=acked)
            batch = await self.row(
                records.ImportBatch, kind="orders", started_by=f"staff:{user_id}", undone_at=NOW_MS if batch else None
            )
            for outcome in (*RowOutcome, RowOutcome.FAILED):
                record_id = self.rng.choice(self.world.ids["customer"])
                problems = '[{"code": "REQUIRED", "path": ["currency"], "allowed": [], "params": {}}]'
                await self.row(
                    records.ImportRow, batch_id=batch, outcome=outcome.value, record_id=record_id, problems=problems
                )
                claim = {"collection": "customers", "record_id": record_id, "external": self.id()}
                await self.row(records.ExternalId, batch_id=batch, **claim)
            for device_id in self.rng.sample(self.world.ids["device"], 2):
                issue = {"code": "CONFLICT", "collection": "tasks", "field": "notes", "problems": "[]", "about": "{}"}
                ways = orjson.dumps([way.value for way in WayOut][:2]).decode()
                for state in IssueState:
                    await self.row(
                        sync.SyncIssue,
                        **issue, user_id=user_id, device_id=device_id, ways_out=ways, names="{}", history="[]",
                        state=state.value,
                    )  # fmt: skip
        await self.row(records.ImportBatch, kind="demo", started_by=f"staff:{users[0]}")
        await self.audited(users)
        for collection, table in (("customers", "customer"), ("contacts", "contact")):
            known = self.world.ids[table]
            pairs = [(one, other) for at, one in enumerate(known) for other in known[at + 1 :]]
            for one, other in self.rng.sample(pairs, 14):
                reasons = orjson.dumps([reason.value for reason in MatchReason][:2]).decode()
                gone = self.rng.random() < 0.3
                await self.row(
                    merges.MatchPair,
                    collection=collection, first_id=one, second_id=self.id() if gone else other, reasons=reasons,
                    state=(MatchState.MERGED if gone else self.rng.choice([MatchState.OPEN] * 3 + [*MatchState])).value,
                )  # fmt: skip

    async def defined(self) -> None:
        """Of customers and contacts one field each is personal, and its place within the map differs."""
        for collection in Customised:
            personal = {"customers": "b", "contacts": "가"}.get(collection.value, "remark")
            for position, (key, (kind, _)) in enumerate(CUSTOM.items()):
                await self.row(
                    custom.CustomFieldRow,
                    collection=collection.value, key=key, kind=kind.value, position=position, required=False,
                    personal=key == personal, retired=key == "since", least=self.aside.choice([None, -7]), most=2**50,
                    choices='[{"nameEn":"Gold","retired":false,"value":"gold"}]',
                )  # fmt: skip

    async def said(self) -> None:
        """Two versions of a form, answers with what they measure, one corrected, and complaints."""
        forms = [await self.row(feedback.FormVersion, key="visit", version=at, questions="[]") for at in (1, 2)]
        forms.append(await self.row(feedback.FormVersion, key="survey", version=1, questions="[]"))
        visits, styles = self.world.ids["visit"], self.world.ids["style"]
        for customer_id in self.world.ids["customer"]:
            place = {"customer_id": customer_id, "territory_id": self.world.territory_of[customer_id]}

            def own(record_id: str | None, territory_id: str | None = place["territory_id"]) -> str | None:
                """Nobody speaks of a visit or an order that is not his own."""
                elsewhere = record_id is not None and self.world.territory_of.get(record_id) != territory_id
                return None if elsewhere else record_id

            root = None
            for number in range(self.rng.randrange(3)):
                answer = self.id()
                await self.row(
                    feedback.Answer,
                    id=answer, form_id=self.rng.choice(forms), corrects_id=root, root_id=root or answer,
                    visit_id=own(self.rng.choice([None, *visits])), style_id=self.rng.choice([None, *styles]),
                    contact_id=self.rng.choice([None, *self.world.ids["contact"]]), **place,
                )  # fmt: skip
                root = answer if number == 0 else root
                for position in range(self.rng.randrange(3)):
                    await self.row(feedback.AnswerMeasure, answer_id=answer, position=position)
            for _ in range(self.rng.randrange(3)):
                await self.row(
                    feedback.ServiceCase,
                    visit_id=own(self.rng.choice([None, *visits])), style_id=self.rng.choice([None, *styles]),
                    order_id=own(self.rng.choice([None, *self.world.ids["sales_order"]])),
                    contact_id=self.aside.choice([None, *self.world.ids["contact"]]),
                    assignee_id=self.world.people["rep1"], **place,
                )  # fmt: skip
            for _ in range(self.rng.randrange(3)):
                author = self.rng.choice(sorted(self.world.people.values()))
                await self.row(judged.Judgement, created_by=author, **place)

    async def audited(self, users: list[str]) -> None:
        """Entries of the audit, and what every kind of row has that the few above happen to lack."""
        doors = ("API", "SYNC", "JOB", "IMPORT")
        change = '[{"after":"é","before":null,"path":"notes"}]'
        for number in range(40):
            record_id = self.rng.choice(self.world.ids["customer"])
            await self.row(
                records.AuditEntry,
                actor=f"staff:{self.rng.choice(users)}", door=doors[number % 4], collection="customers",
                action=("CREATE", "PATCH", "DELETE")[number % 3], record_id=record_id,
                device_id=self.rng.choice([None, *self.world.ids["device"]]), fields_changed='["notes"]',
                changes=self.rng.choice([None, change]), personal_changes=self.rng.choice([None, change]),
            )  # fmt: skip
        for _ in range(4):
            season = await self.row(catalogue.Season)
            style = await self.row(catalogue.Style, season_id=season)
            await self.row(catalogue.Price, price_list_id=self.price_list, style_id=style)
            await self.row(insight.ScoreRun)
        await self.row(
            work.Task, customer_id=None, territory_id=None, assignee_id=users[3], related_id=self.world.ids["visit"][0]
        )
        await self.row(
            sync.SyncIssue,
            code="CONFLICT", collection="tasks", field="notes", problems="[]", about="{}", ways_out="[]", names="{}",
            history="[]", user_id=users[3], mutation_id=self.id(), state=IssueState.OPEN.value,
        )  # fmt: skip

    async def revisions(self) -> None:
        for number, (collection, table) in enumerate(
            (("customers", "customer"), ("orders", "sales_order"), ("visits", "visit"), ("scores", "customer_score"))
        ):
            for record_id in self.world.ids[table][::2]:
                await insert(
                    self.conn,
                    "feed",
                    key=f"{collection}:{record_id}",
                    collection=collection,
                    record_id=record_id,
                    seq=2**40 + number,
                    deleted=False,
                    doc_version=1,
                    field_seq="{}",
                    digest=1,
                    document=b"{}",
                )
