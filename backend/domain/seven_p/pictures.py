"""What the pictures of the 7P report are made of: words, amounts in a round unit, bars and waterfalls.

Specifications are Vega-Lite, version 5, with their data inside. Colours are told apart by those who do not see red or
green. *Source*: Okabe and Ito (2008).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.domain.arrays import BASIS_POINTS
from backend.domain.messages import Catalogue, label, render
from backend.domain.money import exponent
from backend.domain.seven_p.report import Part, Row, SevenPCaveat, SevenPFigure, SevenPList, SevenPPart

Spec = dict[str, Any]

ROWS_MAX = 200
"""Rows of data in one picture."""
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
GAIN, LOSS, WHOLE = PALETTE[2], PALETTE[5], PALETTE[0]
LIGHT = ("#f3f8fd", "#7fb8e6")
"""Shades that black letters can be read on."""
WIDTH = 460
_F, _L = SevenPFigure, SevenPList
_NAMED_BY = {_L.KIND: "CustomerKind", _L.STAGE: "LifecycleStage", _L.SEGMENT: "Segment", _L.WATERFALL: "SevenPFigure"}


class Words:
    """Names as one reader reads them; `currency`: of amounts."""

    def __init__(self, catalogue: Catalogue, locale: str, currency: str) -> None:
        self._catalogue, self._locale, self.currency = catalogue, locale, currency

    def name(self, code: SevenPPart | SevenPFigure | SevenPList) -> str:
        return label(self._catalogue, type(code).__name__, code.value, self._locale)

    def caveat(self, code: SevenPCaveat, count: int | None) -> str:
        params = {} if count is None else {"count": count}
        return render(self._catalogue, f"enum.{SevenPCaveat.__name__}.{code.value}", self._locale, params)

    def text(self, key: str, **params: str | int) -> str:
        return render(self._catalogue, f"report.{key}", self._locale, params)

    def label(self, row: Row) -> str:
        """A row's label: a code by its name, a text as it is."""
        enum = _NAMED_BY.get(row.list)
        if row.label is None:
            return "–"
        return row.label if enum is None else label(self._catalogue, enum, row.label, self._locale)


def view(title: str, values: Sequence[Mapping[str, Any]], height: int, **more: Any) -> Spec:
    """What every chart begins with: title, at most `ROWS_MAX` rows, `height` in pixels; `more` as a chart needs it."""
    return {"title": title, "data": {"values": list(values)[:ROWS_MAX]}, "width": WIDTH, "height": height, **more}


def value_of(row: Row, code: SevenPFigure) -> int | None:
    """A figure of a row in its own unit; None where the row has none."""
    return next((figure.value for figure in row.figures if figure.code is code), None)


def percent(basis_points: int | None) -> float | None:
    """Basis points as per cent; None stays None."""
    return None if basis_points is None else basis_points / BASIS_POINTS


class RoundMoney:
    """Minor units in a round unit: `12,3 CNY ×10⁶`."""

    def __init__(self, amounts: Sequence[int | None], currency: str) -> None:
        largest = max((abs(one) for one in amounts if one is not None), default=0) / 10 ** exponent(currency)
        power = next((power for power in (9, 6, 3) if largest >= 10**power), 0)
        self._divisor = 10.0 ** (power + exponent(currency))
        self.unit = currency + {0: "", 3: " ×10³", 6: " ×10⁶", 9: " ×10⁹"}[power]

    def of(self, amount: int | None) -> float | None:
        return None if amount is None else round(amount / self._divisor, 4)


def share_bars(part: Part, code: SevenPList, words: Words, colour: str = WHOLE) -> Spec:
    """Bars of shares, the largest first."""
    values = [
        {"label": words.label(row), "share": percent(value_of(row, _F.SHARE)), "at": at}
        for at, row in enumerate(part.rows_of(code)[:12])
    ]
    return view(
        words.name(code),
        values,
        max(30, 18 * len(values)),
        mark={"type": "bar", "color": colour, "tooltip": True},
        encoding={
            "y": {"field": "label", "type": "nominal", "sort": {"field": "at"}, "title": None},
            "x": {"field": "share", "type": "quantitative", "axis": {"format": ".0%"}, "title": words.name(_F.SHARE)},
        },
    )


def steps_view(title: str, steps: Sequence[tuple[str, int, bool]], words: Words, height: int) -> Spec:
    """A waterfall of (name, amount, whether it is a level and not a change)."""
    unit = RoundMoney([amount for _, amount, _ in steps], words.currency)
    values, level = [], 0
    for at, (name, amount, whole) in enumerate(steps):
        begin, end = (0, amount) if whole else (level, level + amount)
        level = end
        tone = "whole" if whole else "gain" if amount >= 0 else "loss"
        values.append({"step": name, "at": at, "begin": unit.of(begin), "end": unit.of(end), "tone": tone,
                       "amount": unit.of(amount)})  # fmt: skip
    return view(
        title,
        values,
        height,
        encoding={"y": {"field": "step", "type": "nominal", "sort": {"field": "at"}, "title": None}},
        layer=[
            {
                "mark": {"type": "bar", "tooltip": True},
                "encoding": {
                    "x": {"field": "begin", "type": "quantitative", "title": unit.unit},
                    "x2": {"field": "end"},
                    "color": {
                        "field": "tone",
                        "type": "nominal",
                        "scale": {"domain": ["whole", "gain", "loss"], "range": [WHOLE, GAIN, LOSS]},
                        "legend": None,
                    },
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 4, "fontSize": 10},
                "encoding": {
                    "x": {"field": "right", "type": "quantitative"},
                    "text": {"field": "amount", "format": ",.1f"},
                },
                "transform": [{"calculate": "max(datum.begin, datum.end)", "as": "right"}],
            },
        ],
    )
