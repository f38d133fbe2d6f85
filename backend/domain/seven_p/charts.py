"""A picture of each part as a Vega-Lite (version 5) specification: data inside, nothing fetched, few rows.

Words are the reader's; colours are told apart by those who do not see red or green (Okabe and Ito 2008; cividis).
Amounts are drawn in a round unit that the axis names. *Source*: R18–R24.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backend.domain.arrays import BASIS_POINTS
from backend.domain.seven_p.pictures import (
    LIGHT,
    PALETTE,
    WHOLE,
    WIDTH,
    RoundMoney,
    Spec,
    Words,
    percent,
    share_bars,
    steps_view,
    value_of,
    view,
)
from backend.domain.seven_p.report import Part, Row, SevenPFigure, SevenPList, SevenPPart

_F, _L = SevenPFigure, SevenPList


def chart_of(part: Part, words: Words) -> Spec:
    """The picture of a part. Without rows to draw it has no data and says why in its subtitle."""
    views = [one for one in _DRAWN[part.code](part, words) if _has_data(one)]
    if not views:
        why = part.caveats[0] if part.caveats else None
        subtitle = words.text("noRows") if why is None else words.caveat(why.code, why.count)
        views = [
            {
                "title": {"text": words.name(part.code), "subtitle": subtitle},
                "data": {"values": []},
                "mark": "point",
                "width": WIDTH,
                "height": 40,
            }
        ]
    spec = views[0] if len(views) == 1 else {"vconcat": views}
    return {
        **spec,
        "background": "white",
        # the reader's font may be wider than the one it was measured with
        "padding": {"left": 30, "right": 32, "top": 4, "bottom": 4},
        "config": {
            "range": {"category": list(PALETTE), "heatmap": {"scheme": "cividis"}, "ramp": {"scheme": "cividis"}},
            "axis": {"labelLimit": 180},
            "title": {"anchor": "start"},
            "view": {"stroke": None},
        },
        "usermeta": {"vegaLite": 5, "part": part.code.value},
    }


def _has_data(spec: Spec) -> bool:
    return bool(spec["data"]["values"])


def _profiling(part: Part, words: Words) -> list[Spec]:
    kinds = [
        {"kind": words.label(row), "customers": value_of(row, _F.CUSTOMERS), "at": at}
        for at, row in enumerate(part.rows_of(_L.KIND))
    ]
    stacked = view(
        words.name(_L.KIND),
        kinds,
        36,
        mark={"type": "bar", "tooltip": True},
        encoding={
            "x": {
                "field": "customers",
                "type": "quantitative",
                "stack": "normalize",
                "axis": {"format": ".0%"},
                "title": words.name(_F.SHARE),
            },
            "color": {"field": "kind", "type": "nominal", "sort": {"field": "at"}, "title": None},
            "order": {"field": "at"},
        },
    )
    sides = {"H": words.text("high"), "L": words.text("low")}
    cells = [
        {
            "row": row.label[:2],
            "column": row.label[2:],
            "customers": value_of(row, _F.CUSTOMERS),
            "name": f"{row.label} {words.label(row)}",
        }
        for row in part.rows_of(_L.SEGMENT)
        if row.label is not None and set(row.label) <= set(sides) and len(row.label) == 4
    ]
    axes = {
        "y": {"field": "row", "type": "nominal", "scale": {"domain": ["HH", "HL", "LH", "LL"]}, "title": None},
        "x": {
            "field": "column",
            "type": "nominal",
            "scale": {"domain": ["HH", "HL", "LH", "LL"]},
            "title": None,
            "axis": {"labelAngle": 0},
        },
    }
    matrix = view(
        words.name(_L.SEGMENT),
        cells,
        150,
        encoding=axes,
        layer=[
            {
                "mark": {"type": "rect", "tooltip": True},
                "encoding": {
                    "color": {
                        "field": "customers",
                        "type": "quantitative",
                        "scale": {"range": list(LIGHT)},
                        "title": words.name(_F.CUSTOMERS),
                    }
                },
            },
            {"mark": {"type": "text", "fontSize": 9, "dy": -7}, "encoding": {"text": {"field": "name"}}},
            {"mark": {"type": "text", "dy": 8}, "encoding": {"text": {"field": "customers"}}},
        ],
    )
    return [stacked, matrix]


def _persistency(part: Part, words: Words) -> list[Spec]:
    cells = []
    for row in part.rows_of(_L.COHORT):
        quarter, _, age = (row.label or "").partition(" +")
        cells.append({"cohort": quarter, "age": int(age), "share": percent(row.figures[0].value)})
    heat = view(
        words.name(_L.COHORT),
        cells,
        180,
        encoding={
            "y": {"field": "cohort", "type": "ordinal", "title": None},
            "x": {"field": "age", "type": "ordinal", "title": words.text("quartersLater"), "axis": {"labelAngle": 0}},
        },
        layer=[
            {
                "mark": {"type": "rect", "tooltip": True},
                "encoding": {
                    "color": {
                        "field": "share",
                        "type": "quantitative",
                        "scale": {"scheme": "blues", "domain": [0, 1]},
                        "legend": {"format": ".0%"},
                        "title": words.name(_F.RETENTION),
                    }
                },
            },
            {
                "mark": {"type": "text", "fontSize": 10},
                "encoding": {
                    "text": {"field": "share", "format": ".0%"},
                    "color": {"condition": {"test": "datum.share > .6", "value": "white"}, "value": "black"},
                },
            },
        ],
    )
    alive = []
    for row in part.rows_of(_L.SURVIVAL):
        group, _, days = (row.label or "").partition(" +")
        if group == "ALL":
            found = row.figures[0]
            alive.append({"days": int(days), **{n: percent(getattr(found, n)) for n in ("value", "low", "high")}})
    x = {"field": "days", "type": "quantitative", "title": words.name(_L.SURVIVAL)}
    curve = view(
        words.name(_F.SURVIVAL),
        alive,
        110,
        layer=[
            {
                "mark": {"type": "errorbar", "ticks": True},
                "encoding": {
                    "x": x,
                    "y": {
                        "field": "low",
                        "type": "quantitative",
                        "scale": {"zero": False},
                        "axis": {"format": ".0%"},
                        "title": None,
                    },
                    "y2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "line", "point": True, "color": WHOLE, "tooltip": True},
                "encoding": {"x": x, "y": {"field": "value", "type": "quantitative", "title": None}},
            },
        ],
    )
    return [heat, curve]


def _profitability(part: Part, words: Words) -> list[Spec]:
    steps = [
        (words.label(row), figure.value, figure.code in (_F.GROSS, _F.NET))
        for row in part.rows_of(_L.WATERFALL)
        for figure in row.figures
        if figure.value is not None
    ]
    rows = part.rows_of(_L.WHALE)
    unit = RoundMoney([value_of(row, _F.NET) for row in rows], words.currency)
    whale = view(
        words.name(_L.WHALE),
        [{"share": percent(value_of(row, _F.SHARE)), "net": unit.of(value_of(row, _F.NET))} for row in rows],
        150,
        mark={"type": "line", "point": True, "color": WHOLE, "tooltip": True},
        encoding={
            "x": {
                "field": "share",
                "type": "quantitative",
                "axis": {"format": ".0%"},
                "title": words.text("shareOfCustomers"),
            },
            "y": {"field": "net", "type": "quantitative", "title": unit.unit},
        },
    )
    return [steps_view(words.name(_L.WATERFALL), steps, words, max(40, 26 * len(steps))), whale]


def _performance(part: Part, words: Words) -> list[Spec]:
    revenue = part.figure(_F.REVENUE)
    effects = [part.figure(code) for code in (_F.VOLUME_EFFECT, _F.PRICE_EFFECT, _F.MIX_EFFECT)]
    steps: list[tuple[str, int, bool]] = []
    if revenue.value is not None and revenue.before is not None and all(one.value is not None for one in effects):
        known = sum(one.value or 0 for one in effects)
        steps = [
            (words.text("before"), revenue.before, True),
            *((words.name(one.code), one.value or 0, False) for one in effects),
        ]
        other = revenue.value - revenue.before - known
        if abs(other) * 1_000 >= abs(revenue.value):
            # lines without a style have no category to be compared by
            steps.append(("–", other, False))
        steps.append((words.name(_F.REVENUE), revenue.value, True))
    rows = part.rows_of(_L.QUARTER)
    unit = RoundMoney([value_of(row, _F.REVENUE) for row in rows], words.currency)
    quarters = view(
        words.name(_L.QUARTER),
        [{"quarter": int(row.label or 0), "revenue": unit.of(value_of(row, _F.REVENUE))} for row in rows],
        120,
        mark={"type": "bar", "color": WHOLE, "tooltip": True},
        encoding={
            "x": {"field": "quarter", "type": "ordinal", "title": words.text("quarter"), "axis": {"labelAngle": 0}},
            "y": {"field": "revenue", "type": "quantitative", "title": unit.unit},
        },
    )
    growth = steps_view(words.name(_F.GROWTH), steps, words, max(40, 26 * len(steps)))
    return [_bullets(part, words), growth, quarters]


def _bullets(part: Part, words: Words) -> Spec:
    """Goals as bullets: a bar as far as was sold, a tick where the target stands."""
    rows = part.rows_of(_L.GOAL)
    unit = RoundMoney([value_of(row, code) for row in rows for code in (_F.REVENUE, _F.TARGET)], words.currency)
    values = [
        {"goal": row.label, "at": at, "sold": unit.of(value_of(row, _F.REVENUE)),
         "target": unit.of(value_of(row, _F.TARGET))}
        for at, row in enumerate(rows)
    ]  # fmt: skip
    y = {"field": "goal", "type": "nominal", "sort": {"field": "at"}, "title": None}
    return view(
        words.name(_F.ATTAINMENT),
        values,
        max(40, 22 * len(values)),
        layer=[
            {
                "mark": {"type": "bar", "color": PALETTE[4], "height": 10, "tooltip": True},
                "encoding": {"y": y, "x": {"field": "sold", "type": "quantitative", "title": unit.unit}},
            },
            {
                "mark": {"type": "tick", "color": PALETTE[7], "thickness": 3, "size": 18, "tooltip": True},
                "encoding": {"y": y, "x": {"field": "target", "type": "quantitative"}},
            },
        ],
    )


def _prospecting(part: Part, words: Words) -> list[Spec]:
    ahead, past = part.rows_of(_L.FORECAST), part.rows_of(_L.QUARTER)
    if not ahead:
        return [view(words.name(_L.FORECAST), [], 40, mark="point")]
    unit = RoundMoney([row.figures[0].high for row in ahead] + [row.figures[0].value for row in past], words.currency)
    points: list[dict[str, Any]] = [
        {"quarter": int(row.label or 0), "value": unit.of(row.figures[0].value), "kind": words.name(_L.QUARTER)}
        for row in past
    ]
    for at, row in enumerate(ahead, start=1):
        found = row.figures[0]
        points.append(
            {
                "quarter": at,
                "value": unit.of(found.value),
                "low": unit.of(found.low),
                "high": unit.of(found.high),
                "kind": words.name(_L.FORECAST),
            }
        )
    x = {"field": "quarter", "type": "quantitative", "title": words.text("quarter"), "axis": {"tickMinStep": 1}}
    fan = view(
        f"{words.name(_F.FORECAST)} (80 %)",
        points,
        180,
        layer=[
            {
                "mark": {"type": "area", "opacity": 0.3, "color": PALETTE[4]},
                "transform": [{"filter": "isValid(datum.low)"}],
                "encoding": {
                    "x": x,
                    "y": {"field": "low", "type": "quantitative", "title": unit.unit},
                    "y2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "line", "point": True, "tooltip": True},
                "encoding": {
                    "x": x,
                    "y": {"field": "value", "type": "quantitative", "title": unit.unit},
                    "color": {"field": "kind", "type": "nominal", "title": None, "sort": None},
                },
            },
        ],
    )
    return [fan]


def _product(part: Part, words: Words) -> list[Spec]:
    pairs = []
    for row in part.rows_of(_L.AFFINITY):
        first, _, second = (row.label or "").partition(" → ")
        lift = value_of(row, _F.LIFT) or 0
        pairs.append({"first": first, "second": second, "lift": lift / BASIS_POINTS})
    matrix = view(
        words.name(_L.AFFINITY),
        pairs,
        max(60, 26 * len({pair["first"] for pair in pairs})),
        encoding={
            "y": {"field": "first", "type": "nominal", "title": None},
            "x": {"field": "second", "type": "nominal", "title": None, "axis": {"labelAngle": 0}},
        },
        layer=[
            {
                "mark": {"type": "rect", "tooltip": True},
                "encoding": {
                    "color": {
                        "field": "lift",
                        "type": "quantitative",
                        "scale": {"range": list(LIGHT), "domainMin": 1},
                        "title": words.name(_F.LIFT),
                    }
                },
            },
            {"mark": {"type": "text"}, "encoding": {"text": {"field": "lift", "format": ".2f"}}},
        ],
    )
    return [share_bars(part, _L.CATEGORY, words), matrix, share_bars(part, _L.SIZE, words, PALETTE[4])]


def _promotion(part: Part, words: Words) -> list[Spec]:
    """Point and interval of every campaign: what it brought in money, then by how much more customers responded."""
    rows = part.rows_of(_L.CAMPAIGN)
    unit = RoundMoney([row.figures[0].high for row in rows], words.currency)
    return [
        _intervals(rows, _F.INCREMENT, words, unit.of, {"title": unit.unit}),
        *(
            _intervals(rows, code, words, percent, {"title": None, "axis": {"format": "+.0%"}})
            for code in (_F.RESPONSE_LIFT, _F.RELATIVE_LIFT)
        ),
    ]


def _intervals(
    rows: Sequence[Row],
    code: SevenPFigure,
    words: Words,
    scaled: Callable[[int | None], float | None],
    axis: Mapping[str, Any],
) -> Spec:
    found = [(row.label, one) for row in rows for one in row.figures if one.code is code and one.value is not None]
    values = [
        {"campaign": name, "at": at, **{end: scaled(getattr(one, end)) for end in ("value", "low", "high")}}
        for at, (name, one) in enumerate(found)
    ]
    y = {"field": "campaign", "type": "nominal", "sort": {"field": "at"}, "title": None}
    return view(
        words.name(code),
        values,
        max(40, 24 * len(values)),
        layer=[
            {
                "mark": {"type": "rule", "color": WHOLE},
                "encoding": {"y": y, "x": {"field": "low", "type": "quantitative", **axis}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "color": WHOLE, "tooltip": True},
                "encoding": {"y": y, "x": {"field": "value", "type": "quantitative"}},
            },
        ],
    )


_DRAWN: Mapping[SevenPPart, Callable[[Part, Words], list[Spec]]] = {
    SevenPPart.PROFILING: _profiling,
    SevenPPart.PERSISTENCY: _persistency,
    SevenPPart.PROFITABILITY: _profitability,
    SevenPPart.PERFORMANCE: _performance,
    SevenPPart.PROSPECTING: _prospecting,
    SevenPPart.PRODUCT: _product,
    SevenPPart.PROMOTION: _promotion,
}
