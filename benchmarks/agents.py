"""What the learned score does, what it needs, and where it fails: docs/agents.md and its pictures.

    python -m benchmarks.agents [--out docs/agents.md] [--runs build/agents] [--only PART ...]

Trains short variants of the shipped agents, one after the other, and goes on where it was
interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.leaderboard import counting, pair
from benchmarks.named import SCENARIOS, TUNED
from benchmarks.readme import between
from dysta_gym import figures
from dysta_gym.agents.checkpoints import Checkpoint, shipped
from dysta_gym.agents.frontier import hypervolume
from dysta_gym.agents.judging import LEAST_RI
from dysta_gym.agents.recipes import load_recipe
from dysta_gym.agents.runs import STATE
from dysta_gym.agents.training import train
from dysta_gym.comparison import CELL, Cell, cells_of, compare, run
from dysta_gym.features import SCHEDULING, select
from dysta_gym.machine.machine import Machine
from dysta_gym.policies import Policy, find
from dysta_gym.styles import rule_styles
from dysta_gym.tables import markdown
from dysta_gym.tracks import load_track
from dysta_gym.workloads import Workload, generate, load_scenario

GENERATIONS = 80
"""Of each variant of the ablation."""

TRAINED = ("evolved", "pareto", "ppo", "dqn")

SANGER = ["multi-attnn", "datacenter-language", "language-bursts"]
EYERISS = ["multi-cnn", "datacenter-vision", "mobile-assistant", "arvr-hands"]

QUEUE_FEATURES = tuple(each.name for each in select(SCHEDULING).queue)


def _but(*names: str) -> list[str]:
    """What the shipped agents see, but for these."""
    return [name for name in SCHEDULING if name not in names]


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "everything": {},
    "without a hidden layer": {"network": {"kind": "tiny", "width": 0}},
    "width 16": {"network": {"kind": "tiny", "width": 16}},
    "without the queue's features": {"features": _but(*QUEUE_FEATURES)},
    "without `size`": {"features": _but("size"), "start": {"remaining": 6.0}},
    "without any slack": {"features": _but("late", "slack", "wide_slack", "slack_over_backlog")},
    "without `ran_last` and `progress`": {"features": _but("ran_last", "progress")},
    "trained at `monitored`": {"level": "monitored"},
    "trained at `pattern`": {"level": "pattern"},
}
KNOWN = TUNED.model_dump(mode="json")
"""Workloads of the conditions that agents are judged in, `train` inputs."""

TRANSFER: Mapping[str, Mapping[str, Any]] = {
    "on random scenarios": {},
    "on the scenarios with attention alone": {"scenarios": SANGER},
    "on the scenarios with convolutions alone": {"scenarios": EYERISS},
}
JUDGED = (
    "dysta", "dysta-cycles", "sptp@sized/kalman", "slack-index", "moore-hodgson", "evolved", "ppo",
    "dqn", "pareto",
)  # fmt: skip
SEEDS = range(10)
SLOS = (5.0, 10.0, 20.0, 50.0, 100.0)
LOADS = (0.5, 0.65, 0.8, 0.95, 1.05, 1.2, 1.4)
PREFERENCES = tuple(each / 20 for each in range(21))
REFERENCE = LEAST_RI
BURSTS = (1.5, 2.5, 4.0, 6.0, 9.0)
"""Intensities of the bursts: rate within one over the mean rate."""


def variant(
    runs: Path, name: str, changes: Mapping[str, Any], agent: str = "evolved"
) -> Checkpoint:
    """A short training of a shipped recipe with some changes, if it has not been done before."""
    recipe = {**load_recipe(agent).model_dump(mode="json"), **changes}
    recipe |= {"steps": GENERATIONS, "name": "variant"}
    out = runs / "".join(letter if letter.isalnum() else "-" for letter in name)
    print(name, file=sys.stderr)
    done = train(
        recipe,
        out,
        resume=(out / STATE).exists(),
        report=lambda report: counting(report.step, report.steps),
    )
    if done is None:
        raise KeyboardInterrupt
    return done


# --- the score -----------------------------------------------------------------------------------


def typical(workload: Workload, policy: Policy) -> dict[str, Any]:
    """A queue met after the first quarter of a workload, of median length."""
    machine, sizes, queues = Machine(workload, policy.level), [], []
    while not machine.done:
        queue, size = machine.queue, machine.size
        if machine.arrived > len(workload) // 4 and size > 3:
            sizes.append(size)
            queues.append({name: getattr(queue, name)[:size].copy() for name in queue._fields[1:]})
            queues[-1]["now"] = machine.now
        machine.step(machine.choose(policy))
    return queues[int(np.argsort(sizes)[len(sizes) // 2])]


class _Queue:
    """A queue as a rule reads it."""

    def __init__(self, columns: Mapping[str, Any], length: int) -> None:
        self.length = length
        for name, values in columns.items():
            setattr(self, name, values)


def ranks(
    policy: Policy, queue: Mapping[str, Any], unit: float, slacks: Any, lengths: Any
) -> np.ndarray[Any, Any]:
    """How soon one more request would run, for its slack and remaining latency, 0 to 1.

    The request has not started. Its score is compared with those of all the points of the grid.
    """
    scores = np.empty((len(lengths), len(slacks)))
    values = policy.values(unit)
    size = len(queue["remaining"]) + 1
    out = np.empty(size)
    for row, length in enumerate(lengths):
        for column, slack in enumerate(slacks):
            remaining = length * unit
            one = {
                "request": 10**6, "arrival": queue["now"], "priority": 1.0, "executed": 0,
                "deadline": queue["now"] + remaining * (1 + slack), "remaining": remaining,
                "next_layer": remaining / 10, "isolated": remaining, "correction": 1.0,
                "last_run": queue["now"], "layers": 10, "memory": 0.0,
            }  # fmt: skip
            columns = {name: np.append(queue[name], value) for name, value in one.items()}
            policy.score(_Queue(columns, size), size, queue["now"], values, out)
            scores[row, column] = out[-1]
    order = scores.ravel().argsort().argsort().reshape(scores.shape)
    return order / (scores.size - 1)


def draw_score(path: Path) -> None:
    """The score of `evolved` and of Dysta over slack and remaining latency."""
    slacks, lengths = np.linspace(-4, 20, 361), np.logspace(-1, 1, 61)
    shown = [("multi-attnn", 1.05), ("multi-cnn", 1.05)]
    policies = [find("dysta"), find("evolved")]
    figure, axes = figures.subplots(len(shown), len(policies), figsize=(8.2, 6.4), squeeze=False)
    for row, (scenario, load) in zip(axes, shown, strict=True):
        workload = generate(load_scenario(scenario).varied(load=load), 0, split="train")
        unit = workload.store.mean_isolated_s(workload.reference)
        queue = typical(workload, policies[1])
        for axis, policy in zip(row, policies, strict=True):
            soon = ranks(policy, queue, unit, slacks, lengths)
            drawn = axis.contourf(
                slacks, lengths, soon, levels=np.linspace(0, 1, 11), cmap="cividis_r"
            )
            axis.set_yscale("log")
            axis.axvline(0, color="0.2", linewidth=0.9, linestyle="--")
            axis.set_title(f"{policy.name}: {scenario}, load {load:g}", fontsize=10)
            axis.set_xlabel("slack, in isolated latencies")
            axis.set_ylabel("remaining latency, in units")
    figure.colorbar(drawn, ax=axes, label="rank of the score: 0 runs first")
    figures.save(figure, path)


# --- off the training distribution ---------------------------------------------------------------


def degradation() -> dict[str, pd.DataFrame]:
    """What policies do under other SLO multipliers, loads and bursts, on test workloads."""
    scenarios = [name for name in SCENARIOS if name != "language-bursts"]
    usual: dict[str, Any] = {"policies": JUDGED, "seeds": SEEDS, "progress": counting}
    slos = compare(scenarios, loads=[0.95], slos=SLOS, **usual)
    loads = compare(scenarios, loads=LOADS, slos=[10.0], **usual)
    base = load_scenario("language-bursts")
    bursts = []
    for intensity in BURSTS:
        content = base.model_dump(mode="json")
        content["arrivals"] |= {"intensity": intensity}
        bursts.append(
            compare([content], loads=[0.95], slos=[10.0], **usual).assign(intensity=intensity)
        )
    return {"slo": slos, "load": loads, "intensity": pd.concat(bursts)}


PERCENT = (0, 1, 2, 5, 10, 20, 50, 100)

AXES = {
    "slo": "SLO multiplier (trained: 1.5 to 50)",
    "load": "load (trained: 0.4 to 1.3)",
    "intensity": "intensity of bursts (trained: 1.5 to 6)",
}


def draw_degradation(frames: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Violations and ANTT over the bound, geometric mean over scenarios, along each axis."""
    figure, axes = figures.subplots(2, 3, figsize=(11.5, 6.2), sharex="col")
    styles = dict(zip(JUDGED, rule_styles(JUDGED).values(), strict=True))
    for column, (key, frame) in enumerate(frames.items()):
        means = frame.groupby([key, "policy", "scenario"])[
            ["violation_rate", "antt", "antt_lower_bound"]
        ].mean()
        rate = 100 * means["violation_rate"].groupby(["policy", key]).mean()
        antt = np.exp(
            np.log(means["antt"] / means["antt_lower_bound"]).groupby(["policy", key]).mean()
        )
        for policy in JUDGED:
            style = styles[policy]
            for axis, values in zip(axes[:, column], (rate, antt), strict=True):
                line = values[policy]
                axis.plot(
                    line.index, line, color=style.colour, marker=style.marker, markersize=5,
                    linewidth=1.2, label=policy, **style.face(),
                )  # fmt: skip
        axes[1, column].set_xlabel(AXES[key])
        axes[0, column].set_yscale("symlog", linthresh=1, linscale=0.5)
        axes[0, column].set_ylim(0, 100)
        axes[0, column].set_yticks(PERCENT, [f"{tick}" for tick in PERCENT])
        axes[1, column].set_yscale("log")
        axes[1, column].yaxis.set_major_locator(figures.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes[1, column].yaxis.set_major_formatter("{x:g}")
        for axis in axes[:, column]:
            axis.grid(alpha=0.25, linewidth=0.6)
            axis.yaxis.set_minor_locator(figures.NullLocator())
            if key != "load":
                axis.set_xscale("log")
                ticks = frame[key].unique()
                axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                axis.xaxis.set_minor_locator(figures.NullLocator())
    axes[0, 0].set_ylabel("violations (%)")
    axes[1, 0].set_ylabel("ANTT over the lower bound")
    lines, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=len(JUDGED), fontsize=9)
    figures.save(figure, path)


