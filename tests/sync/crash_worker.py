"""A process that pushes visits for ever and says what was acknowledged; the test kills it in the middle.

Arguments: database address, user id, device id, a file with the portions of the queue.
"""

import asyncio
import json
import sys
from pathlib import Path

from backend.auth.principal import Role
from backend.storage.engine import open_engine
from mobile_contract.replica import Document
from tests.sync.offices import Line
from tests.sync.worlds import staff


async def push_for_ever(url: str, user_id: str, device_id: str, portions: list[list[Document]]) -> None:
    engine = open_engine(url)
    await engine.start()
    line = Line(engine, staff(user_id, device_id, Role.REP), asyncio.get_running_loop())
    for portion in portions:
        answers = await line.hand_in(portion)
        for answer in answers:
            sys.stdout.write(f"{answer['id']} {answer['status']}\n")
        sys.stdout.flush()
    sys.stdout.write("done\n")
    sys.stdout.flush()
    await engine.close()


if __name__ == "__main__":
    asyncio.run(push_for_ever(sys.argv[1], sys.argv[2], sys.argv[3], json.loads(Path(sys.argv[4]).read_text())))
