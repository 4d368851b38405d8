"""The paper's own values, as far as a public text gives them, and the settings behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dysta_gym.reproduction.claims import Claim
from dysta_gym.reproduction.context import Result
from dysta_gym.reproduction.formats import fixed, points

UNKNOWN = "not in a public text that we found"

_BOTH = "{} samples/s on Sanger, {} on Eyeriss v2, {}; 1000 requests"

SETTINGS: Mapping[str, tuple[str, str]] = {
    "figure2": ("Figure 2", "BERT on SQuAD, cut at 384 tokens, on Sanger"),
    "figure3": ("Figure 3, Table 2", "ResNet and VGG, data sets with and without low light"),
    "figure4": ("Figure 4", "ResNet and MobileNet v1, pruned by SparseML"),
    "figure9": (
        "Figure 9, Table 4",
        "BERT on SQuAD, GPT-2 on GLUE; last, last 3, all layers, linear regression",
    ),
    "figure12": ("Figure 12", _BOTH.format("30 and 40", "3 and 4", "SLO x 10")),
    "figure13": ("Figure 13", _BOTH.format("30", "3", "SLO x 10")),
    "table5": (
        "Table 5, Figure 14",
        _BOTH.format("30 and 40", "3 and 4", "SLO x 10, 25, 50, 75, 100 and 150"),
    ),
    "figure15": ("Figure 15", _BOTH.format("10 to 40", "2 to 6", "SLO x 10")),
}
"""What the artifact's scripts run for each figure and table, by the name of ours."""

QUOTED = {
    "violations": "up to 10% decrease in latency constraint violation rate",
    "turnaround": "nearly 4X reduction in average normalized turnaround time",
}
"""What the abstract says, by the name of the claim."""


def published(claims: Sequence[Claim], made: Mapping[str, Result]) -> list[list[str]]:
    """Rows of a table: what, the paper's value, the artifact's settings, and where ours is."""
    rows = []
    for claim in claims:
        if claim.name in QUOTED:
            shown, unit = (points, "points") if claim.name == "violations" else (fixed, "times")
            best, one = (claim.numbers[name] for name in ("ahead_of_rivals", "ahead_of_one"))
            here = f"{shown(best[0])} {unit} against the best, {shown(one[0])} against {one[1]}"
            rows.append(["abstract", f'"{QUOTED[claim.name]}"', "", here])
    for name, (what, settings) in SETTINGS.items():
        if name in made:
            first = what.split(",")[0]
            link = first.lower().replace(" ", "-")
            rows.append([what, UNKNOWN, settings, f"[{first}](#{link})"])
    rows.append(
        ["Figure 16, Table 6", UNKNOWN, "Vivado", "[not reproduced](#figure-16-and-table-6)"]
    )
    return rows
