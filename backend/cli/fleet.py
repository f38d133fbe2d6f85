"""Devices: how they stand, giving them up, and taking work from one that can no longer send it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from backend.auth.keys import load_rescue_keys
from backend.cli.terminal import (
    OPERATOR_PRINCIPAL,
    Database,
    Yes,
    bring_up,
    by_operator,
    check_present,
    say,
    settings_from,
    show_problems,
)
from backend.clock import wall_clock_ms
from backend.config import Settings, load_messages
from backend.domain.devices import DeviceState
from backend.domain.messages import LOCALE_DEFAULT, LOCALES, render_problem
from backend.domain.times import instant_text
from backend.errors import BadSetting, Code, Problem, Refused
from backend.storage.engine import open_engine
from backend.sync.push import UNNUMBERED, Answer, Mutation
from backend.sync.rescue import Owner, Rescue, open_rescue, owner_of, play_rescue
from backend.sync.work import Work
from backend.usecases.devices import DeviceStatus, StatusPage, Wanted, change_device, sync_status
from backend.wiring import open_services

DEVICE_REFUSED = 1
RESCUE_REFUSED = 1
DEVICES_SHOWN = 50
devices = typer.Typer(
    help="See how devices stand, and give them up.",
    no_args_is_help=True,
    epilog="Example: selvedge devices list --silent-days 14",
)
DeviceId = Annotated[str, typer.Argument(help="The device's id, as `selvedge devices list` shows it.")]
Reason = Annotated[str | None, typer.Option(help="Why; kept with the state.")]
verbs = typer.Typer()


@devices.command("list", epilog="Example: selvedge devices list --silent-days 14")
def devices_list(
    user_id: Annotated[str | None, typer.Option("--user", help="Id of a colleague.")] = None,
    state: Annotated[list[str] | None, typer.Option(help=f"Any of {', '.join(DeviceState)}; repeated.")] = None,
    silent_days: Annotated[int | None, typer.Option(help="Not heard of for so many days.")] = None,
    unsent: Annotated[bool, typer.Option("--unsent", help="With work that was not sent, as they reported.")] = False,
    issues: Annotated[bool, typer.Option("--issues", help="With open sync issues.")] = False,
    first: Annotated[int, typer.Option(min=1, help="How many.")] = DEVICES_SHOWN,
    database: Database = None,
) -> None:
    """Show how devices stand, the longest silent first."""
    settings = settings_from(database_url=database)
    check_present(settings)
    wrong = set(state or ()) - set(DeviceState)
    if wrong:
        raise BadSetting(f"--state: {', '.join(sorted(wrong))}; wanted: {', '.join(DeviceState)}")
    wanted = Wanted(
        user_id=user_id,
        states=tuple(DeviceState(one) for one in state or ()),
        silent_days=silent_days,
        unsent=unsent,
        issues=issues,
    )
    try:
        page = asyncio.run(_devices(settings, wanted, first))
    except Refused as refused:
        show_problems(refused)
        raise typer.Exit(DEVICE_REFUSED) from None
    _show_devices(page)


async def _devices(settings: Settings, wanted: Wanted, first: int) -> StatusPage:
    engine = open_engine(settings.database_url, pool_connections_max=1)
    await engine.start()
    try:
        async with engine.read() as conn:
            return await sync_status(
                conn,
                OPERATOR_PRINCIPAL,
                wanted,
                first=first,
                after=None,
                now_ms=wall_clock_ms(),
                rows_max=max(first, settings.page_rows_max),
            )
    finally:
        await engine.close()


def _show_devices(page: StatusPage) -> None:
    for one in page.devices:
        behind = "starts over" if one.behind is None else f"{one.behind:,} steps behind"
        waiting = "" if one.unsent is None else f", {one.unsent:,} unsent"
        since = "" if one.unsent_oldest_at_ms is None else f" since {instant_text(one.unsent_oldest_at_ms)}"
        refused = f", {one.open_issues:,} open issues" if one.open_issues else ""
        wiped = f", wipe acknowledged {instant_text(one.wipe_acked_at_ms)}" if one.wipe_acked_at_ms else ""
        say.print(
            f"{one.id}  {one.state.value:9}{escape(one.user_name)}, {escape(one.name)} ({escape(one.platform)}"
            f"{' ' + escape(one.app_version) if one.app_version else ''}): seen {instant_text(one.last_seen_at_ms)},"
            f" {behind}{waiting}{since}{refused}{wiped}",
            soft_wrap=True,
        )
    say.print(f"{len(page.devices):,} of {page.total:,}")


@devices.command("drain", epilog="Example: selvedge devices drain 01890a5d-ac96-774b-bcce-b302099a8057")
def devices_drain(device_id: DeviceId, reason: Reason = None, database: Database = None) -> None:
    """Let a device hand in work captured until now, for some days, and read nothing more."""
    _change_device(database, device_id, DeviceState.DRAINING, reason)


@devices.command("revoke", epilog="Example: selvedge devices revoke 01890a5d-ac96-774b-bcce-b302099a8057 --reason lost")
def devices_revoke(device_id: DeviceId, reason: Reason = None, database: Database = None) -> None:
    """Give a device up at once."""
    _change_device(database, device_id, DeviceState.REVOKED, reason)


@devices.command("wipe", epilog="Example: selvedge devices wipe 01890a5d-ac96-774b-bcce-b302099a8057 --reason stolen")
def devices_wipe(device_id: DeviceId, reason: Reason = None, yes: Yes = False, database: Database = None) -> None:
    """Have a device destroy what it holds the next time it is heard of; this cannot be taken back."""
    if not yes:
        typer.confirm("What the device has not sent is lost. Wipe it?", abort=True)
    _change_device(database, device_id, DeviceState.WIPED, reason)


@devices.command("reactivate", epilog="Example: selvedge devices reactivate 01890a5d-ac96-774b-bcce-b302099a8057")
def devices_reactivate(device_id: DeviceId, reason: Reason = None, database: Database = None) -> None:
    """Let a draining or revoked device sync again."""
    _change_device(database, device_id, DeviceState.ACTIVE, reason)


def _change_device(database: str | None, device_id: str, state: DeviceState, reason: str | None) -> None:
    settings = settings_from(database_url=database)
    check_present(settings)

    async def story(work: Work) -> DeviceStatus:
        return await change_device(work, device_id, state, reason=reason, drain_days=settings.device_drain_days)

    try:
        changed = asyncio.run(by_operator(settings, story))
    except Refused as refused:
        show_problems(refused)
        raise typer.Exit(DEVICE_REFUSED) from None
    say.print(f"{changed.id} of {escape(changed.user_name)} is {changed.state.value}", soft_wrap=True)


@verbs.command(epilog="Example: selvedge rescue li-na.rescue --dry-run")
def rescue(
    file: Annotated[Path, typer.Argument(help="A rescue file that a device wrote.", exists=True, dir_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would happen.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before writing.")] = False,
    locale: Annotated[str, typer.Option(help=f"Language of the reasons: {', '.join(LOCALES)}.")] = LOCALE_DEFAULT,
    database: Database = None,
) -> None:
    """Take work from a device that can no longer send it, as its own; what it sent already is not taken twice."""
    settings = settings_from(database_url=database)
    bring_up(settings)
    try:
        if file.stat().st_size > settings.rescue_bytes_max:
            raise Refused(Problem(Code.TOO_LARGE, ("file",), (str(settings.rescue_bytes_max),)))
        found = open_rescue(
            file.read_bytes(),
            load_rescue_keys(settings.data_dir),
            bytes_max=settings.rescue_bytes_max,
            mutations_max=settings.rescue_mutations_max,
        )
        played = asyncio.run(_rescue(settings, found, dry_run=dry_run, yes=yes))
    except Refused as refused:
        show_problems(refused, locale)
        raise typer.Exit(RESCUE_REFUSED) from None
    _show_rescued(played, locale)
    if dry_run:
        say.print("a dry run: nothing was written")


async def _rescue(settings: Settings, found: Rescue, *, dry_run: bool, yes: bool) -> list[tuple[Mutation, Answer]]:
    async with open_services(settings) as services:
        async with services.engine.read() as conn:
            owner = await owner_of(conn, found)
        _show_owner(found, owner)
        if not (dry_run or yes):
            typer.confirm("Take this work as theirs?", abort=True)
        return await play_rescue(
            services.engine,
            found,
            services.use_cases,
            clock=services.clock,
            retries_max=settings.write_retries_max,
            chunk_max=settings.push_mutations_max,
            dry_run=dry_run,
        )


def _show_owner(found: Rescue, owner: Owner) -> None:
    active = "" if owner.active else ", who works here no more"
    say.print(f"work of  {escape(owner.name)} <{escape(owner.email)}>, {owner.role.value}{active}", soft_wrap=True)
    say.print(f"device   {escape(owner.device_name)}, {owner.state}, {owner.device_id}", soft_wrap=True)
    say.print(f"written  {instant_text(found.made_at_ms)} by its own clock")
    say.print(f"holds    {len(found.queue):,} mutations; answered before: up to number {owner.last_client_seq:,}")


def _show_rescued(played: Sequence[tuple[Mutation, Answer]], locale: str) -> None:
    messages = load_messages()
    shown = Table("number", "collection", "intent", "record", "outcome", "why", box=None)
    for mutation, answer in played:
        why = " ".join(render_problem(messages, problem, locale) for problem in answer.problems)
        number = "" if mutation.client_seq == UNNUMBERED else str(mutation.client_seq)
        shown.add_row(
            number,
            escape(mutation.collection),
            mutation.intent.value,
            escape(mutation.record_id),
            answer.status.value,
            escape(why),
        )
    say.print(shown)
    counted = Counter(answer.status.value for _, answer in played)
    say.print(", ".join(f"{count:,} {status}" for status, count in sorted(counted.items())) or "nothing to take")
