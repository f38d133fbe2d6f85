"""Erasing a person: out of tables, feed, receipts, sync issues, undo data, audit values, files, and off every device.

One work takes everything the database holds; files and the database's own log are cleared after it has committed,
and the ids go on the erasure list, which outlives the database: a backup from before brings the person back only
until the list is applied again (`Eraser.reapply`). Source: promises.md §1, R49.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from backend.auth.principal import Principal, PrincipalKind
from backend.clock import Clock
from backend.config import Settings
from backend.domain.privacy import ErasureReason
from backend.errors import Code, Refused
from backend.integrations.erasures import ErasedId, ErasureList
from backend.storage.engine import Engine
from backend.storage.forgetting import forget_log
from backend.sync.work import Door, Work, in_work
from backend.usecases.privacy.erased import CONTACTS, CUSTOMERS, PEOPLE, Erased
from backend.usecases.privacy.persons import erase_person

ERASER = Principal(PrincipalKind.SERVICE, service_id="privacy")
"""Whoever applies the erasure list again, and the nightly retention."""
REMEMBERED_AT_ONCE = 1_000


class FileKeeper(Protocol):
    """What removes bytes for good."""

    async def forget(self, attachment_ids: Sequence[str], digests: Sequence[str]) -> int: ...


Told = Callable[[int, int], None]
"""Told (people done, people to do)."""


class Eraser:
    """Erasing from end to end: the work, then bytes, the database's log, and the list. One per process."""

    def __init__(
        self, engine: Engine, files: FileKeeper, erasures: ErasureList, *, settings: Settings, clock: Clock
    ) -> None:
        self._engine = engine
        self._files = files
        self._erasures = erasures
        self._settings = settings
        self._clock = clock

    async def erase(
        self,
        principal: Principal,
        record_id: str,
        reason: ErasureReason,
        *,
        strike_mentions: bool = False,
        by_operator: bool = False,
    ) -> Erased:
        """Erase a person everywhere; raises what `erase_person` raises.

        `by_operator`: at the command line, or by the list, where no role is asked for and no state stands against it.
        """
        erased, _ = await in_work(
            self._engine,
            principal,
            lambda work: erase_person(work, record_id, reason, strike_mentions=strike_mentions),
            clock=self._clock,
            retries_max=self._settings.write_retries_max,
            door=Door.JOB if by_operator else Door.ONLINE,
        )
        self._erasures.add(
            ErasedId(one, collection, erased.erasure_id, erased.reason, erased.at_ms)
            for one, collection in sorted(erased.ids.items())
        )
        await self._files.forget(erased.attachment_ids, erased.digests)
        await forget_log(self._engine)
        return erased

    async def remember(self) -> int:
        """Write down outside the database whom it knows to be erased; returns how many ids were new to the list."""
        after, added = "", 0
        while True:
            async with self._engine.read() as conn:
                rows = await conn.fetch(
                    "SELECT id, collection, erasure_id, reason, erased_at FROM erased_person WHERE id > ? ORDER BY id"
                    f" LIMIT {REMEMBERED_AT_ONCE}",
                    after,
                )
            if not rows:
                return added
            added += self._erasures.add(ErasedId(*row) for row in rows)
            after = rows[-1][0]

    async def reapply(self, told: Told | None = None) -> int:
        """Erase again whom the list names and this database does not know to be erased, as after a restore.

        Returns how many ids that were. May be called at any time; costs one query when there is nothing to do.
        """
        listed = self._erasures.read()
        missing = await self._unknown(sorted(listed))
        by_collection: dict[str, list[str]] = defaultdict(list)
        for one in missing:
            by_collection[listed[one].collection].append(one)
        done = 0
        for collection in (CUSTOMERS, CONTACTS, PEOPLE):
            for one in by_collection[collection]:
                await self._erase_again(listed[one])
                done += 1
                if told is not None:
                    told(done, len(missing))
        return done

    async def _unknown(self, ids: Sequence[str]) -> list[str]:
        known: set[str] = set()
        for start in range(0, len(ids), REMEMBERED_AT_ONCE):
            async with self._engine.read() as conn:
                rows = await conn.fetch(
                    "SELECT id FROM erased_person WHERE id = ANY(?)", list(ids[start : start + REMEMBERED_AT_ONCE])
                )
            known |= {row[0] for row in rows}
        return [one for one in ids if one not in known]

    async def _erase_again(self, listed: ErasedId) -> None:
        try:
            await self.erase(ERASER, listed.id, ErasureReason(listed.reason), by_operator=True)
        except Refused as refused:
            if any(problem.code is not Code.NOT_FOUND for problem in refused.problems):
                raise
            # this database has not met the person yet: phones that have are refused
            await self._list(listed)

    async def _list(self, listed: ErasedId) -> None:
        async def story(work: Work) -> None:
            await work.conn.execute(
                "INSERT INTO erased_person (id, collection, erasure_id, reason, erased_at, erased_by)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                listed.id,
                listed.collection,
                listed.erasure_id,
                listed.reason,
                listed.erased_at_ms,
                work.principal.actor,
            )

        await in_work(
            self._engine,
            ERASER,
            story,
            clock=self._clock,
            retries_max=self._settings.write_retries_max,
            door=Door.JOB,
        )
