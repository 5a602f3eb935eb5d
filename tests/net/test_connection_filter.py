"""Tests of cluster.net.connection_filter, with real sockets."""

import select
import socket

from twisted.trial.unittest import SynchronousTestCase

from cluster.net.addresses import parse_address
from cluster.net.connection_filter import (
    drop_new_connections,
    queued_connections,
    take_new_connections,
)
from cluster.net.listening_sockets import open_slots

CLIENTS = 60


class ConnectionFilterTests(SynchronousTestCase):
    host = "127.0.0.1"
    endpoint = "tcp:0:interface=127.0.0.1"

    def setUp(self) -> None:
        (address,), opened = open_slots([parse_address(self.endpoint)], 2, {})
        (self.one,), (self.other,) = opened
        self.addCleanup(self.one.close)
        self.addCleanup(self.other.close)
        self.port = address.port

    def connect(self) -> socket.socket:
        """Begin to connect."""
        client = socket.socket(self.one.family)
        self.addCleanup(client.close)
        client.setblocking(False)
        client.connect_ex((self.host, self.port))
        return client

    def test_nothing_new_arrives_and_nothing_is_refused(self) -> None:
        before = [self.connect() for _ in range(CLIENTS)]
        queued = queued_connections(self.other)
        self.assertEqual(CLIENTS, queued + queued_connections(self.one))
        self.assertGreater(queued, 0)
        drop_new_connections(self.other)
        after = [self.connect() for _ in range(CLIENTS)]
        self.assertEqual(queued, queued_connections(self.other))
        for _ in range(queued):
            self.addCleanup(self.other.accept()[0].close)
        self.assertEqual(0, queued_connections(self.other))
        self.other.close()
        for client in (*before, *after):
            select.select([], [client], [], 20.0)  # waits for the repeated first packet
            self.assertEqual(0, client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            client.getpeername()
        self.assertEqual(2 * CLIENTS - queued, queued_connections(self.one))

    def test_undo(self) -> None:
        drop_new_connections(self.other)
        take_new_connections(self.other)
        take_new_connections(self.other)
        self.one.close()
        self.connect()
        self.assertEqual(1, queued_connections(self.other))

    def test_a_socket_that_does_not_listen_has_no_queue(self) -> None:
        with socket.socket() as sock:
            self.assertEqual(0, queued_connections(sock))
        self.assertEqual(0, queued_connections(sock))


class IPv6Tests(ConnectionFilterTests):
    host = "::1"
    endpoint = r"tcp:0:interface=\:\:1"
