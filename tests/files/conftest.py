"""A small company on a served database, whose people sign in and send files."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.config import Settings
from backend.ids import new_id
from backend.sync.changes import Intent, Outcome
from backend.usecases.contacts import change_contacts, change_customer_contacts
from backend.usecases.customers import change_customers
from backend.usecases.tasks import change_tasks
from backend.usecases.visits import change_visits
from backend.wiring import USE_CASES
from mobile_contract.files import Http, fields_of
from tests.files.pictures import document
from tests.house import House, create
from tests.schema.conftest import PASSWORD, PASSWORD_HASH, SIGN_IN
from tests.servers import Served, serve

CHANGE = USE_CASES["attachments", Intent.CREATE]


on_sqlite = pytest.mark.parametrize("database_source", ["sqlite"], indirect=True)
"""For what no database has a say in."""


async def shop_of(house: House, who: str = "wei") -> str:
    """A customer in the patch of a rep."""
    shop = new_id()
    await house.change(who, change_customers, create(shop, {"nameEn": "Corner Shop", "kind": "RETAILER"}))
    return shop


async def record_of(house: House, collection: str, shop: str, who: str = "wei") -> str:
    """A record of each collection at that customer."""
    if collection == "customers":
        return shop
    record_id = new_id()
    match collection:
        case "visits":
            await house.change(who, change_visits, create(record_id, {"customerId": shop, "plannedAt": house.now_ms}))
        case "tasks":
            await house.change(who, change_tasks, create(record_id, {"customerId": shop, "title": "look"}))
        case "contacts":
            await house.change(who, change_contacts, create(record_id, {"nameEn": "Ann"}))
            link = create(new_id(), {"customerId": shop, "contactId": record_id})
            await house.change(who, change_customer_contacts, link)
        case "orders":
            fields = {"customerId": shop, "currency": "USD", "lines": []}
            await house.change(who, USE_CASES["orders", Intent.CREATE], create(record_id, fields))
    return record_id


async def declare(
    house: House,
    who: str,
    record_id: str,
    data: bytes,
    *,
    collection: str = "visits",
    kind: str = "DOCUMENT",
    mime: str = "application/pdf",
    file_name: str = "a.pdf",
    attachment_id: str | None = None,
    **more: Any,
) -> tuple[str, Outcome]:
    fields = fields_of(
        data, collection=collection, record_id=record_id, kind=kind, file_name=file_name, mime=mime, **more
    )
    attachment_id = attachment_id or new_id()
    (outcome,) = await house.change(who, CHANGE, create(attachment_id, fields))
    return attachment_id, outcome


@dataclass
class Desk:
    """The house, served. `tokens` by name; everybody signs in on the device the house gave him."""

    house: House
    settings: Settings
    served: Served
    tokens: dict[str, str] = field(default_factory=dict)

    async def token(self, who: str) -> str:
        if who not in self.tokens:
            person = self.house.people[who]
            async with self.house.engine.write() as conn:
                await conn.execute(
                    "UPDATE user_account SET password_hash = ? WHERE id = ?", PASSWORD_HASH, person.user_id
                )
            device = {"id": person.device_id, "name": "phone", "platform": "ANDROID"}
            variables = {"email": f"{who}@haizhi.example", "password": PASSWORD, "device": device}
            answer = await self.served.ask(SIGN_IN, variables)
            self.tokens[who] = answer["data"]["signIn"]["accessToken"]
        return self.tokens[who]

    async def ask(self, who: str, method: str, path: str, body: bytes = b"", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["authorization"] = f"Bearer {await self.token(who)}"
        return await self.served.client.request(method, path, content=body, headers=named)

    async def put(
        self,
        who: str,
        attachment_id: str,
        data: bytes,
        start: int = 0,
        end: int | None = None,
        total: int | None = None,
    ) -> httpx.Response:
        """The bytes from `start` to `end` of a file."""
        end = len(data) if end is None else end
        span = f"bytes {start}-{end - 1}/{len(data) if total is None else total}"
        return await self.ask(who, "PUT", f"/files/{attachment_id}", data[start:end], content_range=span)

    async def get(self, who: str, attachment_id: str, tail: str = "", **headers: str) -> httpx.Response:
        return await self.ask(who, "GET", f"/files/{attachment_id}{tail}", **headers)

    async def offset(self, who: str, attachment_id: str) -> int:
        answer = await self.ask(who, "HEAD", f"/files/{attachment_id}")
        assert answer.status_code in (200, 204), answer.status_code
        return int(answer.headers["upload-offset"])

    async def stored(self, who: str, record_id: str, data: bytes, **more: Any) -> str:
        """An attachment with its bytes."""
        attachment_id, outcome = await declare(self.house, who, record_id, data, **more)
        assert outcome.status.value == "APPLIED", outcome
        answer = await self.put(who, attachment_id, data)
        assert answer.json()["state"] == "STORED", answer.text
        return attachment_id

    async def http(self, who: str) -> Http:
        return Http(f"http://127.0.0.1:{self.served.port}", await self.token(who))

    async def row(self, attachment_id: str, *columns: str) -> tuple[Any, ...]:
        return await self.house.row("attachment", attachment_id, *columns)

    def files_kept(self) -> list[str]:
        folder = self.settings.data_dir / "files"
        return sorted(path.name for path in folder.glob("*/*/*") if not path.name.startswith("."))


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["extensions"]["code"])


@pytest.fixture
def file_settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url,
        data_dir=tmp_path / "var",
        file_chunk_bytes_max=200_000,
        photo_bytes_max=2_000_000,
        disk_free_bytes_min=0,
        access_token_seconds=3_600,
        picture_pixels_max=1_000_000,
    )


@pytest.fixture
async def desk(house: House, file_settings: Settings) -> AsyncIterator[Desk]:
    async with serve(file_settings, clock=lambda: house.now_ms) as served:
        yield Desk(house, file_settings, served)


@pytest.fixture
async def visit(house: House) -> str:
    return await record_of(house, "visits", await shop_of(house))


@pytest.fixture
def paper() -> bytes:
    return document(150_000)


async def in_thread(function: Any, *args: Any, **named: Any) -> Any:
    return await asyncio.to_thread(function, *args, **named)
