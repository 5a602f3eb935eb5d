"""Programs that run for a block of code: their start, their output, their end."""

import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any


class Failed(Exception):
    """The demo cannot continue; the text is for the user."""


@asynccontextmanager
async def program(
    name: str, command: Sequence[str], end_seconds: float, **streams: Any
) -> AsyncIterator[Process]:
    """Run a program; at the end of the block terminate it, and kill it if that takes too long."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, process_group=0, limit=1 << 20, **streams
    )
    try:
        yield process
    finally:
        ending = asyncio.create_task(end(name, process, end_seconds))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:  # Ctrl-C after the game has ended
            await ending
            raise


async def end(name: str, process: Process, seconds: float) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        print(f"demo: {name} does not end; killed", file=sys.stderr)
        process.kill()
        await process.wait()


async def read(
    stream: asyncio.StreamReader, last: deque[str], until: re.Pattern[str] | None = None
) -> re.Match[str] | None:
    """Read lines up to the first that matches, or to the end; `last` receives the last lines."""
    async for line in stream:
        text = line.decode(errors="replace").rstrip()
        last.append(text)
        if until is not None and (match := until.search(text)):
            return match
    return None


def quoted(lines: Iterable[str]) -> str:
    return "".join(f"\n  | {line}" for line in lines if line)
