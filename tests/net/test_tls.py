"""Which TLS versions and ciphers a node accepts, with Python's ssl module as the client."""

import contextlib
import ssl
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from cluster.net.addresses import parse_address
from cluster.net.tls import read_certificate, tls_context
from tests.e2e.test_tls import make_certificate


class CipherTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.key, self.certificate = make_certificate(folder.resolve(), use_rsa=True)
        self.context = self.tls(f"ssl:0:privateKey={self.key}:certKey={self.certificate}")

    def tls(self, text: str) -> Any:
        return tls_context(read_certificate(parse_address(text))).getContext()

    def handshake(self, **options: Any) -> tuple[str, str]:
        """The version and the cipher of a handshake in memory; raises if it fails."""
        client_context = ssl.create_default_context(cafile=str(self.certificate))
        ciphers = options.pop("ciphers", None)
        if ciphers:
            client_context.set_ciphers(ciphers)
        for name, value in options.items():
            setattr(client_context, name, value)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        server = SSL.Connection(self.context, None)
        server.set_accept_state()
        for _ in range(6):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                cipher = client.cipher()
                assert cipher is not None
                return str(client.version()), cipher[0]
            server.bio_write(outgoing.read())
            with contextlib.suppress(SSL.WantReadError):
                server.do_handshake()
            incoming.write(server.bio_read(1 << 16))
        raise AssertionError("the handshake does not end")

    def test_modern_clients(self) -> None:
        self.assertEqual(self.handshake()[0], "TLSv1.3")
        version, cipher = self.handshake(maximum_version=ssl.TLSVersion.TLSv1_2)
        self.assertEqual(version, "TLSv1.2")
        self.assertRegex(cipher, r"^ECDHE-RSA-(AES\d+-GCM|CHACHA20)")

    def test_ciphers_without_forward_secrecy_or_aead_are_refused(self) -> None:
        for ciphers in (
            "AES128-GCM-SHA256",  # without forward secrecy
            "ECDHE-RSA-AES128-SHA256",  # without AEAD
            "ECDHE-RSA-AES256-SHA",
            "DHE-RSA-AES128-GCM-SHA256",
        ):
            with self.assertRaises((ssl.SSLError, SSL.Error), msg=ciphers):
                self.handshake(ciphers=ciphers, maximum_version=ssl.TLSVersion.TLSv1_2)

    def test_old_versions_are_refused(self) -> None:
        with self.assertRaises((ssl.SSLError, SSL.Error)):
            self.handshake(
                ciphers="ALL:@SECLEVEL=0",
                minimum_version=ssl.TLSVersion.TLSv1,
                maximum_version=ssl.TLSVersion.TLSv1_1,
            )

    def test_a_file_may_have_the_whole_chain(self) -> None:
        other = Path(self.mktemp())
        other.mkdir()
        _, more = make_certificate(other.resolve())
        chain = other / "fullchain.pem"
        chain.write_bytes(self.certificate.read_bytes() + more.read_bytes())
        address = parse_address(f"ssl:0:privateKey={self.key}:certKey={chain.resolve()}")
        self.assertEqual(len(tls_context(read_certificate(address)).extraCertChain), 1)
        extra = parse_address(f"{address.text}:extraCertChain={more}")
        self.assertEqual(len(tls_context(read_certificate(extra)).extraCertChain), 2)

    def test_a_key_of_another_certificate_is_an_error(self) -> None:
        other = Path(self.mktemp())
        other.mkdir()
        key, _ = make_certificate(other.resolve())
        text = f"ssl:0:privateKey={key}:certKey={self.certificate}"
        self.assertRaises(SSL.Error, self.tls, text)
