"""Compiled answers against ordinary ones, on documents nobody thought of: `make fuzz-reads` asks for thousands."""

import re
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from backend.storage.engine import Engine, open_engine
from tests.databases import fresh_postgres, fresh_sqlite
from tests.reads.asking import Asker
from tests.reads.fuzz import CURSOR_GIVEN, Questions, compare, hypothesis_documents
from tests.reads.world import EVERYBODY, PRINCIPALS, World, make_world

HYPOTHESIS_DOCUMENTS = 40
WRITTEN_DOCUMENTS = 100
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return hypothesis_documents(HYPOTHESIS_DOCUMENTS)


async def test_both_ways_answer_the_same_to_the_byte(engine: Engine, drawn: list[str]) -> None:
    asker = Asker(engine, await make_world(engine))
    questions = Questions(drawn, asker.world, seed=5, written=WRITTEN_DOCUMENTS, sweep=5, people=EVERYBODY)
    report = await compare(asker, questions)
    assert not report.differences, report.differences[0]
    # a comparison of nothing with nothing would pass too
    assert report.documents > 200
    assert report.compiled > report.documents - sum(report.refused.values())
    assert report.fallbacks > 0
    assert report.shortcuts > 20
    assert report.answered_bytes > 500_000
    assert sum(report.refused.values()) < report.documents / 5
    assert report.coverage.lacking_fields(1) == []
    assert not [who for who in EVERYBODY if report.coverage.people[who] < 8]


@pytest.mark.postgres
async def test_both_databases_print_the_same_bytes(
    sqlite_template: Path, postgres_server: str, tmp_path: Path, drawn: list[str]
) -> None:
    async with fresh_postgres(postgres_server) as url:
        askers = []
        for address in (fresh_sqlite(sqlite_template, tmp_path), url):
            engine = open_engine(address)
            await engine.start()
            askers.append(Asker(engine, await make_world(engine)))
        questions = Questions(drawn, askers[0].world, seed=6, written=WRITTEN_DOCUMENTS, people=EVERYBODY)
        for asked in questions:
            here, there = [await asker.bytes(asked.who, asked.document, dict(asked.variables)) for asker in askers]
            assert here == there, asked
            questions.learn(here)
        for asker in askers:
            await asker.engine.close()


@pytest.mark.parametrize("compiled", [True, False])
async def test_no_id_of_another_rep_is_ever_answered(engine: Engine, drawn: list[str], compiled: bool) -> None:
    asker = Asker(engine, await make_world(engine))
    questions = Questions(drawn, asker.world, seed=8, written=WRITTEN_DOCUMENTS, people=PRINCIPALS)
    foreign = set(_foreign(asker.world))
    assert len(foreign) > 40
    for asked in questions:
        answer = await asker.bytes("rep1", asked.document, dict(asked.variables), compiled=compiled)
        told = set(_UUID.findall(answer.decode())) | set(_in_cursors(answer))
        given = asked.document + orjson.dumps(dict(asked.variables)).decode()
        assert not told & foreign - set(_UUID.findall(given)), asked
        questions.learn(answer)


def _in_cursors(answer: bytes) -> Iterator[str]:
    for cursor in CURSOR_GIVEN.findall(answer.decode()):
        yield str(orjson.loads(bytes.fromhex(cursor))[-1])


def _foreign(world: World) -> Iterator[str]:
    """Ids of rep2's territory, but the chain's head whose door rep1 has."""
    south = world.territories[2]
    for record_id, territory_id in world.territory_of.items():
        if territory_id == south and record_id not in world.customers["head"]:
            yield record_id
