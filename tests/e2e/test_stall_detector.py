"""A handler that blocks the event loop is shown in the log of a real cluster."""

from twisted.trial.unittest import TestCase

from tests.e2e.processes import reactor, start_cluster
from tests.e2e.wsclient import connect


class StallDetectorTests(TestCase):
    timeout = 300

    async def test_the_log_has_the_line_that_blocks(self) -> None:
        cluster = await start_cluster(self, "--nodes", "2", "--settings", "tests.e2e.handler_site")
        said = [cluster.line(text) for text in ("event loop was blocked", r"time\.sleep\(3\)")]
        client = await connect(reactor, cluster.base_url.replace("http", "ws", 1) + "blocking/")
        self.addCleanup(client.abort)
        self.assertEqual(await client.next_message(), "awake")
        for line in said:
            await line
