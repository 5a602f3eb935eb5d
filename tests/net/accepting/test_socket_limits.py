"""How many sockets a node may hold."""

import os
import resource

from twisted.trial.unittest import SynchronousTestCase

from cluster.net.accepting import socket_limits
from cluster.net.accepting.socket_limits import (
    SocketLimits,
    descriptor_limit,
    is_loopback,
    network_of,
    open_descriptors,
)
from cluster.net.listening_sockets import RESERVED_DESCRIPTORS

OURS = "192.0.2.1"


class SocketLimitsTests(SynchronousTestCase):
    def test_in_all(self) -> None:
        limits = SocketLimits(total=2)
        self.assertEqual([limits.admit("127.0.0.1", 9) for _ in range(2)], [None, None])
        self.assertEqual(limits.shortage(), "has reached its maximum of connections (2)")
        self.assertEqual(limits.admit(OURS, 9), "connections")
        limits.left("127.0.0.1")
        self.assertIsNone(limits.shortage())
        self.assertIsNone(limits.admit(OURS, 9))
        self.assertEqual((limits.open, limits.refused), (2, {"connections": 1}))

    def test_of_one_client(self) -> None:
        limits = SocketLimits(per_client=1)
        self.assertIsNone(limits.admit(OURS, 9))
        self.assertEqual(limits.admit(OURS, 9), "client")
        self.assertIsNone(limits.admit("192.0.2.2", 9))
        limits.left(OURS)
        self.assertIsNone(limits.admit(OURS, 9))
        self.assertEqual((limits.open, limits.refused), (2, {"client": 1}))

    def test_clients_that_left_are_forgotten(self) -> None:
        limits = SocketLimits(per_client=9)
        for host in (OURS, "::1", "2001:db8::1"):
            limits.admit(host, 9)
            limits.left(host)
        self.assertEqual((limits.open, dict(limits._clients)), (0, {}))

    def test_this_machine_and_proxies_are_not_one_client(self) -> None:
        limits = SocketLimits(per_client=1, trusts=lambda host: host == "10.0.0.1")
        for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "", "10.0.0.1"):
            self.assertEqual([limits.admit(host, 9) for _ in range(3)], [None] * 3, host)
        self.assertTrue(limits.enter("127.0.0.1"))
        self.assertTrue(limits.enter("127.0.0.1"))
        limits.leave("127.0.0.1")

    def test_a_client_counts_with_and_without_a_proxy(self) -> None:
        limits = SocketLimits(per_client=2)
        self.assertTrue(limits.enter(OURS))
        self.assertIsNone(limits.admit(OURS, 9))
        self.assertEqual(limits.admit(OURS, 9), "client")
        self.assertFalse(limits.enter(OURS))
        limits.leave(OURS)
        self.assertTrue(limits.enter(OURS))
        self.assertEqual(limits.refused, {"client": 2})

    def test_ipv6_by_its_network(self) -> None:
        limits = SocketLimits(per_client=1)
        limits.admit("2001:db8:1:2::1", 9)
        self.assertEqual(limits.admit("2001:db8:1:2:ffff::9", 9), "client")
        self.assertIsNone(limits.admit("2001:db8:1:3::1", 9))

    def test_without_limits(self) -> None:
        limits = SocketLimits()
        for _ in range(3):
            self.assertIsNone(limits.admit(OURS, 100_000))
        self.assertTrue(limits.enter(OURS))
        limits.leave(OURS)
        limits.left(OURS)
        self.assertEqual((limits.open, limits.refused), (2, {}))

    def test_networks(self) -> None:
        for client, network in {
            "192.0.2.1": "192.0.2.1",
            "::ffff:192.0.2.1": "192.0.2.1",
            "::1": "::1",
            "2001:db8::1": "2001:db8::/64",
            "fe80::1%eth0": "fe80::/64",
            "": "",
            "what:ever": "what:ever",
        }.items():
            self.assertEqual(network_of(client), network, client)
        self.assertFalse(is_loopback("192.0.2.1") or is_loopback("2001:db8::1"))


class DescriptorTests(SynchronousTestCase):
    def test_a_reserve_stays_free(self) -> None:
        self.patch(socket_limits, "descriptor_limit", lambda: 1024)
        limits = SocketLimits()
        limits.reserve()
        used = min(lowest_free(), RESERVED_DESCRIPTORS // 2)
        self.assertEqual(limits.highest, 1024 - RESERVED_DESCRIPTORS + used)
        self.assertIsNone(limits.admit(OURS, limits.highest))
        self.assertEqual(limits.admit(OURS, limits.highest + 1), "descriptors")
        self.assertTrue(limits.fits(limits.highest))
        self.assertFalse(limits.fits(limits.highest + 1))
        limits.refuse_without_descriptor()
        self.assertEqual((limits.open, limits.refused), (1, {"descriptors": 2}))

    def test_one_connection_is_always_possible(self) -> None:
        self.patch(socket_limits, "descriptor_limit", lambda: 10)
        limits = SocketLimits()
        limits.reserve()
        self.assertTrue(limits.fits(lowest_free()))

    def test_shortage(self) -> None:
        self.patch(socket_limits, "descriptor_limit", lambda: 1024)
        self.patch(socket_limits, "open_descriptors", lambda: opened)
        limits = SocketLimits()
        limits.reserve()
        opened = int(limits.highest * 0.95)
        self.assertIsNone(limits.shortage())
        opened += 1
        self.assertEqual(
            limits.shortage(), f"is short of file descriptors ({opened} of 1024 are open)"
        )

    def test_the_number_of_open_descriptors(self) -> None:
        before = open_descriptors()
        more = [os.open(os.devnull, os.O_RDONLY) for _ in range(7)]
        self.assertEqual(open_descriptors() - before, 7)
        for descriptor in more:
            os.close(descriptor)

    def test_the_limit(self) -> None:
        self.assertEqual(descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def lowest_free() -> int:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor
