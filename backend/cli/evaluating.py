"""Does it work? Backtests of the priority from the command line: this organisation, a file of orders, a sample."""

import asyncio
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backend.cli.terminal import OPERATOR_PRINCIPAL, Database, bring_up, complain, say, settings_from, show_problems
from backend.clock import wall_clock_ms
from backend.config import Settings, load_messages
from backend.domain.arrays import BASIS_POINTS, MONEY_MINOR_MAX
from backend.domain.backtest import SEED_DEFAULT, GateCode, Ranker
from backend.domain.backtest_document import caveat_sentences, rfm_sentences
from backend.domain.history import OrderColumns
from backend.domain.messages import LOCALE_DEFAULT, LOCALES, label
from backend.domain.priority import LineCode
from backend.domain.ranking import REPLICATES_N
from backend.domain.scoring import ScoreParameters
from backend.domain.times import parse_day
from backend.errors import BadSetting, Code, Problem, Refused
from backend.integrations.tables import read_table
from backend.storage.engine import open_engine
from backend.usecases.backtests import (
    HOLDOUT_DAYS_DEFAULT,
    BacktestWish,
    evaluate_orders,
    evaluate_priority,
)

EVALUATION_REFUSED, GATE_MISSED = 1, 3
FILE_BYTES_MAX = 1 << 30
PROBLEMS_SHOWN_MAX = 20
PHASES = {"READ": "reading", "RANK": "ranking", "COMPARE": "comparing"}
SAMPLES = ("cdnow",)
SAMPLE_CUT, SAMPLE_HOLDOUT_DAYS = "1997-09-30", 273
SAMPLE_PACKAGE = "lifetimes"
CUSTOMER_COLUMN, DAY_COLUMN, AMOUNT_COLUMN = "customer_code", "order_date", "net_amount"
verbs = typer.Typer()


@verbs.command(epilog="Example: selvedge evaluate --orders history.csv --amount net_amount_usd --cut 2025-06-30 --json")
def evaluate(
    orders: Annotated[
        Path | None,
        typer.Option(help="Judge a CSV or XLSX of orders instead of the database.", exists=True, dir_okay=False),
    ] = None,
    sample: Annotated[
        str | None, typer.Option(help=f"Judge a known sample with its gates: {', '.join(SAMPLES)}.")
    ] = None,
    customer: Annotated[str, typer.Option(help="The file's column of customers.")] = CUSTOMER_COLUMN,
    day: Annotated[str, typer.Option(help="The file's column of days, YYYY-MM-DD.")] = DAY_COLUMN,
    amount: Annotated[str, typer.Option(help="The file's column of net amounts, with a point.")] = AMOUNT_COLUMN,
    cut: Annotated[
        list[str] | None,
        typer.Option(help="Last day known, YYYY-MM-DD, repeated; else the newest three, one hold-out apart."),
    ] = None,
    holdout_days: Annotated[int | None, typer.Option(help="Days to look at after each cut.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = SEED_DEFAULT,
    replicates: Annotated[int, typer.Option(help="Samples behind each interval.")] = REPLICATES_N,
    policy: Annotated[
        int | None, typer.Option(help="Number of the score policy to rank by, a draft too; else the one in force.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole result as JSON and nothing else.")] = False,
    locale: Annotated[str, typer.Option(help=f"Language of the texts: {', '.join(LOCALES)}.")] = LOCALE_DEFAULT,
    database: Database = None,
) -> None:
    """Does the priority work? Cut history, rank as of then, judge by what came after; says where RFM is as good.

    A run on the database is kept: the query `priorityEvaluation` shows the last one. Ends with 1 when it was refused,
    3 when a gate of a known sample was missed.
    """
    if orders is not None and sample is not None:
        raise BadSetting("--sample: given beside --orders; wanted: one of them")
    if policy is not None and (orders is not None or sample is not None):
        raise BadSetting("--policy: policies are the database's; wanted: neither --orders nor --sample beside it")
    if sample is not None and sample not in SAMPLES:
        raise BadSetting(f"--sample: {sample!r}; wanted: {', '.join(SAMPLES)}")
    settings = settings_from(database_url=database)
    cuts = tuple(_day_given(one) for one in cut or ())
    days = holdout_days or HOLDOUT_DAYS_DEFAULT
    if sample is not None:
        cuts, days = cuts or (SAMPLE_CUT,), holdout_days or SAMPLE_HOLDOUT_DAYS
    wish = BacktestWish(cuts, days, seed, replicates, policy)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=complain, transient=True) as bar:
            shown = {phase: bar.add_task(text, total=None) for phase, text in PHASES.items()}

            def told(phase: str, done: int, total: int) -> None:
                bar.update(shown[phase], completed=done, total=total)

            if sample is not None:
                found = _judge_file(_sample_orders(), wish, settings, told, known=cuts == (SAMPLE_CUT,))
            elif orders is not None:
                found = _judge_file(_file_orders(orders, customer, day, amount), wish, settings, told, known=False)
            else:
                bring_up(settings)
                found = asyncio.run(_judge_database(settings, wish, told))
    except Refused as refused:
        show_problems(refused, locale)
        raise typer.Exit(EVALUATION_REFUSED) from None
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, sort_keys=True, indent=2))
    else:
        _show(found, locale)
    if not all(gate["met"] for gate in found["gates"]):
        raise typer.Exit(GATE_MISSED)


