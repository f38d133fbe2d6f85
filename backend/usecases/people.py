"""Colleagues: who works here, in which role; what they see follows from their seats in the tree."""

from collections.abc import Sequence

from backend.domain.addresses import parse_email
from backend.domain.fields import parse_text
from backend.domain.names import sort_key
from backend.domain.permissions import Action, Collection, Role, may
from backend.errors import Code, Problem, Refused, refuse_if
from backend.ids import is_id, new_id
from backend.sync.work import Door, Work

NAME_CHARACTERS_MAX = 120
EMAIL_CHARACTERS_MAX = 254
LOCALES = ("en", "zh-CN", "ko")


async def create_user(
    work: Work,
    *,
    email: str,
    name: str,
    role: str,
    password_hash: str,
    locale: str = "en",
    manager_id: str | None = None,
    user_id: str | None = None,
    problems: Sequence[Problem] = (),
) -> str:
    """Add a colleague; returns the id. `problems`: what the door found wrong already.

    Raises NOT_PERMITTED, ID_TAKEN for a used e-mail, and every problem of the fields at once.
    """
    _admins_only(work)
    problems = list(problems)
    clean_email, clean_name = email, name
    try:
        clean_email = parse_email(parse_text(email, limit=EMAIL_CHARACTERS_MAX) or "")
    except Refused as refused:
        problems += [problem.under("email") for problem in refused.problems]
    try:
        clean_name = parse_text(name, limit=NAME_CHARACTERS_MAX) or ""
    except Refused as refused:
        problems += [problem.under("name") for problem in refused.problems]
    if not clean_name:
        problems.append(Problem(Code.REQUIRED, ("name",), ("name",)))
    if role not in set(Role):
        problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("role",), tuple(Role), {"enum": Role.__name__}))
    if locale not in LOCALES:
        problems.append(Problem(Code.NOT_ALLOWED_VALUE, ("locale",), LOCALES))
    refuse_if(problems)
    if await work.conn.fetch("SELECT 1 FROM user_account WHERE email = ?", clean_email):
        raise Refused(Problem(Code.ID_TAKEN, ("email",)))
    new_user = user_id or new_id()
    await work.conn.execute(
        "INSERT INTO user_account (id, email, name, sort_key, role, locale, password_hash, manager_id, active,"
        " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        new_user,
        clean_email,
        clean_name,
        sort_key({"zh": clean_name, "ko": None, "en": None}, person=True),
        role,
        locale,
        password_hash,
        manager_id,
        True,
        work.now_ms,
    )
    work.touched("people", new_user)
    work.audit("CREATE", "people", new_user)
    await _reseat_around(work, new_user)
    return new_user


async def set_active(work: Work, user_id: str, *, active: bool) -> None:
    """Let a colleague in or out; one who is out holds no scope at all.

    Raises NOT_PERMITTED, NOT_FOUND, and LAST_ADMIN when nobody could let him in again.
    """
    _admins_only(work)
    if not active:
        await _check_admins_left(work, user_id)
    found = (
        await work.conn.fetch("SELECT id FROM user_account WHERE id = ? FOR UPDATE", user_id) if is_id(user_id) else []
    )
    if not found:
        raise Refused(Problem(Code.NOT_FOUND, ("userId",)))
    await work.conn.execute("UPDATE user_account SET active = ? WHERE id = ?", active, user_id)
    work.touched("people", user_id, ("active",))
    work.audit("UPDATE", "people", user_id, ("active",))
    work.standings.add(user_id)
    await _reseat_around(work, user_id)


async def _check_admins_left(work: Work, leaving: str) -> None:
    """Some active admin stays; their rows are locked, so that two cannot let each other out at once."""
    rows = await work.conn.fetch(
        "SELECT id FROM user_account WHERE role = ? AND active ORDER BY id FOR UPDATE", Role.ADMIN.value
    )
    if [row[0] for row in rows] == [leaving]:
        raise Refused(Problem(Code.LAST_ADMIN, ("userId",)))


async def _reseat_around(work: Work, user_id: str) -> None:
    """The user, and those whose grants name him: managers and admins."""
    rows = await work.conn.fetch("SELECT id FROM user_account WHERE active AND role IN ('MANAGER', 'ADMIN')")
    work.reseat([user_id, *(row[0] for row in rows)])


def _admins_only(work: Work) -> None:
    role = work.principal.role
    if work.door is not Door.JOB and (role is None or not may(role, Action.CREATE, Collection.USERS)):
        raise Refused(Problem(Code.NOT_PERMITTED))
