"""Parsing of addresses to listen on."""

import socket

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net.addresses import first_port, parse_address, unix_path_fits


class ParseAddressTests(SynchronousTestCase):
    def assert_refused(self, text: str, because: str) -> None:
        error = self.assertRaises(ConfigurationError, parse_address, text)
        self.assertIn(because, str(error))
        self.assertIn(repr(text), str(error))

    def test_a_port_alone_means_every_ipv4_interface(self) -> None:
        address = parse_address("tcp:8000")
        self.assertEqual((address.host, address.port), ("0.0.0.0", 8000))
        self.assertEqual(address.family, socket.AF_INET)
        self.assertEqual(address.url, "http://127.0.0.1:8000/")

    def test_the_caller_chooses_the_default_host(self) -> None:
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

    def test_an_ssl_address_has_key_and_certificate(self) -> None:
        address = parse_address("ssl:8443:privateKey=a=b.pem:certKey=c.pem")
        self.assertEqual(address.url, "https://127.0.0.1:8443/")
        self.assertEqual(address.parameters["privateKey"], "a=b.pem")

    def test_a_unix_socket(self) -> None:
        address = parse_address("unix:/run/site/http.sock")
        self.assertEqual((address.host, address.port, address.mode), (address.host, 0, 0o660))
        self.assertEqual(address.family, socket.AF_UNIX)
        self.assertEqual(address.url, "unix:/run/site/http.sock")
        self.assertEqual(parse_address("unix:/a.sock:mode=0600").mode, 0o600)
        tcp = parse_address("tcp:8000")
        self.assertEqual(first_port([address, tcp]), 8000)
        self.assertEqual(first_port([address]), 0)

    def test_invalid_unix_sockets(self) -> None:
        for text, because in (
            ("unix:", "the path must begin with /"),
            ("unix:run/a.sock", "the path must begin with /"),
            ("unix:/" + "x" * 107, "at most 107 bytes"),
            ("unix:/a.sock:mode=rw", "three octal digits"),
            ("unix:/a.sock:mode=0o66", "three octal digits"),
            ("unix:/a.sock:mode=689", "three octal digits"),
            ("unix:/a.sock:lockfile=1", "unknown argument 'lockfile'"),
            ("unix:/a.sock:8000", "unknown argument '8000'"),
        ):
            self.assert_refused(text, because)

    def test_the_kernels_port_replaces_0(self) -> None:
        self.assertEqual(
            parse_address("tcp:0:interface=127.0.0.1").at_port(4711).host_port, "127.0.0.1:4711"
        )

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


class UnixPathTests(SynchronousTestCase):
    def test_unix_paths(self) -> None:
        self.assertTrue(unix_path_fits("/" + "x" * 106))
        self.assertFalse(unix_path_fits("/" + "é" * 54))
