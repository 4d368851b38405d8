"""The page that sets the paper's claims beside what is found: its words, filled in with numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dysta_gym.files import replacing
from dysta_gym.reproduction.claims import (
    DYSTA,
    OTHERS,
    SIGNIFICANT,
    judge,
    signed,
    widest_lead,
)
from dysta_gym.reproduction.context import METRICS, Context, Item, Result
from dysta_gym.reproduction.departures import DEPARTURES
from dysta_gym.reproduction.hardware import DOUBLE, FORMATS, PAPER_DEPTH, UNITS
from dysta_gym.reproduction.prediction import KNOWS_LENGTH, PUBLISHED
from dysta_gym.reproduction.scale import AT_SPEEDS, PUBLISHED_BETA, UNIT_FREE
from dysta_gym.reproduction.scheduling import ESTIMATING_RULES
from dysta_gym.traces import read_csv

HARDWARE_FILE = "hardware-departures.csv"
"""What ``benchmarks/departures.py`` measured, where it lies beside the pictures."""

EVEN = 0.005
"""Share within which two values are called level."""

MONITOR_OPTIONS = (
    "monitored/last_n", "monitored/last", "monitored/linear", "monitored/kalman",
    "monitored/length",
)  # fmt: skip
MONITORS = MONITOR_OPTIONS[2:]
"""Options that only monitor: all but the published one, and of these the ones that are new."""

ORDERED_BY = ("monitored", "monitored/length")
SAME_ORDER = 0.01
"""Difference of two rank correlations up to which they order requests alike."""

WITH_LENGTH = ("sized", "sized/kalman")
WORTH_LEVELS = (
    "static", PUBLISHED, "monitored/kalman", "monitored/length", "sized", "clairvoyant",
)  # fmt: skip
"""Levels in the table of what predictions are worth."""

Made = Mapping[str, Result]


def write_page(
    path: Path, made: Made, items: Mapping[str, Item], context: Context, out: Path, format: str
) -> None:
    """Write the page of what was made to ``path``; pictures are linked from ``out``."""
    folder = Path(os.path.relpath(out, path.parent))
    parts = [_head(context, folder), *filter(None, [_claims(made)])]
    for name, result in made.items():
        item = items[name]
        picture = (folder / f"{name}.{format}").as_posix()
        link = f"![{item.title}]({picture})" if format == "png" else f"[The picture]({picture})"
        text = SECTIONS[name](result.findings, made)
        if name == "departures" and context.folder is None:
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
    asked = {context.requests or each.scenario.requests for each in context.deployments.values()}
    requests = " or ".join(map(str, sorted(asked)))
    ours = context.folder is None
    lines.append(
        f"{requests} requests, {len(context.seeds)} seeds, drawn from the inputs that schedulers "
        "and predictors have not seen. Load is offered work over capacity. Every number is "
        "computed when the page is made"
        + (", but for the table of the artifact's accelerator models at the end" if ours else "")
        + f". `{'make reproduction' if ours else 'dysta-gym reproduce'}` also writes a CSV with "
        f"more digits for each picture, in `{folder}/`."
    )
    lines.append(
        "*Significant* is what a paired t-test over the seeds says at 5 % (`dysta_gym.statistics`; "
        "beside the best of several, adjusted for their number), and every verdict below that "
        "needs it rests on that test. Intervals, in brackets and in the pictures, are bootstrap "
        "intervals over the seeds of nominally 95 %, which with 5 seeds cover about 85 %."
    )
    if ours and not context.fast:
        lines.append(
            f"The README's tables are of 20 seeds; these are of {len(context.seeds)}, so that the "
            "whole page takes seconds, and differ from them by chance."
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
    reasons: Mapping[str, Callable[[Made], str]] = {
        "figure15": _why_shortest_first,
        "predictors": _why_information,
        "figure14": _why_late,
        "scale": _why_scale,
        "table4": _why_ratio,
    }
    return [said for name, reason in reasons.items() if name in made and (said := reason(made))]


def _why_shortest_first(made: Made) -> str:
    where, antt, bound = widest_lead(made["figure15"].frame)
    others = ", ".join(f"{name} {antt[name]:.1f}" for name in OTHERS)
    return (
        "**Shortest first is already good.** Where Dysta's lead in ANTT over the best other is the "
        f"widest in Figure 15, {where}, ANTT is {antt[DYSTA]:.1f}; of the others, {others}. No "
        f"schedule of these requests has less than {bound:.1f}, which is "
        f"{min(antt[name] for name in OTHERS) / bound:.1f} times below the best other: no rule "
        "could lead by more there."
    )


def _why_information(made: Made) -> str:
    parts, ahead = [], []
    for where, rules in made["predictors"].findings.items():
        levels = {rule: rules[rule]["antt"]["by_level"] for rule in ("sjf", "prema", DYSTA)}
        versus = made["predictors"].findings[where]["sjf"]["antt"]["beside_dysta"]
        ahead.append(versus["change"] > 0 and versus["p"] < SIGNIFICANT)
        parts.append(
            f"{_workload(where)}: "
            + ", ".join(
                f"{rule} {at['static']:.2f} → {at[PUBLISHED]:.2f}" for rule, at in levels.items()
            )
        )
    return (
        "**Part of the lead is information, not the rule.** The paper runs sjf, prema and sdrm3 on "
        "static averages and Dysta on monitored sparsity. ANTT from `static` to `monitored`: "
        + "; ".join(parts)
        + ". Told the same as Dysta, plain shortest job first has significantly the greater ANTT "
        f"in {sum(ahead)} of these {len(ahead)} cases."
    )


def _why_late(made: Made) -> str:
    parts = []
    for scenario, found in made["figure14"].findings.items():
        where, lag = found["violation_rate"]["widest_lag"]
        if lag > 0:
            late = ", ".join(
                f"{network} {_percent(own)} ({_percent(other)})"
                for network, (own, other) in found["by_network"].items()
            )
            best = found["violation_rate"]["best_at_widest_lag"]
            parts.append(f"`{scenario}`, {where.partition(', ')[2]}, {best} in brackets: {late}")
    if not parts:
        return ""
    return (
        "**Shortest first lets the longest wait.** Where Dysta trails most in violations, each "
        "network's share of late requests is: " + "; ".join(parts) + ". The better a rule knows "
        "which request is the longest, the longer that one waits. A rule that goes by arrival or "
        "deadline, or that serves the requests of a network in order of arrival for want of "
        "knowing better, spreads the delay over all."
    )


def _why_scale(made: Made) -> str:
    parts, told = [], []
    for scenario, found in made["scale"].findings.items():
        beside = found["beside"]
        parts.append(
            f"`{scenario}` ({_time(found['mean_isolated_s'])}): dysta "
            f"{_pair(beside['dysta'])}, dysta-tuned {_pair(beside['dysta-tuned'])}"
        )
        gain = beside["sjf@clairvoyant"]["antt"] / beside["sjf@monitored"]["antt"] - 1
        told.append(f"`{scenario}` {signed(100 * gain)} %")
    return (
        "**Dysta's score adds seconds to a ratio**, so its published weight suits some lengths of "
        "network and not others (see [its scale](#the-scale-of-dysta)). Violations and ANTT: "
        + "; ".join(parts)
        + ". Its Oracle is therefore no bound, but the same score with true latencies: what those "
        "are worth without the ratio and the slack is the ANTT of `sjf@clairvoyant` over "
        "`sjf@monitored`, "
        + ", ".join(told)
        + ". Where the Oracle is the worse of the two, the score uses what it is told against "
        "itself: a request known to be short has the greater ratio and waits. Why loose deadlines "
        "bring this out is not tested; there the weighted slack may exceed the remaining latency."
    )


def _why_ratio(made: Made) -> str:
    worse = [
        network
        for network, found in made["table4"].findings.items()
        if found["relative_rmse"]["average"] > found["relative_rmse"]["pattern"]
    ]
    return (
        "**The monitor's factor assumes that latency is proportional to density.** On "
        f"{len(worse)} of {len(made['table4'].findings)} networks the published average predicts "
        "the remaining latency worse than no monitor at all"
        + (f" ({', '.join(worse)})" if worse else "")
        + ": a layer's sparsity then says more of that layer than of the ones to come, or most of "
        "the cost does not depend on it."
    )


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
        "(max - min) / mean over the pictures, of "
        + (
            "the dense network."
            if all(each["pattern"] == "dense" for each in found.values())
            else "one pattern of each network: "
            + ", ".join(f"{network} {each['pattern']}" for network, each in found.items())
            + "."
        ),
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
    lengths = any(row[-1] for row in rows)
    head = ["network", "all pairs", "adjacent layers", "all pairs, at equal length"]
    parts = [
        "Mean correlation of the layers' sparsities over inputs:",
        _table(head if lengths else head[:-1], rows if lengths else [row[:-1] for row in rows]),
    ]
    if lengths:
        parts.append(
            "What falls away at equal length is the length's doing: the monitor sees how long the "
            "input is."
        )
    return parts


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
    parts = []
    for where, rules in found.items():
        antt = rules[DYSTA]["antt"]
        least = min(antt, key=lambda level: antt[level])
        beyond = antt["clairvoyant"] / antt[least] - 1
        parts.append(
            f"{_workload(where)}: {antt['clairvoyant']:.2f} where everything is known, "
            + (
                "the least"
                if least == "clairvoyant"
                else ("level with" if beyond < EVEN else "more than")
                + f" the least, {antt[least]:.2f} at `{least}`"
            )
        )
    return [
        _table(["", "rule", "", *levels], rows),
        f"Dysta's ANTT, level meaning within {_percent(EVEN)}: " + "; ".join(parts) + ".",
    ]


def _points_won(found: Mapping[str, Any], made: Made) -> list[str]:
    lines = []
    for scenario, each in found.items():
        antt, rate = each["antt"], each["violation_rate"]
        lines.append(
            f"- `{scenario}`: ahead of the five others, or level, at {rate['dysta_ahead']} of "
            f"{each['points']} points in violations and {antt['dysta_ahead']} in ANTT. Its "
            f"violations less the best other's run from {_gap(rate['widest_lead'], 100)} to "
            f"{_gap(rate['widest_lag'], 100)} points, its ANTT from "
            f"{_gap(antt['widest_lead'])} to {_gap(antt['widest_lag'])}. Best others: "
            f"{', '.join(rate['best_others'])} in violations, {', '.join(antt['best_others'])} in "
            "ANTT."
        )
    return ["\n".join(lines)]


def _gap(gap: tuple[str, float], scale: float = 1) -> str:
    where, value = gap
    return f"{signed(scale * value, 2)} ({where.partition(', ')[2]})"


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
    lengths = any("sized" in rules[DYSTA]["antt"]["by_level"] for rules in found.values())
    shown = [level for level in WORTH_LEVELS if lengths or level not in WITH_LENGTH]
    rows = [
        [_workload(where), rule, *(_marked(metrics, level) for level in shown)]
        for where, rules in found.items()
        for rule, metrics in rules.items()
    ]
    parts = [
        "Violations (%) and ANTT of each rule by what it knows. ▲ and ▼: significantly more or "
        "less than at `monitored`, the published monitor, each compared by itself.",
        _table(["", "rule", *shown], rows),
        _predicts_best(made),
        *_schedules_best(found),
        *_worth(found),
    ]
    if lengths:
        parts += _why_not(found, made)
    return list(filter(None, parts))


def _marked(metrics: Mapping[str, Any], level: str) -> str:
    """Both metrics at a level, each with a mark where it differs from the published monitor's."""
    cells = []
    for metric, scale, form in (("violation_rate", 100, ".1f"), ("antt", 1, ".2f")):
        value = metrics[metric]["by_level"].get(level)
        if value is None:
            return ""
        over = metrics[metric]["over_monitored"].get(level)
        differs = over and over["p"] < SIGNIFICANT
        mark = ("▲" if over["change"] > 0 else "▼") if differs else ""
        cells.append(f"{scale * value:{form}}{mark}")
    return ", ".join(cells)


