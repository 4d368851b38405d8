"""What each level of information knows, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from dysta_gym import Machine, TraceStore, Workload
from dysta_gym.information import LEVELS, estimates


def known(store, level, *, trace, row, reference="all"):
    """``(R, N, I, g)`` of a request for one input, before each of its layers."""
    workload = Workload(
        store=store,
        reference=reference,
        arrival_s=np.zeros(1),
        trace=np.array([trace]),
        row=np.array([row]),
        priority=np.ones(1),
        slo_multiplier=10.0,
    )
    machine = Machine(workload, level)
    seen = []
    while not machine.done:
        queue = machine.queue
        seen.append(
            (queue.remaining[0], queue.next_layer[0], queue.isolated[0], queue.correction[0])
        )
        machine.step(0)
    return seen


# `small` on average over inputs: dense [2, 8/3] with sparsity [1/3, 0.4], block20 [1.5, 1] with
# [0.7, 0.7]; over all its five inputs [1.8, 2]. Input 0 of dense is [1, 2] with [0.5, 0.2].
G = (1 - 0.5) / (1 - 1 / 3)
BY_HAND = {
    "static": [(3.8, 1.8, 3.8, 1), (2, 2, 3.8, 1)],
    "pattern": [(14 / 3, 2, 14 / 3, 1), (8 / 3, 8 / 3, 14 / 3, 1)],
    "sized": [(14 / 3, 2, 14 / 3, 1), (8 / 3, 8 / 3, 14 / 3, 1)],  # no lengths
    "monitored": [(14 / 3, 2, 14 / 3, 1), (G * 8 / 3, G * 8 / 3, 14 / 3, G)],
    "clairvoyant": [(3, 1, 3, 1), (2, 2, 3, 1)],
}


@pytest.mark.parametrize("level", LEVELS)
def test_by_hand(store, level):
    np.testing.assert_allclose(known(store, level, trace=0, row=0), BY_HAND[level], rtol=1e-12)


def test_monitor_averages_over_all_executed_layers(store):
    # `large`: sparsity [0.1, 0.2, 0.3] of input 0, on average [0.2, 0.2, 0.45].
    correction = [g for _, _, _, g in known(store, "monitored", trace=2, row=0)]
    first, second = 0.9 / 0.8, 0.8 / 0.8
    np.testing.assert_allclose(correction, [1, first, (first + second) / 2], rtol=1e-12)


def test_monitor_learns_nothing_from_a_layer_that_is_always_all_zeros(make_trace):
    store = TraceStore([make_trace("net", [[1, 1, 1], [1, 1, 1]], [[1, 0, 0], [1, 0.5, 0]])])
    correction = [g for _, _, _, g in known(store, "monitored", trace=0, row=0)]
    np.testing.assert_allclose(correction, [1, 1, (1 + 1 / 0.75) / 2], rtol=1e-12)


def test_patterns_count_by_their_inputs(make_trace):
    one, three = make_trace("net", [[8.0]] * 1), make_trace("net", [[4.0]] * 3, pattern="block20")
    store = TraceStore([one, three])
    workload = Workload(store, "all", [0.0], [0], [0], [1.0], slo_multiplier=2.0)
    assert known(store, "static", trace=0, row=0)[0][0] == 5
    assert workload.deadline_s[0] == 2 * 5


@pytest.mark.parametrize("level", LEVELS)
def test_averages_never_see_the_test_half(store, level):
    def disturbed(trace):
        test = ~trace.train[:, None]
        return replace(
            trace,
            latency_s=np.where(test, 7 * trace.latency_s, trace.latency_s),
            sparsity=np.where(test, 1 - trace.sparsity, trace.sparsity),
        )

    other = TraceStore([disturbed(trace) for trace in store.traces])
    for index, trace in enumerate(store.traces):
        for row in np.flatnonzero(trace.train):
            request = {"trace": index, "row": row, "reference": "train"}
            assert known(store, level, **request) == known(other, level, **request)
    of_test = {"trace": 0, "row": 1, "reference": "train"}
    moved = known(store, level, **of_test) != known(other, level, **of_test)
    # only what is measured of the request itself may differ
    assert moved == (level in ("monitored", "clairvoyant"))
    args = ("train", np.zeros(3), [0, 1, 2], [0, 0, 0], np.ones(3), 10.0)
    np.testing.assert_array_equal(
        Workload(store, *args).deadline_s, Workload(other, *args).deadline_s
    )


def test_unknown_level_and_split(store, refused):
    with refused("level", "'psychic'", *LEVELS):
        estimates(store, "psychic", "all")
    with refused("split", "'tset'", "train", "test", "all"):
        estimates(store, "static", "tset")
