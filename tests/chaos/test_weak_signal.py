"""2G, and a line that breaks off: today's list is usable long before all is there, and nothing begins again."""

from pathlib import Path

import pytest

from tests.chaos.weak_signal import company, weak_phone
from tests.databases import fresh_sqlite

SEEDS = (1, 2, 3)


@pytest.mark.requirement("R4")
async def test_over_a_link_that_breaks_off_todays_list_is_usable_first_and_nothing_begins_again(
    sqlite_template: Path, tmp_path: Path
) -> None:
    async with company(fresh_sqlite(sqlite_template, tmp_path), tmp_path / "var", "tiny") as (served, email):
        held, breaks = [], 0
        for seed in SEEDS:
            async with weak_phone(served, email, seed, scale=2_000) as phone:
                found = await phone.stream()
                assert not phone.replica.refetch, "its checksums match"
                assert "TODAY" in phone.replica.ready
                assert found.today.bytes_down < found.whole.bytes_down / 2
                assert found.today.documents < found.whole.documents
                # a break costs the line it fell into; what is of today may come again among the rest, once
                assert found.rows_again <= found.today.rows + found.breaks
                breaks += found.breaks
                held.append(phone.replica.documents)
        assert breaks >= 2, "the line did break off"
        async with weak_phone(served, email, 1, scale=2_000) as phone:
            phone.replica.limit = 500
            await phone.pages()
            assert all(documents == phone.replica.documents for documents in held)
