"""Texts for people, from codes: the catalogue in en, zh-CN and ko, and how a problem is told.

The same files travel to phones, so what is done here a phone does too: look up a key, put values in place of
`{names}`, and name fields and enum values by their own keys (`field.<name>`, `enum.<Enum>.<VALUE>`). An enum
value the catalogue does not know yet is shown as it is.
"""

import re
from collections.abc import Mapping

from backend.errors import Code, Problem

Catalogue = Mapping[str, Mapping[str, str]]
"""locale → key → text"""

LOCALES = ("en", "zh-CN", "ko")
LOCALE_DEFAULT = "en"

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_RANGES = frozenset({Code.OUT_OF_RANGE, Code.ORDER_WINDOW_CLOSED})
_UNKNOWN = "–"


def locale_of(wanted: str) -> str:
    """The catalogue's locale for what a reader asks (`zh`, `zh-TW`, `ko-KR`); English when there is none."""
    language = wanted.replace("_", "-").partition("-")[0].lower()
    return next((locale for locale in LOCALES if locale.partition("-")[0] == language), LOCALE_DEFAULT)


def placeholders(text: str) -> frozenset[str]:
    """The names a text wants values for."""
    return frozenset(_PLACEHOLDER.findall(text))


def render(catalogue: Catalogue, key: str, locale: str, params: Mapping[str, str | int] | None = None) -> str:
    """The text of a key in the reader's language; a value not given shows as a dash. KeyError: no such key."""
    values = params or {}
    text = catalogue[locale_of(locale)][key]
    return _PLACEHOLDER.sub(lambda found: str(values.get(found.group(1), _UNKNOWN)), text)


def label(catalogue: Catalogue, enum: str, value: str, locale: str) -> str:
    """The name of an enum's value, or the value itself when the catalogue does not know it."""
    return catalogue[locale_of(locale)].get(f"enum.{enum}.{value}", value)


def render_problem(catalogue: Catalogue, problem: Problem, locale: str) -> str:
    """One sentence that says what is wrong and what to do next, and what would have been possible."""
    texts = catalogue[locale_of(locale)]
    between = " – " if problem.code in _RANGES else texts["list.separator"]
    enum = str(problem.params.get("enum", ""))
    kinds = ((f"enum.{enum}.{value}", f"type.{value}", f"field.{value}") for value in problem.allowed)
    found = ([texts[key] for key in keys if key in texts] for keys in kinds)
    named = (texts_of[0] if texts_of else value for texts_of, value in zip(found, problem.allowed, strict=True))
    params = {"field": _place(texts, problem.path), "allowed": between.join(named) or _UNKNOWN, **problem.params}
    key = f"problem.{problem.code}"
    sentence = render(catalogue, key, locale, params)
    sentence = sentence[:1].upper() + sentence[1:]
    told = {"allowed", "percent"} & placeholders(texts[key])
    if not problem.allowed or told or problem.allowed == problem.path[-1:]:
        return sentence
    after = "" if sentence[-1:] in "。！" else " "
    return f"{sentence}{after}{render(catalogue, 'problem.allowed', locale, params)}"


UNSPOKEN = frozenset({"change", "set", "created", "updated", "deleted"})
"""Parts of a path that say where in a request something stood, and nothing to whoever filled in a form."""


def _place(texts: Mapping[str, str], path: tuple[str, ...]) -> str:
    """A path for people: list positions count from 1, record ids are left out, an own field is called by its key."""
    parts: list[str] = []
    for before, part in zip(("", *path), path, strict=False):
        if before == "custom":
            # an organisation's own key, whatever else is called like it
            parts.append(part)
        elif part.isdecimal():
            parts[-1:] = [f"{parts[-1] if parts else ''} {int(part) + 1}".strip()]
        elif f"field.{part}" in texts:
            parts.append(texts[f"field.{part}"])
        elif f"enum.Collection.{part}" in texts:
            parts.append(texts[f"enum.Collection.{part}"])
        elif "-" not in part and part not in UNSPOKEN:
            parts.append(part)
    return " › ".join(parts) or texts["problem.record"]
