"""Sessions that began without a password."""

from backend.auth.principal import Principal
from backend.ids import new_id
from tests import factories
from tests.servers import Served

DAY_MS = 86_400_000


async def signed_in(served: Served, principal: Principal) -> dict[str, str]:
    """A session that began without a password."""
    services, family_id = served.services, new_id()
    async with services.engine.write() as conn:
        await factories.insert(
            conn,
            "refresh_family",
            id=family_id,
            user_id=principal.user_id,
            device_id=principal.device_id,
            generation=1,
            rotated_at=services.clock(),
            expires_at=services.clock() + DAY_MS,
        )
    token, _ = services.tokens.issue(
        user_id=str(principal.user_id),
        device_id=str(principal.device_id),
        family_id=family_id,
        role=str(principal.role),
        locale="en",
    )
    return {"userId": str(principal.user_id), "token": token}
