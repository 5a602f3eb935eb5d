"""Tests with real nodes, as users would write them."""

import urllib.request

from django.contrib.auth.models import Group, User

from cluster import Disconnected, publish
from cluster.testing import LiveClusterTestCase, Refused


class LiveTests(LiveClusterTestCase):
    nodes = 2
    options = ("--max-message-size", "100")

    def test_clients_of_all_nodes_receive_messages_of_the_test(self) -> None:
        # The topic has history, so a client that has just subscribed on another node misses
        # nothing.
        clients = [self.connect("/follow/kept/all/") for _ in range(16)]
        try:
            for client in clients:
                self.assertEqual("following", client.receive())
            receipt = publish("kept/all", "hello")
            assert receipt is not None
            self.assertGreaterEqual(receipt.nodes, 1)
            self.assertEqual(["hello"] * 16, [client.receive() for client in clients])
        finally:
            for client in clients:
                client.close()

    async def test_publish_from_a_coroutine(self) -> None:
        with self.connect("/follow/kept/coroutine/") as client:
            self.assertEqual("following", client.receive())
            publish("kept/coroutine", "hello")
            self.assertEqual("hello", client.receive())

    def test_views_and_handlers_see_the_database_of_the_test(self) -> None:
        Group.objects.create(name="first")
        with self.connect("/groups/") as client:
            self.assertEqual(1, client.receive_json())
            client.send("second")
            self.assertEqual(2, client.receive_json())
        self.assertEqual(2, Group.objects.count())

    def test_data_is_flushed_between_tests(self) -> None:
        with self.connect("/groups/") as client:
            self.assertEqual(0, client.receive_json())

    def test_user(self) -> None:
        anna = User.objects.create_user("anna")
        with self.connect("/who/", user=anna, session={"colour": "red"}) as client:
            self.assertEqual(["anna", "red"], client.receive_json())
            anna.delete()
            self.assertEqual(4401, client.closed().code)

    def test_views_and_static_files(self) -> None:
        with urllib.request.urlopen(self.url + "/say/news/") as response:
            self.assertEqual(b"outside", response.read())
        with urllib.request.urlopen(self.url + "/static/c10k/c10k.js") as response:
            self.assertEqual(200, response.status)
        self.assertEqual(self.ws_url, self.url.replace("http://", "ws://"))

    def test_refused_and_closed(self) -> None:
        with self.assertRaises(Refused) as caught:
            self.connect("/nowhere/")
        self.assertEqual(404, caught.exception.status)
        with self.connect("/who/") as client:
            client.send("x" * 101)
            self.assertEqual(1009, client.closed().code)
            client.receive()
            with self.assertRaises(Disconnected):
                client.receive()
        self.assertIn("c10k ready", self.log)


class SecondTests(LiveClusterTestCase):
    """A second cluster, which the first one must not affect."""

    nodes = 1

    def test_publish_to_the_second(self) -> None:
        with self.connect("/follow/news/") as client:
            client.receive()
            publish("news", "again")
            self.assertEqual("again", client.receive())
            with self.assertRaises(TimeoutError):
                client.receive(timeout=0.05)
