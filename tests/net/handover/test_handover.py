"""Two nodes in one process: connections with real sockets move from one to the other."""

import errno
import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.accepting.port import Port
from cluster.net.accepting.refused import RESPONSE
from cluster.net.accepting.socket_limits import SocketLimits
from cluster.net.handover import handover as handover_module
from cluster.net.handover import receiver as receiver_module
from cluster.net.handover.handover import Handover
from cluster.net.handover.messages import MAX_INPUT, Origin, encode
from cluster.net.handover.receiver import PAUSE_S, TIMEOUT_S
from cluster.net.handover.session_ids import SIZE
from cluster.net.protocol_detection import ProtocolDetectorFactory
from cluster.net.runtime_directory import handover_socket
from tests.net.accepting.test_port import Reactor

HERE, THERE, NOBODY = "here__", "there_", "nobody"


def request(token: str, body: bytes = b"", upgrade: bool = False) -> bytes:
    header = b"GET /socket.io/?EIO=4&sid=%s HTTP/1.1\r\nHost: a\r\n" % sid(token).encode()
    if upgrade:
        header += b"Upgrade: websocket\r\n"
    return header + b"\r\n" + body


def sid(token: str) -> str:
    return token.ljust(SIZE, "x")


class Answering(Protocol):
    """Records what it receives, and answers with the name of its node."""

    transport: Any

    def __init__(self, node: "MemoryNode", kind: str) -> None:
        self.node = node
        self.kind = kind
        self.received = b""
        self.is_lost = False
        node.served.append(self)

    def connectionMade(self) -> None:
        self.peer, self.host = self.transport.getPeer(), self.transport.getHost()

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.transport.write(f"{self.kind} {self.node.token}\n".encode())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True


class MemoryNode:
    """The parts of a node that hand connections over."""

    def __init__(self, folder: str, token: str, reactor: Any) -> None:
        self.token = token
        self.served: list[Answering] = []
        self.limits = SocketLimits()
        self.factory = ProtocolDetectorFactory(
            reactor,
            lambda peer: Answering(self, "websocket"),
            lambda peer: Answering(self, "http"),
            handshake_timeout=10,
        )
        self.factory.budget.begin(float("inf"))
        self.handover = Handover(folder, reactor, self.factory, self.limits, token)
        self.factory.hand_over = self.handover.first_request


class HandoverTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        directory = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(directory.cleanup)
        self.folder = directory.name
        self.here, self.there = self.make(HERE), self.make(THERE)
        self.listening = self.listen()
        self.where: Any = self.listening.getsockname()
        self.port = Port(self.reactor, self.listening, self.here.factory, self.here.limits)
        self.port.startListening()
        self.addCleanup(self.port.stopListening)
        self.addCleanup(self.close_all)

    def listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0))

    def make(self, token: str) -> MemoryNode:
        node = MemoryNode(self.folder, token, self.reactor)
        node.handover.start()
        self.addCleanup(node.handover.stop)
        return node

    def close_all(self) -> None:
        for each in list(self.reactor.readers):
            if hasattr(each, "abortConnection"):
                each.abortConnection()
        self.turns()

    def turns(self, count: int = 12) -> None:
        for _ in range(count):
            self.reactor.turn()

    def connect(self) -> socket.socket:
        client = socket.socket(self.listening.family)
        self.addCleanup(client.close)
        client.connect(self.where)
        client.settimeout(5)
        return client

    def ask(self, data: bytes) -> socket.socket:
        client = self.connect()
        client.sendall(data)
        self.turns()
        return client

    def ended(self, client: socket.socket) -> bool:
        try:
            return client.recv(100) == b""
        except ConnectionResetError:
            return True

    def failed(self, node: MemoryNode) -> dict[str, int]:
        return {reason: count for reason, count in node.handover.failed.items() if count}


