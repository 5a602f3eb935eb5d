"""Tests of cluster.supervisor.supervisor, with real sockets, fake processes and a fake clock."""

import os
import shutil
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError, OperationFailed
from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import claim, probe
from cluster.supervisor.config import SupervisorConfig, UplinkConfig
from cluster.supervisor.control_connection.commands import BROKER_SLOT, RegistrationRefused
from cluster.supervisor.heartbeat_pipe import DESCRIPTOR, STACKS_SIGNAL
from cluster.supervisor.registration.registry import Registry
from cluster.supervisor.supervisor import Supervisor
from tests.supervisor.test_child_processes import MemoryProcess, MemoryProcessReactor, Recorder
from tests.supervisor.test_heartbeat import RecordingLink


class SupervisorTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.patch(os, "environ", {"XDG_RUNTIME_DIR": temporary.name})
        self.reactor = MemoryProcessReactor()
        self.lines: list[str] = []
        self.given_up: list[str] = []

    def make(
        self,
        nodes: int = 2,
        bus: str | None = None,
        listen: str = "",
        site_folder: str = "",
        spare: bool = False,
        uplink: UplinkConfig | None = None,
    ) -> Supervisor:
        config = SupervisorConfig(
            nodes=nodes,
            listens=[parse_address(listen or "tcp:0:interface=127.0.0.1")],
            admin=parse_address("tcp:0", "127.0.0.1"),
            bus=bus,
            node={"settings": "site.settings", "drain_timeout": 10.0},
            drain_timeout=10.0,
            site_folder=site_folder,
            spare=spare,
            uplink=uplink,
            command=["child"],
        )
        supervisor = Supervisor(config, self.reactor, self.given_up.append)
        supervisor.log = Recorder(self.lines)  # type: ignore[assignment]
        supervisor._first_start.log = Recorder(self.lines)  # type: ignore[assignment]
        supervisor.registry.log = Recorder(self.lines)  # type: ignore[assignment]
        return supervisor

    def start(
        self,
        nodes: int = 2,
        bus: str | None = None,
        site_folder: str = "",
        spare: bool = False,
        uplink: UplinkConfig | None = None,
    ) -> Supervisor:
        supervisor = self.make(nodes, bus, site_folder=site_folder, spare=spare, uplink=uplink)
        supervisor.privilegedStartService()
        supervisor.startService()
        self.addCleanup(self.finish, supervisor)
        self.reactor.run()
        self.port = supervisor._slots.listens[0].port
        return supervisor

    def finish(self, supervisor: Supervisor) -> None:
        stopped = supervisor.stopService()
        for _ in range(2):
            for process in self.reactor.live():
                process.end()
        self.successResultOf(stopped)

    def process(self, supervisor: Supervisor, name: str) -> MemoryProcess:
        (found,) = [p for p in self.reactor.live() if p.pid == supervisor.children.pid(name)]
        return found

    def register(self, supervisor: Supervisor, slot: int) -> RecordingLink:
        name = "broker" if slot == BROKER_SLOT else f"node{slot}"
        link = RecordingLink(slot, supervisor.children.pid(name) or 0)
        self.config = supervisor.registry.registered(link, slot, link.pid)  # type: ignore[arg-type]
        return link

    def ready(self, supervisor: Supervisor, slot: int) -> RecordingLink:
        link = self.register(supervisor, slot)
        supervisor.registry.became_ready(link)  # type: ignore[arg-type]
        return link

    def all_ready(self, supervisor: Supervisor, nodes: int = 2) -> dict[int, RecordingLink]:
        return {slot: self.ready(supervisor, slot) for slot in (BROKER_SLOT, *range(nodes))}

    def lose(self, supervisor: Supervisor, link: RecordingLink) -> None:
        """End a child's process and its connection."""
        name = "broker" if link.slot == BROKER_SLOT else f"node{link.slot}"
        link.gone = True
        supervisor.registry.left(link)  # type: ignore[arg-type]
        self.process(supervisor, name).end(signal=9)

    def beat(self, links: dict[int, RecordingLink], seconds: int = 1) -> None:
        """Advance the clock, while the processes of the given connections report."""
        for _ in range(seconds):
            self.reactor.advance(1)
            for process in self.reactor.live():
                if process.pid in [link.pid for link in links.values()]:
                    process.protocol.childDataReceived(DESCRIPTOR, b"0.3\n")


