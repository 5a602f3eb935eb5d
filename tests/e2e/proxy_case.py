"""What the tests of the proxies share: the program, a certificate, and ports that stay free."""

import shutil
import ssl
import tempfile
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SkipTest, TestCase

from cluster.net.addresses import parse_address
from cluster.net.listening_sockets import claim
from tests.e2e.processes import TEST_TIMEOUT_S
from tests.e2e.test_tls import make_certificate


class ProxyTestCase(TestCase):
    """A proxy with TLS for localhost.

    ``name`` is the program's and the Debian package's. ``address`` is where it listens. Outgoing
    connections of other programs use ports of 127.0.0.1, so with another address none of them
    takes the ports that are chosen for the proxy before they are bound.
    """

    timeout = TEST_TIMEOUT_S
    name: ClassVar[str]
    address: ClassVar[str]

    def setUp(self) -> None:
        program = shutil.which(self.name) or shutil.which(self.name, path="/usr/sbin")
        if program is None:
            raise SkipTest(f"{self.name} is not installed (apt-get install {self.name})")
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="c10k-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.key, self.certificate = make_certificate(self.folder)

    def free_port(self) -> int:
        sock = claim(parse_address(f"tcp:0:interface={self.address}"))
        port: int = sock.getsockname()[1]
        sock.close()
        return port

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))
