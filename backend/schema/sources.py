"""What a figure was computed from, as clients see it."""

from collections.abc import Sequence

import strawberry

from backend.domain.kpis import NoFigure
from backend.domain.messages import label
from backend.domain.sources import Source
from backend.domain.sources import SourceUsed as FoundSource
from backend.schema.context import Context
from backend.schema.scalars import Day

strawberry.enum(NoFigure, description=(NoFigure.__doc__ or "").strip())
strawberry.enum(Source, description="Kinds of records that figures stand on; some are not recorded yet.")


@strawberry.type(description="One kind of record a figure was computed from.")
class SourceUsed:
    source: Source = strawberry.field(description="The kind of record.")
    name: str = strawberry.field(description="The kind in the reader's language.")
    recorded: bool = strawberry.field(description="False where nothing of it is kept, or nothing was found.")
    first_day: Day | None = strawberry.field(name="from", description="The day of the first one.")
    last_day: Day | None = strawberry.field(name="until", description="The day of the last one.")
    rows: int = strawberry.field(description="How many there were.")


def show_sources(context: Context, found: Sequence[FoundSource]) -> list[SourceUsed]:
    """The sources in the words of whoever asks."""
    return [
        SourceUsed(
            source=one.source,
            name=label(context.messages, Source.__name__, one.source.value, context.locale),
            recorded=one.recorded,
            first_day=None if one.first_day is None else Day(one.first_day),
            last_day=None if one.last_day is None else Day(one.last_day),
            rows=one.rows_n,
        )
        for one in found
    ]
