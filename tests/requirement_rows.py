"""`docs/REQUIREMENTS.md` and the markers of the tests: `python -m tests.requirement_rows` writes the last column."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROWS_FILE = TESTS.parent / "docs" / "REQUIREMENTS.md"
NUMBERS = tuple(f"R{number}" for number in range(1, 57))
STATES = ("works", "partly", "not yet")
CLAIMS = ("works", "partly")
COLUMNS = 6


@dataclass(frozen=True, slots=True)
class Row:
    number: str
    asks: str
    state: str
    there: str
    missing: str
    tests: tuple[str, ...]

    def line(self) -> str:
        tests = ", ".join(f"`{name}`" for name in self.tests)
        return "| " + " | ".join((self.number, self.asks, self.state, self.there, self.missing, tests)) + " |"


def read_rows(text: str) -> list[Row]:
    """Every line of the table that begins with an R-number, in the order of the file."""
    rows = []
    for line in text.splitlines():
        if not re.match(r"\| *R\d", line):
            continue
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if len(cells) != COLUMNS:
            raise ValueError(f"{cells[0]}: {len(cells)} cells, wanted {COLUMNS}")
        number, asks, state, there, missing, tests = cells
        rows.append(Row(number, asks, state, there, missing, tuple(re.findall(r"`([^`]+)`", tests))))
    return rows


def marked(folder: Path = TESTS) -> dict[str, list[str]]:
    """R-number → the test files that carry it, by path below `tests/`."""
    found: dict[str, set[str]] = {}
    for file in sorted(folder.rglob("test_*.py")):
        for number in _numbers_of(ast.parse(file.read_text("utf-8"))):
            found.setdefault(number, set()).add(file.relative_to(folder).as_posix())
    return {number: sorted(files) for number, files in found.items()}


def problems_of(rows: list[Row], markers: dict[str, list[str]]) -> list[str]:
    """What the table claims and the tests do not carry, or the other way round."""
    problems = []
    if tuple(row.number for row in rows) != NUMBERS:
        problems.append(f"the rows are not {NUMBERS[0]} to {NUMBERS[-1]}, each once and in order")
    states = {row.number: row for row in rows}
    for row in rows:
        if row.state not in STATES:
            problems.append(f"{row.number}: {row.state!r} is none of {', '.join(STATES)}")
        if row.state in CLAIMS and row.number not in markers:
            problems.append(f"{row.number}: claimed as {row.state}, and no test carries its marker")
        if row.state in CLAIMS and not row.there:
            problems.append(f"{row.number}: claimed as {row.state}, and the row does not say what is there")
        if row.state != "works" and not row.missing:
            problems.append(f"{row.number}: {row.state}, and the row does not say what is missing")
        if row.tests != tuple(markers.get(row.number, ())):
            problems.append(f"{row.number}: the last column is old; run: python -m tests.requirement_rows")
    for number, files in markers.items():
        if number not in states:
            problems.append(f"{number}: no such row, yet {', '.join(files)} carries it")
        elif states[number].state == "not yet":
            problems.append(f"{number}: says not yet, yet {', '.join(files)} carries it")
    return problems


def with_tests(text: str, markers: dict[str, list[str]]) -> str:
    """The document with its last column written anew."""
    rows = {row.number: replace(row, tests=tuple(markers.get(row.number, ()))) for row in read_rows(text)}
    lines = []
    for line in text.splitlines():
        found = re.match(r"\| *(R\d+)", line)
        lines.append(rows[found.group(1)].line() if found else line)
    return "\n".join(lines) + "\n"


def _numbers_of(module: ast.Module) -> Iterator[str]:
    """Arguments of every `requirement(…)` marker: on functions, classes, parameters, or the whole module."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requirement":
            for argument in node.args:
                yield str(argument.value) if isinstance(argument, ast.Constant) else ast.unparse(argument)


if __name__ == "__main__":
    ROWS_FILE.write_text(with_tests(ROWS_FILE.read_text("utf-8"), marked()), "utf-8")
