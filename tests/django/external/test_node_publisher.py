"""The external publisher, with fake nodes that answer as the test decides."""

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError, NotPublished, NotRunning
from cluster.core.wire.external_publisher import (
    MAX_MESSAGE,
    VERSION,
    Accepted,
    Closing,
    ExternalMessage,
    Greeting,
    MessageDecoder,
    Publish,
    Rejection,
    encode,
)
from cluster.django.external import node_lookup, node_publisher
from cluster.django.external.node_publisher import NodePublisher

Answer = Callable[[Publish], bytes]

PATIENCE_S = 60
"""After which a thread of a busy machine will never end."""


def number_of_nodes_is_the_depth(publication: Publish) -> bytes:
    return encode(Accepted(publication.depth, 1))


class FakeNode:
    """Listens on a publish socket, writes down what comes, answers what ``answer`` returns.

    An answer of b"" hangs up instead.
    """

    def __init__(
        self, path: Path, answer: Answer = number_of_nodes_is_the_depth, site: str = "ours"
    ) -> None:
        self.answer = answer
        self.hello = encode(Greeting(site))
        self.received: list[ExternalMessage] = []
        self.connections: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            self.connections.append(accepted)
            self._threads.append(threading.Thread(target=self._serve, args=(accepted,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        messages = MessageDecoder()
        # A publisher may leave while it is answered.
        with connection, contextlib.suppress(OSError):
            connection.sendall(self.hello)
            while self.hello and (data := connection.recv(65536)):
                for message in messages.feed(data):
                    assert isinstance(message, Publish)
                    self.received.append(message)
                    answer = self.answer(message)
                    if not answer:
                        return
                    connection.sendall(answer)

    def say(self, message: ExternalMessage) -> None:
        for connection in self.connections:
            connection.sendall(encode(message))

    def hang_up(self) -> None:
        for connection in self.connections:
            connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listening.close()


class ExternalPublisherTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Not trial's own folder, whose path is too long for a Unix socket.
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.running = {8000: str(self.folder)}
        self.port: int | None = None
        self.publisher = NodePublisher(lambda: self.running, lambda: self.port, lambda: "ours")
        self.addCleanup(self.publisher._disconnect)
        self.slot = 0

    def node(self, answer: Answer = number_of_nodes_is_the_depth) -> FakeNode:
        path = self.folder / f"publish-{self.slot}.sock"
        self.slot += 1
        node = FakeNode(path, answer)
        # After the publisher's own clean-up, so that the node's threads see the end.
        self.addCleanup(node.stop)
        self.addCleanup(self.publisher._disconnect)
        return node

    def publish(self, depth: int = 3) -> Accepted:
        return self.publisher.publish(Publish(b"live", b"\x81\x02hi", depth))

    def test_a_receipt_for_each_on_one_connection(self) -> None:
        node = self.node()
        self.assertEqual(self.publish(3), Accepted(3, 1))
        self.assertEqual(self.publish(4), Accepted(4, 1))
        expected = [Publish(b"live", b"\x81\x02hi", depth) for depth in (3, 4)]
        self.assertEqual(node.received, expected)
        self.assertEqual(len(node.connections), 1)

    def test_goodbye_together_with_a_receipt(self) -> None:
        """The node has not disconnected yet, but will not answer any more."""
        node = self.node(lambda publication: encode(Accepted(1, 1)) + encode(Closing()))
        self.publish()
        node.answer = number_of_nodes_is_the_depth
        self.assertEqual(self.publish(3), Accepted(3, 1))
        self.assertEqual(len(node.connections), 2)

    def test_no_cluster(self) -> None:
        self.running = {}
        error = self.assertRaises(NotRunning, self.publish)
        self.assertIn("twistd c10k", str(error))
        self.running, self.port = {8000: str(self.folder)}, 8001
        self.assertIn("on port 8001", str(self.assertRaises(NotRunning, self.publish)))

    def another_cluster(self, site: str) -> FakeNode:
        """It runs on port 8001."""
        folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, folder)
        self.running[8001] = str(folder)
        node = FakeNode(folder / "publish-0.sock", site=site)
        self.addCleanup(node.stop)
        self.addCleanup(self.publisher._disconnect)
        return node

    def test_several_clusters(self) -> None:
        node = self.node()
        self.another_cluster("ours")
        error = self.assertRaises(ConfigurationError, self.publish)
        self.assertIn("(ports 8000, 8001)", str(error))
        self.assertIn("CLUSTER_PORT", str(error))
        self.port = 8000
        self.publish()
        self.assertEqual(len(node.received), 1)

    def test_clusters_of_other_sites_are_left_alone(self) -> None:
        node, other = self.node(), self.another_cluster("theirs")
        self.publish()
        self.assertEqual((len(node.received), other.received), (1, []))

    def test_only_a_cluster_of_another_site(self) -> None:
        self.running.clear()
        other = self.another_cluster("theirs")
        error = self.assertRaises(NotRunning, self.publish)
        self.assertIn("no cluster of this project is running: start one", str(error))
        self.assertIn("what runs on port 8001 belongs to another project", str(error))
        self.assertEqual(other.received, [])

    def test_a_refusal_is_an_error_and_certain(self) -> None:
        node = self.node(lambda _: encode(Rejection("too loud")))
        error = self.assertRaises(NotPublished, self.publish)
        self.assertIn("too loud", str(error))
        self.assertFalse(error.uncertain)
        node.answer = number_of_nodes_is_the_depth
        self.publish()

    def test_a_node_that_ends_before_it_answers(self) -> None:
        node = self.node(lambda _: b"")
        error = self.assertRaises(NotPublished, self.publish)
        self.assertIn("may have been published", str(error))
        self.assertTrue(error.uncertain)
        self.assertEqual(len(node.received), 1, "sent again, it could arrive twice")

    def test_a_node_that_does_not_answer(self) -> None:
        patience = node_publisher.ANSWER_TIMEOUT_S
        self.patch(node_publisher, "ANSWER_TIMEOUT_S", 0.05)
        answers = [b"\x05\0\0", number_of_nodes_is_the_depth(Publish(b"", b"", 3))]
        node = self.node(lambda _: answers.pop(0))
        error = self.assertRaises(NotPublished, self.publish)
        self.assertIn("did not answer", str(error))
        self.assertTrue(error.uncertain)
        self.patch(node_publisher, "ANSWER_TIMEOUT_S", patience)
        self.assertEqual(self.publish(), Accepted(3, 1))
        self.assertEqual(len(node.connections), 2, "an answer to the first might still come")

    def test_a_node_that_answers_garbage(self) -> None:
        node = self.node()
        for garbage in (b"HTTP/1.1 400 Bad Request\r\n\r\n", encode(Publish(b"", b""))):
            node.answer = lambda _, garbage=garbage: garbage  # type: ignore[misc]
            error = self.assertRaises(NotPublished, self.publish)
            self.assertTrue(error.uncertain)
        self.assertEqual(len(node.received), 2)

    def test_a_node_that_stops_passes_its_publisher_on(self) -> None:
        stopping = self.node(lambda _: encode(Closing()))
        self.publisher._connected()
        other = self.node()
        os.unlink(self.folder / "publish-0.sock")
        self.assertEqual(self.publish(), Accepted(3, 1))
        self.assertEqual((len(stopping.received), len(other.received)), (1, 1))

    def test_a_node_that_has_closed_is_not_used_again(self) -> None:
        for goodbye in (lambda node: node.say(Closing()), FakeNode.hang_up):
            old = self.node()
            self.publish()
            goodbye(old)
            os.unlink(self.folder / f"publish-{self.slot - 1}.sock")
            new = self.node()
            self.assertEqual(self.publish(), Accepted(3, 1))
            self.assertEqual((len(old.received), len(new.received)), (1, 1))
            os.unlink(self.folder / f"publish-{self.slot - 1}.sock")
            self.publisher._disconnect()

    def test_nothing_is_sent_before_the_greeting(self) -> None:
        """Such as a connection that was in the kernel's queue when its node stopped."""
        both = encode(Greeting("ours")) + encode(Closing())
        for hello in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", encode(Closing()), both):
            silent = self.node()
            silent.hello = hello
            other = self.node()
            self.publish()
            while not silent.connections:
                self.publisher._disconnect()
                self.publish()
            self.assertEqual(silent.received, [])
            self.assertGreater(len(other.received), 0)
            for slot in (self.slot - 1, self.slot - 2):
                os.unlink(self.folder / f"publish-{slot}.sock")
            self.publisher._disconnect()

    def test_a_cluster_of_another_release(self) -> None:
        node = self.node()
        node.hello = encode(Greeting("ours", VERSION + 1))
        error = self.assertRaises(ConfigurationError, self.publish)
        self.assertIn("restart", str(error))
        self.assertEqual(node.received, [])

    def test_waits_for_a_node_that_is_being_replaced(self) -> None:
        (self.folder / "publish-77.sock").touch()
        self.patch(node_lookup.time, "sleep", lambda seconds: self.slot or self.node())
        self.assertEqual(self.publish(), Accepted(3, 1))

    def test_does_not_wait_indefinitely(self) -> None:
        self.patch(node_lookup, "CONNECT_TIMEOUT_S", 0.01)
        self.assertIn("no node answers", str(self.assertRaises(NotRunning, self.publish)))

    def test_waits_once_for_a_cluster_that_does_not_answer(self) -> None:
        """Else a command that saves ten thousand users would wait as often."""
        now = [100.0]

        def sleep(seconds: float) -> None:
            now[0] += seconds

        self.patch(node_lookup.time, "sleep", sleep)
        self.patch(node_lookup.time, "monotonic", lambda: now[0])
        self.assertRaises(NotRunning, self.publish)
        waited = now[0] - 100
        self.assertGreaterEqual(waited, node_lookup.CONNECT_TIMEOUT_S)
        for _ in range(100):
            self.assertRaises(NotRunning, self.publish)
        self.assertEqual(now[0] - 100, waited)
        self.node()
        self.publish()  # once it answers, all is as before
        self.publisher._disconnect()
        (self.folder / "publish-0.sock").unlink()
        self.assertRaises(NotRunning, self.publish)
        self.assertGreaterEqual(now[0] - 100 - waited, node_lookup.CONNECT_TIMEOUT_S)
        now[0] += node_lookup.HOPELESS_S
        before = now[0]
        self.assertRaises(NotRunning, self.publish)
        self.assertGreater(now[0], before)

    def test_too_long_a_message(self) -> None:
        node = self.node()
        self.publish()
        long = Publish(b"live", bytes(MAX_MESSAGE))
        self.assertRaises(ValueError, self.publisher.publish, long)
        self.publish()
        self.assertEqual((len(node.received), len(node.connections)), (2, 1))

    def test_threads_get_their_own_receipts(self) -> None:
        node = self.node()
        receipts: dict[int, set[Accepted]] = {}

        def run(depth: int) -> None:
            receipts[depth] = {self.publish(depth) for _ in range(30)}

        threads = [threading.Thread(target=run, args=(depth,)) for depth in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        self.assertEqual(receipts, {depth: {Accepted(depth, 1)} for depth in range(4)})
        self.assertEqual((len(node.received), len(node.connections)), (120, 1))

    def test_a_forked_process_has_a_connection_of_its_own(self) -> None:
        publish = self.publisher.publish
        os.register_at_fork(after_in_child=self.publisher.forget)
        node = self.node()
        publish(Publish(b"live", b"\x81\x02hi", 1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads
            child = os.fork()
        if child == 0:
            status = 1
            try:
                status, _ = publish(Publish(b"live", b"\x81\x02hi", 2, 500))
            finally:
                os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 2)
        publish(Publish(b"live", b"\x81\x02hi", 3))
        self.assertEqual(len(node.connections), 2)
        asked = [(m.depth, m.lifetime) for m in node.received if isinstance(m, Publish)]
        self.assertEqual(asked, [(1, 0), (2, 500), (3, 0)])

    def test_an_interruption_leaves_no_answer_behind(self) -> None:
        """A task queue stops a task by raising an exception wherever it is."""

        class Interrupted(Exception):
            pass

        node = self.node()

        def interrupt(*args: object) -> None:
            raise Interrupted

        receive = node_publisher._receive
        self.publisher._connected()
        self.patch(node_publisher, "_receive", interrupt)
        self.assertRaises(Interrupted, self.publish, 1)
        self.patch(node_publisher, "_receive", receive)
        self.assertEqual(self.publish(2), Accepted(2, 1))
        self.assertEqual(len(node.connections), 2)

    # Without waiting for the answer.

    def publish_later(self, depth: int = 3) -> list[object]:
        """Publish; returns the list that the answer will be in."""
        answers: list[object] = []
        publication = Publish(b"live", b"\x81\x02hi", depth)
        self.publisher.publish_later(publication, answers.append)
        return answers

    def test_later_ones_do_not_wait(self) -> None:
        """A node whose queues are full answers when they have drained."""
        may_answer = threading.Event()

        def slowly(publication: Publish) -> bytes:
            may_answer.wait(PATIENCE_S)
            return number_of_nodes_is_the_depth(publication)

        node = self.node(slowly)
        self.addCleanup(may_answer.set)
        answers = [self.publish_later(depth) for depth in (1, 2)]
        self.assertEqual(answers, [[], []])
        may_answer.set()
        self.assertEqual(self.publish(3), Accepted(3, 1))
        self.assertEqual(answers, [[Accepted(1, 1)], [Accepted(2, 1)]])
        self.assertEqual([m.depth for m in node.received if isinstance(m, Publish)], [1, 2, 3])

    def test_an_answer_may_cause_a_publication(self) -> None:
        """For example a log handler that publishes what it logs."""
        node = self.node()
        again: list[object] = []
        publication = Publish(b"live", b"\x81\x02hi", 1)
        self.publisher.publish_later(publication, lambda _: again.append(self.publish(2)))
        self.publish(3)
        self.assertEqual(again, [Accepted(2, 1)])
        self.assertEqual(len(node.received), 3)

    def test_the_end_of_the_process_waits_for_answers(self) -> None:
        self.node()
        answers = self.publish_later()
        self.publisher.finish()
        self.assertEqual(answers, [Accepted(3, 1)])

    def test_the_end_of_the_process_does_not_wait_long(self) -> None:
        self.patch(node_publisher, "EXIT_TIMEOUT_S", 0.05)
        may_end = threading.Event()
        self.node(lambda _: encode(Accepted(1, 1)) if may_end.wait(PATIENCE_S) else b"")
        self.addCleanup(may_end.set)
        answers = self.publish_later()
        self.publisher.finish()
        (error,) = answers
        assert isinstance(error, NotPublished)
        self.assertTrue(error.uncertain)

    def test_a_node_that_stops_passes_later_ones_on_in_order(self) -> None:
        may_answer = threading.Event()
        stopping = self.node(
            lambda _: encode(Closing()) if may_answer.wait(PATIENCE_S) else b"",
        )
        self.addCleanup(may_answer.set)
        answers = [self.publish_later(depth) for depth in (1, 2)]
        other = self.node()
        os.unlink(self.folder / "publish-0.sock")
        may_answer.set()
        self.assertEqual(self.publish(3), Accepted(3, 1))
        self.assertEqual(answers, [[Accepted(1, 1)], [Accepted(2, 1)]])
        self.assertEqual(len(other.received), 3)
        self.assertGreater(len(stopping.received), 0)

    def test_a_later_one_that_is_rejected(self) -> None:
        node = self.node(lambda _: encode(Rejection("too loud")))
        answers = self.publish_later()
        self.publisher.finish()
        (error,) = answers
        self.assertIn("too loud", str(error))
        node.answer = number_of_nodes_is_the_depth
        self.publish()

    def test_later_ones_of_a_node_that_dies(self) -> None:
        self.node(lambda _: b"")
        answers = self.publish_later()
        self.publisher.finish()
        (error,) = answers
        assert isinstance(error, NotPublished)
        self.assertTrue(error.uncertain)

    def test_later_ones_without_a_cluster(self) -> None:
        self.running = {}
        self.assertRaises(NotRunning, self.publish_later)
        self.assertRaises(NotRunning, self.publisher.check)
        self.publisher.finish()
