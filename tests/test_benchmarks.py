"""The benchmarks: command lines, arithmetic and client, and small complete runs."""

import contextlib
import io
import json
import random
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import (
    broadcast,
    channel_layer,
    command,
    consumers,
    echo,
    engine,
    environments,
    fast_path,
    floods,
    handover,
    handshakes,
    history,
    http,
    http_echo,
    idle,
    life,
    link,
    load,
    measurements,
    restart,
    rounds,
    slow_views,
    socketio,
    socketio_fuzz,
    socketio_sessions,
    spare,
    storm,
    subscribers,
    tables,
    watchers,
)
from benchmarks.measurements import Measurements
from benchmarks.servers import (
    Candidate,
    Failed,
    Server,
    channels,
    cluster,
    competitor,
    cpu_of,
    kernel_kb,
)

MEASURING: Any = [broadcast, echo, engine, handshakes, idle, fast_path, history, life, link]
MEASURING += [
    channel_layer,
    consumers,
    floods,
    handover,
    http,
    http_echo,
    restart,
    slow_views,
    socketio,
    socketio_fuzz,
    spare,
    storm,
    watchers,
]


class SocketIOFuzzTests(SynchronousTestCase):
    """The checks can fail."""

    before = socketio_fuzz.State(100 * 1024.0, 50, 2, frozenset((1, 2)))
    log = "2026-11-28T06:49:00+0000 [node1#warn] invalid: 'error]'\n"

    def failures(self, after: socketio_fuzz.State, log: str = "", **waits: Any) -> list[str]:
        return socketio_fuzz.failures(
            self.before, after, self.log + log, {"polling": [1.0, 250.0], **waits}, 16, 250
        )

    def test_nothing_is_wrong(self) -> None:
        after = socketio_fuzz.State(116 * 1024.0, 52, 2, frozenset((1, 2)))
        self.assertEqual(self.failures(after), [])

    def test_each_check(self) -> None:
        for wrong, words in (
            (self.failures(self.before, "x [node0#error] a\n"), "[node0#error] a"),
            (self.failures(self.before, "x [node0#critical] a\n"), "[node0#critical] a"),
            (self.failures(self.before, "Traceback (most recent call last):\n"), "Traceback"),
            (self.failures(socketio_fuzz.State(0, 0, 0, frozenset((1, 3)))), "1 processes died"),
            (
                self.failures(socketio_fuzz.State(117e3 * 1.024, 50, 2, self.before.pids)),
                "grown by",
            ),
            (self.failures(socketio_fuzz.State(0, 59, 2, self.before.pids)), "9 more descriptors"),
            (self.failures(socketio_fuzz.State(0, 50, 3, self.before.pids)), "1 more sessions"),
            (self.failures(self.before, websocket=[1.0, 251.0]), "has waited for 251 ms"),
            (self.failures(self.before, websocket="gone"), "over websocket: gone"),
        ):
            self.assertEqual(len(wrong), 1, wrong)
            self.assertIn(words, wrong[0])

    def test_latencies(self) -> None:
        found = socketio_fuzz.latencies([*range(99, -1, -1)])
        self.assertEqual(found, {"count": 100, "p50": 49.5, "p99": 99, "max": 99})

    def test_the_same_seed_makes_the_same_payloads(self) -> None:
        first, second = random.Random(5), random.Random(5)
        for _ in range(300):
            made = socketio_sessions.payload(first)
            self.assertEqual(made, socketio_sessions.payload(second))


