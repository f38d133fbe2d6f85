"""Five hundred requests nobody thought of, half of them on each database; `make fuzz` asks twenty thousand."""

from pathlib import Path

from tests.fuzz.asking import Told, fuzzed
from tests.fuzz.drawing import draw, operations

CASES = 250


async def test_whatever_is_asked_nothing_of_ours_fails(database_url: str, tmp_path: Path) -> None:
    told = Told()
    async with fuzzed(database_url, tmp_path) as world:
        seed_number = 1 if database_url.startswith("sqlite") else 2
        await world.ask_all(draw(CASES, seed_number, world.ids), told)
    assert not told.wrong, "\n\n".join(told.wrong[:5])
    assert told.cases > CASES * 0.9
    assert told.codes["data"] > told.cases / 4, "most of what is drawn is well-formed"


def test_every_field_and_mutation_is_asked() -> None:
    assert {label.split(".")[0] for label in operations()} == {"Query", "Mutation"}
    asked = {drawn.label for drawn in draw(len(operations()), 3, ["x"])}
    assert asked == set(operations())
