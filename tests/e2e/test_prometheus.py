"""A real Prometheus scrapes a real cluster, evaluates the alert rules and answers the dashboard."""

import json
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

from tests.e2e import wsclient
from tests.e2e.asking import LOOK_AGAIN_S, get, get_until
from tests.e2e.processes import (
    TEST_TIMEOUT_S,
    Program,
    reactor,
    start_cluster,
    start_program,
)
from tests.once import once
from tests.test_monitoring import RULES, alerts, all_metrics, dashboard_expressions

CONFIGURATION = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files: ["{rules}"]
scrape_configs:
  - job_name: c10k
    static_configs:
      - targets: ["{target}"]
"""


@once
class PrometheusTests(TestCase):
    timeout = TEST_TIMEOUT_S

    async def start(self) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise SkipTest("needs prometheus (Debian: prometheus)")
        self.cluster = await start_cluster(
            self, "--nodes", "2", "--settings", "tests.e2e.drill_site"
        )
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        target = self.cluster.admin_url.removeprefix("http://").rstrip("/")
        (folder / "prometheus.yml").write_text(
            CONFIGURATION.format(rules=RULES / "alerts.yml", target=target)
        )
        prometheus = Program()
        command = [
            program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:0", "--log.format=json",
        ]  # fmt: skip
        listening = prometheus.line(r'"address":"(127\.0\.0\.1:[1-9]\d*)"')  # not port 0
        start_program(self, prometheus, command, uuid.uuid4().hex)
        match = await listening
        self.url = f"http://{match[1]}/"
        await get_until(self.url + "-/ready", 200)

    async def ask(self, path: str) -> Any:
        status, body = await get(self.url + "api/v1/" + path)
        self.assertEqual(status, 200, f"{path}: {body}")
        return json.loads(body)["data"]

    async def test_prometheus_has_what_the_dashboard_and_the_alerts_use(self) -> None:
        await self.start()
        url = f"ws://127.0.0.1:{self.cluster.port}/"
        subscribers = [await wsclient.connect(reactor, url + "subscribe/t/") for _ in range(8)]
        publisher = await wsclient.connect(reactor, url + "publish/t/")
        for client in (publisher, *subscribers):
            self.addCleanup(client.abort)
        for client in subscribers:
            await client.next_message()
        fanout = 'sum(c10k_fanout_latency_seconds_count{node=~"node."}) > 0'
        while not (await self.ask(f"query?query={quote(fanout)}"))["result"]:
            publisher.send("message")
            await publisher.next_message()
            await deferLater(reactor, LOOK_AGAIN_S, lambda: None)
        names = await self.ask("label/__name__/values")
        present = {name.removesuffix("_bucket") for name in names}
        # These appear with the first event of their kind.
        later = {
            "c10k_feed_requests_refused_total",
            "c10k_handshakes_refused_total",
            "c10k_limited_total",
        }
        # Those of a site of several machines: tests.e2e.test_machines.
        later |= {name for name in all_metrics() if name.startswith("c10k_uplink_")}
        self.assertEqual(all_metrics() - present - later, set())
        for expression in dashboard_expressions():
            await self.ask(f"query?query={quote(expression)}")
        (group,) = (await self.ask("rules"))["groups"]
        while any(rule["health"] == "unknown" for rule in group["rules"]):
            (group,) = (await self.ask("rules"))["groups"]
        self.assertEqual([rule["name"] for rule in group["rules"]], alerts())
        self.assertEqual({rule["health"] for rule in group["rules"]}, {"ok"})
        firing = [rule["name"] for rule in group["rules"] if rule["state"] == "firing"]
        self.assertEqual(firing, [])
