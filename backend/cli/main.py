"""The command line: one verb for each thing an operator does. A wrong setting ends it with status 2, named."""

from collections.abc import Sequence

import typer
from rich.markup import escape

from backend.cli import (
    access,
    backing,
    contract,
    evaluating,
    fleet,
    importing,
    keeping,
    lake,
    privacy,
    reporting,
    scoring,
    serving,
    starting,
)
from backend.cli.terminal import complain
from backend.errors import BadSetting

SETTING_WRONG = 2

app = typer.Typer(
    name="selvedge",
    help="Offline-first field sales for apparel companies: the server and its tools.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for column in (serving, starting, scoring, evaluating, keeping, backing, privacy, fleet, access, contract):
    app.add_typer(column.verbs)
app.add_typer(importing.importing, name="import")
app.add_typer(reporting.reports, name="report")
app.add_typer(fleet.devices, name="devices")
app.add_typer(lake.lake, name="lake")
app.add_typer(access.keys, name="keys")
app.add_typer(access.services, name="service")


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; returns the status to exit with."""
    try:
        app(list(arguments), standalone_mode=True)
    except BadSetting as bad:
        for line in str(bad).splitlines():
            complain.print(f"[red]setting[/red] {escape(line)}", soft_wrap=True)
        return SETTING_WRONG
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@app.callback()
def _frame() -> None:
    """Offline-first field sales for apparel companies: the server and its tools."""
