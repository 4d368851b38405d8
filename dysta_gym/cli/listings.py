"""Commands that list what is there: ``traces``, ``policies``, ``features`` and the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dysta_gym import plugins
from dysta_gym.cli.terminal import AsJson, Verbose, show_json, show_listing
from dysta_gym.errors import DystaError


def traces(verbose: Verbose = False, as_json: AsJson = False) -> None:
    """List the installed networks and their traces.

    A line a network; with --verbose one a trace, with its spread and sparsity.
    """
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
    if as_json:
        show_json(listed)
        return
    networks: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in listed:
        networks.setdefault((each["model"], each["accelerator"]), []).append(each)
    show_listing(
        "Networks",
        [sorted(each, key=lambda trace: trace["pattern"] != "dense") for each in networks.values()],
        {
            "network": lambda n: n[0]["model"],
            "runs on": lambda n: n[0]["accelerator"],
            "layers": lambda n: _span(trace["layers"] for trace in n),
            "inputs": lambda n: _span(trace["inputs"] for trace in n),
            "alone (ms)": lambda n: _span(1e3 * trace["mean_isolated_s"] for trace in n),
            "patterns": lambda n: ", ".join(trace["pattern"] for trace in n),
        },
        lambda n: {
            "network": str(n[0]["provenance"].get("network", "")),
            "inputs": str(n[0]["provenance"].get("inputs", "")),
            "runs on": n[0]["accelerator"],
            "layers": _span(trace["layers"] for trace in n),
            **{
                trace["pattern"]: f"{trace['name']}: {1e3 * trace['mean_isolated_s']:.3f} ms alone "
                f"on {trace['inputs']} inputs, spread {trace['isolated_spread']:.1%}, "
                f"sparsity {trace['mean_sparsity']:.3f}"
                for trace in n
            },
        },
        verbose=verbose,
    )


def _span(values: Iterable[float]) -> str:
    """Three digits of the least and of the greatest, or one number."""
    found = [*values]
    ends = dict.fromkeys(
        f"{value:.3g}" if value < 1000 else f"{value:.0f}" for value in (min(found), max(found))
    )
    return "-".join(ends)


def accelerators(verbose: Verbose = False, as_json: AsJson = False) -> None:
    """List the models of accelerators and their parameters.

    With --verbose also what the published chip reaches, and the source.
    """
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
        {
            "name": lambda a: a["name"],
            "charges": lambda a: ", ".join(a["kinds"]),
            "peak": _peak,
            "parameters": lambda a: ", ".join(_written(a)),
        },
        lambda a: {
            "is": a["summary"],
            "charges": ", ".join(a["kinds"]),
            "peak": _peak(a),
            "published chip": a["published"],
            "source": a["source"],
            **_written(a),
        },
        verbose=verbose,
        as_json=as_json,
    )


def _peak(accelerator: Mapping[str, Any]) -> str:
    peak = accelerator["peak_macs_per_s"]
    return "" if peak is None else f"{peak:.3g} MAC/s"


def _written(item: Mapping[str, Any]) -> dict[str, str]:
    """What each parameter means, by its name and default."""
    return {
        f"{key}={'off' if value['default'] is None else format(value['default'], 'g')}": value[
            "description"
        ]
        for key, value in item["parameters"].items()
    }


def policies(verbose: Verbose = False, as_json: AsJson = False) -> None:
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

    def first(policy: Mapping[str, Any]) -> str:
        alias = policy["alias_of"]
        return f"alias of {alias}" if alias else policy["summary"]

    show_listing(
        "Policies",
        listed,
        {
            "name": lambda p: p["name"],
            "level": lambda p: p["level"],
            "runs first (parameters)": lambda p: (
                first(p) + (f" ({', '.join(_written(p))})" if p["parameters"] else "")
            ),
        },
        lambda p: {
            "level": p["level"],
            "runs first": first(p),
            "source": p["source"],
            **_written(p),
        },
        verbose=verbose,
        as_json=as_json,
    )


def scenarios(verbose: Verbose = False, as_json: AsJson = False) -> None:
    """List the installed scenarios."""
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
    columns: dict[str, Callable[[Any], str]] = {
        "name": lambda s: s["name"],
        "runs on": lambda s: str(s["accelerator"]),
        "arrivals": lambda s: s["arrivals"]["process"],
        "load": lambda s: f"{s['offered_load']:.2f}",
        "req./s": lambda s: f"{s['offered_rate']:.4g}",
        "SLO x": lambda s: f"{s['slo_multiplier']:g}",
        "networks": lambda s: ", ".join(s["models"]),
    }
    show_listing(
        "Scenarios",
        listed,
        columns,
        lambda s: {
            **{name: shown(s) for name, shown in columns.items() if name != "name"},
            "speed": f"{s['speed']:g} x",
            "queue limit": str(s["queue_limit"] or "none"),
            "description": s["description"],
            "sources": "; ".join(s["sources"]),
        },
        verbose=verbose,
        as_json=as_json,
    )


def tracks(verbose: Verbose = False, as_json: AsJson = False) -> None:
    """List the tracks: conditions schedulers are judged under."""
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

    def scenarios_of(track: Mapping[str, Any]) -> str:
        return ", ".join(dict.fromkeys(each["scenario"] for each in track["conditions"]))

    columns: dict[str, Callable[[Any], str]] = {
        "name": lambda t: t["name"],
        "conditions": lambda t: str(len(t["conditions"])),
        "seeds": lambda t: f"{t['seeds']['count']} from {t['seeds']['first']}",
        "scenarios": scenarios_of,
    }
    show_listing(
        "Tracks",
        listed,
        columns,
        lambda t: {
            **{name: shown(t) for name, shown in columns.items() if name != "name"},
            "inputs": t["split"],
            "description": t["description"],
        },
        verbose=verbose,
        as_json=as_json,
    )


def features(verbose: Verbose = False, as_json: AsJson = False) -> None:
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
            "planned": feature.planned,
            "meaning": feature.meaning.replace("``", ""),
        }
        for name, feature in _found(TABLE.names(), TABLE.find)
    ]
    columns: dict[str, Callable[[Any], str]] = {
        "name": lambda f: f["name"],
        "of a": lambda f: f["of"],
        "range": lambda f: f"{f['low']:.4g} to {f['high']:.4g}",
        "default": lambda f: "yes" if f["shown_by_default"] else "",
        "policies": lambda f: "" if f["environment_only"] else "yes",
        "meaning": lambda f: f["meaning"],
    }
    show_listing(
        "Features",
        listed,
        columns,
        lambda f: {
            "of a": f["of"],
            "range": columns["range"](f),
            "default": "yes" if f["shown_by_default"] else "no",
            "policies": "no" if f["environment_only"] else "yes",
            "planned": "yes" if f["planned"] else "no",
            "meaning": f["meaning"],
        },
        verbose=verbose,
        as_json=as_json,
        room=28,
    )


def rewards(verbose: Verbose = False, as_json: AsJson = False) -> None:
    """List what an environment can pay."""
    from dysta_gym.rewards import TABLE

    listed = [
        {"name": name, "meaning": reward.meaning.replace("``", "")}
        for name, reward in _found(TABLE.names(), TABLE.find)
    ]
    columns: dict[str, Callable[[Any], str]] = {
        "name": lambda r: r["name"],
        "return of an episode": lambda r: r["meaning"],
    }
    show_listing(
        "Rewards",
        listed,
        columns,
        lambda r: {"return of an episode": r["meaning"]},
        verbose=verbose,
        as_json=as_json,
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
