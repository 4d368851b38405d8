"""The page that sets the paper's claims beside what is found: its words, filled in with numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dysta_gym.files import replacing
from dysta_gym.reproduction.claims import judge, signed
from dysta_gym.reproduction.context import Context, Item, Result
from dysta_gym.reproduction.departures import DEPARTURES
from dysta_gym.reproduction.hardware import DOUBLE, FORMATS, PAPER_DEPTH, UNITS
from dysta_gym.reproduction.prediction import KNOWS_LENGTH, REFERENCES
from dysta_gym.reproduction.scale import PUBLISHED_BETA, UNIT_FREE
from dysta_gym.reproduction.scheduling import ESTIMATING_RULES

HARDWARE_FILE = "hardware-departures.csv"
"""What ``benchmarks/departures.py`` measured, where it lies beside the pictures."""

Made = Mapping[str, Result]


def write_page(
    path: Path, made: Made, items: Mapping[str, Item], context: Context, out: Path, format: str
) -> None:
    """Write the page of what was made to ``path``; pictures are linked from ``out``."""
    folder = Path(os.path.relpath(out, path.parent))
    parts = [_head(context, folder), _claims(made)]
    for name, result in made.items():
        item = items[name]
        picture = (folder / f"{name}.{format}").as_posix()
        link = f"![{item.title}]({picture})" if format == "png" else f"[The picture]({picture})"
        text = SECTIONS[name](result.findings, made)
        if name == "departures":
            text += _hardware(out / HARDWARE_FILE)
        what = f"{item.title}. *The paper:* {item.paper}"
        parts.append("\n\n".join([f"## {_heading(name)}", what, link, *text]))
    with replacing(path) as scratch:
        scratch.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


HEADINGS: Mapping[str, str] = {
    "predictors": "What predictions are worth",
    "precision": "Precision and queue depth",
    "scale": "The scale of Dysta",
    "departures": "Departures of the artifact",
}


def _heading(name: str) -> str:
    """What a section is called: short, so that links to it last."""
    kind = name.rstrip("0123456789")
    return HEADINGS.get(name) or f"{kind.capitalize()} {name[len(kind) :]}"


def _head(context: Context, folder: Path) -> str:
    lines = ["# The paper's figures, made again"]
    if context.folder is None:
        lines.append(
            "Sparse-DySta (Fan et al., MICRO 2023) against the traces in this package: trained "
            "networks on real inputs, but others than the paper's, so that the figures answer its "
            "questions, not with its numbers."
        )
    else:
        lines.append(
            "Sparse-DySta (Fan et al., MICRO 2023) against traces of the user's, from "
            f"`{context.folder}`; not those in the package."
        )
    if context.fast:
        lines.append("**Made with `--fast`: a look, not a result.**")
    workloads = []
    for deployment in context.deployments.values():
        store, scenario = deployment.scenario.store(), deployment.scenario
        unit = "load" if deployment.offered == "load" else "requests a second"
        workloads.append(
            f"- `{scenario.name}`: {', '.join(store.models)} on {scenario.accelerator}, "
            f"{len(store.traces)} traces, {_time(store.mean_isolated_s('train'))} in the "
            f"mean; {unit} {' and '.join(f'{offer:g}' for offer in deployment.main)} where it "
            "does not vary"
        )
    lines.append("\n".join(workloads))
    requests = context.requests or "1000"
    lines.append(
        f"{requests} requests, {len(context.seeds)} seeds, drawn from the inputs that schedulers "
        "and predictors have not seen. Intervals are 95 % bootstrap intervals over the seeds. "
        "Load is offered work over capacity. Every number below is computed when the page is "
        f"made; the CSVs that are written beside the pictures, in `{folder}/`, have more digits."
    )
    return "\n\n".join(lines)


def _claims(made: Made) -> str:
    claims = judge(made)
    if not claims:
        return ""
    rows = [[claim.paper, claim.here, f"**{claim.verdict}**"] for claim in claims]
    parts = ["## What the paper claims", _table(["the paper", "here", ""], rows)]
    parts.append("What decides:")
    parts.append("\n".join(f"- *{claim.paper}* {claim.criterion}" for claim in claims))
    if any(claim.verdict != "holds" for claim in claims):
        parts += ["### Why", *_why(made)]
    return "\n\n".join(parts)


def _why(made: Made) -> list[str]:
    """What explains where the claims do not hold; every sentence from a number."""
    said = []
    if "predictors" in made:
        parts, ahead = [], []
        for where, rules in made["predictors"].findings.items():
            levels = {rule: rules[rule]["antt"]["by_level"] for rule in ("sjf", "prema", "dysta")}
            ahead.append(levels["dysta"]["monitored"] < levels["sjf"]["monitored"])
            parts.append(
                f"{_workload(where)}: "
                + ", ".join(
                    f"{rule} {at['static']:.2f} → {at['monitored']:.2f}"
                    for rule, at in levels.items()
                )
            )
        said.append(
            "**Part of the lead is information, not the rule.** The paper runs sjf, prema and "
            "sdrm3 on static averages and Dysta on monitored sparsity. ANTT from `static` to "
            "`monitored`: " + "; ".join(parts) + ". Told the same as Dysta, plain shortest job "
            f"first has the greater ANTT in {sum(ahead)} of these {len(ahead)} cases."
        )
    if "figure14" in made:
        parts = []
        for scenario, found in made["figure14"].findings.items():
            where, lag = found["violation_rate"]["widest_lag"]
            if lag > 0:
                late = ", ".join(
                    f"{network} {_percent(own)} ({_percent(other)})"
                    for network, (own, other) in found["by_network"].items()
                )
                best = found["violation_rate"]["best_at_widest_lag"]
                parts.append(
                    f"`{scenario}`, {where.partition(', ')[2]}, {best} in brackets: {late}"
                )
        if parts:
            said.append(
                "**Shortest first lets the longest wait.** Where Dysta trails most in violations, "
                "each network's share of late requests is: " + "; ".join(parts) + ". The "
                "better a rule knows which request is the longest, the longer that one waits. A "
                "rule that goes by arrival or deadline, or that serves the requests of a network "
                "in order of arrival for want of knowing better, spreads the delay, which loose "
                "deadlines absorb."
            )
    if "scale" in made:
        parts = []
        for scenario, found in made["scale"].findings.items():
            beside = found["beside"]
            parts.append(
                f"`{scenario}` ({_time(found['mean_isolated_s'])}): dysta "
                f"{_pair(beside['dysta'])}, dysta-tuned {_pair(beside['dysta-tuned'])}"
            )
        said.append(
            "**Dysta's score adds seconds to a ratio**, so its published weight suits some "
            "lengths of network and not others (see [its scale](#the-scale-of-dysta)). "
            "Violations and ANTT: " + "; ".join(parts) + "."
        )
    if "table4" in made:
        worse = [
            network
            for network, found in made["table4"].findings.items()
            if found["relative_rmse"]["average"] > found["relative_rmse"]["pattern"]
        ]
        total = len(made["table4"].findings)
        said.append(
            "**The monitor's factor assumes that latency is proportional to density.** On "
            f"{len(worse)} of {total} networks the published average predicts the remaining "
            "latency worse than no monitor at all"
            + (f" ({', '.join(worse)})" if worse else "")
            + ": a layer's sparsity then says more of that layer than of the ones to come, or "
            "most of the cost does not depend on it."
        )
    return said


# --- one section a figure ------------------------------------------------------------------------


def _figure2(found: Mapping[str, Any], made: Made) -> list[str]:
    parts = [
        f"{network} from {each['least']:.2f} to {each['greatest']:.2f} times the mean"
        for network, each in found.items()
    ]
    text = "The last layer's latency runs, over inputs, " + "; ".join(parts) + "."
    shares = [
        f"{network} {_percent(1 - (each['spread_at_equal_length'] / each['spread']) ** 2)}"
        for network, each in found.items()
        if each["spread_at_equal_length"] is not None and each["spread"] > 0
    ]
    if shares:
        text += (
            " The length of the input, rounded up to the accelerator's tiles and known when a "
            "request arrives, explains of that variance: " + ", ".join(shares) + "."
        )  # fmt: skip
    return [text]


def _figure3(found: Mapping[str, Any], made: Made) -> list[str]:
    parts = [
        f"{network} {_percent(each['median_layer_range'])} (at most "
        f"{_percent(each['greatest_layer_range'])})"
        for network, each in found.items()
    ]
    dark = [
        f"{network} {100 * each['low_light_minus_normal']:+.1f}"
        for network, each in found.items()
        if each["low_light_minus_normal"] is not None
    ]
    text = (
        "A layer's sparsity varies over the pictures, from the least to the greatest, in the "
        "median layer by " + ", ".join(parts) + "."
    )
    if dark:
        text += f" Dark pictures change the mean sparsity by {', '.join(dark)} points."
    return [text]


def _table2(found: Mapping[str, Any], made: Made) -> list[str]:
    measures = {"valid_macs": "valid MACs", "sparsity": "sparsity", "latency": "latency"}
    rows = [
        [network, *(_percent(each[name]) if each[name] == each[name] else "" for name in measures)]
        for network, each in found.items()
    ]
    widest = max(found, key=lambda network: found[network]["latency"])
    return [
        "(max - min) / mean over the pictures, of the dense network.",
        _table(["network", *measures.values()], rows),
        f"The isolated latency ranges at most by {_percent(found[widest]['latency'])} ({widest}): "
        "how far a monitor of CNNs can help is bounded by this.",
    ]


def _figure4(found: Mapping[str, Any], made: Made) -> list[str]:
    rows = [
        [
            network, name, f"{each['greatest_pattern']} / {each['least_pattern']}",
            f"{each['greatest_over_least']:.2f}", _percent(each["greatest_range_over_inputs"]),
        ]
        for network, measures in found.items()
        for name, each in measures.items()
        if name.startswith("latency")
    ]  # fmt: skip
    if not rows:
        return ["No network has more than one pattern at the same rate."]
    return [
        "Patterns that prune the same share of the weights differ in latency by:",
        _table(
            ["network", "", "greatest / least", "ratio", "greatest range over inputs"], rows
        ),
        "Where the ratio is far from 1 and the range is small, the pattern tells a scheduler more "
        "than the input does.",
    ]  # fmt: skip


def _figure9(found: Mapping[str, Any], made: Made) -> list[str]:
    rows = []
    for network, each in found.items():
        equal = each.get("at equal length")
        rows.append(
            [
                network,
                f"{each['all inputs']['mean']:.2f}",
                f"{each['all inputs']['mean_adjacent']:.2f}",
                f"{equal['mean']:.2f}" if equal else "",
            ]
        )
    return [
        "Mean correlation of the layers' sparsities over inputs:",
        _table(["network", "all pairs", "adjacent layers", "all pairs, at equal length"], rows),
        "What falls away at equal length is the length's doing: the monitor sees how long the "
        "input is.",
    ]


def _standing(found: Mapping[str, Any], made: Made) -> list[str]:
    rows = []
    for where, each in found.items():
        for metric, form in (("violation_rate", _percent), ("antt", "{:.2f}".format)):
            at = each[metric]
            rows.append(
                [
                    where, {"violation_rate": "violations", "antt": "ANTT"}[metric],
                    form(at["dysta"]), form(at["oracle"]),
                    f"{form(at['best_other'])} ({at['best_other_policy']})",
                    "yes" if at["dysta_among_best"] else "no",
                ]
            )  # fmt: skip
    both = sum(each["dysta_is_best_in_both"] for each in found.values())
    return [
        _table(
            ["", "", "Dysta", "its Oracle", "best of the others", "Dysta among the best of all"],
            rows,
        ),
        f"Dysta is ahead of the five others in both metrics at once at {both} of {len(found)} "
        "points. Among the best: not significantly worse than the best of all seven.",
    ]


def _figure13(found: Mapping[str, Any], made: Made) -> list[str]:
    rows = []
    for where, rules in found.items():
        for rule in ESTIMATING_RULES:
            for metric, form in (("violation_rate", _percent), ("antt", "{:.2f}".format)):
                values = rules[rule][metric]
                rows.append(
                    [
                        where, rule, {"violation_rate": "violations", "antt": "ANTT"}[metric],
                        *(form(value) for value in values.values()),
                    ]
                )  # fmt: skip
    levels = list(next(iter(found.values()))[ESTIMATING_RULES[0]]["antt"])
    worse = [
        where
        for where, rules in found.items()
        if rules["dysta"]["antt"]["clairvoyant"] > rules["dysta"]["antt"]["monitored"]
    ]
    text = (
        f"Knowing everything makes Dysta's ANTT worse than monitoring does on {_listed(worse)}: "
        "see its scale."
        if worse
        else "Dysta's ANTT is least where everything is known."
    )
    return [_table(["", "rule", "", *levels], rows), text]


def _points_won(found: Mapping[str, Any], made: Made) -> list[str]:
    lines = []
    for scenario, each in found.items():
        antt, rate = each["antt"], each["violation_rate"]
        lines.append(
            f"- `{scenario}`: ahead of the five others, or level, at {rate['dysta_ahead']} of "
            f"{each['points']} points in violations and {antt['dysta_ahead']} in ANTT. Its "
            f"violations less the best other's run from {_signed(rate['widest_lead'], 100)} to "
            f"{_signed(rate['widest_lag'], 100)} points, its ANTT from "
            f"{_signed(antt['widest_lead'])} to {_signed(antt['widest_lag'])}. Best others: "
            f"{', '.join(rate['best_others'])} in violations, {', '.join(antt['best_others'])} in "
            "ANTT."
        )
    return ["\n".join(lines)]


def _signed(gap: tuple[str, float], scale: float = 1) -> str:
    where, value = gap
    return f"{scale * value:+.2f} ({where.partition(', ')[2]})"


def _table4(found: Mapping[str, Any], made: Made) -> list[str]:
    names = list(dict.fromkeys(name for each in found.values() for name in each["relative_rmse"]))
    rows = []
    for network, each in found.items():
        row = [network]
        for name in names:
            value = each["relative_rmse"].get(name)
            if value is None:
                row.append("")
                continue
            cell = f"{100 * value:.3g} ({each['rmse_ms'][name]:.3g})"
            best = each["best_monitor"] if name not in KNOWS_LENGTH else each["best"]
            row.append(f"**{cell}**" if name == best else cell)
        rows.append(row)
    paper = [each["best_of_paper"] for each in found.values()]
    gains = [
        each["relative_rmse"][each["best_of_paper"]] / each["relative_rmse"][each["best_monitor"]]
        for each in found.values()
    ]
    counts = ", ".join(f"{name} on {paper.count(name)}" for name in dict.fromkeys(paper))
    monitors = [each["best_monitor"] for each in found.values()]
    said = ", ".join(f"{name} on {monitors.count(name)}" for name in dict.fromkeys(monitors))
    return [
        "RMSE of the remaining latency on held-out inputs, after at least one layer, in % of its "
        "mean (in ms); patterns of a network together. `sized` and `sized_kalman` are told the "
        "length; the best of these, and the best of the rest, are bold.",
        _table(["network", *names], rows),
        f"Of the paper's three, the best is {counts} of {len(found)} networks. Of all that only "
        f"monitor, the best is {said}; its error is {min(gains):.1f} to {max(gains):.1f} times "
        "less than that of the best of the paper's three.",
    ]


def _predictors(found: Mapping[str, Any], made: Made) -> list[str]:
    rows = []
    for where, rules in found.items():
        for rule, metrics in rules.items():
            antt, rate = metrics["antt"], metrics["violation_rate"]
            shown = []
            for level in ("static", "monitored", "sized", REFERENCES[2]):
                known = level in antt["by_level"]
                shown.append(
                    f"{100 * rate['by_level'][level]:.1f}, {antt['by_level'][level]:.2f}"
                    if known else ""
                )  # fmt: skip
            for metric, scale, form in ((rate, 100, ".1f"), (antt, 1, ".2f")):
                best = metric["best"]
                mark = "" if "monitored" in metric["among_best"] else " *"
                shown.append(f"{scale * metric['by_level'][best]:{form}} ({best}){mark}")
            rows.append([_workload(where), rule, *shown])
    beaten = {
        rule: sum("monitored" not in rules[rule]["antt"]["among_best"] for rules in found.values())
        for rule in ESTIMATING_RULES
    }
    counted = ", ".join(f"{rule} in {times}" for rule, times in beaten.items())
    first = [
        metrics["antt"]["best"] for rules in found.values() for metrics in rules.values()
    ]  # fmt: skip
    leaders = ", ".join(f"{level} {first.count(level)}" for level in dict.fromkeys(first))
    parts = [
        "Violations (%) and ANTT of each rule by what it knows; the last two columns have the "
        "level that does best without clairvoyance, and * where the published monitor is "
        "significantly worse than it.",
        _table(
            ["", "rule", "static", "monitored", "sized", "clairvoyant", "least violations",
             "least ANTT"], rows,
        ),
        f"A better predictor, or the length, lowers ANTT significantly below the published "
        f"monitor's for {counted} of {len(found)} cases. Times that a level schedules with the "
        f"least ANTT: {leaders}. Smaller errors need not schedule better: "
        "shortest-first rules need the order of the requests, not their latencies.",
    ]  # fmt: skip
    sized = [
        f"{_workload(where)}: sjf {_change(rules['sjf'])}, dysta {_change(rules['dysta'])}"
        for where, rules in found.items()
        if "sized" in rules["sjf"]["antt"]["by_level"]
    ]
    if sized:
        parts.append(
            "What the input's length is worth, known at arrival, beside the published monitor "
            "(ANTT): " + "; ".join(sized) + "."
        )
    return parts


def _change(metrics: Mapping[str, Any]) -> str:
    at = metrics["antt"]["by_level"]
    return f"{100 * (at['sized'] / at['monitored'] - 1):+.0f} %"


def _precision(found: Mapping[str, Any], made: Made) -> list[str]:
    formats = [DOUBLE, *FORMATS]
    rows = [
        [where, unit, *(_pair(by_format[name]) for name in formats)]
        for where, studies in found.items()
        for unit, by_format in studies["precision"].items()
    ]
    half = [
        (abs(by_format["fp16"]["violation_rate"] - by_format[DOUBLE]["violation_rate"]),
         abs(by_format["fp16"]["antt"] / by_format[DOUBLE]["antt"] - 1))
        for studies in found.values() for by_format in studies["precision"].values()
    ]  # fmt: skip
    worst = max(
        (by_format[name]["antt"] / by_format[DOUBLE]["antt"], name, unit, where)
        for where, studies in found.items()
        for unit, by_format in studies["precision"].items()
        for name in FORMATS
    )
    depth = [
        (_pair(by_depth[PAPER_DEPTH]), _pair(by_depth[None]), where)
        for where, studies in found.items()
        for rule, by_depth in studies["queue depth"].items()
        if rule == "dysta"
    ]
    return [
        "Dysta's violations and ANTT by the format in which every number of its score is kept:",
        _table(["", "times in", *formats], rows),
        f"Half precision changes violations by at most {100 * max(v for v, _ in half):.2f} points "
        f"and ANTT by at most {100 * max(a for _, a in half):.1f} %. ANTT rises most with "
        f"{worst[1]} and times in {worst[2]} ({worst[3]}): {worst[0]:.2f} times. Times in "
        f"{UNITS[1]} are another rule, the unit-free one; they keep numbers near 1, where a "
        "narrow exponent reaches.",
        f"With {PAPER_DEPTH} entries, as in the paper, and with no limit, Dysta has: "
        + "; ".join(f"{with_} and {without} ({where})" for with_, without, where in depth)
        + ". Requests beyond the queue wait in order of arrival, whatever their length, so a short "
        "queue turns every rule into first come first served; that starts where the limit is "
        "reached often.",
    ]


def _scale(found: Mapping[str, Any], made: Made) -> list[str]:
    parts = [
        "Dysta runs the least `R + beta (max(0, S - R) + W / (I Q))`. `R` and `S` are seconds and "
        "`W / (I Q)` is a ratio, so `beta` says how many seconds of remaining latency a ratio "
        "outweighs. The ratio counts *against* a request: what has waited, relative to its length, "
        "is passed over for what just ran. For networks of hundreds of milliseconds that is a "
        "nudge against preemption; for networks of milliseconds it can outweigh the remaining "
        "latency, and then the short requests, whose ratio grows fastest, wait for the long ones.",
    ]
    rows = []
    for scenario, each in found.items():
        beside = each["beside"]
        rows.append(
            [f"`{scenario}`", _time(each["mean_isolated_s"])]
            + [_pair(beside[name]) for name in
               ("dysta", "dysta_oracle", UNIT_FREE, "dysta-tuned", "sjf@monitored",
                "sjf@clairvoyant")]
        )  # fmt: skip
    parts.append("Violations and ANTT:")
    parts.append(
        _table(
            ["", "mean isolated", "dysta", "its Oracle", "unit-free", "dysta-tuned",
             "sjf@monitored", "sjf@clairvoyant"], rows,
        )
    )  # fmt: skip
    parts.append(
        f"*Unit-free* is the published weight, {PUBLISHED_BETA:g}, with times divided by the mean "
        "isolated latency of the workload's networks; `dysta-tuned` is that form with its own "
        "defaults. `dysta` with `beta` 0 is `sjf@monitored`."
    )
    sentences = []
    for scenario, each in found.items():
        betas = each["beta"]["seconds"]
        best_rate = min(betas, key=lambda beta: (betas[beta]["violation_rate"], beta))
        best_antt = min(betas, key=lambda beta: (betas[beta]["antt"], beta))
        sentences.append(
            f"On `{scenario}` violations are least at `beta` {best_rate:g} "
            f"({_pair(betas[best_rate])}) and ANTT at {best_antt:g} ({_pair(betas[best_antt])})."
        )
        speeds = each["speed"]
        span = [
            f"{name} {min(at['antt'] for at in speeds[name].values()):.2f} to "
            f"{max(at['antt'] for at in speeds[name].values()):.2f}"
            for name in ("dysta", "dysta_oracle", "dysta-tuned")
        ]
        first, last = (_time(1e-3 * end(speeds["dysta"])) for end in (min, max))
        sentences.append(
            f"The same requests at the same load, made from {first} to {last} long, move ANTT: "
            + "; ".join(span) + "."
        )  # fmt: skip
    parts.append(" ".join(sentences))
    worse = [
        f"{_time(1e-3 * mean)} (`{scenario}`)"
        for scenario, each in found.items()
        for mean, at in sorted(each["speed"]["dysta_oracle"].items())
        if at["antt"] > 1.02 * each["speed"]["dysta"][mean]["antt"]
    ]
    better = [
        f"{_time(1e-3 * mean)} (`{scenario}`)"
        for scenario, each in found.items()
        for mean, at in sorted(each["speed"]["dysta_oracle"].items())
        if at["antt"] < each["speed"]["dysta"][mean]["antt"] / 1.02
    ]
    parts.append(
        "Where the ratio rules, knowing more does harm: the better the Oracle knows that a request "
        "is short, the smaller its `I`, the greater its ratio, and the longer it waits. Its ANTT "
        f"is more than 2 % above Dysta's own at {_listed(worse)}, and more than 2 % below it at "
        f"{_listed(better)}."
    )
    return parts


def _departures(found: Mapping[str, Any], made: Made) -> list[str]:
    parts = [
        "Each departure of the artifact, emulated by itself on our traces; of the policies that "
        "it touches, the one that it moves most. The workloads are simulated correctly beside it, "
        "with the same seeds; brackets have 95 % intervals of the difference."
    ]
    rows = []
    for name, departure in DEPARTURES.items():
        by_scenario: dict[str, list[dict[str, Any]]] = {}
        for row in found.get(name, ()):
            by_scenario.setdefault(row["scenario"], []).append(row)
        for scenario, mine in by_scenario.items():
            rate = max(mine, key=lambda row: abs(row["violation_rate_diff"]))
            antt = max(mine, key=lambda row: abs(row["antt_diff"] / row["antt_correct"]))
            rows.append(
                [
                    departure.title,
                    f"`{scenario}`",
                    f"{rate['policy']}, load {rate['load']:.3g}: "
                    f"{100 * rate['violation_rate_correct']:.1f} → "
                    f"{100 * rate['violation_rate']:.1f} "
                    f"[{100 * rate['violation_rate_diff_low']:+.1f}, "
                    f"{100 * rate['violation_rate_diff_high']:+.1f}]",
                    f"{antt['policy']}, load {antt['load']:.3g}: {antt['antt_correct']:.2f} → "
                    f"{antt['antt']:.2f} [{antt['antt_diff_low']:+.2f}, "
                    f"{antt['antt_diff_high']:+.2f}]",
                ]
            )
    parts.append(_table(["the artifact", "workload", "violations (%)", "ANTT"], rows))
    offered = [
        f"`{scenario}` {signed(100 * (ratio - 1))} %"
        for scenario, ratio in dict.fromkeys(
            (row["scenario"], round(row["offered_ratio"], 4))
            for row in found.get("first inputs", ())
        )
    ]
    if offered:
        parts.append(
            "The first inputs are no sample of the rest: at the same arrival rate they change the "
            f"work that is offered by {', '.join(offered)}."
        )
    if found.get("latency and length"):
        lengths = [
            f"{network} {each['correlation']:+.2f} → {each['correlation_departed']:+.2f}"
            for network, each in found["latency and length"].items()
        ]
        parts.append(
            "Charged at full length, a short input costs what its density among its own tokens "
            "says, and that falls with the length. Correlation of isolated latency and length: "
            + ", ".join(lengths)
            + ". Traces with an encoder and a decoder are left as they are."
        )
    return parts


def _hardware(path: Path) -> list[str]:
    """What the accelerator models' departures do to latencies, if that was measured."""
    if not path.exists():
        return [
            "The departures of the artifact's accelerator models need the networks themselves: "
            "`python benchmarks/departures.py` measures them."
        ]
    frame = pd.read_csv(path)
    frame["ratio"] = frame["departed_ms"] / frame["ours_ms"]
    names = list(dict.fromkeys(frame["departure"]))
    rows = []
    for network, mine in frame.groupby("network", sort=False):
        ratio = mine.set_index("departure")["ratio"]
        last = mine.iloc[-1]
        rows.append(
            [
                str(network), _time(1e-3 * last["ours_ms"]),
                *(f"{ratio[name]:.2f}" if name in ratio else "" for name in names),
                f"{_percent(last['ours_relative_range'])} → "
                f"{_percent(last['departed_relative_range'])}",
            ]
        )  # fmt: skip
    greatest = frame.loc[int(np.argmax(np.abs(np.log(frame["ratio"]))))]
    inputs = " to ".join(map(str, dict.fromkeys([frame["inputs"].min(), frame["inputs"].max()])))
    return [
        f"Its accelerator models, on {inputs} inputs of each network listed, dense, measured by "
        "`benchmarks/departures.py`: the load balance of 32 multipliers a row in a formula for 16 "
        "(Sanger); every convolution at stride 1, 32 filters a pass whatever the scratch pad holds "
        "(M0 = 32), non-empty columns counted along the wrong axis (Eyeriss v2). Its latency over "
        "ours, and (max - min) / mean over the inputs, ours and with all that is listed:",
        _table(["network", "ours", *names, "range over inputs"], rows),
        f"The greatest change is that of {greatest['network']}, {greatest['departure']}: times "
        f"{greatest['ratio']:.2f}.",
    ]


SECTIONS: Mapping[str, Callable[[Mapping[str, Any], Made], list[str]]] = {
    "figure2": _figure2,
    "figure3": _figure3,
    "table2": _table2,
    "figure4": _figure4,
    "figure9": _figure9,
    "figure12": _standing,
    "figure13": _figure13,
    "table4": _table4,
    "predictors": _predictors,
    "table5": _standing,
    "figure14": _points_won,
    "figure15": _points_won,
    "precision": _precision,
    "scale": _scale,
    "departures": _departures,
}
"""What each section says of its findings."""


# --- small parts ---------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _pair(at: Mapping[str, float]) -> str:
    return f"{100 * at['violation_rate']:.1f} %, {at['antt']:.2f}"


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if scale * seconds >= 1:
            return f"{scale * seconds:.3g} {unit}"
    return f"{1e6 * seconds:.3g} us"


def _workload(where: str) -> str:
    scenario, _, rest = where.partition(", ")
    return f"`{scenario}`, {rest}"


def _listed(places: Sequence[str]) -> str:
    return "none of the points" if not places else ", ".join(places)