def _predicts_best(made: Made) -> str:
    """Table 4 in a sentence."""
    if "table4" not in made:
        return ""
    networks = made["table4"].findings.values()
    monitor = _counted([each["best_monitor"] for each in networks])
    told = _counted([each["best"] for each in networks if each["best"] in KNOWS_LENGTH])
    return (
        f"**Which predicts best?** Of what only monitors, {monitor} of {len(networks)} networks "
        "(see [Table 4](#table-4))." + (f" Of what is told the length, {told}." if told else "")
    )


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}` on {names.count(name)}" for name in dict.fromkeys(names))


def _schedules_best(found: Mapping[str, Any]) -> list[str]:
    """How often each monitor is among the best of the monitors, by rule."""
    rows, everywhere = [], []
    monitors = [
        level
        for level in (PUBLISHED, *MONITOR_OPTIONS)
        if any(level in rules[DYSTA]["antt"]["by_level"] for rules in found.values())
    ]
    for rule in next(iter(found.values())):
        row = [rule]
        for level in monitors:
            known = [
                rules[rule] for rules in found.values() if level in rules[rule]["antt"]["by_level"]
            ]
            times = [
                sum(level in each[metric]["best_monitors"] for each in known) for metric in METRICS
            ]
            row.append(", ".join(f"{count}/{len(known)}" for count in times))
            everywhere.append((level, times[-1] == len(known)))
        rows.append(row)
    always = [level for level in monitors if all(won for each, won in everywhere if each == level)]
    return [
        "**Which schedules best?** Of the workloads where it differs from the others, on how many "
        "each monitor is not significantly worse than the best monitor, in violations and in ANTT:",
        _table(["rule", *monitors], rows),
        "Among the best in ANTT for every rule on every workload: "
        + (", ".join(f"`{level}`" for level in always) or "none")
        + ".",
    ]


def _worth(found: Mapping[str, Any]) -> list[str]:
    """What each level changes of each rule beside the published monitor."""
    levels = [
        level
        for level in (*MONITORS, WITH_LENGTH[0])
        if any(level in rules[DYSTA]["antt"]["by_level"] for rules in found.values())
    ]
    rows = []
    for rule in next(iter(found.values())):
        row = [rule]
        for level in levels:
            over = [
                {metric: rules[rule][metric]["over_monitored"][level] for metric in METRICS}
                for rules in found.values()
                if level in rules[rule]["antt"]["over_monitored"]
            ]
            rates = _range([100 * each["violation_rate"]["change"] for each in over])
            antts = _range([100 * (each["antt"]["ratio"] - 1) for each in over])
            row.append(f"{rates}; {antts} %")
        rows.append(row)
    said = []
    for what, chosen in (
        ("The monitors that predict better", MONITORS),
        ("The length instead of a monitor", WITH_LENGTH[:1]),
    ):
        if set(chosen) & set(levels):
            own, others = (_significant(found, chosen, own=own) for own in (True, False))
            said.append(f"{what}, for Dysta: {own}; for the other rules: {others}.")
    better = [
        rules[rule]["antt"]["over_monitored"][level]
        for rules in found.values()
        for rule in rules
        for level in MONITORS
        if level in rules[rule]["antt"]["over_monitored"]
    ]
    sure = [each["change"] for each in better if each["p"] < SIGNIFICANT]
    if sure and min(sure) > 0:
        said.insert(
            0,
            "**No monitor that predicts better lowers the ANTT of any rule; they raise it in "
            f"{len(sure)} of {len(better)} cases.**",
        )
    if WITH_LENGTH[0] in levels:
        said.append(_by_rule(found, WITH_LENGTH[0]))
    return [
        "**What is it worth?** Changes over `monitored`, from the least to the greatest of the "
        "workloads: violations in points; ANTT.",
        _table(["rule", *levels], rows),
        "Of the significant changes (one test in twenty errs): " + " ".join(said),
    ]


def _by_rule(found: Mapping[str, Any], level: str) -> str:
    """The rules whose ANTT a level lowers, and raises, somewhere and nowhere the opposite."""
    named: dict[bool, list[str]] = {True: [], False: []}
    for rule in next(iter(found.values())):
        sure = {
            over[level]["change"] < 0
            for over in (rules[rule]["antt"]["over_monitored"] for rules in found.values())
            if level in over and over[level]["p"] < SIGNIFICANT
        }
        if len(sure) == 1:
            named[sure.pop()].append(rule)
    return (
        f"ANTT at `{level}` is lower for {', '.join(named[True]) or 'no rule'}, and higher for "
        f"{', '.join(named[False]) or 'no rule'}."
    )


def _significant(found: Mapping[str, Any], levels: Sequence[str], *, own: bool) -> str:
    """How often ``levels`` change violations and ANTT, of Dysta or of the other rules."""
    parts = []
    for metric, name in (("violation_rate", "violations"), ("antt", "ANTT")):
        over = [
            rules[rule][metric]["over_monitored"][level]
            for rules in found.values()
            for rule in rules
            for level in levels
            if (rule == DYSTA) == own and level in rules[rule][metric]["over_monitored"]
        ]
        sure = [each["change"] for each in over if each["p"] < SIGNIFICANT]
        lower = sum(change < 0 for change in sure)
        parts.append(f"{name} lower in {lower} and higher in {len(sure) - lower} of {len(over)}")
    return ", ".join(parts) + " cases"


def _range(values: Sequence[float]) -> str:
    least, greatest = signed(min(values)), signed(max(values))
    return least if least == greatest else f"{least} to {greatest}"


def _why_not(found: Mapping[str, Any], made: Made) -> list[str]:
    """Why better predictions need not schedule better."""
    parts = []
    orders = {
        network: [each["after_one_layer"][name] for name in ("average", "length")]
        for network, each in (made["table4"].findings if "table4" in made else {}).items()
        if "length" in each["after_one_layer"]
    }
    ranks = [[each["rank_correlation"] for each in order] for order in orders.values()]
    if orders and max(abs(first - second) for first, second in ranks) < SAME_ORDER:
        slopes = [
            f"{network} {first['slope']:.2f} and {second['slope']:.2f} "
            f"({first['rank_correlation']:.3f}, {second['rank_correlation']:.3f})"
            for network, (first, second) in orders.items()
        ]
        parts.append(
            "**Why need a better predictor not schedule better?** It orders requests no better. "
            "After one layer, the slope of the predicted over the true remaining latency by "
            "`average` and by `length`, and in brackets the correlation of their ranks: "
            + "; ".join(slopes)
            + ". Where its slope is above 1 the published ratio exaggerates how inputs differ, but "
            "it puts those of one network into the same order, and shortest-first rules need no "
            "more than an order."
        )
    known = {
        where: rules
        for where, rules in found.items()
        if "monitored/length" in rules[DYSTA]["antt"]["by_level"]
    }
    preempted = [
        f"{_workload(where)}, "
        + " and ".join(f"{rules['sjf']['preemptions'][level]:.0f}" for level in ORDERED_BY)
        for where, rules in known.items()
    ]
    lost = [
        f"{_workload(where)}, "
        + " and ".join(
            f"{signed(100 * (rules[rule]['antt']['over_monitored'][ORDERED_BY[1]]['ratio'] - 1))} %"
            for rule in (DYSTA, "dysta-tuned")
        )
        for where, rules in known.items()
    ]
    parts.append(
        "Two hypotheses, with what there is to judge them by. The exaggeration may even help: what "
        "has started and is long is set aside earlier for what has not started, of which a monitor "
        "knows but the mean. Preemptions of sjf at `monitored` and at `monitored/length`: "
        + "; ".join(preempted)
        + ". And Dysta may gain more from it than others because estimates that are further apart "
        "outweigh its ratio. Change of ANTT by `monitored/length` for dysta, and for dysta-tuned, "
        "whose ratio weighs less: " + "; ".join(lost) + "."
    )
    parts.append(
        "What matters is known before the first layer: with the length given, monitoring on top "
        "(`sized/kalman`) changes the ANTT of no rule by more than "
        + "; ".join(_sized_beside(found))
        + "."
    )
    return parts


def _sized_beside(found: Mapping[str, Any]) -> list[str]:
    parts = []
    for where, rules in found.items():
        if "sized" in rules[DYSTA]["antt"]["by_level"]:
            ratios = [
                abs(
                    each["antt"]["by_level"]["sized/kalman"] / each["antt"]["by_level"]["sized"] - 1
                )
                for each in rules.values()
            ]
            parts.append(f"{100 * max(ratios):.2f} % ({_workload(where)})")
    return parts


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
    parts.append(" ".join(_scale_sweeps(found)))
    parts.append(_scale_oracle(found))
    return parts


def _scale_sweeps(found: Mapping[str, Any]) -> list[str]:
    """Each sweep of the picture in a sentence, scenario by scenario."""
    sentences = []
    for scenario, each in found.items():
        betas, units, speeds = each["beta"]["seconds"], each["time_unit"]["dysta"], each["speed"]
        best_rate = min(betas, key=lambda beta: (betas[beta]["violation_rate"], beta))
        best_antt = min(betas, key=lambda beta: (betas[beta]["antt"], beta))
        best_unit, worst_unit = (
            choose(units, key=lambda unit: units[unit]["antt"]) for choose in (min, max)
        )
        span = [
            f"{name} {min(at['antt'] for at in speeds[name].values()):.2f} to "
            f"{max(at['antt'] for at in speeds[name].values()):.2f}"
            for name in AT_SPEEDS
        ]
        first, last = (_time(1e-3 * end(speeds["dysta"])) for end in (min, max))
        sentences += [
            f"On `{scenario}` violations are least at `beta` {best_rate:g} "
            f"({_pair(betas[best_rate])}) and ANTT at {best_antt:g} ({_pair(betas[best_antt])}).",
            f"With a `time_unit` of {_time(best_unit)} dysta's ANTT is the least, "
            f"{units[best_unit]['antt']:.2f}, and with one of {_time(worst_unit)} the greatest, "
            f"{units[worst_unit]['antt']:.2f}.",
            f"The same requests at the same load, made from {first} to {last} long, move ANTT: "
            + "; ".join(span) + ".",
        ]  # fmt: skip
    return sentences


def _scale_oracle(found: Mapping[str, Any]) -> str:
    """Where the Oracle is behind Dysta, and where ahead of it."""
    worse, better = [], []
    for scenario, each in found.items():
        for mean, at in sorted(each["speed"]["dysta_oracle"].items()):
            ratio = at["antt"] / each["speed"]["dysta"][mean]["antt"]
            place = f"{_time(1e-3 * mean)} (`{scenario}`)"
            if ratio > 1.02:
                worse.append(place)
            elif ratio < 1 / 1.02:
                better.append(place)
    return (
        "Where the ratio rules, knowing more does harm: the better the Oracle knows that a request "
        "is short, the smaller its `I`, the greater its ratio, and the longer it waits. Its ANTT "
        f"is more than 2 % above Dysta's own at {_listed(worse)}, and more than 2 % below it at "
        f"{_listed(better)}."
    )


def _departures(found: Mapping[str, Any], made: Made) -> list[str]:
    parts = [
        "Each departure of the artifact, emulated by itself on our traces; of the policies that "
        "it touches, the one that it moves most, and Dysta, each at the load where it moves most. "
        "The workloads are simulated correctly beside it, with the same seeds; brackets have the "
        "interval of the difference.",
        "\n".join(
            f"- *{name}*: {departure.title}."
            for name, departure in DEPARTURES.items()
            if name in found
        ),
    ]
    rows = []
    for name in DEPARTURES:
        by_scenario: dict[str, list[dict[str, Any]]] = {}
        for row in found.get(name, ()):
            by_scenario.setdefault(row["scenario"], []).append(row)
        for scenario, mine in by_scenario.items():
            own = [row for row in mine if row["policy"] == DYSTA]
            moved = _most_moved(mine)
            rows.append([name, f"`{scenario}`", *moved])
            if own and _most_moved(own) != moved:
                rows.append(["", "", *_most_moved(own)])
    parts.append(_table(["departure", "workload", "violations (%)", "ANTT"], rows))
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
            f"work that is offered by {', '.join(offered)}. *First inputs* is therefore mostly a "
            "change of load where that is large; *same load* is what is left without it. *Full "
            "length* keeps the load too."
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


def _most_moved(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The greatest change of each metric among ``rows``."""
    rate = max(rows, key=lambda row: abs(row["violation_rate_diff"]))
    antt = max(rows, key=lambda row: abs(row["antt_diff"] / row["antt_correct"]))
    return [
        f"{rate['policy']}, load {rate['load']:.3g}: {100 * rate['violation_rate_correct']:.1f} → "
        f"{100 * rate['violation_rate']:.1f} [{signed(100 * rate['violation_rate_diff_low'])}, "
        f"{signed(100 * rate['violation_rate_diff_high'])}]",
        f"{antt['policy']}, load {antt['load']:.3g}: {antt['antt_correct']:.2f} → "
        f"{antt['antt']:.2f} [{signed(antt['antt_diff_low'], 2)}, "
        f"{signed(antt['antt_diff_high'], 2)}]",
    ]


def _hardware(path: Path) -> list[str]:
    """What the accelerator models' departures do to latencies, if that was measured."""
    if not path.exists():
        return [
            "The departures of the artifact's accelerator models need the networks themselves: "
            "`make departures` measures them."
        ]
    frame = read_csv(path, f"departures {str(path)!r}")
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
        f"Its accelerator models, on {inputs} inputs of each network listed, dense, as `make "
        "departures` last measured them: the load balance of 32 multipliers a row in a formula for "
        "16 (Sanger); every convolution at stride 1, 32 filters a pass whatever the scratch pad "
        "holds (M0 = 32), non-empty columns counted along the wrong axis (Eyeriss v2). Its latency "
        "over ours, and (max - min) / mean over the inputs, ours and with all that is listed:",
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
