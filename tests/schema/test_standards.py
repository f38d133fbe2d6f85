"""What the edge promises integrators: whose pages may ask, how answers are packed, tagged and marked."""

import gzip
import sys
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers

from backend.config import Settings, read_settings
from backend.domain.origins import is_allowed_origin
from backend.errors import BadSetting
from backend.schema.http import GRAPHQL_TYPE, JSON_TYPE
from backend.schema.sockets import is_welcome
from backend.web.streaming import THREAD_BYTES
from tests.databases import fresh_sqlite
from tests.schema.conftest import Door
from tests.servers import serve

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SITE = "https://crm.example.com"
TYPES = "{ __schema { types { name description fields(includeDeprecated: true) { name description } } } }"
UNPACK = {"zstd": zstd.decompress, "gzip": gzip.decompress}


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The edge is the same above both databases; one is enough."""
    return fresh_sqlite(sqlite_template, tmp_path)


@pytest.fixture
def server_settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, data_dir=tmp_path / "var", allowed_origins=(SITE,))


def varies(answer: httpx.Response) -> set[str]:
    return {part.strip().lower() for part in answer.headers.get("vary", "").split(",")}


# -- whose pages may ask ------------------------------------------------------------------------------------------


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization, content-range, content-type, x-client-name, x-client-version",
    }


async def test_pages_of_named_sites_may_ask_and_no_others(door: Door) -> None:
    client = door.served.client
    for path in ("/graphql", "/graphql/stream", "/sync/bulk", "/files/5"):
        for method in ("GET", "POST", "PUT"):
            told = await client.options(path, headers=preflight(SITE, method))
            assert told.status_code == 200, (path, method)
            assert told.headers["access-control-allow-origin"] == SITE
            assert method in told.headers["access-control-allow-methods"]
            assert "authorization" in told.headers["access-control-allow-headers"]
            assert "access-control-allow-credentials" not in told.headers
            assert "origin" in varies(told)
    asked = {"query": "{ __typename }"}
    answer = await door.served.post(asked, origin=SITE)
    assert answer.headers["access-control-allow-origin"] == SITE
    assert "etag" in answer.headers["access-control-expose-headers"].lower()
    # a page that sends a file reads how far it came, and when to come again
    sent = await client.put("/files/5", headers={"origin": SITE, "content-range": "bytes 0-0/1"}, content=b"x")
    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (401, SITE)
    shown = {name.strip().lower() for name in sent.headers["access-control-expose-headers"].split(",")}
    assert {"upload-offset", "upload-length", "upload-complete", "retry-after", "content-range"} <= shown
    assert "origin" in varies(answer)
    for foreign in ("https://evil.example.com", f"{SITE}.evil.example", "null", "http://localhost:5173", "*"):
        refused = await client.options("/graphql", headers=preflight(foreign))
        assert refused.status_code == 400, foreign
        assert "access-control-allow-origin" not in refused.headers
        answer = await door.served.post(asked, origin=foreign)
        assert "access-control-allow-origin" not in answer.headers
    assert (await client.options("/graphql", headers=preflight(SITE, "DELETE"))).status_code == 400
    for told in (await client.get("/nowhere", headers={"origin": SITE}), await door.served.post([], origin=SITE)):
        assert told.headers["access-control-allow-origin"] == SITE, "a page must be able to read what went wrong"


@pytest.mark.parametrize("given", ["*", "crm.example.com", "https://crm.example.com/page"])
def test_what_is_no_site_is_no_setting(given: str) -> None:
    with pytest.raises(BadSetting, match="SELVEDGE_ALLOWED_ORIGINS"):
        read_settings(allowed_origins=given)


async def test_with_the_demo_company_pages_of_ones_own_machine_may_ask(door: Door) -> None:
    given = door.served.services.settings.model_copy(update={"demo": True, "allowed_origins": ()})
    async with serve(given, clock=door.clock) as served:
        for origin in ("http://localhost:5173", "http://127.0.0.1:3000", "https://localhost", "http://[::1]:8080"):
            told = await served.client.options("/graphql", headers=preflight(origin))
            assert told.headers["access-control-allow-origin"] == origin
            assert is_welcome(Headers({"origin": origin, "host": "x"}), given)
            assert not is_welcome(Headers({"origin": origin, "host": "x"}), door.served.services.settings)
        for origin in ("http://localhost.evil.example", "http://evil.example/localhost", "ftp://localhost", SITE):
            assert (await served.client.options("/graphql", headers=preflight(origin))).status_code == 400, origin
            assert not is_welcome(Headers({"origin": origin, "host": "x"}), given)
    assert not is_allowed_origin("http://localhost:5173", (), local=False)


# -- packed --------------------------------------------------------------------------------------------------------


async def raw_answer(door: Door, accept_encoding: str, query: str) -> tuple[httpx.Response, bytes]:
    request = door.served.client.build_request(
        "POST", "/graphql", json={"query": query}, headers={"accept-encoding": accept_encoding}
    )
    answer = await door.served.client.send(request, stream=True)
    body = b"".join([part async for part in answer.aiter_raw()])
    await answer.aclose()
    return answer, body


async def test_large_answers_are_packed_as_the_reader_likes(door: Door) -> None:
    plain, whole = await raw_answer(door, "identity", TYPES)
    assert len(whole) > THREAD_BYTES, "the way through a thread is taken"
    assert "content-encoding" not in plain.headers
    small = '{ __type(name: "Customer") { fields { name description } } }'
    _, short = await raw_answer(door, "identity", small)
    assert 1_400 < len(short) < THREAD_BYTES
    for wished, encoding in (("zstd, gzip", "zstd"), ("gzip", "gzip"), ("gzip;q=1, zstd;q=.5", "gzip"), ("*", "zstd")):
        for query, expected in ((TYPES, whole), (small, short)):
            answer, packed = await raw_answer(door, wished, query)
            assert answer.headers["content-encoding"] == encoding
            assert int(answer.headers["content-length"]) == len(packed) < len(expected)
            assert UNPACK[encoding](packed) == expected
            assert "accept-encoding" in varies(answer)
    for wished in ("br", "zstd;q=0, gzip;q=0", ""):
        answer, body = await raw_answer(door, wished, TYPES)
        assert "content-encoding" not in answer.headers
        assert body == whole
    answer, body = await raw_answer(door, "zstd, gzip", "{ __typename }")
    assert "content-encoding" not in answer.headers, "what is small stays as it is"
    assert "accept-encoding" in varies(answer)


# -- tagged --------------------------------------------------------------------------------------------------------


async def test_a_query_by_get_is_not_sent_again_to_who_holds_its_answer(door: Door) -> None:
    client = door.served.client
    head = {"authorization": f"Bearer {(await door.sign_in())['accessToken']}"}
    asked = {"query": "{ me { id name } }"}
    first = await client.get("/graphql", params=asked, headers=head)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-store", "answers are somebody's: no cache may keep them"
    assert {"authorization", "accept-language", "accept"} <= varies(first)
    for given in (tag, f'"other", {tag}', "*", tag.removeprefix("W/")):
        again = await client.get("/graphql", params=asked, headers={**head, "if-none-match": given})
        assert (again.status_code, again.content) == (304, b""), given
        assert again.headers["etag"] == tag
        assert {"authorization", "accept-language", "accept"} <= varies(again)
    held = {**head, "if-none-match": tag}
    assert (await client.get("/graphql", params={"query": "{ me { id } }"}, headers=held)).status_code == 200
    assert (await client.get("/graphql", params=asked, headers={**held, "accept": GRAPHQL_TYPE})).status_code == 200
    await door.execute("UPDATE user_account SET name = 'Min the second' WHERE id = ?", door.user_id)
    changed = await client.get("/graphql", params=asked, headers={**head, "if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    typename = {"query": "{ __typename }"}
    mine = await client.get("/graphql", params=typename, headers=head)
    nobodys = await client.get("/graphql", params=typename)
    assert mine.content == nobodys.content
    assert mine.headers["etag"] != nobodys.headers["etag"], "a tag tells nobody what another was answered"


async def test_what_went_wrong_and_what_was_posted_has_no_tag(door: Door) -> None:
    client = door.served.client
    wrong = [{"query": "{ nothing }"}, {"query": "{ me { id } }"}, {"query": "{"}, {}]
    for params in wrong:
        answer = await client.get("/graphql", params=params, headers={"if-none-match": "*"})
        assert answer.status_code != 304
        assert "etag" not in answer.headers
    assert "etag" not in (await door.served.post({"query": "{ __typename }"}, if_none_match="*")).headers


# -- marked --------------------------------------------------------------------------------------------------------


async def test_an_answer_says_in_which_language_its_texts_are(door: Door) -> None:
    client, token = door.served.client, (await door.sign_in())["accessToken"]
    shut = {"query": "{ me { id } }"}
    for wished, language in (("zh-TW", "zh-CN"), ("ko", "ko"), ("fr", "en"), ("", "en")):
        told = await door.served.post(shut, accept_language=wished)
        streamed = await client.post("/graphql/stream", json=shut, headers={"accept-language": wished})
        bulk = await client.get("/sync/bulk", headers={"accept-language": wished})
        for answer in (told, streamed, bulk):
            assert answer.headers["content-language"] == language
            assert "accept-language" in varies(answer)
    for language in ("zh", "ko"):
        mine = await door.served.post(shut, accept_language=language, authorization=f"Bearer {token}")
        assert mine.headers["content-language"] == "ko", "the language of the one who signed in comes first"
    async with client.stream(
        "POST", "/graphql/stream", json=shut, headers={"authorization": f"Bearer {token}"}
    ) as events:
        assert events.headers["content-language"] == "ko"
    for malformed in (await door.served.post([]), await client.get("/graphiql"), await client.get("/")):
        assert malformed.headers.get("content-language", "en") == "en"


# -- refused -------------------------------------------------------------------------------------------------------


async def test_batches_are_refused_in_words(door: Door) -> None:
    for body in ([], [{"query": "{ __typename }"}], [{"query": "{ __typename }"}] * 2):
        for accept in (GRAPHQL_TYPE, JSON_TYPE):
            answer = await door.served.post(body, accept=accept)
            assert answer.status_code == 400
            (error,) = answer.json()["errors"]
            assert error["extensions"]["code"] == "BAD_REQUEST"
            assert "batches" in error["message"]


async def test_answers_come_in_one_piece(door: Door) -> None:
    """Nothing is deferred and no list streamed: neither directive is of this schema."""
    for query, name in (
        ("{ ... @defer { __typename } }", "@defer"),
        ("{ __schema { types @stream { name } } }", "@stream"),
    ):
        answer = await door.served.post({"query": query}, accept=f"multipart/mixed, {GRAPHQL_TYPE}")
        assert answer.status_code == 400
        assert name in answer.json()["errors"][0]["message"]
    known = (await door.served.ask("{ __schema { directives { name } } }"))["data"]["__schema"]["directives"]
    assert {"defer", "stream"}.isdisjoint(directive["name"] for directive in known)


async def test_streams_have_a_connection_each(door: Door) -> None:
    """The other mode of the protocol reserves a stream by PUT and names it by a token."""
    client = door.served.client
    asked = {"json": {"query": "{ __typename }"}}
    refused = [
        (405, await client.put("/graphql/stream")),
        (405, await client.delete("/graphql/stream", params={"operationId": "a"})),
        (400, await client.get("/graphql/stream", params={"token": "x"})),
        (400, await client.post("/graphql/stream", **asked, headers={"x-graphql-event-stream-token": "x"})),
    ]
    for status, answer in refused:
        assert answer.status_code == status
        (error,) = answer.json()["errors"]
        assert error["extensions"]["code"] == "BAD_REQUEST"
        assert "distinct connections" in error["message"]
        assert ("allow" in answer.headers) == (status == 405)
