"""The schedule of a drill."""

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.faults import SPREAD, schedule


class ScheduleTests(SynchronousTestCase):
    def test_it_depends_only_on_the_seed(self) -> None:
        self.assertEqual(list(schedule(7, 300, 10, 15)), list(schedule(7, 300, 10, 15)))
        self.assertNotEqual(list(schedule(7, 300, 10, 15)), list(schedule(8, 300, 10, 15)))

    def test_faults_are_about_as_far_apart_as_asked(self) -> None:
        faults = list(schedule(1, 300, 10, 15))
        for name, every in (("node", 10), ("broker", 15)):
            times = [fault.at for fault in faults if fault.name == name]
            self.assertEqual(len(times), 300 / every)
            for number, at in enumerate(times, 1):
                self.assertLessEqual(abs(at - number * every), SPREAD * every)
        self.assertEqual(faults, sorted(faults))
        self.assertTrue(all(0 <= fault.choice < 1 for fault in faults))

    def test_a_kind_may_be_left_out(self) -> None:
        self.assertEqual({fault.name for fault in schedule(1, 60, 10, 0)}, {"node"})
        self.assertEqual(list(schedule(1, 60, 0, 0)), [])
