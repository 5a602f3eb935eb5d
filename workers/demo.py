"""`make demo`: a cluster, and the Game of Life played on it.

Starts `twistd c10k` and `swarm life` as two programs, as anybody would by hand, says where to look,
and ends both however it ends itself. They get process groups of their own, so that Ctrl-C reaches
only this program, which can then end them in the right order: the swarm first, so that it does not
complain about a server that goes away.

Exit status: 0 if all steps asked for were verified (or an endless game was ended by Ctrl-C), 1 if
the cluster or the swarm failed, otherwise 128 + the signal that ended it.
"""

import argparse
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from types import FrameType
from typing import NamedTuple

ENDLESS_RATE = 4.0  # steps a second: fast enough to be alive, slow enough to follow a glider
COUNTED_RATE = 10.0  # somebody who asks for a number of steps waits for the end

START_SECONDS = 60.0  # a cold start takes about 2 s; a machine may be busy
SWARM_END_SECONDS = 5.0
DRAIN_SECONDS = 3  # nobody uploads anything here
CLUSTER_END_SECONDS = DRAIN_SECONDS + 7.0
LAST_WORDS_SECONDS = 2.0  # for output that is on its way
LAST_WORDS = 5  # lines of a dead program's output that tell why

READY = re.compile(r"c10k ready: (http\S+?/)[ ,].*?\((.*)\)")
VERIFIED = re.compile(r"verified: (\d+) steps")


class Failed(Exception):
    """The demo cannot go on; the text is for the user."""


class Signalled(Exception):
    """A signal asks the demo to end."""

    def __init__(self, number: signal.Signals) -> None:
        self.signal = number


class Line(NamedTuple):
    """What a program printed; `text` is None once it has ended."""

    program: "Program"
    text: str | None


Happened = Line | signal.Signals


class Program:
    """A child process whose output arrives in `events`, its end included."""

    def __init__(
        self, name: str, command: Sequence[str], events: "SimpleQueue[Happened]", own_errors: bool
    ) -> None:
        self.name = name
        self._last: deque[str] = deque(maxlen=LAST_WORDS)
        self._events = events
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # Progress bars need the terminal itself.
            stderr=None if own_errors else subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        )
        # A daemon: if somebody else still holds the pipe, that must not keep us here.
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last.append(line.rstrip())
            self._events.put(Line(self, line.rstrip()))
        self._process.wait()
        self._events.put(Line(self, None))

    @property
    def status(self) -> int:
        return self._process.wait()

    def ends_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def last_words(self) -> str:
        return "".join(f"\n  | {line}" for line in self._last if line)

    def end(self, seconds: float) -> None:
        """Ask it to end, insist after `seconds`; returns when it is gone. Idempotent."""
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"demo: {self.name} does not end; killed", file=sys.stderr)
            self._process.kill()
            self._process.wait()


