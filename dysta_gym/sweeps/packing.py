"""What a sweep is of, as its store keeps it: what repeats is said once.

A hundred thousand conditions have names of a hundred characters and more, made of the same values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dysta_gym.sweeps.grid import MOST_CONDITIONS

MOST_NAMES = 64 * 2**20
"""Characters of the names of all scenarios together."""


def packed(about: Mapping[str, Any]) -> dict[str, Any]:
    """The same with its conditions, and the digests of their scenarios, said shortly.

    ``texts`` has each name and label once, ``shapes`` what names of fields there are, after whether
    the scenario's name ends in them, ``scenarios`` the numbers of a shape, a name and labels, and
    ``rows`` the number of a scenario, a load, a rate, an SLO multiplier and a digest.

    Raises:
        ValueError: If it is too large.
    """
    size = 0
    texts: dict[str, int] = {}
    shapes: dict[tuple[Any, ...], int] = {}
    scenarios: dict[tuple[int, ...], int] = {}
    rows = []
    for condition in about["conditions"]:
        name, *where = condition["where"]
        varied = condition["varied"]
        ending = _ending(varied)
        own = name.removesuffix(ending) if ending else name
        shape = shapes.setdefault((int(own != name), *varied), len(shapes))
        words = (texts.setdefault(text, len(texts)) for text in (own, *varied.values()))
        scenario = (shape, *words)
        if scenario not in scenarios:
            scenarios[scenario] = len(scenarios)
            size += len(own) + len(ending)
            _check(size)
        rows.append([scenarios[scenario], *where, condition["workloads"]])
    told = {
        "texts": list(texts), "shapes": list(shapes), "scenarios": list(scenarios), "rows": rows
    }  # fmt: skip
    origin = dict(about["origin"])
    digests = origin.get("scenarios", {})
    if list(digests) == _names(about["conditions"]):
        origin["scenarios"] = list(digests.values())
    return {**about, "conditions": told, "origin": origin}


def unpacked(content: Mapping[str, Any]) -> dict[str, Any]:
    """What was `packed`.

    Raises:
        ValueError: If it is not, or too large.
    """
    told = content["conditions"]
    size = 0
    try:
        texts, shapes, rows = told["texts"], told["shapes"], told["rows"]
        if max(len(told["scenarios"]), len(rows)) > MOST_CONDITIONS:
            raise ValueError(f"there are more than {MOST_CONDITIONS} conditions")
        scenarios = []
        for shape, own, *labels in told["scenarios"]:
            ends, *fields = shapes[shape]
            varied = dict(zip(fields, (texts[each] for each in labels), strict=True))
            size += len(texts[own]) + sum(len(each) + len(varied[each]) + 2 for each in varied)
            _check(size)
            scenarios.append((texts[own] + (_ending(varied) if ends else ""), varied))
        conditions = []
        for scenario, load, rate, slo, workloads in rows:
            name, varied = scenarios[scenario]
            where = [name, load, rate, slo]
            conditions.append({"where": where, "varied": varied, "workloads": workloads})
        origin = content["origin"]
        if isinstance(origin, dict) and isinstance(origin.get("scenarios"), list):
            names = _names(conditions)
            origin = {**origin, "scenarios": dict(zip(names, origin["scenarios"], strict=True))}
    except (TypeError, LookupError, AttributeError):
        raise ValueError("a condition is not whole") from None
    return {**content, "conditions": conditions, "origin": origin}


def _check(size: int) -> None:
    if size > MOST_NAMES:
        raise ValueError(
            f"the names of its scenarios have more than {MOST_NAMES} characters together"
        )


def _ending(varied: Mapping[str, str]) -> str:
    """What the name of a scenario with other fields ends in."""
    return ":" + ",".join(f"{field}={label}" for field, label in varied.items()) if varied else ""


def _names(conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the scenarios, each once."""
    return list(dict.fromkeys(each["where"][0] for each in conditions))
