"""The server's clock, by which devices correct their own."""

import strawberry

from backend.schema.context import Info
from backend.schema.scalars import Instant


@strawberry.type
class ClockQueries:
    @strawberry.field(description="The server's time, by which a device corrects what its own clock says.")
    def server_time(self, info: Info) -> Instant:
        return Instant(info.context.now_ms)
