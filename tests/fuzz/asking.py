"""Sends requests nobody thought of to a real server, as each role in turn, and tells what may not be answered."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
from argon2 import PasswordHasher

from backend.auth.principal import Role
from backend.config import Settings
from backend.domain.demo.world import make_world
from backend.ids import new_id
from backend.storage.engine import Engine, open_engine
from backend.usecases.demo import load_demo
from tests import factories
from tests.fuzz.drawing import Drawn
from tests.servers import Served, serve

PASSWORD = "correct horse battery staple"
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=1_024, parallelism=1).hash(PASSWORD)
SIGN_IN = """mutation ($email: String!, $password: String!, $device: DeviceInput!) {
  signIn(email: $email, password: $password, device: $device) {
    __typename ... on Session { accessToken } ... on Refusal { problems { code path } }
  }
}"""
TABLES = (
    "customer", "contact", "visit", "sales_order", "task", "territory", "user_account", "device", "style", "sku",
    "attachment", "custom_field", "service", "service_key", "score_run", "sync_issue",
)  # fmt: skip
AT_ONCE = 4
SIGNED_OUT = frozenset({"UNAUTHENTICATED", "TOKEN_EXPIRED", "DEVICE_REVOKED", "DEVICE_WIPED", "DEVICE_DRAINING"})


@dataclass
class Told:
    """What was answered: how often which code, of which fields, and every answer there may not be.

    `run` are the fields that got past every gate: their answer has data.
    """

    cases: int = 0
    asked: set[str] = field(default_factory=set)
    run: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Fuzzed:
    """A served world and its people, one of each role."""

    def __init__(self, served: Served, ids: Sequence[str], people: dict[Role, tuple[str, str]]) -> None:
        self.served = served
        self.ids = ids
        self._people = people
        self._tokens: dict[Role, str] = {}

    async def ask_all(self, requests: Iterable[Drawn], told: Told) -> None:
        """Every request once, the roles in turn, some at once."""
        waiting = asyncio.Semaphore(AT_ONCE)
        roles = list(self._people)

        async def one(place: int, drawn: Drawn) -> None:
            async with waiting:
                await self._ask(roles[place % len(roles)], drawn, told)

        async with asyncio.TaskGroup() as group:
            for place, drawn in enumerate(requests):
                group.create_task(one(place, drawn))

    async def _ask(self, role: Role, drawn: Drawn, told: Told) -> None:
        for _ in range(2):
            token = self._tokens.get(role) or await self._sign_in(role)
            headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
            try:
                body = orjson.dumps(drawn.body)
            except TypeError:
                return  # numbers of more digits than this writer knows
            answer = await self.served.client.post("/graphql", content=body, headers=headers)
            if not SIGNED_OUT & set(codes_of(answer)):
                break
            self._tokens.pop(role, None)
        told.cases += 1
        told.asked.add(drawn.label)
        told.statuses[answer.status_code] += 1
        if has_data(answer):
            told.run.add(drawn.label)
        told.codes.update(codes_of(answer) or ["data"])
        if problem := wrong_with(answer):
            told.wrong.append(f"{drawn.label} as {role}: {problem}\n{drawn.body}\n{answer.text[:600]}")

    async def _sign_in(self, role: Role) -> str:
        user_id, email = self._people[role]
        async with self.served.services.engine.write() as conn:
            # what was asked before may have sent him away, or given him another password or role
            await conn.execute(
                "UPDATE user_account SET active = ?, role = ?, email = ?, password_hash = ? WHERE id = ?",
                True,
                role.value,
                email,
                PASSWORD_HASH,
                user_id,
            )
            await conn.execute("DELETE FROM sign_in_throttle")
        device = {"id": new_id(), "name": "fuzz", "platform": "ANDROID"}
        variables = {"email": email, "password": PASSWORD, "device": device}
        answer = await self.served.ask(SIGN_IN, variables)
        session = answer["data"]["signIn"]
        if "accessToken" not in session:
            # erased, or otherwise gone for good: another of the same role goes on
            async with self.served.services.engine.write() as conn:
                email = f"fuzz-{new_id()}@example.com"
                user_id = await factories.user(conn, email=email, role=role.value, password_hash=PASSWORD_HASH)
            self._people[role] = user_id, email
            session = (await self.served.ask(SIGN_IN, variables | {"email": email}))["data"]["signIn"]
        self._tokens[role] = session["accessToken"]
        return self._tokens[role]


def codes_of(answer: httpx.Response) -> list[str]:
    try:
        errors = answer.json().get("errors", ())
        return [str(error["extensions"]["code"]) for error in errors]
    except (ValueError, KeyError, AttributeError, TypeError):
        return ["unreadable"]


def has_data(answer: httpx.Response) -> bool:
    try:
        return answer.json().get("data") is not None
    except (ValueError, AttributeError):
        return False


def wrong_with(answer: httpx.Response) -> str | None:
    """What may not be answered: a 5xx, a failure of ours, an error without a code, what is no JSON."""
    codes = codes_of(answer)
    if answer.status_code >= 500:
        return f"status {answer.status_code}"
    if "unreadable" in codes:
        return "an answer that cannot be read"
    if "INTERNAL" in codes or '"code":"INTERNAL"' in answer.text:
        return "a failure of ours"
    if answer.headers.get("x-content-type-options") != "nosniff":
        return "a header is missing"
    return None


@asynccontextmanager
async def fuzzed(database_url: str, folder: Path, **changed: Any) -> AsyncIterator[Fuzzed]:
    """The tiny demo world on a fresh database behind a real server, with a colleague of each role."""
    engine = open_engine(database_url)
    await engine.start()
    try:
        await load_demo(engine, make_world("tiny"), password_hash=PASSWORD_HASH, clock=_noon)
        people = await _people(engine)
        ids = await _ids(engine)
    finally:
        await engine.close()
    unlimited = {"user_requests_per_minute": 0, "device_requests_per_minute": 0, **changed}
    async with serve(Settings(database_url=database_url, data_dir=folder / "var", **unlimited)) as served:
        yield Fuzzed(served, ids, people)


def _noon() -> int:
    return 1_795_320_000_000


async def _people(engine: Engine) -> dict[Role, tuple[str, str]]:
    found: dict[Role, tuple[str, str]] = {}
    async with engine.write() as conn:
        for role in Role:
            rows = await conn.fetch("SELECT id, email FROM user_account WHERE role = ? ORDER BY id LIMIT 1", role.value)
            if not rows:
                email = f"fuzz-{role.value.lower()}@example.com"
                rows = [(await factories.user(conn, email=email, role=role.value, password_hash=PASSWORD_HASH), email)]
            found[role] = (str(rows[0][0]), str(rows[0][1]))
    return found


async def _ids(engine: Engine) -> list[str]:
    """Ids of records there are, some of each kind."""
    dice = random.Random(7)
    found: list[str] = []
    async with engine.read() as conn:
        for table in TABLES:
            ids = [str(row[0]) for row in await conn.fetch(f"SELECT id FROM {table} ORDER BY id LIMIT 200")]
            found += dice.sample(ids, min(6, len(ids)))
    return found