class PassTests(HandoverTestCase):
    def test_a_first_request_goes_to_the_process_of_its_session(self) -> None:
        client = self.ask(request(THERE))
        self.assertEqual(client.recv(100), b"http there_\n")
        (served,) = self.there.served
        self.assertEqual((self.here.served, served.received), ([], request(THERE)))
        self.assertEqual((served.peer.host, served.peer.port), client.getsockname())
        self.assertEqual((served.host.host, served.host.port), self.where)
        self.assertEqual((self.here.limits.open, self.there.limits.open), (0, 1))
        self.assertEqual(self.here.handover.handed_over, {"passed": 1, "tunnelled": 0})
        self.assertEqual(self.there.handover.received, 1)
        client.sendall(b"more")
        self.turns()
        self.assertEqual(client.recv(100), b"http there_\n")
        client.close()
        self.turns()
        self.assertTrue(served.is_lost)
        self.assertEqual(self.there.limits.open, 0)
        self.assertEqual(self.here.factory.waiting, 0)

    def test_an_upgrade(self) -> None:
        self.assertEqual(self.ask(request(THERE, upgrade=True)).recv(100), b"websocket there_\n")

    def test_a_part_of_the_body_follows(self) -> None:
        client = self.ask(request(THERE, b"begin"))
        client.sendall(b"end")
        self.turns()
        self.assertEqual(self.there.served[0].received, request(THERE, b"beginend"))

    def test_its_own_sessions_and_other_requests_stay(self) -> None:
        for data in (request(HERE), b"GET /?EIO=4&sid=1 HTTP/1.1\r\n\r\n", b"GET / EIO=\r\n\r\n"):
            self.assertEqual(self.ask(data).recv(100), b"http here__\n")
        self.assertEqual(self.failed(self.here), {})

    def test_options_of_the_socket_stay(self) -> None:
        client = self.connect()
        self.turns()
        (transport,) = [each for each in self.reactor.readers if hasattr(each, "setTcpNoDelay")]
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        client.sendall(request(THERE))
        self.turns()
        transport = self.there.served[0].transport
        self.assertTrue(transport.getTcpNoDelay() and transport.getTcpKeepAlive())

    def test_a_session_without_a_process_is_served_here(self) -> None:
        self.assertEqual(self.ask(request(NOBODY)).recv(100), b"http here__\n")
        self.assertEqual(self.failed(self.here), {"owner_gone": 1})

    def test_the_socket_of_a_killed_process_is_removed(self) -> None:
        path = self.stale()
        self.assertEqual(self.ask(request(NOBODY)).recv(100), b"http here__\n")
        self.assertFalse(os.path.exists(path))

    def test_a_start_removes_the_sockets_of_killed_processes(self) -> None:
        path = self.stale()
        self.make("third_")
        self.turns()
        self.assertFalse(os.path.exists(path))
        self.assertEqual((self.failed(self.here), self.failed(self.there)), ({}, {}))

    def stale(self) -> str:
        path = handover_socket(self.folder, NOBODY)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
        return path

    def test_a_process_that_accepts_none(self) -> None:
        self.patch(receiver_module, "BACKLOG", 0)
        busy = self.make(NOBODY)
        busy.handover._receiver.stopReading()  # type: ignore[union-attr]
        first, second = self.ask(request(NOBODY)), self.ask(request(NOBODY))
        self.assertEqual(second.recv(100), b"http here__\n")
        self.assertEqual(self.failed(self.here), {"owner_busy": 1})
        busy.handover.stop()
        self.assertTrue(self.ended(first))  # the kernel closes what was on its way

    def test_the_other_process_dies_meanwhile(self) -> None:
        send_fds = socket.send_fds

        def fail(*args: Any) -> int:
            raise BrokenPipeError

        self.patch(handover_module.socket, "send_fds", fail)
        client = self.ask(request(THERE))
        self.patch(handover_module.socket, "send_fds", send_fds)
        self.assertTrue(self.ended(client))
        self.assertEqual((self.failed(self.here), self.here.limits.open), ({"interrupted": 1}, 0))

    def test_the_reserve_of_descriptors_is_not_used(self) -> None:
        client = self.connect()
        self.turns()
        self.here.limits.highest = 0
        client.sendall(request(THERE))
        self.turns()
        self.assertEqual(client.recv(100), b"http here__\n")
        self.assertEqual(self.failed(self.here), {"descriptors": 1})

    def test_no_descriptor_is_left(self) -> None:
        client = self.connect()
        self.turns()
        make = socket.socket

        def fail(*args: Any) -> socket.socket:
            raise OSError(errno.EMFILE, "no descriptor")

        (transport,) = [each for each in self.reactor.readers if hasattr(each, "setTcpNoDelay")]
        self.patch(handover_module.socket, "socket", fail)
        taken = self.here.handover.first_request(transport, request(THERE))
        self.patch(handover_module.socket, "socket", make)
        self.assertFalse(taken)
        self.assertEqual(self.failed(self.here), {"descriptors": 1})
        client.close()

    def test_a_full_node_answers(self) -> None:
        self.there.limits._total = 0
        client = self.ask(request(THERE))
        self.assertEqual(client.recv(1000), RESPONSE)
        self.assertEqual(self.there.limits.open, 0)

    def test_owner_of(self) -> None:
        self.assertEqual(
            self.here.handover.owner_of(sid(THERE)), handover_socket(self.folder, THERE)
        )
        for token in (HERE, NOBODY):
            self.assertIsNone(self.here.handover.owner_of(sid(token)))
        self.there.handover.stop()
        self.assertIsNone(self.here.handover.owner_of(sid(THERE)))

    def test_without_a_folder(self) -> None:
        alone = MemoryNode("", "alone_", self.reactor)
        alone.handover.start()
        self.assertIsNone(alone.handover.owner_of(sid(THERE)))
        self.assertIsNone(alone.handover.connect(b"/?EIO=4&sid=" + sid(THERE).encode()))
        self.assertEqual((alone.handover.received, self.failed(alone)), (0, {}))
        alone.handover.stop()

    def test_no_descriptor_is_leaked(self) -> None:
        def count() -> int:
            return len(os.listdir("/proc/self/fd"))

        before = count()
        for _ in range(5):
            client = self.ask(request(THERE))
            client.recv(100)
            client.close()
        self.turns()
        self.assertEqual(count(), before)

    def test_small_buffers(self) -> None:
        body = b"b" * 100_000
        make = socket.socket

        def small(*args: Any) -> socket.socket:
            made = make(*args)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
            return made

        client = self.connect()
        self.turns()
        (transport,) = [each for each in self.reactor.readers if hasattr(each, "setTcpNoDelay")]
        self.patch(handover_module.socket, "socket", small)
        taken = self.here.handover.first_request(transport, request(THERE, body))
        self.patch(handover_module.socket, "socket", make)
        self.assertTrue(taken)
        self.turns(80)
        self.assertEqual(client.recv(100), b"http there_\n")
        self.assertEqual(self.there.served[0].received, request(THERE, body))


