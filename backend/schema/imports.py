"""Taking over order history from other systems, and taking it back."""

import base64
import binascii
import io
from collections.abc import Mapping
from typing import Annotated

import strawberry

from backend.domain.customers import CustomerKind
from backend.domain.fields import parse_id
from backend.domain.given import check_first
from backend.domain.imports import TARGETS, ImportState, KeptReason
from backend.errors import Code, Problem, Refused
from backend.integrations.tables import read_table
from backend.reads.entities.entity import readable
from backend.reads.entities.table import ENTITIES
from backend.reads.selection import PageRequest
from backend.schema.context import Info
from backend.schema.paging import Connection, select_one, select_page
from backend.schema.refusals import Problem as ShownProblem
from backend.schema.refusals import Refusal, refuse, show_problems
from backend.schema.scalars import Instant
from backend.usecases.imports.orders import ImportReport, import_orders, read_failed, read_import
from backend.usecases.imports.undo import undo_import
from backend.usecases.imports.wishes import ImportWish

BATCHES_DEFAULT = 20
FAILED_DEFAULT = 100

strawberry.enum(KeptReason, description="Why undoing an import left a record it had made.")

FirstFailed = Annotated[int, strawberry.argument(description="How many.")]
AfterRow = Annotated[int, strawberry.argument(description="Only rows behind this number.")]


@strawberry.type(description="A row that was not taken.")
class FailedRow:
    row_number: int = strawberry.field(description="As a spreadsheet numbers rows: the header is row 1.")
    problems: list[ShownProblem] = strawberry.field(description="All of its problems.")


@strawberry.type(description="The import of one file.")
class ImportBatch:
    id: strawberry.ID = strawberry.field(description="Its id. Undoing names it.")
    system: str = strawberry.field(description="The other system.")
    file_name: str = strawberry.field(description="The file as it was called.")
    state: ImportState = strawberry.field(description="RUNNING also when it was cut short: send the file again.")
    rows_total: int = strawberry.field(description="Rows below the header that are not blank.")
    orders_created: int = strawberry.field(description="Rows that became orders.")
    rows_unchanged: int = strawberry.field(description="Rows whose order was there already with equal content.")
    rows_failed: int = strawberry.field(description="Rows that were not taken.")
    customers_created: int = strawberry.field(description="Customers first met in it that still stand.")
    started_at: Instant = strawberry.field(description="When it began.")
    finished_at: Instant | None = strawberry.field(description="When its last row was done.")
    undone_at: Instant | None = strawberry.field(description="When it was taken back.")
    started_by_id: strawberry.ID = strawberry.field(description="Who began it.")

    @strawberry.field(description="Its failed rows by number.")
    async def failed_rows(
        self, info: Info, first: FirstFailed = FAILED_DEFAULT, after: AfterRow = 0
    ) -> list[FailedRow]:
        context = info.context
        check_first(first, context.settings.page_rows_max, least=0)
        rows = await read_failed(context.engine, context.caller, self.id, first=first, after=after)
        return [FailedRow(row_number=row.number, problems=show_problems(info, row.problems)) for row in rows]


@strawberry.input(description="What a column of the file means.")
class ColumnMapping:
    target: str = strawberry.field(description=f"One of {', '.join(TARGETS)}.")
    column: str = strawberry.field(description="The column's name in the header row.")


