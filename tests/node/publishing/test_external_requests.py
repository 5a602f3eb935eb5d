"""A node publishes for processes on other machines."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.wire.external_publisher import (
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
from cluster.net.websocket.frames import text_frame
from cluster.node.publishing import external_requests
from cluster.node.publishing.external_requests import PAUSE_S, ExternalRequests
from cluster.node.publishing.publications import ExternalPublications
from tests.node.publishing.test_publish_socket import HELLO, RecordingPubSub

KEPT = Publish(b"chat", text_frame(b"kept"), 15, 3_600_000)


def request(*publications: ExternalMessage, site: str = "ours", version: int = VERSION) -> bytes:
    return b"".join(map(encode, (Greeting(site, version), *publications)))


class ExternalRequestsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pubsub = RecordingPubSub()
        self.publications = ExternalPublications(self.pubsub)
        self.clock = Clock()
        self.answers: list[tuple[str, list[ExternalMessage]]] = []
        self.requests = ExternalRequests(self.publications, self.answered, self.clock)
        self.requests.start("ours")

    def answered(self, request_id: str, data: bytes) -> None:
        self.answers.append((request_id, MessageDecoder().feed(data)))

    def refused(self, data: bytes, because: str) -> None:
        self.requests.receive("1", data)
        ((request_id, (rejection,)),) = self.answers
        assert isinstance(rejection, Rejection)
        self.assertIn(because, rejection.reason)
        self.assertEqual((request_id, self.pubsub.published), ("1", []))
        self.answers.clear()

    def test_each_publication_is_answered(self) -> None:
        self.requests.receive("1", request(HELLO, KEPT, HELLO))
        self.assertEqual(self.answers, [("1", [Accepted(2, 5), Accepted(3, 0), Accepted(2, 5)])])
        self.assertEqual(self.pubsub.published[1], (b"chat", KEPT.frame, 15, 3_600_000))
        self.assertEqual(self.publications.published, 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_invalid_publication_does_not_affect_the_others(self) -> None:
        self.requests.receive("1", request(Publish(b"t", b""), HELLO))
        self.assertEqual(self.answers, [("1", [Rejection("it has no frame"), Accepted(2, 5)])])

    def test_invalid_requests(self) -> None:
        self.refused(b"", "this is no request: it has no greeting")
        self.refused(b"GET / HTTP/1.1\r\n\r\n", "this is no request")
        self.refused(encode(HELLO), "no greeting")
        self.refused(request(HELLO, version=VERSION + 1), f"uses version {VERSION + 1}")
        self.refused(request(HELLO, site="theirs"), "another project")

    def test_requests_wait_while_publishers_must_pause(self) -> None:
        self.pubsub.full = True
        self.requests.receive("1", request(HELLO))
        self.requests.receive("2", request(KEPT))
        self.clock.advance(PAUSE_S - 0.1)
        self.assertEqual((self.answers, self.pubsub.published), ([], []))
        self.pubsub.full = False
        self.requests.resume()
        self.assertEqual(self.answers, [("1", [Accepted(2, 5)]), ("2", [Accepted(3, 0)])])
        self.clock.advance(PAUSE_S)
        self.assertEqual((len(self.answers), self.clock.getDelayedCalls()), (2, []))

    def test_the_pause_has_an_end(self) -> None:
        self.pubsub.full = True
        self.requests.receive("1", request(HELLO, HELLO))
        self.clock.advance(1)
        self.requests.receive("2", request(KEPT))
        self.clock.advance(PAUSE_S - 1)
        reason = "the queues of the cluster were full for 3 s"
        self.assertEqual(self.answers, [("1", [Rejection(reason)] * 2)])
        self.pubsub.full = False
        self.requests.resume()
        self.assertEqual(self.answers[1:], [("2", [Accepted(3, 0)])])

    def test_what_waits_is_bounded(self) -> None:
        self.patch(external_requests, "MAX_WAITING_BYTES", 100)
        self.pubsub.full = True
        self.requests.receive("1", request(HELLO))
        self.refused(request(Publish(b"t", text_frame(b"x" * 100))), "of requests wait")
        self.pubsub.full = False
        self.requests.resume()
        self.assertEqual(self.answers, [("1", [Accepted(2, 5)])])

    def test_a_node_that_stops_sends_publishers_elsewhere(self) -> None:
        self.pubsub.full = True
        self.requests.receive("1", request(HELLO))
        self.requests.stop()
        self.requests.receive("2", request(HELLO))
        self.assertEqual(self.answers, [("1", [Closing()]), ("2", [Closing()])])
        self.assertEqual((self.pubsub.published, self.clock.getDelayedCalls()), ([], []))

    def test_a_node_that_does_not_serve_yet(self) -> None:
        requests = ExternalRequests(self.publications, self.answered, self.clock)
        requests.receive("1", request(HELLO))
        self.assertEqual(self.answers, [("1", [Closing()])])
