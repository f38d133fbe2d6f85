"""Tables handed in: what is read, with which row numbers, and what is refused before anything is written."""

import csv
import datetime
import io
import zipfile
from collections.abc import Sequence

import pytest
import xlsxwriter

from backend.errors import Code, Problem, Refused
from backend.integrations.tables import BLOCK_BYTES, Table, failed_rows_csv, read_table, spreadsheet_safe

BYTES_MAX = 10_000_000


def table(content: bytes, *, bytes_max: int = BYTES_MAX) -> Table:
    return read_table(io.BytesIO(content), bytes_max=bytes_max)


def rows(content: bytes) -> list[tuple[int, tuple[str, ...]]]:
    return [(row.number, row.cells) for row in table(content).rows()]


def refusal(content: bytes, *, bytes_max: int = BYTES_MAX) -> Problem:
    with pytest.raises(Refused) as refused:
        table(content, bytes_max=bytes_max)
    [problem] = refused.value.problems
    return problem


def workbook(sheets: Sequence[Sequence[Sequence[object]]], *, first_row: int = 0, hidden: int | None = None) -> bytes:
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file, {"in_memory": True, "default_date_format": "yyyy-mm-dd hh:mm"})
    for index, lines in enumerate(sheets):
        sheet = book.add_worksheet()
        if index == hidden:
            sheet.hide()
        for at, line in enumerate(lines):
            sheet.write_row(first_row + at, 0, line)
        if index != hidden:
            sheet.activate()
    book.close()
    return file.getvalue()


def test_rows_are_numbered_as_editors_and_spreadsheets_number_them() -> None:
    assert rows(b"code,day\n\nC1,1997-01-01\n\nC2,1997-01-02\n") == [
        (3, ("C1", "1997-01-01")),
        (5, ("C2", "1997-01-02")),
    ]
    book = workbook([[["code"], ["C1"], [], ["C2"]]], first_row=2)
    assert rows(book) == [(4, ("C1",)), (6, ("C2",))]


def test_rows_can_be_walked_again_and_from_the_start() -> None:
    for content in (b"code\nC1\nC2\n", workbook([[["code"], ["C1"], ["C2"]]])):
        read = table(content)
        first = read.rows()
        assert next(first).cells == ("C1",)
        first.close()  # type: ignore[attr-defined]
        assert [row.cells for row in read.rows()] == [("C1",), ("C2",)]
        assert [row.cells for row in read.rows()] == [("C1",), ("C2",)]
        assert read.rows_total == 2


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_mark_between_cells_is_found_in_the_first_row(mark: str) -> None:
    read = table(mark.join(['"name, first; full"', "day", "n"]).encode() + b"\n" + mark.join("abc").encode())
    assert read.header == ("name, first; full", "day", "n")
    assert [row.cells for row in read.rows()] == [("a", "b", "c")]


def test_a_byte_order_mark_and_any_line_end_are_read_over() -> None:
    for end in ("\n", "\r\n", "\r"):
        read = table(f"\ufeffcode,day{end}C1,x{end}".encode())
        assert read.header == ("code", "day")
        assert [row.cells for row in read.rows()] == [("C1", "x")]


def test_a_spreadsheet_gives_the_texts_a_csv_has() -> None:
    book = workbook(
        [
            [
                ["code", "day", "moment", "units", "amount", "tiny", "flag"],
                [
                    "C00004",
                    datetime.date(1997, 1, 1),
                    datetime.datetime(1997, 1, 1, 13, 45),  # noqa: DTZ001
                    2,
                    0.1 + 0.2,
                    1e-7,
                    True,
                ],
                [4, datetime.datetime(1997, 1, 18), "", 2.0, 29.73, 123456789012, False],  # noqa: DTZ001
            ]
        ]
    )
    assert [cells for _, cells in rows(book)] == [
        ("C00004", "1997-01-01", "1997-01-01T13:45:00", "2", "0.3", "0.0000001", "true"),
        ("4", "1997-01-18", "", "2", "29.73", "123456789012", "false"),
    ]


def test_of_a_workbook_the_first_sheet_a_reader_sees_is_read() -> None:
    book = workbook([[["hidden"], ["x"]], [["code"], ["C1"]]], hidden=0)
    assert table(book).header == ("code",)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf", b"code,day\n", b"code,day\n,\n\n"])
