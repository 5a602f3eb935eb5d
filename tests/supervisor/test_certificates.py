"""Tests of cluster.supervisor.certificates."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import ConfigurationError
from cluster.net.addresses import parse_address
from cluster.net.tls import tls_context
from cluster.supervisor import certificates
from cluster.supervisor.certificates import Certificates
from tests.e2e.test_tls import make_certificate
from tests.supervisor.test_child_processes import Recorder


class CertificatesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.key, self.certificate = make_certificate(self.folder.resolve())
        self.text = f"ssl:0:privateKey={self.key}:certKey={self.certificate}"
        self.certificates = Certificates([parse_address(self.text), parse_address("tcp:0")])
        self.lines: list[str] = []
        self.certificates.log = Recorder(self.lines)  # type: ignore[assignment]
        self.certificates.read()
        self.first = self.certificates.of(self.text)

    def test_an_address_has_its_key_and_certificate(self) -> None:
        tls_context(self.first)
        self.assertEqual(self.first.count("-----BEGIN"), 2)
        self.assertEqual(self.certificates.of("tcp:0"), "")

    def test_a_renewed_certificate_is_used(self) -> None:
        self.certificates.read_again()
        self.assertEqual(self.certificates.of(self.text), self.first)
        self.assertEqual(self.lines, [])
        make_certificate(self.folder.resolve())
        self.certificates.read_again()
        self.assertNotEqual(self.certificates.of(self.text), self.first)
        self.assertEqual(self.lines, ["read a new certificate for 0.0.0.0:0"])

    def test_files_that_cannot_be_used_leave_the_previous_certificate(self) -> None:
        other = self.folder / "other"
        other.mkdir()
        foreign_key, _ = make_certificate(other.resolve())
        for damage in (
            lambda: self.key.write_bytes(foreign_key.read_bytes()),
            lambda: self.certificate.write_text("nothing"),
            self.certificate.unlink,
        ):
            damage()
            self.lines.clear()
            self.certificates.read_again()
            self.assertEqual(self.certificates.of(self.text), self.first)
            (line,) = self.lines
            self.assertTrue(line.startswith("the previous certificate stays in use: "), line)
            self.assertRaises(ConfigurationError, self.certificates.read)
            self.assertEqual(self.certificates.of(self.text), self.first)

    def test_a_chain_that_is_too_long(self) -> None:
        self.patch(certificates, "MAX_SIZE", 100)
        error = self.assertRaises(ConfigurationError, self.certificates.read)
        self.assertIn("at most 100 can be used", str(error))