class Demo:
    """One game on one cluster. `play` returns when it is over; `close` must be called then."""

    def __init__(self, options: argparse.Namespace, events: "SimpleQueue[Happened]") -> None:
        self._options = options
        self._events = events
        self._cluster: Program | None = None
        self._swarm: Program | None = None
        self._swarm_heard = False  # all of its output

    def play(self) -> None:
        """Raise Failed unless the swarm has verified all the steps."""
        check_port(self._options.port)
        print(f"Starting a cluster of {self._options.nodes} ...", flush=True)
        self._cluster = Program("the cluster", self._cluster_command(), self._events, False)
        url = self._wait_until_ready(self._cluster)
        self._swarm = Program("the swarm", self._swarm_command(url), self._events, True)
        self._watch(self._cluster, self._swarm)

    def close(self) -> None:
        """End both programs. Idempotent."""
        if self._swarm is not None:
            self._swarm.end(SWARM_END_SECONDS)
            self._relay_rest(self._swarm)
        if self._cluster is not None:
            self._cluster.end(CLUSTER_END_SECONDS)

    def _cluster_command(self) -> list[str]:
        twistd = shutil.which("twistd", path=sysconfig.get_path("scripts"))
        twistd = twistd or shutil.which("twistd")
        if twistd is None:
            raise Failed("twistd is not installed: pip install c10k")
        # No pid file: it would lie in whatever folder this is, and two demos would fight for it.
        command = [sys.executable, twistd, "--nodaemon", "--pidfile=", "c10k"]
        command += ["--nodes", str(self._options.nodes)]
        command += ["--listen", f"tcp:{self._options.port}"]
        command += ["--drain-timeout", str(DRAIN_SECONDS)]
        return command

    def _swarm_command(self, url: str) -> list[str]:
        options = self._options
        rate = options.rate
        if rate is None:
            rate = ENDLESS_RATE if options.steps is None else COUNTED_RATE
        command = [sys.executable, "-m", "workers", "life", "--verify"]
        command += ["--url", url.replace("http", "ws", 1)]
        command += ["--size", str(options.size), "--limit", str(rate)]
        if options.steps is not None:
            command += ["--steps", str(options.steps)]
        return command

    def _relay_rest(self, swarm: Program) -> None:
        """An interrupted swarm still says how it went."""
        while not self._swarm_heard:
            try:
                happened = self._events.get(timeout=LAST_WORDS_SECONDS)
            except Empty:
                return
            if isinstance(happened, Line) and happened.program is swarm:
                self._relay(happened)

    def _relay(self, line: Line) -> None:
        if line.text is None:
            self._swarm_heard = True
        else:
            print(line.text, flush=True)

    def _next(self, seconds: float | None = None) -> Line:
        """The next line; raise Empty after `seconds`, Signalled if we are asked to end."""
        happened = self._events.get(timeout=seconds)
        if isinstance(happened, signal.Signals):
            raise Signalled(happened)
        return happened

    def _wait_until_ready(self, cluster: Program) -> str:
        give_up = monotonic() + START_SECONDS
        while True:
            try:
                line = self._next(max(0.0, give_up - monotonic()))
            except Empty:
                raise Failed(
                    f"the cluster was not ready after {START_SECONDS:.0f} s{cluster.last_words()}"
                ) from None
            if line.text is None:
                raise Failed(f"the cluster did not start{cluster.last_words()}")
            if match := READY.search(line.text):
                announce(match[1], match[2])
                return match[1]

    def _watch(self, cluster: Program, swarm: Program) -> None:
        verified = None
        while True:
            line = self._next()
            if line.program is cluster:
                if line.text is None:
                    raise cluster_died(cluster)
                continue
            self._relay(line)
            if line.text is None:
                break
            if match := VERIFIED.match(line.text):
                verified = int(match[1])
        # A swarm hears of its servers' death before their process has quite ended.
        if cluster.ends_within(LAST_WORDS_SECONDS if swarm.status else 0.0):
            raise cluster_died(cluster)
        if swarm.status != 0:
            raise Failed(f"the swarm failed (exit status {swarm.status}); it says why above")
        if verified is None or verified != self._options.steps:
            raise Failed("the swarm ended without having verified all steps")


def cluster_died(cluster: Program) -> Failed:
    return Failed(f"the cluster died (exit status {cluster.status}){cluster.last_words()}")


def check_port(port: int) -> None:
    """Raise Failed if somebody listens there already: said before anything has been started."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("", port))
        except OSError as error:
            raise Failed(
                f"port {port} cannot be used ({error.strerror}); take another: make demo PORT=8100"
            ) from None


def announce(url: str, what: str) -> None:
    """The one thing that must be seen."""
    lines = [f"The Game of Life:  {url}", f"All demos:         {url}demos/", ""]
    lines.append(f"{what}; Ctrl-C ends everything")
    width = max(map(len, lines)) + 4
    print(f"\n  ┌{'─' * width}┐")
    for line in lines:
        print(f"  │  {line:{width - 2}}│")
    print(f"  └{'─' * width}┘\n", flush=True)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="The Game of Life on a cluster.")
    add = parser.add_argument
    add("--nodes", type=int, default=4, metavar="N", help="node processes (4)")
    add("--port", type=int, default=8000, metavar="PORT", help="where to serve, 0: any (8000)")
    add("--size", type=int, default=32, metavar="N", help="rows and columns (32)")
    add("--steps", type=int, metavar="N", help="end after so many steps; default: at Ctrl-C")
    add(
        "--rate",
        type=float,
        metavar="RATE",
        help=f"steps a second at most, 0: no limit ({ENDLESS_RATE:g}; with --steps "
        f"{COUNTED_RATE:g})",
    )
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error("a port is 0 to 65535")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    options = parse_arguments(arguments)
    events: SimpleQueue[Happened] = SimpleQueue()

    def note(number: int, frame: FrameType | None) -> None:
        # Not raised here: a program that was being started just then would never be ended.
        events.put(signal.Signals(number))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    demo = Demo(options, events)
    try:
        demo.play()
    except Failed as error:
        print(f"demo: {error}", file=sys.stderr, flush=True)
        return 1
    except Signalled as error:
        print("\nEnding ...", flush=True)
        endless_is_over = error.signal == signal.SIGINT and options.steps is None
        return 0 if endless_is_over else 128 + error.signal
    finally:
        demo.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
