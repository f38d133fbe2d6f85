"""Writing what clients build upon."""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.markup import escape

from backend.cli.numbers_page import numbers_text
from backend.cli.terminal import complain, say
from backend.config import PREFIX, Settings
from backend.domain.issue_words import field_kinds
from backend.errors import OPERATOR, RETRY, Code, Retry
from backend.schema.root import print_sdl
from backend.schema.rxdb import rxdb_schemas_text
from backend.schema.trusted import MANIFEST, manifest_text
from backend.sync.versions import declared_versions
from backend.sync.watermelon import app_schema

CONTRACT_DRIFTED = 1
CONTRACT_DIR = Path(__file__).resolve().parent.parent.parent / "mobile_contract"
verbs = typer.Typer()


@verbs.command(epilog="Example: selvedge contract --check")
def contract(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is not up to date.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the contract lies.")] = CONTRACT_DIR,
    rxdb: Annotated[bool, typer.Option("--rxdb", help="Only the schemas RxDB's collections are made with.")] = False,
    watermelon: Annotated[
        bool, typer.Option("--watermelon", help="Only the tables WatermelonDB's appSchema is made with.")
    ] = False,
) -> None:
    """Write what clients build upon: the schemas, and the codes with their meaning; and the page of settings."""
    drifted = False
    only = {name for name, asked in {RXDB_SCHEMAS: rxdb, WATERMELON_SCHEMA: watermelon}.items() if asked}
    written = [(folder / name, write) for name, write in CONTRACT.items() if not only or name in only]
    written += [(folder.parent / "docs" / name, write) for name, write in DOCS.items() if not only]
    for path, write in written:
        wanted = write()
        found = path.read_text("utf-8") if path.exists() else ""
        if found == wanted:
            continue
        if check:
            drifted = True
            _show_difference(path.name, found, wanted)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, "utf-8")
            say.print(f"wrote {escape(str(path))}")
    if drifted:
        complain.print("the contract has drifted; after reading the difference run: selvedge contract")
        raise typer.Exit(CONTRACT_DRIFTED)


def errors_text() -> str:
    """The table of codes, for people who write clients."""
    lines = [
        "# Codes",
        "",
        "Written by `selvedge contract`. A `Problem` and `errors[].extensions` carry one of these in `code`.",
        "More may be added: treat a code you do not know by its `retry`.",
        "",
        "`NEVER`: sending it again cannot help. `AFTER_CHANGE`: change what `path` names first. `LATER`: the same",
        "request may pass a little later.",
        "",
        "| code | retry | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{code.value}` | {RETRY.get(code, Retry.AFTER_CHANGE).value} | {OPERATOR[code]} |" for code in Code]
    return "\n".join(lines) + "\n"


def fields_text() -> str:
    """Which field is of which kind, for clients that show values without asking."""
    return json.dumps(field_kinds(), indent=1, sort_keys=True) + "\n"


def versions_text() -> str:
    """Which schema version of documents brought what, for clients that were written for one of them."""
    return json.dumps(declared_versions(), indent=1, sort_keys=True) + "\n"


def settings_text() -> str:
    """The table of settings, for people who run a server."""
    lines = [
        "# Settings",
        "",
        "Written by `selvedge contract` from `backend/config.py`. Each is an environment variable, read once at the",
        "start; a wrong value stops the start with the variable's name and the form it wants.",
        "",
        "| variable | default | range | what it is |",
        "|---|---|---|---|",
    ]
    for name, info in Settings.model_fields.items():
        bounds = [f"{sign} {limit:,}" for sign, limit in _bounds(info.metadata)]
        choices = " · ".join(f"`{choice}`" for choice in get_args(info.annotation) if isinstance(choice, str))
        default = (
            ""
            if info.default in (None, ())
            else f"`{str(info.default).lower() if info.annotation is bool else info.default}`"
        )
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {choices or ', '.join(bounds)} | {info.description} |")
    return "\n".join(lines) + "\n"


def watermelon_schema_text() -> str:
    """What WatermelonDB's `appSchema` and `tableSchema` take."""
    return json.dumps(app_schema(), indent=2) + "\n"


def _bounds(metadata: Sequence[object]) -> list[tuple[str, int]]:
    """Signs and limits of a number, such as `≥ 1`."""
    signs = {"ge": "≥", "le": "≤"}
    return [(sign, getattr(rule, name)) for rule in metadata for name, sign in signs.items() if hasattr(rule, name)]


RXDB_SCHEMAS = "rxdb-schemas.json"
WATERMELON_SCHEMA = "watermelon-schema.json"
CONTRACT: Mapping[str, Callable[[], str]] = {
    "schema.graphql": print_sdl,
    f"operations/{MANIFEST}": manifest_text,
    "errors.md": errors_text,
    "fields.json": fields_text,
    "versions.json": versions_text,
    RXDB_SCHEMAS: rxdb_schemas_text,
    WATERMELON_SCHEMA: watermelon_schema_text,
}
"""File of the contract → what it must say."""
DOCS: Mapping[str, Callable[[], str]] = {"SETTINGS.md": settings_text, "NUMBERS.md": numbers_text}
"""Page of `docs/` beside the contract → what it must say."""


def _show_difference(name: str, found: str, wanted: str) -> None:
    lines = difflib.unified_diff(
        found.splitlines(), wanted.splitlines(), f"{name} (committed)", f"{name} (wanted)", lineterm=""
    )
    complain.print(escape("\n".join(lines)), soft_wrap=True)
