"""Scores, and whom to visit first."""

import asyncio
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backend.cli.terminal import OPERATOR_PRINCIPAL, Database, bring_up, complain, say, settings_from, show_problems
from backend.clock import wall_clock_ms
from backend.config import Settings, load_messages
from backend.domain.judgements import JudgementKind
from backend.domain.line_texts import line_text
from backend.domain.messages import LOCALE_DEFAULT, LOCALES, label, render_problem
from backend.domain.names import display_name
from backend.domain.times import parse_day
from backend.errors import BadSetting, Refused
from backend.storage.engine import open_engine
from backend.storage.holding import territory_named
from backend.usecases.insights import RunSummary, run_scores
from backend.usecases.visit_ranking import Ranking, visit_priorities

SCORE_REFUSED = 1
TOP_SHOWN = 5
SCORE_PHASES = {"COUNT": "counting orders", "READ": "reading", "COMPUTE": "computing", "WRITE": "writing"}
verbs = typer.Typer()


@verbs.command(epilog="Example: selvedge score --as-of 1998-06-30 --territory /cn/east/sh-01")
def score(
    as_of: Annotated[str | None, typer.Option(help="The day to look from, YYYY-MM-DD, else today.")] = None,
    territory: Annotated[
        str | None, typer.Option(help="Path or id: write only the scores of this territory and those below it.")
    ] = None,
    locale: Annotated[str, typer.Option(help=f"Language of the lines: {', '.join(LOCALES)}.")] = LOCALE_DEFAULT,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="First compare what is kept of customers' orders with the orders; mend it."),
    ] = False,
    database: Database = None,
) -> None:
    """Score every customer, write what changed, and show whom to visit first and why."""
    settings = settings_from(database_url=database)
    try:
        day = None if as_of is None else parse_day(as_of)
    except Refused:
        raise BadSetting(f"--as-of: {as_of!r}; wanted: a day as YYYY-MM-DD") from None
    bring_up(settings)
    try:
        summary, found = asyncio.run(score_customers(settings, day, territory, rebuild=rebuild))
    except Refused as refused:
        show_problems(refused, locale)
        raise typer.Exit(SCORE_REFUSED) from None
    _show_run(summary, locale)
    _show_ranking(found, locale)


async def score_customers(
    settings: Settings, day: str | None, territory: str | None, *, rebuild: bool = False
) -> tuple[RunSummary, Ranking]:
    engine = open_engine(settings.database_url, pool_connections_max=4)
    await engine.start()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        territory_id = None if territory is None else await territory_named(engine, territory)
        with Progress(*columns, console=say, transient=True) as bar:
            shown = {phase: bar.add_task(text, total=None) for phase, text in SCORE_PHASES.items()}
            summary = await run_scores(
                engine,
                OPERATOR_PRINCIPAL,
                settings=settings,
                clock=wall_clock_ms,
                as_of=day,
                territory_id=territory_id,
                progress=lambda phase, done, total: bar.update(shown[phase], completed=done, total=total or None),
                rebuild=rebuild,
                alone=False,
            )
        found = await visit_priorities(
            engine, None, settings=settings, on=summary.as_of, first=TOP_SHOWN, territory_id=territory_id
        )
    finally:
        await engine.close()
    return summary, found


def _show_run(summary: RunSummary, locale: str) -> None:
    messages = load_messages()
    level = f"{summary.level:.3f}" if summary.level_measured else "not measured, history too short"
    shown = Table(box=None, show_header=False)
    for name, value in (
        ("as of", summary.as_of),
        ("run", f"{summary.id} {label(messages, 'RunState', summary.state.value, locale)}"),
        ("purchase model", label(messages, "FitStatus", summary.fit_status, locale)),
        ("level factor", level),
        ("tables", summary.table_version),
        ("customers", f"{summary.customers_scored:,}"),
        ("changed", f"{summary.customers_changed:,}"),
        ("withdrawn", f"{summary.customers_removed:,}"),
        ("left out", f"{summary.left_out_n:,}"),
        ("seconds", f"{summary.milliseconds / 1000:.2f}"),
    ):
        shown.add_row(name, escape(value))
    say.print(shown)
    for problem in summary.problems:
        told = render_problem(messages, problem, locale)
        complain.print(f"[yellow]{problem.code.value}[/yellow] {escape(told)}", soft_wrap=True)


def _show_ranking(found: Ranking, locale: str) -> None:
    messages = load_messages()
    if found.empty is not None:
        say.print(escape(label(messages, "EmptyBecause", found.empty.value, locale)))
        return
    say.print(f"\nvisit first on {found.on}, of {found.total:,}:")
    for item in found.items:
        name = display_name(item.names, locale) or item.customer_id
        say.print(f"[bold]{item.rank:3}  {item.score:3}  {escape(name)}[/bold]  {item.customer_id}", soft_wrap=True)
        for one in item.place.shown:
            why = label(messages, "JudgementReason", one.reason.value, locale)
            what = label(messages, "JudgementKind", one.kind.value, locale)
            put = f" {item.place.ranked_at}" if one.kind is JudgementKind.OVERRIDE else ""
            say.print(f"          {escape(what)}{put}: {escape(why)}, {one.ends_on}", soft_wrap=True)
        for line in item.lines:
            if line.points:
                told = line_text(messages, line, locale, found.currency)
                say.print(f"     {line.points:+4}  {escape(told)}", soft_wrap=True)
