"""Tables people hand in: CSV and spreadsheets, read row by row as plain texts with the row numbers they show.

Both kinds give the same texts for the same content: days are `YYYY-MM-DD`, moments `YYYY-MM-DDTHH:MM:SS`, numbers
have no exponent and no noise of binary fractions. Opening a table reads it once to the end, so that whatever is
wrong with the file as a whole is known before anything is written; `rows()` may then be walked any number of times.
"""

import codecs
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, BinaryIO, Protocol, TextIO

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from backend.errors import Code, Problem, Refused

BLOCK_BYTES = 1 << 20
DELIMITERS = ",;\t|"
ZIP_START = b"PK\x03\x04"
COMPOUND_START = b"\xd0\xcf\x11\xe0"
"""First bytes of the older spreadsheet formats and of encrypted ones."""
DIGITS_KEPT = 15
"""Decimal digits a double keeps for certain; what a spreadsheet shows."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_OLD_LINES = re.compile(r"[^\r]*\r|[^\r]+")
HEADER_FORMS = ("CSV", "XLSX")


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row below the header. `number` counts from 1 as editors and spreadsheets do, blank rows too."""

    number: int
    cells: tuple[str, ...]


class Table(Protocol):
    """A table that was read once and found sound.

    `header`: column names, trimmed, empty for unnamed columns; `sha256`: of the file's bytes, hexadecimal;
    `rows_total`: rows below the header that are not blank.
    """

    header: tuple[str, ...]
    sha256: str
    rows_total: int

    def rows(self) -> Iterator[TableRow]:
        """The rows that are not blank, in file order, from the start at each call."""
        ...


def read_table(file: BinaryIO, *, bytes_max: int) -> Table:
    """The table in a file that can be sought; what it is, its first bytes say, never its name.

    Raises TOO_LARGE, EMPTY_FILE (no bytes, or no row below the header), NOT_UTF8 with the place of the first bad
    byte, INVALID_VALUE for what is neither CSV nor a spreadsheet that can be opened.
    """
    size = file.seek(0, io.SEEK_END)
    if size > bytes_max:
        raise Refused(Problem(Code.TOO_LARGE, ("content",), (str(bytes_max),)))
    file.seek(0)
    start = file.read(len(ZIP_START))
    if start.startswith((ZIP_START, COMPOUND_START)):
        return _Spreadsheet(file, _sha256(file), bytes_max=bytes_max)
    _check_utf8(file)
    return _Csv(file, _sha256(file))


def spreadsheet_safe(cell: str) -> str:
    """The cell as a CSV may hold it without a spreadsheet taking it for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _check_utf8(file: BinaryIO) -> None:
    """Raise NOT_UTF8 at the first byte that is not UTF-8; `rows` in its path counts from 0, like every list."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read, lines = 0, 0
    file.seek(0)
    while True:
        block = file.read(BLOCK_BYTES)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            within = error.start - pending
            line = lines + block[: max(within, 0)].count(b"\n")
            raise Refused(
                Problem(
                    Code.NOT_UTF8,
                    ("content", "rows", str(line)),
                    params={"row": line + 1, "byte": read + within},
                )
            ) from None
        if not block:
            return
        read += len(block)
        lines += block.count(b"\n")


class _Csv:
    def __init__(self, file: BinaryIO, sha256: str) -> None:
        self._file = file
        self.sha256 = sha256
        self._delimiter = _delimiter(file)
        self._header_row, self.header = _header(self._numbered())
        self.rows_total = _count(self.rows())

    def rows(self) -> Iterator[TableRow]:
        return _below(self._numbered(), self._header_row)

    def _numbered(self) -> Iterator[TableRow]:
        number = 0
        try:
            for number, cells in enumerate(csv.reader(_lines(self._file), delimiter=self._delimiter, strict=True), 1):
                yield TableRow(number, tuple([cell.strip() for cell in cells]))
        except csv.Error:
            # an unclosed quote or a cell beyond all measure: where the next row begins nobody can tell
            raise Refused(
                Problem(Code.INVALID_VALUE, ("content", "rows", str(number)), HEADER_FORMS, {"row": number + 1})
            ) from None


def _lines(file: BinaryIO) -> Iterator[str]:
    """The file's lines, whatever ends them, from its start."""
    file.seek(len(codecs.BOM_UTF8) if _has_mark(file) else 0)
    for line in file:
        text = line.decode("utf-8").replace("\r\n", "\n")
        if "\r" in text:
            yield from (part.replace("\r", "\n") for part in _OLD_LINES.findall(text))
        else:
            yield text


