"""Writes the results of the benchmarks into the documentation: `python -m benchmarks.tables`.

docs/benchmarks/NAME.json is the output of `python -m benchmarks.NAME --json`. In docs/benchmarks.md
the table of its results replaces the text between `<!-- NAME -->` and `<!-- end -->`. The blocks
`machine` and `versions` are generated from all files. machines.json fills several blocks.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import command
from benchmarks.capacity import costs_of, rows
from benchmarks.http import tables
from benchmarks.measurements import table
from benchmarks.servers import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
FOUND = ROOT / "docs" / "benchmarks"
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(\n<!-- end -->)", re.DOTALL)

Found = Mapping[str, Any]


def echo(found: Found) -> str:
    return table(
        {
            server: {
                **row,
                **{
                    f"times the callback, {load}": _number(
                        found["ratios"][f"µs, {load} in flight"][server]["cluster, callback"]
                    )
                    for load in (1, 8)
                },
            }
            for server, row in found["medians"].items()
        }
    )


def handshakes(found: Found) -> str:
    ratios = found["ratios"]["handshakes/CPU s"]
    ours = next(iter(ratios))
    return table(
        {
            server: {**row, "of the cluster's": _number(ratios[server][ours])}
            for server, row in found["medians"].items()
        }
    )


def idle(found: Found) -> str:
    """Return the table without CPU, because the number of measured pings differs between
    servers."""
    columns = ("connections", "KB RSS", "KB kernel, both ends", "MB RSS, empty")
    return table(
        {
            server: {column: row[column] for column in columns}
            for server, row in found["medians"].items()
        }
    )


def broadcast(found: Found) -> str:
    """Return the table, with CPU times relative to the cluster's at the same rate."""
    rows = {}
    ratios = found["ratios"]["µs CPU a delivery"]
    for server, row in found["medians"].items():
        rate = server.rpartition(", ")[2]
        ours = next(name for name in ratios if name.endswith(f", {rate}"))
        shown = {name: _number(value) for name, value in row.items()}
        del shown["deliveries"], shown["CPU s"]
        rows[server] = {**shown, "times the cluster": _number(ratios[server][ours])}
    return table(rows)


def life(found: Found) -> str:
    return table(
        {
            row["server"]: {
                "CPU ms a step": row["cpu_ms_a_step"],
                "steps/s": row["steps_per_second"],
                "p50 ms": row["latency_ms"]["p50"],
                "p99 ms": row["latency_ms"]["p99"],
            }
            for row in found["servers"]
        }
    )


def _medians(found: Found) -> str:
    return table(found["medians"])


def _medians_of(part: str, found: Found) -> str:
    return _medians(found["parts"][part])


def machines_broadcast(found: Found) -> str:
    """Return the table, with CPU times relative to those of one machine at the same rate."""
    part = found["parts"]["broadcast"]
    ratios = part["ratios"]["µs CPU a delivery"]
    lines = {}
    for site, row in part["medians"].items():
        rate = site.rpartition(", ")[2]
        ours = next(name for name in ratios if name.endswith(f", {rate}"))
        shown = {name: _number(value) for name, value in row.items()}
        del shown["deliveries"], shown["CPU s"]
        lines[site] = {**shown, "times the cluster": _number(ratios[site][ours])}
    return table(lines)


def machines_capacity(found: Found) -> str:
    return table(rows(costs_of(found)))


TABLES: Mapping[str, Callable[[Found], str]] = {
    **{
        each.__name__: each
        for each in (
            *(echo, handshakes, idle, broadcast, life),
            *(machines_broadcast, machines_capacity),
        )
    },
    **dict.fromkeys(("storm", "slow_views", "channel_layer", "consumers", "socketio"), _medians),
    **dict.fromkeys(("http", "http_echo"), lambda found: "\n\n".join(tables(found["medians"]))),
    **{
        f"machines_{part}": partial(_medians_of, part)
        for part in ("link", "barrier", "alone", "engine", "subscribing")
    },
}
"""By the name of the block. The file has the same name, or that of its first word."""


def machine(found: Mapping[str, Found]) -> str:
    on = found["echo"]["machine"]
    kernel = on["kernel"].partition("-")[0]
    return f"{on['cores']} cores ({on['cpu']}), Linux {kernel}, Python {on['python']}."


def versions(found: Mapping[str, Found]) -> str:
    merged: dict[str, dict[str, str]] = {}
    for each in found.values():
        merged.update(each.get("versions", {}))
    return "\n".join(
        f"- for {name}: {', '.join(f'{library} {version}' for library, version in used.items())}"
        for name, used in sorted(merged.items())
    )


def filled(page: str, found: Mapping[str, Found]) -> str:
    """Return the page with new tables; blocks without a JSON file stay unchanged."""

    def block(match: re.Match[str]) -> str:
        name = match[2]
        if name == "machine" and "echo" in found:
            text = machine(found)
        elif name == "versions":
            text = versions(found)
        elif name in TABLES and (of := _file(name, found)):
            text = TABLES[name](found[of])
        else:
            return match[0]
        return f"{match[1]}{text}{match[3]}"

    return BLOCK.sub(block, page)


def _file(block: str, found: Mapping[str, Found]) -> str:
    """Return the name of the JSON file of a block; empty if there is none."""
    return next((name for name in (block, block.partition("_")[0]) if name in found), "")


def all_found(folder: Path = FOUND) -> dict[str, Found]:
    """Return the contents of the JSON files, by the benchmark's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def main() -> None:
    command.parser("tables", __doc__).parse_args()
    PAGE.write_text(filled(PAGE.read_text(), all_found()))


if __name__ == "__main__":
    main()
