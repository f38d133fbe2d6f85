"""What every page begins with, read in one turn: the clock, the device and what its user holds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from backend.auth.principal import Principal
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Connection
from backend.sync.devices import PULLING_COLUMNS, Pulling, pulling_of

OPENING_SQL = (
    f"SELECT c.seq, c.horizon, d.id, d.last_client_seq, {', '.join(f'd.{name}' for name in PULLING_COLUMNS)},"
    " g.scope, g.granted_seq, g.revoked_seq FROM sync_clock c LEFT JOIN device d ON d.id = ? AND d.user_id = ?"
    " LEFT JOIN user_scope g ON g.user_id = ? AND (g.revoked_seq IS NULL OR g.revoked_seq > ?) WHERE c.id = 1"
)
_NOTED = 4
_GRANT = _NOTED + len(PULLING_COLUMNS)


class Opening(NamedTuple):
    clock: int
    horizon: int
    acked_mutation: int
    """The device's last `clientSeq` with an answer; 0 without a device."""
    grants: Sequence[Sequence[Any]]
    """(scope, granted, revoked), for `scopes_of`."""
    noted: Sequence[Any] | None

    def device(self, now_ms: int) -> Pulling:
        """The caller's device, which may pull. Raises as `pulling_device` does."""
        if self.noted is None:
            raise Refused(Problem(Code.DEVICE_REVOKED))
        return pulling_of(self.noted, now_ms)


async def read_opening(conn: Connection, principal: Principal, at: int) -> Opening:
    """Of this snapshot; grants are those that are open or were closed after `at`."""
    holder = principal.holder
    rows = await conn.fetch(OPENING_SQL, principal.device_id or "", holder, holder, at)
    first = rows[0]
    clock, horizon, device_id, acked_mutation = first[:_NOTED]
    grants = [row[_GRANT:] for row in rows if row[_GRANT] is not None]
    return Opening(clock, horizon, acked_mutation or 0, grants, first[_NOTED:_GRANT] if device_id else None)
