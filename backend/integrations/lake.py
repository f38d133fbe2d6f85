"""Orders as Parquet, and the statistics of every customer made of them by DuckDB, to the digit of the product's own.

A folder holds `orders/*.parquet`, `customers.parquet`, `rates.parquet` and, written last, `manifest.json`: without it
the folder is not finished; `fit.json` is what the models were last fitted to. A rebuild adds `purchases.parquet` and
`statistics.parquet`. Nobody is named in any of them: a customer is an id and a kind.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backend.domain.history import QUARTER_DAYS, QUARTERS_KEPT
from backend.domain.money import RATE_E9, exponent, parse_currency
from backend.domain.orders import UNCOUNTED
from backend.domain.times import parse_day
from backend.errors import BadSetting, Refused
from backend.storage.engine import Engine, Row
from backend.storage.purchases import KEY
from backend.storage.statistics import SCORED, read_rates

try:
    import duckdb
except ImportError:  # the extra `lake` is not installed
    duckdb = None  # type: ignore[assignment]

FORMAT = 1
ROWS_PER_FILE = 100_000
"""Orders of one Parquet file; as many rows are in memory at once."""
MEMORY_MB = 1_024
"""What DuckDB may hold; beyond it goes to a folder beside its files."""
THREADS = 2
MANIFEST, ORDERS, CUSTOMERS, RATES = "manifest.json", "orders", "customers.parquet", "rates.parquet"
PURCHASES, STATISTICS, FIT = "purchases.parquet", "statistics.parquet", "fit.json"
Progress = Callable[[str, int, int], None]
"""Told (what, done, of how many)."""

_ORDER = {"id": "VARCHAR", "customer_id": "VARCHAR", "state": "VARCHAR", "ordered_on": "DATE", "currency": "VARCHAR",
          "total_minor": "BIGINT"}  # fmt: skip
_CUSTOMER = {"id": "VARCHAR", "kind": "VARCHAR"}
_RATE = {"currency": "VARCHAR", "valid_from": "DATE", "rate_e9": "BIGINT"}
_PURCHASE = {"customer_id": "VARCHAR", "day": "DATE", "currency": "VARCHAR", "amount_minor": "BIGINT",
             "orders_n": "BIGINT"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lake:
    """A finished folder. `as_of`: the local day of its export; `clock`: how far the database was."""

    folder: Path
    as_of: str
    currency: str
    orders_n: int
    customers_n: int
    clock: int

    @property
    def orders(self) -> str:
        """As DuckDB reads them."""
        return str(self.folder / ORDERS / "*.parquet")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """`purchases_n`, `customers_n`: rows written; `left_out_n`: customers with an order whose currency had no rate."""

    purchases_n: int
    customers_n: int
    left_out_n: int


def open_duckdb(folder: Path, *, memory_mb: int = MEMORY_MB) -> Any:
    """A DuckDB of this process, bounded. Raises `BadSetting` without the extra."""
    if duckdb is None:
        raise BadSetting("selvedge lake needs the extra `lake`: pip install 'selvedge[lake]'")
    return duckdb.connect(
        config={
            "memory_limit": f"{memory_mb}MB",
            "threads": THREADS,
            "temp_directory": str(folder / ".duckdb"),
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )


async def export_lake(
    engine: Engine,
    folder: Path,
    *,
    as_of: str,
    currency: str,
    memory_mb: int = MEMORY_MB,
    rows_per_file: int = ROWS_PER_FILE,
    progress: Progress | None = None,
) -> Lake:
    """Write all orders, the customers that are scored and all rates, as one snapshot shows them.

    Under another name until it is finished; what an export that was cut short left there is written over. Raises
    `BadSetting` where the folder exists, cannot be written, or the extra is missing.
    """
    tell = progress or _silent
    part = _begun(folder)
    with open_duckdb(part, memory_mb=memory_mb) as lake:
        async with engine.read() as conn:
            [(clock, orders_n)] = await conn.fetch(
                "SELECT c.seq, (SELECT COUNT(*) FROM sales_order) FROM sync_clock c WHERE c.id = 1"
            )
            done, last = 0, ""
            while True:
                rows = await conn.fetch(
                    f"SELECT {', '.join(_ORDER)} FROM sales_order WHERE id > ? ORDER BY id LIMIT {rows_per_file}", last
                )
                if not rows:
                    break
                _write(lake, part / ORDERS / f"orders-{done // rows_per_file:05}.parquet", _ORDER, rows)
                done, last = done + len(rows), rows[-1][0]
                tell("orders", done, orders_n)
            customers = await conn.fetch(f"SELECT k.id, k.kind FROM customer k WHERE {SCORED} ORDER BY k.id")
            fits = await conn.fetch(
                "SELECT models FROM score_run WHERE models <> '{}' ORDER BY started_at DESC LIMIT 1"
            )
            rates = [(one.currency, one.valid_from, one.rate_e9) for one in await read_rates(conn)]
        if not done:
            _write(lake, part / ORDERS / "orders-00000.parquet", _ORDER, [])
        _write(lake, part / CUSTOMERS, _CUSTOMER, customers)
        _write(lake, part / RATES, _RATE, rates)
    shutil.rmtree(part / ".duckdb", ignore_errors=True)
    manifest = {"format": FORMAT, "asOf": as_of, "currency": currency, "orders": done, "customers": len(customers),
                "clock": clock}  # fmt: skip
    if fits:
        (part / FIT).write_bytes(orjson.dumps(orjson.loads(fits[0][0])["calibration"], option=orjson.OPT_INDENT_2))
    (part / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    part.rename(folder)
    return open_lake(folder)


def _begun(folder: Path) -> Path:
    if folder.exists():
        raise BadSetting(f"{folder}: is there already; wanted: a folder that does not exist yet")
    part = folder.with_name(f"{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        (part / ORDERS).mkdir(parents=True)
    except OSError as error:
        raise BadSetting(f"{folder}: {error.strerror}; wanted: a folder that can be made") from None
    return part


def open_lake(folder: Path) -> Lake:
    """A folder that an export finished. Raises `BadSetting` for any other."""
    wanted = "wanted: a folder that `selvedge lake export` finished"
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise BadSetting(f"{folder}: is of format {manifest['format']}; {wanted} in format {FORMAT}")
        return Lake(
            folder,
            parse_day(manifest["asOf"]),
            parse_currency(manifest["currency"]),
            manifest["orders"],
            manifest["customers"],
            manifest["clock"],
        )
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, Refused) as error:
        raise BadSetting(f"{folder}: {type(error).__name__}; {wanted}") from None


def rebuild_statistics(
    lake: Lake, *, as_of: str | None = None, memory_mb: int = MEMORY_MB, progress: Progress | None = None
) -> Rebuilt:
    """Make purchases and statistics of the orders in the folder, as of a local day, else that of its export.

    Raises `BadSetting` where a file is missing or damaged.
    """
    tell = progress or _silent
    with open_duckdb(lake.folder, memory_mb=memory_mb) as db:
        try:
            tell("statistics", 0, 2)
            _tables(db, lake)
            _copy(db, f"SELECT * FROM purchases ORDER BY {KEY}", lake.folder / PURCHASES)
            tell("statistics", 1, 2)
            _copy(db, _statistics_sql(as_of or lake.as_of, lake.currency), lake.folder / STATISTICS)
            tell("statistics", 2, 2)
            [(purchases_n,)] = db.execute("SELECT COUNT(*) FROM purchases").fetchall()
            [(customers_n, left_out_n)] = db.execute(
                "SELECT COUNT(*), COUNT(*) FILTER (WHERE left_out) FROM read_parquet(?)",
                [str(lake.folder / STATISTICS)],
            ).fetchall()
        except duckdb.Error as error:
            raise BadSetting(f"{lake.folder}: {error}") from None
        finally:
            shutil.rmtree(lake.folder / ".duckdb", ignore_errors=True)
    return Rebuilt(purchases_n, customers_n, left_out_n)


async def compare_purchases(engine: Engine, lake: Lake, *, rows_n: int = ROWS_PER_FILE) -> tuple[int, bool]:
    """(how many rows differ between the purchases the folder's rebuild made and those the database keeps, whether
    the database has gone on since the export)."""
    with open_duckdb(lake.folder) as db:
        db.execute(f"CREATE TABLE kept ({_declared(_PURCHASE)})")
        async with engine.read() as conn:
            [(clock,)] = await conn.fetch("SELECT seq FROM sync_clock WHERE id = 1")
            last = 0
            while rows := await conn.fetch(
                f"SELECT id, {', '.join(_PURCHASE)} FROM purchase WHERE id > ? ORDER BY id LIMIT {rows_n}", last
            ):
                _insert(db, "kept", _PURCHASE, [row[1:] for row in rows])
                last = rows[-1][0]
        made = "SELECT * FROM read_parquet($made)"
        [(differ,)] = db.execute(
            f"SELECT COUNT(*) FROM (({made} EXCEPT SELECT * FROM kept) UNION ALL (SELECT * FROM kept EXCEPT {made}))",
            {"made": str(lake.folder / PURCHASES)},
        ).fetchall()
    shutil.rmtree(lake.folder / ".duckdb", ignore_errors=True)
    return int(differ), int(clock) != lake.clock


def _tables(db: Any, lake: Lake) -> None:
    """`purchases`, as `storage/purchases.py` counts them, `rates`, `customers` and what each currency is divided by."""
    states = ", ".join(f"'{state.value}'" for state in UNCOUNTED)
    db.execute(
        "CREATE TABLE purchases AS SELECT customer_id, ordered_on AS day, currency, total_minor AS amount_minor,"
        f" COUNT(*) AS orders_n FROM read_parquet(?) WHERE state NOT IN ({states}) AND total_minor <> 0"
        " GROUP BY customer_id, ordered_on, currency, total_minor",
        [lake.orders],
    )
    db.execute("CREATE TABLE rates AS SELECT * FROM read_parquet(?)", [str(lake.folder / RATES)])
    db.execute("CREATE TABLE customers AS SELECT * FROM read_parquet(?)", [str(lake.folder / CUSTOMERS)])
    db.execute("CREATE TABLE currencies (currency VARCHAR, up HUGEINT, down HUGEINT)")
    for (code,) in db.execute("SELECT DISTINCT currency FROM purchases").fetchall():
        scale = exponent(lake.currency) - exponent(code)
        db.execute("INSERT INTO currencies VALUES (?, ?, ?)", [code, 10 ** max(scale, 0), 10 ** max(-scale, 0)])


def _statistics_sql(as_of: str, currency: str) -> str:
    """One row per customer, by id: the columns of `HistoryColumns`; days since 1970-01-01, quarters newest first.

    Amounts are converted half-even at the rate of their day, each order by itself, in 128 bits.
    """
    today = f"(DATE '{as_of}' - DATE '1970-01-01')"

    def quarters(value: str) -> str:
        sums = (f"CAST(COALESCE(SUM({value}) FILTER (WHERE quarter = {k}), 0) AS BIGINT)" for k in range(QUARTERS_KEPT))
        return f"[{', '.join(sums)}]"

    nothing = f"[{', '.join('0::BIGINT' for _ in range(QUARTERS_KEPT))}]"
    return f"""
        WITH dated AS (
            SELECT p.*, r.rate_e9, c.up, c.down FROM purchases p
            JOIN currencies c ON c.currency = p.currency
            ASOF LEFT JOIN rates r ON r.currency = p.currency AND p.day >= r.valid_from
            WHERE p.day <= DATE '{as_of}'
        ), divided AS (
            SELECT *, amount_minor::HUGEINT * rate_e9 * up AS top, {RATE_E9}::HUGEINT * down AS bottom FROM dated
        ), halves AS (
            SELECT *, ((top % bottom) + bottom) % bottom AS rest FROM divided
        ), whole AS (
            SELECT *, (top - rest) // bottom AS floor FROM halves
        ), converted AS (
            SELECT customer_id, day - DATE '1970-01-01' AS day, orders_n,
                CASE WHEN currency = '{currency}' THEN amount_minor::HUGEINT
                ELSE floor + CASE WHEN 2 * rest > bottom OR (2 * rest = bottom AND floor % 2 <> 0) THEN 1 ELSE 0 END
                END AS minor
            FROM whole
        ), unknown AS (
            SELECT DISTINCT customer_id FROM converted WHERE minor IS NULL
        ), counted AS (
            SELECT *, LEAST(({today} - day) // {QUARTER_DAYS}, {QUARTERS_KEPT}) AS quarter, minor * orders_n AS total
            FROM converted WHERE minor <> 0
        ), sold AS (
            SELECT customer_id, CAST(SUM(total) AS BIGINT) AS revenue_minor, {quarters("total")} AS quarters
            FROM counted GROUP BY customer_id
        ), bought AS (
            SELECT customer_id, COUNT(*) AS orders_n, MIN(day) AS first_day, MAX(day) AS last_day,
                {quarters("1")} AS quarters
            FROM (SELECT DISTINCT customer_id, day, quarter FROM counted) GROUP BY customer_id
        )
        SELECT k.id AS customer_id, COALESCE(b.orders_n, 0) AS orders_n, COALESCE(b.first_day, 0) AS first_day,
            COALESCE(b.last_day, 0) AS last_day, COALESCE(s.revenue_minor, 0) AS revenue_minor,
            COALESCE(s.quarters, {nothing}) AS quarter_revenue_minor,
            COALESCE(b.quarters, {nothing}) AS quarter_orders_n, u.customer_id IS NOT NULL AS left_out,
            {today} AS as_of_day
        FROM customers k LEFT JOIN sold s ON s.customer_id = k.id LEFT JOIN bought b ON b.customer_id = k.id
            LEFT JOIN unknown u ON u.customer_id = k.id
        ORDER BY k.id
    """


def _write(db: Any, path: Path, types: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Rows as one Parquet file."""
    db.execute(f"CREATE OR REPLACE TEMP TABLE page ({_declared(types)})")
    _insert(db, "page", types, rows)
    _copy(db, "SELECT * FROM page", path)
    db.execute("DROP TABLE page")


def _insert(db: Any, table: str, types: Mapping[str, str], rows: Iterable[Row]) -> None:
    """By whole columns: one row at a time takes DuckDB a thousand times as long."""
    values = list(zip(*rows, strict=True))
    if not values:
        return
    columns = {
        name: np.array(column, dtype=np.int64 if kind == "BIGINT" else object)
        for (name, kind), column in zip(types.items(), values, strict=True)
    }
    db.register("arriving", columns)
    db.execute(
        f"INSERT INTO {table} SELECT {', '.join(f'{name}::{kind}' for name, kind in types.items())} FROM arriving"
    )
    db.unregister("arriving")


def _copy(db: Any, sql: str, path: Path) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    db.execute(f"COPY ({sql}) TO '{str(part).replace(chr(39), chr(39) * 2)}' (FORMAT parquet, COMPRESSION zstd)")
    part.rename(path)


def _declared(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in types.items())


def _silent(_what: str, _done: int, _total: int) -> None:
    return None
