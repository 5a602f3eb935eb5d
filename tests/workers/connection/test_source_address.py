from twisted.trial.unittest import SynchronousTestCase

from workers.connection.source_address import ports_per_address, source_address


class SourceTests(SynchronousTestCase):
    def test_the_system_chooses_the_first_address(self) -> None:
        self.assertIsNone(source_address(0, "127.0.0.1", 100))
        self.assertIsNone(source_address(99, "127.0.0.1", 100))

    def test_further_addresses(self) -> None:
        self.assertEqual(source_address(100, "127.0.0.1", 100), "127.0.0.2")
        self.assertEqual(source_address(199, "127.0.0.9", 100), "127.0.0.2")
        self.assertEqual(source_address(200, "127.0.0.1", 100), "127.0.0.3")

    def test_only_for_loopback(self) -> None:
        self.assertIsNone(source_address(100, "192.0.2.1", 100))
        self.assertIsNone(source_address(100, "::1", 100))

    def test_some_ports_are_spared(self) -> None:
        self.assertGreater(ports_per_address(), 100)
        self.assertLess(ports_per_address(), 65536)
