"""The client's address and scheme, as a trusted proxy in front reports them (--proxy-headers).

They are read from the bytes of the request. Autobahn's parser takes other control characters for
line ends too, so that a client could add a header that the proxy has not seen.
"""

from twisted.internet.abstract import isIPAddress, isIPv6Address


def forwarded(header: bytes) -> tuple[str | None, bool]:
    """Read X-Forwarded-For and X-Forwarded-Proto.

    Args:
        header: The request's header, from the request line on.

    Returns:
        The client's address, or None without a valid one, and whether it came over TLS. Of several
        addresses the last counts: it is the one that the proxy itself saw.
    """
    client, secure = None, False
    for line in header.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        match name.lower():
            case b"x-forwarded-for":
                last = value.rpartition(b",")[2].strip().decode("latin-1")
                client = last if isIPAddress(last) or isIPv6Address(last) else None
            case b"x-forwarded-proto":
                secure = value.strip().lower() == b"https"
    return client, secure
