"""Lines of a priority for people: from codes and numbers to a sentence in the reader's language.

A device does the same from the same catalogue: it looks up `line.<CODE>` (with a suffix for the odd case) and
puts amounts, shares and spans of days in place of the names. *Source*: R28.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal

from babel.numbers import format_compact_currency, format_currency, format_percent

from backend.domain.arrays import BASIS_POINTS, MICRO
from backend.domain.explanations import Line
from backend.domain.messages import Catalogue, label, locale_of, render
from backend.domain.money import exponent
from backend.domain.priority import LineCode

BABEL_LOCALES = {"en": "en", "zh-CN": "zh_CN", "ko": "ko"}

REASON_CHARACTERS_MAX = 60

Numbers = Mapping[str, int]
Told = tuple[str, dict[str, str | int]]
"""(suffix of the key, values)"""


def line_text(catalogue: Catalogue, line: Line, locale: str, currency: str) -> str:
    """One sentence that says what the line stands on; money in `currency`, the run's reporting currency."""
    if not line.recorded:
        name = label(catalogue, LineCode.__name__, line.code.value, locale)
        return render(catalogue, "line.notRecorded", locale, {"line": name})
    words = _Words(catalogue, locale_of(locale), currency)
    suffix, values = _TELLERS[line.code](line.numbers, words)
    return render(catalogue, f"line.{line.code.value}{suffix}", locale, values)


def reason_text(catalogue: Catalogue, line: Line, locale: str, currency: str) -> str:
    """The same in a phrase that fits a line of a phone: at most `REASON_CHARACTERS_MAX`, amounts rounded."""
    suffix, values = _TELLERS[line.code](line.numbers, _Words(catalogue, locale_of(locale), currency, short=True))
    return render(catalogue, f"reason.{line.code.value}{suffix}", locale, values)


class _Words:
    """Amounts, shares and spans of days as one reader writes them; `short`: amounts by their first digits."""

    def __init__(self, catalogue: Catalogue, locale: str, currency: str, *, short: bool = False) -> None:
        self._catalogue, self._locale, self._currency, self._short = catalogue, locale, currency, short

    def money(self, amount_minor: int) -> str:
        amount = Decimal(amount_minor).scaleb(-exponent(self._currency))
        if self._short:
            locale = BABEL_LOCALES[self._locale]
            return format_compact_currency(amount, self._currency, locale=locale, fraction_digits=1)
        return format_currency(amount, self._currency, locale=BABEL_LOCALES[self._locale])

    def percent(self, part: int, whole: int) -> str:
        return format_percent(Decimal(part) / whole, format="0%", locale=BABEL_LOCALES[self._locale])

    def days(self, count: int) -> str:
        key = "unit.day.one" if count == 1 else "unit.day.other"
        return render(self._catalogue, key, self._locale, {"count": count})


def _amount(numbers: Numbers, words: _Words) -> Told:
    share = words.percent(numbers["shareMicro"], MICRO)
    return "", {"amount": words.money(numbers["amountMinor"]), "percent": share}


def _savable(numbers: Numbers, words: _Words) -> Told:
    # lines kept before anything was measured do not say it
    return (".measured" if numbers.get("measured") else ""), _amount(numbers, words)[1]


def _potential(numbers: Numbers, words: _Words) -> Told:
    sure = words.percent(numbers["confidenceBp"], BASIS_POINTS)
    return "", {"amount": words.money(numbers["amountMinor"]), "percent": sure}


def _overdue(numbers: Numbers, words: _Words) -> Told:
    since, cadence = numbers["daysSinceVisit"], words.days(numbers["cadenceDays"])
    if since <= 0:
        return ".today", {"cadence": cadence}
    return "", {"days": words.days(since), "cadence": cadence}


def _obligations(numbers: Numbers, _words: _Words) -> Told:
    found: dict[str, str | int] = {
        "overdue": numbers["overdueTasks"],
        "open": numbers["openTasks"],
        "severe": numbers["severeCases"],
    }
    return ("", found) if any(found.values()) else (".none", {})


def _season(numbers: Numbers, words: _Words) -> Told:
    left = numbers["daysToClose"]
    if not numbers["preorderHistory"]:
        return ".never", {}
    if left < 0:
        return ".closed", {"days": words.days(-left)}
    return (".today", {}) if left == 0 else ("", {"days": words.days(left)})


def _satisfaction(numbers: Numbers, words: _Words) -> Told:
    return "", {"percent": words.percent(numbers["satisfactionBp"], BASIS_POINTS)}


def _loyalty(numbers: Numbers, words: _Words) -> Told:
    return "", {"percent": words.percent(numbers["loyaltyBp"], BASIS_POINTS)}


def _just_visited(numbers: Numbers, words: _Words) -> Told:
    days, agreed = numbers["daysToNearestVisit"], bool(numbers["isAppointment"])
    if days == 0:
        return (".agreedToday" if agreed else ".today"), {}
    return (".agreed" if agreed else ""), {"days": words.days(days)}


def _clip(numbers: Numbers, _words: _Words) -> Told:
    return "", {"total": numbers["total"]}


_TELLERS: Mapping[LineCode, Callable[[Numbers, _Words], Told]] = {
    LineCode.VALUE_AT_STAKE: _amount,
    LineCode.SAVABLE_REVENUE: _savable,
    LineCode.POTENTIAL: _potential,
    LineCode.OVERDUE: _overdue,
    LineCode.OBLIGATIONS: _obligations,
    LineCode.SEASON_WINDOW: _season,
    LineCode.SATISFACTION_GAP: _satisfaction,
    LineCode.LOYALTY: _loyalty,
    LineCode.JUST_VISITED: _just_visited,
    LineCode.CLIP: _clip,
}


def next_question_text(texts: Catalogue, fact: str, because: str, low: str, high: str, locale: str) -> str:
    """Why a fact is asked for, in a sentence; the same from the score document on a phone."""
    key = f"nextQuestion.{because}{'.same' if low == high else ''}"
    return render(texts, key, locale, {"fact": label(texts, "AskedFact", fact, locale), "low": low, "high": high})
