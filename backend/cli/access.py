"""Who gets in: the keys that sign, services and their keys, a forgotten password."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.markup import escape

from backend.auth.keys import KeyRing, load_keys
from backend.cli.terminal import Database, Yes, by_operator, check_present, say, settings_from, show_problems
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.domain.messages import LOCALE_DEFAULT
from backend.domain.permissions import SERVICE_RIGHTS
from backend.domain.times import instant_text
from backend.errors import Code, Problem, Refused
from backend.storage.accounts import find_account
from backend.storage.keys import KeyState, list_keys, signer_of
from backend.sync.work import Work
from backend.usecases.keys import retire_key, rotate_keys
from backend.usecases.services import (
    REQUESTS_PER_MINUTE_DEFAULT,
    NewKey,
    ServiceGiven,
    ServiceShown,
    add_key,
    change_service,
    create_service,
    read_services,
    revoke_key,
)
from backend.usecases.sessions import begin_reset

T = TypeVar("T")
ACCESS_REFUSED = 1
keys = typer.Typer(
    help="The keys that access tokens are signed with.",
    no_args_is_help=True,
    epilog="Example: selvedge keys rotate",
)
services = typer.Typer(
    help="Other systems that ask in their own name.",
    no_args_is_help=True,
    epilog="Example: selvedge service add web-shop --right read:customers --right write:orders --everywhere",
)
verbs = typer.Typer()
ServiceName = Annotated[str, typer.Argument(help="What the service is called.")]
Rights = Annotated[list[str], typer.Option("--right", help=f"Any of {', '.join(SERVICE_RIGHTS)}; repeated.")]
Everywhere = Annotated[bool, typer.Option("--everywhere", help="In every territory, and with what stands in none.")]
Nodes = Annotated[list[str] | None, typer.Option("--territory", help="Path of a node, such as /cn/east; repeated.")]
PerMinute = Annotated[int, typer.Option("--per-minute", help="How often it may ask.")]


@keys.command("list", epilog="Example: selvedge keys list")
def keys_list(database: Database = None) -> None:
    """Show the signing keys: which one signs, which come, which are still trusted."""
    settings = settings_from(database_url=database)
    found = _tell(settings, lambda work: list_keys(work.conn))
    now_ms = wall_clock_ms()
    signer = signer_of(found, now_ms)
    for key in found:
        until = "" if key.retired_at_ms is None else f", until {instant_text(key.retired_at_ms)}"
        say.print(
            f"{key.kid}  {key.role_at(now_ms, signer):8} from {instant_text(key.signs_from_ms)}{until}", soft_wrap=True
        )
    if not found:
        say.print("no key yet: the first server that starts makes one")


@keys.command("rotate", epilog="Example: selvedge keys rotate   (every few months, from cron or a timer)")
def keys_rotate(database: Database = None) -> None:
    """Publish a new key and sign with it a little later; what the old one signed stays good until it runs out."""
    settings = settings_from(database_url=database)
    root = settings.root_secret.get_secret_value() if settings.root_secret else None
    ring = KeyRing(load_keys(settings.data_dir, root))

    async def story(work: Work) -> KeyState:
        return await rotate_keys(
            work,
            ring,
            overlap_seconds=settings.key_overlap_seconds,
            token_seconds=settings.access_token_seconds,
        )

    made = _tell(settings, story)
    say.print(
        f"{made.kid} signs from {instant_text(made.signs_from_ms)}; no server has to be restarted", soft_wrap=True
    )


@keys.command("retire", epilog="Example: selvedge keys retire 5d1c9b0a1f2e3d4c --now")
def keys_retire(
    kid: Annotated[str, typer.Argument(help="The key, as `selvedge keys list` shows it.")],
    at_once: Annotated[bool, typer.Option("--now", help="Even the one in use, as after a theft.")] = False,
    database: Database = None,
) -> None:
    """Trust a key no more, within a second and everywhere; devices go on with their refresh tokens."""
    settings = settings_from(database_url=database)
    retired = _tell(settings, lambda work: retire_key(work, kid, at_once=at_once))
    say.print(f"{retired.kid} is retired")


@services.command("list", epilog="Example: selvedge service list")
def services_list(database: Database = None) -> None:
    """Show services, what they may do, and their keys."""
    settings = settings_from(database_url=database)
    for one in _tell(settings, lambda work: read_services(work.conn, None)):
        where = "everywhere" if one.everywhere else f"{len(one.territory_ids)} territories"
        state = "" if one.active else ", let out"
        say.print(
            f"[bold]{escape(one.name)}[/bold]  {where}, {one.requests_per_minute:,} a minute{state}:"
            f" {', '.join(one.rights)}",
            soft_wrap=True,
        )
        for key in one.keys:
            ends = "" if key.expires_at_ms is None else f", until {instant_text(key.expires_at_ms)}"
            used = "never used" if key.last_used_at_ms is None else f"used {instant_text(key.last_used_at_ms)}"
            gone = "" if key.revoked_at_ms is None else ", revoked"
            say.print(f"  {key.id}  {escape(key.name)}: {used}{ends}{gone}", soft_wrap=True)


@services.command(
    "add", epilog="Example: selvedge service add erp --right read:orders --right write:orders --everywhere"
)
def services_add(
    name: ServiceName,
    right: Rights,
    everywhere: Everywhere = False,
    territory: Nodes = None,
    per_minute: PerMinute = REQUESTS_PER_MINUTE_DEFAULT,
    database: Database = None,
) -> None:
    """Add a service. It can ask once it has a key: `selvedge service key NAME`."""
    settings = settings_from(database_url=database)

    async def story(work: Work) -> str:
        nodes = await _nodes(work, territory or [])
        return await create_service(work, ServiceGiven(name, right, everywhere, nodes, LOCALE_DEFAULT, per_minute))

    say.print(f"added {escape(name)}, id {_tell(settings, story)}", soft_wrap=True)


@services.command("key", epilog="Example: selvedge service key erp --name 'May 2026' --days 400")
def services_key(
    name: ServiceName,
    key_name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "key",
    days: Annotated[int | None, typer.Option(help="Days until it expires; without, it never does.")] = None,
    database: Database = None,
) -> None:
    """Make a further key of a service and show it, this once."""
    settings = settings_from(database_url=database)

    async def story(work: Work) -> NewKey:
        return await add_key(work, (await _named(work, name)).id, key_name, days=days)

    made = _tell(settings, story)
    say.print(f"key {made.shown.id} of {escape(name)}; it is shown this once:", soft_wrap=True)
    say.print(made.text, soft_wrap=True)


@services.command("revoke", epilog="Example: selvedge service revoke 01890a5d-ac96-774b-bcce-b302099a8057")
def services_revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `selvedge service list` shows it.")],
    database: Database = None,
) -> None:
    """A key is worth nothing from now on."""
    settings = settings_from(database_url=database)
    revoked = _tell(settings, lambda work: revoke_key(work, key_id))
    say.print(f"{revoked.id} is revoked")


@services.command("off", epilog="Example: selvedge service off web-shop --yes")
def services_off(name: ServiceName, yes: Yes = False, database: Database = None) -> None:
    """Let a service out: none of its keys is taken any more."""
    settings = settings_from(database_url=database)
    if not yes:
        typer.confirm("Whatever asks with its keys stops working. Let it out?", abort=True)

    async def story(work: Work) -> None:
        one = await _named(work, name)
        given = ServiceGiven(
            one.name, one.rights, one.everywhere, one.territory_ids, one.locale, one.requests_per_minute, active=False
        )
        await change_service(work, one.id, given)

    _tell(settings, story)
    say.print(f"{escape(name)} is let out")


@verbs.command("reset-password", epilog="Example: selvedge reset-password li.na@example.com")
def reset_password(
    email: Annotated[str, typer.Argument(help="What the colleague signs in with.")], database: Database = None
) -> None:
    """Make a one-time token with which a colleague sets a new password; every sign-in of his ends when he does."""
    settings = settings_from(database_url=database)

    async def story(work: Work) -> str:
        account = await find_account(work.conn, email)
        if account is None:
            raise Refused(Problem(Code.NOT_FOUND, ("email",)))
        return await begin_reset(work, account.id, hours=settings.password_reset_hours)

    token = _tell(settings, story)
    say.print(
        f"hand this to {escape(email)}; it is good for {settings.password_reset_hours} hours, once:", soft_wrap=True
    )
    say.print(token, soft_wrap=True)


def _tell(settings: Settings, story: Callable[[Work], Awaitable[T]]) -> T:
    check_present(settings)
    try:
        return asyncio.run(by_operator(settings, story))
    except Refused as refused:
        show_problems(refused)
        raise typer.Exit(ACCESS_REFUSED) from None


async def _named(work: Work, name: str) -> ServiceShown:
    for one in await read_services(work.conn, None):
        if one.name == name:
            return one
    raise Refused(Problem(Code.NOT_FOUND, ("name",)))


async def _nodes(work: Work, paths: list[str]) -> list[str]:
    rows = await work.conn.fetch("SELECT id FROM territory WHERE path = ANY(?)", sorted(set(paths)))
    if len(rows) != len(set(paths)):
        raise Refused(Problem(Code.NOT_FOUND, ("territory",)))
    return [row[0] for row in rows]