class UnixSocketTests(HandoverTestCase):
    def listen(self) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(Path(self.folder, "listening")))
        listening.listen()
        return listening

    def test_the_client_of_a_unix_socket(self) -> None:
        self.assertEqual(self.ask(request(THERE)).recv(100), b"http there_\n")
        (served,) = self.there.served
        self.assertEqual((served.peer.name, served.host.port), (None, 80))
        self.assertEqual((self.here.limits.open, self.there.limits.open), (0, 1))


class IPv6Tests(HandoverTestCase):
    def listen(self) -> socket.socket:
        return socket.create_server(("::1", 0), family=socket.AF_INET6)

    def test_ipv6(self) -> None:
        client = self.ask(request(THERE))
        self.assertEqual(client.recv(100), b"http there_\n")
        self.assertEqual(self.there.served[0].peer.host, "::1")


class TunnelTests(HandoverTestCase):
    """As under TLS, or with a large body: the bytes are piped."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(handover_module, "PASSES_DESCRIPTORS", False)

    def test_bytes_go_both_ways(self) -> None:
        client = self.ask(request(THERE))
        self.assertEqual(client.recv(100), b"http there_\n")
        client.sendall(b"more")
        self.turns()
        self.assertEqual(client.recv(100), b"http there_\n")
        (served,) = self.there.served
        self.assertEqual(served.received, request(THERE) + b"more")
        self.assertEqual((served.peer.host, served.peer.port), client.getsockname())
        self.assertEqual((served.host.host, served.host.port), self.where)
        self.assertEqual((self.here.limits.open, self.there.limits.open), (1, 1))
        self.assertEqual(self.here.handover.handed_over, {"passed": 0, "tunnelled": 1})
        self.assertEqual(len(self.here.handover.tunnels), 1)

    def assert_over(self) -> None:
        self.assertEqual((self.here.limits.open, self.there.limits.open), (0, 0))
        self.assertEqual(len(self.here.handover.tunnels), 0)
        calls = self.reactor.getDelayedCalls()
        self.assertEqual([each for each in calls if "Watch" not in str(each.func)], [])

    def test_the_client_leaves(self) -> None:
        self.ask(request(THERE)).close()
        self.turns()
        self.assertTrue(self.there.served[0].is_lost)
        self.assert_over()

    def test_the_other_process_closes_after_its_last_bytes(self) -> None:
        client = self.ask(request(THERE))
        self.there.served[0].transport.write(b"!" * 500_000)
        self.there.served[0].transport.loseConnection()
        received = b""
        while len(received) < 500_012:
            self.turns()
            received += client.recv(1 << 20)
        self.turns()
        self.assertEqual(client.recv(100), b"")
        self.assert_over()

    def test_a_client_that_does_not_read_the_last_bytes(self) -> None:
        self.ask(request(THERE))
        self.there.served[0].transport.write(b"!" * 20_000_000)
        self.turns(50)
        (tunnel,) = self.here.handover.tunnels
        tunnel.close()
        tunnel.close()
        self.turns()
        self.reactor.advance(30)
        self.turns()
        self.assert_over()

    def test_a_slow_client_slows_the_other_process_down(self) -> None:
        client = self.ask(request(THERE))
        transport = self.there.served[0].transport
        transport.write(b"!" * 20_000_000)
        self.turns(100)
        self.assertGreater(handover_module.transport_bytes(transport), 5_000_000)
        received = 0
        while received < 20_000_012:
            received += len(client.recv(1 << 20))
            self.turns(2)
        self.assertEqual(received, 20_000_012)

    def test_a_stop_closes_tunnels(self) -> None:
        client = self.ask(request(THERE))
        client.recv(100)
        self.here.handover.stop()
        self.turns()
        self.assertTrue(self.ended(client))
        self.assert_over()

    def test_the_end_of_a_tunnel_is_passed_on(self) -> None:
        """A proxy sends requests of many sessions on one connection."""
        third = self.make("third_")
        client = self.ask(request(THERE))
        client.recv(100)
        self.patch(handover_module, "PASSES_DESCRIPTORS", True)
        transport = self.there.served[0].transport
        self.assertTrue(self.there.handover.first_request(transport, request("third_")))
        self.turns()
        self.assertEqual(client.recv(100), b"http third_\n")
        (served,) = third.served
        self.assertEqual((served.peer.host, served.peer.port), client.getsockname())
        self.assertEqual((served.host.host, served.host.port), self.where)
        client.close()
        self.turns()
        self.assert_over()
        self.assertTrue(served.is_lost)

    def give(self, client: socket.socket, body: Any, size: int, rest: bytes) -> None:
        (transport,) = [each for each in self.reactor.readers if hasattr(each, "setTcpNoDelay")]
        transport.protocol._leave()
        other = self.here.handover.connect(b"/?EIO=4&sid=" + sid(THERE).encode())
        assert other is not None
        self.here.handover.give(transport, other, request(THERE), body, size, rest)

    def test_a_large_body(self) -> None:
        self.patch(handover_module, "PASSES_DESCRIPTORS", True)
        client = self.connect()
        self.turns()
        body = tempfile.TemporaryFile()  # noqa: SIM115  (closed by the handover)
        body.write(b"b" * (MAX_INPUT + 1))
        body.seek(0)
        self.give(client, body, MAX_INPUT + 1, b"rest")
        client.sendall(b"end")
        self.turns(50)
        expected = request(THERE, b"b" * (MAX_INPUT + 1) + b"restend")
        self.assertEqual(self.there.served[0].received, expected)
        self.assertTrue(body.closed)

    def test_the_client_leaves_during_a_large_body(self) -> None:
        client = self.connect()
        self.turns()
        body = tempfile.TemporaryFile()  # noqa: SIM115
        body.write(b"b" * 5_000_000)
        body.seek(0)
        self.give(client, body, 5_000_000, b"")
        client.close()
        self.there.handover.stop()
        self.turns(50)
        self.assertTrue(body.closed)
        self.assert_over()

    def test_a_secure_client(self) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(handover_socket(self.folder, THERE))
            origin = Origin(("2001:db8::7", 5, 0, 0), ("2001:db8::1", 443), True)
            other.sendall(encode(origin, False) + request(THERE))
            self.turns()
            (served,) = self.there.served
            self.assertTrue(served.transport.is_secure)
            self.assertEqual((served.peer.host, served.host.port), ("2001:db8::7", 443))


class ReceiverTests(HandoverTestCase):
    """What other processes may send."""

    def setUp(self) -> None:
        super().setUp()
        self.other = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.other.close)
        self.other.connect(handover_socket(self.folder, THERE))
        self.other.settimeout(5)
        self.turns()
        self.server, self.client = socket.socketpair()
        self.addCleanup(self.client.close)
        self.addCleanup(self.server.close)
        self.client.settimeout(5)

    def send(self, data: bytes) -> None:
        socket.send_fds(self.other, [data], [self.server.fileno()])
        self.server.close()
        self.turns()

    def test_in_pieces(self) -> None:
        data = encode(Origin(None), True, len(request(THERE))) + request(THERE)
        self.send(data[:1])
        for at in range(1, len(data)):
            self.assertEqual(self.there.served, [])
            self.other.sendall(data[at : at + 1])
            self.turns(2)
        self.assertEqual(self.client.recv(100), b"http there_\n")
        self.assertEqual(self.other.recv(1), b"")

    def assert_lost(self) -> None:
        self.assertTrue(self.ended(self.client))
        self.assertEqual((self.there.served, self.there.limits.open), ([], 0))
        self.assertEqual(self.failed(self.there), {"interrupted": 1})

    def test_the_sender_dies(self) -> None:
        self.send(encode(Origin(None), True, 10))
        self.other.close()
        self.turns()
        self.assert_lost()

    def test_the_sender_stops(self) -> None:
        self.send(b"\0")
        self.reactor.advance(TIMEOUT_S)
        self.assert_lost()

    def test_this_node_stops(self) -> None:
        self.send(b"\0")
        self.there.handover.stop()
        self.assert_lost()

    def test_garbage(self) -> None:
        self.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assert_lost()

    def test_without_the_descriptor(self) -> None:
        self.other.sendall(encode(Origin(None), True, 0))
        self.server.close()
        self.other.close()
        self.turns()
        self.assert_lost()

    @contextmanager
    def without_descriptors(self) -> Iterator[None]:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    def test_no_descriptor_is_left_to_receive(self) -> None:
        with self.without_descriptors():
            socket.send_fds(self.other, [encode(Origin(None), True, 0)], [self.server.fileno()])
            self.turns()
        self.server.close()
        self.assert_lost()

    def test_no_descriptor_is_left_to_accept(self) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(5)
            with self.without_descriptors():
                other.connect(handover_socket(self.folder, THERE))
                socket.send_fds(other, [encode(Origin(None), True, 0)], [self.server.fileno()])
                self.turns()
            self.server.close()
            self.assertEqual(self.there.handover.received, 0)
            self.reactor.advance(PAUSE_S)
            self.turns()
            self.assertEqual(self.there.handover.received, 1)

    def test_the_folder_cannot_be_used(self) -> None:
        node = MemoryNode("/nowhere", "third_", self.reactor)
        self.assertRaises(OSError, node.handover.start)
        node.handover.stop()

    def test_another_user(self) -> None:
        self.patch(os, "geteuid", lambda: os.getuid() + 1)
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(5)
            other.connect(handover_socket(self.folder, THERE))
            self.turns()
            self.assertEqual(other.recv(1), b"")

    def test_a_protocol_that_cannot_be_made(self) -> None:
        self.there.factory.buildProtocol = lambda addr: 1 / 0  # type: ignore
        self.send(encode(Origin(None), True, 0))
        self.assertTrue(self.ended(self.client))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_its_file_is_made_again(self) -> None:
        path = handover_socket(self.folder, THERE)
        os.unlink(path)
        self.reactor.advance(1)
        self.assertEqual(self.ask(request(THERE)).recv(100), b"http there_\n")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)

    def test_the_reactor_stops(self) -> None:
        for reader in list(self.reactor.readers):
            reader.connectionLost(Failure(ConnectionAbortedError()))
        self.assertEqual(os.listdir(self.folder), [])