def degradation_table(frames: Mapping[str, pd.DataFrame]) -> str:
    """Violations and ANTT, mean over scenarios, at each point of each axis."""
    rows = []
    for key, frame in frames.items():
        mean = frame.groupby([key, "policy"])[["violation_rate", "antt"]].mean()
        for value in frame[key].unique():
            cells = [pair(mean.loc[(value, policy)]) for policy in JUDGED]
            rows.append([f"{AXES[key].partition(' (')[0]} {value:g}", *cells])
    return markdown(["", *JUDGED], rows)


# --- the page ------------------------------------------------------------------------------------


def over(mine: pd.DataFrame, theirs: pd.DataFrame) -> list[str]:
    """Violations over another's, in sum, and ANTT over another's, the mean over conditions."""
    rate = mine["violation_rate"].sum() / theirs["violation_rate"].sum()
    return [f"{rate:.3f}", f"{(mine['antt'] / theirs['antt']).mean():.3f}"]


def trained() -> str:
    """How the shipped agents were trained."""
    rows = []
    for agent in TRAINED:
        record = shipped(agent).record
        recipe = record["recipe"]
        evolves = recipe["method"] in ("evolution", "pareto")
        unit = "generations" if evolves else "decisions"
        network = recipe["network"]
        rows.append(
            [
                f"`{agent}`",
                f"`dysta-gym train {agent} --seed {record['seed']}`",
                f"{network['kind']}, width {network['width']}: {shipped(agent).weights.size}",
                f"{record['steps']:,} {unit}",
                f"{record['seconds'] / 60:.1f}",
                f"{record['step']:,}",
                f"{record['objective']:.4f}",
            ]
        )
    head = ["agent", "command", "network, weights", "steps", "minutes", "best at", "objective"]
    return markdown(head, rows, words=4)


