"""GraphiQL: closed unless opened, served with no source but this server, and usable in a real browser."""

import html
import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request

from backend.config import Settings
from backend.web.graphiql import BUILT, GraphiQL, is_built
from tests.clients.nodes import need_node, run_node
from tests.databases import fresh_sqlite
from tests.schema.conftest import PASSWORD, Door
from tests.schema.conftest import door as door
from tests.servers import serve

FOLDER = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def database_url(sqlite_template: Path, tmp_path: Path) -> str:
    return fresh_sqlite(sqlite_template, tmp_path)


@pytest.fixture
def server_settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, data_dir=tmp_path / "var", graphiql=True)


def need_browser() -> str:
    """A browser and the built page. Packages of this repository bring no browser: where none is installed the test
    is skipped, in CI too, unless `SELVEDGE_BROWSER_TESTS` says that there must be one."""
    need_node()
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    missing = "no Chromium is installed" if found is None else None
    if missing is None and not is_built():
        missing = "GraphiQL is not built: make graphiql"
    if missing is not None:
        if os.environ.get("SELVEDGE_BROWSER_TESTS"):
            pytest.fail(f"SELVEDGE_BROWSER_TESTS is set: {missing}", pytrace=False)
        pytest.skip(missing)
    assert found is not None
    return found


def test_it_is_closed_unless_the_company_is_a_demo_or_a_setting_opens_it() -> None:
    for demo, said, is_open in (
        (False, None, False),
        (True, None, True),
        (False, True, True),
        (True, False, False),
    ):
        assert Settings(demo=demo, graphiql=said).graphiql_open == is_open


async def test_where_it_is_closed_nothing_of_it_is_served(database_url: str, tmp_path: Path) -> None:
    async with serve(Settings(database_url=database_url, data_dir=tmp_path / "var")) as served:
        names = [path.name for path in (BUILT / "assets").iterdir()] if is_built() else ["any.js"]
        for path in ("/graphiql", f"/graphiql/assets/{names[0]}", "/graphiql/assets/..%2f..%2f..%2fapp.py"):
            answer = await served.client.get(path)
            assert answer.status_code == 404, path
        assert (await served.client.get("/graphiql")).json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"


def request_to(path: str, **params: str) -> Request:
    head = [(b"host", b"127.0.0.1:8000")]
    return Request(
        {"type": "http", "method": "GET", "path": path, "headers": head, "query_string": b"", "scheme": "http",
         "server": ("127.0.0.1", 8000), "path_params": params, "root_path": ""}
    )  # fmt: skip


PERSON = {"email": "he@example.com", "name": 'He <b>"Jian\'guo"</b>', "role": "MANAGER"}


async def one_person() -> Sequence[dict[str, str]]:
    return [PERSON]


async def nobody() -> Sequence[dict[str, str]]:
    return []


def built_into(folder: Path) -> Path:
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text('<meta name="selvedge" content="%SELVEDGE%">')
    (folder / "assets" / "page-1a.js").write_text("export {}")
    (folder / "assets" / "page-1a.js.map").write_text("{}")
    (folder / "secret.js").write_text("no part of it")
    return folder


async def test_the_page_knows_the_people_of_the_demo_and_only_its_own_parts(tmp_path: Path) -> None:
    folder = built_into(tmp_path / "built")
    page = await GraphiQL(one_person, is_open=True, password="demo", folder=folder).page(request_to("/graphiql"))
    told = re.search(r'content="([^"]*)"', bytes(page.body).decode())
    assert told is not None
    assert json.loads(html.unescape(told[1])) == {"people": [PERSON], "password": "demo"}
    closed = GraphiQL(nobody, is_open=True, password="demo", folder=folder)
    page = await closed.page(request_to("/graphiql"))
    assert b"demo" not in page.body, "outside the demo company there is no password to tell"
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert not re.search(r"https?:|\*|unsafe-eval|script-src", policy)
    part = await closed.part(request_to("/graphiql/assets/page-1a.js", name="page-1a.js"))
    assert (part.status_code, bytes(part.body)) == (200, b"export {}")
    assert part.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in part.headers["cache-control"]
    for other in ("page-1a.js.map", "secret.js", "../secret.js", "../index.html", ""):
        assert (await closed.part(request_to("/graphiql/assets/x", name=other))).status_code == 404, other


async def test_where_it_was_not_built_the_page_says_how_to_ask_instead(tmp_path: Path) -> None:
    page = await GraphiQL(nobody, is_open=True, password="demo", folder=tmp_path).page(request_to("/graphiql"))
    assert page.status_code == 200
    assert b"curl -s http://127.0.0.1:8000/graphql" in page.body


async def test_a_browser_signs_in_asks_and_follows_without_a_request_to_anywhere_else(door: Door) -> None:
    browser = need_browser()
    address = f"http://127.0.0.1:{door.served.port}"
    orders = {"url": address, "email": door.email, "password": PASSWORD, "executable": browser}
    found = {line.pop("check"): line for line in await run_node(FOLDER / "browser.mjs", orders)}
    assert found["signed in"]["who"] == f"signed in as {door.email}"
    assert '"totalCount": 0' in found["answered"]["text"]
    assert '"role": "REP"' in found["answered"]["text"]
    for by in ("websocket", "sse"):
        assert '"clock"' in found[f"followed by {by}"]["text"]
    asked = [urlsplit(url) for url in found["requests"]["asked"]]
    from_elsewhere = [url.geturl() for url in asked if url.scheme not in {"data", "blob"}
                      and url.netloc != f"127.0.0.1:{door.served.port}"]  # fmt: skip
    assert from_elsewhere == []
    assert {"/graphql", "/graphql/stream", "/graphiql"} <= {url.path for url in asked}
    assert {url.scheme for url in asked} >= {"http", "ws"}
    assert found["requests"]["complaints"] == []
