"""Does the priority work? The last backtest on the organisation's own records, and starting one."""

from collections.abc import Mapping
from typing import Annotated, Any

import strawberry

from backend.domain.backtest import SEED_DEFAULT, Ranker, Verdict
from backend.domain.backtest_document import caveat_sentences, comparison_sentence, rfm_sentences
from backend.domain.priority import LineCode
from backend.domain.score_runs import RunState
from backend.errors import Refused
from backend.schema.context import Context, Info
from backend.schema.enums import declare
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import JSON, BigInt, Day, Instant
from backend.usecases.backtests import (
    HOLDOUT_DAYS_DEFAULT,
    BacktestRun,
    BacktestWish,
    evaluate_priority,
    last_evaluation,
)

ID = strawberry.ID

declare(Ranker, Verdict, LineCode, RunState)


@strawberry.type(description="A figure with its 95 % interval; null where nothing came after the cut.")
class RankingInterval:
    value: float | None = strawberry.field(description="The figure.")
    low: float | None = strawberry.field(description="Lower end.")
    high: float | None = strawberry.field(description="Upper end.")


@strawberry.type(description="One ranking of the buyers of one cut, judged by the money that came after.")
class RankingQuality:
    ranking: Ranker = strawberry.field(description="Which ranking.")
    gini: float | None = strawberry.field(description="Normalised Gini: 1 is the order of the money itself, 0 chance.")
    top_share: float | None = strawberry.field(description="Share of the money held by the top tenth.")
    gain: list[float | None] = strawberry.field(description="Share held by the best 0, 5, 10 … 100 % of the buyers.")


@strawberry.type(description="A tenth of the buyers by what was expected of them, the most first.")
class CalibrationDecile:
    customers: int = strawberry.field(description="How many buyers.")
    expected_orders: float | None = strawberry.field(description="Orders expected of them together.")
    actual_orders: int = strawberry.field(description="Orders they placed.")


@strawberry.type(description="One day at which history was cut.")
class BacktestCut:
    day: Day = strawberry.field(description="The last day that was known.")
    customers: int = strawberry.field(description="Customers who had bought by then.")
    buyers_after: int = strawberry.field(description="How many of them bought in the hold-out.")
    money_after_minor: BigInt = strawberry.field(description="What they brought in it.")
    fit_status: str = strawberry.field(description="How the purchase model's fit ended.")
    count_mae: float | None = strawberry.field(description="Mean absolute error of orders per buyer.")
    expected_orders: float | None = strawberry.field(description="Orders expected.")
    actual_orders: int = strawberry.field(description="Orders that came.")
    deciles: list[CalibrationDecile] = strawberry.field(description="Expected against actual, by tenths.")
    rankings: list[RankingQuality] = strawberry.field(description="Every ranking judged.")


@strawberry.type(description="One of our rankings against one baseline, over all cuts.")
class RankingComparison:
    ranking: Ranker = strawberry.field(description="Ours.")
    baseline: Ranker = strawberry.field(description="The baseline.")
    gini: RankingInterval = strawberry.field(description="Difference in normalised Gini, ours less the baseline.")
    top_share: RankingInterval = strawberry.field(description="Difference in the top tenth's share.")
    gini_verdict: Verdict = strawberry.field(description="AS_GOOD where the interval holds 0.")
    top_share_verdict: Verdict = strawberry.field(description="AS_GOOD where the interval holds 0.")
    texts: list[str] = strawberry.field(description="Both in the reader's language.")


@strawberry.type(description="What the priority loses without one of its lines.")
class LineAblation:
    line: LineCode = strawberry.field(description="The line left out.")
    recorded: bool = strawberry.field(description="False where there was no data for it: then nothing is claimed.")
    gini: RankingInterval | None = strawberry.field(description="Normalised Gini with it less without it.")
    top_share: RankingInterval | None = strawberry.field(description="The top tenth's share with it less without it.")


@strawberry.type(description="A backtest: history cut at days, ranked as of then, judged by what came after.")
class PriorityBacktest:
    id: ID = strawberry.field(description="The run's UUID.")
    state: RunState = strawberry.field(description="How far it got.")
    holdout_days: int = strawberry.field(description="Days looked at after each cut.")
    seed: BigInt = strawberry.field(description="Seed of the intervals; the same seed gives the same figures.")
    replicates: int = strawberry.field(description="Samples behind each interval.")
    customers: int = strawberry.field(description="Different buyers over all cuts.")
    currency: str | None = strawberry.field(description="Currency of its amounts.")
    policy: int = strawberry.field(description="Number of the score policy it ranked by; 0 is the product's own.")
    priority_against_rfm: Verdict = strawberry.field(
        description="How the priority stands to RFM by normalised Gini: AS_GOOD means RFM is as good."
    )
    summary: list[str] = strawberry.field(description="How our rankings stand to RFM, in plain words.")
    caveats: list[str] = strawberry.field(description="What must be known to read the figures.")
    cuts: list[BacktestCut] = strawberry.field(description="Every cut, newest first.")
    comparisons: list[RankingComparison] = strawberry.field(description="Ours against every baseline.")
    ablation: list[LineAblation] = strawberry.field(description="Each of the nine lines left out.")
    started_at: Instant = strawberry.field(description="When it began.")
    finished_at: Instant | None = strawberry.field(description="When it ended.")
    milliseconds: BigInt = strawberry.field(description="How long it took.")
    started_by: str = strawberry.field(description="Who started it.")
    document: JSON = strawberry.field(description="The whole result as it is kept and as the command line prints it.")


