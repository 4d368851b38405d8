"""Formulas of the published accelerators: from the counts of a layer to its latency."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dysta_gym.errors import DystaError

# Sanger, a sparse attention accelerator (Lu et al., MICRO'21): an array of 64 x 64 positions, fed
# with 64-wide tiles, of which 16 in each row have a multiplier.
SANGER_TILE = 64
SANGER_MULTIPLIERS = 16
SANGER_CLOCK_HZ = 1e9
SANGER_OPERATIONS_PER_CYCLE = SANGER_TILE * SANGER_MULTIPLIERS * 2  # a multiply and an add each


Length = TypeVar("Length", int, NDArray[np.int64], NDArray[np.float64])


def sanger_padded_length(length: Length) -> Length:
    """``length`` in tokens, one or an array of them, rounded up to whole tiles of Sanger."""
    return -(-length // SANGER_TILE) * SANGER_TILE


def sanger_layer_latency_s(
    density: ArrayLike,
    load_balance: ArrayLike,
    length: ArrayLike,
    width: float = 768,
    key_length: ArrayLike | None = None,
    *,
    key_value_width: float | None = None,
    clock_hz: float = SANGER_CLOCK_HZ,
) -> NDArray[np.float64]:
    """Latency in seconds of one attention layer on Sanger; the arguments broadcast.

    `density` is the share of attention scores that are kept, `load_balance` the share of busy
    multipliers when the kept scores of every 64-wide vector are packed into sub-rows of 16,
    `length` the sequence length in tokens and `width` the network's hidden size. In cross attention
    `length` is that of the queries and `key_length` that of the keys and values; by default, in
    self-attention, they are the same. `key_value_width` is that of all keys of a token, and of all
    its values: less than `width` where several query heads share a head of keys and values (grouped
    queries).

    The layer is the projections to query, key and value, the kept scores and their product with the
    values, and the output projection. Density and load balance enter only through their ratio: with
    both as `dysta_gym.profiling.attention` measures them, `subrows` is the number of sub-rows in
    one 64-wide column of tiles.

    Source: `calc_sanger_latency` in `bench_sanger_v2.py` of Sanger's artifact, which the artifact
    of Sparse-DySta (MICRO'23) takes over as `bench_sanger_v3.py`. Its memory term is left out,
    because the bandwidth it asks for is always there.

    The source knows equal lengths only. `key_length` is an extension of ours, by what each term
    works on: queries and outputs are projected for `length` tokens, keys and values for
    `key_length`, once; a column of tiles has the sub-rows of `length` queries, and there are
    `key_length / 64` columns. Equal lengths give exactly what the source gives. Nor does it know
    grouped queries, of which only the projections to keys and values have less to do.
    """
    density = np.asarray(density, np.float64)
    load_balance = np.asarray(load_balance, np.float64)
    length = np.asarray(length, np.float64)
    key_length = length if key_length is None else np.asarray(key_length, np.float64)
    projected = key_length * (1.0 if key_value_width is None else key_value_width / width)
    rate = clock_hz * SANGER_OPERATIONS_PER_CYCLE
    subrow_share = SANGER_MULTIPLIERS / SANGER_TILE

    subrows = density / load_balance / subrow_share * length
    linear_s = (length + 2 * projected) * width * width * 2 / rate
    project_s = length * width * width * 2 / rate * density / load_balance
    # One 64 x 64 tile of scores, then its product with the values; the tile's own width is the
    # skew with which operands enter the array.
    tile_cycles = (width + SANGER_TILE) + (subrows + SANGER_TILE)
    scores_s = (subrows / SANGER_TILE) * tile_cycles * (key_length / SANGER_TILE) / clock_hz
    return np.asarray(linear_s + scores_s + project_s, np.float64)


def sanger_dense_latency_s(
    rows: ArrayLike, weights: ArrayLike, *, clock_hz: float = SANGER_CLOCK_HZ
) -> NDArray[np.float64]:
    """Latency in seconds of dense matrices of `weights` weights in all, for `rows` tokens.

    Charged as the projections of `sanger_layer_latency_s` are: an operation of every multiplier in
    every cycle, for the rows of whole tiles.
    """
    padded = sanger_padded_length(np.asarray(rows, np.float64))
    operations = padded * np.asarray(weights, np.float64) * 2
    return np.asarray(operations / (clock_hz * SANGER_OPERATIONS_PER_CYCLE), np.float64)


# Eyeriss v2, a sparse CNN accelerator (Chen et al., JETCAS'19): 8 x 2 clusters of 3 x 4 processing
# elements (PEs), at the clock of its implementation. The scratch pads are those of one PE.
EYERISSV2_CLOCK_HZ = 200e6
EYERISSV2_PES = 192
EYERISSV2_ACTIVATIONS_PER_PE = 16
EYERISSV2_WEIGHTS_PER_PE = 192
EYERISSV2_PARTIAL_SUMS_PER_PE = 32
# Costs in cycles as the artifact of Sparse-DySta has them (`hw_eyerissv2.py`): a multiplication
# reads the weight, multiplies, adds and writes back; a column's address is read in any case, and
# only a column with a non-zero activation goes on to read its data and the weights' address.
EYERISSV2_CYCLES_PER_MAC = 4
EYERISSV2_CYCLES_PER_COLUMN = 1
EYERISSV2_CYCLES_PER_NONEMPTY_COLUMN = 2


def eyerissv2_layer_latency_s(
    valid_macs: ArrayLike,
    address_checks: ArrayLike,
    *,
    pes: float = EYERISSV2_PES,
    clock_hz: float = EYERISSV2_CLOCK_HZ,
    cycles_per_mac: float = EYERISSV2_CYCLES_PER_MAC,
) -> NDArray[np.float64]:
    """Latency in seconds of one convolution or fully connected layer on Eyeriss v2.

    `valid_macs` is the number of multiplications whose weight and activation are both non-zero,
    `address_checks` the cycles spent on finding them, both summed over all PEs, as
    `eyerissv2_layer_counts` counts them; they broadcast. All PEs are taken to be busy, and loading
    to be hidden behind computing.

    Source: cycles = (4 * valid MACs + address checks) / 192, from the artifact of Sparse-DySta
    (MICRO'23). The published chip does two MACs a cycle in each PE: its peak is eight times what
    this model reaches.
    """
    macs = np.asarray(valid_macs, np.float64)
    checks = np.asarray(address_checks, np.float64)
    cycles = (cycles_per_mac * macs + checks) / pes
    return np.asarray(cycles / clock_hz, np.float64)


class EyerissV2Mapping(NamedTuple):
    """What one PE works on: `channels` input channels (C0) of `filters` filters (M0)."""

    channels: int
    filters: int


def eyerissv2_mapping(channels: int, filters: int, kernel_width: int) -> EyerissV2Mapping:
    """Channels and filters that one PE holds at a time, for a layer (or a group of its channels).

    Row-stationary: a PE holds one row of the kernel, `kernel_width` (S) weights wide, for C0 of the
    `channels` and M0 of the `filters`, and slides it along a row of the output. C0 is the largest
    power of two with `C0 * S <= 16`, the activations that its scratch pad takes; M0 is the largest
    number with `C0 * S * M0 <= 192`, its weights, and `M0 <= 32`, its partial sums. Neither exceeds
    what the layer has. Both fit however few zeros there are, so that a network has one mapping
    whatever its weights' sparsity.

    Raises DystaError for a size below 1, or a kernel wider than the 16 activations.
    """
    for field, value in (("channels", channels), ("filters", filters)):
        if value < 1:
            raise DystaError(f"{field} is {value}; expected 1 or more")
    if not 1 <= kernel_width <= EYERISSV2_ACTIVATIONS_PER_PE:
        raise DystaError(
            f"kernel_width is {kernel_width}; expected 1 to {EYERISSV2_ACTIVATIONS_PER_PE}, "
            "the activations that a processing element of Eyeriss v2 holds"
        )
    fitting = EYERISSV2_ACTIVATIONS_PER_PE // kernel_width
    per_pe = min(channels, 1 << (fitting.bit_length() - 1))
    weights_per_filter = per_pe * kernel_width
    return EyerissV2Mapping(
        channels=per_pe,
        filters=min(
            filters,
            EYERISSV2_WEIGHTS_PER_PE // weights_per_filter,
            EYERISSV2_PARTIAL_SUMS_PER_PE,
        ),
    )


def eyerissv2_layer_counts(
    activations: NDArray[Any],
    weights: NDArray[Any],
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Valid MACs and address checks of one layer on Eyeriss v2, exactly, for each input.

    `activations` is (inputs, channels, height, width), the layer's input before padding, and
    `weights` (filters, channels / groups, kernel height R, kernel width S); only which values are
    zero matters. A fully connected layer is a 1 x 1 kernel on a 1 x 1 image. `padding` is (top,
    left, bottom, right), `stride` and `dilation` (vertical, horizontal). Returns two int64 arrays
    (inputs,).

    A MAC is valid if its weight and its activation are both non-zero; padding is zero.

    The address checks follow `eyerissv2_mapping`, group by group. A scratch-pad column is what lies
    under one row of the kernel at one output position: S positions of C0 channels. There are
    `R * ceil(channels / C0)` columns for each output position, and each passes through a PE once
    for every M0 filters, `ceil(filters / M0)` times (channels and filters are a group's). Each pass
    costs one cycle, and two more if the column is not empty.

    By hand: a 3 x 3 kernel on 8 channels and 32 filters has C0 = 4 and M0 = 16, hence 6 columns an
    output position, each passing twice: 12 cycles where all activations are zero, 36 where no
    column is empty.

    Departs from the artifact of Sparse-DySta (MICRO'23), which counts every convolution at stride
    1, looks for empty columns along the wrong axis, and always takes M0 = 32, more weights than the
    scratch pad holds unless half of them are zero.

    Raises DystaError where the shapes do not fit each other.
    """
    _check_layer(activations, weights, stride, padding, dilation, groups)
    inputs, channels, height, width = activations.shape
    filters, group_channels, kernel_height, kernel_width = weights.shape
    top, left, bottom, right = padding
    rows = (height + top + bottom - dilation[0] * (kernel_height - 1) - 1) // stride[0] + 1
    columns = (width + left + right - dilation[1] * (kernel_width - 1) - 1) // stride[1] + 1
    if rows < 1 or columns < 1:
        raise DystaError(
            f"activations are {height} x {width} with padding {padding}; expected at least the "
            f"kernel's {kernel_height} x {kernel_width} with dilation {dilation}"
        )

    def under_row(r: int) -> slice:  # input rows that meet kernel row r, one an output row
        start = r * dilation[0]
        return slice(start, start + (rows - 1) * stride[0] + 1, stride[0])

    def under_column(s: int) -> slice:  # likewise for kernel column s
        start = s * dilation[1]
        return slice(start, start + (columns - 1) * stride[1] + 1, stride[1])

    nonzero = np.zeros((inputs, channels, height + top + bottom, width + left + right), np.bool_)
    nonzero[:, :, top : top + height, left : left + width] = activations != 0

    # A weight at (r, s) of channel c meets as many non-zero activations as there are in the window
    # that it sweeps, whichever filter it belongs to; so the MACs of all filters are this number
    # times the non-zero weights at (c, r, s).
    weight_count = np.count_nonzero(
        weights.reshape(groups, filters // groups, group_channels, kernel_height, kernel_width),
        axis=1,
    ).reshape(channels, kernel_height, kernel_width)
    valid_macs = np.zeros(inputs, np.int64)
    for s in range(kernel_width):
        in_row = nonzero[:, :, :, under_column(s)].sum(axis=3, dtype=np.int64)
        for r in range(kernel_height):
            valid_macs += in_row[:, :, under_row(r)].sum(axis=2) @ weight_count[:, r, s]

    mapping = eyerissv2_mapping(group_channels, filters // groups, kernel_width)
    first = np.arange(0, group_channels, mapping.channels)
    starts = (np.arange(groups)[:, None] * group_channels + first).ravel()
    tiles = np.logical_or.reduceat(nonzero, starts, axis=1)  # a tile is C0 channels of one group
    occupied = np.zeros((*tiles.shape[:3], columns), np.bool_)
    for s in range(kernel_width):
        occupied |= tiles[:, :, :, under_column(s)]
    nonempty = np.zeros(inputs, np.int64)
    for r in range(kernel_height):
        nonempty += np.count_nonzero(occupied[:, :, under_row(r)], axis=(1, 2, 3))
    passes = -(-(filters // groups) // mapping.filters)
    total = len(starts) * kernel_height * rows * columns
    address_checks = passes * (
        EYERISSV2_CYCLES_PER_COLUMN * total + EYERISSV2_CYCLES_PER_NONEMPTY_COLUMN * nonempty
    )
    return valid_macs, address_checks


def _check_layer(
    activations: NDArray[Any],
    weights: NDArray[Any],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int],
    groups: int,
) -> None:
    if activations.ndim != 4:
        raise DystaError(
            f"activations has shape {activations.shape}; expected (inputs, channels, height, width)"
        )
    if weights.ndim != 4 or 0 in weights.shape:
        raise DystaError(
            f"weights has shape {weights.shape}; expected (filters, channels, kernel height, width)"
        )
    if min(stride) < 1 or min(dilation) < 1:
        raise DystaError(f"stride is {stride} and dilation {dilation}; expected 1 or more")
    if min(padding) < 0:
        raise DystaError(f"padding is {padding}; expected 0 or more")
    if groups < 1 or weights.shape[0] % groups:
        raise DystaError(
            f"groups is {groups}; expected a divisor of the {weights.shape[0]} filters"
        )
    if activations.shape[1] != weights.shape[1] * groups:
        raise DystaError(
            f"activations has {activations.shape[1]} channels; expected {weights.shape[1]} "
            f"for each of the {groups} groups"
        )
