"""The compiled streams of random numbers: bit for bit NumPy's."""

import hypothesis.strategies as st
import numpy as np
import pytest
from gymnasium.utils import seeding
from hypothesis import example, given

from dysta_gym.compiled import streams
from dysta_gym.compiled.functions import compiled
from dysta_gym.compiled.streams import WIDTH, absorbed, pool_of, seeded

SEEDS = st.one_of(
    st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**64 - 1, 2**64, 2**128 - 1, 2**128, 2**160 + 5]),
    st.integers(0, 2**32),
    st.integers(0, 2**64),
    st.integers(0, 2**300),
)
KEYS = st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1)), max_size=3).map(tuple)
BOUNDS = [1, 2, 3, 7, 1000, 2**31, 2**31 + 1, 3 * 2**30, 2**32 - 1]


def pool_at(seed, key):
    pool = pool_of(seed)
    for child in key:
        pool = absorbed(pool, child)
    return pool


def stream_of(seed, key=()):
    """The compiled stream and NumPy's generator of a seed and its descendant ``key``."""
    stream = np.empty(WIDTH, np.uint64)
    seeded(pool_at(seed, key), stream)
    return stream, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


@given(seed=SEEDS, key=KEYS)
def test_pools_are_those_of_seed_sequences(seed, key):
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    assert list(pool_at(seed, key)[:4]) == sequence.pool.tolist()


def test_children_are_those_of_spawn():
    for child, sequence in enumerate(np.random.SeedSequence(5).spawn(3)):
        for grandchild, of in enumerate(np.random.default_rng(sequence).spawn(3)):
            stream, _ = stream_of(5, (child, grandchild))
            assert streams.random(stream) == of.random()


@given(
    seed=SEEDS,
    key=KEYS,
    draws=st.lists(st.sampled_from(["random", "exponential", *BOUNDS]), max_size=30),
)
@example(seed=1, key=(), draws=[7, "random", 7, 1, "exponential", 7, 7])  # a kept half waits
def test_draws_in_any_order_are_those_of_a_generator(seed, key, draws):
    stream, generator = stream_of(seed, key)
    for draw in draws:
        if draw == "random":
            assert streams.random(stream) == generator.random()
        elif draw == "exponential":
            assert streams.exponential(stream) == generator.exponential()
        else:
            assert streams.integers(stream, draw) == generator.integers(draw)


@compiled("void(uint64[::1], float64[::1])", cache=False)
def exponentials(stream, drawn):
    for i in range(drawn.size):
        drawn[i] = streams.exponential(stream)


@compiled("void(uint64[::1], int64, int64[::1])", cache=False)
def integers(stream, bound, drawn):
    for i in range(drawn.size):
        drawn[i] = streams.integers(stream, bound)


@pytest.mark.parametrize("key", [(), (0,), (3, 1)])
def test_many_exponentials(key):
    stream, generator = stream_of(11, key)
    drawn = np.empty(200_000)
    exponentials(stream, drawn)
    np.testing.assert_array_equal(drawn, generator.exponential(size=drawn.size), strict=True)
    assert drawn.max() > 7.7  # the tail was drawn from, which is beyond all layers
    assert streams.random(stream) == generator.random()


@pytest.mark.parametrize("bound", BOUNDS)
def test_many_integers(bound):
    stream, generator = stream_of(11)
    drawn = np.empty(20_001, np.int64)
    integers(stream, bound, drawn)
    np.testing.assert_array_equal(drawn, generator.integers(bound, size=drawn.size), strict=True)
    assert streams.exponential(stream) == generator.exponential()


@pytest.mark.parametrize("seed", [0, 3, 2**31 - 1, 2**64 - 1, 2**127])
def test_seeds_of_later_episodes_are_those_of_gymnasium(seed):
    generator, _ = seeding.np_random(seed)
    stream, _ = stream_of(seed)
    assert [streams.integers(stream, 2**31) for _ in range(9)] == [
        generator.integers(2**31) for _ in range(9)
    ]
