"""What a header of wishes asks for: media types, languages, encodings, each with how much it is liked.

Source: RFC 9110 §12.4.2.
"""

from backend.domain.messages import locale_of

HEADER_CHARACTERS_MAX = 1_000
"""What is longer is read no further."""


def wishes_of(header: str | None) -> list[tuple[str, float]]:
    """(name in small letters, quality 0–1), as they stand in the header."""
    found = []
    for part in (header or "")[:HEADER_CHARACTERS_MAX].split(","):
        name, _, parameters = part.strip().partition(";")
        if name.strip():
            found.append((name.strip().lower(), quality_of(parameters)))
    return found


def quality_of(parameters: str) -> float:
    """How much a wish is liked, by its parameters: 1 when nothing is said, 0 when what is said makes no sense."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                return 0.0
            return quality if 0 <= quality <= 1 else 0.0
    return 1.0


def accepted_locale(accept_language: str | None) -> str:
    """The catalogue's locale that an Accept-Language header likes best; the first of equals."""
    best, best_quality = "", 0.0
    for name, quality in wishes_of(accept_language):
        if quality > best_quality:
            best, best_quality = name, quality
    return locale_of(best)