def _has_mark(file: BinaryIO) -> bool:
    file.seek(0)
    return file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8


def _delimiter(file: BinaryIO) -> str:
    """The mark that occurs most often outside quotes in the first row; a comma when none does."""
    for line in _lines(file):
        if line.strip():
            unquoted = "".join(line.split('"')[::2])
            return max(DELIMITERS, key=unquoted.count)
    return DELIMITERS[0]


class _Spreadsheet:
    def __init__(self, file: BinaryIO, sha256: str, *, bytes_max: int) -> None:
        self.sha256 = sha256
        _check_unpacked(file, bytes_max)
        file.seek(0)
        try:
            self._sheet = _first_sheet(CalamineWorkbook.from_filelike(file))
            self._header_row, self.header = _header(self._numbered())
            self.rows_total = _count(self.rows())
        except (CalamineError, ValueError):
            raise Refused(Problem(Code.INVALID_VALUE, ("content",), HEADER_FORMS)) from None

    def rows(self) -> Iterator[TableRow]:
        return _below(self._numbered(), self._header_row)

    def _numbered(self) -> Iterator[TableRow]:
        for number, cells in enumerate(self._sheet.iter_rows(), start=1):
            yield TableRow(number, tuple(_cell_text(cell) for cell in cells))


def _check_unpacked(file: BinaryIO, bytes_max: int) -> None:
    """A small file can unpack to more than memory holds."""
    file.seek(0)
    if not zipfile.is_zipfile(file):
        return
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as packed:
            unpacked = sum(entry.file_size for entry in packed.infolist())
    except (zipfile.BadZipFile, NotImplementedError):
        raise Refused(Problem(Code.INVALID_VALUE, ("content",), HEADER_FORMS)) from None
    if unpacked > bytes_max:
        raise Refused(Problem(Code.TOO_LARGE, ("content",), (str(bytes_max),)))


def _first_sheet(book: CalamineWorkbook) -> CalamineSheet:
    """The first sheet a reader of the file would see."""
    for index, sheet in enumerate(book.sheets_metadata):
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible:
            return book.get_sheet_by_index(index)
    raise Refused(Problem(Code.EMPTY_FILE, ("content",)))


def _cell_text(value: Any) -> str:
    match value:
        case str():
            return value.strip()
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _number_text(value)
        case datetime():
            whole_day = value.time() == time()
            return value.date().isoformat() if whole_day else value.isoformat(timespec="seconds")
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _number_text(value: float) -> str:
    """29.33 for 29.330000000000002, 4 for 4.0, never an exponent."""
    text = format(Decimal(f"{value:.{DIGITS_KEPT}g}"), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _header(rows: Iterator[TableRow]) -> tuple[int, tuple[str, ...]]:
    """The first row that is not blank, and its number."""
    for row in rows:
        if any(row.cells):
            return row.number, row.cells
    raise Refused(Problem(Code.EMPTY_FILE, ("content",)))


def _below(rows: Iterator[TableRow], header_row: int) -> Iterator[TableRow]:
    for row in rows:
        if row.number > header_row and any(row.cells):
            yield row


def _count(rows: Iterator[TableRow]) -> int:
    total = sum(1 for _ in rows)
    if total == 0:
        raise Refused(Problem(Code.EMPTY_FILE, ("content",)))
    return total


def failed_rows_csv(table: Table, reasons: Mapping[int, Sequence[str]], added: Sequence[str], out: TextIO) -> None:
    """Write the table's rows named in `reasons` (row number → texts of the `added` columns) as they stood.

    Columns of the table that have the name of an added one are left out; cells beyond the header stand last. Any
    cell a spreadsheet would calculate is made text by an apostrophe.
    """
    writer = csv.writer(out, lineterminator="\n")
    kept = [at for at, name in enumerate(table.header) if name not in added]
    writer.writerow(map(spreadsheet_safe, (*(table.header[at] for at in kept), *added)))
    for row in table.rows():
        if row.number in reasons:
            cells = [row.cells[at] if at < len(row.cells) else "" for at in kept]
            writer.writerow(map(spreadsheet_safe, (*cells, *reasons[row.number], *row.cells[len(table.header) :])))
