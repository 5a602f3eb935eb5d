"""Tests of cluster.net.listening_sockets."""

import resource
import select
import socket

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net import listening_sockets
from cluster.net.addresses import Address, parse_address
from cluster.net.listening_sockets import claim, open_slots, probe, share

LOOPBACK = "tcp:0:interface=127.0.0.1"


class ClaimTests(SynchronousTestCase):
    def claimed(self, address: Address) -> tuple[socket.socket, Address]:
        sock = claim(address)
        self.addCleanup(sock.close)
        return sock, address.at_port(sock.getsockname()[1])

    def test_a_second_claim_is_refused(self) -> None:
        _, address = self.claimed(parse_address(LOOPBACK))
        error = self.assertRaises(ConfigurationError, claim, address)
        self.assertEqual(
            str(error),
            f"cannot listen on 127.0.0.1:{address.port}:"
            " another program, or another cluster, uses this address",
        )
        self.assertRaises(ConfigurationError, probe, address)

    def test_a_shared_port_is_refused_too(self) -> None:
        first, address = self.claimed(parse_address(LOOPBACK))
        self.addCleanup(share(address).close)
        first.close()
        self.assertRaises(ConfigurationError, claim, address)

    def test_a_program_without_reuse_keeps_its_port(self) -> None:
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        address = parse_address(LOOPBACK).at_port(other.getsockname()[1])
        self.assertRaises(ConfigurationError, claim, address)
        self.assertRaises(ConfigurationError, share, address)

    def test_a_port_with_closed_connections_is_free_again_at_once(self) -> None:
        sock, address = self.claimed(parse_address(LOOPBACK))
        client = socket.create_connection(("127.0.0.1", address.port))
        sock.setblocking(True)
        server, _ = sock.accept()
        server.close()  # first, so that this side has it in TIME_WAIT
        client.close()
        sock.close()
        probe(address)

    def test_probing_leaves_the_port_free(self) -> None:
        sock, address = self.claimed(parse_address(LOOPBACK))
        sock.close()
        probe(address)
        self.claimed(address)

    def test_port_0_can_always_be_claimed(self) -> None:
        probe(parse_address("tcp:0:interface=192.0.2.1"))

    def test_an_address_of_another_machine(self) -> None:
        error = self.assertRaises(
            ConfigurationError, claim, parse_address("tcp:0:interface=192.0.2.1")
        )
        self.assertIn("this machine does not have this address", str(error))

    def test_ipv4_and_ipv6_can_use_the_same_port(self) -> None:
        _, address = self.claimed(parse_address("tcp:0"))
        try:
            self.claimed(Address("", "tcp", "::", address.port))
        except ConfigurationError as error:
            self.assertIn("no IPv6", str(error))


class OpenSlotsTests(SynchronousTestCase):
    def test_each_slot_has_a_socket_on_each_address(self) -> None:
        addresses, slots = open_slots([parse_address(LOOPBACK), parse_address(LOOPBACK)], 3, {})
        for slot in slots:
            self.addCleanup(listening_sockets.close_all, slot)
            self.assertEqual(
                [sock.getsockname()[1] for sock in slot], [address.port for address in addresses]
            )
        self.assertEqual(len(slots), 3)
        self.assertEqual(len({address.port for address in addresses} - {0}), 2)

    def test_the_kernel_spreads_connections_over_the_slots(self) -> None:
        (address,), slots = open_slots([parse_address(LOOPBACK)], 2, {})
        for slot in slots:
            self.addCleanup(listening_sockets.close_all, slot)
        clients = [socket.create_connection(("127.0.0.1", address.port)) for _ in range(64)]
        for client in clients:
            self.addCleanup(client.close)
        counts = [0, 0]
        poll = select.poll()
        for slot in slots:
            poll.register(slot[0], select.POLLIN)
        while sum(counts) < 64:  # a client's connect may return before the server can accept
            self.assertTrue(poll.poll(60_000), counts)
            for number, slot in enumerate(slots):
                counts[number] += self.accept_all(slot[0])
        self.assertEqual(sum(counts), 64)
        self.assertTrue(min(counts) > 8, counts)

    def accept_all(self, sock: socket.socket) -> int:
        count = 0
        while True:
            try:
                sock.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def test_if_one_address_fails_all_sockets_are_closed(self) -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        free = claim(parse_address(LOOPBACK))
        wanted = parse_address(LOOPBACK).at_port(free.getsockname()[1])
        free.close()
        busy = parse_address(LOOPBACK).at_port(taken.getsockname()[1])
        self.assertRaises(ConfigurationError, open_slots, [wanted, busy], 2, {})
        probe(wanted)


class LimitTests(SynchronousTestCase):
    def test_raises_the_soft_limit_to_the_hard_one(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        self.assertEqual(listening_sockets.raise_descriptor_limit(), limits[1])
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (limits[1], limits[1]))

    def test_capacity(self) -> None:
        self.assertEqual(listening_sockets.connection_capacity(4, 20_000), 79_600)
        self.assertEqual(listening_sockets.connection_capacity(4, 50), 0)
