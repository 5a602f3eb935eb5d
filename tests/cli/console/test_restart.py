"""c10k restart, with the supervisor in a thread."""

import contextlib
import io
import os
import socket
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from cluster.cli.console.main import main
from cluster.net.runtime_directory import RuntimeDirectory


class RestartTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.base = Path(temporary.name)
        self.patch(os, "environ", {"XDG_RUNTIME_DIR": temporary.name})

    def cluster(self, port: int, answer: dict[bytes, bytes] | None = None) -> None:
        """Run a cluster whose supervisor answers one command; None: it ends instead."""
        runtime = RuntimeDirectory.claim(port, os.environ, os.getuid())
        self.addCleanup(runtime.release)
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(runtime.control)
        listening.listen()

        def serve() -> None:
            connected, _ = listening.accept()
            with connected:
                (box,) = amp.parseString(connected.recv(65536))
                self.assertEqual((box[b"_command"], box[b"what"]), (b"Ask", b"restart"))
                if answer is not None:
                    data = amp.Box(answer).serialize()
                    connected.sendall(data[:10])
                    connected.sendall(data[10:])

        thread = threading.Thread(target=serve)
        if answer is not None or port == 8003:
            thread.start()
            self.addCleanup(thread.join)

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["restart", *arguments])
        return status, out.getvalue(), err.getvalue()

    def test_the_summary_is_printed(self) -> None:
        answer = b'{"summary": "restarted 4 nodes in 2.0 s"}'
        self.cluster(8001, {b"_answer": b"1", b"answer": answer})
        self.assertEqual(self.run_command(), (0, "restarted 4 nodes in 2.0 s\n", ""))

    def test_a_restart_that_ends_early(self) -> None:
        self.cluster(
            8001, {b"_error": b"1", b"_error_code": b"FAILED", b"_error_description": b"no app"}
        )
        self.assertEqual(self.run_command(), (1, "", "c10k: no app\n"))

    def test_a_supervisor_that_ends(self) -> None:
        self.cluster(8003)
        status, _, err = self.run_command("--port", "8003")
        self.assertEqual((status, "has ended before" in err), (1, True))

    def test_no_cluster(self) -> None:
        status, _, err = self.run_command()
        self.assertEqual((status, err), (1, "c10k: no cluster of this user is running\n"))

    def test_several_clusters(self) -> None:
        self.cluster(8001)
        self.cluster(8002)
        status, _, err = self.run_command()
        self.assertEqual(status, 1)
        self.assertIn("choose one with --port (8001, 8002)", err)
        status, _, err = self.run_command("--port", "8009")
        self.assertEqual(err, "c10k: no cluster of this user is running on port 8009\n")
