"""A damaged phone finds out what is wrong, and fetches that and little else."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from backend.auth.principal import Principal
from backend.errors import Code, Refused
from backend.storage.engine import Engine
from backend.sync.buckets import BUCKETS, bucket_of, buckets_for, check_bucket
from backend.sync.digests import answer_digest
from backend.sync.protocol import answer_pull
from mobile_contract.replica import SCHEMA_VERSION, Document, Replica, digest
from mobile_contract.replica import bucket_of as bucket_of_the_phone
from tests.factories import NOW_MS
from tests.sync.test_bulk import patch_with_shops
from tests.sync.worlds import SECRET, page_json, pull_request

SHOPS = 60
PAGES_MAX = 200


@dataclass
class Phone:
    """A replica whose server compares what has more than `bucket_rows` rows in parts."""

    engine: Engine
    principal: Principal
    replica: Replica
    bucket_rows: int

    async def page(self, **more: int) -> Document:
        request = self.replica.pull_request()
        page = await answer_pull(
            self.engine, self.principal, pull_request({**request, **more}), secret=SECRET, rows_max=1_000,
            bytes_max=2_000_000, retries_max=3, clock=lambda: NOW_MS, bucket_rows=self.bucket_rows,
        )  # fmt: skip
        answer = page_json(page)
        assert self.replica.apply(request, answer)
        return answer

    async def sync(self) -> list[tuple[str, str]]:
        """(collection, id) of all rows that came until the phone is complete and equal."""
        came = []
        for _ in range(PAGES_MAX):
            page = await self.page()
            came += [(block["collection"], row["document"]["id"]) for block in page["blocks"] for row in block["rows"]]
            for wide in list(self.replica.wide):
                self.replica.narrow(wide, await self.digest(wide["scope"], wide["collection"], wide["buckets"]))
            if page["complete"] and not self.replica.refetch:
                return came
        raise AssertionError("never complete and equal")

    async def digest(self, scope: str, collection: str, buckets: int) -> list[Document]:
        sums = await answer_digest(
            self.engine, self.principal, scope, collection, buckets,
            schema_version=SCHEMA_VERSION, schema_oldest=1, now_ms=NOW_MS,
        )  # fmt: skip
        return [{"bucket": one.bucket, "sum": one.total, "count": one.count} for one in sums]


async def a_phone(engine: Engine, *, bucket_rows: int) -> Phone:
    rep, _ = await patch_with_shops(engine, SHOPS)
    phone = Phone(engine, rep, Replica(), bucket_rows)
    await phone.sync()
    return phone


def flip_a_field(replica: Replica, record_id: str) -> None:
    key = ("customers", record_id)
    replica.documents[key] = {**replica.documents[key], "nameEn": "flipped"}


def lose_a_record(replica: Replica, record_id: str) -> None:
    replica.places = {place for place in replica.places if place[1] != record_id or place[0] != "customers"}
    del replica.documents["customers", record_id], replica.seqs["customers", record_id]


def make_one_up(replica: Replica, record_id: str) -> None:
    """A record nobody ever had, in the same part as another."""
    ((scope,),) = {place[2:] for place in replica.places if place[1] == record_id and place[0] == "customers"}
    made_up = record_id[:-4] + "zz" + record_id[-2:]
    replica.places.add(("customers", made_up, scope))
    replica.documents["customers", made_up] = {"id": made_up}
    replica.seqs["customers", made_up] = 1


DAMAGES = (flip_a_field, lose_a_record, make_one_up)


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_wrong_is_found_at_the_next_complete_page_and_only_that_collection_comes_again(
    engine: Engine, damage: Callable[[Replica, str], None]
) -> None:
    phone = await a_phone(engine, bucket_rows=5_000)
    right = phone.replica.sums()
    damage(phone.replica, sorted(phone.replica.views("customers"))[3])
    assert phone.replica.sums() != right
    came = await phone.sync()
    assert {collection for collection, _ in came} == {"customers"}
    assert len(came) == SHOPS
    assert phone.replica.sums() == right


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("damage", DAMAGES)
async def test_among_many_rows_only_the_part_that_differs_comes_again(
    engine: Engine, damage: Callable[[Replica, str], None]
) -> None:
    phone = await a_phone(engine, bucket_rows=10)
    right = phone.replica.sums()
    damaged = sorted(phone.replica.views("customers"))[3]
    buckets = buckets_for(SHOPS, 10)
    part = {
        record_id for record_id in phone.replica.views("customers")
        if bucket_of(record_id, buckets) == bucket_of(damaged, buckets)
    }  # fmt: skip
    damage(phone.replica, damaged)
    came = await phone.sync()
    assert {record_id for _, record_id in came} == part
    assert len(came) == len(part) < SHOPS / 2
    assert phone.replica.sums() == right


async def test_where_most_parts_differ_the_whole_is_asked_for(engine: Engine) -> None:
    phone = await a_phone(engine, bucket_rows=10)
    right = phone.replica.sums()
    for record_id in phone.replica.views("customers"):
        flip_a_field(phone.replica, record_id)
    came = await phone.sync()
    assert len(came) == SHOPS
    assert phone.replica.sums() == right


async def test_the_parts_sum_to_the_whole(engine: Engine) -> None:
    phone = await a_phone(engine, bucket_rows=10)
    ((scope, total, count),) = {
        (scope, total, count) for (scope, name), (total, count) in phone.replica.sums().items() if name == "customers"
    }
    for buckets in BUCKETS:
        parts = await phone.digest(scope, "customers", buckets)
        assert sum(int(part["sum"], 16) for part in parts) % 2**64 == int(total, 16)
        assert sum(part["count"] for part in parts) == count
        held: dict[int, int] = {}
        for record_id in phone.replica.views("customers"):
            bucket = bucket_of_the_phone(record_id, buckets)
            held[bucket] = held.get(bucket, 0) + digest(phone.replica.documents["customers", record_id])
        assert {part["bucket"]: int(part["sum"], 16) for part in parts} == {b: t % 2**64 for b, t in held.items()}


async def test_nobody_compares_what_he_does_not_hold(engine: Engine) -> None:
    phone = await a_phone(engine, bucket_rows=10)
    for scope, collection, buckets, code in (
        ("territory:somewhere", "customers", 16, Code.NOT_FOUND),
        ("organisation", "nothing", 16, Code.NOT_ALLOWED_VALUE),
        ("organisation", "people", 0, Code.NOT_ALLOWED_VALUE),
        ("organisation", "people", 3, Code.NOT_ALLOWED_VALUE),
        ("organisation", "people", 512, Code.NOT_ALLOWED_VALUE),
    ):
        with pytest.raises(Refused) as refused:
            await phone.digest(scope, collection, buckets)
        assert [problem.code for problem in refused.value.problems] == [code]


def test_parts_are_a_tenth_of_the_bound_and_at_most_256() -> None:
    assert buckets_for(0, 5_000) == buckets_for(5_000, 5_000) == 1
    assert buckets_for(5_001, 5_000) == 16
    assert buckets_for(20_000, 5_000) == 64
    assert buckets_for(10_000_000, 5_000) == 256


@pytest.mark.parametrize(
    ("bucket", "buckets", "code"),
    [
        (1, None, Code.REQUIRED),
        (None, 4, Code.REQUIRED),
        (4, 4, Code.OUT_OF_RANGE),
        (-1, 4, Code.OUT_OF_RANGE),
        (0, 5, Code.NOT_ALLOWED_VALUE),
        (0, -2, Code.NOT_ALLOWED_VALUE),
    ],
)
def test_a_part_that_is_none_is_refused(bucket: int | None, buckets: int | None, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        check_bucket(bucket, buckets)
    assert [problem.code for problem in refused.value.problems] == [code]


# -- pages of few bytes --------------------------------------------------------------------------------------------


async def test_a_page_has_no_more_bytes_than_asked_and_one_row_always(engine: Engine) -> None:
    rep, _ = await patch_with_shops(engine, 12)
    async with engine.write() as conn:
        await conn.execute(
            "UPDATE feed SET document = ? WHERE collection = 'visits'", b'{"id":"' + b"x" * 9_000 + b'"}'
        )
    phone = Phone(engine, rep, Replica(), 5_000)
    sizes = []
    while True:
        page = await phone.page(bytesMax=2_500)
        rows = [row for block in page["blocks"] for row in block["rows"]]
        sizes.append((len(rows), sum(len(str(row["document"]["id"])) for row in rows)))
        if page["complete"]:
            break
    large = [count for count, size in sizes if size >= 9_000]
    assert large == [1] * 12, "a row above the bound comes alone"
    assert sum(count for count, _ in sizes) == 24
    with pytest.raises(Refused) as refused:
        await phone.page(bytesMax=999)
    assert refused.value.problems[0].path == ("bytesMax",)
    with pytest.raises(Refused):
        await phone.page(bytesMax=2_000_001)
