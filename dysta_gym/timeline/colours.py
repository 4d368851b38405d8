"""One colour and one letter a network."""

from __future__ import annotations

import string

NETWORKS = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#332288", "#999933"),
    *("#44AA99", "#8C564B"),
)
"""Colours of networks, in the order of a store's models: Okabe and Ito's and some of Tol's, which
colour-blind readers tell apart, without the reds."""

LATE = "#C8102E"
"""The colour of what is late, and of nothing else."""

LETTERS = string.ascii_uppercase + string.ascii_lowercase


def colour_of(model: int) -> str:
    """Colour of the network of this index in its store, as ``#RRGGBB``."""
    return NETWORKS[model % len(NETWORKS)]


def letter_of(model: int) -> str:
    """Letter of the network of this index in its store."""
    return LETTERS[model % len(LETTERS)]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of ``#RRGGBB``."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def ink_on(colour: str) -> str:
    """Black or white, whichever is read better on a colour."""
    red, green, blue = rgb(colour)
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#FFFFFF"
