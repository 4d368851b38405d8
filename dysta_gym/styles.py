"""How policies look in pictures: a colour for each rule, a shape for each level of information."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, cycle
from typing import Any, Literal, NamedTuple

from dysta_gym.errors import DystaError
from dysta_gym.information import ALL_LEVELS
from dysta_gym.policies import find
from dysta_gym.policies import split as parts_of

COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#000000", "#56B4E9",
    "#003300", "#330099", "#991144", "#BB00FF", "#0000FF", "#330044", "#006600", "#00DD99",
    "#CC1188", "#FF77FF", "#7711BB", "#005577", "#0088FF", "#FF99AA", "#660011", "#00BB00",
    "#776655", "#CC0000", "#223355", "#008800", "#99AA88", "#770077", "#FF22DD", "#9966CC",
    "#FF0066",
)  # fmt: skip
"""Okabe and Ito's without the yellow, which is faint on white, and what goes on from there: each
the one of 4096 that is furthest from those before it, as normal, deuteranopic and protanopic
readers see them (Oklab; Machado, Oliveira and Fernandes, IEEE TVCG 15, 2009)."""


class RuleStyle(NamedTuple):
    """How a rule is drawn: no two of them share the colour in one picture."""

    colour: str
    marker: str
    fill: Literal["full", "hollow", "half"]

    def face(self) -> dict[str, Any]:
        """What fills the marker, as properties of a `Line2D`."""
        return {
            "markerfacecolor": "white" if self.fill == "hollow" else self.colour,
            "markerfacecoloralt": "white",
            "fillstyle": "left" if self.fill == "half" else "full",
        }


_MARKERS: tuple[tuple[Literal["full", "hollow", "half"], str], ...] = (
    ("full", "osDPv^X"), ("hollow", "p<h8>*d"), ("half", "osDPv^X"),
)  # fmt: skip
_FACES = [(marker, fill) for fill, markers in _MARKERS for marker in markers]

_SHIPPED = (
    "fcfs", "sjf", "prema", "planaria", "sdrm3", "dysta", "dysta-tuned",
    "sptp", "edf", "ppo", "evolved", "moore-hodgson", "dysta-fp16", "gittins",
    "dqn", "slack-index", "llf", "round_robin", "random", "dysta-cycles", "dysta-rtl",
    "edf-triage", "moore-hodgson-tuned", "slack-pull", "pareto",
)  # fmt: skip


def _styles() -> Iterator[RuleStyle]:
    """Styles without end, no two of one colour."""
    for colour, (marker, fill) in zip(_colours(), cycle(_FACES), strict=False):
        yield RuleStyle(colour, marker, fill)


def _colours() -> Iterator[str]:
    """`COLOURS`, and others for as long as somebody asks: hues that keep far from the last ones."""
    seen = set(COLOURS)
    yield from COLOURS
    for at in count():
        hue = at * 0.618033988749895 % 1  # the golden ratio's
        parts = colorsys.hls_to_rgb(hue, 0.25 + 0.4 * (at * 0.7548776662 % 1), 0.9 - at % 3 * 0.2)
        colour = "#" + "".join(f"{round(255 * part):02X}" for part in parts)
        if colour not in seen:
            seen.add(colour)
            yield colour


_RULE_STYLES = dict(zip(_SHIPPED, _styles(), strict=False))


def rule_styles(names: Sequence[str]) -> dict[str, RuleStyle]:
    """How the rules of the policies ``names`` are drawn, each rule of the package alike everywhere.

    Others, in their order, get what no rule of the package has.
    """
    rules = dict.fromkeys(rule for rule, _ in rules_and_levels(names).values())
    taken = set(_RULE_STYLES.values())
    spare = (style for style in _styles() if style not in taken)
    return {rule: _RULE_STYLES[rule] if rule in _RULE_STYLES else next(spare) for rule in rules}


def rules_and_levels(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """What each policy's name says of its rule, with its settings, and of its level.

    A level's option is left out where it is the rule's own, or where there is no telling and none
    needed: ``evolved`` is ``("evolved", "sized")``, and ``sjf@sized/kalman`` is
    ``("sjf/kalman", "sized")``.
    """
    read = {name: _read(name) for name in names}
    parts = {name: (rule, level) for name, (rule, level, _, _) in read.items()}
    shared = [part for part in parts.values() if list(parts.values()).count(part) > 1]
    for name, (rule, level, option, own) in read.items():
        if own and option != own and (parts[name] in shared or option):
            parts[name] = f"{rule}@{level}" + (f"/{option}" if option else ""), level
        elif option and not own and (own is not None or parts[name] in shared):
            parts[name] = f"{rule}/{option}", level
    return parts


def _read(name: str) -> tuple[str, str, str, str | None]:
    """Rule with its settings, level, the level's option, and that of the rule's own level."""
    own = None
    spec = name
    try:
        spec = find(name).spec
        own = find(parts_of(spec)[0]).level.partition("/")[2]
    except DystaError:  # a policy of one's own, which was compared as an object
        pass
    for full in ALL_LEVELS:
        rule, at, settings = spec.rpartition(f"@{full}")
        if at and settings[:1] in ("", ":"):
            level, _, option = full.partition("/")
            return rule + settings, level, option, own
    return spec, "static", "", own
