"""A server killed in the middle of a push, and started again: nothing acknowledged is lost, nothing is there twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from backend.ids import new_id
from backend.storage.engine import Engine
from tests.sync.offices import Office, visit_fields

ROOT = Path(__file__).parents[2]
PORTION = 7
PORTIONS = 60
KILLED_AFTER = 23


@pytest.mark.requirement("R4")
async def test_a_killed_server_loses_nothing_it_acknowledged(engine: Engine, tmp_path: Path) -> None:
    office = await Office(engine).open()
    phone = await office.phone(office.rep)
    visits = [new_id() for _ in range(PORTION * PORTIONS)]
    for visit in visits:
        phone.replica.edit("visits", visit, visit_fields(office.shops[0]))
    queue = tmp_path / "queue.json"
    sent = list(phone.replica.queue)
    queue.write_text(json.dumps([sent[at : at + PORTION] for at in range(0, len(sent), PORTION)]))
    acknowledged = _kill_in_the_middle(
        engine.url, phone.line.principal.holder, str(phone.line.principal.device_id), queue
    )
    assert 0 < len(acknowledged) < len(sent), "killed neither before the first answer nor after the last"
    receipts = {row[0] for row in await office.rows("SELECT mutation_id FROM receipt")}
    assert acknowledged <= receipts
    ((written,),) = await office.rows("SELECT count(*) FROM visit")
    assert written == len(receipts), "a mutation and its receipt are written together or not at all"
    assert len(receipts) % PORTION == 0, "a push stands whole"
    # the phone heard nothing since: it sends everything again
    answers = await phone.line.hand_in(sent)
    assert {answer["status"] for answer in answers} == {"APPLIED"}
    await phone.sync()
    assert set(phone.replica.views("visits")) == set(visits)
    ((entries,),) = await office.rows("SELECT count(*) FROM audit_entry WHERE collection = 'visits'")
    assert entries == len(visits), "none was applied twice"


def _kill_in_the_middle(url: str, user_id: str, device_id: str, queue: Path) -> set[str]:
    """Ids the process acknowledged before SIGKILL, which comes while it is busy with the next portion."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sync.crash_worker", url, user_id, device_id, str(queue)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    assert process.stdout is not None
    heard = []
    for text in process.stdout:
        heard.append(text.split()[0])
        if len(heard) >= KILLED_AFTER:
            process.kill()
            break
    heard += [text.split()[0] for text in process.stdout if text.endswith("\n")]
    process.stdout.close()
    process.wait()
    return set(heard) - {"done"}
