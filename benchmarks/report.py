"""The report of a run: Markdown tables with ratios, and plots. ``python -m benchmarks.report`` puts those of the last
full run into the documentation.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["pages", "section"]

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "benchmarks"


Row = Sequence[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(value: float, other: float | None) -> str:
    return "" if not other else f"{_number(value / other)}"


def fanout(found: dict[str, Any]) -> str:
    text = ""
    for scenario, words in (("paced", "20 events/s"), ("burst", "50 events as fast as they can be sent")):
        rows = found[scenario]
        cost = {name: row["cpu_us"] for name, row in rows.items()}
        text += f"**Fan-out, {scenario}**: {found['connections']:,} connections to one channel, {words}.\n\n"
        text += table(
            [
                "",
                "CPU µs per delivery",
                "to send() in C",
                "to nchan",
                "to plain Django",
                "p50 ms",
                "p99 ms",
                "deliveries/s",
            ],
            (
                [
                    name,
                    _number(row["cpu_us"]),
                    _ratio(row["cpu_us"], cost.get("send() in C")),
                    _ratio(row["cpu_us"], cost.get("nchan")),
                    _ratio(row["cpu_us"], cost.get("plain Django")),
                    _number(row["p50_ms"]),
                    _number(row["p99_ms"]),
                    _number(row["deliveries_per_second"]),
                ]
                for name, row in rows.items()
            ),
        )
        text += "\n"
    return text


def servers(found: dict[str, Any]) -> str:
    text = f"**Other servers**: {found['connections']:,} connections to one channel, CPU µs per delivery.\n\n"
    return text + table(
        ["", "paced", "burst"],
        (
            [name, _number(row["cpu_us"]), _number(found["burst"][name]["cpu_us"])]
            for name, row in found["paced"].items()
        ),
    )


def memory(found: dict[str, Any]) -> str:
    steps = [str(step) for step in found["steps"]]
    text = "**Memory**: kB (PSS) for each open connection; behind the middleware of `startproject`"
    text += ", and for this package's channel with a logged-in session.\n\n"
    text += table(
        ["connections", *(f"{int(step):,}" for step in steps), "second and third wave"],
        (
            [
                name,
                *(_number(row["kb_by_connections"][step]) for step in steps),
                ", ".join(f"{each / row['kb_by_wave'][0] - 1:+.1%}" for each in row["kb_by_wave"][1:]),
            ]
            for name, row in found["contenders"].items()
        ),
    )
    return text


def idle(found: dict[str, Any]) -> str:
    text = f"**Idle**: {found['connections']:,} connections, a heartbeat each {found['each']} s.\n\n"
    return text + table(
        ["", "% of a core", "bytes to each in " + _number(found["seconds"]) + " s"],
        (
            [name, _number(row["cpu_percent"]), _number(row["bytes_per_connection"])]
            for name, row in found["contenders"].items()
        ),
    )


def unicast(found: dict[str, Any]) -> str:
    text = "**Unicast**: a channel for each connection, 250 events/s, CPU µs of the server for an event.\n\n"
    return text + table(
        ["", f"{found['few']:,} channels", f"{found['many']:,} channels", "ratio"],
        (
            [name, _number(row["cpu_us_few"]), _number(row["cpu_us_many"]), _number(row["ratio"])]
            for name, row in found["contenders"].items()
        ),
    )


def storm(found: dict[str, Any]) -> str:
    text = f"**Reconnect storm**: {found['clients']:,} clients at once, each {found['missed']} events behind.\n\n"
    return text + table(
        ["", "CPU µs to connect", "CPU µs for a replayed event", "reads of the broker, all together"],
        (
            [name, _number(row["connect_us"]), _number(row["replayed_event_us"]), str(row["broker_reads"])]
            for name, row in found["contenders"].items()
        ),
    )


def slow(found: dict[str, Any]) -> str:
    frozen, laggards = found["frozen"], found["laggards"]
    text = f"**Slow readers**: {frozen['readers']:,} who read, without and with {frozen['frozen']:,} who do not.\n\n"
    text += table(
        ["", "without", "with", "ratio"],
        [
            [
                "p99 ms of those who read",
                _number(frozen["p99_ms_without"]),
                _number(frozen["p99_ms_with"]),
                _number(frozen["ratio"]),
            ]
        ],
    )
    text += f"\nMemory grew by {frozen['memory_growth_mb']:.1f} MB meanwhile. Reads of the broker for readers who come "
    text += "back at once, each at a place of its own in "
    text += f"{laggards['missed']:,} events: "
    return text + ", ".join(f"{reads} for {int(readers):,}" for readers, reads in laggards["reads"].items()) + ".\n"


def opening(found: dict[str, Any]) -> str:
    text = "**Opening**: connect, ask, read the first bytes, leave; CPU µs of the server, and to an ordinary view.\n\n"
    return text + table(
        ["", "CPU µs", "ratio"],
        ([name, _number(row["cpu_us"]), _number(row["ratio"])] for name, row in found.items() if isinstance(row, dict)),
    )


def publish(found: dict[str, Any]) -> str:
    rates = found["events_per_second"]
    text = f"**Publishing**: {found['publishers']} processes to one channel, PostgreSQL with fsync on.\n\n"
    text += table(
        ["", "events/s", "to a plain INSERT", "to django-eventstream"],
        (
            [
                way,
                _number(rate),
                _ratio(rate, rates["plain INSERT"]),
                _ratio(rate, rates["django-eventstream"]),
            ]
            for way, rate in rates.items()
        ),
    )
    text += f"\nOn and on, all but {found['kept']:,} events pruned after each cycle:\n\n"
    return text + table(
        ["events so far", "events/s", "log MB", "outbox MB", "pruned in s"],
        (
            [
                f"{cycle['events']:,}",
                *(_number(cycle[key]) for key in ("rate", "log_mb", "outbox_mb", "prune_seconds")),
            ]
            for cycle in found["cycles"]
        ),
    )


def log(found: dict[str, Any]) -> str:
    text = "**Arrival**: from `send_event` in one process to a client of another, ms; and a page of a log of "
    text += f"{found['rows']:,} rows, ms, by the channels it is for.\n\n"
    names = list(next(iter(found["databases"].values()))["milliseconds"])
    text += table(
        ["", "p50", "p99", *names],
        (
            [
                kind,
                _number(row["arrival_p50_ms"]),
                _number(row["arrival_p99_ms"]),
                *(_number(row["milliseconds"][name]) for name in names),
            ]
            for kind, row in found["databases"].items()
        ),
    )
    held = found["snapshot"]
    text += (
        f"\nA send on PostgreSQL takes {held['before']:.1f} ms; {held['held']:.1f} ms while a snapshot is held over "
    )
    return text + f"{found['moved_rows']:,} moved rows; {held['after']:.1f} ms after.\n"


SECTIONS: dict[str, Callable[[dict[str, Any]], str]] = {
    "fanout": fanout,
    "servers": servers,
    "memory": memory,
    "idle": idle,
    "unicast": unicast,
    "storm": storm,
    "slow": slow,
    "opening": opening,
    "publish": publish,
    "log": log,
}


def section(name: str, found: dict[str, Any]) -> str:
    return SECTIONS[name](found)


def tables(results: dict[str, Any]) -> str:
    """Return all tables of a run, as they stand in the documentation."""
    made = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    text = f"Python {made['python']}, Linux {made['kernel']}, {made['cores']} cores; {versions}.\n\n"
    return text + "\n".join(section(name, results[name]) for name in SECTIONS if name in results)


def constants(results: dict[str, Any]) -> dict[str, float]:
    """Return what the page on scaling reckons with, of this package with the log on PostgreSQL where that matters."""
    last = str(results["memory"]["steps"][-1])
    ours, idlers = "serversent, memory", results["idle"]
    return {
        "connection_kb": results["memory"]["contenders"][ours]["kb_by_connections"][last],
        "idle_us": idlers["contenders"][ours]["cpu_percent"] / 100 / idlers["connections"] * 1e6,
        "delivery_us": results["fanout"]["paced"]["serversent, PostgreSQL"]["cpu_us"],
        "burst_us": results["fanout"]["burst"]["serversent, PostgreSQL"]["cpu_us"],
        "event_us": results["unicast"]["contenders"][ours]["cpu_us_many"],
        "opening_us": results["opening"]["@channel_stream"]["cpu_us"],
        **({"sent_per_second": results["publish"]["events_per_second"]["serversent"]} if "publish" in results else {}),
    }


_CONSTANTS = {
    "connection_kb": ("connection: memory of an open one", "kB"),
    "idle_us": ("idle: CPU of an open one, heartbeats included, each second", "µs"),
    "delivery_us": ("delivery: CPU of one, paced", "µs"),
    "burst_us": ("delivery: CPU of one, in a burst", "µs"),
    "event_us": ("event: CPU of sending one within the process, and delivering it to one", "µs"),
    "opening_us": ("opening: CPU of opening and closing one, behind the middleware of `startproject`", "µs"),
    "sent_per_second": ("events that PostgreSQL takes, from 32 processes", "a second"),
}


def constants_table(results: dict[str, Any]) -> str:
    found = constants(results)
    rows = [[_CONSTANTS[name][0], f"{_number(value)} {_CONSTANTS[name][1]}"] for name, value in found.items()]
    return table(["", "measured"], rows)


CORES = 8
BUSY = 0.7


def scaling_table(results: dict[str, Any]) -> str:
    """What fits, with each core busy to 70 %, if it does nothing else than that of the column."""
    found = constants(results)
    sizes = {"one process": 1, f"a machine with {CORES} cores": CORES, f"ten with {CORES} cores": 10 * CORES}
    rows = []
    for name, processes in sizes.items():
        waiting = 50_000 * processes
        rows.append(
            [
                name,
                f"{waiting:,}",
                f"{waiting * found['connection_kb'] / 1e6:,.1f} GB",
                f"{50_000 * found['idle_us'] / 1e6:.0%}",
                f"{BUSY * 1e6 / found['delivery_us'] * processes:,.0f}",
                f"{BUSY * 1e6 / found['burst_us'] * processes:,.0f}",
                f"{BUSY * 1e6 / found['opening_us'] * processes:,.0f}",
                *([f"{found['sent_per_second']:,.0f}"] if "sent_per_second" in found else []),
            ]
        )
    head = ["", "connections", "their memory", "their heartbeats, of each core", "deliveries/s, paced"]
    head += ["deliveries/s, burst", "opened/s", "events/s into one log"]
    text = table(head[: len(rows[0])], rows)
    return (
        text + "\nReckoned, not measured, from the constants: 50,000 connections for each process, and each core busy "
        "to 70 % with the one thing of the column.\n"
    )


# The plots: bars of one measure each, in colours that do for light and dark pages.

_COLOURS = {"serversent": "#2f81f7"}
_OTHER = "#8b949e"


def plots(results: dict[str, Any], folder: Path) -> None:
    paced, burst = results["fanout"]["paced"], results["fanout"]["burst"]
    _bars(folder / "paced.svg", "CPU µs per delivery, paced", {name: row["cpu_us"] for name, row in paced.items()})
    _bars(folder / "burst.svg", "CPU µs per delivery, burst", {name: row["cpu_us"] for name, row in burst.items()})
    _bars(folder / "p99.svg", "p99 of arrival, ms, paced", {name: row["p99_ms"] for name, row in paced.items()})
    last = str(results["memory"]["steps"][-1])
    held = {name: row["kb_by_connections"][last] for name, row in results["memory"]["contenders"].items()}
    _bars(folder / "memory.svg", "kB for each open connection", held)


def _bars(path: Path, title: str, values: dict[str, float]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "serversent", "font.family": "sans-serif"})
    from matplotlib import pyplot

    names = sorted(values, key=values.__getitem__, reverse=True)
    figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(names) + 0.6))
    colours = [_COLOURS["serversent"] if name.startswith("serversent") else _OTHER for name in names]
    bars = axes.barh(names, [values[name] for name in names], color=colours)
    axes.bar_label(bars, labels=[_number(values[name]) for name in names], padding=4, color=_OTHER)
    axes.set_title(title, loc="left", color=_OTHER)
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="both", length=0, labelcolor=_OTHER)
    axes.set_xticks([])
    axes.margins(x=0.12)
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def pages(results: dict[str, Any]) -> dict[str, str]:
    """Return what the documentation includes, by file name."""
    return {
        "results.md": tables(results),
        "constants.md": constants_table(results),
        "scaling.md": scaling_table(results),
    }


def main() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "full.json").read_text())
    TARGET.mkdir(exist_ok=True)
    (TARGET / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for name, text in pages(results).items():
        (TARGET / name).write_text(text)
    plots(results, TARGET)
    print(f"Written to {TARGET}")


if __name__ == "__main__":
    main()
