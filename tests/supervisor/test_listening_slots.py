"""Tests of cluster.supervisor.listening_slots, with real sockets and a fake clock."""

import contextlib
import os
import shutil
import socket
import tempfile

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net import listening_sockets
from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import claim, probe
from cluster.supervisor.listening_slots import ListeningSlots
from tests.supervisor.test_child_processes import Recorder

FREE = "tcp:0:interface=127.0.0.1"


class SlotsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lines: list[str] = []

    def open(self, count: int = 2, *listens: str) -> ListeningSlots:
        slots = self.make(count, *listens)
        slots.open()
        self.address = parse_address(f"tcp:{slots.listens[0].port}:interface=127.0.0.1")
        return slots

    def make(self, count: int, *listens: str) -> ListeningSlots:
        names = [f"node{number}" for number in range(count)]
        slots = ListeningSlots(
            names, [parse_address(text) for text in listens or [FREE]], self.clock
        )
        slots.log = Recorder(self.lines)  # type: ignore[assignment]
        self.addCleanup(slots.close)
        return slots

    def close_all(self, slots: ListeningSlots, *numbers: int) -> None:
        """Advance the clock by the grace period of these slots."""
        for number in numbers:
            slots.vacated(number)
        self.clock.advance(5.1)

    def test_each_slot_has_a_socket_for_each_address(self) -> None:
        slots = self.open(2, FREE, "tcp:0:interface=127.0.0.2")
        places = [(address.host, address.port) for address in slots.listens]
        self.assertNotIn(0, [port for _, port in places])
        descriptors = set()
        for number in range(2):
            for place, listener in zip(places, slots.sockets_of(number), strict=True):
                descriptor, family, endpoint = listener
                self.assertEqual(family, socket.AF_INET)
                self.assertEqual(endpoint, f"tcp:0:interface={place[0]}")
                with socket.socket(fileno=os.dup(descriptor)) as sock:
                    self.assertEqual(sock.getsockname(), place)
                descriptors.add(descriptor)
        self.assertEqual(len(descriptors), 4)

    def test_a_unix_socket_outlives_its_processes(self) -> None:
        folder = tempfile.mkdtemp(prefix="c10k-")
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "http.sock")
        slots = self.make(2, f"unix:{path}")
        slots.open()
        self.close_all(slots, 0, 1)
        self.assertEqual([slots.is_open(number) for number in range(2)], [False, False])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)  # waits
            slots.reopen(1)
            ((descriptor, family, _),) = slots.sockets_of(1)
            self.assertEqual(family, socket.AF_UNIX)
            with socket.socket(fileno=os.dup(descriptor)) as listening:
                listening.accept()[0].close()
        slots.close()
        self.assertEqual(os.listdir(folder), ["http.sock.lock"])

    def test_a_busy_port_leaves_nothing_open(self) -> None:
        taken = claim(parse_address(FREE))
        self.addCleanup(taken.close)
        slots = self.make(2, f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
        self.assertRaises(ConfigurationError, slots.open)
        self.assertFalse(slots.is_open(0) or slots.is_open(1))
        self.assertEqual(slots.listens, [])

    def test_a_replacement_in_time_keeps_the_socket(self) -> None:
        slots = self.open()
        before = slots.sockets_of(0)
        slots.vacated(0)
        self.clock.advance(4.9)
        slots.reopen(0)
        slots.served(0)
        self.clock.advance(10)
        self.assertEqual(slots.sockets_of(0), before)
        self.assertEqual(self.lines, [])

    def test_a_slot_without_a_process_is_closed_after_five_seconds_and_reopened(self) -> None:
        slots = self.open()
        slots.vacated(0)
        self.clock.advance(4)
        slots.vacated(0)  # the replacement failed; the grace period continues
        self.clock.advance(0.9)
        self.assertTrue(slots.is_open(0))
        self.clock.advance(0.2)
        self.assertFalse(slots.is_open(0))
        self.assertTrue(slots.is_open(1))
        self.assertEqual(
            self.lines,
            ["node0 has had no serving process for 5 s: new connections go to the other nodes"],
        )
        slots.reopen(0)
        ((descriptor, _, _),) = slots.sockets_of(0)
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            self.assertEqual(sock.getsockname(), ("127.0.0.1", self.address.port))

    def test_new_sockets_do_not_listen_before_the_process_serves(self) -> None:
        """Until it serves, new connections go to other slots, or are refused."""
        slots = self.open(1)
        self.close_all(slots, 0)
        slots.reopen(0)
        place = (self.address.host, self.address.port)
        self.assertRaises(ConnectionRefusedError, socket.create_connection, place)
        ((descriptor, _, _),) = slots.sockets_of(0)
        with socket.socket(fileno=os.dup(descriptor)) as sock:
            sock.listen()
            socket.create_connection(place).close()

    def test_new_sockets_are_closed_at_once_if_the_next_process_fails(self) -> None:
        slots = self.open()
        self.close_all(slots, 0)
        slots.vacated(0)  # a closed slot stays closed
        self.assertEqual(self.clock.getDelayedCalls(), [])
        slots.reopen(0)
        self.assertTrue(slots.is_open(0))
        slots.vacated(0)
        self.assertFalse(slots.is_open(0))

    def test_the_sockets_stay_open_if_a_replacement_is_ready_after_the_grace_period(self) -> None:
        """The process has the sockets, so the slot keeps them, for the next process, too."""
        slots = self.open()
        before = [slots.sockets_of(number) for number in range(2)]
        for number in range(2):
            slots.vacated(number)
            self.clock.advance(4.9)
            slots.reopen(number)
            self.clock.advance(1)
            slots.served(number)
        self.assertEqual([slots.sockets_of(number) for number in range(2)], before)
        self.assertEqual(self.lines, [], "nothing was given up")
        self.close_all(slots, 0)
        self.assertFalse(slots.is_open(0))
        slots.reopen(0)  # the other slot still has the port
        self.assertTrue(slots.is_open(0))

    def test_the_sockets_are_closed_if_a_replacement_ends_after_the_grace_period(self) -> None:
        slots = self.open()
        slots.vacated(0)
        slots.reopen(0)
        self.clock.advance(5.1)
        slots.vacated(0)
        self.assertFalse(slots.is_open(0))

    def test_a_process_that_served_has_the_grace_period_again(self) -> None:
        slots = self.open()
        self.close_all(slots, 0)
        slots.reopen(0)
        slots.served(0)
        slots.vacated(0)
        self.assertTrue(slots.is_open(0))

    def test_a_port_that_another_program_took_is_not_shared(self) -> None:
        slots = self.open(1)
        self.close_all(slots, 0)
        with claim(self.address):
            self.assertRaises(ConfigurationError, slots.reopen, 0)
            self.assertFalse(slots.is_open(0))
        slots.reopen(0)
        self.assertTrue(slots.is_open(0))

    def test_a_port_that_only_root_can_open_is_kept_without_listening(self) -> None:
        """With ``twistd --uid`` the supervisor could not bind to port 80 again."""
        self.patch(listening_sockets, "_first_unprivileged_port", lambda: 65536)
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(listening_sockets, "reserve", lambda *_: self.fail("binds again"))
        slots = self.open(2)
        self.addCleanup(slots.close)
        before = [slots.sockets_of(number) for number in range(2)]
        for number in (0, 1):
            self.close_all(slots, number)
            self.assertFalse(slots.is_open(number))
            if number == 0:
                self.assertEqual(self.accepting(before), [False, True])
        self.assertEqual(self.accepting(before), [False, False])
        for number in (0, 1):
            slots.reopen(number)
            slots.vacated(number)  # this process was never ready
            slots.reopen(number)
            self.assertEqual(slots.sockets_of(number), before[number])
            with socket.socket(fileno=os.dup(before[number][0][0])) as sock:
                sock.listen()  # as the slot's process does when it serves
            slots.served(number)
        self.assertEqual(self.accepting(before), [True, True])

    def test_a_retired_slot_takes_nothing_new_and_is_opened_again(self) -> None:
        slots = self.open(2)
        place = (self.address.host, self.address.port)
        clients = [socket.create_connection(place) for _ in range(40)]
        queued = slots.queued(1)
        self.assertGreater(queued, 0)
        slots.retire(1)
        slots.vacated(1)
        more = [socket.socket() for _ in range(40)]
        for client in more:
            client.setblocking(False)
            client.connect_ex(place)
        self.assertEqual(slots.queued(1), queued)
        slots.shut(1)
        slots.shut(1)
        self.assertEqual((slots.is_open(1), slots.queued(1)), (False, 0))
        self.clock.advance(10)
        self.assertEqual(self.lines, [])
        for client in (*clients, *more):
            client.close()
        slots.reopen(1)
        self.assertTrue(slots.is_open(1))

    def test_slots_are_added_and_removed(self) -> None:
        slots = self.open(1)
        slots.add("node1")
        self.assertTrue(slots.is_open(1))
        self.assertEqual(len(slots.sockets_of(1)), 1)
        slots.shut(1)
        slots.remove_last()
        self.assertRaises(IndexError, slots.is_open, 1)
        self.patch(listening_sockets, "reserve", self.refuse)
        self.assertRaises(ConfigurationError, slots.add, "node1")
        self.assertRaises(IndexError, slots.is_open, 1)

    def refuse(self, *_: object) -> None:
        raise ConfigurationError("cannot listen")

    def test_a_retired_port_that_only_root_can_open_accepts_again(self) -> None:
        self.patch(listening_sockets, "_first_unprivileged_port", lambda: 65536)
        self.patch(os, "geteuid", lambda: 1000)
        slots = self.open(2)
        before = [slots.sockets_of(number) for number in range(2)]
        slots.retire(1)
        slots.shut(1)
        self.assertEqual(self.accepting(before), [True, False])
        slots.reopen(1)
        with socket.socket(fileno=os.dup(before[1][0][0])) as sock:
            sock.listen()
        slots.served(1)
        self.assertEqual(self.accepting(before), [True, True])

    def test_a_unix_socket_has_no_queue_of_its_own(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        slots = self.make(2, f"unix:{folder}/socket")
        slots.open()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{folder}/socket")
            slots.retire(1)
            self.assertEqual(slots.queued(1), 0)
            slots.shut(1)
            self.assertTrue(slots.is_open(0))

    def accepting(self, slots: list[list[tuple[int, int, str]]]) -> list[bool]:
        """Which slots receive some of 40 connections."""
        place = (self.address.host, self.address.port)
        for _ in range(40):
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(place):
                pass
        found = []
        for ((descriptor, _, _),) in slots:
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                sock.setblocking(False)
                try:
                    sock.accept()[0].close()
                    found.append(True)
                except OSError:  # nothing waits, or it does not listen
                    found.append(False)
        return found

    def test_close_frees_the_port_and_leaves_no_timer(self) -> None:
        slots = self.open()
        slots.vacated(0)
        slots.close()
        probe(self.address)
        self.assertEqual(self.clock.getDelayedCalls(), [])
