"""Every setting, read once at start and passed down. A bad value stops the start, naming the variable."""

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from babel.numbers import list_currencies
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backend.errors import BadSetting

PREFIX = "SELVEDGE_"
PrincipalWord = Literal["ANONYMOUS", "STAFF", "SERVICE", "CUSTOMER"]


class Settings(BaseSettings):
    """Each field is the environment variable `SELVEDGE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    database_url: str = Field(
        default="sqlite://var/selvedge.sqlite3",
        pattern=r"^(sqlite|postgres|postgresql)://.+",
        description="sqlite://PATH or postgres://USER:PASSWORD@HOST:PORT/NAME",
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=1, le=65535, description="port to listen on")
    workers: int = Field(default=1, ge=1, le=64, description="processes that answer on the port")
    data_dir: Path = Field(default=Path("var"), description="folder for keys and the embedded database")
    root_secret: SecretStr | None = Field(
        default=None,
        description="64 hex digits or more, the same on every server of a database; without, kept in keys.json of the"
        " data folder",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="least severity that is logged"
    )
    metrics_token: SecretStr | None = Field(
        default=None, description="bearer token /metrics is read with; without, only from this machine, past no proxy"
    )
    traces_url: str | None = Field(
        default=None,
        pattern=r"^https?://.+",
        description="OTLP/HTTP address spans are sent to; needs the extra `otel`. Without, none are made",
    )
    traces_share: float = Field(
        default=1.0, ge=0.0, le=1.0, description="share of the requests whose spans are made, 0 to 1"
    )
    demo: bool = Field(default=False, description="build the demo world when the database is empty")

    organisation_timezone: str = Field(default="Asia/Shanghai", description="IANA zone of its quarters")
    reporting_currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="ISO 4217 code")

    default_margin_bp: int | None = Field(
        default=None, ge=1, le=10_000, description="declared margin in basis points, used where no cost is recorded"
    )
    visit_cost_minor: int = Field(
        default=10_000, ge=1, description="cost of one visit in minor units of the reporting currency"
    )
    cube_groups_max: int = Field(
        default=2_000, ge=1, le=20_000, description="groups of one cube, its totals among them"
    )
    cube_cells_max: int = Field(default=10_000, ge=20, le=100_000, description="figures of one cube")
    cube_group_customers_min: int = Field(
        default=5,
        ge=1,
        le=100,
        description="customers below which roles that read sums of orders only are told nothing",
    )
    stale_days: int = Field(
        default=180, ge=1, le=3_650, description="days without an order, a visit or a change that make a customer stale"
    )
    predicate_depth_max: int = Field(default=8, ge=1, le=12, description="how deep a predicate may be nested")
    predicate_nodes_max: int = Field(
        default=100, ge=1, le=500, description="conditions, ands, ors and nots of a predicate"
    )
    predicate_lookups_max: int = Field(
        default=30, ge=1, le=200, description="conditions of a predicate on orders, visits and scores"
    )
    predicate_values_max: int = Field(default=200, ge=1, le=1_000, description="values of one list in a predicate")
    predicate_value_characters_max: int = Field(
        default=200, ge=1, le=2_000, description="longest text a predicate compares with"
    )
    predicate_characters_max: int = Field(default=10_000, ge=100, le=100_000, description="longest predicate as text")
    score_apart: bool = Field(
        default=True, description="a score run that a client asks for gets a process of its own; else a thread"
    )
    score_rows_per_work: int = Field(default=500, ge=1, le=500, description="scores written in one transaction")
    rep_day_minutes: int = Field(
        default=480, ge=1, le=1_440, description="minutes of a rep's day where none are recorded for him"
    )
    visit_minutes: int = Field(
        default=45, ge=1, le=480, description="minutes one visit takes of a capacity, the way there included"
    )
    analysis_hour_minor: int = Field(
        default=5_000, ge=0, description="what an hour of analysis costs, in minor units of the reporting currency"
    )
    contribution_runs_kept: int = Field(
        default=200, ge=1, le=10_000, description="analyses of contribution kept; the oldest go"
    )
    goals_open_max: int = Field(default=200, ge=1, le=2_000, description="goals open at once")
    goals_shown_max: int = Field(default=20, ge=1, le=100, description="goals one question tells the progress of")
    evaluation_customers_max: int = Field(
        default=100_000, ge=20, le=1_000_000, description="customers the arms of one evaluation are drawn from"
    )
    advisor_evaluations_max: int = Field(
        default=2_000, ge=10, le=20_000, description="closed evaluations the campaign advisor looks at, the newest"
    )

    token_issuer: str = Field(
        default="selvedge", min_length=1, description="`iss` of access tokens, unique to this deployment"
    )
    access_token_seconds: int = Field(default=600, ge=30, le=3600, description="life of an access token")
    refresh_token_days: int = Field(default=30, ge=1, le=365, description="life of a refresh token that is not used")
    refresh_grace_seconds: int = Field(
        default=30, ge=0, le=120, description="how long a refresh whose answer was lost gets the same successor"
    )
    cursor_secret: SecretStr | None = Field(default=None, description="HMAC key of cursors")
    key_overlap_seconds: int = Field(
        default=60, ge=5, le=86_400, description="from publishing a new signing key to signing with it"
    )
    password_reset_hours: int = Field(default=24, ge=1, le=168, description="life of a token to set a new password")
    oidc_issuer: str | None = Field(
        default=None, description="provider to sign in with, as its tokens name it: an https address"
    )
    oidc_client_id: str = Field(default="", max_length=300, description="how the provider knows this deployment")
    oidc_client_secret: SecretStr | None = Field(default=None, description="only where the provider gave one")
    oidc_redirect_uris: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="where browsers and apps come back to, by commas; no other address is taken"
    )
    oidc_link_by_email: bool = Field(
        default=True, description="a colleague is known by the e-mail the provider verified, until he is by its subject"
    )
    oidc_create_role: Literal["REP", "MANAGER", "SERVICE_AGENT", "MARKETER", "ANALYST", "BACK_OFFICE"] | None = Field(
        default=None, description="role of colleagues made on their first sign-in; without, none are made"
    )
    password_hash_workers_max: int = Field(default=2, ge=1, le=16, description="threads that hash passwords")

    body_bytes_max: int = Field(default=4_000_000, ge=1_000, description="largest request")
    value_depth_max: int = Field(
        default=64, ge=8, le=200, description="lists and maps in each other in the JSON of a request"
    )
    body_seconds_max: int = Field(default=20, ge=1, le=600, description="seconds a request may take to arrive")
    bodies_bytes_max: int = Field(
        default=32_000_000, ge=1_000, description="bytes of requests held at once; small ones are taken beyond it"
    )
    answers_bytes_max: int = Field(
        default=64_000_000,
        ge=100_000,
        description="bytes of answers whose readers take nothing just now; beyond it who has taken nothing for longest"
        " is given up",
    )
    connections_max: int = Field(default=6_000, ge=1, description="open connections of one process, idle ones too")
    head_seconds_max: int = Field(
        default=10, ge=1, le=600, description="seconds the head of a request may take to arrive"
    )
    head_bytes_max: int = Field(default=65_536, ge=4_096, description="largest head of a request")
    head_fields_max: int = Field(default=100, ge=20, le=1_000, description="header fields of a request")
    requests_open_max: int = Field(default=4_000, ge=1, description="requests open at once, streams among them")
    requests_working_max: int = Field(default=32, ge=1, le=1_000, description="requests worked on at once")
    requests_waiting_max: int = Field(
        default=1_000, ge=0, description="requests that wait to be worked on, large ones half of them at most"
    )
    request_wait_seconds_max: int = Field(default=15, ge=1, le=600, description="how long they wait")
    user_requests_per_minute: int = Field(
        default=6_000, ge=0, le=100_000_000, description="requests of one user, dear ones counting more; 0 for no limit"
    )
    device_requests_per_minute: int = Field(
        default=3_000, ge=0, le=100_000_000, description="requests of one device; 0 for no limit"
    )
    address_requests_per_minute: int = Field(
        default=30_000,
        ge=0,
        le=100_000_000,
        description="requests of one address (IPv6: /64), this machine's own excepted; 0 for no limit",
    )
    rate_keys_max: int = Field(
        default=50_000, ge=1, description="users, devices and addresses each whose requests are counted"
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="addresses or networks whose X-Forwarded-For is believed, by commas"
    )
    document_characters_max: int = Field(
        default=100_000, ge=1_000, description="largest GraphQL document, in characters"
    )
    document_tokens_max: int = Field(default=4_000, ge=100, description="largest GraphQL document, in tokens")
    document_definitions_max: int = Field(default=100, ge=1, description="operations and fragments of a document")
    document_selections_max: int = Field(
        default=1_000, ge=200, description="fields and spreads written in a document, each counted once"
    )
    document_repeats_max: int = Field(
        default=100, ge=0, description="selections of a document that repeat one beside them"
    )
    document_values_max: int = Field(
        default=2_000, ge=100, description="values written in a document; what is many belongs into variables"
    )
    document_variables_max: int = Field(default=500, ge=50, description="variables declared in a document")
    document_number_characters_max: int = Field(
        default=100, ge=20, le=4_000, description="longest number written in a document, in characters"
    )
    document_comparisons_max: int = Field(
        default=10_000,
        ge=1_000,
        le=500_000,
        description="comparisons that tell if fields answering under one name can be merged, two for each pair",
    )
    document_errors_max: int = Field(default=20, ge=1, le=1_000, description="errors told of one document")
    document_depth_max: int = Field(default=14, ge=3, le=50, description="deepest selection")
    document_aliases_max: int = Field(
        default=200, ge=1, description="aliases in a document, fragments counted as often as they are spread"
    )
    document_cost_max: int = Field(default=60_000, ge=100, description="rows a document may ask for, pages multiplied")
    document_cache_entries_max: int = Field(default=500, ge=1, description="parsed documents kept")
    document_cache_characters_max: int = Field(
        default=500_000, ge=0, description="characters of documents kept parsed, each about 100 bytes of memory"
    )
    schema_answers_max: int = Field(default=16, ge=0, description="answers to questions about the schema that are kept")
    schema_answers_bytes_max: int = Field(
        default=4_000_000, ge=0, description="bytes of them together; what is larger by itself is not kept"
    )
    plan_cache_entries_max: int = Field(default=1_000, ge=1, description="compiled reads kept")
    root_selections_max: int = Field(default=10, ge=1, le=50, description="fields at the top of a document")
    page_rows_max: int = Field(default=200, ge=1, le=1_000, description="largest `first` of a connection")
    history_rows_max: int = Field(default=100, ge=1, le=500, description="largest `first` of a record's history")
    nested_page_rows_max: int = Field(
        default=50, ge=1, le=200, description="largest `first` of a connection inside a record"
    )
    issue_escalation_days: int = Field(
        default=3, ge=0, le=90, description="days a sync issue may stand open before it is on the manager's list"
    )
    rescue_bytes_max: int = Field(default=20_000_000, ge=10_000, description="largest rescue file")
    rescue_mutations_max: int = Field(default=20_000, ge=1, description="mutations in a rescue file")
    custom_fields_max: int = Field(
        default=50, ge=1, le=200, description="fields an organisation may define for one collection"
    )
    forms_max: int = Field(default=500, ge=1, le=5_000, description="versions of all forms together")
    push_mutations_max: int = Field(default=500, ge=1, le=5_000, description="mutations in one syncPush")
    pull_rows_max: int = Field(default=1_000, ge=1, le=10_000, description="rows in one page of syncPull")
    schema_version_oldest: int = Field(
        default=1, ge=1, description="oldest schema version of documents that pulls are answered in, older ones push"
    )
    grace_days: int = Field(
        default=14, ge=0, le=30, description="days work captured before a territory changed is taken from who had it"
    )
    clock_offset_days_max: int = Field(
        default=30, ge=1, le=366, description="how wrong a device's clock may be before its times are not believed"
    )
    pull_bytes_max: int = Field(default=2_000_000, ge=10_000, description="bytes of documents in one page of syncPull")
    digest_bucket_rows: int = Field(
        default=5_000, ge=1, description="rows of a collection in a scope beyond which devices compare it in parts"
    )
    bulk_chunk_rows_max: int = Field(
        default=1_000, ge=1, le=10_000, description="rows of /sync/bulk read in one snapshot"
    )
    bulk_chunk_bytes: int = Field(
        default=512_000, ge=1_000, description="about so many bytes of documents go between two cursors of /sync/bulk"
    )
    bulk_streams_max: int = Field(default=20, ge=1, description="open /sync/bulk answers of one process")
    today_customers_max: int = Field(
        default=50, ge=0, le=1_000, description="customers of the highest priority that are sent before the rest"
    )
    today_rows_max: int = Field(default=2_000, ge=1, le=10_000, description="records sent before the rest, in all")
    offline_lease_days: int = Field(
        default=7, ge=1, le=365, description="days without a pull after which a device shows nothing any more"
    )
    keep_answered_days: int = Field(
        default=14,
        ge=1,
        le=365,
        description="days a device keeps answered work, to send it again should an older backup be restored",
    )
    device_drain_days: int = Field(
        default=14, ge=1, le=365, description="days a draining device may hand in its last work"
    )
    device_silent_days: int = Field(
        default=180, ge=30, le=3_650, description="days of silence after which a device is dropped"
    )
    device_note_seconds: int = Field(
        default=60, ge=0, le=3_600, description="how often the pulls of a device are noted at most"
    )
    device_report_seconds: int = Field(
        default=10, ge=0, le=3_600, description="how often what a device reports of itself is noted at most"
    )
    history_days_min: int = Field(default=30, ge=1, le=365, description="history younger than this is never collected")
    restore_days: int = Field(
        default=30, ge=1, le=365, description="days after its deletion within which a record can be brought back"
    )
    receipt_days: int = Field(
        default=210, ge=60, le=3_650, description="days a receipt is kept: those of a silent device, and 30 more"
    )
    collect_rows_per_work: int = Field(
        default=500, ge=1, le=5_000, description="rows of history removed in one transaction"
    )
    watermelon_push_rows_max: int = Field(default=5_000, ge=1, le=10_000, description="rows in one watermelonPush")
    watermelon_pull_rows_max: int = Field(
        default=50_000, ge=1, le=500_000, description="rows in one watermelonPull; a first sync of more is /sync/turbo"
    )
    import_chunk_rows: int = Field(
        default=500, ge=1, le=5_000, description="rows of a file imported in one transaction"
    )
    import_file_bytes_max: int = Field(default=200_000_000, ge=1_000, description="largest file to import")
    files_url: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9+.-]+://.*",
        description="object storage for attachments, such as s3://BUCKET/PREFIX; without, `files` in the data folder",
    )
    file_chunk_bytes_max: int = Field(
        default=4_000_000, ge=1_000, le=100_000_000, description="most bytes of a file in one request"
    )
    file_chunk_seconds_max: int = Field(
        default=120, ge=1, le=3_600, description="seconds one chunk of a file may take to arrive"
    )
    file_requests_max: int = Field(default=32, ge=1, le=1_000, description="files sent or fetched at once")
    photo_bytes_max: int = Field(default=20_000_000, ge=1_000, le=200_000_000, description="largest photo")
    signature_bytes_max: int = Field(default=1_000_000, ge=1_000, le=20_000_000, description="largest signature")
    document_bytes_max: int = Field(default=50_000_000, ge=1_000, le=2_000_000_000, description="largest document")
    attachments_per_record_max: int = Field(default=100, ge=1, le=1_000, description="attachments of one record")
    upload_bytes_per_day_max: int = Field(
        default=2_000_000_000, ge=1_000, description="bytes of files one user may begin to send within 24 hours"
    )
    uploads_per_user_max: int = Field(default=50, ge=1, le=10_000, description="unfinished uploads of one user")
    upload_days: int = Field(default=7, ge=1, le=90, description="days an upload nobody goes on with is kept")
    picture_pixels_max: int = Field(
        default=64_000_000, ge=10_000, le=500_000_000, description="largest picture, width times height"
    )
    picture_workers_max: int = Field(default=2, ge=1, le=16, description="threads that unpack pictures")
    disk_free_bytes_min: int = Field(default=200_000_000, ge=0, description="bytes of disk that uploads leave free")
    files_collect_seconds: int = Field(
        default=600, ge=1, le=86_400, description="how often files that nothing refers to are removed"
    )
    write_retries_max: int = Field(default=3, ge=0, le=10, description="times a write that met another is tried again")
    pool_connections_max: int = Field(default=10, ge=1, le=200, description="PostgreSQL connections of one process")
    pool_wait_seconds_max: int = Field(
        default=10, ge=1, le=120, description="how long a request waits for a PostgreSQL connection"
    )
    statement_seconds_max: int = Field(
        default=60, ge=1, le=3_600, description="how long one PostgreSQL statement may take before it is given up"
    )
    pooler_url: str | None = Field(
        default=None,
        pattern=r"^(postgres|postgresql)://.+",
        description="postgres://… of a pooler that hands out connections by transaction, beside database_url, which"
        " leads to the server itself: requests then go through it, and nothing else",
    )
    rxdb_echo_seconds: int = Field(
        default=15, ge=0, le=600, description="after it an RxDB device is told once more of what it has just pushed"
    )
    rxdb_wait_seconds: int = Field(
        default=600, ge=0, le=86_400, description="how long a row RxDB pushes waits for the new record it names"
    )
    rxdb_stream_rows_max: int = Field(default=200, ge=1, le=5_000, description="rows of one event of an RxDB stream")
    poke_coalesce_ms: int = Field(
        default=50, ge=0, le=5_000, description="between two pokes at least; steps meanwhile are one"
    )
    poke_subscribers_max: int = Field(default=2_000, ge=1, description="open syncPoke streams of one process")
    poke_listen_url: str | None = Field(
        default=None,
        pattern=r"^(postgres|postgresql)://.+",
        description="postgres://… of the server itself, where database_url leads to a pooler",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="further sites whose pages may ask this server, such as https://crm.example.com, by commas;"
        " with the demo company also every page of localhost",
    )
    trusted_documents_only: Annotated[tuple[PrincipalWord, ...], NoDecode] = Field(
        default=(),
        description="kinds of callers whose documents must be trusted ones, by commas:"
        " ANONYMOUS, STAFF, SERVICE, CUSTOMER",
    )
    trusted_documents_dir: Path | None = Field(
        default=None, description="folder of further trusted documents, one operation in each *.graphql"
    )
    compress_bytes_min: int = Field(
        default=1_400, ge=0, le=10_000_000, description="answers at least so large are compressed for who can unpack"
    )
    graphiql: bool | None = Field(
        default=None, description="serve GraphiQL at /graphiql; unsaid, only with the demo company"
    )
    sockets_max: int = Field(default=2_000, ge=1, description="open websockets of one process")
    socket_message_bytes_max: int = Field(
        default=256_000, ge=10_000, description="largest message on a websocket; what is larger comes by HTTP"
    )
    socket_init_seconds_max: int = Field(default=10, ge=1, le=10, description="from opening to connection_init")
    socket_operations_max: int = Field(default=50, ge=1, le=1_000, description="running at once on one websocket")
    stream_check_seconds: int = Field(
        default=10, ge=1, le=60, description="how often an open stream shows it lives and asks if its caller still may"
    )
    stream_send_seconds_max: int = Field(
        default=20, ge=1, le=600, description="how long a reader may leave a message untaken"
    )

    person_export_rows_max: int = Field(
        default=1_000, ge=1, le=100_000, description="rows of one section of a person's data that are exported"
    )
    sensitive_rows_min: int = Field(
        default=20, ge=1, le=10_000, description="people whose contact data one answer shows before that is noted"
    )
    unusual_pull_times: int = Field(
        default=3, ge=1, le=1_000, description="times what its scopes hold a device may pull in a day"
    )
    unusual_pull_rows_min: int = Field(default=5_000, ge=1, description="rows a device may pull in a day in any case")
    nightly: bool = Field(default=True, description="whether this process may carry out nightly jobs")
    nightly_hour: int = Field(
        default=3, ge=0, le=23, description="from which hour of the organisation's day nightly jobs are due"
    )
    nightly_rows_per_work: int = Field(
        default=200, ge=1, le=5_000, description="rows that retention changes or removes in one transaction"
    )
    retain_unrelated_contact_days: int = Field(
        default=730, ge=0, le=36_500, description="days a contact at no customer is kept; 0: for ever, as below"
    )
    retain_unconsented_birthday_days: int = Field(
        default=90, ge=0, le=36_500, description="days a birthday is kept without consent to marketing"
    )
    retain_visit_position_days: int = Field(
        default=365, ge=0, le=36_500, description="days it is kept where a rep checked in and out"
    )
    retain_attachment_days: int = Field(
        default=1_825, ge=0, le=36_500, description="days photos and papers are kept, but those of orders"
    )
    retain_answer_days: int = Field(
        default=1_825, ge=0, le=36_500, description="days it is kept in whose words something was answered"
    )
    retain_closed_case_days: int = Field(
        default=1_825, ge=0, le=36_500, description="days the words of a closed case are kept"
    )
    retain_judgement_days: int = Field(
        default=1_095, ge=0, le=36_500, description="days the note of a judgement is kept after its end"
    )
    retain_settled_issue_days: int = Field(
        default=180, ge=0, le=36_500, description="days a settled sync issue is kept"
    )
    retain_import_problem_days: int = Field(
        default=180, ge=0, le=36_500, description="days it is kept what was wrong with rows of imported files"
    )
    retain_audit_value_days: int = Field(
        default=365, ge=0, le=36_500, description="days the audit keeps values before and after"
    )
    retain_audit_entry_days: int = Field(
        default=1_825, ge=0, le=36_500, description="days an entry of the audit is kept"
    )
    retain_ended_device_days: int = Field(
        default=365, ge=0, le=36_500, description="days the name of a device that was given up is kept"
    )
    retain_ended_sign_in_days: int = Field(
        default=90, ge=0, le=36_500, description="days a sign-in that is over is kept"
    )
    retain_security_event_days: int = Field(default=730, ge=0, le=36_500, description="days a security event is kept")

    @field_validator("organisation_timezone")
    @classmethod
    def _is_a_zone(cls, given: str) -> str:
        if given not in available_timezones():
            raise ValueError(f"{given!r} is no IANA time zone")
        return given

    @field_validator("oidc_issuer")
    @classmethod
    def _is_a_provider(cls, given: str | None) -> str | None:
        if given is not None and not re.fullmatch(
            r"https://[^/?#\s]+[^?#\s]*|http://(?:127\.0\.0\.1|localhost)(?::\d+)?[^?#\s]*", given
        ):
            raise ValueError(f"{given!r} is no https address of a provider")
        return given

    @field_validator("oidc_redirect_uris", mode="before")
    @classmethod
    def _addresses_by_commas(cls, given: object) -> object:
        return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given

    @field_validator("root_secret")
    @classmethod
    def _is_a_secret(cls, given: SecretStr | None) -> SecretStr | None:
        text = given.get_secret_value() if given else None
        if text is not None and not re.fullmatch(r"(?:[0-9a-fA-F]{2}){32,}", text):
            raise ValueError("a root secret has at least 64 hex digits")
        return given

    @field_validator("reporting_currency")
    @classmethod
    def _is_a_currency(cls, given: str) -> str:
        if given not in list_currencies():
            raise ValueError(f"{given!r} is no ISO 4217 currency")
        return given

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for network in given:
            ip_network(network, strict=False)
        return given

    @field_validator("allowed_origins", "trusted_documents_only", "trusted_proxies", mode="before")
    @classmethod
    def _by_commas(cls, given: object) -> object:
        return tuple(part.strip() for part in given.split(",") if part.strip()) if isinstance(given, str) else given

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for origin in given:
            if not re.fullmatch(r"https?://[^/?#\s]+", origin):
                raise ValueError(f"{origin!r} is not an origin")
        return given

    @property
    def graphiql_open(self) -> bool:
        """Whether GraphiQL is served."""
        return self.demo if self.graphiql is None else self.graphiql


def read_settings(**overrides: object) -> Settings:
    """Settings from the environment; raises `BadSetting` naming each variable and the form it wants."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = []
        for item in error.errors():
            name = str(item["loc"][0])
            info = Settings.model_fields.get(name)
            wanted = (info.description if info and info.description else "") or item["msg"]
            lines.append(f"{PREFIX}{name.upper()}: {item['msg']}; wanted: {wanted}")
        raise BadSetting("\n".join(lines)) from None


MESSAGES_DIR = Path(__file__).resolve().parent.parent / "mobile_contract" / "messages"


def load_messages(folder: Path = MESSAGES_DIR) -> dict[str, dict[str, str]]:
    """The message catalogue, locale → key → text; raises `BadSetting` naming the file that cannot be read."""
    catalogue: dict[str, dict[str, str]] = {}
    for file in sorted(folder.glob("*.json")):
        try:
            catalogue[file.stem] = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadSetting(f"{file}: {error}") from error
    if not catalogue:
        raise BadSetting(f"{folder}: no message catalogue")
    return catalogue
