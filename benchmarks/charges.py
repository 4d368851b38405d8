"""Whether the ranking of the policies survives each choice of what a layer is charged.

    python -m benchmarks.charges [--page docs/charging.md] [--seeds 10]

The networks of the paper's two scenarios, each under every choice, at load 0.95 and SLO multiplier
10 on the same seeds; the tables go between the two marks of the page.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.page import wrapped
from benchmarks.readme import between
from dysta_gym.accelerators import sanger_layer_latency_s, sanger_padded_length
from dysta_gym.charging import Accelerator, charge_of
from dysta_gym.comparison import compare
from dysta_gym.operations import Operation, read_layers
from dysta_gym.tables import markdown
from dysta_gym.traces import shipped_trace, shipped_traces, whole_network, whole_trace
from dysta_gym.workloads import Scenario, load_scenario

START, END = "<!-- ranking: make charges -->\n", "<!-- /ranking -->"

POLICIES = (
    "fcfs", "edf", "sjf", "prema", "planaria", "sdrm3", "dysta", "dysta_oracle",
    "edf-triage", "moore-hodgson", "slack-index", "slack-pull", "pareto", "evolved", "ppo", "dqn",
)  # fmt: skip
FIRST_SEED = 5100
METRICS = {"violation_rate": "violations", "antt": "ANTT"}

MEMORY = 25.6e9
"""Bytes a second of LPDDR4X on 64 lines, as `mobile-assistant` has it."""


def _full_width(operation: Operation, parameters: Mapping[str, float]) -> Any:
    lengths = (sanger_padded_length(operation[name]) for name in ("queries", "keys"))
    queries, keys = lengths
    measured = operation["density"], operation["load_balance"]
    return sanger_layer_latency_s(*measured, queries, operation["width"], keys)


FULL_WIDTH = Accelerator("full-width", _full_width, ("attention",))


def in_layers(folder: Path, names: list[str]) -> None:
    """Write whole networks that may be interrupted before each feed-forward half, too."""
    for name in names:
        trace = whole_trace(shipped_traces()[name], "layers")
        trace.save(folder / f"{trace.name}.npz")


def choices(layers: Path) -> dict[str, dict[str, Scenario]]:
    """The scenarios of each table, by the choice; the first is what the others are compared with.

    ``layers`` is a folder for the traces in layers.
    """
    attention, cnn = load_scenario("multi-attnn"), load_scenario("multi-cnn")
    alone = list(attention.traces)
    whole = dict.fromkeys((f"{name}_whole" for name in alone), 1.0)
    in_layers(layers, alone)

    def of(scenario: Scenario, **changes: Any) -> Scenario:
        return load_scenario({**scenario.model_dump(), **changes})

    def memory(model: str, bandwidth: float) -> dict[str, Any]:
        return {"model": model, "bandwidth": bandwidth}

    slow = memory("sanger", MEMORY)
    return {
        "Attention networks: MPNet, Whisper and SmolLM2 on Sanger": {
            "attention alone (`multi-attnn`)": attention,
            "keys and values at full width": of(attention, accelerator=FULL_WIDTH),
            "attention, memory at 25.6 GB/s": of(attention, accelerator=slow),
            "attention, ideal array": of(attention, accelerator="ideal"),
            "whole, in blocks": of(attention, traces=whole),
            "whole, in layers": of(attention, traces=whole, trace_dir=str(layers)),
            "whole, memory at 25.6 GB/s": of(attention, traces=whole, accelerator=slow),
            "whole, ideal array": of(attention, traces=whole, accelerator="ideal"),
        },
        "CNNs: four networks, dense and pruned, on Eyeriss v2": {
            "4 cycles a MAC (`multi-cnn`)": cnn,
            "half a cycle a MAC, the chip's peak": of(
                cnn, accelerator={"model": "eyerissv2", "cycles_per_mac": 0.5}
            ),
            "4 cycles, memory at 1 GB/s": of(cnn, accelerator=memory("eyerissv2", 1e9)),
            "half a cycle, memory at 1 GB/s": of(
                cnn, accelerator=memory("eyerissv2", 1e9) | {"cycles_per_mac": 0.5}
            ),
            "ideal array of the same rate": of(
                cnn, accelerator={"model": "ideal", "macs_per_cycle": 48, "clock_hz": 2e8}
            ),
            "ideal array, 107 times as fast": of(cnn, accelerator="ideal"),
        },
    }


def networks() -> str:
    """What each attention network takes alone and as a whole, and what memory adds to it."""
    slow = charge_of({"model": "sanger", "bandwidth": MEMORY})
    rows = []
    for name, path in shipped_traces().items():
        trace = shipped_trace(name)
        if trace.accelerator != "sanger":
            continue
        whole = shipped_trace(f"{name}_whole")
        alone, both = trace.isolated_s, whole.isolated_s
        memory = [
            slow.layer_latency_s(layers).sum(axis=1)
            for layers in (read_layers(path)[0], whole_network(path))
        ]
        rows.append(
            [
                name,
                f"{1e3 * alone.mean():.2f}",
                f"{1e3 * both.mean():.2f}",
                f"{both.mean() / alone.mean():.1f}",
                f"{100 * alone.std() / alone.mean():.1f}",
                f"{100 * both.std() / both.mean():.1f}",
                f"{1e3 * memory[0].mean():.2f}",
                f"{1e3 * memory[1].mean():.2f}",
            ]
        )
    head = [
        "network", "attention (ms)", "whole (ms)", "times", "spread (%)", "spread of whole (%)",
        "attention, 25.6 GB/s (ms)", "whole, 25.6 GB/s (ms)",
    ]  # fmt: skip
    return markdown(head, rows)


def reversed_pairs(first: pd.DataFrame, other: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of policies of which one is better in ``first`` and worse in ``other``, beyond chance.

    Both frames have a row a seed and a column a policy. Beyond chance: in a paired t-test at 5 % in
    both, without a correction for the number of pairs, which makes reversals seem more than they
    are.
    """

    def better(frame: pd.DataFrame, a: str, b: str) -> int:
        difference = (frame[a] - frame[b]).to_numpy()
        seeds = len(difference)
        margin = stats.t.ppf(0.975, seeds - 1) * difference.std(ddof=1) / np.sqrt(seeds)
        mean = difference.mean()
        return int(np.sign(mean)) if abs(mean) > margin else 0

    pairs = combinations(first.columns, 2)
    return [(a, b) for a, b in pairs if better(first, a, b) * better(other, a, b) < 0]


