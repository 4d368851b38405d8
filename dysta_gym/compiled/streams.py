"""NumPy's streams of random numbers, compiled: the same bits, drawn without the interpreter.

`pool` and `absorbed` are `numpy.random.SeedSequence` and its ``spawn``; `seeded` starts the stream
of ``numpy.random.Generator(PCG64(...))`` in a row of `WIDTH` numbers, and `random`, `exponential`
and `integers` draw from it what that generator would. Gymnasium's ``np_random`` of a seed is the
stream of that seed.

Sources: O'Neill, PCG: A Family of Simple Fast Space-Efficient Statistically Good Algorithms for
Random Number Generation (2014), variant XSL-RR 128/64; O'Neill, Developing a seed_seq Alternative
(2015), from which NumPy's SeedSequence derives; Marsaglia and Tsang, The Ziggurat Method for
Generating Random Variables, Journal of Statistical Software 5 (2000); Lemire, Fast Random Integer
Generation in an Interval, ACM TOMACS 29 (2019).
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from dysta_gym.compiled.functions import compiled

Stream = NDArray[np.uint64]
Pool = tuple[int, int, int, int, int]

WIDTH = 6
"""Numbers of a stream: state and increment, high and low half, and a kept 32-bit half, if any."""

POOL_TYPE = types.UniTuple(types.int64, 5)
"""Compiled type of a pool: four words of 32 bits and the constant of the next hash."""
STREAM_TYPE = types.uint64[::1]
"""Compiled type of a stream."""

# --- seeds ---------------------------------------------------------------------------------------

_WORD = 0xFFFFFFFF


@compiled(types.UniTuple(types.int64, 2)(types.int64, types.int64), inline=True)
def _hashed(word: int, constant: int) -> tuple[int, int]:
    """A word, hashed, and the constant of the next hash."""
    word ^= constant
    constant = constant * 0x931E8875 & _WORD
    word = word * constant & _WORD
    return word ^ word >> 16, constant


@compiled(types.UniTuple(types.int64, 2)(types.int64, types.int64, types.int64), inline=True)
def _mixed(word: int, other: int, constant: int) -> tuple[int, int]:
    """A word with the hash of another one in it, and the constant of the next hash."""
    hashed, constant = _hashed(other, constant)
    word = word * 0xCA01F9DD - hashed * 0x4973F715 & _WORD
    return word ^ word >> 16, constant


@compiled(POOL_TYPE(types.uint64, types.uint64))
def pool(low: int | np.uint64, high: int | np.uint64) -> Pool:
    """The pool of ``SeedSequence(low + 2**64 * high)``, both below 2**64; see `pool_of`."""
    first: Any = np.int64(low)
    second: Any = np.int64(high)
    a, constant = _hashed(first & _WORD, 0x43B0D7E5)
    b, constant = _hashed(first >> 32 & _WORD, constant)
    c, constant = _hashed(second & _WORD, constant)
    d, constant = _hashed(second >> 32 & _WORD, constant)
    b, constant = _mixed(b, a, constant)
    c, constant = _mixed(c, a, constant)
    d, constant = _mixed(d, a, constant)
    a, constant = _mixed(a, b, constant)
    c, constant = _mixed(c, b, constant)
    d, constant = _mixed(d, b, constant)
    a, constant = _mixed(a, c, constant)
    b, constant = _mixed(b, c, constant)
    d, constant = _mixed(d, c, constant)
    a, constant = _mixed(a, d, constant)
    b, constant = _mixed(b, d, constant)
    c, constant = _mixed(c, d, constant)
    return a, b, c, d, constant


@compiled(POOL_TYPE(POOL_TYPE, types.int64))
def absorbed(pool: Pool, word: int) -> Pool:
    """The pool of child number ``word`` of ``SeedSequence.spawn``, 0 to 2**32 - 1.

    Also that of a seed with one more word of 32 bits, from the fifth on.
    """
    a, b, c, d, constant = pool
    a, constant = _mixed(a, word, constant)
    b, constant = _mixed(b, word, constant)
    c, constant = _mixed(c, word, constant)
    d, constant = _mixed(d, word, constant)
    return a, b, c, d, constant


def pool_of(seed: int) -> Pool:
    """The pool of ``SeedSequence(seed)``, for seeds of any size; not for compiled code."""
    half = 2**64 - 1
    result = pool(np.uint64(seed & half), np.uint64(seed >> 64 & half))
    seed >>= 128
    while seed:
        result = absorbed(result, seed & _WORD)
        seed >>= 32
    return result


# --- PCG64 ---------------------------------------------------------------------------------------

_HIGH, _LOW, _HIGH_STEP, _LOW_STEP, _KEPT, _HALF = range(WIDTH)
_FACTOR_HIGH, _FACTOR_LOW = np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645)


def _high(typingctx: Any, a: Any, b: Any) -> Any:
    """The high 64 bits of the product of two numbers of 64 bits: one instruction."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        a, b = (builder.zext(each, wide) for each in arguments)
        product = builder.lshr(builder.mul(a, b), ir.Constant(wide, 64))
        return builder.trunc(product, ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


_high_product: Any = intrinsic(_high)


@compiled(types.void(STREAM_TYPE), inline=True)
def _step(stream: Stream) -> None:
    """State times factor plus increment, modulo 2**128."""
    high, low = stream[_HIGH], stream[_LOW]
    product = low * _FACTOR_LOW
    stream[_LOW] = product + stream[_LOW_STEP]
    carry = np.uint64(stream[_LOW] < product)
    high = high * _FACTOR_LOW + low * _FACTOR_HIGH + _high_product(low, _FACTOR_LOW)
    stream[_HIGH] = high + stream[_HIGH_STEP] + carry


@compiled(types.void(POOL_TYPE, STREAM_TYPE))
def seeded(pool: Pool, stream: Stream) -> None:
    """Start ``stream``, shape ``(WIDTH,)``, as ``PCG64`` of the pool's SeedSequence."""
    constant = 0x8B51F9DD
    for index in range(4):
        half = np.int64(0)
        for word in range(2):
            hashed = pool[(2 * index + word) % 4] ^ constant
            constant = constant * 0x58F38DED & _WORD
            hashed = hashed * constant & _WORD
            half |= (hashed ^ hashed >> 16) << 32 * word
        stream[index] = half
    high, low = stream[_HIGH], stream[_LOW]
    stream[_HIGH_STEP] = stream[_HIGH_STEP] << np.uint64(1) | stream[_LOW_STEP] >> np.uint64(63)
    stream[_LOW_STEP] = stream[_LOW_STEP] << np.uint64(1) | np.uint64(1)
    stream[_LOW] = stream[_LOW_STEP] + low
    stream[_HIGH] = stream[_HIGH_STEP] + high + np.uint64(stream[_LOW] < low)
    _step(stream)
    stream[_KEPT] = 0
    stream[_HALF] = 0


@compiled(types.uint64(STREAM_TYPE), inline=True)
def next64(stream: Stream) -> np.uint64:
    """The next 64 bits."""
    _step(stream)
    high = stream[_HIGH]
    folded, turn = high ^ stream[_LOW], high >> np.uint64(58)
    return folded >> turn | folded << (-turn & np.uint64(63))


@compiled(types.uint64(STREAM_TYPE), inline=True)
def next32(stream: Stream) -> np.uint64:
    """The next 32 bits: the low half of the next 64, then the high half, kept till then."""
    if stream[_KEPT]:
        stream[_KEPT] = 0
        return stream[_HALF]
    bits = next64(stream)
    stream[_KEPT] = 1
    stream[_HALF] = bits >> np.uint64(32)
    return bits & np.uint64(_WORD)


# --- draws ---------------------------------------------------------------------------------------


@compiled(types.float64(STREAM_TYPE), inline=True)
def random(stream: Stream) -> float:
    """``Generator.random()``: uniform in [0, 1), a multiple of 2**-53."""
    return np.int64(next64(stream) >> np.uint64(11)) * 2.0**-53


@compiled(types.int64(STREAM_TYPE, types.int64))
def integers(stream: Stream, bound: int) -> int:
    """``Generator.integers(bound)``: uniform below ``bound``, which is 1 to 2**32 - 1."""
    if bound == 1:
        return 0
    limit = np.uint64(bound)
    product = next32(stream) * limit
    if product & np.uint64(_WORD) < limit:
        least = np.uint64(2**32 - bound) % limit
        while product & np.uint64(_WORD) < least:
            product = next32(stream) * limit
    return int(product >> np.uint64(32))


_EDGE = Decimal("7.6971174701310497140446280481")
"""Where the tail of the exponential density starts, for 256 layers of equal area."""
_TAIL = float(_EDGE)


def _ziggurat() -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.float64]]:
    """NumPy's layers of the exponential density, each shape ``(256,)``.

    A layer's width, divided by 2**53; how many of these parts are under the curve for certain; the
    density where it ends. Layer 0 is the base with the tail, layer 1 the top.
    """
    with localcontext() as context:
        context.prec = 28  # every float is then the nearest one
        width, density = _EDGE, (-_EDGE).exp()
        area = density * (_EDGE + 1)
        widths, densities = [width], [density]
        for _ in range(254):
            density += area / width
            width = -density.ln()
            widths.insert(0, width)
            densities.insert(0, density)
        widths.insert(0, area / densities[-1])
        inner = [_EDGE, Decimal(0), *widths[1:-1]]
        sure = [2 * int(2**52 * least / most) for least, most in zip(inner, widths, strict=True)]
        parts = [float(width / 2**53) for width in widths]
        heights = [1.0, *map(float, densities)]
    return np.array(sure, np.uint64), np.array(parts), np.array(heights)


_SURE, _PART, _HEIGHT = _ziggurat()


@compiled(types.float64(STREAM_TYPE))
def exponential(stream: Stream) -> float:
    """``Generator.standard_exponential()``: exponential of mean 1."""
    while True:
        bits = next64(stream) >> np.uint64(3)
        layer = np.int64(bits & np.uint64(0xFF))
        bits >>= np.uint64(8)
        drawn = np.int64(bits) * _PART[layer]
        if bits < _SURE[layer]:
            return drawn
        if layer == 0:
            return _TAIL - math.log1p(-random(stream))
        low, high = _HEIGHT[layer], _HEIGHT[layer - 1]
        if (high - low) * random(stream) + low < math.exp(-drawn):
            return drawn
