"""Fenced blocks of the documentation that are run: ```` ```bash run ````, and ```` ```text out ```` for what it prints.

The blocks of one language in one document are one program, in order, so a later block uses what an earlier one
set. In an output `…` stands for any text within a line, and a line that is only `…` for any number of lines.
"""

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ADDRESS = "127.0.0.1:8000"
"""Where the documents say the server is; a test puts its own in its place."""
SECONDS_MAX = 60
MARK = "---- end of block {number} ----"
SAY = {
    "bash": "echo '{mark}'",
    "javascript": "console.log('{mark}')",
    "python": "print('{mark}', flush=True)",
}
"""Language → the statement that ends a block."""
START = {
    "bash": ("bash", "set -euo pipefail\n", ".sh"),
    "javascript": ("node", "", ".mjs"),
    "python": (sys.executable, "", ".py"),
}
"""Language → program, first lines, suffix of its files."""

_FENCE = re.compile(r"^```(\w+) (run|out)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """One block that is run. `shown`: what the document says it prints, None where it shows nothing."""

    language: str
    code: str
    line: int
    shown: str | None


def read_blocks(text: str) -> list[Block]:
    """Every block to be run, in order; raises ValueError for an output that follows no block."""
    blocks: list[Block] = []
    for found in _FENCE.finditer(text):
        language, kind, body = found.groups()
        line = text.count("\n", 0, found.start()) + 1
        if kind == "run":
            if language not in START:
                raise ValueError(f"line {line}: {language} cannot be run; wanted: {', '.join(START)}")
            blocks.append(Block(language, body, line, None))
        elif not blocks or blocks[-1].shown is not None:
            raise ValueError(f"line {line}: this output follows no block")
        else:
            last = blocks.pop()
            blocks.append(Block(last.language, last.code, last.line, body))
    return blocks


def same_output(shown: str, printed: str) -> bool:
    """Whether what was printed is what is shown, `…` standing for anything."""
    lines = []
    for line in shown.strip("\n").splitlines():
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(re.escape(line.rstrip()).replace("…", ".*?") + r"[^\S\n]*\n")
    return re.fullmatch("".join(lines), printed.strip("\n") + "\n") is not None


async def run_blocks(
    language: str, blocks: list[Block], *, address: str, folder: Path, more: Mapping[str, str] | None = None
) -> list[str]:
    """What each block of a language printed; raises AssertionError with its complaint where one fails."""
    program, begin, suffix = START[language]
    body = begin
    for number, block in enumerate(blocks):
        mark = MARK.format(number=number)
        body += block.code.replace(ADDRESS, address) + "\n" + SAY[language].format(mark=mark) + "\n"
    file = folder / f"document{suffix}"
    file.write_text(body, "utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    started = await asyncio.create_subprocess_exec(
        program,
        str(file),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", **(more or {})},
    )
    try:
        async with asyncio.timeout(SECONDS_MAX):
            said, complained = await started.communicate()
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
    outputs = said.decode()
    printed = []
    for number, block in enumerate(blocks):
        mark = MARK.format(number=number)
        if mark not in outputs:
            raise AssertionError(f"line {block.line}: the block failed\n{outputs}\n{complained.decode()}")
        output, outputs = outputs.split(mark + "\n", 1)
        printed.append(output)
    return printed
