"""Names in Chinese, Korean and Latin script: keys to find them by and one key to sort them by.

**Finding.** `search_keys` is computed where a record is written and travels with it, so a phone and the
server look at the same text. A query is cut into terms by `query_keys`; a record is found when *every* term
occurs somewhere in its keys (`all(term in keys)`). A phone needs three things, and no dictionary:

1. take Korean consonant clusters apart by `CLUSTERS` (keyboards join ㄱㅅ into ㄳ);
2. fold: NFKC, then lower case, then NFKC;
3. cut at white space; a term of digits and phone punctuation only keeps its digits.

Nothing in a query is transliterated: the keys hold a Chinese name as written, in simplified *and* in
traditional characters, in pinyin (joined and by syllable) and as initials; a Korean name as written and as
initial consonants.

**Sorting.** `sort_key` has only the characters 0-9 and a-z, so every collation of both databases sorts it as
its bytes do. Latin and Chinese names stand in one alphabet (pinyin with tone), Korean ones follow in 가나다
order, other scripts by code point. Numbers sort by value.

**Which name.** A record may have names in several languages; the first present of zh, ko, en is *the* name
for sorting. Displaying may prefer the reader's language: `display_name`.
"""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

import phonenumbers
import zhconv
from pypinyin import Style, lazy_pinyin

LANGUAGES = ("zh", "ko", "en")
SORT_KEY_CHARACTERS_MAX = 400

CLUSTERS: Mapping[str, str] = {
    "ㄳ": "ㄱㅅ",
    "ㄵ": "ㄴㅈ",
    "ㄶ": "ㄴㅎ",
    "ㄺ": "ㄹㄱ",
    "ㄻ": "ㄹㅁ",
    "ㄼ": "ㄹㅂ",
    "ㄽ": "ㄹㅅ",
    "ㄾ": "ㄹㅌ",
    "ㄿ": "ㄹㅍ",
    "ㅀ": "ㄹㅎ",
    "ㅄ": "ㅂㅅ",
}

FAMILY_READINGS: Mapping[str, str] = {
    "万俟": "mo4 qi2",
    "乐": "yue4",
    "仇": "qiu2",
    "任": "ren2",
    "冼": "xian3",
    "华": "hua4",
    "单": "shan4",
    "区": "ou1",
    "召": "shao4",
    "员": "yun4",
    "尉迟": "yu4 chi2",
    "折": "she2",
    "曾": "zeng1",
    "朴": "piao2",
    "查": "zha1",
    "洗": "xian3",
    "燕": "yan1",
    "盖": "ge3",
    "种": "chong2",
    "秘": "bi4",
    "繁": "po2",
    "纪": "ji3",
    "缪": "miao4",
    "翟": "zhai2",
    "葛": "ge3",
    "覃": "qin2",
    "解": "xie4",
    "过": "guo1",
    "逄": "pang2",
    "那": "na1",
    "长孙": "zhang3 sun1",
    "黑": "he4",
}
"""How characters are read as a family name where common reading differs (numbers are tones)."""

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_NOT_DIGITS = re.compile(r"\D+", re.ASCII)
_PHONE_TERM = re.compile(r"[0-9+().\-]*[0-9][0-9+().\-]*", re.ASCII)
_HANGUL_FIRST, _HANGUL_LAST, _PER_INITIAL, _INITIAL_FIRST = 0xAC00, 0xD7A3, 588, 0x1100
_UNDECOMPOSED = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})


def fold(text: str) -> str:
    """NFKC, lower case, NFKC: the form in which keys and queries are compared. In JavaScript:
    `text.normalize("NFKC").toLowerCase().normalize("NFKC")`."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())


def query_keys(text: str) -> tuple[str, ...]:
    """The terms of a typed query, all of which must occur in a record's search keys; none for a blank one."""
    apart = "".join(CLUSTERS.get(character, character) for character in text)
    terms = (_NOT_DIGITS.sub("", term) if _PHONE_TERM.fullmatch(term) else term for term in fold(apart).split())
    return tuple(dict.fromkeys(terms))


def matches(keys: str, terms: Sequence[str]) -> bool:
    """True when every term occurs in the keys: what SQL and the phone compute."""
    return all(term in keys for term in terms)


def search_keys(names: Mapping[str, str | None], *, code: str | None = None, phones: Iterable[str] = ()) -> str:
    """Everything a record is found by, space-separated, each key once.

    `names` by language (zh, ko, en; any script is understood under any of them), `code` the company's own,
    `phones` as E.164. The order is fixed by the input, so equal input gives equal bytes.
    """
    keys: dict[str, None] = {}
    for language in LANGUAGES:
        if name := names.get(language):
            keys.update(dict.fromkeys(_name_keys(name)))
    if code:
        keys.update(dict.fromkeys((*fold(code).split(), _alphanumeric(fold(code)))))
    for phone in phones:
        keys.update(dict.fromkeys(_phone_keys(phone)))
    return " ".join(key for key in keys if key)


def sort_key(names: Mapping[str, str | None], *, person: bool = False) -> str:
    """The stored key that lists are ordered by, at most 400 characters of 0-9 a-z.

    `person`: read a Chinese name's first character as a family name (单 is shàn, not dān). Per character:
    a mark of any kind is `0`; a syllable its pinyin and tone 1..5; a number `6`, its length, its digits; a
    Latin letter itself, z being `z0`; Hangul `z1` and its code point; all else `z2` and its code point. Names
    of the same sound are kept together by their characters at the end.
    """
    name = primary_name(names)
    if name is None:
        return ""
    text = fold(_simplified(name))
    han = "".join(_HAN.findall(text))
    tail = "00" + "".join(f"{ord(character):05x}" for character in han) if han else ""
    return ("".join(_sort_parts(text, person)) + tail)[:SORT_KEY_CHARACTERS_MAX]


