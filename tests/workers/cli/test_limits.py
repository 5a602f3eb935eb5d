from twisted.trial.unittest import SynchronousTestCase

from workers.cli.limits import Finding, check
from workers.connection.target import Target

HERE = Target("ws://127.0.0.1:8000", "127.0.0.1", 8000)
THERE = Target("ws://192.0.2.1:8000", "192.0.2.1", 8000)
PORTS = 32768, 60999


class CheckTests(SynchronousTestCase):
    def only(self, findings: list[Finding], fatal: bool) -> str:
        self.assertEqual([finding.fatal for finding in findings], [fatal])
        self.assertNotIn("\n", findings[0].text)
        return findings[0].text

    def test_sufficient_limits_have_no_findings(self) -> None:
        self.assertEqual(check(10_000, 1, [HERE], open_files=20_000, ports=PORTS, queue=4096), [])
        self.assertEqual(check(100_000, 6, [HERE], open_files=20_000, ports=PORTS), [])

    def test_too_few_open_files_are_fatal(self) -> None:
        text = self.only(check(10_000, 1, [HERE], open_files=4096, ports=PORTS), fatal=True)
        self.assertIn("need 10,064 open files each, 4,096 are allowed: use --processes 3", text)
        self.assertEqual(check(10_000, 3, [HERE], open_files=4096, ports=PORTS), [])

    def test_too_few_ports_are_fatal(self) -> None:
        text = self.only(check(30_000, 2, [THERE], open_files=20_000, ports=PORTS), fatal=True)
        self.assertIn("30,000 connections to 192.0.2.1 port 8000", text)
        self.assertIn("which has 28,232 from 32768 on", text)
        other = Target("ws://192.0.2.2:8000", "192.0.2.2", 8000)
        self.assertEqual(check(30_000, 2, [THERE, other], open_files=20_000, ports=PORTS), [])

    def test_a_short_queue_is_not_fatal(self) -> None:
        findings = check(10_000, 1, [HERE], 10_000, open_files=20_000, ports=PORTS, queue=512)
        self.assertIn(
            "10,000 connections are opened at once, of which 512", self.only(findings, False)
        )
