"""One page for a browser that says all of a comparison, and loads nothing from anywhere.

`write` makes it of what `dysta_gym.comparison.run` returns and of what `Spreads` saw meanwhile.
What is computed stands in `charts` and `breakdown`, the page in ``templates``; without JavaScript
it lacks nothing but sorting and quick tooltips.
"""

from __future__ import annotations

from dysta_gym.report.page import write
from dysta_gym.report.spreads import Spreads

__all__ = ["Spreads", "write"]
