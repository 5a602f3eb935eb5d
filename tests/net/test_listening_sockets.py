"""Tests of cluster.net.listening_sockets."""

import resource
import select
import socket

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net import listening_sockets
from cluster.net.listening_sockets import Address, claim, open_slots, parse_address, probe, share

LOOPBACK = "tcp:0:interface=127.0.0.1"


class ParseAddressTests(SynchronousTestCase):
    def assert_refused(self, text: str, because: str) -> None:
        error = self.assertRaises(ConfigurationError, parse_address, text)
        self.assertIn(because, str(error))
        self.assertIn(repr(text), str(error))

    def test_port_alone_means_every_ipv4_interface(self) -> None:
        address = parse_address("tcp:8000")
        self.assertEqual((address.host, address.port), ("0.0.0.0", 8000))
        self.assertEqual(address.family, socket.AF_INET)
        self.assertEqual(address.url, "http://127.0.0.1:8000/")

    def test_default_host_is_the_callers(self) -> None:
        self.assertEqual(parse_address("tcp:9000", "127.0.0.1").host, "127.0.0.1")
        self.assertEqual(parse_address("tcp:9000:interface=10.0.0.1", "127.0.0.1").host, "10.0.0.1")

    def test_ipv6_with_escaped_colons(self) -> None:
        address = parse_address(r"tcp:port=8000:interface=\:\:1")
        self.assertEqual((address.host, address.port), ("::1", 8000))
        self.assertEqual(address.family, socket.AF_INET6)
        self.assertEqual(address.url, "http://[::1]:8000/")
        self.assertEqual(address.host_port, "[::1]:8000")
        self.assertEqual(parse_address(r"tcp:1:interface=\:\:").url, "http://[::1]:1/")

    def test_localhost(self) -> None:
        self.assertEqual(parse_address("tcp:1:interface=localhost").host, "127.0.0.1")

    def test_ssl(self) -> None:
        address = parse_address("ssl:8443:privateKey=a=b.pem:certKey=c.pem")
        self.assertEqual(address.url, "https://127.0.0.1:8443/")
        self.assertEqual(address.parameters["privateKey"], "a=b.pem")

    def test_the_kernels_port_replaces_0(self) -> None:
        self.assertEqual(parse_address(LOOPBACK).at_port(4711).host_port, "127.0.0.1:4711")

    def test_invalid_addresses_are_refused(self) -> None:
        self.assert_refused("garbage", "write tcp:PORT")
        self.assert_refused("", "write tcp:PORT")
        self.assert_refused("udp:8000", "write tcp:PORT")
        self.assert_refused("tcp=1:8000", "write tcp:PORT")
        for port in ("tcp", "tcp:", "tcp:http", "tcp:-1", "tcp:65536", "tcp:1.5", "tcp:¹"):
            self.assert_refused(port, "a number from 0 to 65535")
        self.assert_refused("tcp:8000:interface=::1", "too many colons")
        self.assert_refused("tcp:8000:interface=example.com", "must be an IP address")
        self.assert_refused("tcp:8000:interfaces=127.0.0.1", "unknown argument 'interfaces'")
        self.assert_refused("tcp:8000:privateKey=x", "unknown argument 'privateKey'")


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

    def test_free_again_at_once_after_connections(self) -> None:
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
        addresses, slots = open_slots([parse_address(LOOPBACK), parse_address(LOOPBACK)], 3)
        for slot in slots:
            self.addCleanup(listening_sockets.close_all, slot)
            self.assertEqual(
                [sock.getsockname()[1] for sock in slot], [address.port for address in addresses]
            )
        self.assertEqual(len(slots), 3)
        self.assertEqual(len({address.port for address in addresses} - {0}), 2)

    def test_the_kernel_spreads_connections_over_the_slots(self) -> None:
        (address,), slots = open_slots([parse_address(LOOPBACK)], 2)
        for slot in slots:
            self.addCleanup(listening_sockets.close_all, slot)
        clients = [socket.create_connection(("127.0.0.1", address.port)) for _ in range(64)]
        for client in clients:
            self.addCleanup(client.close)
        counts = [0, 0]
        poll = select.poll()
        for slot in slots:
            poll.register(slot[0], select.POLLIN)
        while sum(counts) < 64:  # a client may know of its connection before the server does
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

    def test_all_or_nothing(self) -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        free = claim(parse_address(LOOPBACK))
        wanted = parse_address(LOOPBACK).at_port(free.getsockname()[1])
        free.close()
        busy = parse_address(LOOPBACK).at_port(taken.getsockname()[1])
        self.assertRaises(ConfigurationError, open_slots, [wanted, busy], 2)
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

    def test_unix_paths(self) -> None:
        self.assertTrue(listening_sockets.unix_path_fits("/" + "x" * 106))
        self.assertFalse(listening_sockets.unix_path_fits("/" + "é" * 54))
