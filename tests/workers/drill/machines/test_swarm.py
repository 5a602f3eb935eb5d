"""The swarm against several machines: its options, the order of the faults, and the summary."""

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.machines.faults import Fault
from workers.drill.machines.swarm import inject, lines, parse_arguments


class Performed:
    """An injector that keeps what it should perform."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    async def perform(self, fault: Fault) -> None:
        self.faults.append(fault)


class SwarmTests(SynchronousTestCase):
    def test_the_arguments_of_the_swarm_follow(self) -> None:
        command = "--faults redis-kill,machine-kill --nodes 3 life -n 10 --nodes 4"
        options = parse_arguments(command.split())
        self.assertEqual(["redis-kill", "machine-kill"], options.kinds)
        self.assertEqual((2, 3), (options.machines, options.nodes))
        self.assertEqual(["life", "-n", "10", "--nodes", "4"], options.swarm)

    def test_wrong_usage(self) -> None:
        for wrong in ("", "--faults air life", "--machines 0 life"):
            error = self.assertRaises(SystemExit, parse_arguments, wrong.split())
            self.assertEqual(error.code, 2)

    def test_faults_concern_one_machine_after_the_other(self) -> None:
        injector = Performed()
        kinds = ["gateway-kill", "machine-kill", "redis-kill"]
        asyncio.run(inject(injector, kinds, 0))  # type: ignore[arg-type]
        self.assertEqual(kinds, [fault.kind for fault in injector.faults])
        chosen = [fault.of(["m1", "m2"]) for fault in injector.faults]
        self.assertEqual(["m1", "m2", "m1"], chosen)

    def test_the_summary_as_text(self) -> None:
        summary = {
            "verified": False,
            "violations": ["the swarm ended with status 1"],
            "network": "namespaces",
            "machines": 2,
            "nodes": 2,
            "injected": [{"what": "killed m1"}, {"what": "killed redis"}],
            "longest_join": 1.5,
        }
        text = "\n".join(lines(summary))
        self.assertIn("injected: killed m1, killed redis; all machines joined again", text)
        self.assertTrue(text.endswith("VIOLATED: the swarm ended with status 1"))
