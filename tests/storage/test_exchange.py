"""Amounts converted by the database have the digits of those converted in Python, to the last half."""

import random

import numpy as np
import pytest

from backend.domain.exchange import convert_columns
from backend.domain.money import Rate
from backend.domain.times import add_days, day_number
from backend.ids import new_id
from backend.storage.engine import Engine
from backend.storage.exchange import converted_sql, sum_sql
from tests import factories

CURRENCIES = ("KRW", "KWD", "EUR", "USD", "CNY")
RATES = (
    Rate("KRW", "2026-01-01", 500_000_000),
    Rate("KRW", "2026-02-01", 712_345),
    Rate("KWD", "2026-01-01", 2_500_000_000),
    Rate("EUR", "2026-01-01", 1_000_000_001),
    Rate("EUR", "2026-03-01", 999_999_999_999),
    Rate("USD", "2026-01-01", 1_234_567_890),
)


@pytest.mark.parametrize("to", ["USD", "KRW", "KWD"])
async def test_the_database_converts_as_the_domain_does(engine: Engine, to: str) -> None:
    rng = random.Random(3)
    days = [add_days("2025-12-30", rng.randint(0, 80)) for _ in range(400)]
    codes = [rng.choice(CURRENCIES) for _ in days]
    # halves of every kind, and as large as comes out below 2^53
    amounts = [
        rng.choice((0, 1, 5, 25, 75, 2_500, 7_500, rng.randint(0, 10**6), 10**10 + rng.randint(0, 9))) for _ in days
    ]
    async with engine.write() as conn:
        for rate in RATES:
            row = {"currency": rate.currency, "valid_from": rate.valid_from, "rate_e9": rate.rate_e9}
            await factories.insert(conn, "exchange_rate", id=new_id(), **row)
        await conn.execute("CREATE TABLE sold (n BIGINT, minor BIGINT, code TEXT, on_day TEXT)")
        rows = list(zip(range(len(days)), amounts, codes, days, strict=True))
        await conn.execute_many("INSERT INTO sold (n, minor, code, on_day) VALUES (?, ?, ?, ?)", rows)
    expected = convert_columns(
        np.array(amounts), np.array(codes), np.array([day_number(day) for day in days]), to=to, rates=RATES
    )
    async with engine.read() as conn:
        found = await conn.fetch(
            f"SELECT {converted_sql('s.minor', 's.code', 's.on_day', to)} FROM sold s ORDER BY s.n"
        )
    told = zip(expected.amount_minor.tolist(), expected.known.tolist(), strict=True)
    assert [row[0] for row in found] == [amount if known else None for amount, known in told]
    assert sum(row[0] is None for row in found) > 20


async def test_what_no_client_could_hold_is_not_known(engine: Engine) -> None:
    most = 2**53 - 1
    async with engine.write() as conn:
        await factories.insert(conn, "exchange_rate", id=new_id(), currency="KWD", valid_from="2026-01-01",
                               rate_e9=3_000_000_000_000)  # fmt: skip
    async with engine.read() as conn:
        sql = converted_sql("v.minor", "v.code", "'2026-05-05'", "USD")
        values = f"(SELECT {most} AS minor, 'KWD' AS code UNION ALL SELECT {most}, 'USD') v"
        found = await conn.fetch(f"SELECT {sql} FROM {values} ORDER BY v.code")
        assert [row[0] for row in found] == [None, most]
        both = f"{values} CROSS JOIN (SELECT 1 AS x UNION ALL SELECT 2) w"
        sums = await conn.fetch(f"SELECT {sum_sql('v.minor', conn.dialect)} FROM {both}")
        assert sums[0][0] is None
        one = await conn.fetch(f"SELECT {sum_sql('v.minor', conn.dialect)} FROM {values} WHERE v.code = 'USD'")
        none = await conn.fetch(f"SELECT {sum_sql('v.minor', conn.dialect)} FROM {values} WHERE v.code = 'X'")
    assert (one[0][0], none[0][0]) == (most, 0)
