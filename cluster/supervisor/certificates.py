"""The TLS keys and certificates of a cluster, which the supervisor reads for all nodes.

If each node read the files when it starts, then after a renewal a node that is replaced would have
the new certificate and the others the old one, and a file that cannot be used would prevent each
start. So the supervisor reads them when it starts and at each restart, checks them, and sends them
to each node. A file that cannot be used at a restart leaves the previous certificate in use.
"""

from collections.abc import Sequence

from twisted.logger import Logger

from cluster.core.exceptions import ConfigurationError
from cluster.net.addresses import Address

MAX_SIZE = 60_000
"""Bytes of a key and its certificates. AMP sends at most 64 KiB."""


class Certificates:
    """Call ``read`` before the nodes start, and ``read_again`` at each restart.

    Args:
        addresses: The addresses to listen on; those without TLS are ignored.
    """

    log = Logger()

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = [address for address in addresses if address.scheme == "ssl"]
        self._pems: dict[str, str] = {}

    def of(self, endpoint: str) -> str:
        """The key and the certificates of an address; empty if it has none."""
        return self._pems.get(endpoint, "")

    def read(self) -> None:
        """Read all files.

        Raises:
            ConfigurationError: One of them cannot be used; nothing has changed.
        """
        self._pems = {address.text: _read(address) for address in self._addresses}

    def read_again(self) -> None:
        """Read all files; log those that cannot be used, and keep what they had before."""
        for address in self._addresses:
            try:
                pem = _read(address)
            except ConfigurationError as error:
                self.log.error("the previous certificate stays in use: {error}", error=error)
                continue
            if pem != self._pems.get(address.text):
                self.log.info("read a new certificate for {address}", address=address.host_port)
            self._pems[address.text] = pem


def _read(address: Address) -> str:
    from cluster.net.tls import read_certificate  # only here: a cluster without TLS starts faster

    try:
        pem = read_certificate(address)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {address.text!r}: {error.filename}: {error.strerror}"
        ) from None
    except Exception as error:
        raise ConfigurationError(
            f"cannot listen on {address.text!r}: its key or certificate cannot be used ({error})"
        ) from None
    if len(pem) > MAX_SIZE:
        raise ConfigurationError(
            f"cannot listen on {address.text!r}: its key and certificates have {len(pem):,} bytes,"
            f" and at most {MAX_SIZE:,} can be used"
        )
    return pem
