from twisted.trial.unittest import SynchronousTestCase

from workers.processes.process_count import (
    default_processes,
    necessary_processes,
    worthwhile_processes,
)


class ProcessCountTests(SynchronousTestCase):
    def test_at_most_half_of_the_cores(self) -> None:
        self.assertEqual(worthwhile_processes(1024, cores=32), 1)
        self.assertEqual(worthwhile_processes(10_000, cores=2), 1)
        self.assertEqual(worthwhile_processes(10_000, cores=1), 1)
        self.assertEqual(worthwhile_processes(10_000, cores=4), 2)
        self.assertEqual(worthwhile_processes(10_000, cores=32), 3)

    def test_enough_for_the_limit_on_open_files(self) -> None:
        self.assertEqual(necessary_processes(10_000, 20_000), 1)
        self.assertEqual(necessary_processes(20_000, 20_000), 2)
        self.assertEqual(default_processes(10_000, cores=1, open_files=4096), 3)