class CommandTests(SynchronousTestCase):
    def test_http_names_the_missing_program(self) -> None:
        self.patch(http.shutil, "which", lambda name: None)
        with self.assertRaisesRegex(Failed, "apt-get install wrk"):
            http.main([])

    def test_http_echo_names_the_missing_program(self) -> None:
        self.patch(http_echo.shutil, "which", lambda name: None)
        with self.assertRaisesRegex(Failed, "wrk is not installed"):
            http_echo.main([])

    def test_every_command_has_help(self) -> None:
        for benchmark in MEASURING:
            output = io.StringIO()
            with contextlib.redirect_stdout(output), self.assertRaises(SystemExit) as ended:
                benchmark.main(["--help"])
            self.assertEqual(ended.exception.code, 0)
            name = benchmark.__name__.rpartition(".")[2]
            self.assertIn(f"usage: python -m benchmarks.{name}", output.getvalue())
            self.assertIn("--json", output.getvalue())

    def test_wrong_usage_is_refused(self) -> None:
        """Values that would cause a division by zero or an empty list only after minutes."""
        for benchmark, words in (
            (echo, "--connections 0"),
            (echo, "--seconds 0"),
            (handshakes, "--connections 0"),
            (idle, "--hold 0"),
            (broadcast, "--rates 5,x"),
            (broadcast, "--subscribers 0"),
            (storm, "--nodes 0"),
            (restart, "--restarts 0"),
            (slow_views, "--views 0"),
            (channel_layer, "--receivers 0"),
            (handover, "--connections 0"),
            (consumers, "--connections 0"),
            (socketio, "--idle 0"),
            (socketio_fuzz, "--minutes 0"),
            (life, "--nodes 1,0"),
            (life, "--rounds 0"),
            (watchers, "--rate 0"),
            (history, "--runs 0"),
            (link, "--runs 0"),
            (engine, "--runs 0"),
        ):
            said = io.StringIO()
            with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as ended:
                benchmark.main(words.split())
            self.assertEqual(ended.exception.code, 2)
            self.assertIn("must be", said.getvalue())

    def test_a_comparison_prints_its_report(self) -> None:
        """From the options to the report, without a server."""
        options = command.arguments("echo", "").parse_args(["--rounds", "2", "--json"])
        candidates = [Candidate("fast", [], ""), Candidate("slow", [], "")]
        folders = []

        def measure(candidate: Candidate, folder: Path) -> Measurements:
            folders.append(folder)
            self.assertTrue(folder.is_dir())
            return {"ms": 1.0 if candidate.name == "fast" else 4.0}

        output = io.StringIO()
        versions = {"competitor": {"library": "1.2"}}
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
            status = command.compare(
                options, 10, lambda: (candidates, versions), measure, ratio_of=["ms"]
            )
        self.assertEqual(status, 0)
        said = json.loads(output.getvalue())
        self.assertEqual(
            list(said),
            ["options", "machine", "versions", "medians", "ratios", "rounds", "failed_runs"],
        )
        self.assertEqual(said["ratios"]["ms"]["slow"]["fast"], 4)
        self.assertEqual(said["versions"], versions)
        self.assertEqual((len(folders), len(set(folders))), (4, 1))
        self.assertFalse(folders[0].exists())

    def test_an_unknown_candidate_is_refused(self) -> None:
        candidates = [Candidate("Fast", ["fast"], ""), Candidate("slow", ["slow"], "")]
        self.assertEqual(rounds.chosen(candidates, ""), candidates)
        self.assertEqual(rounds.chosen(candidates, "fAST"), candidates[:1])
        with self.assertRaisesRegex(Failed, "they are: Fast, slow"):
            rounds.chosen(candidates, "quick")


