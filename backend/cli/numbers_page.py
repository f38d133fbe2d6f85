"""The page of figures: what each means, how it is computed, from what, and one worked example."""

from backend.config import load_messages
from backend.domain.messages import LOCALES, Catalogue, label, render
from backend.domain.metric_examples import example_of
from backend.domain.metrics import METRICS, MetricCode
from backend.domain.sources import Source


def numbers_text() -> str:
    """`docs/NUMBERS.md`, from the catalogue of figures and the functions that compute them."""
    messages = load_messages()
    lines = [
        "# The figures",
        "",
        "Written by `selvedge contract` from `backend/domain/metrics.py`; the query `explainMetric(code, id)` says",
        "the same of one customer, with its value, its rows and the run, table and imports behind it. The examples",
        "are computed by the functions that compute the figures. Money is in minor units of the reporting currency;",
        "a basis point is a hundredth of a per cent. What is not recorded is no zero: a figure without anything to",
        "count says `NOT_RECORDED`, `NOTHING_TO_COUNT` or `NOT_REACHED`.",
    ]
    for code in MetricCode:
        lines += ["", *_figure(messages, code)]
    return "\n".join(lines) + "\n"


def _figure(messages: Catalogue, code: MetricCode) -> list[str]:
    metric, example = METRICS[code], example_of(code)
    names = " · ".join(label(messages, MetricCode.__name__, code.value, locale) for locale in LOCALES)
    sources = ", ".join(label(messages, Source.__name__, source.value, "en").lower() for source in metric.sources)
    given = "; ".join(f"{name}: {value}" for name, value in example.given.items())
    return [
        f"## {names}",
        "",
        f"`{code.value}`, {metric.unit.value}, {', '.join(metric.requirements)}. "
        + render(messages, f"metric.{code.value}", "en"),
        "",
        f"- **Formula:** {metric.formula}",
        f"- **From:** {sources}",
        f"- **How sure:** {render(messages, f'metric.{code.value}.sure', 'en')}",
        f"- **Example:** {given} → **{example.result}**" if given else f"- **Example:** none, it is {example.result}",
    ]
