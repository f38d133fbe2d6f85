"""The checks of the house catch what they are there for: each contract breaks when somebody breaks its rule."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRACTS: dict[str, str] = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
PLANTS = [
    ("floors", "backend/storage/savepoints.py", "import backend.sync.work"),
    ("floors", "backend/errors.py", "from backend import cli"),
    ("floors", "backend/helpers.py", ""),
    ("pure-domain", "backend/domain/arrays.py", "import backend.clock"),
    ("pure-domain", "backend/domain/arrays.py", "from asyncpg import connect"),
    ("thin-schema", "backend/schema/limits.py", "from backend.storage.engine import open_engine"),
    ("independent-usecases", "backend/usecases/sessions.py", "from backend.usecases import orders"),
    ("no-circles", "backend/auth/keys.py", "from backend.auth.tokens import Tokens"),
]
"""Contract, the file that breaks it, and the line that does."""


def verdicts(tree: Path) -> dict[str, str]:
    """Contract's name → KEPT or BROKEN, as the linter tells for the tree."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = dict(re.findall(r"^(.+) (KEPT|BROKEN)$", done.stdout, re.MULTILINE))
    assert done.returncode == ("BROKEN" in found.values()), done.stdout + done.stderr
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the house that may be damaged."""
    shutil.copytree(ROOT / "backend", tmp_path / "backend", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def test_the_house_as_it_stands_keeps_every_contract(tree: Path) -> None:
    assert verdicts(tree) == dict.fromkeys(CONTRACTS.values(), "KEPT")


@pytest.mark.parametrize(("contract", "file", "line"), PLANTS, ids=[f"{plant[0]}-{plant[2]}" for plant in PLANTS])
def test_a_planted_violation_is_caught(tree: Path, contract: str, file: str, line: str) -> None:
    with (tree / file).open("a") as source:
        source.write(f"\n{line}\n")
    assert verdicts(tree)[CONTRACTS[contract]] == "BROKEN"


def test_every_contract_has_a_plant() -> None:
    assert {plant[0] for plant in PLANTS} == set(CONTRACTS)


def test_packages_are_never_a_second_door() -> None:
    """Empty `__init__.py` files: a name has one place it is imported from."""
    assert [path for path in (ROOT / "backend").rglob("__init__.py") if path.stat().st_size] == []