class MeasurementTests(SynchronousTestCase):
    def test_candidates_take_turns(self) -> None:
        candidates = [Candidate("a", [], ""), Candidate("b", [], "")]
        turns = []

        def measure(candidate: Candidate) -> Measurements:
            turns.append(candidate.name)
            return {"turn": len(turns)}

        with contextlib.redirect_stderr(io.StringIO()):
            results = rounds.measured(candidates, 2, measure)
        self.assertEqual(turns, ["a", "b", "a", "b"])
        self.assertEqual(
            results, {"a": [{"turn": 1}, {"turn": 3}], "b": [{"turn": 2}, {"turn": 4}]}
        )

    def test_a_failed_run_is_repeated_once(self) -> None:
        for failures in (1, 2):
            outcomes: list[Failed | Measurements] = [Failed("no")] * failures + [{"ms": 1.0}]

            def measure(candidate: Candidate, outcomes: list[Any] = outcomes) -> Measurements:
                outcome = outcomes.pop(0)
                if isinstance(outcome, Failed):
                    raise outcome
                return dict(outcome)

            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                if failures == 1:
                    results = rounds.measured([Candidate("a", [], "")], 1, measure)
                    self.assertEqual(results, {"a": [{"ms": 1.0}]})
                    self.assertIn("round 1, a: no", said.getvalue())
                    self.assertEqual(results.failed, ["round 1, a: no"])
                else:
                    candidates = [Candidate("a", [], "")]
                    self.assertRaises(Failed, rounds.measured, candidates, 1, measure)

    def test_medians(self) -> None:
        runs = [{"ms": 3.0, "lost": 0.0}, {"ms": 100.0, "lost": 0.0}, {"ms": 2.0, "lost": 1.0}]
        self.assertEqual(measurements.medians(runs), {"ms": 3.0, "lost": 0.0})

    def test_ratios(self) -> None:
        ratios = measurements.against({"a": {"ms": 2.0}, "b": {"ms": 8.0}, "c": {"ms": 0.0}}, "ms")
        self.assertEqual(ratios["b"]["a"], 4)
        self.assertEqual(ratios["a"]["b"], 0.25)
        self.assertNotEqual(ratios["a"]["c"], ratios["a"]["c"])  # not a number

    def test_percentiles(self) -> None:
        hundred = list(range(1, 101))
        self.assertEqual(measurements.percentile(hundred, 50), 50)
        self.assertEqual(measurements.percentile(hundred, 99), 99)
        self.assertEqual(measurements.percentile(hundred, 99.9), 100)
        self.assertEqual(measurements.percentile([7.0], 50), 7)
        self.assertEqual(str(measurements.percentile([], 50)), "nan")

    def test_numbers_have_three_significant_digits(self) -> None:
        shown = [measurements.shown(value) for value in (0, 0.126, 9.99, 12.34, 123.4, 54321.0)]
        self.assertEqual(shown, ["0", "0.13", "9.99", "12.3", "123", "54,321"])

    def test_table(self) -> None:
        rows = {"cluster": {"ms": 2.0, "lost": 0.0}, "other": {"ms": 1234.5, "lost": 0.25}}
        self.assertEqual(
            measurements.table(rows).splitlines(),
            [
                "|         |    ms | lost |",
                "| :------ | ----: | ---: |",
                "| cluster |  2.00 |    0 |",
                "| other   | 1,234 | 0.25 |",
            ],
        )

    def test_report(self) -> None:
        options = command.arguments("echo", "").parse_args(["--json"])
        results = rounds.Results()
        results.update(a=[{"ms": 1.0}] * 3, b=[{"ms": 0.0}] * 3)
        results.failed.append("round 2, b: no")
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            found = command.report(options, command.machine(), results, ["ms"], {})
            measurements.print_report(found, options.json)
        said = json.loads(output.getvalue())
        self.assertEqual(said["options"], {"rounds": 3})
        self.assertEqual(said["medians"]["a"], {"ms": 1})
        self.assertEqual(said["ratios"]["ms"]["a"], {"a": 1, "b": None})
        self.assertEqual(len(said["rounds"]["b"]), 3)
        self.assertEqual(said["failed_runs"], ["round 2, b: no"])
        self.assertGreater(said["machine"]["cores"], 0)

        path, tables = Path(self.mktemp()), io.StringIO()
        path.write_text(output.getvalue())
        with contextlib.redirect_stdout(tables):
            self.assertEqual(measurements.main([str(path)]), 0)
        self.assertIn("nan", tables.getvalue())


class PageTests(SynchronousTestCase):
    """The results in the documentation."""

    def test_the_page_has_the_results_of_the_json_files(self) -> None:
        page = tables.PAGE.read_text()
        self.assertEqual(tables.filled(page, tables.all_found()), page)

    def test_a_block_without_a_json_file_is_unchanged(self) -> None:
        page = "a\n<!-- echo -->\nold\n<!-- end -->\nb\n"
        self.assertEqual(tables.filled(page, {}), page)

    def test_a_block_is_replaced(self) -> None:
        page = "a\n<!-- storm -->\nold\n<!-- end -->\nb\n"
        new = tables.filled(page, {"storm": {"medians": {"cluster": {"s": 1.5}}}})
        self.assertNotIn("old", new)
        self.assertIn("| cluster | 1.50 |", new)


