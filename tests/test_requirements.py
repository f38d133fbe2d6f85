"""The table of requirements claims what tests carry, and nothing else."""

from pathlib import Path

import pytest

from tests.requirement_rows import NUMBERS, ROWS_FILE, Row, marked, problems_of, read_rows, with_tests

TABLE = {"R1": ["test_one.py"]}


def rows(**states: str) -> list[Row]:
    """A table in which nothing is there but what is given."""
    return [
        Row(
            number,
            "asks",
            states.get(number, "not yet"),
            "something" if number in states else "",
            "more",
            tuple(TABLE.get(number, ())) if number in states else (),
        )
        for number in NUMBERS
    ]


def test_every_claim_has_a_test_and_every_marker_a_claim() -> None:
    assert problems_of(read_rows(ROWS_FILE.read_text("utf-8")), marked()) == []


def test_the_last_column_is_what_the_markers_say() -> None:
    text = ROWS_FILE.read_text("utf-8")
    assert with_tests(text, marked()) == text


@pytest.mark.parametrize(
    ("table", "markers", "problem"),
    [
        (rows(R1="partly"), {}, "R1: claimed as partly, and no test carries its marker"),
        (rows(R1="works"), {}, "R1: claimed as works, and no test carries its marker"),
        (rows(R1="partly"), {**TABLE, "R57": ["test_one.py"]}, "R57: no such row, yet test_one.py carries it"),
        (rows(), TABLE, "R1: says not yet, yet test_one.py carries it"),
        (rows(R1="partly"), {"R1": ["test_two.py"]}, "R1: the last column is old"),
        (rows(R1="done"), TABLE, "R1: 'done' is none of works, partly, not yet"),
        (rows(R1="partly")[1:], TABLE, "the rows are not R1 to R56"),
    ],
)
def test_what_is_refused(table: list[Row], markers: dict[str, list[str]], problem: str) -> None:
    assert problems_of(rows(R1="partly"), TABLE) == []
    assert any(found.startswith(problem) for found in problems_of(table, markers))


def test_markers_are_found_on_functions_parameters_and_modules(tmp_path: Path) -> None:
    (tmp_path / "test_function.py").write_text(
        "import pytest\n@pytest.mark.requirement('R1', 'R2')\nasync def test_it(): ...\n"
    )
    (tmp_path / "test_module.py").write_text("import pytest\npytestmark = pytest.mark.requirement('R2')\n")
    (tmp_path / "test_parameter.py").write_text(
        "import pytest\n@pytest.mark.parametrize('a', [pytest.param(1, marks=pytest.mark.requirement('R3'))])\n"
        "def test_it(a): ...\n"
    )
    assert marked(tmp_path) == {
        "R1": ["test_function.py"],
        "R2": ["test_function.py", "test_module.py"],
        "R3": ["test_parameter.py"],
    }
