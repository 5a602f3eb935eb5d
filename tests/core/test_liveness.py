"""Tests of cluster.core.liveness."""

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.liveness import Liveness


class LivenessTests(SynchronousTestCase):
    def test_processes_are_watched_from_their_first_sign_of_life(self) -> None:
        self.assertEqual(Liveness(10).silent(1e9), [])

    def test_a_process_is_silent_only_after_more_than_the_timeout(self) -> None:
        liveness = Liveness(10)
        liveness.heard("node0", 100)
        self.assertEqual(liveness.silent(110), [])
        self.assertEqual(liveness.silent(110.5), ["node0"])

    def test_each_sign_of_life_restarts_the_time(self) -> None:
        liveness = Liveness(10)
        liveness.heard("node0", 100)
        liveness.heard("node0", 109)
        self.assertEqual(liveness.silent(119), [])

    def test_watching_is_not_a_sign_of_life(self) -> None:
        liveness = Liveness(10)
        liveness.watch("node0", 100)
        liveness.watch("node0", 109)
        self.assertEqual(liveness.silent(111), ["node0"])

    def test_the_longest_silence_comes_first(self) -> None:
        liveness = Liveness(1)
        liveness.heard("node0", 5)
        liveness.heard("node1", 3)
        liveness.heard("node2", 9)
        self.assertEqual(liveness.silent(9), ["node1", "node0"])

    def test_forgotten_processes_are_not_silent(self) -> None:
        liveness = Liveness(1)
        liveness.heard("node0", 0)
        liveness.forget("node0")
        liveness.forget("never heard")
        self.assertEqual(liveness.silent(100), [])

    def test_excuse_restarts_the_time_of_all_processes(self) -> None:
        liveness = Liveness(10)
        liveness.heard("node0", 0)
        liveness.excuse(500)
        self.assertEqual(liveness.silent(505), [])
        self.assertEqual(liveness.silent(511), ["node0"])

    def test_a_timeout_that_is_not_positive_is_refused(self) -> None:
        for timeout in (0, -1, float("nan")):
            self.assertRaises(ValueError, Liveness, timeout)
