"""Tables as CSV, each with a companion file that says what it was made with and of.

The companion of ``results.csv`` is ``results.csv-metadata.json``, where the W3C's *Metadata
Vocabulary for Tabular Data* (CSVW) has readers of the table look for it: one a table, so that what
several commands write into one folder stays apart. What is said is in the terms of Dublin Core,
PROV and schema.org, whose prefixes the vocabulary knows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from dysta_gym.files import is_ordinary, replacing, write_text
from dysta_gym.provenance import KEY, file_digest

SUFFIX = "-metadata.json"
"""What follows the name of a CSV in that of its companion."""


def write_csv(frame: pd.DataFrame, path: str | Path, *, command: str | None = None) -> None:
    """Write a table, and its companion where the table is a file.

    Args:
        frame: The table, with its `dysta_gym.provenance.provenance` in ``attrs``.
        path: The file; what is no regular file, such as ``/dev/stdout``, has no companion.
        command: The command that made it.

    Raises:
        DystaError: If they cannot be written.
    """
    write_parts([frame], path, frame.attrs[KEY], command=command)


def write_parts(
    parts: Iterable[pd.DataFrame],
    path: str | Path,
    origin: Mapping[str, Any],
    *,
    command: str | None = None,
) -> None:
    """Write a table that comes in parts, and its companion, as `write_csv` does.

    Args:
        parts: The table, part after part, with the same columns.
        path: As of `write_csv`.
        origin: What all of it was made with and of.
        command: As of `write_csv`.

    Raises:
        DystaError: If they cannot be written.
    """
    path = Path(path)
    with replacing(path) as scratch:
        with scratch.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            for at, part in enumerate(parts):
                part.to_csv(stream, index=False, header=at == 0, lineterminator="\n")
        digest = file_digest(scratch)
    if is_ordinary(path):
        told = _companion(path.name, digest, origin, command)
        write_text(path.with_name(path.name + SUFFIX), json.dumps(told, indent=2) + "\n")


def origin_of(path: Path) -> dict[str, Any]:
    """What a table was made with and of, as `dysta_gym.provenance.provenance` has it."""
    told = json.loads(path.with_name(path.name + SUFFIX).read_text(encoding="utf-8"))
    activity = told["prov:wasGeneratedBy"]
    software = {
        each["schema:name"]: each["schema:softwareVersion"]
        for each in activity["prov:wasAssociatedWith"]
    }
    used: dict[str, dict[str, str]] = {}
    for each in activity["prov:used"]:
        digests = used.setdefault(each["schema:additionalType"], {})
        digests[each["schema:name"]] = each[_digested(each["schema:additionalType"])]
    version = software.pop("dysta-gym")
    return {"version": version, "date": told["dc:created"]["@value"], "packages": software, **used}


def _digested(what: str) -> str:
    """The term for what says whether something of a kind is the same."""
    return "schema:identifier" if what == "policies" else "schema:sha256"


def _companion(
    name: str, digest: str, origin: Mapping[str, Any], command: str | None
) -> dict[str, Any]:
    """What is told of a table of this name."""
    software = {"dysta-gym": origin["version"], **origin["packages"]}
    used = {what: origin[what] for what in origin if what not in ("version", "date", "packages")}
    activity: dict[str, Any] = {"@type": "prov:Activity"}
    if command is not None:
        activity["schema:description"] = command
    activity["prov:wasAssociatedWith"] = [
        {"@type": "prov:SoftwareAgent", "schema:name": each, "schema:softwareVersion": version}
        for each, version in software.items()
    ]
    activity["prov:used"] = [
        {"schema:additionalType": what, "schema:name": each, _digested(what): digest}
        for what, digests in used.items()
        for each, digest in digests.items()
    ]
    return {
        "@context": "http://www.w3.org/ns/csvw",
        "url": quote(os.fsencode(name)),
        "schema:sha256": digest,
        "dc:created": {"@value": origin["date"], "@type": "xsd:dateTime"},
        "prov:wasGeneratedBy": activity,
    }
