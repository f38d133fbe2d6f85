"""What the documentation shows is run; what it lists is complete."""

import asyncio
import os
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLError, parse, specified_rules, validate
from graphql.validation import NoUnusedFragmentsRule
from typer.main import get_command

from backend.auth.principal import Principal, PrincipalKind
from backend.cli.contract import CONTRACT, DOCS
from backend.cli.main import app
from backend.config import PREFIX, Settings
from backend.domain.demo.world import make_world
from backend.domain.permissions import Role
from backend.errors import Code
from backend.schema.execute import core_schema
from backend.schema.root import build_schema
from backend.storage.engine import open_engine
from backend.usecases.demo import load_demo
from backend.usecases.insights import run_scores
from tests.clocks import HandClock
from tests.databases import fresh_sqlite
from tests.documented import START, Block, read_blocks, run_blocks, same_output
from tests.requirement_rows import NUMBERS, ROWS_FILE, STATES, read_rows
from tests.schema.conftest import PASSWORD_HASH
from tests.servers import serve

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "mobile_contract").rglob("*.md")])
READMES = ("README.md", "README.zh-CN.md", "README.ko.md")
NOON_MS = 12 * 3_600_000
README_LINES_MAX = 200


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


# --- examples --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_company(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The file of the small demo company, scored; and its moment: noon in Shanghai of the day it was made for."""
    folder = tmp_path_factory.mktemp("company")
    url = fresh_sqlite(sqlite_template, folder)
    world = make_world("tiny")
    now_ms = world.setting.now_ms + NOON_MS
    admin = world.table("user_account")
    admin_id = admin.columns["id"][list(admin.columns["role"]).index(Role.ADMIN.value)]

    async def build() -> None:
        engine = open_engine(url)
        await engine.start()
        await load_demo(engine, world, password_hash=PASSWORD_HASH, clock=lambda: now_ms)
        principal = Principal(PrincipalKind.STAFF, user_id=admin_id, role=Role.ADMIN)
        await run_scores(engine, principal, settings=Settings(database_url=url), clock=lambda: now_ms)
        await engine.close()

    asyncio.run(build())
    return Path(url.removeprefix("sqlite://")), now_ms


@pytest.fixture
async def address(small_company: tuple[Path, int], tmp_path: Path) -> AsyncIterator[str]:
    file, now_ms = small_company
    settings = Settings(database_url=fresh_sqlite(file, tmp_path), data_dir=tmp_path / "var")
    async with serve(settings, clock=HandClock(now_ms)) as served:
        yield f"127.0.0.1:{served.port}"


@pytest.mark.parametrize("language", START)
async def test_the_examples_of_the_api_print_what_is_shown(language: str, address: str, tmp_path: Path) -> None:
    needed = {"bash": ("bash", "curl", "sed"), "javascript": ("node",), "python": ()}[language]
    if missing := [name for name in needed if shutil.which(name) is None]:
        reason = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    blocks = [block for block in read_blocks(read("docs/API.md")) if block.language == language]
    printed = await run_blocks(language, blocks, address=address, folder=tmp_path)
    for block, output in zip(blocks, printed, strict=True):
        assert block.shown is not None, f"docs/API.md, line {block.line}: shows no output"
        assert same_output(block.shown, output), (
            f"docs/API.md, line {block.line} shows\n{block.shown}\nand the server answered\n{output}"
        )


def test_each_step_of_the_api_is_shown_in_three_languages() -> None:
    steps = re.split(r"^## \d", read("docs/API.md"), flags=re.MULTILINE)[1:]
    assert len(steps) >= 6
    for step in steps:
        assert {block.language for block in read_blocks(step)} == set(START), step.splitlines()[0]


def test_blocks_are_read_with_what_they_print() -> None:
    text = "# T\n```bash run\necho a\n```\n```text out\na\n```\n```bash\nnot this\n```\n```python run\npass\n```\n"
    assert read_blocks(text) == [Block("bash", "echo a\n", 2, "a\n"), Block("python", "pass\n", 11, None)]
    with pytest.raises(ValueError, match="line 1: this output follows no block"):
        read_blocks("```text out\na\n```\n")
    with pytest.raises(ValueError, match="line 1: ruby cannot be run"):
        read_blocks("```ruby run\na\n```\n")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\nb", "a\nc\n", False),
        ("a\nb", "a\nb\nc\n", False),
        ('"id": "…"', '"id": "019a"', True),
        ('"id": "…"', '"id": \n"019a"', False),
        ("a\n…\nd", "a\nb\nc\nd\n", True),
        ("a\n…\nd", "a\nd\n", True),
        ("a\n…\nd", "a\nb\n", False),
        ("(.*)", "anything", False),
    ],
)
def test_an_output_is_compared_line_by_line(shown: str, printed: str, same: bool) -> None:
    assert same_output(shown, printed) is same


async def test_a_block_that_fails_is_named_with_its_complaint(tmp_path: Path) -> None:
    blocks = [Block("bash", "x=1\n", 5, ""), Block("bash", 'echo "$x"; ls nothing\n', 9, "1\n")]
    with pytest.raises(AssertionError, match=r"line 9: the block failed\n1\n(.|\n)*nothing"):
        await run_blocks("bash", blocks, address="127.0.0.1:1", folder=tmp_path)
    assert await run_blocks("bash", [blocks[0], Block("bash", 'echo "$x"\n', 9, "")], address="", folder=tmp_path) == [
        "",
        "1\n",
    ]