@strawberry.input(description="A file of orders, one row each, and what is to be known about it.")
class ImportOrdersInput:
    file_name: str = strawberry.field(description="What the file is called; shown, never trusted.")
    system: str = strawberry.field(description="The other system, by which its ids are told from others': `cdnow`.")
    text: str | None = strawberry.field(default=None, description="The file's content where it is CSV.")
    base64: str | None = strawberry.field(default=None, description="Or its bytes, CSV or XLSX, in base64.")
    map: list[ColumnMapping] | None = strawberry.field(
        default=None, description="Which column means what; columns of a matching name need none."
    )
    currency: str | None = strawberry.field(
        default=None, description="ISO 4217 code of all amounts, unless a column says it."
    )
    kind: CustomerKind | None = strawberry.field(
        default=None, description="Kind of new customers whose rows do not say it; RETAILER unless given."
    )
    territory_id: strawberry.ID | None = strawberry.field(
        default=None, description="Patch for new customers, which you must hold; the only one you hold unless given."
    )
    match_codes: bool = strawberry.field(
        default=False, description="Find customers by our own code where the system's is not known yet."
    )
    dry_run: bool = strawberry.field(default=False, description="Only say what would happen.")


@strawberry.type(description="What became of a file, or in a dry run would.")
class OrdersImported:
    dry_run: bool = strawberry.field(description="Whether nothing was written.")
    repeated: bool = strawberry.field(description="This content was imported before; what it came to then is told.")
    rows_total: int = strawberry.field(description="Rows below the header that are not blank.")
    orders_created: int = strawberry.field(description="Rows that became orders.")
    rows_unchanged: int = strawberry.field(description="Rows whose order was there already with equal content.")
    rows_failed: int = strawberry.field(description="Rows that were not taken.")
    customers_created: int = strawberry.field(description="Customers first met in the file.")
    failed_rows: list[FailedRow] = strawberry.field(description="The first failed rows; `batch` pages through all.")
    batch: ImportBatch | None = strawberry.field(description="The import; null in a dry run.")


@strawberry.type(description="A record an import made that stays when it is undone.")
class KeptRecord:
    collection: str = strawberry.field(description="`customers` or `orders`.")
    id: strawberry.ID = strawberry.field(description="The record.")
    reason: KeptReason = strawberry.field(description="Why.")


@strawberry.type(description="An import was taken back.")
class ImportUndone:
    batch: ImportBatch = strawberry.field(description="The import.")
    orders_deleted: int = strawberry.field(description="Orders that are gone for all.")
    customers_deleted: int = strawberry.field(description="Customers that are gone for all.")
    kept: list[KeptRecord] = strawberry.field(description="What stays, and why.")


ImportOrdersResult = Annotated[
    OrdersImported | Refusal,
    strawberry.union("ImportOrdersResult", description="What became of the rows, or why the file was not begun."),
]
UndoImportResult = Annotated[
    ImportUndone | Refusal, strawberry.union("UndoImportResult", description="What went and what stays.")
]


@strawberry.type
class ImportQueries:
    @strawberry.field(description="Your imports and those you answer for, the latest first.")
    def import_batches(
        self,
        info: Info,
        first: Annotated[int, strawberry.argument(description="How many.")] = BATCHES_DEFAULT,
        after: Annotated[str | None, strawberry.argument(description="Only those behind this cursor.")] = None,
    ) -> Connection[ImportBatch]:
        return select_page(info, "importBatches", PageRequest(first, after))  # type: ignore[no-any-return]

    @strawberry.field(description="One import; null when it is not yours to see.")
    def import_batch(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Its id.")]
    ) -> ImportBatch | None:
        if not readable(info.context.caller, ENTITIES["importBatches"]):
            return None
        return select_one(info, "importBatches", id)  # type: ignore[no-any-return]


