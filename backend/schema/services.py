"""Services: other systems that ask in their own name, and the keys they ask with."""

from typing import Annotated

import strawberry

from backend.domain.permissions import SERVICE_RIGHTS
from backend.errors import Refused
from backend.schema.changes import tell
from backend.schema.context import Info
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import Instant
from backend.usecases.services import (
    REQUESTS_PER_MINUTE_DEFAULT,
    KeyShown,
    ServiceGiven,
    ServiceShown,
    add_key,
    change_service,
    create_service,
    read_services,
    revoke_key,
)

ID = strawberry.ID
RIGHTS_TEXT = ", ".join(SERVICE_RIGHTS)


@strawberry.type(description="A key of a service, without its secret.")
class ServiceKey:
    id: ID = strawberry.field(description="Its id, which is part of the key.")
    name: str = strawberry.field(description="What it is for.")
    created_at: Instant = strawberry.field(description="When it was made.")
    expires_at: Instant | None = strawberry.field(description="Worth nothing from then on; null for never.")
    revoked_at: Instant | None = strawberry.field(description="When it was revoked.")
    last_used_at: Instant | None = strawberry.field(description="When it was last used, to the minute.")


@strawberry.type(description="Another system that asks in its own name.")
class Service:
    id: ID = strawberry.field(description="The id; the audit names the service by it.")
    name: str = strawberry.field(description="What it is called.")
    rights: list[str] = strawberry.field(description=f"What it may do, of: {RIGHTS_TEXT}.")
    everywhere: bool = strawberry.field(description="It works in every territory, and with what stands in none.")
    territory_ids: list[ID] = strawberry.field(description="Otherwise: the nodes it works in, with all below.")
    locale: str = strawberry.field(description="The language it is answered in.")
    requests_per_minute: int = strawberry.field(description="How often it may ask.")
    active: bool = strawberry.field(description="False: none of its keys is taken.")
    created_at: Instant = strawberry.field(description="When it was made.")
    keys: list[ServiceKey] = strawberry.field(description="Its keys, oldest first.")


@strawberry.input(description="A service as it should be.")
class ServiceInput:
    name: str = strawberry.field(description="What it is called, at most 80 characters; no two are called the same.")
    rights: list[str] = strawberry.field(description=f"What it may do, of: {RIGHTS_TEXT}.")
    everywhere: bool = strawberry.field(default=False, description="Every territory, and what stands in none.")
    territory_ids: list[ID] = strawberry.field(default_factory=list, description="Otherwise: nodes of the tree.")
    locale: str = strawberry.field(default="en", description="en, zh-CN or ko.")
    requests_per_minute: int = strawberry.field(
        default=REQUESTS_PER_MINUTE_DEFAULT, description="How often it may ask."
    )
    active: bool = strawberry.field(default=True, description="False: none of its keys is taken.")


@strawberry.type(description="The service as it is now.")
class ServiceSaved:
    service: Service = strawberry.field(description="The service.")


@strawberry.type(description="A key was made.")
class ServiceKeyMade:
    key: ServiceKey = strawberry.field(description="The key.")
    secret: str = strawberry.field(
        description="The whole key, told this once: goes into each request as `Authorization: Bearer …`."
    )


@strawberry.type(description="A key was revoked.")
class ServiceKeyRevoked:
    key: ServiceKey = strawberry.field(description="The key.")


ServiceResult = Annotated[
    ServiceSaved | Refusal, strawberry.union("ServiceResult", description="The service, or why nothing was changed.")
]
ServiceKeyResult = Annotated[
    ServiceKeyMade | Refusal, strawberry.union("ServiceKeyResult", description="The key, or why none was made.")
]
ServiceKeyRevokedResult = Annotated[
    ServiceKeyRevoked | Refusal,
    strawberry.union("ServiceKeyRevokedResult", description="The key, or why it was not revoked."),
]
InputArgument = Annotated[ServiceInput, strawberry.argument(description="The service.")]
ServiceArgument = Annotated[ID, strawberry.argument(description="Which service.")]


@strawberry.type
class ServiceQueries:
    @strawberry.field(description="Every service with its keys, by name. For admins.")
    async def services(self, info: Info) -> list[Service]:
        context = info.context
        caller = context.caller
        async with context.engine.read() as conn:
            return [_shown(found) for found in await read_services(conn, caller)]


@strawberry.type
class ServiceMutations:
    @strawberry.mutation(description="Add a service. It has no key yet. For admins.")
    async def create_service(self, info: Info, input: InputArgument) -> ServiceResult:
        try:
            service_id = await tell(info.context, lambda work: create_service(work, _given(input)))
            return await _saved(info, service_id)
        except Refused as refused:
            return refuse(info, refused)

    @strawberry.mutation(
        description="Make a service what the input says; it holds for all its keys within a second. For admins."
    )
    async def update_service(self, info: Info, id: ServiceArgument, input: InputArgument) -> ServiceResult:
        try:
            await tell(info.context, lambda work: change_service(work, id, _given(input)))
            return await _saved(info, id)
        except Refused as refused:
            return refuse(info, refused)

    @strawberry.mutation(
        description="A further key of a service. To exchange one, make the new key, use it, then revoke the old."
        " For admins."
    )
    async def add_service_key(
        self,
        info: Info,
        service_id: ServiceArgument,
        name: Annotated[str, strawberry.argument(description="What it is for, at most 80 characters.")],
        days: Annotated[
            int | None, strawberry.argument(description="Days until it expires; without, it never does.")
        ] = None,
    ) -> ServiceKeyResult:
        try:
            made = await tell(info.context, lambda work: add_key(work, service_id, name, days=days))
        except Refused as refused:
            return refuse(info, refused)
        return ServiceKeyMade(key=_key(made.shown), secret=made.text)

    @strawberry.mutation(description="A key is worth nothing from now on, everywhere within a second. For admins.")
    async def revoke_service_key(
        self, info: Info, key_id: Annotated[ID, strawberry.argument(description="Which key.")]
    ) -> ServiceKeyRevokedResult:
        try:
            return ServiceKeyRevoked(key=_key(await tell(info.context, lambda work: revoke_key(work, key_id))))
        except Refused as refused:
            return refuse(info, refused)


async def _saved(info: Info, service_id: str) -> ServiceSaved:
    context = info.context
    async with context.engine.read() as conn:
        (found,) = await read_services(conn, context.caller, service_id=service_id)
    return ServiceSaved(service=_shown(found))


def _given(input: ServiceInput) -> ServiceGiven:
    return ServiceGiven(
        name=input.name,
        rights=tuple(input.rights),
        everywhere=input.everywhere,
        territory_ids=tuple(input.territory_ids),
        locale=input.locale,
        requests_per_minute=input.requests_per_minute,
        active=input.active,
    )


def _shown(found: ServiceShown) -> Service:
    return Service(
        id=ID(found.id),
        name=found.name,
        rights=list(found.rights),
        everywhere=found.everywhere,
        territory_ids=[ID(node) for node in found.territory_ids],
        locale=found.locale,
        requests_per_minute=found.requests_per_minute,
        active=found.active,
        created_at=Instant(found.created_at_ms),
        keys=[_key(key) for key in found.keys],
    )


def _key(found: KeyShown) -> ServiceKey:
    return ServiceKey(
        id=ID(found.id),
        name=found.name,
        created_at=Instant(found.created_at_ms),
        expires_at=_instant(found.expires_at_ms),
        revoked_at=_instant(found.revoked_at_ms),
        last_used_at=_instant(found.last_used_at_ms),
    )


def _instant(at_ms: int | None) -> Instant | None:
    return None if at_ms is None else Instant(at_ms)