class StartTests(SupervisorTestCase):
    def test_the_children_are_started_with_their_command_lines(self) -> None:
        supervisor = self.start()
        folder = self.base / f"c10k-{os.getuid()}" / str(self.port)
        control = ["--control", str(folder / "control.sock")]
        control += ["--log-format", "text", "--log-descriptor", "3"]
        self.assertEqual(
            [process.args for process in self.reactor.processes],
            [
                ["child", "broker", *control],
                ["child", "node", *control, "--slot", "0"],
                ["child", "node", *control, "--slot", "1"],
            ],
        )
        self.assertEqual(supervisor.roster.names, ["broker", "node0", "node1"])
        self.assertEqual(self.reactor.unixServers[0][0], str(folder / "control.sock"))
        self.assertEqual(len(self.reactor.adoptedPorts), 1)

    def test_no_broker_is_started_with_another_bus(self) -> None:
        for bus in ("local", "tcp://127.0.0.1:7000"):
            supervisor = self.start(1, bus)
            self.assertEqual(supervisor.roster.names, ["node0"])
            self.register(supervisor, 0)
            self.assertEqual(self.config["bus"], bus)
            self.assertRaises(
                RegistrationRefused, supervisor.registry.registered, None, BROKER_SLOT, 1000
            )
            self.finish(supervisor)
            self.reactor = MemoryProcessReactor()

    def test_a_node_receives_its_configuration_and_the_sockets_of_its_slot(self) -> None:
        supervisor = self.start()
        self.register(supervisor, 1)
        folder = f"{self.base}/c10k-{os.getuid()}/{self.port}"
        broker = f"ipc://{folder}/broker.ipc"
        self.assertEqual(
            self.config,
            {
                "settings": "site.settings",
                "drain_timeout": 10.0,
                "name": "node1",
                "bus": broker,
                "publish_socket": f"{folder}/publish-1-1002.sock",
                "handover_folder": folder,
            },
        )
        ((descriptor, family, endpoint),) = supervisor.registry.listening_sockets(1)
        self.assertEqual(family, socket.AF_INET)
        self.assertEqual(endpoint, "tcp:0:interface=127.0.0.1")
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            self.assertEqual(sock.getsockname(), ("127.0.0.1", self.port))
        self.assertNotEqual(
            supervisor.registry.listening_sockets(0), supervisor.registry.listening_sockets(1)
        )

    def test_the_broker_receives_its_address_and_no_sockets(self) -> None:
        supervisor = self.start()
        self.register(supervisor, BROKER_SLOT)
        self.assertTrue(self.config["address"].startswith("ipc://"))
        self.assertEqual(supervisor.registry.listening_sockets(BROKER_SLOT), [])

    def test_a_broker_with_an_uplink_receives_the_url_over_its_private_connection(self) -> None:
        uplink = UplinkConfig("redis://:swordfish@redis", "a", "shop", "fingerprint", "owner")
        supervisor = self.start(1, uplink=uplink)
        broker, node = (each.args for each in self.reactor.live())
        self.assertIn("--uplink", broker)
        self.assertNotIn("--uplink", node)
        self.assertNotIn("swordfish", " ".join([*broker, *node, repr(supervisor.config)]))
        self.register(supervisor, BROKER_SLOT)
        given = self.config["uplink"]
        self.assertEqual((given["url"], given["machine"]), ("redis://:swordfish@redis", "a"))
        self.register(supervisor, 0)
        self.assertEqual(self.config["machine"], "a")
        self.assertNotIn("uplink", self.config)

    def test_unknown_processes_are_refused(self) -> None:
        supervisor = self.start()
        for slot, pid in ((0, 1), (2, 1001), (-2, 1001), (1, 1001)):
            self.assertRaises(RegistrationRefused, supervisor.registry.registered, None, slot, pid)

    def test_the_cluster_is_announced_once_when_all_are_ready(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        self.lose(supervisor, links[0])
        self.reactor.advance(0.25)
        self.ready(supervisor, 0)
        announcements = [line for line in self.lines if "c10k ready" in line]
        self.assertEqual(len(announcements), 1)
        self.assertRegex(
            announcements[0],
            rf"^c10k ready: http://127\.0\.0\.1:{self.port}/ \(2 nodes,"
            r" site\.settings, up to [\d,]+ connections\),"
            r" admin http://127\.0\.0\.1:\d+/$",
        )

    def test_a_late_report_of_an_ended_process_is_ignored(self) -> None:
        supervisor = self.start()
        link = self.register(supervisor, 0)
        self.process(supervisor, "node0").end()
        self.reactor.advance(1)
        supervisor.registry.became_ready(link)  # type: ignore[arg-type]
        self.assertFalse(supervisor.children.is_ready("node0"))
        self.assertFalse(any("node0 ready" in line for line in self.lines))

    def test_the_cluster_is_not_announced_before_all_are_ready(self) -> None:
        supervisor = self.start()
        self.ready(supervisor, BROKER_SLOT)
        self.ready(supervisor, 0)
        self.assertEqual([line for line in self.lines if "c10k ready" in line], [])

    def test_a_busy_port_is_refused_and_nothing_stays_open(self) -> None:
        taken = claim(parse_address("tcp:0:interface=127.0.0.1"))
        self.addCleanup(taken.close)
        listen = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        supervisor = self.make(listen=listen)
        self.assertRaises(ConfigurationError, supervisor.privilegedStartService)

    def test_a_runtime_folder_in_use_is_refused(self) -> None:
        first = self.start()
        other = self.make(listen=f"tcp:{self.port}:interface=127.0.0.2")
        self.assertRaises(ConfigurationError, other.startService)
        other._slots.close()
        self.assertIsNotNone(first.children.pid("node0"))


class FailedStartTests(SupervisorTestCase):
    REASON = "NameError: name 'urls' is not defined (/site/urls.py, line 1)"

    def fail_start(
        self, supervisor: Supervisor, slot: int, reason: str = REASON, permanent: bool = True
    ) -> None:
        """A child registers, reports that it cannot start, and ends."""
        link = self.register(supervisor, slot)
        supervisor.registry.start_failed(link, reason, permanent)  # type: ignore[arg-type]
        link.gone = True
        supervisor.registry.left(link)  # type: ignore[arg-type]
        self.process(supervisor, f"node{slot}").end(1)

    def reasons(self) -> list[str]:
        return [line for line in self.lines if "cannot start" in line]

    def test_an_error_of_the_site_ends_the_first_start(self) -> None:
        supervisor = self.start()
        self.fail_start(supervisor, 1)
        self.assertEqual(self.given_up, [self.REASON])
        self.assertEqual(self.reasons(), [f"[node1#critical] cannot start: {self.REASON}"])

    def test_the_cluster_gives_up_once_if_all_nodes_fail(self) -> None:
        supervisor = self.start()
        links = [self.register(supervisor, slot) for slot in (0, 1)]
        for link in links:
            supervisor.registry.start_failed(link, self.REASON, True)  # type: ignore[arg-type]
        self.assertEqual(self.given_up, [self.REASON])

    def test_a_start_that_failed_temporarily_is_repeated(self) -> None:
        supervisor = self.start()
        self.fail_start(supervisor, 0, "OperationalError: connection refused", permanent=False)
        self.assertEqual(self.given_up, [])
        self.reactor.advance(0.25)
        self.ready(supervisor, 0)

    def test_a_node_that_fails_later_is_restarted_and_the_other_nodes_stay(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        self.lose(supervisor, links[0])
        for delay in (0.25, 0.5, 1):
            self.reactor.advance(delay)
            self.fail_start(supervisor, 0)
        self.assertEqual(self.given_up, [])
        self.assertTrue(supervisor.children.is_ready("node1"))

    def test_a_node_that_waits_starts_when_the_site_has_changed(self) -> None:
        supervisor = self.start(1, "local", site_folder=str(self.base))
        self.ready(supervisor, 0)
        for _ in range(6):
            self.process(supervisor, "node0").end(1)
            self.reactor.advance(supervisor.children.delay["node0"])
        self.process(supervisor, "node0").end(1)
        self.assertEqual(supervisor.children.waiting(), ["node0"])
        (self.base / "urls.py").write_text("")
        self.reactor.pump([1, 1])
        self.assertEqual(supervisor.children.waiting(), [])
        self.ready(supervisor, 0)

    def test_a_ready_broker_is_not_a_started_node(self) -> None:
        supervisor = self.start()
        self.ready(supervisor, BROKER_SLOT)
        self.fail_start(supervisor, 0)
        self.assertEqual(self.given_up, [self.REASON])

    def test_a_broker_that_becomes_ready_meanwhile_does_not_repeat_the_reason(self) -> None:
        supervisor = self.start()
        broker, *links = [self.register(supervisor, slot) for slot in (BROKER_SLOT, 0, 1)]
        supervisor.registry.start_failed(links[0], self.REASON, True)  # type: ignore[arg-type]
        supervisor.registry.became_ready(broker)  # type: ignore[arg-type]
        supervisor.registry.start_failed(links[1], self.REASON, True)  # type: ignore[arg-type]
        self.assertEqual(len(self.reasons()), 1)

    def test_failed_starts_are_ignored_while_stopping(self) -> None:
        supervisor = self.start()
        link = self.register(supervisor, 0)
        supervisor.stopService()
        supervisor.registry.start_failed(link, self.REASON, True)  # type: ignore[arg-type]
        self.assertEqual(self.given_up, [])

    def test_the_same_reason_is_logged_once(self) -> None:
        supervisor = self.start()
        for slot in (0, 1):
            self.fail_start(supervisor, slot, "one", permanent=False)
        self.reactor.advance(0.5)
        self.fail_start(supervisor, 0, "one", permanent=False)
        self.fail_start(supervisor, 1, "two", permanent=False)
        self.reactor.advance(1)
        self.ready(supervisor, 0)
        self.fail_start(supervisor, 1, "two", permanent=False)
        self.assertEqual(
            self.reasons(),
            [
                "[node0#critical] cannot start: one",
                "[node1#critical] cannot start: two",
                "[node1#critical] cannot start: two",
            ],
        )


class SlotTests(SupervisorTestCase):
    """The supervisor notifies the slots, which test_listening_slots tests."""

    def is_open(self, supervisor: Supervisor, slot: int) -> bool:
        return supervisor._slots.is_open(slot)

    def test_the_replacement_receives_the_same_socket(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        before = supervisor.registry.listening_sockets(0)
        self.lose(supervisor, links[0])
        self.reactor.advance(0.25)
        self.ready(supervisor, 0)
        self.assertEqual(supervisor.registry.listening_sockets(0), before)
        self.reactor.advance(10)
        self.assertTrue(self.is_open(supervisor, 0))

    def test_a_slot_without_a_process_is_closed_after_five_seconds_and_reopened(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        self.reactor.cannot_start = True
        self.lose(supervisor, links.pop(0))
        self.reactor.advance(5.1)
        self.assertFalse(self.is_open(supervisor, 0))
        self.assertTrue(self.is_open(supervisor, 1))
        self.reactor.cannot_start = False
        self.reactor.advance(30)
        self.ready(supervisor, 0)
        self.assertTrue(self.is_open(supervisor, 0))

    def test_a_child_whose_port_was_taken_meanwhile_is_refused(self) -> None:
        supervisor = self.start(1, "local")
        self.process(supervisor, "node0").end(1)
        for _ in range(5):  # the child is never ready again
            self.reactor.advance(4)
            self.process(supervisor, "node0").end(1)
        self.assertFalse(self.is_open(supervisor, 0))
        taker = claim(parse_address(f"tcp:{self.port}:interface=127.0.0.1"))
        self.reactor.advance(30)
        self.assertRaises(RegistrationRefused, self.register, supervisor, 0)
        self.assertTrue(any(line.startswith("node0: cannot listen") for line in self.lines))
        taker.close()
        self.ready(supervisor, 0)
        self.assertTrue(self.is_open(supervisor, 0))

    def test_the_end_of_the_broker_closes_no_slot(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        self.lose(supervisor, links[BROKER_SLOT])
        self.reactor.advance(10)
        self.assertTrue(self.is_open(supervisor, 0) and self.is_open(supervisor, 1))


class HeartbeatTests(SupervisorTestCase):
    """The supervisor notifies the heartbeat, which test_heartbeat tests."""

    def test_children_that_report_are_kept(self) -> None:
        supervisor = self.start()
        self.beat(self.all_ready(supervisor), 30)
        self.assertEqual([process.signals for process in self.reactor.processes], [[], [], []])

    def test_a_silent_child_is_killed_and_replaced(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        silent = links.pop(1)
        process = self.process(supervisor, "node1")
        self.beat(links, 50)
        self.assertEqual(process.signals, [STACKS_SIGNAL, STACKS_SIGNAL, "KILL"])
        self.lose(supervisor, silent)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.live()), 3)

    def test_the_time_of_a_start_begins_with_the_process(self) -> None:
        supervisor = self.start(1, "local")
        self.reactor.pump([1] * 59)
        self.register(supervisor, 0)
        self.assertEqual(self.reactor.processes[0].signals, [])
        self.reactor.pump([1] * 5)
        self.assertEqual(self.reactor.processes[0].signals, [STACKS_SIGNAL, "KILL"])

    def test_survey_has_the_statistics_of_all_children(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        survey = supervisor.admin.survey()
        links[BROKER_SLOT].answer(ready=True)
        links[0].answer(ready=True, connections=1)
        self.reactor.advance(1.1)
        statistics = self.successResultOf(survey)
        self.assertEqual(
            statistics,
            {"broker": {"ready": True}, "node0": {"ready": True, "connections": 1}, "node1": None},
        )
        runtime = Path(self.config["publish_socket"]).parent
        names = ("control.sock", "broker.ipc", "publish-0-1001.sock", "publish-1-1002.sock")
        files = [runtime / name for name in names]
        for file in files:
            file.touch()
        self.assertEqual(supervisor.admin.missing(statistics), ["node1 does not answer"])
        for file in files:
            file.unlink()
        self.assertEqual(
            supervisor.admin.missing(statistics),
            ["node1 does not answer", *(f"{file} is gone" for file in files)],
        )
        shutil.rmtree(runtime)
        self.assertEqual(
            supervisor.admin.missing(statistics)[1:], [f"the runtime folder {runtime} is gone"]
        )
        self.reactor.advance(1)
        self.assertEqual(os.stat(runtime).st_mode & 0o777, 0o700)
        self.assertEqual(supervisor.admin.starts(), {"broker": 1, "node0": 1, "node1": 1})


class RestartTests(SupervisorTestCase):
    """The supervisor performs a rolling restart, which test_rolling_restart tests."""

    def candidate(self, supervisor: Supervisor, slot: int) -> RecordingLink:
        """The replacement of a node registers."""
        pid = supervisor.children.candidate_pid(f"node{slot}") or 0
        link = RecordingLink(slot, pid)
        self.config = supervisor.registry.registered(link, slot, pid)  # type: ignore[arg-type]
        return link

    def test_the_replacement_has_the_same_sockets_and_takes_over_when_it_serves(self) -> None:
        supervisor = self.start(1, "local")
        first = self.ready(supervisor, 0)
        before, folder = supervisor.registry.listening_sockets(0), self.config["publish_socket"]
        old = self.process(supervisor, "node0")
        done = supervisor.restart()
        second = self.candidate(supervisor, 0)
        self.assertEqual(supervisor.registry.listening_sockets(0), before)
        self.assertNotEqual(self.config["publish_socket"], folder)
        self.assertIs(supervisor._heartbeat.link("node0"), first)
        self.assertFalse(first.asked_to_stop)
        second.drain_timeout, second.restart_spread = 20.0, 5.0  # type: ignore[assignment]
        supervisor.registry.became_ready(second)  # type: ignore[arg-type]
        self.assertTrue(first.asked_to_stop and first.handing_over)
        self.assertIs(supervisor._heartbeat.link("node0"), second)
        self.assertEqual(
            (supervisor.children.killTime, supervisor.children.hand_over_time), (24, 29)
        )
        first.gone = True
        supervisor.registry.left(first)  # type: ignore[arg-type]
        old.end()
        self.assertIn("restarted 1 node in 0.0 s", self.successResultOf(done))
        self.reactor.advance(10)
        self.assertTrue(supervisor._slots.is_open(0))
        self.assertEqual(supervisor.registry.listening_sockets(0), before)
        self.assertEqual(supervisor.admin.starts(), {"node0": 2})

    def test_a_replacement_that_cannot_start_leaves_the_node(self) -> None:
        supervisor = self.start(1, "local")
        first = self.ready(supervisor, 0)
        done = supervisor.restart()
        link = self.candidate(supervisor, 0)
        supervisor.registry.start_failed(link, "ImportError: shop", True)  # type: ignore[arg-type]
        supervisor.registry.left(link)  # type: ignore[arg-type]
        self.reactor.live()[-1].end(1)
        error = self.failureResultOf(done, OperationFailed)
        self.assertIn("node0 cannot start: ImportError: shop", error.getErrorMessage())
        self.assertEqual(self.given_up, [])
        self.assertFalse(first.asked_to_stop)
        self.assertIs(supervisor._heartbeat.link("node0"), first)
        self.reactor.advance(60)
        self.assertEqual(len(self.reactor.live()), 1)

    def test_a_registered_replacement_takes_the_place_of_a_node_that_is_killed(self) -> None:
        supervisor = self.start(1, "local")
        first = self.ready(supervisor, 0)
        done = supervisor.restart()
        second = self.candidate(supervisor, 0)
        self.lose(supervisor, first)
        self.assertIs(supervisor._heartbeat.link("node0"), second)
        supervisor.registry.became_ready(second)  # type: ignore[arg-type]
        self.successResultOf(done)
        self.reactor.advance(10)
        self.assertTrue(supervisor._slots.is_open(0))
        self.assertEqual(len(self.reactor.live()), 1)

    def test_a_stop_during_a_restart_ends_all_processes(self) -> None:
        supervisor = self.start(1, "local")
        first = self.ready(supervisor, 0)
        done = supervisor.restart()
        second = self.candidate(supervisor, 0)
        stopped = supervisor.stopService()
        self.failureResultOf(done, OperationFailed)
        self.assertTrue(first.asked_to_stop and second.asked_to_stop)
        for process in self.reactor.live():
            process.end()
        self.successResultOf(stopped)

    def test_the_broker_is_replaced_if_it_runs_other_code(self) -> None:
        for installed, replaced in (("abc", False), ("abd", True)):
            supervisor = self.start(1)
            broker = self.register(supervisor, BROKER_SLOT)
            broker.fingerprint = "abc"  # type: ignore[assignment]
            supervisor.registry.became_ready(broker)  # type: ignore[arg-type]
            first = self.ready(supervisor, 0)
            done = supervisor.restart()
            compared = self.reactor.processes[-1]
            self.assertEqual(compared.args, ["child", "broker", "--fingerprint"])
            compared.protocol.childDataReceived(1, f"{installed}\n".encode())
            compared.end()
            old = self.process(supervisor, "node0")
            second = self.candidate(supervisor, 0)
            supervisor.registry.became_ready(second)  # type: ignore[arg-type]
            self.assertTrue(first.asked_to_stop)
            self.assertFalse(broker.asked_to_stop)
            old.end()
            self.assertEqual(broker.asked_to_stop, replaced)
            if replaced:
                self.lose(supervisor, broker)
                self.ready(supervisor, BROKER_SLOT)
            self.successResultOf(done)
            self.finish(supervisor)
            self.reactor = MemoryProcessReactor()

    def test_new_code_of_the_broker_that_cannot_be_loaded_ends_the_restart(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        links[BROKER_SLOT].fingerprint = "abc"  # type: ignore[assignment]
        done = supervisor.restart()
        compared = self.reactor.processes[-1]
        compared.protocol.childDataReceived(2, b"Traceback\nSyntaxError: no\n")
        compared.end(1)
        error = self.failureResultOf(done, OperationFailed)
        self.assertIn("cannot be loaded: SyntaxError: no", error.getErrorMessage())
        (event,) = supervisor._view.status.events.newest(1)
        self.assertEqual((event.kind, event.level), ("restart", "error"))
        self.assertIn("cannot be loaded: SyntaxError: no", event.text)

    def test_a_stop_while_the_brokers_code_is_compared_is_no_failure(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        links[BROKER_SLOT].fingerprint = "abc"  # type: ignore[assignment]
        done = supervisor.restart()
        supervisor.stopService()
        error = self.failureResultOf(done, OperationFailed)
        self.assertEqual(error.getErrorMessage(), "the cluster is stopping")

    def test_sighup_restarts_and_logs_a_failure(self) -> None:
        supervisor = self.start(1, "local")
        self.ready(supervisor, 0)
        supervisor.hang_up()
        self.reactor.live()[-1].end(1)
        self.assertIn("SIGHUP: restarting the processes one after the other", self.lines)


class SpareTests(SupervisorTestCase):
    def spare(self, supervisor: Supervisor) -> tuple[RecordingLink, Any]:
        """The spare process has loaded the site."""
        pid = supervisor.children.pid("spare") or 0
        link = RecordingLink(0, pid)
        return link, supervisor.registry.standby(link, pid)  # type: ignore[arg-type]

    def test_the_spare_process_takes_the_slot_of_a_node_that_is_killed(self) -> None:
        supervisor = self.start(2, spare=True)
        self.assertIsNone(supervisor.children.pid("spare"), "it waits until all nodes serve")
        links = self.all_ready(supervisor)
        args = self.process(supervisor, "spare").args
        self.assertEqual(args[-2:], ["--spare", "site.settings"])
        link, slot = self.spare(supervisor)
        self.assertRaises(RegistrationRefused, supervisor.registry.standby, None, 1)
        self.reactor.advance(10)
        self.lose(supervisor, links[1])
        self.assertEqual(self.successResultOf(slot), 1)
        link.slot = 1
        supervisor.registry.registered(link, 1, link.pid)  # type: ignore[arg-type]
        supervisor.registry.became_ready(link)  # type: ignore[arg-type]
        self.assertTrue(supervisor.children.is_ready("node1"))
        self.reactor.advance(3)
        self.assertEqual(len(self.reactor.live()), 4)
        self.lose(supervisor, links[0])  # before the next one has loaded the site
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.live()), 4)

    def test_a_restart_replaces_the_spare_process(self) -> None:
        supervisor = self.start(1, "local", spare=True)
        self.ready(supervisor, 0)
        link, slot = self.spare(supervisor)
        supervisor.restart().addErrback(lambda _: None)  # it is stopped at the end
        self.assertTrue(link.asked_to_stop)
        self.process(supervisor, "spare").end()
        self.reactor.advance(1)
        self.assertIsNotNone(supervisor.children.pid("spare"))
        self.assertNoResult(slot)

    def test_a_spare_process_that_has_ended_is_forgotten(self) -> None:
        """Another process may get its ID, which must not receive a signal then."""
        supervisor = self.start(1, "local", spare=True)
        self.ready(supervisor, 0)
        link, _ = self.spare(supervisor)
        link.slot = None
        self.process(supervisor, "spare").end(signal=9)
        supervisor.registry.left(link)  # type: ignore[arg-type]
        self.assertNotIn(link, supervisor.registry.links)


class StopTests(SupervisorTestCase):
    def test_stop_ends_the_nodes_then_the_broker_then_removes_the_folder(self) -> None:
        supervisor = self.start()
        links = self.all_ready(supervisor)
        folder = self.base / f"c10k-{os.getuid()}" / str(self.port)
        stopped = supervisor.stopService()
        again = supervisor.stopService()
        self.assertEqual(supervisor.admin.missing({}), ["stopping"])
        probe(parse_address(f"tcp:{self.port}:interface=127.0.0.1"))
        self.assertTrue(links[0].asked_to_stop and links[1].asked_to_stop)
        self.assertFalse(links[BROKER_SLOT].asked_to_stop)
        for name in ("node0", "node1"):
            self.process(supervisor, name).end()
        self.assertTrue(links[BROKER_SLOT].asked_to_stop)
        self.assertTrue(folder.exists())
        self.process(supervisor, "broker").end()
        self.successResultOf(stopped)
        self.successResultOf(again)
        self.assertFalse(folder.exists())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_registrations_are_refused_while_stopping(self) -> None:
        supervisor = self.start()
        supervisor.stopService()
        logged: list[Any] = []
        self.patch(Registry, "log", Logger(observer=logged.append))
        error = self.assertRaises(RegistrationRefused, self.register, supervisor, 0)
        self.assertEqual(str(error), "the cluster is stopping")
        self.assertEqual(logged, [])  # this is not an error

    def test_stop_is_allowed_before_the_reactor_runs(self) -> None:
        supervisor = self.make()
        supervisor.startService()
        self.successResultOf(supervisor.stopService())
        self.reactor.run()
        self.assertEqual(self.reactor.processes, [])
