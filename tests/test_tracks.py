"""Tracks: fixed conditions, on workloads that are the same for all, and seeds that are nobody's."""

import pandas as pd
import pytest
import yaml

from dysta_gym import DystaError, compare, compare_on, load_scenario, load_track
from dysta_gym.agents.protocol import TRAINING, VALIDATION
from dysta_gym.comparison import CELL, Condition
from dysta_gym.tracks import FIRST_SEED, Seeds, digest, shipped_tracks

SMALL = {
    "name": "small",
    "seeds": {"first": 5000, "count": 2},
    "blocks": [
        {"scenarios": ["multi-attnn"], "loads": [0.8, "heavy"], "slos": ["own", 10, 5],
         "changes": {"requests": 30}, "suffix": "-short"},
        {"scenarios": [{"name": "mine", "accelerator": "sanger", "traces": {"mpnet": 1},
                        "load": 1.1, "requests": 20}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", shipped_tracks())
def test_shipped_tracks(name):
    track = load_track(name)
    assert track.name == name and track.split == "test" and len(track.description) > 40
    conditions = track.conditions()
    assert len({condition.where for condition in conditions}) == len(conditions) > 1
    assert len(track.cells()) == len(conditions) * track.seeds.count
    seeds = range(track.seeds.first, track.seeds.first + track.seeds.count)
    assert track.seeds.first == FIRST_SEED
    assert seeds[0] > VALIDATION + 1000 and seeds[-1] < TRAINING  # nobody's


def test_conditions_are_what_the_blocks_say():
    wheres = [condition.where for condition in load_track(SMALL).conditions()]
    assert [(name, load, slo) for name, load, _, slo in wheres] == [
        ("multi-attnn-short", 0.8, 10), ("multi-attnn-short", 0.8, 5),
        ("multi-attnn-short", 0.95, 10), ("multi-attnn-short", 0.95, 5),
        ("mine", 1.1, 10),
    ]  # fmt: skip


def test_a_track_runs_what_compare_runs():
    found = compare_on([SMALL], ["sjf", "dysta"])
    assert list(found["track"].unique()) == ["small"]
    own = load_scenario("multi-attnn").varied(requests=30)
    own = load_scenario({**{n: getattr(own, n) for n in own.model_fields_set}, "name": "short"})
    same = compare([own], ["sjf", "dysta"], loads=[0.8, 0.95], slos=[10, 5], seeds=[5000, 5001])
    first = found[found["scenario"] == "multi-attnn-short"]
    columns = [name for name in same if name not in CELL]
    pd.testing.assert_frame_equal(
        first[columns].reset_index(drop=True), same[columns], check_exact=True
    )
    told = []
    compare_on([SMALL], ["sjf"], jobs=2, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 10) for done in range(1, 11)]


def test_digests_tell_workloads_apart():
    base = load_scenario("multi-attnn")
    seeds = Seeds(first=1, count=2)
    same = digest(Condition(base, "test"), seeds)
    assert digest(Condition(base.model_copy(update={"name": "x"}), "test"), seeds) == same
    others = [
        digest(Condition(base, "train"), seeds),
        digest(Condition(base, "test"), Seeds(first=2, count=2)),
        *(
            digest(Condition(base.model_copy(update=change), "test"), seeds)
            for change in (
                {"load": 0.9}, {"speed": 2.0}, {"queue_limit": 3}, {"requests": 999},
                {"traces": {**base.traces, "mpnet": 2}}, {"slo_multiplier": 9.0},
                {"traces": {"mpnet": 1, "whisper": 1, "minilm": 1}},
                {"accelerator": {"model": "sanger", "clock_hz": 3e9}},
            )
        ),
    ]  # fmt: skip
    assert len({same, *others}) == 1 + len(others)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": []}, ["blocks", "at least 1"]),
        ({"seeds": {"first": 1.5}}, ["seeds.first", "1.5"]),
        ({"seeds": {"cuont": 3}}, ["'seeds.cuont'", "first, count"]),
        ({"split": "tset"}, ["split", "'tset'", "'test'"]),
        ({"blocks": [{"scenarios": ["nope"]}]}, ["scenario", "'nope'", "multi-cnn"]),
        ({"blocks": [{"scenarios": ["multi-cnn"], "loads": ["hevay"]}]}, ["load", "'hevay'"]),
        ({"blocks": [{"scenarios": ["multi-cnn"]}] * 2}, ["'multi-cnn'", "more than once"]),
        (
            {"blocks": [{"scenarios": ["multi-cnn"], "changes": {"sped": 2}, "suffix": "-x"}]},
            ["'sped'"],
        ),
        ({"blocks": [{"scenarios": ["multi-cnn"], "changes": {"speed": 2}}]}, ["changes, suffix"]),
        ({"blocks": [{"scenarios": ["multi-cnn"], "suffix": "-x"}]}, ["changes, suffix"]),
        ({"blocks": [{"scenarios": ["multi-cnn"], "loads": [True]}]}, ["blocks.0.loads.0", "True"]),
    ],
)
def test_bad_tracks_are_refused_in_a_line(changes, words):
    with pytest.raises(DystaError) as error:
        load_track({**SMALL, **changes}).conditions()
    for word in words:
        assert word in str(error.value)


def test_compare_runs_a_track_from_a_file(tmp_path, run):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))

    command = ["compare", "--track", path]
    status, output, _ = run(*command, "--policy", "sjf", "--policy", "dysta")
    assert status == 0 and output.count("mine: load 1.1") == 1 and "over 2 seeds" in output
    for option, value in (("--load", 1), ("--seeds", 3), ("--scenario", "multi-cnn")):
        status, _, errors = run(*command, option, value)
        assert status == 2 and "beside track" in errors and option[2:] in errors
