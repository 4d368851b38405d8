"""The command ``dysta-gym profile``: traces of the shipped networks, or of one's own."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dysta_gym.cli import terminal
from dysta_gym.errors import DystaError, shown
from dysta_gym.tables import Table
from dysta_gym.text import printable
from dysta_gym.traces import WHOLE

_LARGEST = 8192
"""Pixels of a picture's side."""

if TYPE_CHECKING:
    from dysta_gym.profiling.own_inputs import Inputs, Scaling
    from dysta_gym.traces import Trace


def profile(
    networks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NETWORK|MODEL.onnx]...", help="Networks [all], or one of your own."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the traces.")] = Path(
        "traces"
    ),
    cache: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder for packages and unfinished measurements."),
    ] = Path(".cache/profile"),
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="INTEGER|FILE.npz|FOLDER",
            help="Only so many inputs a network; for your own, its inputs: arrays by the names of "
            "the model's inputs, examples along the first axis, or a folder of npy files, npz "
            "files or pictures.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Measure finished traces again.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Your own: the accelerator, eyerissv2 or sanger [sanger if it has attention].",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Your own: its name [the file's].")
    ] = None,
    pattern: Annotated[
        str,
        typer.Option(metavar="NAME", help="Your own: how its weights are pruned in the file."),
    ] = "dense",
    max_length: Annotated[
        int | None,
        typer.Option(
            metavar="INTEGER", help="Your own: the most tokens of its task [of its inputs]."
        ),
    ] = None,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Your own, on sanger: have its scenario draw on the whole network, not on its "
            "attention alone.",
        ),
    ] = False,
    scale: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Pictures: multiplies values from 0 to 255 [1/255]."),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="Pictures: is subtracted after that [0]."),
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Pictures: is divided by in the end [1].")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="INTEGER|HxW", help="Pictures: their size [the model's]."),
    ] = None,
) -> None:
    """Measure a network of your own, or the shipped ones.

    A network of your own is an ONNX file, on inputs of your own.
    """
    from dysta_gym.profiling import NETWORKS, rebuild
    from dysta_gym.profiling.own_inputs import Scaling

    own = [each for each in networks or () if _is_file(each, NETWORKS)]
    if own:
        if len(own) != 1 or len(networks or ()) != 1:
            raise DystaError(f"networks: {', '.join(networks or ())} given; one model at a time")
        scaling = Scaling()
        if scale is not None:
            if not 0 < scale < float("inf"):
                raise DystaError(f"scale: {scale} is not allowed; expected a number above 0")
            scaling = replace(scaling, scale=scale)
        if mean is not None:
            scaling = replace(scaling, mean=_numbers("mean", mean))
        if std is not None:
            scaling = replace(scaling, deviation=_numbers("std", std))
        if size is not None:
            scaling = replace(scaling, size=_size(size))
        measured = _profile_own(
            Path(own[0]), inputs, scaling, out, force, model, name, pattern, max_length, whole
        )
        _tell(*measured)
        return
    for option, value in (
        *(("model", model), ("name", name), ("max-length", max_length), ("whole", whole or None)),
        *(("scale", scale), ("mean", mean), ("std", std), ("size", size)),
    ):
        if value is not None:
            raise DystaError(f"{option}: {shown(value)} is for a network of your own, an ONNX file")
    if inputs is not None and not inputs.lstrip("-").isdecimal():
        raise DystaError(
            f"inputs: {shown(inputs)} is not a number; files are for a network of your own, which "
            "is given as MODEL.onnx"
        )
    limit = None if inputs is None else int(inputs)
    for path in rebuild(networks or None, cache=cache, out=out, inputs=limit, force=force):
        print(printable(path))


def _is_file(network: str, shipped: Any) -> bool:
    if network in shipped:
        return False
    # A path's own `exists` fails where it is too long.
    return network.endswith(".onnx") or os.path.exists(network)  # noqa: PTH110


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(each) for each in text.split(","))
    except ValueError:
        values = ()
    least = 0 if option == "std" else float("-inf")
    if not values or not all(least < each < float("inf") for each in values):
        above = " above 0" if option == "std" else ""
        raise DystaError(
            f"{option}: {shown(text)} is not allowed; expected numbers{above}, like 0.5,0.5,0.5"
        )
    return values


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(
        each.isdecimal() and len(each) < 9 and 0 < int(each) <= _LARGEST for each in parts
    ):
        raise DystaError(
            f"size: {shown(text)} is not allowed; expected a number, 1 to {_LARGEST}, or HxW like "
            "224x320"
        )
    return int(parts[0]), int(parts[-1])


