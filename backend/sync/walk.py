"""In which order a first sync, or a territory that is new to someone, is brought: first what other things hang on.

An order by names alone would bring `tasks:<territory>` before `territory:<id>`, and of a territory answers before
customers. An entry says itself what it brings, so that a device in the middle of an older order goes on in that one;
and a process of an older version reads an entry of this one as more than it is: rows come twice, and none is left out.
"""

from collections.abc import Collection
from typing import NamedTuple

from backend.sync.cursor import NAMES_END, Backfill

HUNG_ON = "customers"
"""What everything else in a territory is about."""


class Stretch(NamedTuple):
    """Scopes from a name up to before another; of them one collection, or all but one."""

    begin: str
    end: str
    only: str | None = None
    without: str | None = None

    def entry(self, scope: str, up_to: int, onward: str | None = None) -> Backfill:
        return Backfill(scope, up_to, only=self.only, onward=onward, without=self.without)


WALK = (
    Stretch("", "tasks:"),  # the catalogue and the organisation
    Stretch("territory:", "unassigned_", only=HUNG_ON),
    Stretch("territory:", "unassigned_", without=HUNG_ON),
    Stretch("tasks:", "territory:"),
    Stretch("unassigned_", NAMES_END),  # tasks of nobody's customers, and what is a user's own
)
"""Every name of a scope, whichever may come, is in one stretch, or in two that share its collections."""


def walk_of(scopes: Collection[str], up_to: int) -> list[Backfill]:
    """An entry for each of these scopes and stretches, in order."""
    return [
        stretch.entry(scope, up_to)
        for stretch in WALK
        for scope in sorted(scopes)
        if stretch.begin <= scope < stretch.end
    ]


def walk_onward(up_to: int) -> list[Backfill]:
    """The same of whichever scopes are held on the way: an entry for each stretch."""
    return [stretch.entry(stretch.begin, up_to, onward=stretch.end) for stretch in WALK]