def section(title: str, scenarios: Mapping[str, Scenario], seeds: range) -> str:
    """A table of one set of networks under every choice, and what becomes of the ranking."""
    found = {}
    for name, scenario in scenarios.items():
        frame = compare([scenario], POLICIES, bounds=False, loads=[0.95], slos=[10], seeds=seeds)
        found[name] = {
            metric: frame.pivot_table(metric, "seed", "policy")[list(POLICIES)]
            for metric in METRICS
        }
    base, *others = found
    rows = [
        [
            name,
            *(
                f"{100 * each['violation_rate'][policy].mean():.1f} / "
                f"{each['antt'][policy].mean():.2f}"
                for each in found.values()
            ),
        ]
        for name, policy in zip((f"`{policy}`" for policy in POLICIES), POLICIES, strict=True)
    ]
    head = ["violations (%) / ANTT", *found]
    lines = [f"### {title}", markdown(head, rows)]
    ranking = []
    for other in others:
        cells = [other]
        for metric in METRICS:
            means = [found[name][metric].mean() for name in (base, other)]
            tau = stats.kendalltau(*means).statistic
            best = [mean.idxmin() for mean in means]
            swapped = reversed_pairs(found[base][metric], found[other][metric])
            cells += [
                f"{tau:.2f}",
                f"`{best[1]}`" + (" (the same)" if best[0] == best[1] else f", was `{best[0]}`"),
                f"{len(swapped)}: " + ", ".join(f"`{a}`/`{b}`" for a, b in swapped[:6])
                + (", ..." if len(swapped) > 6 else "") if swapped else "none",
            ]  # fmt: skip
        ranking.append(cells)
    head = [
        f"against {base}",
        *(f"{label}: {each}" for label in METRICS.values() for each in ("tau", "best", "reversed")),
    ]
    return "\n\n".join([*lines, markdown(head, ranking, words=len(head))])


def main() -> None:
    """Measure, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=Path("docs/charging.md"))
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + options.seeds)
    with tempfile.TemporaryDirectory() as folder:
        tables = choices(Path(folder))
        parts = [section(title, scenarios, seeds) for title, scenarios in tables.items()]
    pairs = len(POLICIES) * (len(POLICIES) - 1) // 2
    note = (
        f"Load 0.95, SLO multiplier 10, 1000 requests, means over {options.seeds} seeds from "
        f"{FIRST_SEED} on. tau: Kendall's, of the two orders, 1 where they are the same. reversed: "
        f"of {pairs} pairs of policies, those of which either is better than the other in one of "
        "the two, each in a paired t-test at 5 %."
    )
    between(options.page, START, END, "\n\n".join([networks(), wrapped(note), *parts]))


if __name__ == "__main__":
    main()
