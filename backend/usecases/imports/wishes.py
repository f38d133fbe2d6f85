"""What somebody wants taken over from a file, checked: columns, currency, system, and where new customers go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from backend.auth.principal import Principal
from backend.config import Settings
from backend.domain.imports import CheckedRow, ImportRules, check_rows, check_rules, map_columns, parse_system
from backend.domain.territories import TerritoryKind
from backend.errors import Code, Problem, Refused, refuse_if
from backend.integrations.tables import Table
from backend.storage.engine import Connection, Engine
from backend.storage.imports import scopes_held, territories_named
from backend.sync.documents import canonical

TERRITORIES_NAMED_MAX = 20


@dataclass(frozen=True, slots=True)
class ImportWish:
    """What the caller says about a file of orders.

    `columns`: target → column name, see `domain/imports.TARGETS`; `territory`: path or id of the patch for new
    customers; `match_codes`: find customers by our own customer code where the system's code is not known yet.
    """

    file_name: str
    system: str
    columns: Mapping[str, str] = field(default_factory=dict)
    currency: str | None = None
    kind: str | None = None
    territory: str | None = None
    match_codes: bool = False


@dataclass(frozen=True, slots=True)
class Home:
    """Where a new customer goes: a patch, or nowhere yet; days there are judged in `timezone`."""

    territory_id: str | None
    timezone: str


@dataclass(frozen=True, slots=True)
class Run:
    """What stays the same from the first chunk to the last."""

    system: str
    rules: ImportRules
    columns: Mapping[str, int]
    home: Home | None
    match_codes: bool

    @property
    def mapping(self) -> str:
        """The options as they name a batch."""
        options = {
            "columns": dict(self.columns),
            "currency": self.rules.currency,
            "kind": self.rules.kind,
            "matchCodes": self.match_codes,
            "territoryId": self.home.territory_id if self.home else None,
            "timezone": self.rules.timezone,
        }
        return canonical(options).decode()

    def checked(self, table: Table, now_ms: int) -> Iterator[CheckedRow]:
        numbered = ((row.number, row.cells) for row in table.rows())
        return check_rows(numbered, columns=self.columns, width=len(table.header), rules=self.rules, now_ms=now_ms)


async def prepare(engine: Engine, principal: Principal, table: Table, wish: ImportWish, settings: Settings) -> Run:
    columns, problems = map_columns(table.header, wish.columns)
    rules, found = check_rules(
        currency=wish.currency, kind=wish.kind, timezone=settings.organisation_timezone, columns=columns
    )
    problems += found
    system = wish.system
    try:
        system = parse_system(wish.system)
    except Refused as refused:
        problems += [problem.under("system") for problem in refused.problems]
    async with engine.read() as conn:
        try:
            home = await _home(conn, principal, wish.territory, rules.timezone, by_row="territory" in columns)
        except Refused as refused:
            problems += refused.problems
            home = None
    refuse_if(problems)
    return Run(system, rules, columns, home, wish.match_codes)


async def _home(
    conn: Connection, principal: Principal, territory: str | None, timezone: str, *, by_row: bool
) -> Home | None:
    """Where new customers go whose rows do not say: the territory named, else the only patch held, else nowhere."""
    if territory:
        named = await territories_named(conn, principal, [territory])
        return as_home(named.get(territory), "territory")
    scopes = await scopes_held(conn, principal)
    patches = sorted(scope.removeprefix("territory:") for scope in scopes if scope.startswith("territory:"))
    if len(patches) == 1:
        return as_home((await territories_named(conn, principal, patches))[patches[0]], "territory")
    if "unassigned" in scopes:
        return Home(None, timezone)
    if by_row:
        return None
    paths = sorted(name for name in await territories_named(conn, principal, patches) if name.startswith("/"))
    raise Refused(Problem(Code.REQUIRED, ("territory",), tuple(paths[:TERRITORIES_NAMED_MAX])))


def as_home(found: tuple[str, str, str, bool] | None, *path: str) -> Home:
    if found is None:
        raise Refused(Problem(Code.NOT_FOUND, path))
    territory_id, kind, timezone, held = found
    if kind != TerritoryKind.PATCH:
        enum = {"enum": TerritoryKind.__name__}
        raise Refused(Problem(Code.NOT_ALLOWED_VALUE, path, (TerritoryKind.PATCH.value,), enum))
    if not held:
        raise Refused(Problem(Code.NOT_FOUND, path))
    return Home(territory_id, timezone)