def _day_given(text: str) -> str:
    try:
        return parse_day(text)
    except Refused:
        raise BadSetting(f"--cut: {text!r}; wanted: a day as YYYY-MM-DD") from None


Told = Callable[[str, int, int], None]
Rows = Sequence[tuple[str, str, int]]
"""(customer, day, amount in hundredths)"""


def _judge_file(rows: Rows, wish: BacktestWish, settings: Settings, told: Told, *, known: bool) -> dict[str, Any]:
    names, customer = np.unique(np.array([row[0] for row in rows], dtype=np.str_), return_inverse=True)
    day = np.array([row[1] for row in rows], dtype="datetime64[D]").astype(np.int64)
    amount = np.array([row[2] for row in rows], dtype=np.int64)
    nothing = np.zeros(day.shape, dtype=np.bool_)
    margin = settings.default_margin_bp
    return evaluate_orders(
        OrderColumns(customer.astype(np.int64), day, amount, np.zeros_like(day), nothing, amount < 0),
        wish,
        customers_n=int(names.size),
        parameters=ScoreParameters(
            default_margin=None if margin is None else margin / BASIS_POINTS,
            visit_cost_minor=settings.visit_cost_minor,
        ),
        known_sample=known,
        progress=told,
    )


async def _judge_database(settings: Settings, wish: BacktestWish, told: Told) -> dict[str, Any]:
    engine = open_engine(settings.database_url, pool_connections_max=4)
    await engine.start()
    try:
        run = await evaluate_priority(
            engine, OPERATOR_PRINCIPAL, wish, settings=settings, clock=wall_clock_ms, progress=told
        )
    finally:
        await engine.close()
    assert run.result is not None
    return {**run.result, "id": run.id}


def _file_orders(path: Path, customer: str, day: str, amount: str) -> Rows:
    """The file's orders; every row that cannot be read is named, up to a screenful of them."""
    with path.open("rb") as file:
        table = read_table(file, bytes_max=FILE_BYTES_MAX)
        places = []
        for option, name in (("customer", customer), ("day", day), ("amount", amount)):
            if name not in table.header:
                raise BadSetting(f"--{option}: there is no column {name!r}; wanted: one of {', '.join(table.header)}")
            places.append(table.header.index(name))
        found: list[tuple[str, str, int]] = []
        problems: list[Problem] = []
        for row in table.rows():
            who, on, money = (row.cells[place] if place < len(row.cells) else "" for place in places)
            try:
                found.append((_known(who), parse_day(on[:10]), _hundredths(money)))
            except Refused as refused:
                problems += [problem.under(f"row {row.number}") for problem in refused.problems]
                if len(problems) >= PROBLEMS_SHOWN_MAX:
                    break
    if problems:
        raise Refused(*problems)
    return found


