"""The encoding of a plan for a child process."""

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from workers.connection.target import Target
from workers.life.cell_clients import LifePlan
from workers.life.rules import Grid
from workers.load.echo_clients import EchoPlan
from workers.processes.plan import Plan

COMMON: dict[str, Any] = {"targets": (Target("ws://h", "127.0.0.1", 80),), "shards": 3}


class PlanTests(SynchronousTestCase):
    def test_json_and_back(self) -> None:
        for plan in (
            Plan(**COMMON, clients=5, path="/"),
            EchoPlan(**COMMON, clients=5, path="/test/ws/", delay=1.5, ramp=100.0),
            LifePlan.of(Grid(200, 1 << 39_999), **COMMON, wrap=False, last=7, rate=2.5),
        ):
            self.assertEqual(type(plan).from_json(json.loads(json.dumps(plan.as_json()))), plan)

    def test_a_game_keeps_its_first_generation(self) -> None:
        self.assertEqual(LifePlan.of(Grid(3, 0b101), **COMMON).start, Grid(3, 0b101))
