"""How an organisation begins: the shape of its database, a demo company, the first colleagues."""

import asyncio
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.auth.passwords import Passwords
from backend.auth.principal import Role
from backend.cli.scoring import score_customers
from backend.cli.terminal import OPERATOR_PRINCIPAL, Database, bring_up, complain, say, settings_from, show_problems
from backend.clock import wall_clock_ms
from backend.config import Settings
from backend.domain.demo.frame import PROFILES
from backend.domain.demo.world import SEED, SignIn, World
from backend.domain.messages import LOCALE_DEFAULT, LOCALES
from backend.domain.times import local_day, parse_day
from backend.errors import BadSetting, Refused
from backend.storage.engine import open_engine
from backend.sync.changes import Intent
from backend.sync.work import Door, Work, in_work
from backend.usecases.demo import PASSWORD, sign_ins_of
from backend.usecases.demo import ensure_demo as build_demo
from backend.usecases.demo_files import hang_demo_files
from backend.usecases.matches import keep_match_keys, queue_matches
from backend.usecases.people import create_user
from backend.wiring import USE_CASES, open_file_service, open_services

DATABASE_NOT_EMPTY = 1
USER_REFUSED = 1
verbs = typer.Typer()


@verbs.command(epilog="Example: selvedge migrate --database postgres://selvedge@127.0.0.1:5432/selvedge")
def migrate(database: Database = None) -> None:
    """Bring the database to the present shape; harmless when it is there already."""
    steps = bring_up(settings_from(database_url=database))
    for step in steps:
        say.print(f"applied {escape(step)}", soft_wrap=True)
    if not steps:
        say.print("nothing to apply")


@verbs.command(epilog="Example: selvedge demo --profile tiny --database sqlite://var/tiny.sqlite3")
def demo(
    profile: Annotated[str, typer.Option(help=f"How large: {', '.join(PROFILES)}.")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other customers and orders.")] = SEED,
    as_of: Annotated[str | None, typer.Option(help="The day it is made for, YYYY-MM-DD, else today.")] = None,
    database: Database = None,
) -> None:
    """Build the demo company in an empty database: people, customers, two years of visits and orders."""
    settings = settings_from(database_url=database)
    if profile not in PROFILES:
        raise BadSetting(f"--profile: {profile!r}; wanted: one of {', '.join(PROFILES)}")
    try:
        day = None if as_of is None else parse_day(as_of)
    except Refused:
        raise BadSetting(f"--as-of: {as_of!r}; wanted: a day as YYYY-MM-DD") from None
    bring_up(settings)
    if not ensure_demo(settings, profile=profile, seed=seed, as_of_day=day):
        complain.print("the database is not empty: the demo company needs one of its own (--database)")
        raise typer.Exit(DATABASE_NOT_EMPTY)


def ensure_demo(settings: Settings, *, profile: str = "demo", seed: int = SEED, as_of_day: str | None = None) -> bool:
    """Build the demo company where the (migrated) database is empty; says so, and shows the sign-ins there are.

    False, with nothing changed, where the database holds anything.
    """
    day = as_of_day or local_day(wall_clock_ms(), settings.organisation_timezone)
    columns = (TextColumn("building the demo company"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=say, transient=True) as bar:
        shown = bar.add_task("rows", total=None, visible=False)

        def tell(_doing: str, done: int, of: int) -> None:
            bar.update(shown, completed=done, total=of, visible=True)

        async def build() -> tuple[World | None, list[SignIn]]:
            engine = open_engine(settings.database_url, pool_connections_max=1)
            passwords = Passwords(workers=1)
            await engine.start()
            try:
                world = await build_demo(
                    engine,
                    profile=profile,
                    seed=seed,
                    as_of_day=day,
                    password_hash=await passwords.hash(PASSWORD),
                    clock=wall_clock_ms,
                    progress=tell,
                )
                if world is not None:
                    retries_max = settings.write_retries_max
                    for look in (keep_match_keys, queue_matches):
                        await look(engine, OPERATOR_PRINCIPAL, clock=wall_clock_ms, retries_max=retries_max)
                    files = open_file_service(settings, engine, wall_clock_ms)
                    try:
                        change = USE_CASES["attachments", Intent.CREATE]
                        await hang_demo_files(engine, change, files.send, clock=wall_clock_ms)
                    finally:
                        await files.close()
                return world, await sign_ins_of(engine)
            finally:
                passwords.close()
                await engine.close()

        world, sign_ins = asyncio.run(build())
    if world is not None:
        rows_n = sum(len(table) for table in world.tables)
        say.print(
            f"built the demo company: profile {profile}, seed {seed}, as of {day}, {rows_n:,} rows", soft_wrap=True
        )
        summary, _ = asyncio.run(score_customers(settings, day, None))
        say.print(f"scored {summary.customers_scored:,} customers as of {summary.as_of}", soft_wrap=True)
    if sign_ins:
        say.print(f"demo sign-ins, password [bold]{PASSWORD}[/bold]:")
        for one in sign_ins:
            say.print(f"  {one.role.value:14}{escape(one.email):34}{escape(one.name)}", soft_wrap=True)
    return world is not None


@verbs.command(epilog="Example: selvedge user li.na@example.com --name 李娜 --role ADMIN")
def user(
    email: Annotated[str, typer.Argument(help="What the colleague signs in with.")],
    name: Annotated[str, typer.Option(help="As shown to others.")],
    role: Annotated[str, typer.Option(help=f"One of {', '.join(Role)}.")],
    locale: Annotated[str, typer.Option(help=f"Language: {', '.join(LOCALES)}.")] = LOCALE_DEFAULT,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for when left out.")
    ] = "",
    database: Database = None,
) -> None:
    """Add a colleague; this is how a new organisation gets its first admin."""
    settings = settings_from(database_url=database)
    bring_up(settings)
    try:
        user_id = asyncio.run(_add_user(settings, email, name, role, locale, password))
    except Refused as refused:
        show_problems(refused)
        raise typer.Exit(USER_REFUSED) from None
    say.print(f"added {escape(email)} as {role}, id {user_id}", soft_wrap=True)


async def _add_user(settings: Settings, email: str, name: str, role: str, locale: str, password: str) -> str:
    async with open_services(settings) as services:
        password_hash, problems = await services.sessions.password_hash(password)

        async def story(work: Work) -> str:
            return await create_user(
                work, email=email, name=name, role=role, password_hash=password_hash, locale=locale, problems=problems
            )

        user_id, _ = await in_work(
            services.engine,
            OPERATOR_PRINCIPAL,
            story,
            clock=services.clock,
            retries_max=settings.write_retries_max,
            door=Door.JOB,
        )
        return user_id
