import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from workers.reporting.server_memory import is_here, listening_processes, measure, resident


class MemoryTests(SynchronousTestCase):
    def test_files_of_proc(self) -> None:
        proc = Path(self.mktemp())
        for folder in ("7", "8", "net"):
            (proc / folder).mkdir(parents=True)
        (proc / "7/statm").write_text("1000 100 50 1 0 300 0\n")
        (proc / "8/statm").write_text("1000 11 5 1 0 300 0\n")
        (proc / "meminfo").write_text("MemTotal: 8 kB\nSlab: 900 kB\nSUnreclaim:   500 kB\n")
        (proc / "net/sockstat").write_text("TCP: inuse 5 orphan 0 tw 1 alloc 7 mem 3\n")
        found = measure([7, 8], proc)
        page = os.sysconf("SC_PAGE_SIZE")
        self.assertEqual(
            (found.resident, found.slab, found.tcp), (111 * page, 500 * 1024, 3 * page)
        )

        self.assertEqual(measure([7, 8, 9], proc).resident, 0)  # unknown: one process has ended

    def test_without_proc(self) -> None:
        found = measure([7], Path(self.mktemp()))
        self.assertEqual((found.resident, found.slab, found.tcp), (0, 0, 0))

    def test_of_this_process(self) -> None:
        self.assertGreater(resident(os.getpid()), 1 << 20)

    def test_listening_processes(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            self.assertIn(os.getpid(), listening_processes([port]))
        self.assertEqual(listening_processes([port]), [])

    def test_a_descriptor_that_is_closed_meanwhile(self) -> None:
        """For example the descriptor that the listing itself has opened."""
        proc = Path(self.mktemp())
        (proc / "net").mkdir(parents=True)
        (proc / "net/tcp").write_text(
            "heading\n 0: 0100007F:1F40 00000000:0000 0A 0:0 00:0 0 0 0 111 1\n"
        )
        (proc / "7/fd").mkdir(parents=True)
        for number in range(20):  # the order of the listing is unknown
            (proc / f"7/fd/{number}").touch()
        os.unlink(proc / "7/fd/10")
        os.symlink("socket:[111]", proc / "7/fd/10")
        self.assertEqual(listening_processes([8000], proc), [7])

    def test_address_of_this_machine(self) -> None:
        self.assertTrue(is_here("127.0.0.1"))
        self.assertFalse(is_here("192.0.2.1"))
