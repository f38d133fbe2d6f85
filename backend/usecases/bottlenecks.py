"""Where visits, orders, tasks and cases wait, within what the caller sees."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from backend.auth.principal import Principal
from backend.domain.bottlenecks import Flow, FlowReport, flow_report
from backend.domain.territories import is_at_or_below
from backend.domain.times import day_start_ms
from backend.errors import Code, Problem, Refused
from backend.storage.engine import Engine
from backend.storage.passages import COLLECTIONS, read_passages
from backend.storage.visibility import granted_keys_sql, visible_to


@dataclass(frozen=True, slots=True)
class FlowFound:
    """`ids`: of the records looked at; examples name their places."""

    report: FlowReport
    ids: tuple[str, ...]


async def bottlenecks_of(
    engine: Engine,
    principal: Principal,
    *,
    flows: Sequence[Flow] | None,
    since: str,
    zone: str,
    now_ms: int,
    territory_id: str | None = None,
) -> tuple[FlowFound, ...]:
    """How long records made since a local day stay in each state, flow by flow; of none named, all he may read.

    Raises NOT_PERMITTED (a flow whose records he does not read), NOT_FOUND (a territory out of scope), IN_THE_FUTURE.
    """
    readable = [flow for flow in Flow if principal.reads(COLLECTIONS[flow])]
    wanted = readable if flows is None else list(dict.fromkeys(flows))
    allowed = tuple(flow.value for flow in readable)
    problems = [
        Problem(Code.NOT_PERMITTED, ("flows", str(place)), allowed)
        for place, flow in enumerate(wanted)
        if flow not in readable
    ]
    since_ms = day_start_ms(since, zone)
    if since_ms > now_ms:
        problems.append(Problem(Code.IN_THE_FUTURE, ("since",)))
    if problems or not wanted:
        raise Refused(*(problems or [Problem(Code.NOT_PERMITTED, ("flows",), allowed)]))
    found = []
    async with engine.read() as conn:
        below: list[str] | None = None
        if territory_id is not None:
            nodes = await conn.fetch("SELECT id, path FROM territory")
            top = next((path for node, path in nodes if node == territory_id), None)
            mine = {row[0] for row in await conn.fetch(granted_keys_sql("territory"), principal.holder)}
            below = [node for node, path in nodes if top is not None and is_at_or_below(path, top) and node in mine]
            if not below:
                raise Refused(Problem(Code.NOT_FOUND, ("territoryId",)))
        for flow in wanted:
            where, args = visible_to(principal, COLLECTIONS[flow], "r")
            values: list[object] = list(args)
            if below is not None:
                where, values = f"{where} AND r.territory_id = ANY(?)", [*values, below]
            passages = await read_passages(conn, flow, where, values, since_ms)
            report = await asyncio.to_thread(flow_report, flow, passages.steps, now_ms=now_ms)
            found.append(FlowFound(report, passages.ids))
    return tuple(found)