def _profile_own(
    path: Path,
    inputs: str | None,
    scaling: Scaling,
    out: Path,
    force: bool,
    accelerator: str | None,
    name: str | None,
    pattern: str,
    max_length: int | None,
    whole: bool,
) -> tuple[Path, Trace, Path, bool, list[str]]:
    """Measure the network in an ONNX file.

    Returns the trace and its file, its scenario's file and whether that was there and is left, and
    the operators that are not charged.
    """
    from dysta_gym.errors import one_of
    from dysta_gym.extras import extra
    from dysta_gym.files import check_folder
    from dysta_gym.profiling import networks
    from dysta_gym.profiling.own_inputs import read_inputs
    from dysta_gym.traces import ACCELERATORS

    name = path.stem if name is None else name
    networks.check_names(name, pattern)
    if accelerator not in (None, *ACCELERATORS):
        raise one_of("model", accelerator, ACCELERATORS)
    if not inputs:
        raise DystaError("inputs: none are given; expected --inputs FILE.npz, or a folder")
    check_folder(out)
    file = out / f"{networks.trace_name(name, pattern)}.npz"
    if file.exists() and not force:
        raise DystaError(
            f"out: {str(file)!r} is there already; give another --name, or --force to replace it"
        )
    with extra("profile", f"measuring {path.name}"):
        from dysta_gym.profiling.onnx_runs import Graph

    graph = Graph(path)
    found = read_inputs(Path(inputs), graph.inputs, scaling)
    accelerator = accelerator or ("sanger" if graph.attentions else "eyerissv2")
    entry = file.stem + WHOLE * whole
    scenario = file.with_name(f"{entry}.yaml")
    left = scenario.exists() and not force
    if left:
        _check_scenario(scenario, entry, accelerator)
    trace = terminal.with_progress(
        f"{name} on {accelerator}",
        lambda progress: networks.profile_network(
            graph,
            found.arrays,
            accelerator=accelerator,
            name=name,
            pattern=pattern,
            max_length=max_length,
            input_name=found.names,
            provenance=_provenance(path, graph.sha256, found, inputs),
            progress=progress,
        ),
    )
    if whole and "shapes" not in trace.provenance:
        raise DystaError(
            f"whole: {path.name} is not made of blocks that are alike, each an attention with four "
            "projections and a feed-forward half; leave --whole out"
        )
    trace.save(file)
    if not left:
        _write_scenario(scenario, entry, accelerator)
    return file, trace, scenario, left, graph.uncharged(accelerator)


def _tell(file: Path, trace: Trace, scenario: Path, left: bool, uncharged: list[str]) -> None:
    """Say what was measured, what of it is charged, and what to do with it."""
    rows = [*_told(trace), ["not charged", ", ".join(uncharged) or "nothing"]]
    if "shapes" in trace.provenance:
        rows.append(["whole network", f"{trace.name}{WHOLE}, feed-forward halves and head, too"])
    title = f"{trace.provenance['network']} on {trace.accelerator}"
    terminal.show(Table(title, ["", "measured"], rows))
    if left:
        told = f"Written to {file}; {scenario} for it was there, and is left as it is."
    else:
        told = f"Written to {file}, and {scenario} for it."
    print(printable(f"{told} It is in a table with"))
    print(printable(f"  dysta-gym compare --scenario {shlex.quote(str(scenario))}"))


def _provenance(path: Path, sha256: str, found: Inputs, inputs: str) -> dict[str, Any]:
    import importlib.metadata

    return {
        "network": path.name,
        "sha256": sha256,
        "inputs": f"{len(found.names)} of {Path(inputs).name}",
        "settings": {
            package: importlib.metadata.version(package)
            for package in ("numpy", "onnx", "onnxruntime")
        },
    }


def _check_scenario(path: Path, name: str, accelerator: str) -> None:
    """See that a scenario that is there is one of a trace, on its accelerator."""
    from dysta_gym.configs import content_of

    found: Mapping[str, Any] = {}
    with contextlib.suppress(DystaError):
        found, _, _ = content_of(path, "scenario", {})
    on = found.get("accelerator")
    on = on.get("model") if isinstance(on, dict) else on
    traces = found.get("traces")
    if not isinstance(traces, dict) or name not in traces:
        fault = f"has no trace {name}"
    elif on != accelerator:
        fault = f"is for {shown(on)}, not {accelerator}"
    elif (path.parent / str(found.get("trace_dir"))).resolve() != path.parent.resolve():
        fault = f"takes traces from {shown(found.get('trace_dir'))}, not from its own folder"
    else:
        return
    raise DystaError(
        f"out: {str(path)!r} is there already and {fault}; give another --name, or --force to "
        "replace it"
    )


def _write_scenario(path: Path, name: str, accelerator: str) -> None:
    """A scenario of a trace alone, beside its file."""
    import yaml

    from dysta_gym.files import write_text

    content = {
        "name": name,
        "description": f"{name} alone",
        "accelerator": accelerator,
        "trace_dir": ".",
        "traces": {name: 1},
        "load": 0.9,
    }
    write_text(path, yaml.safe_dump(content, sort_keys=False))


def _told(trace: Trace) -> list[list[str]]:
    """What was measured, row by row."""
    inputs, layers = trace.latency_s.shape
    learn = int(trace.train.sum())
    isolated = trace.isolated_s
    sparsity = 100 * trace.sparsity
    rows = [
        ["layers", f"{layers}"],
        ["inputs", f"{inputs}: {learn} train, {inputs - learn} test"],
        ["isolated latency", f"{1e3 * isolated.mean():.4g} ms"],
        ["spread", f"{100 * isolated.std() / isolated.mean():.2f} %, standard deviation over mean"],
        [
            "sparsity",
            f"{sparsity.mean():.1f} % (layers {sparsity.mean(axis=0).min():.1f} to "
            f"{sparsity.mean(axis=0).max():.1f}; inputs {sparsity.mean(axis=1).min():.1f} to "
            f"{sparsity.mean(axis=1).max():.1f})",
        ],
    ]
    if "weight_sparsity" in trace.provenance["settings"]:
        share = 100 * trace.provenance["settings"]["weight_sparsity"]
        rows.append(["sparsity of the weights", f"{share:.1f} %"])
    if trace.length is not None:
        rows.append(["tokens", f"{trace.length.min()} to {trace.length.max()}"])
    return rows
