"""What of an order counts for the statistics of its customer, and when a change of an order changes those.

The statistics are a multiset per customer: (day, currency, amount) and how many orders are so. From it `history_of`
finds purchase days, totals and quarters as of any day; the age of a quarter moves every night and is no part of it.
*Source*: R27, R50.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from backend.domain.orders import UNCOUNTED


@dataclass(frozen=True, slots=True)
class Purchase:
    """One order that counts. `day`: local day `YYYY-MM-DD`; `amount_minor`: in minor units of `currency`, not 0."""

    customer_id: str
    day: str
    currency: str
    amount_minor: int


def purchase_of(order: Mapping[str, object] | None) -> Purchase | None:
    """What an order, by names of its document, counts for; None for none, for one that does not count, and for a
    sample without a price."""
    if order is None or order["state"] in UNCOUNTED or not order["totalMinor"]:
        return None
    return Purchase(
        str(order["customerId"]), str(order["orderedOn"]), str(order["currency"]), int(str(order["totalMinor"]))
    )


@dataclass(slots=True)
class PurchaseNotes:
    """What a work did to purchases. `added`: new ones; `recounted`: customers whose orders are to be counted anew."""

    added: list[Purchase] = field(default_factory=list)
    recounted: set[str] = field(default_factory=set)

    def changed(self, before: Mapping[str, object] | None, after: Mapping[str, object] | None) -> None:
        """Note an order as it was and as it is; None where there was or is none.

        A purchase that is new can be added where it lies at the end. Whatever changes one that was counted already
        is never added or taken off: its customer, before and after, is counted anew.
        """
        was, now = purchase_of(before), purchase_of(after)
        if was == now:
            return
        if was is None and now is not None:
            self.added.append(now)
            return
        self.recounted.update(one.customer_id for one in (was, now) if one is not None)

    def recount(self, customer_ids: Iterable[str]) -> None:
        """Note customers whose orders changed hands, or came back, as rows."""
        self.recounted.update(customer_ids)

    def copy(self) -> "PurchaseNotes":
        """As they stand, to go back to."""
        return PurchaseNotes(list(self.added), set(self.recounted))
