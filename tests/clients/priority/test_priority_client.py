"""The TypeScript implementation of the visit priority is strictly typed and gives the server's integers."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.nodes import FOLDER, need_node, run_node

HERE = Path(__file__).parent
CONTRACT = FOLDER.parent.parent / "mobile_contract"
VECTORS = CONTRACT / "vectors" / "priority.json"
SOURCE = CONTRACT / "client" / "priority.ts"


def compiled(source: Path, folder: Path) -> str:
    """Where the JavaScript of a source lies, made by the strict compiler."""
    need_node()
    settings = json.loads((HERE / "tsconfig.json").read_text())
    settings["compilerOptions"] |= {"outDir": str(folder / "out"), "rootDir": str(source.parent)}
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps({**settings, "files": [str(source)]}))
    compiler = FOLDER / "node_modules" / ".bin" / "tsc"
    done = subprocess.run([compiler, "-p", folder], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    return (folder / "out" / "priority.js").as_uri()


@pytest.mark.requirement("R28")
async def test_a_device_ranks_to_the_very_integers_of_the_server(tmp_path: Path) -> None:
    orders = {"implementation": compiled(SOURCE, tmp_path), "vectors": str(VECTORS)}
    checks = await run_node(HERE / "vectors.mjs", orders, seconds_max=60)
    vectors = json.loads(VECTORS.read_text())
    assert len(checks) == len(vectors["cases"]) + 1 + len(vectors["judged"])
    assert [check for check in checks if not check["ok"]] == []
    script = tmp_path / "out" / "priority.js"
    text = script.read_text()
    broken = text.replace("|| left - right)", "|| right - left)")
    assert broken != text
    script.write_text(broken)
    assert [check for check in await run_node(HERE / "vectors.mjs", orders) if not check["ok"]]
