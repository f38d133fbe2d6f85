"""The composition root: what exists once per process, and which use case answers to which intent."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import strawberry

from backend.admission import Admission
from backend.auth.keys import KeyRing, Keys, RescueKeys, load_keys, load_rescue_keys
from backend.auth.passwords import Passwords
from backend.auth.tokens import Tokens
from backend.clock import Clock, wall_clock_ms
from backend.config import Settings, load_messages
from backend.domain.attachments import AttachmentLimits
from backend.domain.messages import Catalogue
from backend.domain.privacy import ErasureReason
from backend.errors import BadSetting
from backend.integrations.erasures import ErasureList
from backend.integrations.files import open_files
from backend.integrations.oidc import Provider, ProviderSettings
from backend.integrations.spool import Spool
from backend.reads.plans import Plans
from backend.schema.context import Context
from backend.schema.execute import Documents
from backend.schema.http import GraphQLEdge, make_documents
from backend.schema.limits import Limits
from backend.schema.root import build_schema
from backend.schema.sensitive import SensitiveKeys
from backend.schema.trusted import trust_operations
from backend.storage.engine import Engine, open_engine
from backend.storage.keys import SharedKeys
from backend.storage.traced import TracedEngine
from backend.sync.aliases import following_aliases
from backend.sync.changes import Intent, UseCase
from backend.sync.collect import collect
from backend.sync.erased import refusing_erased
from backend.sync.issues import ISSUES
from backend.sync.nightly import Nightly
from backend.sync.poke import Pokes
from backend.sync.pull import SumsKept
from backend.sync.push import UseCaseTable
from backend.tracing import TRACES
from backend.usecases.answers import change_answers
from backend.usecases.attachments import attachments_within
from backend.usecases.cases import change_cases
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.custom_fields import FIELDS_MAX, custom_fields_within
from backend.usecases.customers import change_customers
from backend.usecases.demo import PASSWORD, sign_ins_of
from backend.usecases.forms import FORMS_MAX, forms_within
from backend.usecases.issues import resolver
from backend.usecases.judgements import change_judgements
from backend.usecases.oidc import OidcSignIn
from backend.usecases.orders import change_orders
from backend.usecases.people import create_user
from backend.usecases.privacy.eraser import Eraser, Told
from backend.usecases.records import RESTORE_DAYS, restoring
from backend.usecases.retention import RETAINER, carry_out
from backend.usecases.sessions import Session, Sessions, Standing
from backend.usecases.tasks import change_tasks
from backend.usecases.uploads import Files, limits_of
from backend.usecases.visits import change_visits
from backend.usecases.watching import Watch
from backend.web.bulk import BulkDoor
from backend.web.doors import Doors
from backend.web.files import FileDoors
from backend.web.graphiql import GraphiQL
from backend.web.turbo import TurboDoor


def use_cases_within(
    limits: AttachmentLimits,
    restore_days: int = RESTORE_DAYS,
    *,
    custom_fields_max: int = FIELDS_MAX,
    forms_max: int = FORMS_MAX,
) -> UseCaseTable:
    """The table: (collection, intent) → use case, for online mutations and pushes alike."""
    by_collection: Mapping[str, UseCase] = {
        "customers": change_customers,
        "contacts": change_contacts,
        "customerContacts": change_customer_contacts,
        "visits": change_visits,
        "orders": change_orders,
        "tasks": change_tasks,
        "forms": forms_within(forms_max),
        "answers": change_answers,
        "cases": change_cases,
        "judgements": change_judgements,
        "attachments": attachments_within(limits),
        "customFields": custom_fields_within(custom_fields_max),
    }
    following = {
        name: refusing_erased(name, following_aliases(name, use_case)) for name, use_case in by_collection.items()
    }
    records = {(name, intent): use_case for name, use_case in following.items() for intent in Intent}
    rows_max = {"customFields": custom_fields_max, "forms": forms_max}
    bringing_back = {
        name: restoring(name, restore_days, limits.per_record_max, rows_max.get(name)) for name in by_collection
    }
    records |= {
        (name, Intent.RESTORE): refusing_erased(name, following_aliases(name, use_case))
        for name, use_case in bringing_back.items()
    }
    return {**records, **dict.fromkeys(((ISSUES, Intent.CREATE), (ISSUES, Intent.PATCH)), resolver(records))}


USE_CASES: UseCaseTable = use_cases_within(AttachmentLimits())
"""The table with the bounds nobody has set otherwise."""


SCORE_COMMAND = (sys.executable, "-m", "backend.cli.scoring_apart")
"""What carries out a score run in a process of its own."""


@dataclass(frozen=True, slots=True)
class Services:
    """What a process has one of. Everything in it may be used by many requests at once."""

    settings: Settings
    clock: Clock
    engine: Engine
    pokes: Pokes
    keys: Keys
    rescue_keys: RescueKeys
    tokens: Tokens
    shared_keys: SharedKeys
    passwords: Passwords
    sessions: Sessions
    oidc: OidcSignIn[Session] | None
    admission: Admission
    messages: Catalogue
    schema: strawberry.Schema
    documents: Documents
    limits: Limits
    plans: Plans
    sums_kept: SumsKept
    cursor_secret: bytes
    use_cases: UseCaseTable
    files: Files
    eraser: Eraser
    watch: Watch
    sensitive_keys: SensitiveKeys
    nightly: Nightly

    def context(self, standing: Standing | None, locale: str) -> Context:
        """What the resolvers of one request are handed."""
        return Context(
            engine=self.engine,
            principal=standing.principal if standing else None,
            settings=self.settings,
            clock=self.clock,
            now_ms=self.clock(),
            plans=self.plans,
            messages=self.messages,
            locale=locale,
            use_cases=self.use_cases,
            cursor_secret=self.cursor_secret,
            sums_kept=self.sums_kept,
            rescue_door=self.rescue_keys,
            session_door=self.sessions,
            oidc_door=self.oidc,
            poke_hub=self.pokes,
            privacy_door=self.eraser,
            watch_door=self.watch,
            sensitive_keys=self.sensitive_keys,
            score_command=SCORE_COMMAND if self.settings.score_apart else None,
        )

    def doors(self) -> Doors:
        """What the doors beside GraphQL share."""
        return Doors(
            self.sessions,
            self.admission,
            settings=self.settings,
            messages=self.messages,
            standings=self.pokes.standings,
        )

    def bulk_door(self, doors: Doors) -> BulkDoor:
        return BulkDoor(
            doors,
            self.engine,
            settings=self.settings,
            secret=self.cursor_secret,
            clock=self.clock,
            sums=self.sums_kept,
            watch=self.watch,
        )

    def turbo_door(self, doors: Doors) -> TurboDoor:
        return TurboDoor(doors, self.engine, settings=self.settings, clock=self.clock, watch=self.watch)

    def file_doors(self, doors: Doors) -> FileDoors:
        return FileDoors(doors, self.files, settings=self.settings)

    def graphiql(self) -> GraphiQL:
        async def people() -> list[dict[str, str]]:
            if not self.settings.demo:
                return []
            found = await sign_ins_of(self.engine)
            return [{"email": one.email, "name": one.name, "role": one.role.value} for one in found]

        return GraphiQL(people, is_open=self.settings.graphiql_open, password=PASSWORD)

    def graphql_edge(self) -> GraphQLEdge:
        return GraphQLEdge(
            self.schema,
            self.documents,
            self.limits,
            self.sessions,
            self.pokes.standings,
            self.admission,
            settings=self.settings,
            messages=self.messages,
            make_context=self.context,
        )


def open_file_service(settings: Settings, engine: Engine, clock: Clock) -> Files:
    """What keeps the bytes of attachments, where the settings say. Raises `BadSetting`."""
    store = open_files(settings.files_url, settings.data_dir / "files")
    return Files(engine, store, Spool(settings.data_dir / "uploads"), settings=settings, clock=clock)


def open_eraser(settings: Settings, engine: Engine, files: Files, clock: Clock) -> Eraser:
    """What erases people, with the list beside the database that outlives any backup of it."""
    return Eraser(engine, files, ErasureList(settings.data_dir / "erasures.jsonl"), settings=settings, clock=clock)


def nightly_jobs(settings: Settings, engine: Engine, eraser: Eraser, clock: Clock) -> Nightly:
    """What is done every night, by one process of all."""

    async def erase(person_id: str, reason: ErasureReason) -> None:
        await eraser.erase(RETAINER, person_id, reason, by_operator=True)

    return Nightly(
        engine,
        {
            "collect": lambda: collect(engine, RETAINER, settings=settings, clock=clock),
            "retention": lambda: carry_out(engine, settings=settings, clock=clock, erase=erase),
            "erasures": eraser.remember,
        },
        hour=settings.nightly_hour,
        timezone=settings.organisation_timezone,
        clock=clock,
    )


async def reapply_erasures(settings: Settings, *, clock: Clock = wall_clock_ms, told: Told | None = None) -> int:
    """Erase again whom a restored backup brought back; returns how many ids that were.

    To be called after a restore, on a migrated database, before anything is served from it. `told` hears
    (people done, people to do).
    """
    engine = open_engine(settings.database_url, pool_connections_max=2)
    await engine.start()
    files = open_file_service(settings, engine, clock)
    try:
        return await open_eraser(settings, engine, files, clock).reapply(told)
    finally:
        await files.close()
        await engine.close()


def open_provider(settings: Settings, clock: Clock) -> Provider | None:
    """The provider the settings name to sign in with. Raises `BadSetting`."""
    if settings.oidc_issuer is None:
        return None
    if not settings.oidc_client_id or not settings.oidc_redirect_uris:
        raise BadSetting(
            "SELVEDGE_OIDC_CLIENT_ID, SELVEDGE_OIDC_REDIRECT_URIS: wanted: both, beside SELVEDGE_OIDC_ISSUER"
        )
    secret = settings.oidc_client_secret
    given = ProviderSettings(
        settings.oidc_issuer, settings.oidc_client_id, secret.get_secret_value() if secret else None
    )
    return Provider(given, clock)


def open_request_engine(settings: Settings) -> Engine:
    """The engine that answers requests. Raises `BadSetting` for a pooler in front of a file."""
    if settings.pooler_url is not None and settings.database_url.startswith("sqlite://"):
        raise BadSetting("SELVEDGE_POOLER_URL: SQLite has no pooler; wanted: nothing, or postgres://… in DATABASE_URL")
    return open_engine(
        settings.pooler_url or settings.database_url,
        pool_connections_max=settings.pool_connections_max,
        pool_wait_seconds_max=settings.pool_wait_seconds_max,
        statement_seconds_max=settings.statement_seconds_max,
        through_pooler=settings.pooler_url is not None,
    )


@asynccontextmanager
async def open_services(settings: Settings, *, clock: Clock = wall_clock_ms) -> AsyncIterator[Services]:
    """Everything a process needs, on a database that is migrated already; closed when the block ends.

    Raises `BadSetting` for settings the server cannot start with.
    """
    messages = load_messages()
    root = settings.root_secret.get_secret_value() if settings.root_secret else None
    keys = load_keys(settings.data_dir, root)
    given = settings.cursor_secret
    engine = open_request_engine(settings)
    if TRACES.on:
        engine = TracedEngine(engine)
    tokens = Tokens(KeyRing(keys), settings, clock)
    shared_keys = SharedKeys(engine, tokens.ring, clock)
    schema = build_schema()
    documents, limits = make_documents(schema, settings)
    trust_operations(documents, settings)
    passwords = Passwords(workers=settings.password_hash_workers_max)
    pokes = Pokes(
        engine,
        coalesce_ms=settings.poke_coalesce_ms,
        subscribers_max=settings.poke_subscribers_max,
        # a pooler hears nothing on behalf of anybody
        listen_url=settings.poke_listen_url or (settings.database_url if settings.pooler_url else None),
    )
    sessions = Sessions(engine, tokens, passwords, settings=settings, clock=clock, shared_keys=shared_keys)
    pokes.standings.forget = sessions.forget
    provider = open_provider(settings, clock)
    oidc = (
        OidcSignIn(
            engine,
            provider,
            keys.derived("oidc states"),
            settings=settings,
            clock=clock,
            open_session=sessions.open_for,
            create_user=create_user,
        )
        if provider
        else None
    )
    files = open_file_service(settings, engine, clock)
    eraser = open_eraser(settings, engine, files, clock)
    nightly = nightly_jobs(settings, engine, eraser, clock)
    watch = Watch(engine, settings=settings, clock=clock)
    try:
        await engine.start()
        await eraser.remember()
        await eraser.reapply()
        pokes.start()
        files.start()
        if settings.nightly:
            nightly.start()
        yield Services(
            settings=settings,
            clock=clock,
            engine=engine,
            pokes=pokes,
            keys=keys,
            rescue_keys=load_rescue_keys(settings.data_dir),
            tokens=tokens,
            shared_keys=shared_keys,
            passwords=passwords,
            sessions=sessions,
            oidc=oidc,
            admission=Admission(settings, clock),
            messages=messages,
            schema=schema,
            documents=documents,
            limits=limits,
            plans=Plans(settings.plan_cache_entries_max),
            sums_kept=SumsKept(),
            cursor_secret=given.get_secret_value().encode() if given else keys.derived("cursors"),
            use_cases=use_cases_within(
                limits_of(settings),
                settings.restore_days,
                custom_fields_max=settings.custom_fields_max,
                forms_max=settings.forms_max,
            ),
            files=files,
            eraser=eraser,
            watch=watch,
            sensitive_keys=SensitiveKeys(),
            nightly=nightly,
        )
    finally:
        await nightly.close()
        if provider is not None:
            await provider.close()
        await files.close()
        await pokes.close()
        await watch.close()
        await engine.close()
        passwords.close()
