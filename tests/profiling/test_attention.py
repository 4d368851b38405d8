"""The attention profiler's counting, against cases worked out by hand and against plain loops."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dysta_gym.accelerators import sanger_layer_latency_s, sanger_padded_length
from dysta_gym.errors import DystaError
from dysta_gym.profiling.attention import (
    AttentionProfile,
    count_kept_scores,
    profile_attention,
)
from dysta_gym.profiling.writing import split_by_group


def count_in_loops(probability, threshold):
    """Kept scores and sub-rows of 16 of one head, score by score."""
    kept = subrows = 0
    for row in probability:
        for start in range(0, len(row), 64):
            in_vector = sum(1 for score in row[start : start + 64] if score > threshold)
            kept += in_vector
            while in_vector > 0:
                subrows += 1
                in_vector -= 16
    return kept, subrows


def profile(kept, subrows, length, **changes):
    inputs = len(length)
    values = {
        "name": "toy",
        "input_name": [f"toy:{i}" for i in range(inputs)],
        "condition": ["toy"] * inputs,
        "group": [f"passage:{i}" for i in range(inputs)],
        "length": np.array(length),
        "kept": np.array(kept),
        "subrows": np.array(subrows),
        "heads": 1,
        "width": 768,
        "max_length": 128,
    }
    return AttentionProfile(**(values | changes))


@pytest.mark.parametrize(
    ("in_row", "subrows"),
    [(0, 0), (1, 1), (16, 1), (17, 2), (48, 3), (64, 4)],
)
def test_a_vector_takes_one_subrow_for_16_scores(in_row, subrows):
    probability = np.zeros((1, 1, 64))
    probability[0, 0, :in_row] = 0.5
    counted = count_kept_scores(probability)
    assert counted.kept.tolist() == [in_row]
    assert counted.subrows.tolist() == [subrows]


def test_vectors_are_64_wide():
    # Scores 63 and 64 lie in two vectors, so they take two sub-rows although both fit into one.
    probability = np.zeros((1, 1, 100))
    probability[0, 0, 63:65] = 0.5
    assert count_kept_scores(probability).subrows.tolist() == [2]


def test_a_score_at_the_threshold_is_pruned():
    probability = np.array([[[0.25, 0.5]]])
    assert count_kept_scores(probability, threshold=0.25).kept.tolist() == [1]


def test_heads_are_counted_apart():
    probability = np.zeros((2, 3, 70))
    probability[0] = 0.5
    counted = count_kept_scores(probability)
    assert counted.kept.tolist() == [210, 0]
    assert counted.subrows.tolist() == [3 * (4 + 1), 0]


@pytest.mark.parametrize("length", [1, 16, 63, 64, 65, 130, 200])
@pytest.mark.parametrize("causal", [False, True])
def test_counts_equal_plain_loops(length, causal):
    random = np.random.default_rng(length)
    score = random.normal(scale=3.0, size=(3, length, length))
    if causal:
        score[:, ~np.tri(length, dtype=bool)] = -np.inf
    probability = np.exp(score) / np.exp(score).sum(axis=-1, keepdims=True)
    counted = count_kept_scores(probability, 0.002)
    expected = [count_in_loops(head, 0.002) for head in probability]
    assert list(zip(counted.kept.tolist(), counted.subrows.tolist(), strict=True)) == expected


def test_probability_needs_three_dimensions():
    with pytest.raises(DystaError, match=r"probability has shape \(4, 4\)"):
        count_kept_scores(np.ones((4, 4)))


def test_padded_length_is_whole_tiles():
    assert [sanger_padded_length(n) for n in (1, 63, 64, 65, 384)] == [64, 64, 64, 128, 384]


def test_measures_of_a_full_tile():
    full = profile([[64 * 64]], [[64 * 4]], [64])
    assert full.density.tolist() == [[1.0]]
    assert full.load_balance.tolist() == [[1.0]]
    assert full.sparsity.tolist() == [[0.75]]  # of the 128 x 128 that the task allows


def test_density_is_of_the_padded_square_and_sparsity_of_the_longest_input():
    # 65 tokens are charged as 128. Half of the sub-rows' multipliers are busy.
    half = profile([[4096]], [[512]], [65], heads=2)
    assert half.shapes.queries.tolist() == [[65]]
    assert half.density.tolist() == [[4096 / 2 / 128**2]]
    assert half.load_balance.tolist() == [[0.5]]
    assert half.sparsity.tolist() == [[1 - 4096 / 2 / 128**2]]


def test_latency_sees_the_real_number_of_subrows():
    # The model takes density / load balance * 4 * length for the sub-rows of a column of tiles.
    measured = profile([[3000]], [[400]], [100])
    per_column = (
        measured.density
        / measured.load_balance
        * 4
        * sanger_padded_length(measured.length)[:, None]
    )
    assert per_column == pytest.approx(400 / 2)


def test_sanger_latency_by_hand():
    # 64 tokens, width 64, everything kept: 64 * 4 sub-rows.
    linear = 64 * 64 * 64 * 6 / 2048
    project = 64 * 64 * 64 * 2 / 2048
    scores = (256 / 64) * ((64 + 64) + (256 + 64)) * 1
    assert sanger_layer_latency_s(1.0, 1.0, 64, 64) == pytest.approx(
        (linear + project + scores) * 1e-9, rel=1e-12
    )


def test_nothing_kept_costs_the_projections_only():
    empty = profile([[0]], [[0]], [64])
    assert empty.load_balance.tolist() == [[1.0]]
    assert empty.latency_s[0, 0] == pytest.approx(64 * 768 * 768 * 6 / 2048e9)


def test_an_interrupted_measurement_goes_on(tmp_path):
    pytest.importorskip("torch")
    import torch

    class Uniform(torch.nn.Module):
        calls = 0

        def forward(self, input_ids, output_attentions):
            Uniform.calls += 1
            if Uniform.calls == 3:
                raise KeyboardInterrupt
            length = input_ids.shape[1]
            self.attentions = (torch.full((1, 2, length, length), 1 / length),)
            return self

    inputs = [{"input_ids": torch.zeros(1, n, dtype=torch.long)} for n in (5, 70, 130)]
    partial = tmp_path / "partial.jsonl"
    settings = {"name": "toy", "max_length": 256, "width": 32, "partial": partial}
    with pytest.raises(KeyboardInterrupt):
        profile_attention(Uniform(), inputs, **settings)
    partial.write_bytes(partial.read_bytes() + b'{"name": "toy:2", "len')
    resumed = profile_attention(Uniform(), inputs, **settings)
    assert Uniform.calls == 4
    assert resumed.length.tolist() == [5, 70, 130]
    assert resumed.kept.tolist() == [[2 * n * n] for n in (5, 70, 130)]


def test_what_is_known_at_arrival_changes_no_latency():
    torch = pytest.importorskip("torch")

    class Uniform(torch.nn.Module):
        attentions = (torch.full((1, 1, 100, 100), 1 / 100),)

        def forward(self, output_attentions):
            return self

    settings = {"name": "toy", "max_length": 128, "width": 32}
    plain = profile_attention(Uniform(), [{}], **settings)
    told = profile_attention(Uniform(), [{}], length=[7], **settings)
    assert (plain.length.tolist(), told.length.tolist()) == ([100], [7])
    assert (told.latency_s == plain.latency_s).all()
    assert (told.sparsity == plain.sparsity).all()
    with pytest.raises(DystaError, match="length has 2 entries; expected one for 1 inputs"):
        profile_attention(Uniform(), [{}], length=[7, 8], **settings)


def test_written_latency_can_be_computed_again(tmp_path):
    kept, subrows, length = [[3000, 100]] * 4, [[400, 90]] * 4, [100, 64, 65, 128]
    path = tmp_path / "toy.npz"
    profile(kept, subrows, length).write(path)
    with np.load(path, allow_pickle=False) as file:
        meta = json.loads(str(file["meta"]))
        padded = -(-file["length"] // 64) * 64
        again = sanger_layer_latency_s(
            file["density"], file["load_balance"], padded[:, None], meta["settings"]["width"]
        )
        assert (again == file["latency_s"]).all()
        assert file["train"].sum() == 2
    assert meta["accelerator"] == "sanger"
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy.npz"]


def test_split_halves_every_condition_and_cuts_no_group():
    random = np.random.default_rng(1)
    condition = ["a"] * 51 + ["b"] * 30
    group = [f"{name}{random.integers(20)}" for name in condition]
    train = split_by_group(group, condition)
    assert train.sum() == 81 // 2
    assert not {g for g, t in zip(group, train, strict=True) if t} & {
        g for g, t in zip(group, train, strict=True) if not t
    }
    for name in ("a", "b"):
        of_name = np.array(condition) == name
        assert abs(train[of_name].mean() - 0.5) < 0.1
    assert (split_by_group(group, condition) == train).all()
    assert (split_by_group(group, condition, seed=1) != train).any()


def test_split_needs_groups_that_halve():
    with pytest.raises(DystaError, match="no union of whole groups"):
        split_by_group(["passage"] * 4, ["a"] * 4)


def test_a_profile_names_the_wrong_array(tmp_path, refused):
    with refused("trace 'toy'", "sparsity has shape (1, 2), expected (1, 1)"):
        replace(profile([[9]], [[3]], [64]).trace(), sparsity=[[0.5, 0.5]], name="toy", counts={})
    with refused("trace 'toy'", "density has shape (2, 1)", "expected (1,), (1,) or (1, 1)"):
        replace(profile([[9]], [[3]], [64]).trace(), counts={"density": [[1], [1]]})
