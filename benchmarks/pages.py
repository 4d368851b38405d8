"""Write what pages take from the code: ``make pages``.

    python -m benchmarks.pages

`docs/environment.md` is the environments' docstrings. A policy's page, `docs/policies/NAME.md`, has
between two marks its formula, its parameters and its rows of `docs/leaderboard.md`.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from benchmarks.readme import between
from dysta_gym.envs import SparseMultiDNNEnv, SparseMultiDNNVectorEnv
from dysta_gym.files import replacing
from dysta_gym.plugins import entries
from dysta_gym.policies import ENTRY_POINTS, Policy, find
from dysta_gym.tables import markdown

POLICIES = Path("docs/policies")
ENVIRONMENT = Path("docs/environment.md")
LEADERBOARD = Path("docs/leaderboard.md")
START, END = "<!-- rule: make pages -->\n", "<!-- /rule -->"

_PROMISES = "own.md#what-a-rule-promises"


def rules() -> list[Policy]:
    """The policies of this package that are no alias."""
    found = {
        name: find(name)
        for name, entry in entries(ENTRY_POINTS).items()
        if entry.module.startswith("dysta_gym.")
    }
    return [rule for name, rule in sorted(found.items()) if rule.name == name]


def environment() -> str:
    """The page of the environment."""
    alone = inspect.getdoc(SparseMultiDNNEnv) or ""
    many = inspect.getdoc(SparseMultiDNNVectorEnv) or ""
    before, versions = alone.split("## Version History")
    return _markdown(
        f"# SparseMultiDNN-v0\n\n{before.strip()}\n\n## Many at once\n\n{many.strip()}\n\n"
        f"## Version History{versions.rstrip()}\n\n"
        "`make pages` writes this page: the docstrings of `dysta_gym.envs.SparseMultiDNNEnv` and\n"
        "`SparseMultiDNNVectorEnv`.\n"
    )


def part(rule: Policy, board: str) -> str:
    """What a policy's page takes from the code and the leaderboard's page."""
    said = inspect.getdoc(rule.score) or f"{rule.summary[0].upper()}{rule.summary[1:]}."
    home = entries(ENTRY_POINTS)[rule.name].module.removeprefix("dysta_gym.").replace(".", "/")
    source = rule.source
    facts = [
        ["level", f"`{rule.level}` unless one asks"],
        ["asked", _asked(rule)],
        ["source", f"`{source}`" if source.startswith("dysta-gym ") else source],
        ["code", f"[`{home}.py`](../../{home}.py)"],
    ]
    parts = [
        "## The rule",
        _markdown(said),
        "Letters: [what a rule may know](index.md#what-a-rule-may-know).",
        markdown(["", ""], [fact for fact in facts if fact[1]], words=2),
    ]
    if rule.parameters:
        table = [
            [
                f"`{key}`",
                f"{each.default:g}",
                each.description,
            ]
            for key, each in rule.parameters.items()
        ]
        parts += ["## Parameters", markdown(["parameter", "default", "meaning"], table, words=3)]
    parts.append("## On the leaderboard")
    table = _rows(rule.name, board)
    if table:
        parts += [
            "Violations in per cent / ANTT over its lower bound, means over the conditions of each "
            "[track](../tracks.md):",
            table,
        ]
    else:
        parts.append("It is on none of its [tracks](../tracks.md).")
    return "\n\n".join(parts)


def _asked(rule: Policy) -> str:
    if rule.events:
        return (
            "only at events: when a request enters the queue, one finishes, or the one that runs "
            "turns out longer"
        )
    if rule.stable:
        return (
            f"before every layer; as it is [stable]({_PROMISES}), only of the requests that have "
            "changed"
        )
    if rule.drift:
        return (
            f"before every layer; as its [drift]({_PROMISES}) is bounded, only of the requests "
            "that may come first"
        )
    return "before every layer"


def _rows(name: str, board: str) -> str:
    """Head and rows of a policy in the leaderboard's first table, empty if it has none."""
    table = re.search(r"^\| policy \|.*?(?=\n\n)", board, re.M | re.S)
    head, line, *rows = table[0].splitlines() if table else ("", "")
    mine = [row for row in rows if row.startswith(f"| `{name}@")]
    return "\n".join([head, line, *mine]) if mine else ""


def _markdown(text: str) -> str:
    return re.sub("(?<!`)``(?!`)", "`", text)


def main() -> None:
    """Write all pages."""
    board = LEADERBOARD.read_text(encoding="utf-8")
    for rule in rules():
        between(POLICIES / f"{rule.name}.md", START, END, part(rule, board))
    with replacing(ENVIRONMENT) as scratch:
        scratch.write_text(environment(), encoding="utf-8")


if __name__ == "__main__":
    main()
