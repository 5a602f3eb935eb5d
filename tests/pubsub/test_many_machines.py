"""50 machines with 8 nodes each, with failures at random: each run is another one.

A failure names its seed. ``C10K_SEED=17 trial tests.pubsub.test_many_machines`` repeats a run;
``C10K_STEPS`` is the number of events, which is small where CI is set.
"""

import os
import random
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from cluster.pubsub import history_outbox
from tests.once import once
from tests.pubsub.machines_simulation import MachinesOfPubSubs

STEPS = int(os.environ.get("C10K_STEPS", "20" if "CI" in os.environ else "40"))
DIGESTS = 0.02
"""How often digests are compared before all machines come to rest: computing one takes long."""


class SampledDigests(MachinesOfPubSubs):
    def __init__(self, machines: int, nodes: int, chance: random.Random) -> None:
        self.chance = chance
        super().__init__(machines, nodes)

    def check_digest(self, machine: object) -> None:
        if self.chance.random() < DIGESTS:
            super().check_digest(machine)  # type: ignore[arg-type]


@once
class ManyMachinesTests(SynchronousTestCase):
    """The rules of the simulation hold for many machines."""

    def test_fifty_machines(self) -> None:
        self.patch(history_outbox, "GRACE_S", 1e9)  # simulated time passes fast
        seed = int(os.environ.get("C10K_SEED") or random.SystemRandom().randrange(1 << 32))
        try:
            self.play(random.Random(seed))
        except BaseException as error:
            raise AssertionError(f"with C10K_SEED={seed}: {error!r}") from error

    def play(self, chance: random.Random) -> None:
        site = SampledDigests(50, 8, chance)
        site.settle()
        machine = lambda: chance.choice(site.machines)  # noqa: E731
        node = lambda: chance.choice(site.nodes)  # noqa: E731

        def publish() -> None:
            publisher = node()
            for _ in range(chance.randrange(1, 4)):
                site.publish_to(publisher, chance.choice([b"t", b"u"]))

        def stop_node() -> None:
            stopped = node()
            if len(site.machine_of(stopped).nodes) > 1:
                site.stop_node(stopped, chance.random() < 0.5)

        def cut_off() -> None:
            for _ in range(chance.randrange(1, 10)):
                site.set_deaf(machine(), True)

        def heal() -> None:
            for each in site.machines:
                site.set_deaf(each, False)

        events: list[tuple[int, Callable[[], object]]] = [
            (20, publish),
            (10, lambda: site.retain(node())),
            (10, lambda: site.follow(node(), chance.choice([b"t", b"u"]))),
            (5, lambda: site.unfollow(node())),
            (5, lambda: site.join(node(), chance.choice(["ada", "bob"]))),
            (20, site.round),
            (5, lambda: site.advance(chance.choice([300, 2000, 6000]))),
            (2, site.meet),
            (2, lambda: site.crash(machine())),
            (2, lambda: site.start_node(machine())),
            (2, stop_node),
            (2, lambda: site.cut(node())),
            (2, cut_off),
            (2, heal),
            (1, site.restart_engine),
            (1, site.save_engine),
            (1, site.fail_over),
        ]
        weights, calls = zip(*events, strict=True)
        for call in chance.choices(calls, weights, k=STEPS):
            call()
        site.settle()
