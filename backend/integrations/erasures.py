"""The erasure list outside the database: which ids were erased, so that a restored backup cannot bring them back.

A file of its own beside the database, one line an id, only ever added to. It holds ids made at random, a collection
and a moment; nothing of it says who anybody was.
"""

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from backend.ids import is_id


@dataclass(frozen=True, slots=True)
class ErasedId:
    """One id of an erasure; the moment in milliseconds."""

    id: str
    collection: str
    erasure_id: str
    reason: str
    erased_at_ms: int


class ErasureList:
    """The list in one file; every process of a deployment on this machine adds to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, ErasedId]:
        """Id → its line; empty without a file.

        A line that a crash cut short is passed over: the database says it again (`Eraser.remember`).
        """
        if not self.path.exists():
            return {}
        entries = (_entry(line) for line in self.path.read_bytes().split(b"\n"))
        return {entry.id: entry for entry in entries if entry is not None}

    def add(self, entries: Iterable[ErasedId]) -> int:
        """Add what is not there yet; on return it outlives a crash. Returns how many lines were added."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            known = self.read()
            new = [entry for entry in entries if entry.id not in known]
            if new:
                handle.seek(0)
                text = handle.read()
                # a line that a crash cut short must not swallow the next one
                start = b"" if not text or text.endswith(b"\n") else b"\n"
                handle.write(start + b"".join(orjson.dumps(entry) + b"\n" for entry in new))
                handle.flush()
                os.fsync(handle.fileno())
        return len(new)


def _entry(line: bytes) -> ErasedId | None:
    try:
        found = orjson.loads(line)
        entry = ErasedId(**found)
    except (ValueError, TypeError):
        return None
    return entry if is_id(entry.id) and isinstance(entry.erased_at_ms, int) else None
