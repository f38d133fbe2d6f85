"""Visit priority on a device: whole-number arithmetic only, standard library only.

Every step is integer division, multiplication below 2^53 and table look-up, so Python, numpy and JavaScript
give the same points. `vectors/priority.json` holds cases; a client is right when it reproduces them all.

Inputs are documents as they travel: `parameters` and `tables` (versioned, published by the organisation),
`score` (one customer's numbers, computed on the server) and `facts` (what the device knows itself).
Shares are scaled by 1,000,000, basis points by 10,000, days count from 1970-01-01.
"""

from bisect import bisect_right
from typing import Any

MICRO = 1_000_000
BASIS_POINTS = 10_000
VALUE_MINOR_MAX = 900_000_000_000
"""Amounts are clamped here before a table is read: (value − knot) × 10,000 then stays below 2^53."""
NOT_SENT = "~"
"""After every moment: a judgement made here that the server has not had yet is the latest."""

Document = dict[str, Any]


def share_micro(knots: list[int], value: int) -> int:
    """Share of the organisation's customers with no more than `value`, × 10^6; nothing at stake is 0.

    `knots`: 101 whole numbers, ascending: the 0th to 100th percentile.
    """
    value = min(value, VALUE_MINOR_MAX)
    if value <= 0:
        return 0
    at = bisect_right(knots, value) - 1
    if at < 0:
        return 0
    if at >= 100:
        return MICRO
    return at * 10_000 + (value - knots[at]) * 10_000 // (knots[at + 1] - knots[at])


def _count_obligations(score: Document, facts: Document) -> tuple[dict[str, int] | None, list[str]]:
    """Open tasks come from the device, an overdue one counts as more; severe cases too, where it holds cases: the
    score's are those of the night."""
    today, tasks, held = facts["today"], facts.get("openTasks"), facts.get("severeCases")
    cases = score.get("severeCases")
    if held is not None and (held or cases is not None):
        cases = len(held)
    if tasks is None and cases is None:
        return None, []
    late = [t for t in tasks or [] if t["dueDay"] is not None and t["dueDay"] < today]
    counts = {
        "severeCases": cases or 0,
        "overdueTasks": len(late),
        "openTasks": len(tasks or []) - len(late),
    }
    return counts, sorted({*(t["id"] for t in tasks or []), *(held or [])})


def _shares(tables: Document, score: Document) -> dict[str, int | None]:
    """Look each amount up in the organisation's frozen distribution."""
    fields = {
        "value": "valueAtStakeMinor",
        "uplift": "upliftMinor",
        "potential": "potentialMinor",
        "existing": "existingValueMinor",
    }
    return {
        name: None if score.get(field) is None else share_micro(tables[name], score[field])
        for name, field in fields.items()
    }


