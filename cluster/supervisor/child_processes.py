"""Starts, restarts and stops the child processes, and logs their output.

twisted.runner.procmon does most of the work. The differences:

* the delay before a restart grows each time a child ends before it is ready, even if its start took
  long; otherwise a site that fails after six seconds of imports would be restarted without a delay;
* a child counts as ended when its process has ended, not when its output is closed, because a
  process that it started may hold the output open indefinitely;
* a child has a pipe for its log (``child_output``), and a line that is too long is split (procmon
  would stop reading, and block the child);
* a thread of each child reports over a pipe (``cluster.supervisor.heartbeat_pipe``);
* a child that is killed first writes the stacks of its threads to its log;
* a stop is requested over the control connection, waits for the end of each process, and stops the
  broker last;
* a child can have a second process, its *candidate*, which takes the place of the first one when it
  serves (``promote``), or when the first one ends. The previous process drains and ends meanwhile;
* a child that is *retired* is not started again when its process ends, until ``start_now``.
"""

import os
import signal
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.runner.procmon import ProcessMonitor

from cluster.supervisor import heartbeat_pipe
from cluster.supervisor.child_output import DESCRIPTORS, SupervisorLog
from cluster.supervisor.child_protocol import ChildProtocol, how_it_ended

STACKS_S = 0.25
"""Seconds that a child has to write the stacks of its threads before it is killed."""


SPARE = "spare"
"""The name of the child that has loaded the site and waits until a node ends (``use_spare``)."""

SPARE_PAUSE_S = 2.0
"""Seconds until the next spare process starts, so that it does not slow down the node."""


