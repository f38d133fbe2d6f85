"""All seven parts of one scope, and what of them is not told to who may read sums only. *Source*: R18–R24, R49."""

from dataclasses import replace

from backend.domain.seven_p.performance import performance
from backend.domain.seven_p.persistency import persistency
from backend.domain.seven_p.product import product
from backend.domain.seven_p.profiling import profiling
from backend.domain.seven_p.profitability import profitability
from backend.domain.seven_p.promotion import promotion
from backend.domain.seven_p.prospecting import prospecting
from backend.domain.seven_p.records import Records
from backend.domain.seven_p.report import Caveat, Part, SevenPCaveat

PARTS = (profiling, persistency, profitability, performance, prospecting, product, promotion)


def seven_parts(records: Records) -> tuple[Part, ...]:
    """The parts, in the order of the seven; each names customers left out for want of an exchange rate."""
    left_out = int(records.customers.left_out.sum())
    found = []
    for compute in PARTS:
        part = compute(records)
        if records.rows_from_n and part.withheld:
            kept = tuple(row for row in part.rows if row.list not in part.withheld)
            part = replace(part, rows=kept, caveats=(*part.caveats, Caveat(SevenPCaveat.ROWS_WITHHELD)))
        if left_out:
            part = replace(part, caveats=(*part.caveats, Caveat(SevenPCaveat.LEFT_OUT, left_out)))
        found.append(part)
    return tuple(found)
