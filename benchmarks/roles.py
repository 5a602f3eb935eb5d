"""CPU time of a publication by role: the common parts of link and engine.

Each role is a process. It prints "ready", and ends with its standard input. The one that publishes
begins at "go"; the one that receives prints the number of publications at the end.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from workers.cli.argument_types import positive

READY, GO = b"ready\n", b"go\n"


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of a process, in nanosecond resolution."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


class Roles:
    """The running processes of one run; `roles` gives it. folder: for their files."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._pids: dict[str, int] = {}
        self._pipes: dict[str, tuple[IO[bytes], IO[bytes]]] = {}

    def start(self, role: str, words: Sequence[str], is_ours: bool = True) -> None:
        """Start the process of a role, and wait until it is ready. Raises RuntimeError.

        is_ours: whether it prints "ready", and ends with its input; others are terminated.
        """
        process = self._stack.enter_context(_process(words, is_ours))
        assert process.stdin is not None and process.stdout is not None
        self._pids[role] = process.pid
        self._pipes[role] = process.stdin, process.stdout
        if is_ours and process.stdout.readline() != READY:
            raise RuntimeError(f"the {role} did not start")

    def measure(self, publisher: str, receiver: str, expected: int) -> dict[str, float]:
        """Publish; returns the CPU time in µs per publication, by role. Raises RuntimeError if the
        receiver has not received all."""
        before = {role: cpu_seconds(pid) for role, pid in self._pids.items()}
        to, _ = self._pipes[publisher]
        to.write(GO)
        to.flush()
        _, answers = self._pipes[receiver]
        received = int(answers.readline())
        used = {role: cpu_seconds(pid) - before[role] for role, pid in self._pids.items()}
        if received < expected:
            raise RuntimeError(f"{received} of {expected} publications received")
        return {role: seconds / received * 1e6 for role, seconds in used.items()}


@contextmanager
def roles() -> Iterator[Roles]:
    """Give a run without processes; end those that it has at the end of the block."""
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="c10k-roles-")
        stack.callback(shutil.rmtree, folder)
        yield Roles(Path(folder), stack)


@contextmanager
def _process(words: Sequence[str], is_ours: bool) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        process.stdout.close()
        if not is_ours:
            process.terminate()
        process.wait(10)


def main(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    play: Callable[[str, str, int], None],
    measure: Callable[[int], dict[str, float]],
    groups: tuple[str, Sequence[int]],
    order: Sequence[str],
) -> None:
    """Run one of the processes, or measure and print the medians.

    play: runs the process of a role, for an address and a number of publications in a group.
    measure: makes one run. groups: what they are called, and the numbers. order: of the roles.
    """
    parser.add_argument(
        "--runs", type=positive, default=3, metavar="N", help="runs of each, interleaved (3)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--play", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.play:
        role, address, number = options.play
        play(role, address, int(number))
        return
    name, numbers = groups
    runs = [{number: measure(number) for number in numbers} for _ in range(options.runs)]
    result: Mapping[int, Mapping[str, float]] = {
        number: {
            role: round(statistics.median(run[number][role] for run in runs), 2) for role in order
        }
        for number in numbers
    }
    if options.json:
        print(json.dumps({"unit": "µs CPU a publication", name: result}))
        return
    print(f"µs CPU a publication, median of {options.runs}")
    head = f"publications in {name}"
    print(head + "".join(f"{role:>12}" for role in (*order, "all")))
    for number, row in result.items():
        values = [*row.values(), sum(row.values())]
        print(f"{number:{len(head)}}" + "".join(f"{value:12.2f}" for value in values))