def _known(customer: str) -> str:
    if not customer:
        raise Refused(Problem(Code.REQUIRED, ("customer",)))
    return customer


def _hundredths(text: str) -> int:
    """An amount in hundredths of its unit, whatever currency: ranks do not change by the unit."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Refused(Problem(Code.INVALID_VALUE, ("amount",), ("number",))) from None
    if not value.is_finite() or abs(value) > MONEY_MINOR_MAX // 100:
        raise Refused(Problem(Code.OUT_OF_RANGE, ("amount",), (str(-MONEY_MINOR_MAX), str(MONEY_MINOR_MAX))))
    return int((value * 100).to_integral_value())


def _sample_orders() -> Rows:
    """The CDNOW sample as the package brings it that is our peer in the benchmarks; we do not ship it."""
    spec = importlib.util.find_spec(SAMPLE_PACKAGE)
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent / "datasets"
    path = None if folder is None else folder / "CDNOW_sample.txt"
    if path is None or not path.is_file():
        raise BadSetting(f"--sample: cdnow comes with the package {SAMPLE_PACKAGE}; wanted: pip install it first")
    fields = [line.split() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    return [(one[1], f"{one[2][:4]}-{one[2][4:6]}-{one[2][6:]}", _hundredths(one[4])) for one in fields]


def _show(found: Mapping[str, Any], locale: str) -> None:
    messages = load_messages()
    for cut in found["cuts"]:
        say.print(
            f"\n[bold]cut {cut['day']}[/bold], {found['holdoutDays']} days after: {cut['customers']:,} buyers,"
            f" {cut['buyersAfter']:,} bought again; orders expected {cut['expectedOrders']:,.0f}, came"
            f" {cut['actualOrders']:,}; mean error {_digits(cut['countMae'])}",
            soft_wrap=True,
        )
        table = Table(box=None)
        for head in ("ranking", "Gini", "top tenth"):
            table.add_column(head, justify="left" if head == "ranking" else "right")
        for one in cut["rankings"]:
            name = label(messages, Ranker.__name__, one["ranking"], locale)
            table.add_row(name, _digits(one["gini"]), _digits(one["topShare"]))
        say.print(table)
    say.print("\n[bold]against RFM[/bold]")
    for sentence in rfm_sentences(messages, found, locale):
        say.print(f"  {escape(sentence)}", soft_wrap=True)
    say.print("\n[bold]without a line[/bold] (Gini and top tenth lost)")
    for one in found["ablation"]:
        name = label(messages, LineCode.__name__, one["line"], locale)
        if one["recorded"]:
            lost = "   ".join(_spread(one[figure]) for figure in ("gini", "topShare"))
            say.print(f"  {escape(name)}: {lost}", soft_wrap=True)
        else:
            say.print(f"  {escape(name)}: no data", soft_wrap=True)
    for gate in found["gates"]:
        name = label(messages, GateCode.__name__, gate["gate"], locale)
        met = "[green]met[/green]" if gate["met"] else "[red]missed[/red]"
        say.print(f"gate {escape(name)}: {_digits(gate['measured'])}, wanted {_digits(gate['wanted'])}: {met}")
    say.print("\n[bold]to be known[/bold]")
    for sentence in caveat_sentences(messages, found, locale):
        say.print(f"  {escape(sentence)}", soft_wrap=True)


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _spread(found: Mapping[str, float | None]) -> str:
    value, low, high = (found[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "–"
    return f"{value:+.4f} ({low:+.4f} … {high:+.4f})"
