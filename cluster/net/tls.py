"""TLS for the addresses ``ssl:…``: only versions and ciphers with forward secrecy and AEAD.

TLS 1.3 has no others. For TLS 1.2 the ciphers are those of Mozilla's intermediate configuration
with ECDHE (https://wiki.mozilla.org/Security/Server_Side_TLS), which every browser since 2015 has.
"""

import re
from pathlib import Path

from OpenSSL.crypto import FILETYPE_PEM
from twisted.internet import ssl

from cluster.net.addresses import Address

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n.+?\n-----END CERTIFICATE-----", re.DOTALL
)


def read_certificate(address: Address) -> str:
    """Read the key and the certificates of an address, and check that they fit.

    Args:
        address: The address, with the scheme "ssl". ``certKey`` may have further certificates
            after the first one, up to the root, and so may ``extraCertChain``.

    Returns:
        The key, then the certificates, in PEM format.

    Raises:
        OSError: A file cannot be read.
        Exception: A file has no key or no certificate, or they do not belong together.
    """
    files = address.parameters
    key_file = files.get("privateKey", "server.pem")
    names = [files.get("certKey", key_file)]
    if "extraCertChain" in files:
        names.append(files["extraCertChain"])
    pems = [pem for name in names for pem in _certificates(name)]
    key = ssl.KeyPair.load(Path(key_file).read_bytes(), FILETYPE_PEM)
    text = b"\n".join([key.dump(FILETYPE_PEM), *pems]).decode()
    tls_context(text)
    return text


def tls_context(certificate: str) -> ssl.CertificateOptions:
    """Return the context for what ``read_certificate`` has returned."""
    data = certificate.encode()
    certificates = [ssl.Certificate.loadPEM(pem).original for pem in _CERTIFICATE.findall(data)]
    options = ssl.CertificateOptions(
        privateKey=ssl.KeyPair.load(data, FILETYPE_PEM).original,
        certificate=certificates[0],
        extraCertChain=certificates[1:],
        raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
        acceptableCiphers=ssl.AcceptableCiphers.fromOpenSSLCipherString(CIPHERS),
    )
    options.getContext()
    return options


def _certificates(name: str) -> list[bytes]:
    pems = _CERTIFICATE.findall(Path(name).read_bytes())
    if not pems:
        raise ValueError(f"{name} has no certificate in PEM format")
    return list(pems)