EvaluatePriorityResult = Annotated[
    PriorityBacktest | Refusal,
    strawberry.union("EvaluatePriorityResult", description="The result, or why there is none."),
]


@strawberry.type
class BacktestQueries:
    @strawberry.field(
        description="Does the priority work here? The last backtest that was run, null before the first; for analysts"
        " and admins."
    )
    async def priority_evaluation(self, info: Info) -> PriorityBacktest | None:
        context = info.context
        async with context.engine.read() as conn:
            found = await last_evaluation(conn, context.caller)
        return None if found is None else _shown(context, found)


@strawberry.type
class BacktestMutations:
    @strawberry.mutation(
        description="Cut the organisation's history, rank as of then, judge by what came after, and keep the result."
        " For analysts and admins; one at a time."
    )
    async def evaluate_priority(
        self,
        info: Info,
        cuts: Annotated[
            list[Day] | None,
            strawberry.argument(description="Last days known; by default the newest three, one hold-out apart."),
        ] = None,
        holdout_days: Annotated[int, strawberry.argument(description="Days to look at after each cut.")] = (
            HOLDOUT_DAYS_DEFAULT
        ),
        seed: Annotated[int, strawberry.argument(description="Seed of the intervals.")] = SEED_DEFAULT,
        policy: Annotated[
            int | None,
            strawberry.argument(description="Number of a score policy, a draft too; by default the one in force."),
        ] = None,
    ) -> EvaluatePriorityResult:
        context = info.context
        wish = BacktestWish(cuts=tuple(cuts or ()), holdout_days=holdout_days, seed=seed, policy=policy)
        try:
            found = await evaluate_priority(
                context.engine, context.caller, wish, settings=context.settings, clock=context.clock
            )
        except Refused as refused:
            return refuse(info, refused)
        return _shown(context, found)


def _shown(context: Context, found: BacktestRun) -> PriorityBacktest:
    document: Any = found.result or {}
    return PriorityBacktest(
        id=ID(found.id),
        state=found.state,
        holdout_days=found.holdout_days,
        seed=BigInt(found.seed),
        replicates=document["replicates"],
        customers=document["customers"],
        currency=document["currency"],
        policy=document["policy"],
        priority_against_rfm=Verdict(document["rfm"][Ranker.PRIORITY]),
        summary=rfm_sentences(context.messages, document, context.locale),
        caveats=caveat_sentences(context.messages, document, context.locale),
        cuts=[_cut(cut) for cut in document["cuts"]],
        comparisons=[_comparison(context, one) for one in document["comparisons"]],
        ablation=[
            LineAblation(
                line=LineCode(one["line"]),
                recorded=one["recorded"],
                gini=None if one["gini"] is None else _interval(one["gini"]),
                top_share=None if one["topShare"] is None else _interval(one["topShare"]),
            )
            for one in document["ablation"]
        ],
        started_at=Instant(found.started_at_ms),
        finished_at=None if found.finished_at_ms is None else Instant(found.finished_at_ms),
        milliseconds=BigInt(found.milliseconds),
        started_by=found.started_by,
        document=document,
    )


def _cut(cut: Mapping[str, Any]) -> BacktestCut:
    return BacktestCut(
        day=Day(cut["day"]),
        customers=cut["customers"],
        buyers_after=cut["buyersAfter"],
        money_after_minor=BigInt(cut["moneyAfterMinor"]),
        fit_status=cut["fitStatus"],
        count_mae=cut["countMae"],
        expected_orders=cut["expectedOrders"],
        actual_orders=cut["actualOrders"],
        deciles=[
            CalibrationDecile(
                customers=one["customers"], expected_orders=one["expectedOrders"], actual_orders=one["actualOrders"]
            )
            for one in cut["deciles"]
        ],
        rankings=[
            RankingQuality(
                ranking=Ranker(one["ranking"]), gini=one["gini"], top_share=one["topShare"], gain=one["gain"]
            )
            for one in cut["rankings"]
        ],
    )


def _comparison(context: Context, one: Mapping[str, Any]) -> RankingComparison:
    return RankingComparison(
        ranking=Ranker(one["ranking"]),
        baseline=Ranker(one["baseline"]),
        gini=_interval(one["gini"]),
        top_share=_interval(one["topShare"]),
        gini_verdict=Verdict(one["giniVerdict"]),
        top_share_verdict=Verdict(one["topShareVerdict"]),
        texts=[comparison_sentence(context.messages, one, figure, context.locale) for figure in ("gini", "topShare")],
    )


def _interval(found: Mapping[str, Any]) -> RankingInterval:
    return RankingInterval(value=found["value"], low=found["low"], high=found["high"])
