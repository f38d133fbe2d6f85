"""The page for operators names what there is."""

import re
from pathlib import Path

import backend.app
import backend.cli.main
from backend.telemetry import REGISTRY

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "OPERATIONS.md").read_text()


def test_every_metric_stands_on_the_page() -> None:
    assert backend.app
    assert backend.cli.main
    names = [metric.name.removeprefix("selvedge_") for metric in REGISTRY.collect()]
    names = [name for name in names if not name.startswith("test_")]
    assert len(names) > 25
    assert [name for name in names if f"`{name}" not in PAGE] == []


def test_what_is_named_is_counted_and_by_these_words() -> None:
    known = {name: set(found._labelnames) for name, found in REGISTRY._names_to_collectors.items()}
    cells = re.findall(
        r"^\| (`[a-z_]+(?:\{|`).*?) \|", PAGE.partition("| metric (")[2].partition("\n\n")[0], re.MULTILINE
    )
    told = [one for cell in cells for one in re.findall(r"`([a-z_]+)(?:\{([a-z_,]+)\})?`", cell)]
    bounds = (DOCS / "LIMITS.md").read_text().partition("## Seen from outside")[2].partition("\n## ")[0]
    told += [(name, labels) for name, labels in re.findall(r"`selvedge_([a-z_]+)(?:\{([a-z_,]+)\})?`", bounds)]
    assert len(told) > 40
    for name, labels in told:
        assert known[f"selvedge_{name}"] == set(filter(None, labels.split(","))), name
