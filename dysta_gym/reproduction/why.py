"""What explains where the paper's claims do not hold: the numbers of that part of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysta_gym.reproduction.claims import OTHERS, widest_lead
from dysta_gym.reproduction.context import Findings, Result
from dysta_gym.reproduction.scheduling import DYSTA, PUBLISHED
from dysta_gym.statistics import ALPHA


def why(made: Mapping[str, Result]) -> dict[str, Any]:
    """What each paragraph of ``templates/why.md.j2`` is filled with; empty for one left out."""
    reasons = {
        "shortest": ("figure15", _shortest_first),
        "information": ("predictors", _information),
        "late": ("figure14", _late),
        "scale": ("scale", _scale),
        "proportional": ("table4", _proportional),
    }
    return {
        reason: numbers(made[figure]) if figure in made else {}
        for reason, (figure, numbers) in reasons.items()
    }


def _shortest_first(figure15: Result) -> dict[str, Any]:
    """Where Dysta's lead in ANTT is the widest, and how far ahead any rule could be there."""
    where, antt, bound = widest_lead(figure15.frame)
    others = {name: antt[name] for name in OTHERS}
    return {
        "where": where,
        "dysta": antt[DYSTA],
        "others": others,
        "bound": bound,
        "over_bound": min(others.values()) / bound,
    }


def _information(predictors: Result) -> dict[str, Any]:
    """ANTT of three rules as they are told more, and how often Dysta then leads shortest first."""
    beside = [rules["sjf"]["antt"]["beside_dysta"] for rules in predictors.findings.values()]
    return {
        "antt": {
            where: {
                rule: [rules[rule]["antt"]["by_level"][level] for level in ("static", PUBLISHED)]
                for rule in ("sjf", "prema", DYSTA)
            }
            for where, rules in predictors.findings.items()
        },
        "ahead": sum(each["change"] > 0 and each["p"] < ALPHA for each in beside),
        "cases": len(beside),
    }


def _late(figure14: Result) -> dict[str, Any]:
    """Each network's share of late requests where Dysta trails most, by scenario where it does."""
    return {
        scenario: {
            "where": found["violation_rate"]["widest_lag"][0],
            "best": found["violation_rate"]["best_at_widest_lag"],
            "by_network": found["by_network"],
        }
        for scenario, found in figure14.findings.items()
        if found["violation_rate"]["widest_lag"][1] > 0
    }


def _scale(scale: Result) -> dict[str, Any]:
    """Two forms of Dysta by scenario, and what true latencies are worth to shortest first."""
    return {
        scenario: {
            "mean_isolated_s": found["mean_isolated_s"],
            "dysta": found["beside"]["dysta"],
            "tuned": found["beside"]["dysta-tuned"],
            "gain": _antt(found, "sjf@clairvoyant") / _antt(found, "sjf@monitored"),
        }
        for scenario, found in scale.findings.items()
    }


def _antt(found: Findings, policy: str) -> float:
    return found["beside"][policy]["antt"]


def _proportional(table4: Result) -> dict[str, Any]:
    """The networks on which the published average is worse than no monitor."""
    errors = {network: each["relative_rmse"] for network, each in table4.findings.items()}
    worse = [network for network, error in errors.items() if error["average"] > error["pattern"]]
    return {"worse": worse, "networks": len(errors)}
