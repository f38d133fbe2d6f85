"""The rows of colleagues who may sign in."""

from dataclasses import dataclass

from backend.storage.engine import Connection


@dataclass(frozen=True, slots=True)
class Account:
    """The row of a colleague who may sign in."""

    id: str
    name: str
    email: str
    role: str
    locale: str
    password_hash: str


async def find_account(conn: Connection, email: str) -> Account | None:
    """The active account of an e-mail address, written in whatever case."""
    rows = await conn.fetch(
        "SELECT id, name, email, role, locale, password_hash FROM user_account WHERE lower(email) = ? AND active"
        " ORDER BY CASE WHEN email = ? THEN 0 ELSE 1 END, email LIMIT 1",
        email.lower(),
        email,
    )
    return Account(*rows[0]) if rows else None


async def account_of(conn: Connection, user_id: str) -> Account | None:
    """The account of an active colleague."""
    rows = await conn.fetch(
        "SELECT id, name, email, role, locale, password_hash FROM user_account WHERE id = ? AND active", user_id
    )
    return Account(*rows[0]) if rows else None
