"""The URL of the bus between machines."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.uplink.url import BusUrl, parse_bus_url


class ParseTests(SynchronousTestCase):
    def refused(self, text: str) -> str:
        with self.assertRaises(ConfigurationError) as caught:
            parse_bus_url(text, "--bus")
        message = str(caught.exception)
        self.assertTrue(message.startswith("--bus"), message)
        self.assertNotIn("\n", message)
        return message

    def test_a_server(self) -> None:
        self.assertEqual(BusUrl((("h", 6379),)), parse_bus_url("redis://h"))
        self.assertEqual(BusUrl((("h", 1),), 2), parse_bus_url("redis://h:1/2"))
        self.assertEqual(BusUrl((("h", 6379),), 3), parse_bus_url("redis://h?db=3"))
        self.assertEqual((("::1", 7),), parse_bus_url("redis://[::1]:7").hosts)

    def test_a_socket(self) -> None:
        url = parse_bus_url("unix:///run/a b.sock?db=1")
        self.assertEqual(("/run/a b.sock", 1, ()), (url.path, url.db, url.hosts))

    def test_sentinels(self) -> None:
        url = parse_bus_url("redis+sentinel://a:1,b,[::1]:3/mymaster?db=2")
        self.assertEqual((("a", 1), ("b", 26379), ("::1", 3)), url.hosts)
        self.assertEqual(("mymaster", 2, None), (url.service, url.db, url.tls))
        url = parse_bus_url("rediss+sentinel://u:p@a/m?sentinel_username=su&sentinel_password=sp")
        self.assertEqual(("u", "p"), (url.username, url.password))
        self.assertEqual("su", url.sentinel_options()["username"])
        self.assertEqual("sp", url.sentinel_options()["password"])
        self.assertEqual("p", url.server_options("name")["password"])

    def test_each_sentinel_is_the_first_one_to_be_asked(self) -> None:
        url = parse_bus_url("redis+sentinel://a,b,c/mymaster")
        orders = [url.shuffled_hosts() for _ in range(200)]
        self.assertEqual(set(url.hosts), {order[0] for order in orders})
        self.assertEqual({url.hosts}, {tuple(sorted(order)) for order in orders})

    def test_tls(self) -> None:
        path = Path(self.mktemp())
        path.write_text("a certificate")
        url = parse_bus_url(f"rediss://h?ssl_ca_certs={path}&ssl_check_hostname=false")
        self.assertEqual({"ssl_ca_certs": str(path), "ssl_check_hostname": False}, url.tls)
        self.assertEqual({"ssl_check_hostname": True}, parse_bus_url("rediss://h").tls)
        self.assertIsNone(parse_bus_url("redis://h").tls)

    def test_passwords_are_not_shown(self) -> None:
        for text in (
            "redis://me:s3cret@h/1",
            "redis://h/1?username=me&password=s3cret",
            "redis+sentinel://me:s3cret@h,i/m?sentinel_password=s3cret",
            "unix://me:s3cret@/run/redis.sock",
        ):
            url = parse_bus_url(text)
            self.assertTrue(url.has_secret)
            for shown in (str(url), repr(url), f"{url}"):
                self.assertNotIn("s3cret", shown)
                self.assertNotIn("me:", shown)
        self.assertEqual("p@:/w", parse_bus_url("redis://:p%40%3A%2Fw@h").password)
        self.assertFalse(parse_bus_url("redis://h").has_secret)

    def test_shown(self) -> None:
        for text in (
            "redis://h:6379/0",
            "rediss://[::1]:1/3",
            "redis+sentinel://a:1,b:2/m?db=0",
            "unix:///run/redis.sock?db=0",
        ):
            self.assertEqual(text, str(parse_bus_url(text)))

    def test_refused(self) -> None:
        for text in (
            "",
            "redis",
            "redis:",
            "redis://",
            "redis://h:port",
            "redis://h:99999",
            "redis://h/db",
            "redis://h?database=1",
            "redis://h?ssl_ca_certs=/x",
            "redis://h?db",
            "rediss://h?ssl_check_hostname=maybe",
            "redis+sentinel://a,b",
            "redis+sentinel://a,,b/m",
            "redis+sentinel://a/m/n",
            "unix://host/path",
            "unix://",
            "http://h",
            "redis://[::1",
        ):
            self.refused(text)
        self.assertIn("No such file", self.refused("rediss://h?ssl_ca_certs=/nowhere/ca.pem"))

    def test_nats(self) -> None:
        self.assertIn("nats:// is not supported, because", self.refused("nats://h"))

    def test_errors_do_not_show_the_password(self) -> None:
        for text in ("redis://me:s3cret@h:port", "ftp://me:s3cret@h", "redis://me:s3cret@[x"):
            self.assertNotIn("s3cret", self.refused(text))
