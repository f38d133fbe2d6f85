"""What was answered to a mutation, kept so that a replay gets the same answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from backend.errors import Code, Problem
from backend.storage.engine import Connection

ERASED_HASH = "erased"
"""In place of the hash of a body that told of somebody erased: a hash of few unknown digits can be guessed."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """`records` are (collection, id) pairs the mutation wrote; they are read again under today's scope."""

    mutation_id: str
    device_id: str
    client_seq: int
    body_hash: str
    status: str
    problems: tuple[Problem, ...] = ()
    records: tuple[tuple[str, str], ...] = ()
    late: bool = False
    """taken though its device no longer holds the record: it was captured before"""


async def save_receipts(conn: Connection, receipts: Sequence[Receipt], *, seq: int, now_ms: int) -> None:
    await conn.execute_many(
        "INSERT INTO receipt (mutation_id, device_id, client_seq, body_hash, status, problems, records, seq,"
        " received_at, late) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                receipt.mutation_id,
                receipt.device_id,
                receipt.client_seq,
                receipt.body_hash,
                receipt.status,
                orjson.dumps([problem_record(problem) for problem in receipt.problems]).decode(),
                orjson.dumps(receipt.records).decode(),
                seq,
                now_ms,
                receipt.late,
            )
            for receipt in receipts
        ],
    )


async def receipts_of(conn: Connection, mutation_ids: Sequence[str]) -> dict[str, Receipt]:
    rows = await conn.fetch(
        "SELECT mutation_id, device_id, client_seq, body_hash, status, problems, records, late FROM receipt"
        " WHERE mutation_id = ANY(?)",
        list(mutation_ids),
    )
    return {
        row[0]: Receipt(
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            tuple(problem_from(found) for found in orjson.loads(row[5])),
            tuple((collection, record_id) for collection, record_id in orjson.loads(row[6])),
            bool(row[7]),
        )
        for row in rows
    }


async def has_receipts_up_to(conn: Connection, device_id: str, client_seq: int) -> bool:
    """True when receipts of a device are still kept as far back as that number: an answer to it would be known."""
    return bool(
        await conn.fetch("SELECT 1 FROM receipt WHERE device_id = ? AND client_seq <= ? LIMIT 1", device_id, client_seq)
    )


def problem_record(problem: Problem) -> dict[str, object]:
    return {
        "code": problem.code.value,
        "path": list(problem.path),
        "allowed": list(problem.allowed),
        "params": dict(problem.params),
    }


def problem_from(found: Mapping[str, object]) -> Problem:
    path, allowed, params = found["path"], found["allowed"], found["params"]
    assert isinstance(path, list)
    assert isinstance(allowed, list)
    assert isinstance(params, dict)
    return Problem(Code(str(found["code"])), tuple(path), tuple(allowed), params)
