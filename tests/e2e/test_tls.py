"""A cluster that listens with TLS: pages and WebSockets, for clients that negotiate by ALPN."""

import os
import signal
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.e2e.processes import PATIENCE_S, TEST_TIMEOUT_S, start_cluster


def make_certificate(folder: Path, use_rsa: bool = False) -> tuple[Path, Path]:
    """Create a key and a self-signed certificate for localhost."""
    key: Any = (
        rsa.generate_private_key(65537, 2048)
        if use_rsa
        else ec.generate_private_key(ec.SECP256R1())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key_file, certificate_file


def exchange(port: int, certificate: Path, request: str, more: bytes, until: bytes) -> bytes:
    """Send a request, then more bytes after the answer's header; read until ``until`` arrives."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_alpn_protocols(["http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        sock.sendall(request.encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += sock.recv(65536)
        sock.sendall(more)
        while until not in received:
            data = sock.recv(65536)
            if not data:
                break
            received += data
        return received


class TLSTests(TestCase):
    timeout = TEST_TIMEOUT_S

    @inlineCallbacks
    def test_pages_and_websockets_work_under_tls(self) -> "Deferred[None]":  # type: ignore[misc]
        folder = Path(self.mktemp())
        folder.mkdir()
        key, certificate = make_certificate(folder.resolve())
        endpoint = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        cluster = yield start_cluster(self, "--nodes", "1", listen=endpoint)
        host = f"Host: localhost:{cluster.port}\r\n"
        page = yield deferToThread(
            exchange,
            cluster.port,
            certificate,
            f"GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n",
            b"",
            b"</html>",
        )
        self.assertTrue(page.startswith(b"HTTP/1.1 200 OK"), page[:200])
        upgrade = (
            f"GET /echo/ HTTP/1.1\r\n{host}Origin: https://localhost:{cluster.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        message = b"\x82\xfe\x40\x00\0\0\0\0" + b"x" * 0x4000  # 16 KiB, binary, mask 0
        answer = yield deferToThread(
            exchange, cluster.port, certificate, upgrade, message, b"x" * 0x4000
        )
        self.assertTrue(answer.startswith(b"HTTP/1.1 101"), answer[:200])
        self.assertTrue(answer.endswith(b"\x82\x7e\x40\x00" + b"x" * 0x4000))

    async def test_certificates_are_read_again_at_a_restart(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        key, certificate = make_certificate(folder.resolve())
        endpoint = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        cluster = await start_cluster(self, "--nodes", "2", listen=endpoint)
        place = "127.0.0.1", cluster.port

        async def served() -> set[str]:
            """The certificates that 20 connections receive."""
            pems = [
                await deferToThread(ssl.get_server_certificate, place, timeout=PATIENCE_S)
                for _ in range(20)
            ]
            return set(pems)

        async def restart() -> None:
            done = cluster.line("restarted 2 nodes")
            cluster.kill(signal.SIGHUP)
            await done

        async def replace_one() -> None:
            again = cluster.line("node0 ready")
            os.kill(cluster.pids["node0"], signal.SIGKILL)
            await again

        first = certificate.read_text()
        self.assertEqual(await served(), {first})
        make_certificate(folder.resolve())
        second = certificate.read_text()
        await replace_one()
        self.assertEqual(await served(), {first}, "all nodes have the same certificate")
        await restart()
        self.assertEqual(await served(), {second})
        certificate.write_text("damaged")
        await replace_one()
        await restart()
        self.assertEqual(await served(), {second})
        self.assertIn("the previous certificate stays in use: cannot listen on", cluster.text)