class ReadingTests(SynchronousTestCase):
    """Parsing of /proc and of the servers' output."""

    def test_cpu(self) -> None:
        text = "17 (a) b (c) S 1 17 17 0 -1 4194560 900 0 0 0 250 50 9 9 20 0 1 0 99"
        self.assertAlmostEqual(cpu_of(text), 3.0)

    def test_kernel_memory(self) -> None:
        meminfo = "MemTotal: 5 kB\nSReclaimable:   70 kB\nSUnreclaim:       1200 kB\n"
        sockstat = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 3 alloc 7 mem 2\nUDP: inuse 1 mem 9\n"
        self.assertEqual(kernel_kb(meminfo, sockstat), 1208)
        self.assertRaises(ValueError, kernel_kb, "", sockstat)

    def test_ready_when_all_workers_are(self) -> None:
        candidate = channels("uvicorn", "python", 2, "/echo/")
        running = "INFO: Uvicorn running on http://127.0.0.1:8123 (Press CTRL+C to quit)\n"
        started = "INFO: Application startup complete.\n"
        self.assertNotRegex(running + started, candidate.ready)
        self.assertRegex(running + started + started, candidate.ready)
        self.assertRegex(started + running + started, candidate.ready)

    def test_cluster_is_ready(self) -> None:
        candidate = cluster(4)
        self.assertEqual(candidate.name, "cluster, 4 nodes")
        line = "c10k ready: http://127.0.0.1:8123/ (4 nodes), admin http://127.0.0.1:9123/"
        self.assertRegex(line, candidate.ready)

    def test_a_server_that_does_not_start_is_reported_with_its_output(self) -> None:
        candidate = Candidate("broken", [sys.executable, "-c", "raise SystemExit('no')"], "ready")
        with self.assertRaisesRegex(Failed, r"broken did not start:\nno"):
            Server(candidate, Path(self.mktemp_folder())).__enter__()

    def mktemp_folder(self) -> str:
        path = Path(self.mktemp())
        path.mkdir(parents=True)
        return str(path)


class EnvironmentTests(SynchronousTestCase):
    def test_this_python_is_used_if_it_has_all_libraries(self) -> None:
        python = environments.python_for("autobahn", Path("/nowhere"))
        self.assertEqual(python, sys.executable)
        self.assertEqual(set(environments.versions("autobahn", python)), {"autobahn", "twisted"})

    def test_an_environment_is_used_again(self) -> None:
        requirement = "no-such-distribution-anywhere"
        self.patch(environments, "REQUIREMENTS", {"library": (requirement,)})
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        folder = Path(self.mktemp()).resolve() / f"library-{version}"
        folder.mkdir(parents=True)
        (folder / "installed.json").write_text(json.dumps([requirement]))
        python = environments.python_for("library", folder.parent)
        self.assertEqual(python, str(folder / "bin" / "python"))

    def test_packages_of_node_are_used_again(self) -> None:
        self.patch(environments, "NODE_PACKAGES", {"server": {"no-such-package": "1.0.0"}})
        self.patch(environments.shutil, "which", lambda name: name)
        folder = Path(self.mktemp()).resolve() / "server-node"
        folder.mkdir(parents=True)
        (folder / "installed.json").write_text('{"no-such-package": "1.0.0"}')
        self.assertEqual(environments.node_modules_for("server", folder.parent), folder)

    def test_a_missing_node_is_named(self) -> None:
        self.patch(environments.shutil, "which", lambda name: None)
        with self.assertRaisesRegex(Failed, "apt-get install nodejs npm"):
            environments.node_modules_for("socketio_reference", Path("/nowhere"))


class FrameTests(SynchronousTestCase):
    def test_client_frame(self) -> None:
        # The masked "Hello" of RFC 6455, section 5.7.
        self.assertEqual(load.client_frame(b"Hello").hex(), "818537fa213d7f9f4d5158")
        self.assertEqual(load.masked(load.masked(b"any length")), b"any length")
        self.assertRaises(ValueError, load.client_frame, bytes(126))

    def test_split(self) -> None:
        two = b"\x81\x02hi\x89\x01p"
        self.assertEqual(load.split_frames(two), ([(load.TEXT, b"hi"), (load.PING, b"p")], b""))
        self.assertEqual(load.split_frames(two[:5]), ([(load.TEXT, b"hi")], b"\x89"))
        self.assertEqual(load.split_frames(two[:3]), ([], two[:3]))
        self.assertRaises(Failed, load.split_frames, b"\x81\x7e\x01\x00")


