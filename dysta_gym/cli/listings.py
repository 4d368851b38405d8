"""Commands that list what is there: ``traces``, ``policies``, ``features`` and the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dysta_gym import plugins
from dysta_gym.cli.terminal import AsJson, show_listing
from dysta_gym.errors import DystaError


def traces(as_json: AsJson = False) -> None:
    """List the traces in the package, and in others that plug in."""
    from dysta_gym.provenance import trace_digest
    from dysta_gym.traces import TRACES, load_trace, shipped_trace, trace_names
    from dysta_gym.workloads.scenario import named_trace

    listed = []
    found = [(name, shipped_trace(name)) for name in trace_names()]
    for name, trace in (*found, *_found(TRACES.plugged(), lambda name: load_trace(TRACES[name]))):
        isolated = trace.isolated_s
        listed.append(
            {
                "name": name,
                "accelerator": trace.accelerator,
                "layers": trace.latency_s.shape[1],
                "inputs": trace.latency_s.shape[0],
                "mean_isolated_s": float(isolated.mean()),
                "isolated_spread": float(isolated.std() / isolated.mean()),
                "mean_sparsity": float(trace.sparsity.mean()),
                "model": trace.model,
                "pattern": trace.pattern,
                "provenance": dict(trace.provenance),
                "sha256": trace_digest(named_trace(name)),
            }
        )
    show_listing(
        "Traces",
        listed,
        as_json,
        {
            "name": lambda t: t["name"],
            "network": lambda t: str(t["provenance"].get("network", "")),
            "accelerator": lambda t: t["accelerator"],
            "layers": lambda t: str(t["layers"]),
            "inputs": lambda t: str(t["inputs"]),
            "isolated latency": lambda t: f"{1e3 * t['mean_isolated_s']:.3f} ms",
            "spread": lambda t: f"{t['isolated_spread']:.1%}",
            "sparsity": lambda t: f"{t['mean_sparsity']:.3f}",
        },
    )


def accelerators(as_json: AsJson = False) -> None:
    """List the models of accelerators, their parameters, their peak and what the chip reaches."""
    from dysta_gym.charging import MEMORY, TABLE

    listed = []
    for name in TABLE.names():
        try:
            model = TABLE.find(name)
        except DystaError as error:  # in another package: the others are still there
            plugins.warn(str(error))
            continue
        bits = {"weight_bits": model.weight_bits, "activation_bits": model.activation_bits}
        parameters = {**model.parameters, **MEMORY}
        defaults = {**model.defaults, **bits, "bandwidth": None}
        peak = model.peak_macs_per_s
        listed.append(
            {
                "name": name,
                "summary": model.summary,
                "kinds": list(model.kinds),
                "parameters": {
                    key: {"default": defaults[key], "description": parameter.description}
                    for key, parameter in parameters.items()
                },
                "peak_macs_per_s": None if peak is None else peak(model.defaults),
                "published": model.published,
                "source": model.source,
            }
        )
    show_listing(
        "Accelerators",
        listed,
        as_json,
        {
            "name": lambda a: a["name"],
            "charges": lambda a: ", ".join(a["kinds"]),
            "parameters": lambda a: ", ".join(
                f"{key}={'off' if value['default'] is None else format(value['default'], 'g')}"
                for key, value in a["parameters"].items()
            ),
            "peak": lambda a: (
                "" if a["peak_macs_per_s"] is None else f"{a['peak_macs_per_s']:.3g} MAC/s"
            ),
            "published chip": lambda a: a["published"],
        },
    )


def policies(as_json: AsJson = False) -> None:
    """List the installed policies and their parameters."""
    from dysta_gym.policies import find, names

    listed = []
    for name, rule in _found(names(), find):
        listed.append(
            {
                "name": name,
                "alias_of": rule.spec if name != rule.name else None,
                "level": rule.level,
                "summary": rule.summary,
                "parameters": {
                    key: {"default": parameter.default, "description": parameter.description}
                    for key, parameter in rule.parameters.items()
                },
                "source": rule.source,
            }
        )
    show_listing(
        "Policies",
        listed,
        as_json,
        {
            "name": lambda p: p["name"],
            "level": lambda p: p["level"],
            "runs first": lambda p: f"alias of {p['alias_of']}" if p["alias_of"] else p["summary"],
            "parameters": lambda p: ", ".join(
                f"{key}={value['default']:g}" for key, value in p["parameters"].items()
            ),
        },
    )


def scenarios(as_json: AsJson = False) -> None:
    """List the scenarios in the package, and in others that plug in."""
    from dysta_gym.provenance import scenario_digest
    from dysta_gym.workloads import arrival_rate, load_scenario, mean_isolated_s
    from dysta_gym.workloads.scenario import SCENARIOS

    def offer(name: str) -> dict[str, Any]:
        scenario = load_scenario(name)
        try:
            rate, isolated_s = arrival_rate(scenario), mean_isolated_s(scenario)
        except DystaError as error:
            raise DystaError(f"scenario {name!r}: {error}") from None
        return {
            **scenario.model_dump(mode="json"),
            "sha256": scenario_digest(scenario),
            "models": list(scenario.store().models),
            "offered_load": rate * isolated_s,
            "offered_rate": rate,
        }

    listed = [offer(name) for name in SCENARIOS.own()]
    listed += [each for _, each in _found(SCENARIOS.plugged(), offer)]
    show_listing(
        "Scenarios",
        listed,
        as_json,
        {
            "name": lambda s: s["name"],
            "accelerator": lambda s: str(s["accelerator"]),
            "networks": lambda s: ", ".join(s["models"]),
            "arrivals": lambda s: s["arrivals"]["process"],
            "load": lambda s: f"{s['offered_load']:.2f}",
            "requests/s": lambda s: f"{s['offered_rate']:.4g}",
            "SLO x": lambda s: f"{s['slo_multiplier']:g}",
            "description": lambda s: s["description"],
        },
    )


def tracks(as_json: AsJson = False) -> None:
    """List the tracks in the package: conditions that schedulers are judged under."""
    from dysta_gym.comparison import CELL
    from dysta_gym.tracks import digest, load_track, shipped_tracks

    listed = []
    for name in shipped_tracks():
        track = load_track(name)
        conditions = track.conditions()
        listed.append(
            {
                "name": name,
                "description": track.description,
                "split": track.split,
                "seeds": track.seeds.model_dump(),
                "conditions": [
                    {
                        **dict(zip(CELL, condition.where, strict=True)),
                        "requests": condition.scenario.requests,
                        "workloads": digest(condition, track.seeds),
                    }
                    for condition in conditions
                ],
            }
        )
    show_listing(
        "Tracks",
        listed,
        as_json,
        {
            "name": lambda t: t["name"],
            "conditions": lambda t: str(len(t["conditions"])),
            "seeds": lambda t: f"{t['seeds']['count']} from {t['seeds']['first']}",
            "description": lambda t: t["description"],
        },
    )


def features(as_json: AsJson = False) -> None:
    """List what an environment can show of the queue."""
    from dysta_gym.features import DEFAULT, TABLE

    listed = [
        {
            "name": name,
            "of": "queue" if feature.of_queue else "request",
            "low": float(feature.low),
            "high": float(feature.high),
            "shown_by_default": name in DEFAULT,
            "environment_only": feature.environment_only,
            "meaning": feature.meaning.replace("``", ""),
        }
        for name, feature in _found(TABLE.names(), TABLE.find)
    ]
    show_listing(
        "Features",
        listed,
        as_json,
        {
            "name": lambda f: f["name"],
            "of a": lambda f: f["of"],
            "least": lambda f: f"{f['low']:.4g}",
            "greatest": lambda f: f"{f['high']:.4g}",
            "default": lambda f: "yes" if f["shown_by_default"] else "",
            "policies": lambda f: "" if f["environment_only"] else "yes",
            "meaning": lambda f: f["meaning"],
        },
    )


def rewards(as_json: AsJson = False) -> None:
    """List what an environment can pay."""
    from dysta_gym.rewards import TABLE

    listed = [
        {"name": name, "meaning": reward.meaning.replace("``", "")}
        for name, reward in _found(TABLE.names(), TABLE.find)
    ]
    show_listing(
        "Rewards",
        listed,
        as_json,
        {"name": lambda r: r["name"], "return of an episode": lambda r: r["meaning"]},
    )


def _found(names: Iterable[str], find: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    """What there is of each name; where it is in another package and broken, a warning."""
    for name in names:
        try:
            row = find(name)
        except DystaError as error:  # the others are still there
            plugins.warn(str(error))
        else:
            yield name, row
