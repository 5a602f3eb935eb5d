"""The alert rules and the dashboard in deploy/: promtool accepts and tests them, all metrics that
they use exist, and each alert is documented."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cluster.supervisor.metrics import exposition

ROOT = Path(__file__).parents[1]
RULES = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "c10k.json"
GUIDE = ROOT / "docs" / "how-to" / "monitor.md"

_METRIC = re.compile(r"\bc10k_\w+")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def dashboard_expressions() -> list[str]:
    """The queries of all panels, for all clusters and with an interval for rates."""
    return [
        target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
        for panel in dashboard()["panels"]
        for target in panel["targets"]
    ]


def metrics_of(text: str) -> set[str]:
    """The names of metrics in queries, without those that Prometheus adds to a histogram."""
    return {re.sub("_bucket$", "", name) for name in _METRIC.findall(text)}


def reasons_with_an_alert() -> set[str]:
    """Why messages are dropped, without the reasons that C10kMessagesLost leaves out."""
    table = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    table = table.partition("## Why messages are dropped")[2].partition("\n## ")[0]
    left_out = re.search(r'reason!~"([^"]+)"', (RULES / "alerts.yml").read_text())
    assert left_out is not None
    names = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    return {name for name in names if not re.fullmatch(left_out[1], name)}


def alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text())


def all_metrics() -> set[str]:
    """The metrics that the dashboard and the alerts use."""
    expressions = re.sub(r"(?m)^ +(summary|runbook):.*$", "", (RULES / "alerts.yml").read_text())
    return metrics_of(expressions) | metrics_of("\n".join(dashboard_expressions()))


class RulesTests(SynchronousTestCase):
    def promtool(self, *arguments: str) -> None:
        program = shutil.which("promtool")
        if program is None:
            raise SkipTest("needs promtool (Debian: prometheus)")
        done = subprocess.run(
            [program, *arguments], cwd=RULES, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_promtool_accepts_the_rules_and_the_configuration(self) -> None:
        self.promtool("check", "rules", "alerts.yml")
        self.promtool("check", "config", "prometheus.yml")

    def test_the_tests_of_the_rules_pass(self) -> None:
        self.promtool("test", "rules", "alerts_test.yml")

    def test_each_alert_is_tested_and_documented(self) -> None:
        tested = re.findall(r"alertname: (\w+)", (RULES / "alerts_test.yml").read_text())
        documented = re.findall(r"^### (\w+)$", GUIDE.read_text(), re.MULTILINE)
        self.assertEqual(alerts(), documented)
        self.assertEqual(set(alerts()), set(tested))
        for name in alerts():
            self.assertIn(f"monitor.md#{name.lower()}\n", (RULES / "alerts.yml").read_text())


class MetricsTests(SynchronousTestCase):
    def test_all_metrics_exist(self) -> None:
        types = re.findall(r"^# TYPE (\S+)", exposition({}, {}).decode(), re.MULTILINE)
        self.assertGreater(len(all_metrics()), 20)
        self.assertEqual(all_metrics() - set(types), set())

    def test_losses_with_an_alert_are_shown_before_the_first_one(self) -> None:
        page = exposition({"node0": {"messages_dropped": {}}}, {}).decode()
        shown = re.findall(r'^c10k_messages_dropped_total\{.*reason="(\w+)"', page, re.MULTILINE)
        self.assertIn("bus_queue_full", reasons_with_an_alert())
        self.assertEqual(reasons_with_an_alert() - set(shown), set())

    def test_panels_do_not_overlap(self) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard()["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            self.assertEqual(cells & taken, set(), panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24)
            taken |= cells
