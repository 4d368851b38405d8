"""What was found wrong with earlier versions, and what is now: docs/findings.md.

python -m benchmarks.findings > docs/findings.md
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dysta_gym.charging import TABLE
from dysta_gym.comparison import compare
from dysta_gym.tables import markdown
from dysta_gym.traces import shipped_trace, shipped_traces

SEEDS = range(20)
"""Not those of the tracks."""

ATTENTION = ("mpnet", "whisper", "smollm2")

HEAD = """# What was found wrong, and what is now

Earlier versions of this package, and of its pages, told a better story than their numbers carried.
What was found, by us or by the papers' own sources, and what the same numbers are now; measured on
`test` inputs with seeds 0 to 19 unless it says otherwise. Written by `benchmarks/findings.py`.
"""


def mean(scenario: str, policies: list[str], **conditions: Any) -> pd.DataFrame:
    """Means over seeds by policy, in a condition."""
    results = compare([scenario], policies, seeds=SEEDS, **conditions)
    return results.groupby("policy", sort=False).mean(numeric_only=True)


def late(row: pd.Series[float], metric: str = "violation_rate") -> str:
    """A rate in per cent."""
    return f"{100 * row[metric]:.2f} %"


def traces() -> list[list[str]]:
    """What was wrong in the traces."""
    isolated = {name: 1e3 * shipped_trace(name).isolated_s.mean() for name in ATTENTION}
    shares = []
    for name in ATTENTION:
        alone, whole = shipped_trace(name), shipped_trace(f"{name}_whole")
        shares.append(1 - alone.isolated_s.sum() / whole.isolated_s.sum())
    pruned = json.loads((Path(__file__).parent / "pruned.json").read_text(encoding="utf-8"))
    shipped = [
        each["distilled"]
        for each in pruned
        if f"{each['network']}_{each['pattern']}" in shipped_traces()
    ]
    return [
        [
            "SmolLM2 was charged full-width keys and values, 8.88 ms, where it has three heads of "
            "them for nine of queries",
            f"{isolated['smollm2']:.2f} ms; the networks of `multi-attnn` take "
            + ", ".join(f"{isolated[name]:.2f}" for name in ATTENTION)
            + " ms, and `sjf`, which puts the short first, no longer gains by it "
            "([charging](charging.md#does-the-ranking-depend-on-it)). A test compares every shape "
            "with the weights",
        ],
        [
            "only the attention layers of a network were charged, and no page said so",
            "`NAME_whole` charges all of it, and the deployments run it: of their time "
            f"{100 * min(shares):.0f} to {100 * max(shares):.0f} % is outside attention. "
            "`multi-attnn` stays attention alone, as in the paper's artifact, and says so",
        ],
        [
            "pruned without training, most networks computed nothing any more: correlation with "
            "the dense output from -0.58 to 0.68 at 60 %",
            f"{len(shipped)} pruned networks are shipped, refitted and some distilled: correlation "
            f"{min(shipped):.2f} to {max(shipped):.2f} on inputs that nothing was fitted on, at "
            "the highest rate tried that reaches 0.9 ([pruning](pruning.md))",
        ],
        [
            "the Eyeriss model's 4 cycles a multiplication are the artifact's, and its peak was "
            "not said",
            *_peaks(),
        ],
    ]


def _peaks() -> list[str]:
    eyeriss = TABLE.find("eyerissv2")
    assert eyeriss.peak_macs_per_s is not None
    peak = eyeriss.peak_macs_per_s(eyeriss.defaults)
    chip = eyeriss.peak_macs_per_s({**eyeriss.defaults, "cycles_per_mac": 0.5})
    return [
        f"the model's peak, {peak:.3g} MAC/s, stands beside the chip's, {chip:.3g} "
        "(`dysta-gym accelerators`), PEs, clock and cycles are parameters, and the "
        "[ranking](charging.md#does-the-ranking-depend-on-it) at the chip's rate is measured. "
        "`speed: 64` is called an ideal factor"
    ]


def conditions() -> list[list[str]]:
    """What was wrong with what was run."""
    own = {
        load: mean("arvr-hands", ["edf", "moore-hodgson", "ppo"], loads=[load], slos=[1.0])
        for load in (0.95, 1.05)
    }
    told = "; ".join(
        f"at load {load:g} "
        + ", ".join(
            f"`{name}` {late(row)} at ANTT {row['antt']:.2f}" for name, row in part.iterrows()
        )
        for load, part in own.items()
    )
    weighted = mean("multi-cnn", ["planaria", "ppo"], loads=[0.95])
    horizon = {
        requests: mean("multi-attnn", ["dysta", "dysta-cycles", "ppo"], loads=[1.05],
                       requests=requests)["antt"]
        for requests in (300, 1000, 5000)
    }  # fmt: skip
    return [
        [
            "the leaderboard ran every scenario at SLO multiplier 10, also `arvr-hands`, whose "
            "deadline is the next frame",
            f"each is judged at its own deadlines, beside 5 and 10 ([tracks](tracks.md)). "
            f"`arvr-hands` at its own: {told}",
        ],
        [
            "the 21 conditions reported were the 21 conditions trained on, and the seeds had been "
            "looked at",
            "six [tracks](tracks.md) with seeds that nothing looked at before, three of them of "
            "networks, mixes, loads and deadlines that no rule was tuned on; agents are trained on "
            "[random scenarios](agents.md#training) alone; every look is [recorded](looks.csv)",
        ],
        [
            "priorities were drawn and never scored",
            "`weighted_violation_rate`: on `multi-cnn` at load 0.95 "
            + " and ".join(
                f"`{name}` {late(row, 'weighted_violation_rate')} (unweighted {late(row)})"
                for name, row in weighted.iterrows()
            ),
        ],
        [
            "in overload everything depends on how long it lasts, and no page said so",
            "the track `long`. ANTT on `multi-attnn` at load 1.05 with "
            + "; ".join(
                f"{requests} requests: "
                + ", ".join(f"`{name}` {value:.1f}" for name, value in antt.items())
                for requests, antt in horizon.items()
            ),
        ],
        [
            "XRBench's hands run at 30 or 45 frames a second, its jitter is small, late frames are "
            "dropped and models depend on each other; `arvr-hands` cited it for other rates",
            "`arvr-hands` says what is its own; the scenarios `xrbench-*` have XRBench's rates, "
            "jitter and sensors, and say what is not modelled: drops and dependencies "
            "([scenarios](scenarios.md))",
        ],
    ]


def comparisons() -> list[list[str]]:
    """What was wrong with what was compared."""
    results = compare(
        ["multi-attnn", "multi-cnn"],
        ["dysta", "dysta-cycles", "dysta-rtl", "dysta-tuned", "ppo"],
        loads=[0.8, 0.95, 1.05],
        seeds=SEEDS,
    )
    means = results.groupby(["scenario", "load", "policy"], sort=False)[["violation_rate", "antt"]]
    table = means.mean().reset_index().pivot(index=["scenario", "load"], columns="policy")
    late, slow = table["violation_rate"], table["antt"]

    def times(frame: pd.DataFrame, name: str, base: str) -> str:
        return f"{np.exp(np.log(frame[name] / frame[base]).mean()):.2f}"

    return [
        [
            "Dysta adds seconds to a ratio, so what its constant means depends on how fast the "
            "accelerator is; agents were compared with that form alone",
            "all forms are policies, and comparisons are with the best of them, condition by "
            "condition. In the mean over the paper's scenarios at loads 0.8 to 1.05, `ppo` has "
            f"{times(late, 'ppo', 'dysta')} of the violations and {times(slow, 'ppo', 'dysta')} of "
            f"the ANTT of `dysta`, but {times(late, 'ppo', 'dysta-cycles')} and "
            f"{times(slow, 'ppo', 'dysta-cycles')} of those of `dysta-cycles`",
        ],
        [
            "rules of the textbook that nobody had entered match the learned agents",
            "`edf-triage`, `moore-hodgson`, `slack-index`, `slack-pull` and `gittins` are "
            "policies; some stand in the main table, all on the [leaderboard](leaderboard.md)",
        ],
        [
            '"STP" summed over 1000 requests is not that of Eyerman and Eeckhout',
            "`throughput` is requests a second; `system_throughput` is theirs, for requests that "
            "come and go ([metrics](metrics.md))",
        ],
        [
            "`last_n` always divides by N in the artifact",
            "here by what there is of it, as [policies](policies/index.md) and "
            "[the reproduction](reproduction.md) say",
        ],
        [
            "intervals of bursty ANTT over 20 seeds covered 81 %, and aggregates cut off the "
            "hardest quarter",
            "another interval, whose coverage is [simulated on these metrics](statistics.md); "
            "means, and geometric means of ANTT over its bound, of all conditions",
        ],
        [
            "a scheduler that is asked at every layer was as free as one that is asked at events",
            "[decisions that take time](decisions.md): a cost in the scenario, and every policy "
            "at 0, 1, 10 and 100 us",
        ],
    ]


def main() -> None:
    """Print the page."""
    print(HEAD)
    for title, rows in (
        ("Traces", traces()),
        ("Conditions", conditions()),
        ("Comparisons", comparisons()),
    ):
        print(f"## {title}\n\n{markdown(['found', 'now'], rows, words=2)}\n")


if __name__ == "__main__":
    main()
