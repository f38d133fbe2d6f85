"""Passwords as argon2id, computed in a few threads of their own so that the event loop never waits.

Source: RFC 9106; parameters are OWASP's minimum for argon2id (19 MiB, 2 passes, 1 lane).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from backend.errors import Code, Problem, Refused

T = TypeVar("T")
MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
WAITING_MAX = 64
PASSWORD_CHARACTERS_MAX = 1_024


class Passwords:
    """Hashes and checks passwords, at most `workers` at a time and `WAITING_MAX` in line."""

    def __init__(self, *, workers: int) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="passwords")
        self._waiting = 0
        # what an unknown e-mail is checked against, so that it takes as long as a known one
        self._nobody = self._hasher.hash("")

    async def hash(self, password: str) -> str:
        return await self._in_thread(self._hasher.hash, password)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is the one hashed; does the same work when there is no hash and says no.

        Raises `Refused(BUSY)` when too many wait already.
        """
        known = password_hash if password_hash and len(password) <= PASSWORD_CHARACTERS_MAX else None
        same = await self._in_thread(self._verify, known or self._nobody, password[:PASSWORD_CHARACTERS_MAX])
        return same and known is not None

    def outdated(self, password_hash: str) -> bool:
        """True when the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[..., T], *args: str) -> T:
        if self._waiting >= WAITING_MAX:
            raise Refused(Problem(Code.BUSY))
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)
        finally:
            self._waiting -= 1