class Children(ProcessMonitor):
    """Call ``addProcess`` for each child before you start the service; they start in this order.

    Args:
        reactor: Starts the processes, and is the clock.
        ended: Called with the child's name, and how its process has ended, as a phrase.
        candidate_ended: Called with the child's name and a phrase if its candidate has ended.
        ask_to_stop: Called with a process id, and whether a replacement serves already; returns
            False if the process cannot be asked, because it is not connected yet. Then it receives
            SIGTERM. A process that has not ended ``killTime`` seconds later receives SIGKILL.
        stop_last: The name of the child that the other children need until they have ended.

    ``hand_over_time`` is the ``killTime`` of a process whose replacement serves. ``output_log`` is
    the log to which the output of the children goes.
    """

    log = Logger()
    output_log: SupervisorLog | None = None
    minRestartDelay: Any = 0.25
    maxRestartDelay = 30
    max_delay_of_last: float = 2
    """The same for the child that the others need: without the broker they are cut off from each
    other, and its start needs nothing that could be missing for long."""
    threshold = 5

    def __init__(
        self,
        reactor: Any,
        ended: Callable[[str, str], None],
        candidate_ended: Callable[[str, str], None],
        ask_to_stop: Callable[[int, bool], bool],
        stop_last: str = "",
    ) -> None:
        super().__init__(reactor)
        # Typed as Any: procmon declares zope interfaces, whose methods have no self.
        self._reactor: Any = reactor
        self._clock: Any = reactor
        self.restart: dict[str, Any] = {}
        self.starts: Counter[str] = Counter()
        self.ends: dict[str, Counter[str]] = {}
        """How often processes of each child ended, by name and by how_it_ended."""
        self.hand_over_time: float = self.killTime
        self.heard: Callable[[str, float], None] = lambda name, turn_age: None
        """Called with the child's name and the age of its loop's last turn at each report."""
        self._ended = ended
        self._candidate_ended = candidate_ended
        self._ask_to_stop = ask_to_stop
        self._stop_last = stop_last
        self.starts_at_once: int = max(2, len(os.sched_getaffinity(0)))
        """How many children load the site at the same time when the service starts. More than the
        cores would only make each of them slower, and all of them late together."""
        self._unstarted: deque[str] = deque()
        self._ready: set[str] = set()
        self._candidates: dict[str, ChildProtocol] = {}
        self._retired: dict[str, Any] = {}
        self._stopping: dict[ChildProtocol, tuple[Any, Deferred[None]]] = {}

    def pid(self, name: str) -> int | None:
        """The process id of a child; None if it does not run."""
        protocol: Any = self.protocols.get(name)
        return None if protocol is None else protocol.pid

    @property
    def draining(self) -> int:
        """How many processes have been asked to stop, and have not ended."""
        return len(self._stopping)

    def candidate_pid(self, name: str) -> int | None:
        """The process id of a child's candidate; None if it has none."""
        protocol = self._candidates.get(name)
        return None if protocol is None else protocol.pid

    def is_ready(self, name: str) -> bool:
        """Whether the child's current process serves."""
        return name in self._ready

    def became_ready(self, name: str) -> None:
        """Record that the child's process serves: if it ends after ``threshold`` seconds or more,
        the next one starts without a delay."""
        self._ready.add(name)
        self._start_more()

    def is_stopped(self, name: str) -> bool:
        """Whether the system has stopped the child's process (SIGSTOP)."""
        pid = self.pid(name)
        return pid is not None and heartbeat_pipe.is_stopped(pid)

    def show_stacks(self, name: str) -> None:
        """Have a child that has reported write the stacks of its threads to its log."""
        protocol = self.protocols.get(name)
        if protocol is not None and protocol.transport is not None:
            with suppress(ProcessExitedAlready):
                protocol.transport.signalProcess(heartbeat_pipe.STACKS_SIGNAL)

    def _forceStopProcess(self, proc: Any) -> None:
        """Kill a process, after it has written its stacks; procmon and ``kill`` call it."""
        with suppress(ProcessExitedAlready):
            proc.signalProcess(heartbeat_pipe.STACKS_SIGNAL)
            self._clock.callLater(STACKS_S, super()._forceStopProcess, proc)

    def kill(self, name: str) -> None:
        """Kill a child that no longer works. SIGKILL also ends a process that SIGSTOP stopped."""
        self._kill(self.protocols.get(name))

    def kill_candidate(self, name: str) -> None:
        """Kill the candidate of a child."""
        self._kill(self._candidates.get(name))

    def _kill(self, protocol: Any) -> None:
        if protocol is not None and protocol.transport is not None:
            self._forceStopProcess(protocol.transport)

    def startService(self) -> None:
        """Start the first children; the others start when these serve, or have ended."""
        Service.startService(self)
        self._unstarted.extend(self._processes)
        self._start_more()

    def _start_more(self) -> None:
        others = (name for name in self.protocols if name != self._stop_last)
        free = self.starts_at_once - sum(name not in self._ready for name in others)
        while self._unstarted and (free > 0 or self._unstarted[0] == self._stop_last):
            name = self._unstarted.popleft()
            free -= name != self._stop_last
            self.startProcess(name)

    def startProcess(self, name: str) -> None:
        if name in self.protocols:
            return
        protocol = ChildProtocol(self, name)
        self.protocols[name] = protocol
        self.timeStarted[name] = self._clock.seconds()
        try:
            self._spawn(protocol)
        except OSError as error:
            self.log.error("cannot start {name}: {error}", name=name, error=error)
            self._current_exited(name, None)

    def waiting(self) -> list[str]:
        """The children that wait for their next start."""
        return [name for name, restart in self.restart.items() if restart.active()]

    def start_now(self, name: str) -> None:
        """Start a child that is retired and does not run, or waits for its next start, and forget
        its earlier failures; or one that waits until others serve."""
        if self.is_drained(name):
            self._processes[name] = self._retired.pop(name)
            self.delay[name] = self.minRestartDelay
            self.startProcess(name)
            return
        if name in self._unstarted:
            self._unstarted.remove(name)
            self.startProcess(name)
            return
        restart = self.restart.get(name)
        if restart is not None and restart.active():
            restart.cancel()
            self.delay[name] = self.minRestartDelay
            self.startProcess(name)

    def retire(self, name: str) -> None:
        """Do not start a child again when its process ends; the process continues."""
        self._retired[name] = self._processes.pop(name)
        restart = self.restart.get(name)
        if restart is not None and restart.active():
            restart.cancel()
        if name in self._unstarted:
            self._unstarted.remove(name)

    def is_retired(self, name: str) -> bool:
        """Whether a child is not started again."""
        return name in self._retired

    def is_drained(self, name: str) -> bool:
        """Whether a child is retired and does not run."""
        return name in self._retired and name not in self.protocols

    def forget(self, name: str) -> None:
        """Remove a child that is retired and does not run."""
        del self._retired[name]

    def hand_over(self, name: str) -> "Deferred[None]":
        """Have the child's process drain as in a restart; its clients connect to other children.

        Returns:
            A Deferred that fires when it has ended.
        """
        return self._stop(self.protocols.get(name), handing_over=True)

    def start_candidate(self, name: str) -> None:
        """Start a second process for a child that runs and has no candidate.

        Raises:
            OSError: The process cannot be started.
        """
        protocol = ChildProtocol(self, name)
        self._spawn(protocol)
        self._candidates[name] = protocol

    def _spawn(self, protocol: ChildProtocol) -> None:
        process = self._processes[protocol.name]
        self.starts[protocol.name] += 1
        self._reactor.spawnProcess(
            protocol,
            process.args[0],
            process.args,
            process.env,
            process.cwd,
            childFDs={**DESCRIPTORS, heartbeat_pipe.DESCRIPTOR: "r"},
        )

    def use_spare(self, name: str) -> None:
        """Let the spare process, which is ready, take the place of a child that has just ended."""
        self.restart[name].cancel()
        protocol: Any = self.protocols.pop(SPARE)
        self._ready.remove(SPARE)
        protocol.rename(name)
        self.protocols[name] = protocol
        self.timeStarted[name] = self._clock.seconds()
        self.starts[name] += 1
        self.log.info("{name}: the spare process takes its place", name=name)
        self.restart[SPARE] = self._clock.callLater(SPARE_PAUSE_S, self.startProcess, SPARE)

    def replace_in_place(self, name: str) -> "Deferred[None]":
        """Stop a child; its next process starts when it has ended. Fires when it has ended."""
        return self._stop(self.protocols.get(name))

    def promote(self, name: str) -> "Deferred[None]":
        """The candidate serves: it is the child's process from now on, and the previous one drains.

        Returns:
            A Deferred that fires when the previous process has ended.
        """
        previous = self.protocols[name]
        self._take_place(name)
        self._ready.add(name)
        return self._stop(previous, handing_over=True)

    def _take_place(self, name: str) -> None:
        self.protocols[name] = self._candidates.pop(name)
        self.timeStarted[name] = self._clock.seconds()
        self.delay[name] = self.minRestartDelay

    def reported(self, protocol: ChildProtocol, turn_age: float) -> None:
        """A process reports; ChildProtocol calls it. Only current processes are watched."""
        if self.protocols.get(protocol.name) is protocol and protocol.name != SPARE:
            self.heard(protocol.name, turn_age)

    def process_exited(self, protocol: ChildProtocol, reason: Failure | None) -> None:
        """A process has ended; ChildProtocol calls it."""
        name, current = protocol.name, self.protocols.get(protocol.name) is protocol
        self.ends.setdefault(name, Counter())[how_it_ended(reason)] += 1
        kill, stopped = self._stopping.pop(protocol, (None, None))
        if kill is not None and kill.active():
            kill.cancel()
        if current:
            self._current_exited(name, reason)
        elif self._candidates.get(name) is protocol:
            del self._candidates[name]
            if self.running:
                how = how_it_ended(reason)
                self.log.warn("the replacement of {name} ended ({how})", name=name, how=how)
                self._candidate_ended(name, how)
        else:
            self.log.info(
                "the previous process of {name} ended ({how})", name=name, how=how_it_ended(reason)
            )
        if stopped is not None:
            stopped.callback(None)

    def _current_exited(self, name: str, reason: Failure | None) -> None:
        if name in self._ready:
            self._ready.remove(name)
        else:
            self.timeStarted[name] = self._clock.seconds()
        self._monitoredProcessExited(name)
        if name == self._stop_last:
            self.delay[name] = min(self.delay[name], self.max_delay_of_last)
        if not self.running:
            self._log_stop(name, reason)
        elif name in self._retired:
            self.log.info("{name} ended ({how})", name=name, how=how_it_ended(reason))
        else:
            delay = max(0.0, self.restart[name].getTime() - self._clock.seconds())
            when = f"restarting it in {delay:.2g} s" if delay > 0.01 else "restarting it now"
            if name in self._candidates:
                self.restart[name].cancel()
                self._take_place(name)
                when = "its replacement is starting"
            self.log.warn(
                "{name} ended ({how}); {when}", name=name, how=how_it_ended(reason), when=when
            )
        self._ended(name, how_it_ended(reason))
        self._start_more()

    def _log_stop(self, name: str, reason: Failure | None) -> None:
        killed = (signal.SIGKILL, heartbeat_pipe.STACKS_SIGNAL)
        if reason is not None and getattr(reason.value, "signal", None) in killed:
            self.log.error(
                "{name} did not stop within {seconds:.0f} s and was killed",
                name=name,
                seconds=self.killTime,
            )
        else:
            self.log.info("{name} stopped", name=name)

    def stopService(self) -> "Deferred[None]":  # type: ignore[override]  # procmon does not wait
        """Stop all children; fires when every process has ended."""
        Service.stopService(self)
        self._unstarted.clear()
        for restart in self.restart.values():
            if restart.active():
                restart.cancel()
        protocols = [*self.protocols.values(), *self._candidates.values(), *self._stopping]
        first = dict.fromkeys(each for each in protocols if each.name != self._stop_last)
        return DeferredList([self._stop(each) for each in first]).addCallback(
            lambda _: self._stop(self.protocols.get(self._stop_last))
        )

    def _stop(self, protocol: Any, handing_over: bool = False) -> "Deferred[None]":
        """Ask a process to stop; fires when it has ended. A process can be asked again."""
        if protocol is None or protocol.transport is None:
            return succeed(None)
        earlier, stopped = self._stopping.get(protocol, (None, Deferred()))
        if earlier is not None and earlier.active():
            earlier.cancel()
        if not self._ask_to_stop(protocol.transport.pid, handing_over):
            with suppress(ProcessExitedAlready):
                protocol.transport.signalProcess("TERM")
        seconds = self.hand_over_time if handing_over else self.killTime
        kill = self._clock.callLater(seconds, self._kill, protocol)
        self._stopping[protocol] = kill, stopped
        waiting: Deferred[None] = Deferred()
        stopped.addCallback(lambda _: waiting.callback(None))
        return waiting
