from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from workers.connection.limits import (
    Finding,
    accept_queue,
    check,
    listening,
    processes_for,
    processes_needed,
)
from workers.connection.target import Target

HERE = Target("ws://127.0.0.1:8000", "127.0.0.1", 8000)
THERE = Target("ws://192.0.2.1:8000", "192.0.2.1", 8000)
PORTS = 32768, 60999

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1
   1: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1
   2: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 333 1
   3: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 444 1
"""


class CheckTests(SynchronousTestCase):
    def only(self, findings: list[Finding], fatal: bool) -> str:
        self.assertEqual([finding.fatal for finding in findings], [fatal])
        self.assertNotIn("\n", findings[0].text)
        return findings[0].text

    def test_enough(self) -> None:
        self.assertEqual(check(10_000, 1, [HERE], allowed=20_000, ports=PORTS, queue=4096), [])
        self.assertEqual(check(100_000, 6, [HERE], allowed=20_000, ports=PORTS), [])

    def test_open_files(self) -> None:
        text = self.only(check(10_000, 1, [HERE], allowed=4096, ports=PORTS), fatal=True)
        self.assertIn("need 10,064 open files each, 4,096 are allowed: use --processes 3", text)
        self.assertEqual(check(10_000, 3, [HERE], allowed=4096, ports=PORTS), [])

    def test_ports(self) -> None:
        text = self.only(check(30_000, 2, [THERE], allowed=20_000, ports=PORTS), fatal=True)
        self.assertIn("30,000 connections to 192.0.2.1 port 8000", text)
        self.assertIn("which has 28,232 from 32768 on", text)
        other = Target("ws://192.0.2.2:8000", "192.0.2.2", 8000)
        self.assertEqual(check(30_000, 2, [THERE, other], allowed=20_000, ports=PORTS), [])

    def test_a_short_queue_is_slow_not_fatal(self) -> None:
        findings = check(10_000, 1, [HERE], 10_000, allowed=20_000, ports=PORTS, queue=512)
        self.assertIn(
            "10,000 connections are opened at once, of which 512", self.only(findings, False)
        )

    def test_processes_needed(self) -> None:
        self.assertEqual(processes_needed(10_000, 20_000), 1)
        self.assertEqual(processes_needed(20_000, 20_000), 2)


class ProcTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.proc = Path(self.mktemp())
        (self.proc / "net").mkdir(parents=True)
        (self.proc / "net/tcp").write_text(TCP)
        (self.proc / "sys/net/core").mkdir(parents=True)
        (self.proc / "sys/net/core/somaxconn").write_text("4096\n")

    def test_listening(self) -> None:
        found = list(listening(self.proc))
        self.assertEqual(found, [(8000, "111"), (8000, "222"), (80, "444")])

    def test_accept_queue(self) -> None:
        self.assertEqual(accept_queue([HERE], self.proc), 8192)
        self.assertIsNone(accept_queue([HERE, THERE], self.proc))
        (self.proc / "sys/net/core/somaxconn").unlink()
        self.assertIsNone(accept_queue([HERE], self.proc))


class ProcessesTests(SynchronousTestCase):
    def test_at_most_half_of_the_cores(self) -> None:
        self.assertEqual(processes_for(1024, cores=32), 1)
        self.assertEqual(processes_for(10_000, cores=2), 1)
        self.assertEqual(processes_for(10_000, cores=1), 1)
        self.assertEqual(processes_for(10_000, cores=4), 2)
        self.assertEqual(processes_for(10_000, cores=32), 3)