def _micro_points(parameters: Document, tables: Document, score: Document, facts: Document) -> list[Document]:
    """Each line's points × 10^6, `None` where an input was never recorded."""
    most, share, today = parameters["max"], _shares(tables, score), facts["today"]
    since = None if facts.get("lastVisitDay") is None else today - facts["lastVisitDay"]
    ahead = None if facts.get("nextAppointmentDay") is None else facts["nextAppointmentDay"] - today
    lines: list[Document] = []

    def line(code: str, micro: int | None, numbers: Document, evidence: list[str]) -> None:
        proof = [] if micro is None else evidence
        lines.append({"code": code, "micro": micro, "numbers": numbers, "evidence": proof})

    def named(field: str) -> list[str]:
        return [facts[field]] if facts.get(field) else []

    q = share["value"]
    line(
        "VALUE_AT_STAKE",
        None if q is None else most["VALUE_AT_STAKE"] * q,
        {} if q is None else {"amountMinor": score["valueAtStakeMinor"], "shareMicro": q},
        named("lastOrderId"),
    )
    q, measured = share["uplift"], 1 if score.get("upliftMeasured") else 0
    line(
        "SAVABLE_REVENUE",
        None if q is None else most["SAVABLE_REVENUE"] * q,
        {} if q is None else {"amountMinor": score["upliftMinor"], "shareMicro": q, "measured": measured},
        named("lastOrderId"),
    )

    q, sure = share["potential"], score.get("potentialConfidenceBp") or 0
    line(
        "POTENTIAL",
        None if q is None else most["POTENTIAL"] * q * sure // BASIS_POINTS,
        {} if q is None else {"amountMinor": score["potentialMinor"], "shareMicro": q, "confidenceBp": sure},
        [],
    )

    cadence, curve = score.get("cadenceDays"), parameters["overdueCurve"]
    if since is None or not cadence:
        line("OVERDUE", None, {}, [])
    else:
        percent = min(max(since, 0) * 100 // cadence, len(curve) - 1)
        numbers = {"daysSinceVisit": since, "cadenceDays": cadence}
        line("OVERDUE", most["OVERDUE"] * curve[percent], numbers, named("lastVisitId"))

    counts, ids = _count_obligations(score, facts)
    if counts is None:
        line("OBLIGATIONS", None, {}, [])
    else:
        points = sum(parameters["obligationPoints"][kind] * n for kind, n in counts.items())
        line("OBLIGATIONS", min(points, most["OBLIGATIONS"]) * MICRO, counts, ids)

    close, history, curve = (
        score.get("seasonCloseDay"),
        score.get("hasPreorderHistory"),
        parameters["seasonCurve"],
    )
    if close is None or history is None:
        line("SEASON_WINDOW", None, {}, [])
    else:
        left = close - today
        inside = history and 0 <= left < len(curve)
        numbers = {"daysToClose": left, "preorderHistory": int(history)}
        line("SEASON_WINDOW", most["SEASON_WINDOW"] * curve[left] if inside else 0, numbers, [])

    happy, q = score.get("satisfactionBp"), share["existing"]
    sure = score.get("satisfactionConfidenceBp") or 0
    if happy is None or q is None:
        line("SATISFACTION_GAP", None, {}, [])
    else:
        gap = (BASIS_POINTS - happy) * sure
        micro = most["SATISFACTION_GAP"] * q * gap // (BASIS_POINTS * BASIS_POINTS)
        line("SATISFACTION_GAP", micro, {"satisfactionBp": happy, "shareMicro": q, "confidenceBp": sure}, [])

    loyal = score.get("loyaltyBp")
    if loyal is None or q is None:
        line("LOYALTY", None, {}, [])
    else:
        line("LOYALTY", most["LOYALTY"] * q * loyal // BASIS_POINTS, {"loyaltyBp": loyal, "shareMicro": q}, [])

    near = [days for days in (since, ahead) if days is not None and days >= 0]
    if not near:
        line("JUST_VISITED", None, {}, [])
    else:
        curve, nearest = parameters["justVisitedCurve"], min(near)
        agreed = since != nearest
        off = curve[nearest] if nearest < len(curve) else 0
        numbers = {"daysToNearestVisit": nearest, "isAppointment": int(agreed)}
        proof = named("nextAppointmentId" if agreed else "lastVisitId")
        line("JUST_VISITED", -most["JUST_VISITED"] * off, numbers, proof)
    return lines


def priority(parameters: Document, tables: Document, score: Document, facts: Document) -> Document:
    """Score 0..100 with the lines that sum to it exactly.

    Points are rounded by largest remainder (ties go to the earlier line); what the clip to 0..100 takes or
    gives is the last line. A line without input has 0 points and `recorded: false`.
    """
    lines = _micro_points(parameters, tables, score, facts)
    micro = [entry["micro"] or 0 for entry in lines]
    points = [m // MICRO for m in micro]
    total = (sum(micro) + MICRO // 2) // MICRO
    by_remainder = sorted(range(len(micro)), key=lambda i: (-(micro[i] % MICRO), i))
    for i in by_remainder[: total - sum(points)]:
        points[i] += 1
    value = min(100, max(0, total))
    out: list[Document] = [
        {
            "code": entry["code"],
            "points": points[i],
            "recorded": entry["micro"] is not None,
            "numbers": entry["numbers"],
            "evidence": entry["evidence"],
        }
        for i, entry in enumerate(lines)
    ]
    clip: Document = {
        "code": "CLIP",
        "points": value - total,
        "recorded": True,
        "numbers": {"total": total},
        "evidence": [],
    }
    return {"score": value, "lines": [*out, clip]}


def judged(score: int, judgements: list[Document], on: str, me: str) -> Document:
    """Where judgements put one customer on a day: `rankedAt`, `skipped`, and `shown`, the ids of those in force.

    `judgements`: documents of this customer, days as texts; `me`: the id of whose list it is. Of overrides the latest
    counts, one not yet sent being the latest of all; a skip counts for whoever said it and is only shown to others.
    """
    standing = [one for one in judgements if not one["withdrawn"] and one["startsOn"] <= on <= one["endsOn"]]
    standing.sort(key=lambda one: (one["createdAt"] or NOT_SENT, one["id"]), reverse=True)
    overrides = [one for one in standing if one["kind"] == "OVERRIDE"][:1]
    skips = [one for one in standing if one["kind"] == "SKIP"]
    ranked_at = score
    if overrides:
        put = overrides[0]["score"]
        ranked_at = min(100, max(0, score + overrides[0]["points"])) if put is None else put
    return {
        "rankedAt": ranked_at,
        "skipped": any((one["createdBy"] or me) == me for one in skips),
        "shown": [one["id"] for one in overrides + skips],
    }


def rank(
    scored: dict[str, Document], judgements: list[Document] | None = None, on: str = "", me: str = ""
) -> list[str]:
    """Customer ids by where they are ranked, the highest first, ties by id; those skipped behind all others.

    Without judgements that is the priority. `judgements`: documents of any customers; `on`: the day, `YYYY-MM-DD`.
    """
    of: dict[str, list[Document]] = {}
    for one in judgements or []:
        of.setdefault(one["customerId"], []).append(one)
    places = {customer: judged(scored[customer]["score"], of.get(customer, []), on, me) for customer in scored}
    return sorted(places, key=lambda customer: (places[customer]["skipped"], -places[customer]["rankedAt"], customer))
