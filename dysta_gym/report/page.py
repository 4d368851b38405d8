"""The page itself: its template, filled in and written."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

import dysta_gym
from dysta_gym.comparison import CELL
from dysta_gym.errors import DystaError
from dysta_gym.files import write_text
from dysta_gym.policies import find
from dysta_gym.provenance import versions
from dysta_gym.report import charts
from dysta_gym.report.breakdown import breakdowns
from dysta_gym.tables import MARK, Table
from dysta_gym.text import printable


def write(
    path: str | Path,
    results: pd.DataFrame,
    tables: Sequence[Table],
    caption: str,
    spreads: pd.DataFrame,
    *,
    reference: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: The file.
        results: What `dysta_gym.comparison.run` returns.
        tables: The tables of these results, a condition each, and perhaps one over all.
        caption: What is to be read below them.
        spreads: What `Spreads.table` returns of the same run.
        reference: Policies that pictures show in any case.
        settings: What was asked for, by its name.

    Raises:
        DystaError: If it cannot be written.
    """
    templates = Environment(
        loader=PackageLoader("dysta_gym.report"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["printable"] = printable
    names = list(dict.fromkeys(results["policy"]))
    looks, colours = charts.looks(names)
    script = _source(templates, "report.js")
    page = templates.get_template("report.html.j2").render(
        style=_source(templates, "report.css"),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        names=names,
        conditions=results.groupby(CELL).ngroups,
        seeds=results["seed"].nunique(),
        looks=looks,
        colours=colours,
        tables=[_table(table) for table in tables],
        caption=caption.replace("\n", " "),
        panels=charts.trade_off(results, reference),
        frame=charts,
        bounded="antt_lower_bound" in results,
        spreads=charts.spreads(spreads, results),
        breakdowns=breakdowns(results, spreads),
        settings=settings or {},
        versions={"dysta-gym": dysta_gym.__version__, **versions()},
        policies=[_policy(name) for name in names],
    )
    write_text(path, page)


def _source(templates: Environment, name: str) -> str:
    assert templates.loader
    return templates.loader.get_source(templates, name)[0].strip() + "\n"


def _table(table: Table) -> dict[str, Any]:
    """A table, its cells taken apart; what belongs to no policy stands below all others."""
    rows = [{"policy": row[0], "cells": list(map(_cell, row[1:]))} for row in table.rows]
    below = [row for row in rows if row["policy"] in ("(in hindsight)", "(lower bound)")]
    return {
        "title": printable(table.title),
        "head": table.head,
        "rows": [row for row in rows if row not in below],
        "below": below,
    }


def _cell(text: str) -> dict[str, Any]:
    value, space, interval = text.partition(" [")
    return {
        "value": value.removesuffix(MARK),
        "best": value.endswith(MARK),
        "interval": f"[{interval}" if space else "",
    }


def _policy(name: str) -> dict[str, str]:
    """What is known of a policy: one that was given as an object has but its name."""
    try:
        policy = find(name)
    except DystaError:
        return {"name": name, "spec": "", "summary": ""}
    return {"name": name, "spec": policy.spec, "summary": policy.summary}
