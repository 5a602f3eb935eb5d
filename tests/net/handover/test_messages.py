"""What one process sends to another with a connection."""

import contextlib
import json
import struct

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cluster.core.exceptions import WireError
from cluster.net.handover.messages import MAX_INPUT, VERSION, Head, Origin, decode, encode
from tests import profiles

assert profiles

IPV4 = Origin(("192.0.2.1", 1234))
IPV6 = Origin(("fe80::1%eth0", 1234, 0, 2), ("2001:db8::1", 443), True)
UNIX = Origin(None, ("127.0.0.1", 80))


def raw(text: bytes, version: int = VERSION, size: int = 0) -> bytes:
    return struct.pack("!HHI", version, len(text), size) + text


class MessageTests(SynchronousTestCase):
    def test_round_trips(self) -> None:
        for origin in (IPV4, IPV6, UNIX):
            for is_passed, size in ((True, 0), (True, 17), (False, 0)):
                data = encode(origin, is_passed, size)
                head = Head(origin, is_passed, len(data), len(data) + size)
                self.assertEqual(decode(data + b"input"), head)

    def test_incomplete(self) -> None:
        data = encode(IPV6, True, 5)
        for size in range(len(data)):
            self.assertIsNone(decode(data[:size]))

    def test_another_version(self) -> None:
        self.assertRaises(WireError, decode, raw(b"{}", VERSION + 1))

    def test_too_much_input(self) -> None:
        self.assertRaises(WireError, decode, raw(b"", size=MAX_INPUT + 1))

    def test_what_is_no_beginning(self) -> None:
        good = {"peer": ["::1", 1, 0, 0], "server": None, "secure": False, "passed": True}
        bad = [{**good, "peer": ["::1"]}, {**good, "peer": 3}, {**good, "server": [1]}, [], {}]
        for fields in bad:
            self.assertRaises(WireError, decode, raw(json.dumps(fields).encode()))
        self.assertRaises(WireError, decode, raw(b"\xff"))

    @given(st.binary(max_size=60))
    def test_garbage(self, data: bytes) -> None:
        for text in (data, raw(data)):
            with contextlib.suppress(WireError):
                decode(text)