def test_a_file_without_rows_is_refused(content: bytes) -> None:
    assert refusal(content).code is Code.EMPTY_FILE


def test_a_workbook_without_rows_is_refused() -> None:
    assert refusal(workbook([[]])).code is Code.EMPTY_FILE
    assert refusal(workbook([[["code", "day"]]])).code is Code.EMPTY_FILE


def test_bytes_that_are_not_utf8_are_refused_with_their_place() -> None:
    latin = "code,name\nC1,Zoe\nC2,Zoë\n".encode("latin-1")
    problem = refusal(latin)
    assert (problem.code, problem.path) == (Code.NOT_UTF8, ("content", "rows", "2"))
    assert problem.params == {"row": 3, "byte": latin.index(b"\xeb")}
    assert refusal("code,day\nC1,x\n".encode("utf-16")).params == {"row": 1, "byte": 0}
    cut = "code\né".encode()[:-1]
    assert refusal(cut).params == {"row": 2, "byte": len(cut) - 1}


@pytest.mark.parametrize("before", [BLOCK_BYTES - 2, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1])
def test_a_bad_byte_is_found_wherever_blocks_meet(before: int) -> None:
    whole = (b"code\n" * before)[:before]
    # the first two bytes of a character of three, then something else
    problem = refusal(whole + b"\xe4\xbd\n")
    assert problem.params == {"row": whole.count(b"\n") + 1, "byte": before}
    assert table(whole + "你\n".encode()).rows_total == whole.count(b"\n")


def test_a_quote_that_never_closes_is_refused_where_it_opens() -> None:
    problem = refusal(b'code,name\nC1,ok\nC2,"open\nC3,x\n')
    assert (problem.code, problem.path) == (Code.INVALID_VALUE, ("content", "rows", "2"))


def test_a_file_above_the_limit_is_refused_packed_or_unpacked() -> None:
    assert refusal(b"code\n" + b"C1\n" * 400, bytes_max=1_000).code is Code.TOO_LARGE
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/workbook.xml", b"0" * 2_000_000)
    assert len(bomb.getvalue()) < 1_000_000
    assert refusal(bomb.getvalue(), bytes_max=1_000_000).code is Code.TOO_LARGE


def test_what_is_no_spreadsheet_though_it_begins_like_one_is_refused() -> None:
    for content in (b"PK\x03\x04junk", b"\xd0\xcf\x11\xe0" + b"\0" * 600, workbook([[["code"], ["C1"]]])[:-60]):
        problem = refusal(content)
        assert (problem.code, problem.path) == (Code.INVALID_VALUE, ("content",)), content[:8]
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as packed:
        packed.writestr("orders.csv", "code\nC1\n")
    assert refusal(other.getvalue()).code is Code.INVALID_VALUE


def test_the_digest_is_of_the_bytes() -> None:
    assert table(b"a\n1\n").sha256 == table(b"a\n1\n").sha256 != table(b"a\n1").sha256


def test_failed_rows_are_written_as_they_stood_and_harmless() -> None:
    content = b'code,name,amount\nC1,ok,1\nC2,"=HYPERLINK(""x"")",-5\n@C3,+1\nC4,a,b,c\n'
    out = io.StringIO()
    failed_rows_csv(table(content), {3: ("bad", "=x"), 4: ("short", ""), 5: ("long", "")}, ("id", "reasons"), out)
    assert list(csv.reader(io.StringIO(out.getvalue()))) == [
        ["code", "name", "amount", "id", "reasons"],
        ["C2", '\'=HYPERLINK("x")', "'-5", "bad", "'=x"],
        ["'@C3", "'+1", "", "short", ""],
        ["C4", "a", "b", "long", "", "c"],
    ]
    again = io.StringIO()
    failed_rows_csv(table(out.getvalue().encode()), {2: ("new", "why")}, ("id", "reasons"), again)
    assert list(csv.reader(io.StringIO(again.getvalue()))) == [
        ["code", "name", "amount", "id", "reasons"],
        ["C2", '\'=HYPERLINK("x")', "'-5", "new", "why"],
    ]
    for start in "=+-@\t\r":
        assert spreadsheet_safe(f"{start}1") == f"'{start}1"
    assert spreadsheet_safe("C1-2") == "C1-2"