def ablation_table(runs: Path) -> str:
    """What each variant is worth on the validation workloads."""
    rows = []
    for name, changes in VARIANTS.items():
        found = variant(runs, name, changes)
        record = found.record
        mine = pd.DataFrame(record["validation"])
        theirs = mine[["sptp_violation_rate", "sptp_antt"]].set_axis(
            ["violation_rate", "antt"], axis=1
        )
        weights = int(np.count_nonzero(found.weights))  # those that are left out are 0
        rows.append([name, weights, f"{record['objective']:.3f}", *over(mine, theirs)])
    head = ["", "weights", "objective", "violations over sptp's", "ANTT over sptp's"]
    return markdown(head, rows)


def transfer_table(runs: Path) -> str:
    """Agents that have never seen the other kind of network, on test workloads of both."""
    policies: dict[str, Policy] = {REFERENCE: find(REFERENCE), "evolved": find("evolved")}
    for name, some in TRANSFER.items():
        changes = {"workloads": {**KNOWN, **some}, "sample": None, "pool": 48, "batch": 3}
        found = variant(runs, name if some else "everything", changes if some else {})
        policies[f"as long, {name}"] = found.policy(name)
    frame = compare(
        [*SANGER, *EYERISS],
        list(policies.values()),
        loads=TUNED.loads,
        slos=[10.0],
        seeds=SEEDS,
        progress=counting,
    )
    mean = frame.groupby(["policy", "scenario", "load"])[["violation_rate", "antt"]].mean()
    rows = []
    for name, policy in policies.items():
        cells = []
        for part in (SANGER, EYERISS):
            mine, theirs = (
                mean.loc[each.spec][mean.loc[each.spec].index.isin(part, level="scenario")]
                for each in (policy, policies[REFERENCE])
            )
            cells += over(mine, theirs)
        rows.append([name, *cells])
    head = [
        "trained", "attention: violations over sptp's", "ANTT over sptp's",
        "convolutional: violations", "ANTT",
    ]  # fmt: skip
    return markdown(head, rows)


