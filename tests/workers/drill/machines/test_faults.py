"""The schedule of a drill on several machines, and the times in which publications may be lost."""

from twisted.trial.unittest import SynchronousTestCase

from workers.drill.machines.faults import (
    KINDS,
    WITH_CLOCKS,
    WITH_CUTS,
    WITH_SENTINEL,
    Disturbances,
    Fault,
    possible,
    schedule,
)

ALL = list(KINDS)


class ScheduleTests(SynchronousTestCase):
    def test_it_depends_only_on_the_seed(self) -> None:
        self.assertEqual(list(schedule(7, 600, ALL)), list(schedule(7, 600, ALL)))
        self.assertNotEqual(list(schedule(7, 600, ALL)), list(schedule(8, 600, ALL)))

    def test_all_kinds_happen_before_one_happens_again(self) -> None:
        kinds = [fault.kind for fault in schedule(3, 3600, ALL)]
        self.assertGreater(len(kinds), 2 * len(ALL))
        self.assertEqual(set(kinds[: len(ALL)]), set(ALL))
        self.assertEqual(set(kinds[len(ALL) : 2 * len(ALL)]), set(ALL))

    def test_faults_follow_each_other_and_end_in_time(self) -> None:
        end = 0.0
        for fault in schedule(5, 300, ALL):
            self.assertGreaterEqual(fault.at, end + 2.0)
            end = fault.at + fault.seconds
        self.assertLessEqual(end, 300)

    def test_a_fault_chooses_among_what_there_is(self) -> None:
        self.assertEqual(Fault(0, "cut", 1, 0.0, 0).of("abc"), "a")
        self.assertEqual(Fault(0, "cut", 1, 0.999, 0).of("abc"), "c")

    def test_a_clock_jumps_by_seconds_or_minutes_in_both_directions(self) -> None:
        jumps = [Fault(0, "clock", 0, 0, detail).jump for detail in (0.0, 0.499, 0.5, 0.999)]
        self.assertEqual([round(jump) for jump in jumps], [-300, -2, 2, 297])

    def test_what_is_possible(self) -> None:
        self.assertFalse(WITH_CUTS & set(possible(False, with_sentinel=True, with_clocks=True)))
        self.assertFalse(WITH_SENTINEL & set(possible(True, with_sentinel=False, with_clocks=True)))
        self.assertFalse(WITH_CLOCKS & set(possible(True, with_sentinel=True, with_clocks=False)))
        everything = {*possible(True, True, True), *possible(True, False, True)}
        self.assertEqual(everything, set(KINDS))


class DisturbancesTests(SynchronousTestCase):
    def test_a_killed_node_while_its_messages_are_delayed(self) -> None:
        disturbances = Disturbances()
        disturbances.killed(5.0)
        disturbances.began(10.0, 1.0)
        self.assertIsNone(disturbances.calm_since)
        self.assertEqual(disturbances.double_faults(), [])
        disturbances.killed(12.0)
        self.assertEqual(disturbances.double_faults(), [(9.0, float("inf"))])
        disturbances.ended(14.0, 2.0)
        self.assertEqual(disturbances.calm_since, 14.0)
        disturbances.ended(15.0, 2.0)
        disturbances.began(20.0, 1.0)
        disturbances.ended(21.0, 1.0)
        self.assertEqual(disturbances.double_faults(), [(9.0, 16.0)])
