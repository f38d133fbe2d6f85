"""Reports for people, each one page in a file."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.cli.report_page import report_page
from backend.cli.terminal import Database, check_present, complain, say, settings_from, show_problems
from backend.clock import wall_clock_ms
from backend.config import Settings, load_messages
from backend.domain.messages import LOCALE_DEFAULT, LOCALES, render
from backend.domain.names import display_name
from backend.domain.times import local_day, parse_day
from backend.errors import BadSetting, Refused
from backend.integrations.charts import check_charts, draw_svg
from backend.storage.engine import open_engine
from backend.storage.holding import territory_named
from backend.usecases.seven_p import ReportScope, SevenPReport, seven_p_report

REPORT_REFUSED = 1
reports = typer.Typer(
    help="Write reports for people, each one page in a file.",
    no_args_is_help=True,
    epilog="Example: selvedge report 7p --territory /cn/east --out report.html",
)


@reports.callback()
def _frame() -> None:
    """Write reports for people, each one page in a file."""


@reports.command(
    "7p", epilog="Example: selvedge report 7p --territory /cn/east --as-of 2026-09-30 --locale zh-CN --out report.html"
)
def seven_p(
    out: Annotated[Path, typer.Option(help="The file to write; one that is there is replaced.", dir_okay=False)],
    territory: Annotated[
        str | None, typer.Option(help="Path or id: this territory with those below it, else the organisation.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="Id: one customer only.")] = None,
    as_of: Annotated[str | None, typer.Option(help="The day to look from, YYYY-MM-DD, else today.")] = None,
    locale: Annotated[str, typer.Option(help=f"Language of the page: {', '.join(LOCALES)}.")] = LOCALE_DEFAULT,
    database: Database = None,
) -> None:
    """The seven analyses on one page with their charts, which asks for nothing from anywhere.

    Profiling, persistency, profitability, performance, prospecting, product and promotion, as `docs/INSIGHT.md` says.
    Ends with 1 when what was asked for is not there, 2 for an option that cannot be.
    """
    settings = settings_from(database_url=database)
    try:
        day = None if as_of is None else parse_day(as_of)
    except Refused:
        raise BadSetting(f"--as-of: {as_of!r}; wanted: a day as YYYY-MM-DD") from None
    if locale not in LOCALES:
        raise BadSetting(f"--locale: {locale!r}; wanted: {', '.join(LOCALES)}")
    if not out.absolute().parent.is_dir():
        raise BadSetting(f"--out: there is no folder {out.absolute().parent}; wanted: a file in one that exists")
    check_charts()
    check_present(settings)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=complain, transient=True) as bar:
        reading, drawing = bar.add_task("reading", total=1), bar.add_task("drawing", total=None)
        try:
            found, subject = asyncio.run(_found(settings, territory, customer, day, locale))
        except Refused as refused:
            show_problems(refused, locale)
            raise typer.Exit(REPORT_REFUSED) from None
        bar.update(reading, completed=1)
        page = report_page(
            found,
            subject=subject,
            messages=load_messages(),
            locale=locale,
            currency=settings.reporting_currency,
            draw=draw_svg,
            told=lambda done, total: bar.update(drawing, completed=done, total=total),
        )
    _write(out, page)
    say.print(
        f"wrote {escape(str(out))}: {escape(subject)}, as of {found.as_of}, {found.customers_n:,} customers",
        soft_wrap=True,
    )


async def _found(
    settings: Settings, territory: str | None, customer: str | None, day: str | None, locale: str
) -> tuple[SevenPReport, str]:
    """The report, and what it is about in words."""
    engine = open_engine(settings.database_url, pool_connections_max=2)
    await engine.start()
    today = local_day(wall_clock_ms(), settings.organisation_timezone)
    try:
        territory_id = None if territory is None else await territory_named(engine, territory)
        found = await seven_p_report(
            engine,
            None,
            ReportScope(customer, territory_id),
            settings=settings,
            as_of=day or today,
            today=today,
        )
    finally:
        await engine.close()
    if customer is not None:
        return found, display_name(found.subject, locale) or customer
    return found, territory or render(load_messages(), "report.organisation", locale)


def _write(out: Path, page: str) -> None:
    """All of it or nothing: who has the old page open keeps it until the new one is whole."""
    half = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        half.write_text(page, encoding="utf-8")
        half.replace(out)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise BadSetting(f"--out: {error.strerror}: {out}; wanted: a file that can be written") from None
