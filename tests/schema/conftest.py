"""A server on a fresh database, with a rep who can sign in."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from backend.config import Settings
from backend.ids import new_id
from backend.storage.engine import open_engine
from tests import factories
from tests.clocks import HandClock
from tests.servers import JsonObject, Served, serve

PASSWORD = "demo"
PASSWORD_HASH = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(PASSWORD)
SIGN_IN = """
mutation ($email: String!, $password: String!, $device: DeviceInput!) {
  signIn(email: $email, password: $password, device: $device) {
    __typename
    ... on Session { accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt userId deviceId deviceState }
    ... on Refusal { problems { code message path allowed retry } }
  }
}
"""


@dataclass
class Door:
    """A served database and the rep who may come in."""

    served: Served
    clock: HandClock
    user_id: str
    email: str

    async def sign_in(self, *, device_id: str | None = None, password: str = PASSWORD, **headers: str) -> JsonObject:
        device = {"id": device_id or new_id(), "name": "Min's phone", "platform": "ANDROID"}
        variables = {"email": self.email, "password": password, "device": device}
        answer = await self.served.ask(SIGN_IN, variables, **headers)
        found: JsonObject = answer["data"]["signIn"]
        return found

    async def execute(self, sql: str, *args: object) -> None:
        async with self.served.services.engine.write() as conn:
            await conn.execute(sql, *args)


@pytest.fixture
def server_settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, data_dir=tmp_path / "var")


@pytest.fixture
async def door(server_settings: Settings) -> AsyncIterator[Door]:
    engine = open_engine(server_settings.database_url)
    await engine.start()
    async with engine.write() as conn:
        user_id = await factories.user(conn, email="min@example.com", locale="ko", password_hash=PASSWORD_HASH)
    await engine.close()
    clock = HandClock()
    async with serve(server_settings, clock=clock) as served:
        yield Door(served, clock, user_id, "min@example.com")