def primary_name(names: Mapping[str, str | None]) -> str | None:
    """The name that sorts a record: the first present of zh, ko, en."""
    return next((name for language in LANGUAGES if (name := names.get(language))), None)


def display_name(names: Mapping[str, str | None], locale: str) -> str | None:
    """The name in the reader's language (`zh-CN` reads zh), else the one that sorts."""
    return names.get(locale.partition("-")[0]) or primary_name(names)


def hangul_initials(text: str) -> str:
    """The initial consonant of each Hangul syllable, as NFKC folds a typed ㄱ; other characters left out."""
    points = (ord(character) for character in text)
    return "".join(
        chr(_INITIAL_FIRST + (point - _HANGUL_FIRST) // _PER_INITIAL)
        for point in points
        if _HANGUL_FIRST <= point <= _HANGUL_LAST
    )


def _name_keys(name: str) -> Iterator[str]:
    text = fold(name)
    simplified = _simplified(text)
    yield from text.split()
    yield from simplified.split()
    yield from _traditional(simplified).split()
    runs = _HAN.findall(simplified)
    if runs:
        yield "".join(runs)
        common = [syllable for run in runs for syllable in _syllables(run)]
        yield from _pinyin_keys(common)
        if family := _family_syllables(runs[0]):
            yield from _pinyin_keys([*family, *common[len(family) :]])
    yield hangul_initials(text)
    yield "".join(character for character in text if _is_hangul(character))
    plain = _unaccented(text)
    words = [word for part in plain.split() if (word := _alphanumeric(part))]
    latin = [word for word in words if word.isascii()]
    yield from words
    if len(latin) > 1:
        yield "".join(latin)
        yield "".join(word[0] for word in latin)


def _pinyin_keys(syllables: Sequence[str]) -> Iterator[str]:
    plain = [syllable.rstrip("12345") for syllable in syllables]
    # ü is typed v on keyboards, u by the careless and yu in passports.
    for spelled in ("v", "u", "yu"):
        written = [syllable.replace("v", spelled) for syllable in plain]
        yield "".join(written)
        yield from written
    yield "".join(syllable[0] for syllable in plain)


@cache
def _chinese_tables() -> None:
    # zhconv leaves its own data file to the garbage collector when it first reads it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for locale in ("zh-hans", "zh-hant"):
            zhconv.convert("王", locale)


def _simplified(text: str) -> str:
    return _converted(text, "zh-hans")


def _traditional(text: str) -> str:
    return _converted(text, "zh-hant")


def _converted(text: str, locale: str) -> str:
    if not _HAN.search(text):
        return text
    _chinese_tables()
    return str(zhconv.convert(text, locale))


def _syllables(run: str) -> list[str]:
    """One `letters + tone` per character; a character without a reading is left out."""
    read = lazy_pinyin(run, style=Style.TONE3, neutral_tone_with_five=True, errors="ignore")
    return [syllable for syllable in read if syllable]


def _family_syllables(run: str) -> list[str]:
    for length in (2, 1):
        if reading := FAMILY_READINGS.get(run[:length]):
            return reading.split()
    return []


def _phone_keys(phone: str) -> Iterator[str]:
    yield _NOT_DIGITS.sub("", phone)
    try:
        number = phonenumbers.parse(phone, None)
    except phonenumbers.NumberParseException:
        return
    # In Korea +82 10… is dialled 010…, so the national form has a digit the international one lacks.
    yield _NOT_DIGITS.sub("", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL))


def _is_hangul(character: str) -> bool:
    return _HANGUL_FIRST <= ord(character) <= _HANGUL_LAST


def _unaccented(text: str) -> str:
    """Latin letters without their accents; other scripts untouched."""
    if text.isascii():
        return text
    bases = ((character, unicodedata.normalize("NFD", character)[0]) for character in text)
    return "".join(base if base.isascii() else character for character, base in bases).translate(_UNDECOMPOSED)


def _alphanumeric(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


_SORT_TOKENS = re.compile(rf"(?P<han>{_HAN.pattern})|(?P<number>[0-9]+)|(?P<other>.)", re.DOTALL)


def _sort_parts(text: str, person: bool) -> Iterator[str]:
    started = marked = False
    for found in _SORT_TOKENS.finditer(_unaccented(text)):
        token = found.group()
        if found.lastgroup == "other" and not token.isalnum():
            marked = started
            continue
        if marked:
            yield "0"
        family = _family_syllables(token) if person and not started else []
        started, marked = True, False
        if found.lastgroup == "han":
            for syllable in [*family, *_syllables(token)[len(family) :]]:
                yield syllable.replace("z", "z0")
        elif found.lastgroup == "number":
            yield from _number_parts(token)
        elif token.isascii():
            yield "z0" if token == "z" else token
        else:
            yield f"z1{ord(token):04x}" if _is_hangul(token) else f"z2{ord(token):06x}"


def _number_parts(digits: str) -> Iterator[str]:
    digits = digits.lstrip("0") or "0"
    # Nine digits at a time, so that the length is always one digit.
    first = len(digits) % 9
    chunks = [digits[:first]] if first else []
    chunks += [digits[at : at + 9] for at in range(first, len(digits), 9)]
    yield from (f"6{len(chunk)}{chunk}" for chunk in chunks)
