"""Tests of a project that does not use cluster.testing."""

from django.test import SimpleTestCase

from cluster import Receipt, publish
from cluster.django.api import backends
from cluster.django.external import backend


class PlainTests(SimpleTestCase):
    def test_publish_reaches_no_cluster(self) -> None:
        self.assertIsNot(backend.backend, backends.current())
        with self.assertNoLogs("cluster.django"):
            self.assertEqual(Receipt(0, 0), publish("news", "hello"))
