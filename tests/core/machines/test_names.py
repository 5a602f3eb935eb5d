"""Names of nodes and members."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.machines.names import (
    MACHINE,
    is_machine_name,
    machine_of,
    machine_of_member,
    member_of,
    place_of,
)

MACHINES = st.from_regex(MACHINE, fullmatch=True)


class NamesTests(SynchronousTestCase):
    """The machine and the place in a name."""

    def test_the_machine_of_a_node(self) -> None:
        self.assertEqual(machine_of("node0.12@a.example.org"), "a.example.org")
        self.assertEqual(machine_of("node0.12"), "")

    def test_the_place_of_a_node_includes_its_machine(self) -> None:
        self.assertEqual(place_of("node0.12"), ("node0", ""))
        self.assertEqual(place_of("node0.12@A"), ("node0", "A"))
        self.assertEqual(place_of("node0.12@a.example.org"), ("node0", "a.example.org"))

    def test_a_name_without_a_process_has_no_place(self) -> None:
        self.assertIsNone(place_of("shell"))
        self.assertIsNone(place_of("shell@a.example.org"))

    def test_names_of_machines(self) -> None:
        for name in ("A", "web-1", "web_1", "a.example.org", "0", "a" * 63):
            self.assertTrue(is_machine_name(name), name)
        for name in ("", ".a", "-a", "a" * 64, "a b", "a@b", "a~b", "a\n", "é", "a/b", "a:b"):
            self.assertFalse(is_machine_name(name), name)

    @given(MACHINES, st.integers(0, 0xFFFFFFFF), st.integers(0, 99), st.integers(0, 99999))
    def test_names_contain_their_machine(
        self, machine: str, incarnation: int, slot: int, process: int
    ) -> None:
        self.assertEqual(machine_of_member(member_of(machine, f"{incarnation:08x}")), machine)
        node = f"node{slot}.{process}@{machine}"
        self.assertEqual(machine_of(node), machine)
        self.assertEqual(place_of(node), (f"node{slot}", machine))