def judged_on() -> dict[str, list[Cell]]:
    """Workloads that curves are judged on."""
    usual: dict[str, Any] = {"loads": TUNED.loads, "seeds": SEEDS}
    unseen = load_track("unseen-networks").conditions()
    return {
        "those conditions": cells_of([*SANGER, *EYERISS], slos=[10.0], **usual),
        "at SLO multipliers 2, 3, 5": cells_of([*SANGER, *EYERISS], slos=[2.0, 3.0, 5.0], **usual),
        "unseen networks": [Cell(each, seed) for each in unseen for seed in SEEDS],
    }


def distribution_table(runs: Path) -> str:
    """What the curve covers after training on random scenarios, and on those it is judged on."""
    curves = {
        "random scenarios": variant(runs, "pareto on random scenarios", {}, "pareto"),
        f"{TUNED.count} conditions at SLO multiplier 10": variant(
            runs, "pareto on known scenarios", {"workloads": KNOWN, "sample": None}, "pareto"
        ),
    }
    points = [
        curve.policy(f"curve-{at}").at(curve.level, preference=preference)
        for at, curve in enumerate(curves.values())
        for preference in PREFERENCES
    ]
    rows: dict[str, list[str]] = {name: [] for name in curves}
    columns = judged_on()
    for cells in columns.values():
        frame = run(cells, [find(REFERENCE), *points], bounds=False, progress=counting)
        mean = frame.groupby(["policy", *CELL])[["violation_rate", "antt"]].mean()
        measured = np.array([mean.loc[point.spec].to_numpy() for point in points])
        each = measured.reshape(len(curves), len(PREFERENCES), *measured.shape[1:])
        reference = mean.loc[REFERENCE].to_numpy()
        for name, curve in zip(rows, each, strict=True):
            rows[name].append(f"{hypervolume(curve, reference):.3f}")
    return markdown(["trained on", *columns], [[name, *cells] for name, cells in rows.items()])


def main() -> None:
    """Train, measure, draw, and write the page's measured part."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agents")
    parser.add_argument("--out", type=Path, default=Path("docs/agents.md"))
    parser.add_argument("--runs", type=Path, default=Path("build/agents"))
    parser.add_argument("--only", nargs="+", metavar="PART", help="parts to make anew")
    arguments = parser.parse_args()
    folder, runs = arguments.out.with_suffix(""), arguments.runs

    def degraded() -> str:
        frames = degradation()
        draw_degradation(frames, folder / "degradation.png")
        return degradation_table(frames)

    parts: dict[str, Callable[[], str]] = {
        "training": trained,
        "ablation": lambda: ablation_table(runs),
        "degradation": degraded,
        "transfer": lambda: transfer_table(runs),
        "distribution": lambda: distribution_table(runs),
    }
    if unknown := set(arguments.only or ()) - {*parts, "score"}:
        parser.error(f"--only: {sorted(unknown)[0]!r}; choose among: score, {', '.join(parts)}")
    chosen = arguments.only or ["score", *parts]
    if "score" in chosen:
        draw_score(folder / "score.png")
    for name, make in parts.items():
        if name not in chosen:
            continue
        part = make()
        between(arguments.out, f"<!-- {name}: make agents -->\n", f"<!-- /{name} -->", part)
        print(f"{name}\n\n{part}\n")


if __name__ == "__main__":
    main()