class SubscriberTests(SynchronousTestCase):
    """The record of one subscriber, fed through a socket pair."""

    def setUp(self) -> None:
        self.server, client = socket.socketpair()
        self.addCleanup(self.server.close)
        self.addCleanup(client.close)
        self.client = client
        self.subscribers = subscribers.Subscribers([client])

    def take(self, *parts: bytes) -> None:
        for part in parts:
            self.server.send(part)
            self.subscribers.take(self.client.fileno())

    def frame(self, number: int) -> bytes:
        payload = subscribers.message(number, 12.5)
        self.assertEqual(len(payload), subscribers.PAYLOAD)
        return bytes([0x81, len(payload)]) + payload

    def test_warm_up_messages_are_not_counted(self) -> None:
        self.take(self.frame(0))
        self.assertEqual(self.subscribers.warm, {self.client.fileno()})
        self.assertEqual(self.subscribers.received, 0)

    def test_frames_may_be_split_between_reads(self) -> None:
        third = self.frame(3)
        self.take(self.frame(1), self.frame(2) + third[:9], third[9:])
        self.assertEqual(self.subscribers.received, 3)
        self.assertEqual(self.subscribers.disorder, 0)
        self.assertEqual(len(self.subscribers.latencies), 3)

    def test_messages_out_of_order_and_duplicates_are_counted(self) -> None:
        self.take(self.frame(2), self.frame(1), self.frame(3), self.frame(3))
        self.assertEqual(self.subscribers.disorder, 2)

    def test_ping(self) -> None:
        self.take(b"\x89\x02hi" + self.frame(1))
        self.assertEqual(self.server.recv(100), load.client_frame(b"hi", load.PONG))
        self.assertEqual(self.subscribers.received, 1)

    def test_a_closed_connection_is_counted(self) -> None:
        self.take(self.frame(1), b"\x88\x02\x03\xf5")
        self.server.close()
        self.assertFalse(self.subscribers.take(self.client.fileno()))
        received, disorder, disconnected, latencies = self.subscribers.found()
        self.assertEqual((received, disorder, disconnected, len(latencies)), (1, 0, 1, 1))


class RunTests(SynchronousTestCase):
    """Runs on the competitor whose libraries the project needs anyway."""

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.patch(echo, "WARM_UP_S", 0.01)
        self.patch(handshakes, "WARM_UP", 2)

    def test_echo(self) -> None:
        found = echo.measure(
            competitor("Autobahn", sys.executable, "autobahn_echo"), self.folder, 3, 0.05
        )
        self.assertGreater(found["msg/s, 1"], 0)
        self.assertGreater(found["msg/s, 8"], 0)

    def test_channel_layer(self) -> None:
        self.patch(channel_layer, "TO_ONE", 20)
        self.patch(channel_layer, "WARM_UP", 1)
        options = channel_layer.parser().parse_args(["--only", "cluster"])
        (candidate,), _ = channel_layer.candidates(options)
        with command.scratch_folder() as folder:
            found = channel_layer.measure(candidate, folder, 10, 2)
        self.assertEqual((found["lost"], found["lost of these"]), (0, 0))

    def test_socketio(self) -> None:
        self.patch(socketio, "WARM_UP_S", 0.01)
        self.patch(socketio, "SETTLE_S", 0.0)
        words = "--only cluster --nodes 2 --connections 3 --subscribers 4 --idle 5 --seconds 0.1"
        options = socketio.parser().parse_args(words.split())
        (servers,), _ = socketio.candidates(options)
        with command.scratch_folder() as folder:
            found = socketio.measure(servers, folder, options)
        self.assertEqual(found["missing %"], 0)

    def test_slow_views(self) -> None:
        self.patch(slow_views, "QUIET_S", 0.1)
        # The views take a second in total, so that there are echoes even on a busy machine.
        environment = {"SLOW_SITE_THREADS": "1", "SLOW_SITE_SECONDS": "0.05"}
        candidate = replace(slow_views.candidates()[0], environment=environment)
        with command.scratch_folder() as folder:  # a socket's address has at most 107 bytes
            found = slow_views.measure(candidate, folder, 20)
        self.assertEqual((found["served"], found["refused"]), (20, 0))
        self.assertGreater(found["echo p50 ms"], 0)

    def test_a_refused_handshake_is_reported(self) -> None:
        site = competitor("site", sys.executable, "autobahn_echo", "--site", path="/elsewhere")
        with self.assertRaisesRegex(Failed, "answered HTTP/1.1 404"):
            idle.measure(site, self.folder, 3, 0.1)

    def test_pings_are_answered(self) -> None:
        server, client = socket.socketpair()
        with server, client:
            server.send(b"\x89\x02hi\x89")
            server.send(b"\x01.")
            self.assertEqual(load.hold([client], 0.05), 2)
            pongs = load.client_frame(b"hi", load.PONG) + load.client_frame(b".", load.PONG)
            self.assertEqual(server.recv(100), pongs)
            server.send(b"\x88\x02\x03\xe9")
            self.assertRaisesRegex(Failed, "closed an idle", load.hold, [client], 5)
