"""Unmistakable values in every field of a person, and a search for them everywhere anything is kept."""

from pathlib import Path
from typing import Any

import asyncpg

from backend.domain.fields import Field, Kind, Shape
from backend.storage.dialects import Dialect
from backend.storage.engine import Engine

NAME = "Qzxvanna"
SEEN = ("qzxv", "龘靐", "뷁쀍", "1987-03-21", "8613755501")
"""What every value below contains one of: letters nobody's name has, a birthday, a number. Lower case."""


def person(shape: Shape, number: int = 1, **more: Any) -> dict[str, Any]:
    """A value of its own for every field a client may set and that can say who somebody is."""
    fields = {one.name: _value(one, number) for one in shape.client_fields if not one.fixed}
    return {name: value for name, value in fields.items() if value is not None} | more


def _value(field: Field, number: int) -> Any:
    special = {
        "nameZh": "龘靐",
        "nameKo": "뷁쀍",
        "nameEn": f"{NAME}{number}",
        "phone": f"+86137555010{number:02}",
        "email": f"qzxv{number}@mail.example",
        "birthDate": "1987-03-21",
        "taxId": f"QZXV{number:08}",
        "channels": {"WECHAT": f"qzxv_wechat_{number}", "KAKAO": f"qzxv_kakao_{number}"},
        "consentEvents": [
            {"channel": "EMAIL", "purpose": "MARKETING", "change": "GIVEN", "at": "2026-01-01T00:00:00.000Z",
             "source": "PAPER", "wordingVersion": f"qzxv wording {number}"}
        ],
        "tags": [f"qzxv tag {number}"],
        "country": "CN",
    }  # fmt: skip
    if field.name in special:
        return special[field.name]
    if field.check is None and field.kind in (Kind.TEXT, Kind.LONG_TEXT):
        return f"qzxv {field.name} {number}"
    return None


async def whatever_is_kept(engine: Engine) -> dict[str, bytes]:
    """`<table>.<column>` → all values of it in one text, for every table of the database."""
    found: dict[str, bytes] = {}
    async with engine.read() as conn:
        if conn.dialect is Dialect.SQLITE:
            tables = [row[0] for row in await conn.fetch("SELECT name FROM sqlite_master WHERE type = 'table'")]
        else:
            tables = [row[0] for row in await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        for table in tables:
            rows = await conn.fetch(f'SELECT * FROM "{table}"')
            for row in rows:
                names = row.keys() if isinstance(row, asyncpg.Record) else range(len(row))
                for name, value in zip(names, row, strict=True):
                    text = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    key = f"{table}.{name}"
                    found[key] = found.get(key, b"") + b"\n" + text
    return found


async def places_in_tables(engine: Engine) -> list[str]:
    """Where any of the values is, by table and column."""
    return sorted(key for key, text in (await whatever_is_kept(engine)).items() if is_seen(text))


def places_in_files(*paths: Path) -> list[str]:
    """Which of these files, and of the files in these folders, hold any of the values, byte by byte."""
    files = [path for given in paths for path in (given.rglob("*") if given.is_dir() else [given]) if path.is_file()]
    return sorted(path.name for path in files if is_seen(path.read_bytes()))


def is_seen(text: bytes) -> bool:
    lower = text.decode("utf-8", "replace").lower()
    return any(value in lower for value in SEEN)
