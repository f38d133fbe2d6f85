"""`selvedge report 7p`: one page that holds everything it shows, in the language asked for."""

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from backend.cli import reporting
from backend.cli.main import run
from backend.integrations import charts
from backend.storage.engine import open_engine
from tests import factories, histories
from tests.databases import fresh_sqlite

DAY = "2026-11-22"


@pytest.fixture(scope="module")
def database(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six shops with two years of orders in `/cn`, one of them named as no page may take it for markup."""
    url = fresh_sqlite(sqlite_template, tmp_path_factory.mktemp("report"))

    async def fill() -> None:
        engine = open_engine(url)
        await engine.start()
        async with engine.write() as conn:
            patch = await factories.territory(conn, "/cn")
            shops = await histories.customers(conn, 6, territory_id=patch, prefix="<script>alert(1)</script>")
            days = [f"{year}-{month:02d}-05" for year in (2025, 2026) for month in range(1, 12)]
            await histories.orders(
                conn, [(shop, day, 10_000 + 77 * at) for at, shop in enumerate(shops) for day in days]
            )
        await engine.close()

    asyncio.run(fill())
    return url


class Fetched(HTMLParser):
    """Everything a browser would go and get, or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "iframe", "object", "embed", "img", "image", "base", "form", "audio", "video"):
            self.found.append(tag)
        for name, value in attrs:
            local = name in ("href", "xlink:href") and (value or "").startswith("#")
            if name.startswith("on") or (
                name in ("src", "href", "xlink:href", "srcset", "data", "action") and not local
            ):
                self.found.append(f"{tag} {name}")


def fetched(page: str) -> list[str]:
    parser = Fetched()
    parser.feed(page)
    urls = re.findall(r"url\((?!#)[^)]*\)|@import[^;]*|\w+://[^\s\"']*", page)
    return parser.found + urls


def test_what_would_be_fetched_is_seen() -> None:
    assert fetched('<img src="a.png"><p style="background:url(b)"><a href="#x">') == ["img", "img src", "url(b)"]
    assert fetched('<a href="https://a.example/">') == ["a href", "https://a.example/"]
    assert fetched("<script>1</script><style>@import x;</style>") == ["script", "@import x"]


@pytest.mark.requirement("R24")
def test_the_page_holds_its_charts_and_asks_for_nothing(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    out.write_text("an old one")
    asked = ["report", "7p", "--territory", "/cn", "--as-of", DAY, "--locale", "ko", "--out", str(out)]
    assert run([*asked, "--database", database]) == 0
    page = out.read_text("utf-8")
    assert fetched(page) == []
    assert page.count("<svg") == 7
    assert '<html lang="ko">' in page
    for name in ("프로파일", "지속성", "수익성", "성과", "전망", "상품", "판촉"):
        assert name in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert f"/cn, as of {DAY}, 6 customers" in capsys.readouterr().out
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--as-of", "yesterday"], 2, "--as-of"),
        (["--locale", "tlh"], 2, "--locale"),
        (["--out", "/nowhere/at/all.html"], 2, "--out"),
        (["--territory", "/nowhere"], 1, "NOT_FOUND"),
        (["--customer", "nobody"], 1, "NOT_FOUND"),
        (["--as-of", "2199-01-01"], 1, "IN_THE_FUTURE"),
    ],
)
def test_what_cannot_be_written_is_named(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int, told: str
) -> None:
    given = [] if "--out" in options else ["--out", str(tmp_path / "report.html")]
    assert run(["report", "7p", *given, *options, "--database", database]) == status
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "vl_convert", None)
    assert run(["report", "7p", "--out", str(tmp_path / "report.html"), "--database", database]) == 2
    assert "pip install 'selvedge[report]'" in capsys.readouterr().err.replace("\n", "")


def test_a_specification_that_would_fetch_is_refused() -> None:
    away = {"data": {"url": "https://data.example/x.csv"}, "mark": "bar", "encoding": {"x": {"field": "a"}}}
    with pytest.raises(ValueError, match="not allowed"):
        charts.draw_svg(away, "p1")
    assert reporting.draw_svg is charts.draw_svg
