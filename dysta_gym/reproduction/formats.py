"""Numbers and tables as the page writes them: the filters and the table of its templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dysta_gym.reproduction.context import METRICS
from dysta_gym.text import for_markdown

METRIC_NAMES: Mapping[str, str] = dict(zip(METRICS, ("violations", "ANTT"), strict=True))


def fixed(value: float, digits: int = 2, sign: str = "") -> str:
    """With so many digits after the point; ``sign`` is ``+`` to show one always."""
    return f"{value:{sign}.{digits}f}"


def significant(value: float, digits: int = 6) -> str:
    """With so many significant digits, less the zeros at their end."""
    return f"{value:.{digits}g}"


def signed(value: float, digits: int = 1) -> str:
    """With its sign, or 0 without one."""
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else "0"


def percent(share: float, digits: int = 1) -> str:
    """A share in percent."""
    return f"{100 * share:.{digits}f} %"


def points(share: float, digits: int = 1) -> str:
    """A share in percentage points, whose unit the sentence names."""
    return f"{100 * share:.{digits}f}"


def signed_points(share: float, digits: int = 1) -> str:
    """A change of a share in percentage points, as `signed`."""
    return signed(100 * share, digits)


def change(ratio: float) -> str:
    """A ratio as the change in percent that it is."""
    return f"{signed(100 * (ratio - 1))} %"


def pair(at: Mapping[str, float]) -> str:
    """Violations and ANTT."""
    return f"{percent(at['violation_rate'])}, {fixed(at['antt'])}"


def of_metric(metric: str, value: float) -> str:
    """A value of one of `METRICS`."""
    return percent(value) if metric == "violation_rate" else fixed(value)


def time(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if scale * seconds >= 1:
            return f"{scale * seconds:.3g} {unit}"
    return f"{1e6 * seconds:.3g} us"


def escaped(text: object) -> str:
    """A name that others chose, say of a network, as Markdown that shows it as it is."""
    return for_markdown(text)


def workload(where: str) -> str:
    """A condition as findings call it (`scheduling.condition_key`), its scenario as code."""
    scenario, _, rest = where.partition(", ")
    return f"`{scenario}`, {rest}"


def within(where: str) -> str:
    """A condition without its scenario, which the sentence names."""
    return where.partition(", ")[2]


def verdict(holds: bool) -> str:
    """Whether a claim holds, under one way to read it."""
    return "holds" if holds else "does not hold"


def enumerated(names: Sequence[str]) -> str:
    """The names with commas, and the last with an *and*."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def unwrapped(text: str) -> str:
    """Markdown with each paragraph, list item and row of a table on a line of its own.

    Templates are wrapped and indented to be read; one empty line is left between paragraphs.
    """
    lines = [""]
    for line in map(str.strip, text.split("\n")):
        if line and lines[-1] and not line.startswith(("- ", "| ")):
            lines[-1] += f" {line}"
        elif line or lines[-1]:
            lines.append(line)
    return "\n".join(lines).strip()


FILTERS = (
    fixed, significant, signed, percent, points, signed_points, change, pair, time, workload,
    escaped, within, verdict, enumerated,
)  # fmt: skip
"""What templates may apply to a number or a name."""
