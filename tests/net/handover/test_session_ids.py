"""Tokens of processes, and the session id of a request."""

import os
import re

from twisted.trial.unittest import SynchronousTestCase

from cluster.net.handover import token_of_this_process
from cluster.net.handover.session_ids import SIZE, new_token, session_id_of, target_of

SID = "abc-_1" + "x" * (SIZE - 6)


class TokenTests(SynchronousTestCase):
    def test_each_process_has_one(self) -> None:
        self.assertEqual(token_of_this_process(), token_of_this_process())
        self.assertTrue(re.fullmatch("[A-Za-z0-9_-]{6}", token_of_this_process()))

    def test_a_forked_process_has_another(self) -> None:
        here = token_of_this_process()
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:  # pragma: no cover  (in the child)
            os.write(writing, token_of_this_process().encode())
            os._exit(0)
        os.waitpid(pid, 0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            self.assertNotEqual(pipe.read().decode(), here)

    def test_they_are_random(self) -> None:
        self.assertEqual(len({new_token() for _ in range(100)}), 100)


class SessionIdTests(SynchronousTestCase):
    def assert_sid(self, query: str, expected: str | None) -> None:
        self.assertEqual(session_id_of(b"/socket.io/" + query.encode()), expected)

    def test_a_request_of_a_session(self) -> None:
        self.assert_sid(f"?EIO=4&transport=polling&sid={SID}", SID)
        self.assert_sid(f"?sid={SID}&t=1&EIO=4#fragment", SID)

    def test_other_requests(self) -> None:
        for query in ("", "?", "?EIO=4", f"?sid={SID}", f"?XEIO=4&sid={SID}", f"?EIO=4&xsid={SID}"):
            self.assert_sid(query, None)

    def test_what_is_no_session_id(self) -> None:
        for sid in ("", SID[1:], SID + "x", SID[1:] + "/", SID[1:] + "%41", "../../etc/passwd.soc"):
            self.assert_sid(f"?EIO=4&sid={sid}", None)

    def test_of_several_the_last_counts(self) -> None:
        self.assert_sid(f"?EIO=4&sid=other&sid={SID}", SID)
        self.assert_sid(f"?EIO=4&sid={SID}&sid=other", None)

    def test_the_target_of_a_header(self) -> None:
        self.assertEqual(target_of(b"GET /a?b HTTP/1.1\r\nHost: c d\r\n\r\n"), b"/a?b")
        self.assertEqual(target_of(b"GET /\r\n\r\n"), b"")
        self.assertEqual(target_of(b"GET / a HTTP/1.1\r\n\r\n"), b"")
