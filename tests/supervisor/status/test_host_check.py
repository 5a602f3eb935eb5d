"""The names by which the admin port may be addressed."""

import socket
from threading import Event

from twisted.trial.unittest import SynchronousTestCase

from cluster.supervisor.status.host_check import HostNames


class HostNamesTests(SynchronousTestCase):
    def test_a_name_server_that_does_not_answer_delays_nothing(self) -> None:
        answers = Event()
        self.addCleanup(answers.set)
        self.patch(socket, "gethostname", lambda: "Box")

        def getfqdn() -> str:
            assert answers.wait(10)
            return "Box.Example"

        self.patch(socket, "getfqdn", getfqdn)
        hosts = HostNames()
        self.assertTrue(hosts.allows("box:9000"))
        self.assertFalse(hosts.allows("box.example"))
        answers.set()
        hosts._asking.join(10)
        self.assertTrue(hosts.allows("box.example"))

    def test_configured_names(self) -> None:
        hosts = HostNames(["Web", ".example.com"])
        for host in ("web", "WEB:9000", "example.com", "a.b.example.com:9000", "localhost."):
            self.assertTrue(hosts.allows(host), host)
        for host in ("web.example", "badexample.com", "example.com.evil", "", ":9000", "com"):
            self.assertFalse(hosts.allows(host), host)

    def test_any_name(self) -> None:
        hosts = HostNames(["*"])
        self.assertTrue(hosts.allows("whatever.example:1"))
