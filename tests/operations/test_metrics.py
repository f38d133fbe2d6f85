"""`/metrics`: what stands in it, and for whom."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from backend.config import Settings
from backend.storage.dialects import Dialect
from tests.schema.conftest import Door
from tests.servers import JsonObject, Served, serve


async def read(served: Served, **headers: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await served.client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def at(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, /, **labels: str) -> float:
    return found.get((f"selvedge_{name}", frozenset(labels.items())), 0.0)


async def test_what_happens_is_counted_and_what_stands_is_told(door: Door) -> None:
    served = door.served
    before = await read(served)
    session = await door.sign_in()
    token = session["accessToken"]
    answer: JsonObject = await served.ask("query Secret7731 { me { id } }", token=token)
    assert answer["data"]["me"]["id"] == door.user_id
    await served.ask("query Secret7731 { me { id } }", token=token)
    await door.sign_in(password="wrong-7731")
    await served.client.get("/nowhere/secret-7731")
    await served.client.get("/files/secret-7731")
    found = await read(served)

    def more(name: str, /, **labels: str) -> float:
        return at(found, name, **labels) - at(before, name, **labels)

    assert more("http_requests_total", path="/graphql", status="200") == 4
    assert more("http_requests_total", path="other", status="404") == 1
    assert more("http_requests_total", path="/files/{id}", status="401") == 1
    assert more("http_seconds_count", path="/graphql") == 4
    assert more("graphql_operations_total", kind="query", name="untrusted") == 2
    assert more("graphql_operations_total", kind="mutation", name="untrusted") == 2
    assert more("document_lookups_total", found="yes") == 2
    assert more("refusals_total", code="SIGN_IN_FAILED", door="graphql") == 1
    assert more("refusals_total", code="UNAUTHENTICATED", door="door") == 1
    assert at(found, "database_up") == 1
    assert at(found, "devices", state="active") == 1
    assert at(found, "devices", state="silent") == 0
    assert at(found, "kept", what="documents") >= 2
    assert at(found, "process_resident_bytes") > 10_000_000
    assert at(found, "process_cpu_seconds") > 0
    assert at(found, "database_connections", state="open") >= (
        3 if served.services.engine.dialect is Dialect.SQLITE else 1
    )
    assert not [key for key in found if "7731" in str(key)]


async def test_devices_nobody_hears_of_are_told(door: Door) -> None:
    await door.sign_in()
    await door.sign_in()
    await door.execute(
        "UPDATE device SET last_seen_at = ? WHERE id = (SELECT id FROM device ORDER BY id LIMIT 1)", 1_000
    )
    await door.execute(
        "UPDATE device SET pulled_at = 1, acked_seq = 5 WHERE id = (SELECT id FROM device ORDER BY id DESC LIMIT 1)"
    )
    await door.execute("UPDATE sync_clock SET seq = ? WHERE id = 1", (3 << 40) + 20_000)
    found = await read(door.served)
    assert at(found, "devices", state="active") == 2
    assert at(found, "devices", state="silent") == 1
    assert at(found, "devices", state="behind") == 1
    assert at(found, "feed_epoch") == 3
    assert at(found, "feed_step") == 20_000


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
async def test_without_a_token_only_this_machine_may_read_it_and_past_no_proxy(door: Door, header: str) -> None:
    answer = await door.served.client.get("/metrics", headers={header: "127.0.0.1"})
    assert answer.status_code == 404
    assert (await door.served.client.get("/metrics")).status_code == 200


async def test_with_a_token_only_who_shows_it_may_read_it(server_settings: Settings) -> None:
    settings = server_settings.model_copy(update={"metrics_token": SecretStr("t0ken")})
    async with serve(settings) as served:
        assert at(await read(served, authorization="Bearer t0ken"), "database_up") == 1
        for shown in ("Bearer t0keN", "Bearer", "t0ken", "Basic t0ken", "Bearer t0ken2", "Bearer é"):
            answer = await served.client.get("/metrics", headers={"authorization": shown.encode()})
            assert answer.status_code == 404, shown
        assert (await served.client.get("/metrics")).status_code == 404
