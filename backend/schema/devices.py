"""How devices stand, what they report of themselves, and giving them up."""

from typing import Annotated

import strawberry

from backend.domain.devices import DeviceState, days_ago
from backend.domain.permissions import Role
from backend.errors import Refused, refuse_if
from backend.reads.selection import PageRequest
from backend.schema.changes import tell
from backend.schema.context import Info
from backend.schema.paging import PageInfo, select_page
from backend.schema.refusals import Refusal, refuse
from backend.schema.scalars import BigInt, Instant
from backend.usecases.devices import DeviceStatus as FoundStatus
from backend.usecases.devices import Report, Wanted, change_device, status_problems, take_report

ID = strawberry.ID
FIRST_DEFAULT = 50


@strawberry.type(description="How a device stands. A moment is null where nothing was ever noted.")
class DeviceStatus:
    id: ID = strawberry.field(description="The device.")
    user_id: ID = strawberry.field(description="Whose it is.")
    user_name: str = strawberry.field(description="The colleague's name.")
    role: Role = strawberry.field(description="What the colleague does.")
    name: str = strawberry.field(description="What its owner calls it.")
    platform: str = strawberry.field(description="Such as ANDROID, IOS or WEB.")
    app_version: str | None = strawberry.field(description="As the app reported it.")
    schema_version: int | None = strawberry.field(description="Version of documents it pulled last.")
    state: DeviceState = strawberry.field(description="What it may do.")
    state_since: Instant | None = strawberry.field(description="When the state was set.")
    state_reason: str | None = strawberry.field(
        description="As given; DRAINED or SILENT when the server set the state itself."
    )
    drain_until: Instant | None = strawberry.field(description="While DRAINING: when it becomes REVOKED.")
    wipe_acknowledged_at: Instant | None = strawberry.field(description="When it said that it holds nothing any more.")
    dropped_at: Instant | None = strawberry.field(description="When it had been silent for too long.")
    created_at: Instant = strawberry.field(description="When it first signed in.")
    last_seen_at: Instant = strawberry.field(description="When it was last heard of.")
    pulled_at: Instant | None = strawberry.field(description="When it last pulled, to the minute.")
    pushed_at: Instant | None = strawberry.field(description="When it last pushed.")
    acked_seq: BigInt = strawberry.field(description="What it has surely seen of the feed, as last noted.")
    acked_mutation: BigInt = strawberry.field(description="The last `clientSeq` that was answered.")
    behind: BigInt | None = strawberry.field(
        description="Steps of the feed's clock it has not surely seen; null when its next pull starts over."
    )
    unsent: int | None = strawberry.field(description="Mutations waiting on it, as it reported.")
    unsent_oldest_at: Instant | None = strawberry.field(description="Since when the oldest of them waits.")
    refused: int | None = strawberry.field(description="Refused work its user has not settled, as it reported.")
    reported_at: Instant | None = strawberry.field(description="When it reported.")
    open_issues: int = strawberry.field(description="Sync issues of this device that are open.")
    clock_offset_ms: BigInt | None = strawberry.field(
        description="By how much its clock is ahead of the server's, in milliseconds."
    )


@strawberry.type(description="A page of devices, the longest silent first.")
class DeviceStatusPage:
    devices: list[DeviceStatus] = strawberry.field(description="The devices.")
    page_info: PageInfo = strawberry.field(description="How to go on: `endCursor` goes into `after`.")
    total_count: int = strawberry.field(description="How many there are in all.")


@strawberry.input(description="Which devices. All that is given must hold.")
class SyncStatusFilter:
    device_id: ID | None = strawberry.field(default=None, description="This very device.")
    user_id: ID | None = strawberry.field(default=None, description="Of this colleague.")
    state: list[DeviceState] | None = strawberry.field(default=None, description="In any of these states.")
    silent_since_days: int | None = strawberry.field(
        default=None, description="Not heard of for so many days, or longer."
    )
    unsent: bool = strawberry.field(default=False, description="With work that was not sent, as they reported.")
    open_issues: bool = strawberry.field(default=False, description="With open sync issues.")


@strawberry.type(description="A device was put into a state, or was in it already.")
class DeviceChanged:
    device: DeviceStatus = strawberry.field(description="The device now.")


@strawberry.type(description="What a device reported was taken.")
class SyncReported:
    noted: bool = strawberry.field(description="False when it had reported a moment ago: nothing was written.")
    device_state: DeviceState = strawberry.field(description="What the device may do.")


@strawberry.type(description="The wipe of a device is acknowledged; nothing more can be had with its tokens.")
class WipeAcknowledged:
    ok: bool = strawberry.field(description="Always true.")


DeviceResult = Annotated[
    DeviceChanged | Refusal, strawberry.union("DeviceResult", description="The device, or why it was not changed.")
]
ReportResult = Annotated[SyncReported | Refusal, strawberry.union("SyncReportResult", description="Taken, or why not.")]
WipeAcknowledgedResult = Annotated[
    WipeAcknowledged | Refusal,
    strawberry.union("WipeAcknowledgedResult", description="Acknowledged, or why not."),
]
DeviceId = Annotated[ID, strawberry.argument(description="The device.")]
Reason = Annotated[str | None, strawberry.argument(description="Why, at most 200 characters.")]


