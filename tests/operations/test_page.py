"""The page for operators names what there is."""

from pathlib import Path

import backend.app
import backend.cli.main
from backend.telemetry import REGISTRY

PAGE = (Path(__file__).parent.parent.parent / "docs" / "OPERATIONS.md").read_text()


def test_every_metric_stands_on_the_page() -> None:
    assert backend.app
    assert backend.cli.main
    names = [metric.name.removeprefix("selvedge_") for metric in REGISTRY.collect()]
    names = [name for name in names if not name.startswith("test_")]
    assert len(names) > 25
    assert [name for name in names if f"`{name}" not in PAGE] == []