@strawberry.type
class ImportMutations:
    @strawberry.mutation(
        description="Take over order history. Rows stand or fail each alone; the same file again changes nothing, "
        "and a run that was cut short goes on where it stopped."
    )
    async def import_orders(
        self, info: Info, input: Annotated[ImportOrdersInput, strawberry.argument(description="The file.")]
    ) -> ImportOrdersResult:
        context = info.context
        try:
            table = read_table(io.BytesIO(_content(input)), bytes_max=context.settings.import_file_bytes_max)
            report = await import_orders(
                context.engine,
                context.caller,
                table,
                _wish(input),
                settings=context.settings,
                clock=context.clock,
                failed_max=min(FAILED_DEFAULT, context.settings.page_rows_max),
                dry_run=input.dry_run,
            )
        except Refused as refused:
            return refuse(info, refused)
        return OrdersImported(
            dry_run=report.batch is None,
            repeated=report.repeated,
            rows_total=report.rows_total,
            orders_created=report.orders_created,
            rows_unchanged=report.rows_unchanged,
            rows_failed=report.rows_failed,
            customers_created=report.customers_created,
            failed_rows=[
                FailedRow(row_number=row.number, problems=show_problems(info, row.problems)) for row in report.failed
            ],
            batch=_shown(report) if report.batch else None,
        )

    @strawberry.mutation(
        description="Take an import back: its orders are deleted, and its customers on which nothing else hangs."
    )
    async def undo_import(
        self,
        info: Info,
        batch_id: Annotated[strawberry.ID, strawberry.argument(description="The import.")],
    ) -> UndoImportResult:
        context = info.context
        try:
            undone = await undo_import(
                context.engine, context.caller, _record_id(batch_id), settings=context.settings, clock=context.clock
            )
            report = await read_import(context.engine, context.caller, batch_id)
        except Refused as refused:
            return refuse(info, refused)
        assert report is not None
        return ImportUndone(
            batch=_shown(report),
            orders_deleted=undone.orders_deleted,
            customers_deleted=undone.customers_deleted,
            kept=[
                KeptRecord(collection=kept.collection, id=strawberry.ID(kept.record_id), reason=kept.reason)
                for kept in undone.kept
            ],
        )


def _wish(given: ImportOrdersInput) -> ImportWish:
    kind = given.kind
    return ImportWish(
        file_name=given.file_name,
        system=given.system,
        columns=_columns(given.map or []),
        currency=given.currency,
        kind=kind.value if kind is not None else None,
        territory=given.territory_id,
        match_codes=given.match_codes,
    )


def _columns(pairs: list[ColumnMapping]) -> Mapping[str, str]:
    """Target → column; raises INVALID_VALUE for a target mapped twice."""
    columns: dict[str, str] = {}
    for pair in pairs:
        if pair.target in columns:
            raise Refused(Problem(Code.INVALID_VALUE, ("map", pair.target), params={"reason": "twice"}))
        columns[pair.target] = pair.column
    return columns


def _content(given: ImportOrdersInput) -> bytes:
    """The file's bytes; raises REQUIRED when it is not given in exactly one way, INVALID_VALUE."""
    if (given.text is None) == (given.base64 is None):
        raise Refused(Problem(Code.REQUIRED, ("content",), ("text", "base64")))
    if given.text is not None:
        # half a surrogate pair becomes bytes that are not UTF-8, and is told as that
        return given.text.encode("utf-8", errors="surrogatepass")
    try:
        return base64.b64decode(given.base64 or "", validate=True)
    except (binascii.Error, ValueError):
        raise Refused(Problem(Code.INVALID_VALUE, ("base64",), ("base64",))) from None


def _record_id(text: str) -> str:
    try:
        return parse_id(text)
    except Refused:
        raise Refused(Problem(Code.NOT_FOUND, ("batchId",))) from None


def _shown(report: ImportReport) -> ImportBatch:
    batch = report.batch
    assert batch is not None
    return ImportBatch(
        id=strawberry.ID(batch.id),
        system=batch.system,
        file_name=batch.file_name,
        state=ImportState(batch.state),
        rows_total=report.rows_total,
        orders_created=report.orders_created,
        rows_unchanged=report.rows_unchanged,
        rows_failed=report.rows_failed,
        customers_created=report.customers_created,
        started_at=Instant(batch.started_at),
        finished_at=None if batch.finished_at is None else Instant(batch.finished_at),
        undone_at=None if batch.undone_at is None else Instant(batch.undone_at),
        started_by_id=strawberry.ID(batch.started_by.partition(":")[2]),
    )
