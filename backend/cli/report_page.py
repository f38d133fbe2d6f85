"""The 7P report as one page that holds everything it shows: no script, no picture, style or font from elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from html import escape
from itertools import groupby

from babel.numbers import format_currency, format_decimal, format_percent

from backend.domain.arrays import BASIS_POINTS, Basis
from backend.domain.kpis import NoFigure, Unit
from backend.domain.line_texts import BABEL_LOCALES
from backend.domain.messages import Catalogue, label, locale_of, render
from backend.domain.money import exponent
from backend.domain.names import display_name
from backend.domain.seven_p.charts import chart_of
from backend.domain.seven_p.pictures import Spec, Words
from backend.domain.seven_p.report import Figure, Part, Row, SevenPFigure, SevenPList
from backend.domain.sources import Source, SourceUsed
from backend.usecases.seven_p import SevenPReport

_DRAWN = frozenset({SevenPList.COHORT, SevenPList.WHALE, SevenPList.WATERFALL, SevenPList.QUARTER})
"""Lists that the picture shows cell by cell."""
_STYLE = """
:root{color-scheme:light}*{box-sizing:border-box}
body{margin:0;background:#f4f5f7;color:#1b1f24;font:15px/1.5 system-ui,"Noto Sans","Noto Sans CJK SC","PingFang SC",
"Microsoft YaHei",sans-serif}
body:lang(ko){font-family:system-ui,"Noto Sans","Noto Sans CJK KR","Apple SD Gothic Neo","Malgun Gothic",sans-serif}
header,main{max-width:1120px;margin:0 auto;padding:20px}h1{font-size:26px;margin:0}h2{font-size:20px;margin:0}
h3{font-size:14px;margin:16px 0 4px}p{margin:4px 0}.mild{color:#57606a;font-size:13px}
nav{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:10px;margin-top:14px}
nav a{background:#fff;border:1px solid #d0d7de;border-radius:8px;padding:8px 12px;color:inherit;text-decoration:none}
.score{font-size:28px;font-weight:600}section{background:#fff;border:1px solid #d0d7de;border-radius:10px;
padding:18px 20px;margin:0 0 18px}.head{display:flex;justify-content:space-between;align-items:baseline;gap:12px}
.cols{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:24px}
@media(max-width:900px){.cols{grid-template-columns:1fr}}
svg{max-width:100%;height:auto;font-family:inherit}table{border-collapse:collapse;width:100%;font-size:13px}
th,td{text-align:left;padding:3px 8px 3px 0;border-bottom:1px solid #eaeef2;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
details{margin-top:6px}summary{cursor:pointer;font-weight:600;font-size:13px}ul{margin:4px 0;padding-left:18px}
li{font-size:13px}@media print{body{background:#fff}section{break-inside:avoid}}
"""


class _Page:
    """Numbers and words as one reader writes them."""

    def __init__(self, messages: Catalogue, locale: str, currency: str) -> None:
        self.messages, self.locale, self.currency = messages, locale_of(locale), currency
        self.babel = BABEL_LOCALES[self.locale]
        self.words = Words(messages, self.locale, currency)

    def text(self, key: str, **params: str | int) -> str:
        return escape(self.words.text(key, **params))

    def number(self, unit: Unit, value: int | None, code: SevenPFigure | None = None) -> str:
        if value is None:
            return "–"
        if unit is Unit.MONEY_MINOR:
            amount = Decimal(value).scaleb(-exponent(self.currency))
            return format_currency(amount, self.currency, locale=self.babel)
        if code is SevenPFigure.LIFT:
            return "×" + format_decimal(Decimal(value) / BASIS_POINTS, format="0.00", locale=self.babel)
        if unit is Unit.BASIS_POINTS:
            return format_percent(Decimal(value) / BASIS_POINTS, format="#,##0.0%", locale=self.babel)
        return format_decimal(value, locale=self.babel)

    def figure(self, figure: Figure) -> str:
        if figure.missing is not None:
            return label(self.messages, NoFigure.__name__, figure.missing.value, self.locale)
        return self.number(figure.unit, figure.value, figure.code)

    def interval(self, figure: Figure) -> str:
        if figure.low is None or figure.high is None:
            return ""
        return " … ".join(self.number(figure.unit, one, figure.code) for one in (figure.low, figure.high))


def report_page(
    found: SevenPReport,
    *,
    subject: str,
    messages: Catalogue,
    locale: str,
    currency: str,
    draw: Callable[[Spec, str], str],
    told: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """The whole page. `subject`: what it is about; `draw`: an SVG element of a specification, its names made unique by
    the second argument; `told`: how many of how many parts are done."""
    page = _Page(messages, locale, currency)
    title = f"{page.text('sevenP.title')} · {escape(subject)}"
    sections = []
    for done, part in enumerate(found.parts, start=1):
        picture = draw(chart_of(part, page.words), f"p{done}")
        sections.append(_section(page, part, found.names, picture))
        told(done, len(found.parts))
    tiles = "".join(
        f'<a href="#{part.code.value}">{escape(page.words.name(part.code))}<br>'
        f'<span class="score">{"–" if part.score is None else part.score}</span></a>'
        for part in found.parts
    )
    return (
        f'<!doctype html>\n<html lang="{page.locale}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><header><h1>{title}</h1>"
        f'<p class="mild">{page.text("asOf", day=found.as_of)} · '
        f"{page.text('customers', count=page.number(Unit.COUNT, found.customers_n))} · {escape(currency)}</p>"
        f"<nav>{tiles}</nav></header><main>{''.join(sections)}</main></body></html>\n"
    )


def _section(page: _Page, part: Part, names: Mapping[str, Mapping[str, str | None]], picture: str) -> str:
    score = page.text("noScore") if part.score is None else f"{page.text('score')} <b>{part.score}</b> / 100"
    trend = (
        page.text("noTrend")
        if part.trend is None
        else page.text("trend", points=f"{part.trend:+d}" if part.trend else "±0")
    )
    basis = render(page.messages, f"basis.{Basis(part.basis).name}", page.locale)
    facts = (
        f"{page.text('basis')}: {escape(basis)} · "
        f"{page.text('customers', count=page.number(Unit.COUNT, part.n))} · {page.text('version')}: "
        f"{escape(part.version)}"
    )
    lists = "".join(
        _list(page, code, list(rows), names)
        for code, rows in groupby(part.rows, key=lambda row: row.list)
        if code not in _DRAWN
    )
    return (
        f'<section id="{part.code.value}"><div class="head"><h2>{escape(page.words.name(part.code))}</h2>'
        f'<div>{score} · <span>{trend}</span></div></div><p class="mild">{facts}</p>'
        f'<div class="cols"><div>{picture}</div><div>{_figures(page, part.figures)}'
        f"<h3>{page.text('caveats')}</h3><ul>"
        + "".join(f"<li>{escape(page.words.caveat(one.code, one.count))}</li>" for one in part.caveats)
        + f"</ul><h3>{page.text('sources')}</h3><ul>"
        + "".join(f"<li>{_source(page, one)}</li>" for one in part.sources)
        + f"</ul></div></div>{lists}</section>"
    )


def _figures(page: _Page, figures: Sequence[Figure]) -> str:
    rows = "".join(
        f"<tr><td>{escape(page.words.name(one.code))}</td><td class=n>{escape(page.figure(one))}</td>"
        f"<td class=n>{escape(page.interval(one))}</td>"
        f"<td class=n>{escape('' if one.before is None else page.number(one.unit, one.before, one.code))}</td></tr>"
        for one in figures
    )
    heads = f"<th>{page.text('figure')}</th>" + "".join(
        f"<th class=n>{page.text(key)}</th>" for key in ("value", "interval", "before")
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _list(page: _Page, code: SevenPList, rows: Sequence[Row], names: Mapping[str, Mapping[str, str | None]]) -> str:
    codes = list(dict.fromkeys(figure.code for row in rows for figure in row.figures))
    head = f"<th>{page.text('name')}</th>" + "".join(
        f"<th class=n>{escape(page.words.name(one))}</th>" for one in codes
    )
    body = []
    for row in rows:
        by_code = {figure.code: figure for figure in row.figures}
        cells = "".join(
            f"<td class=n>{escape(_cell(page, by_code[one])) if one in by_code else ''}</td>" for one in codes
        )
        body.append(f"<tr><td>{escape(_name(page, row, names))}</td>{cells}</tr>")
    return (
        f"<details><summary>{escape(page.words.name(code))} ({len(rows)})</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></details>"
    )


def _cell(page: _Page, figure: Figure) -> str:
    between = page.interval(figure)
    return page.figure(figure) + (f" ({between})" if between else "")


def _name(page: _Page, row: Row, names: Mapping[str, Mapping[str, str | None]]) -> str:
    named = display_name(names.get(row.record_id or "", {}), page.locale)
    told = None if row.label is None else page.words.label(row)
    return " · ".join(one for one in (named, told) if one) or row.record_id or "–"


def _source(page: _Page, source: SourceUsed) -> str:
    name = escape(label(page.messages, Source.__name__, source.source.value, page.locale))
    if not source.recorded:
        why = label(page.messages, NoFigure.__name__, NoFigure.NOT_RECORDED.value, page.locale)
        return f"{name}: {escape(why)}"
    rows = page.text("rows", count=page.number(Unit.COUNT, source.rows_n))
    days = "" if source.first_day is None else f", {source.first_day} – {source.last_day}"
    return f"{name}: {rows}{days}"