DOCUMENT = re.compile(r"^```graphql\n(.*?)^```$|\"\"\"((?:query|mutation|\\{).*?)\"\"\"", re.MULTILINE | re.DOTALL)
"""A block of its own, or a text inside a program."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_graphql_document_shown_is_valid(page: Path) -> None:
    schema = core_schema(build_schema())
    rules = [rule for rule in specified_rules if rule is not NoUnusedFragmentsRule]
    for found in DOCUMENT.finditer(page.read_text("utf-8")):
        text = found.group(1) or found.group(2)
        try:
            problems = validate(schema, parse(text), rules)
        except GraphQLError as error:
            problems = [error]
        assert problems == [], text


# --- lists -----------------------------------------------------------------------------------------------------


def test_the_generated_pages_are_up_to_date() -> None:
    for name, write in DOCS.items():
        assert read(f"docs/{name}") == write(), "run: selvedge contract"
    assert read("mobile_contract/errors.md") == CONTRACT["errors.md"](), "run: selvedge contract"


def test_every_setting_stands_on_its_page_with_its_meaning() -> None:
    rows = [line for line in read("docs/SETTINGS.md").splitlines() if line.startswith(f"| `{PREFIX}")]
    assert [row.split("`")[1] for row in rows] == [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    for row in rows:
        assert row.split("|")[-2].strip() not in ("", "None"), row


def test_every_setting_is_read_by_something() -> None:
    sources = [file.read_text("utf-8") for file in (ROOT / "backend").rglob("*.py")]
    unread = [
        name
        for name in Settings.model_fields
        if not any(re.search(rf"(settings|self)\.{name}\b", text) for text in sources)
    ]
    assert unread == []


def test_every_code_stands_on_its_page() -> None:
    rows = [line for line in read("mobile_contract/errors.md").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [code.value for code in Code]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", *READMES])
def test_every_verb_of_the_command_line_is_named(page: str) -> None:
    verbs = sorted(get_command(app).commands)
    text = read(page)
    assert [verb for verb in verbs if f"selvedge {verb}" not in text] == []


def test_every_verb_of_the_makefile_is_named() -> None:
    verbs = re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE)
    text = read("CONTRIBUTING.md")
    assert {"run", "quick", "test", "lint", "types", "contract", "bench", "check"} <= set(verbs)
    assert [verb for verb in verbs if f"make {verb}" not in text] == []


FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS_OF_SOMEBODY = re.compile(r"[a-z.]+@haizhi\.example")


def test_the_three_readmes_are_short_and_do_the_same() -> None:
    """Each signs in as somebody who reads its language; what is typed is otherwise the same."""
    blocks = [FENCED.findall(read(name)) for name in READMES]
    typed = [
        [ADDRESS_OF_SOMEBODY.sub("somebody", text) for language, text in found if language in ("bash", "python")]
        for found in blocks
    ]
    assert typed[0] == typed[1] == typed[2]
    assert len(typed[0]) >= 4
    assert [language for language, _ in blocks[0]] == [language for language, _ in blocks[1]]
    assert [language for language, _ in blocks[0]] == [language for language, _ in blocks[2]]
    for name in READMES:
        assert len(read(name).splitlines()) <= README_LINES_MAX
        assert all(other in read(name) for other in READMES if other != name)


def test_the_readmes_claim_what_the_table_of_requirements_says() -> None:
    states = Counter(row.state for row in read_rows(ROWS_FILE.read_text("utf-8")))
    for name in READMES:
        claim = next(line for line in read(name).splitlines() if line.startswith("- ") and "56" in line)
        numbers = [int(number) for number in re.findall(r"\d+", claim)]
        assert numbers == [len(NUMBERS), *(states[state] for state in STATES)], claim


OTHER_SETTINGS = {"browser_tests", "small_disk_tests", "write_conversations"}
"""Said to tests, not to the server."""
VERBS: Any = get_command(app)


def shown_verbs(text: str) -> set[tuple[str, ...]]:
    """Command lines of ours on a page: the words after `selvedge`, comments and what follows a pipe left out."""
    lines = re.findall(r"^(?:\$ )?selvedge (.+)$", text, re.MULTILINE) + re.findall(r"`selvedge ([^`\n]+)`", text)
    return {tuple(re.sub(r"\s+#.*|\s[|&].*|\\$", "", line).split()) for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_is_typed_is_taken_and_what_is_named_is_there(page: Path) -> None:
    """Verbs with their options, settings, and files of ours in the running text."""
    text = page.read_text("utf-8")
    for words in shown_verbs(text):
        verb, rest = VERBS, list(words)
        while rest and rest[0] in getattr(verb, "commands", {}):
            verb = verb.commands[rest.pop(0)]
        assert not hasattr(verb, "commands") or not rest or rest[0].startswith("…"), words
        known = {option for given in verb.params for option in (*given.opts, *given.secondary_opts)} | {"--help"}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, words
    named = {name.lower() for name in re.findall(rf"\b{PREFIX}([A-Z][A-Z_]*[A-Z])\b", text)}
    assert named <= set(Settings.model_fields) | OTHER_SETTINGS
    paths = re.findall(r"`((?:backend|deploy|docs|examples|mobile_contract|tests)/[\w./-]+)`", text)
    # those of the worked example are for its reader to make, and one folder is built
    made = ("promises", "backend/web/static")
    assert [path for path in paths if not (ROOT / path).exists() and not any(one in path for one in made)] == []


LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