@strawberry.type
class DeviceQueries:
    @strawberry.field(
        description="How devices stand: one's own; for a manager also those of reps below; for service agents and"
        " admins all."
    )
    def sync_status(
        self,
        info: Info,
        filter: Annotated[SyncStatusFilter | None, strawberry.argument(description="Which devices.")] = None,
        first: Annotated[int, strawberry.argument(description="How many.")] = FIRST_DEFAULT,
        after: Annotated[str | None, strawberry.argument(description="`endCursor` of the page before.")] = None,
    ) -> DeviceStatusPage:
        context, given = info.context, filter or SyncStatusFilter()
        wanted = Wanted(given.device_id, given.user_id, tuple(given.state or ()), given.silent_since_days)
        refuse_if(status_problems(wanted, first=first, rows_max=context.settings.page_rows_max))
        silent_days = given.silent_since_days
        return select_page(  # type: ignore[no-any-return]
            info,
            "devices",
            PageRequest(first, after),
            (
                ("id", given.device_id),
                ("userId", given.user_id),
                ("stateIn", given.state or None),
                ("silentSince", None if silent_days is None else days_ago(context.now_ms, silent_days)),
                ("unsent", () if given.unsent else None),
                ("openIssues", () if given.open_issues else None),
            ),
        )


@strawberry.type
class DeviceMutations:
    @strawberry.mutation(
        description="Give a device up gently: for some days it may hand in work captured until now, and reads nothing."
    )
    async def drain_device(self, info: Info, device_id: DeviceId, reason: Reason = None) -> DeviceResult:
        return await _change(info, device_id, DeviceState.DRAINING, reason)

    @strawberry.mutation(description="Give a device up at once, as when it was lost. What it has not sent stays on it.")
    async def revoke_device(self, info: Info, device_id: DeviceId, reason: Reason = None) -> DeviceResult:
        return await _change(info, device_id, DeviceState.REVOKED, reason)

    @strawberry.mutation(
        description="Have a device destroy what it holds the next time it is heard of. This cannot be taken back."
    )
    async def wipe_device(self, info: Info, device_id: DeviceId, reason: Reason = None) -> DeviceResult:
        return await _change(info, device_id, DeviceState.WIPED, reason)

    @strawberry.mutation(
        description="Let a draining or revoked device sync again; a revoked one signs in anew. Not for a wiped one."
    )
    async def reactivate_device(self, info: Info, device_id: DeviceId, reason: Reason = None) -> DeviceResult:
        return await _change(info, device_id, DeviceState.ACTIVE, reason)

    @strawberry.mutation(description="What the device that asks says of itself, for support and its user's manager.")
    async def sync_report(
        self,
        info: Info,
        unsent: Annotated[int, strawberry.argument(description="Mutations not answered yet.")],
        oldest_unsent_at: Annotated[
            Instant | None, strawberry.argument(description="When the oldest of them was captured.")
        ] = None,
        refused: Annotated[int, strawberry.argument(description="Refused work its user has not settled.")] = 0,
        app_version: Annotated[
            str | None, strawberry.argument(description="Version of the app, at most 40 characters.")
        ] = None,
    ) -> ReportResult:
        context = info.context
        report = Report(unsent, oldest_unsent_at, refused, app_version)
        try:
            noted, state = await take_report(
                context.engine, context.caller, report, settings=context.settings, clock=context.clock
            )
        except Refused as refused_report:
            return refuse(info, refused_report)
        return SyncReported(noted=noted, device_state=DeviceState(state))

    @strawberry.mutation(
        description="A wiped device holds nothing any more. Proved by a refresh token it had; may be repeated."
    )
    async def acknowledge_wipe(
        self,
        info: Info,
        refresh_token: Annotated[str, strawberry.argument(description="Any refresh token the device had.")],
        unsent: Annotated[int, strawberry.argument(description="Mutations that were lost with it.")] = 0,
    ) -> WipeAcknowledgedResult:
        try:
            await info.context.sessions.acknowledge_wipe(refresh_token, unsent)
        except Refused as refused:
            return refuse(info, refused)
        return WipeAcknowledged(ok=True)


async def _change(info: Info, device_id: str, state: DeviceState, reason: str | None) -> DeviceChanged | Refusal:
    days = info.context.settings.device_drain_days
    try:
        changed = await tell(
            info.context, lambda work: change_device(work, device_id, state, reason=reason, drain_days=days)
        )
    except Refused as refused:
        return refuse(info, refused)
    return DeviceChanged(device=_shown(changed))


def _shown(found: FoundStatus) -> DeviceStatus:
    return DeviceStatus(
        id=ID(found.id),
        user_id=ID(found.user_id),
        user_name=found.user_name,
        role=Role(found.role),
        name=found.name,
        platform=found.platform,
        app_version=found.app_version,
        schema_version=found.schema_version,
        state=found.state,
        state_since=_instant(found.state_since_ms),
        state_reason=found.state_reason,
        drain_until=_instant(found.drain_until_ms),
        wipe_acknowledged_at=_instant(found.wipe_acked_at_ms),
        dropped_at=_instant(found.dropped_at_ms),
        created_at=Instant(found.created_at_ms),
        last_seen_at=Instant(found.last_seen_at_ms),
        pulled_at=_instant(found.pulled_at_ms),
        pushed_at=_instant(found.pushed_at_ms),
        acked_seq=BigInt(found.acked_seq),
        acked_mutation=BigInt(found.acked_mutation),
        behind=None if found.behind is None else BigInt(found.behind),
        unsent=found.unsent,
        unsent_oldest_at=_instant(found.unsent_oldest_at_ms),
        refused=found.refused,
        reported_at=_instant(found.reported_at_ms),
        open_issues=found.open_issues,
        clock_offset_ms=None if found.clock_offset_ms is None else BigInt(found.clock_offset_ms),
    )


def _instant(at_ms: int | None) -> Instant | None:
    return None if at_ms is None else Instant(at_ms)
