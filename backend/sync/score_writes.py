"""Scores into their tables: what a run found of some customers, made ready and written in one work."""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.domain.arrays import IntArray
from backend.domain.explanations import Line, explain
from backend.domain.feedback import measure_documents
from backend.domain.nightly import Night, Scored
from backend.domain.score_facts import fact_documents
from backend.ids import new_id
from backend.storage.score_policies import write_moves
from backend.sync.documents import canonical
from backend.sync.feed import WHOLE
from backend.sync.work import Work

_STATES = ("segment_state", "segment_state_before")
_NUMBERS = (
    "priority",
    "existing_value_minor",
    "potential_minor",
    "loyalty_hundredths",
    "satisfaction_hundredths",
    "churn_risk_bp",
    "past_value_minor",
    "future_value_minor",
    "coverage_bp",
    "confidence_bp",
    *_STATES,
)
_TEXTS = (
    "table_id",
    "segment",
    "segment_since",
    "previous_segment",
    "segment_cause",
    "stage",
    "basis",
    "currency",
    "evidence",
    "segment_counted_on",
    "questions",
)
_COLUMNS = ("customer_id", "run_id", "territory_id", "as_of", "facts", *_NUMBERS, *_TEXTS, "measures")
_UPSERT = (
    f"INSERT INTO customer_score ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' for _ in _COLUMNS)})"
    " ON CONFLICT (customer_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name != "customer_id")
)


@dataclass(frozen=True, slots=True)
class PreparedScores:
    """Scores ready to be written: customer id → the values of `_COLUMNS` after the territory, and the lines."""

    ids: list[str]
    run_id: str
    as_of: str
    facts: list[str]
    values: list[tuple[object, ...]]
    lines: list[list[tuple[int, str, int, bool, str, str]]]
    moves: list[tuple[str, str | None, str, str]]
    """(customer, segment before or None, segment, cause) of those whom this night moved"""


def prepare_scores(run_id: str, ids: Sequence[str], night: Night, scored: Scored, rows: IntArray) -> PreparedScores:
    """Some rows of what a night found as they are written. `ids`: (n,) of its customers."""
    columns, places = scored.columns, rows.tolist()
    numbers = [scored.numbers[name].take(rows).tolist() for name in _NUMBERS]
    held = {name: [texts[row] for row in places] for name, texts in scored.texts.items()}
    held["evidence"] = [night.facts.evidence_text(row) for row in places]
    before = [value or None for value in held.pop("previous_segment")]
    texts: list[Sequence[str | None]] = [before if name == "previous_segment" else held[name] for name in _TEXTS]
    lines = [
        [
            (place, line.code.value, line.points, line.recorded, *_line_texts(line))
            for place, line in enumerate(explain(columns.priority, row, night.facts.evidence(row)))
        ]
        for row in places
    ]
    measures = [canonical(one).decode() for one in measure_documents(scored.proof, places)]
    return PreparedScores(
        ids=[ids[row] for row in places],
        run_id=run_id,
        as_of=night.as_of,
        facts=[canonical(document).decode() for document in fact_documents(columns.priority_inputs, places)],
        values=list(zip(*numbers, *texts, measures, strict=True)),
        lines=lines,
        moves=_moves(ids, scored, places),
    )


def _moves(ids: Sequence[str], scored: Scored, places: Sequence[int]) -> list[tuple[str, str | None, str, str]]:
    segment, texts = scored.columns.segment, scored.texts
    return [
        (
            ids[row],
            texts["previous_segment"][row] or None,
            texts["segment"][row],
            texts["segment_cause"][row],
        )
        for row in places
        if segment.code[row] != segment.previous_code[row]
    ]


def _line_texts(line: Line) -> tuple[str, str]:
    return canonical(line.numbers).decode(), canonical(list(line.evidence)).decode()


async def save_scores(work: Work, prepared: PreparedScores) -> int:
    """Write scores with their lines; customers deleted meanwhile are skipped. Returns how many."""
    # as they stand now: somebody may have moved since the snapshot
    territories: dict[str, str | None] = dict(
        await work.conn.fetch(
            "SELECT id, territory_id FROM customer WHERE id = ANY(?) ORDER BY id FOR SHARE", prepared.ids
        )
    )
    existing = {
        row[0]
        for row in await work.conn.fetch(
            "SELECT customer_id FROM customer_score WHERE customer_id = ANY(?)", prepared.ids
        )
    }
    ids = [customer_id for customer_id in prepared.ids if customer_id in territories]
    await work.conn.execute_many(
        _UPSERT,
        [
            (customer_id, prepared.run_id, territories[customer_id], prepared.as_of, facts, *values)
            for customer_id, facts, values in zip(prepared.ids, prepared.facts, prepared.values, strict=True)
            if customer_id in territories
        ],
    )
    await work.conn.execute("DELETE FROM score_line WHERE customer_id = ANY(?)", ids)
    await work.conn.execute_many(
        "INSERT INTO score_line (id, customer_id, position, code, points, recorded, numbers, evidence)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (new_id(), customer_id, *line)
            for customer_id, lines in zip(prepared.ids, prepared.lines, strict=True)
            if customer_id in territories
            for line in lines
        ],
    )
    await write_moves(
        work.conn,
        prepared.run_id,
        prepared.as_of,
        ids,
        [move for move in prepared.moves if move[0] in territories],
    )
    for customer_id in ids:
        work.touched("scores", customer_id, (WHOLE,) if customer_id in existing else None)
    return len(ids)


def states_of(ids: Sequence[str], night: Night, scored: Scored, rows: IntArray) -> list[tuple[object, ...]]:
    """What segments remember of some customers, where nothing of their scores is told anew."""
    states = [scored.numbers[name].values[rows].tolist() for name in _STATES]
    return [(*state, night.as_of, ids[row]) for *state, row in zip(*states, rows.tolist(), strict=True)]


async def save_states(work: Work, states: Sequence[tuple[object, ...]]) -> None:
    await work.conn.execute_many(
        "UPDATE customer_score SET segment_state = ?, segment_state_before = ?, segment_counted_on = ?"
        " WHERE customer_id = ?",
        states,
    )


async def remove_scores(work: Work, customer_ids: Sequence[str]) -> None:
    """Scores of customers that no longer qualify, with their tombstones."""
    ids = list(customer_ids)
    await work.conn.execute("DELETE FROM score_line WHERE customer_id = ANY(?)", ids)
    await work.conn.execute("DELETE FROM customer_score WHERE customer_id = ANY(?)", ids)
    for customer_id in ids:
        work.deleted("scores", customer_id)
