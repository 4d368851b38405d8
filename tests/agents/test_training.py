"""Training runs: that they can be repeated, interrupted and judged, and what they refuse."""

import contextlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import sysconfig
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml

from dysta_gym import DystaError, cli, compare, find

with warnings.catch_warnings():  # what they warn of while they are imported is not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    for package in ("cma", "stable_baselines3", "sb3_contrib", "tensorboard"):
        pytest.importorskip(package)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from dysta_gym.agents import MixedVecEnv, evolution, protocol, reinforcement  # noqa: F401

from dysta_gym.agents import Checkpoint, load, load_recipe, train
from dysta_gym.agents.judging import LEAST_RI
from dysta_gym.agents.networks import NETWORKS
from dysta_gym.features import SCHEDULING, select
from dysta_gym.writers import only_writer

FILES = {"recipe.yaml", "checkpoint.npz", "state.npz", "writer.sqlite", "events.out"}
"""What is in the folder of a run, without what follows in the names of logs."""

SHORT = {"scenarios": ["multi-attnn", "multi-cnn"], "loads": [1.05], "validation": 3}
EVOLUTION = {
    "name": "small",
    "method": "evolution",
    "workloads": {**SHORT, "requests": 100},
    "network": {"kind": "tiny", "width": 2},
    "steps": 12,
    "validate_every": 4,
    "population": 8,
    "pool": 6,
    "batch": 2,
}
REINFORCEMENT = {
    "workloads": {**SHORT, "requests": 60},
    "network": {"kind": "pooled", "width": 4},
    "environments": 4,
    "slots": 8,
    "validate_every": 512,
}
PPO = {
    **REINFORCEMENT,
    **{"name": "small-ppo", "method": "ppo", "steps": 2000, "n_steps": 32, "batch_size": 64},
    "imitate": {"teacher": "evolved", "steps": 1000, "pool": 3},
}
DQN = {
    **REINFORCEMENT,
    **{"name": "small-dqn", "method": "dqn", "steps": 1200},
    **{"batch_size": 32, "learning_starts": 100, "buffer_size": 1000},
}
RECIPES = {"evolution": EVOLUTION, "ppo": PPO, "dqn": DQN}
STOPS = {"evolution": (3, 6), "ppo": (300, 1000, 1400), "dqn": (200, 700)}
"""Steps after which the runs are interrupted; those of PPO first imitate, for 1000 steps."""

OURS, THEIRS = ["violation_rate", "antt"], ["sptp_violation_rate", "sptp_antt"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Nets this small are slower with more, and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Trained(NamedTuple):
    """A run that went through: its network, folder and reports, and all that it drew."""

    checkpoint: Checkpoint
    folder: Path
    reports: list
    seeds: list
    splits: set


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """``trained(method, seed=0)``, each done once."""
    done = {}

    def run(method, seed=0):
        if (method, seed) not in done:
            folder = tmp_path_factory.mktemp(method) / "new" / "run"
            seeds, splits, reports = [], set(), []
            generate, reset = protocol.generate, MixedVecEnv.reset

            def generated(scenario, drawn, *, split):
                seeds.append(drawn)
                splits.add(split)
                return generate(scenario, drawn, split=split)

            def begun(self):
                seeds.extend(self._seeds)
                splits.update(self.get_attr("split"))
                return reset(self)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(protocol, "generate", generated)
                patch.setattr(MixedVecEnv, "reset", begun)
                checkpoint = train(RECIPES[method], folder, seed=seed, report=reports.append)
            done[method, seed] = Trained(checkpoint, folder, reports, seeds, splits)
        return done[method, seed]

    return run


def same(one, other):
    """Whether two runs have ended with the same network, found in the same way."""
    kept = [{k: v for k, v in each.record.items() if k != "seconds"} for each in (one, other)]
    return one.weights.tobytes() == other.weights.tobytes() and kept[0] == kept[1]


def logged(folder):
    """What the logs of a run say, each as often as it is said; but for what a clock says."""
    return Counter(
        (tag, each.step, each.value)
        for path in folder.glob("events*")
        for events in [EventAccumulator(str(path)).Reload()]
        for tag in events.Tags()["scalars"]
        if not tag.startswith("time/")
        for each in events.Scalars(tag)
    )


def interrupting(at, times=1):
    """A report that sends SIGINT once that step is done."""
    left = [times]

    def report(report):
        if report.step >= at:
            while left[0]:
                left[0] -= 1
                signal.raise_signal(signal.SIGINT)

    return report


# --- what comes out ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", RECIPES)
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(trained, tmp_path, method):
    usual = {"recipe": RECIPES[method], "out": tmp_path}
    handler = signal.getsignal(signal.SIGINT)
    for stop in STOPS[method]:
        resume = stop != STOPS[method][0]
        assert train(**usual, resume=resume, report=interrupting(stop)) is None
    assert signal.getsignal(signal.SIGINT) is handler
    reports = []
    checkpoint = train(**usual, resume=True, report=reports.append)
    assert same(checkpoint, trained(method).checkpoint)
    assert stop < reports[1].step < reports[-1].step
    assert reports[-1] == trained(method).reports[-1]  # the network at the end is the same, too
    assert logged(tmp_path) == logged(trained(method).folder)
    # Nothing is left to do: nothing is done.
    assert same(train(**usual, resume=True), checkpoint)


@pytest.mark.parametrize("method", RECIPES)
def test_a_run_goes_on_in_another_process(method, trained, tmp_path):
    """Nothing that is kept leads to where something was in the process that kept it."""
    usual = {"recipe": RECIPES[method], "out": str(tmp_path / "run")}
    program = """
import json, sys
from dysta_gym.agents import train
assert train(**json.loads(sys.argv[1]), resume=True)
"""
    for stop in STOPS[method][:2]:
        resume = stop != STOPS[method][0]
        assert train(**usual, resume=resume, report=interrupting(stop)) is None
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, json.dumps(usual)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert same(load(tmp_path / "run" / "checkpoint.npz"), trained(method).checkpoint)


def test_a_second_interrupt_stops_at_once(trained, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(EVOLUTION, tmp_path, report=interrupting(6, times=2))
    assert same(train(EVOLUTION, tmp_path, resume=True), trained("evolution").checkpoint)


@pytest.mark.parametrize("method", RECIPES)
def test_another_seed_gives_another_network(trained, method):
    one, other = trained(method), trained(method, 1)
    assert (one.checkpoint.record["seed"], other.checkpoint.record["seed"]) == (0, 1)
    assert not np.isclose(one.checkpoint.weights, other.checkpoint.weights).any()


@pytest.mark.parametrize("cores", [1, 3])
def test_evolution_depends_on_nothing_else(trained, tmp_path, monkeypatch, cores):
    monkeypatch.setattr(protocol, "cores", lambda: cores)
    np.random.seed(cores)  # noqa: NPY002
    before = np.random.get_state()  # noqa: NPY002
    assert same(train(EVOLUTION, tmp_path), trained("evolution").checkpoint)
    for have, want in zip(np.random.get_state(), before, strict=True):  # noqa: NPY002
        assert np.array_equal(have, want)


@pytest.mark.parametrize("method", ["ppo", "dqn"])
def test_reinforcement_leaves_the_threads_as_they_were(trained, method):
    trained(method)
    assert torch.get_num_threads() == 1


def test_the_objective_is_antt_plus_what_violations_weigh_over_the_references():
    reference = np.array([[[0.1, 4.0], [0.3, 6.0]], [[0.0, 2.0], [0.0, 2.0]]])

    def cost(violations, antt, penalty=30.0):
        return protocol.objective(reference * [violations, antt], reference, penalty)

    assert cost(1, 1) == 1  # where nobody is late, too
    assert cost(0.5, 1) == pytest.approx(((5 + 30 * 0.1) / (5 + 30 * 0.2) + 1) / 2)
    assert cost(0.5, 1.1, penalty=10) == pytest.approx(((5.5 + 1) / (5 + 2) + 1.1) / 2)
    both = protocol.objective(np.stack([reference, reference * 0.5]), reference, 30.0)
    assert both.tolist() == pytest.approx([1, 0.5])


@pytest.mark.parametrize("method", RECIPES)
def test_the_record_says_what_validation_measured(trained, method):
    checkpoint, recipe = trained(method).checkpoint, load_recipe(RECIPES[method])
    record, workloads = checkpoint.record, recipe.workloads
    first, last = record["seeds"]["validation"]
    usual = {"requests": workloads.requests, "slos": [10], "loads": [1.05], "split": "train"}
    frame = compare(
        workloads.scenarios, [checkpoint.policy(), LEAST_RI], seeds=range(first, last + 1), **usual
    )
    means = frame.groupby(["policy", "scenario", "load", "slo"], sort=False)[OURS].mean()
    for policy, columns in ((checkpoint.policy().spec, OURS), (LEAST_RI, THEIRS)):
        for row in record["validation"]:
            where = (policy, row["scenario"], row["load"], row["slo"])
            assert [row[key] for key in columns] == pytest.approx(means.loc[where].tolist())
    bench = protocol.Bench(protocol.conditions(workloads), range(first, last + 1), LEAST_RI)
    measured = bench.measure(checkpoint.policy())
    assert measured.mean(axis=1).tolist() == [
        [row[key] for key in OURS] for row in record["validation"]
    ]
    assert protocol.objective(measured, bench.reference, 30.0) == record["objective"]


@pytest.mark.parametrize("method", RECIPES)
def test_what_is_kept_is_the_best(trained, method):
    checkpoint, _, reports, _, _ = trained(method)
    record, steps = checkpoint.record, RECIPES[method]["steps"]
    assert [report.step for report in reports] == sorted(report.step for report in reports)
    assert reports[0].step == 0 and reports[0].validated == -1
    assert all(report.steps == record["steps"] == steps for report in reports)
    validations = {
        report.validated: report for report in reports if report.validated == report.step
    }
    every = RECIPES[method]["validate_every"]
    last = max(validations)
    assert last == reports[-1].step >= steps
    assert {step // every for step in validations} == set(range(last // every + 1))
    imitated = RECIPES[method].get("imitate", {"steps": -1})["steps"]
    best = min(report.objective for step, report in validations.items() if step > imitated)
    assert best == record["objective"] == reports[-1].best
    assert validations[record["step"]].objective == best
    assert record["history"] == [
        {"step": step, "violation_rate": r.violation_rate, "antt": r.antt, "objective": r.objective}
        for step, r in validations.items()
    ]
    rates, antts = zip(*[[row[key] for key in THEIRS] for row in record["validation"]], strict=True)
    assert reports[-1].reference_violation_rate == pytest.approx(np.mean(rates))
    assert reports[-1].reference_antt == pytest.approx(np.mean(antts))


@pytest.mark.parametrize("method", RECIPES)
def test_the_folder_of_a_run(trained, method):
    checkpoint, folder, reports, _, _ = trained(method)
    names = {path.name.split(".tfevents")[0] for path in folder.iterdir()}
    assert names == FILES
    recipe = load_recipe(RECIPES[method]).model_dump(mode="json")
    assert load_recipe(folder / "recipe.yaml").model_dump(mode="json") == recipe
    assert checkpoint.record["recipe"] == recipe
    assert same(load(folder / "checkpoint.npz"), checkpoint)
    policy = find(str(folder / "checkpoint.npz"))
    assert policy.level == checkpoint.level == "sized/kalman"
    events = EventAccumulator(str(folder)).Reload()
    logged = [(each.step, each.value) for each in events.Scalars("validation/objective")]
    assert logged == [
        (report.step, pytest.approx(report.objective))
        for report in reports
        if report.validated == report.step
    ]
    tags = set(events.Tags()["scalars"])
    for label in ("validation", "multi-attnn 1.05", "multi-cnn 1.05"):
        own = {f"{label}/{each}" for each in ("violation_rate", "antt", "antt_over_bound")}
        assert own | {f"{label}/reference_antt"} <= tags


@pytest.mark.parametrize("method", RECIPES)
def test_what_trains_what_chooses_and_what_judges_is_apart(trained, method):
    runs = [trained(method, seed) for seed in (0, 1)]
    validation = set(range(1000, 1003))
    training = [set(run.seeds) - validation for run in runs]
    for run, seeds in zip(runs, training, strict=True):
        assert run.splits == {"train"}
        assert validation < set(run.seeds)
        assert min(seeds) == run.checkpoint.record["seeds"]["training, from"] > 1002
        assert run.checkpoint.record["seeds"]["validation"] == [1000, 1002]
    assert not training[0] & training[1]  # nor do runs share what they train on


# --- what is refused -----------------------------------------------------------------------------


def test_what_a_killed_process_left_does_not_count(trained, tmp_path):
    left = tmp_path / ".recipe.yaml.0a1b2c3d.01234567-1-89abcdef.scratch"
    left.mkdir()
    (left / "recipe.yaml").touch()
    assert same(train(EVOLUTION, tmp_path), trained("evolution").checkpoint)


def test_folders_that_are_refused(refused, trained, tmp_path):
    finished = trained("evolution").folder
    before = {path: path.read_bytes() for path in finished.iterdir()}
    with refused("out", repr(str(finished)), "not empty", "--resume"):
        train(EVOLUTION, finished)
    with refused("resume", "the seed", "recipe.yaml"):
        train(EVOLUTION, finished, seed=1, resume=True)
    with refused("resume", "the recipe", "sigma: 0.4, not 0.5", "recipe.yaml there"):
        train({**EVOLUTION, "sigma": 0.4}, finished, resume=True)
    other = {**EVOLUTION, "workloads": {**EVOLUTION["workloads"], "requests": 90}}
    with refused("resume", "the recipe", "workloads.requests: 90, not 100"):
        train(other, finished, resume=True)
    with refused("resume", "the recipe", "'small-ppo', not 'small'", "recipe.yaml"):
        train(PPO, finished, resume=True)
    assert {path: path.read_bytes() for path in finished.iterdir()} == before
    (tmp_path / "notes.txt").write_text("")
    with refused("resume", "no run", repr(str(tmp_path))):
        train(EVOLUTION, tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with refused("out", repr(str(folder)), "is a file"):
            train(EVOLUTION, folder)


SCRATCH = ".recipe.yaml.0a1b2c3d.01234567-1-89abcdef.scratch"


@pytest.mark.parametrize("left", [None, ".", SCRATCH, f"{SCRATCH}/recipe.yaml", "recipe.yaml"])
def test_what_stopped_before_there_was_anything_begins(trained, tmp_path, capsys, left):
    """Whatever moment it was: the folder was not there yet, its recipe was half written, ..."""
    run = tmp_path / "run"
    if left and left.endswith("yaml"):
        (run / left).parent.mkdir(parents=True)
        (run / left).write_text("name: sm")
    elif left:
        (run / left).mkdir(parents=True)
    assert same(train(EVOLUTION, run, resume=True), trained("evolution").checkpoint)
    assert load_recipe(run / "recipe.yaml") == load_recipe(EVOLUTION)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (left != "recipe.yaml")
    assert all("nothing is in" in line and repr(str(run)) in line for line in said)


def test_files_that_a_recipe_names_are_those_that_the_run_began_with(refused, trained, tmp_path):
    scenario, teacher = tmp_path / "mine.yaml", tmp_path / "teacher.npz"
    scenario.write_text(
        "{name: mine, accelerator: sanger, traces: {mpnet: 1, whisper: 1}, load: 1}"
    )
    trained("evolution").checkpoint.save(teacher)
    workloads = {**PPO["workloads"], "scenarios": [str(scenario)]}
    recipe = {**PPO, "workloads": workloads, "imitate": {**PPO["imitate"], "teacher": str(teacher)}}
    usual = {"recipe": recipe, "out": tmp_path / "run"}
    assert train(**usual, report=interrupting(600)) is None
    for path, told in ((scenario, "scenario"), (teacher, "teacher")):
        before = path.read_bytes()
        if path is scenario:
            path.write_bytes(before.replace(b"mpnet: 1", b"mpnet: 2"))
        else:
            replace(load(path), weights=-load(path).weights).save(path)
        with refused("resume", told, repr(str(path)), "is not what it was", "put it back"):
            train(**usual, resume=True)
        path.write_bytes(before)
    with refused("steps", "5 is not allowed", "has done 512", "leave it out"):
        train(**usual, resume=True, steps=5)
    assert train(**usual, resume=True) is not None


def test_only_one_process_trains_in_a_folder(refused, trained, tmp_path):
    copy_of(trained("evolution"), tmp_path / "run")
    told = refused("another process writes to", "run", "another folder")
    with contextlib.closing(only_writer(tmp_path / "run")), told:
        train(EVOLUTION, tmp_path / "run", resume=True)
    assert same(train(EVOLUTION, tmp_path / "run", resume=True), trained("evolution").checkpoint)


def test_what_ended_without_a_network_begins_again(refused, trained, tmp_path):
    def fails(report):
        raise DystaError("this recipe does not do")

    with refused("does not do"):
        train({**EVOLUTION, "sigma": 0.4}, tmp_path / "run", report=fails)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"recipe.yaml", "writer.sqlite"}
    assert same(train(EVOLUTION, tmp_path / "run"), trained("evolution").checkpoint)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "recipe.yaml").write_text("mine")
    with refused("out", "not empty"):
        train(EVOLUTION, tmp_path / "mine")
    assert (tmp_path / "mine" / "recipe.yaml").read_text() == "mine"


def test_the_recipe_in_the_folder_is_that_of_the_weights(trained, refused, tmp_path, capsys):
    copy_of(trained("evolution"), tmp_path / "run")
    path = tmp_path / "run" / "recipe.yaml"
    content = path.read_text()
    for wrong, told in (
        (content.replace("sigma: 0.5", "sigma: 0.4"), "sigma: 0.4, not 0.5"),
        (content[: len(content) // 2], "cannot be read"),
    ):
        path.write_text(wrong)
        assert same(train(EVOLUTION, path.parent, resume=True), trained("evolution").checkpoint)
        (line,) = capsys.readouterr().err.splitlines()
        assert "recipe.yaml" in line and told in line
        assert path.read_text() == content
    path.write_text(content.replace("sigma: 0.5", "sigma: 0.4"))
    with refused("resume", "the recipe", "sigma: 0.4, not 0.5", "as it was"):
        train(path, path.parent, resume=True)
    path.unlink()
    train(EVOLUTION, path.parent, resume=True)
    assert path.read_text() == content
    # What a run has kept before its state is of its recipe as well.
    (tmp_path / "run" / "state.npz").unlink()
    with refused("resume", "checkpoint.npz", "sigma: 0.4, not 0.5", "another folder"):
        train({**EVOLUTION, "sigma": 0.4}, path.parent, resume=True)
    with refused("resume", "checkpoint.npz", "seed", "1, not 0"):
        train(EVOLUTION, path.parent, seed=1, resume=True)
    assert path.read_text() == content and capsys.readouterr().err == ""
    assert same(train(EVOLUTION, path.parent, resume=True), trained("evolution").checkpoint)


def copy_of(run, folder):
    """A folder with a run's recipe, checkpoint and state; the state's path."""
    folder.mkdir()
    for name in ("recipe.yaml", "checkpoint.npz", "state.npz"):
        if not (run.folder / name).exists():
            continue  # there is no checkpoint before the imitation has ended
        (folder / name).write_bytes((run.folder / name).read_bytes())
    (folder / "state.npz").chmod(0o644)
    return folder / "state.npz"


def changed(content, **arrays):
    """A state with other arrays; those that are None are left out."""
    with np.load(io.BytesIO(content)) as before:
        arrays = {**{name: before[name] for name in before.files}, **arrays}
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: b"", ["damaged"]),
        (lambda content: b"hello", ["damaged"]),
        (lambda content: content[: len(content) // 2], ["damaged"]),
        (lambda content: content[:-1], ["damaged"]),
        (lambda content: changed(content, format=2), ["format 2", "reads 3", "another folder"]),
        (lambda content: changed(content, record="{}"), ["damaged"]),
        (lambda content: changed(content, record="[]"), ["damaged"]),
        (lambda content: changed(content, record=None), ["damaged"]),
        (lambda content: changed(content, record=np.array({})), ["damaged", "allow_pickle"]),
        (lambda content: changed(content, costs=None), ["damaged", "costs"]),
        (lambda content: changed(content, costs=np.zeros((12, 3))), ["damaged"]),
        (lambda content: changed(content, costs=np.zeros((12, 8))), ["another mean"]),
        (lambda content: changed(content, sigma=np.array(5.0)), ["another sigma"]),
    ],
)
def test_a_damaged_state_is_refused(refused, trained, tmp_path, damage, words):
    state = copy_of(trained("evolution"), tmp_path / "run")
    state.write_bytes(damage(state.read_bytes()))
    with refused("resume", "state.npz", *words):
        train(EVOLUTION, tmp_path / "run", resume=True)


def test_an_evolution_goes_on_where_sums_are_rounded_in_another_way(trained, tmp_path, capsys):
    state = copy_of(trained("evolution"), tmp_path / "run")
    with np.load(state) as arrays:
        other = np.nextafter(arrays["mean"], 9)
    state.write_bytes(changed(state.read_bytes(), mean=other))
    checkpoint = train(EVOLUTION, tmp_path / "run", resume=True)
    assert same(checkpoint, trained("evolution").checkpoint)
    (line,) = capsys.readouterr().err.splitlines()
    assert "resume" in line and "rounds in another way" in line


@pytest.mark.parametrize("method", RECIPES)
def test_a_changed_byte_of_a_state_is_noticed_or_does_not_matter(trained, tmp_path, method):
    state = copy_of(trained(method), tmp_path / "run")
    content, rng = state.read_bytes(), np.random.default_rng(0)
    noticed, places = 0, rng.choice(len(content), 40, replace=False).tolist()
    ends = [*range(0, len(content), -(-len(content) // 8)), len(content) - 1]
    wrong = [content[:at] + bytes([content[at] ^ 0x18]) + content[at + 1 :] for at in places]
    for each in (*wrong, *(content[:end] for end in ends)):
        state.write_bytes(each)
        try:
            found = train(RECIPES[method], state.parent, resume=True)
        except DystaError as error:
            noticed += 1
            assert repr(str(state)) in str(error) and len(str(error).splitlines()) == 1
        else:
            assert same(found, trained(method).checkpoint)
    assert noticed > len(ends) + len(places) / 2


def test_a_state_of_an_earlier_version_is_refused(refused, tmp_path):
    (tmp_path / "recipe.yaml").write_text("")
    (tmp_path / "state.pkl").write_bytes(b"\x80\x04N.")
    with refused("resume", "state.pkl", "format 1", "reads 3", "another folder"):
        train(EVOLUTION, tmp_path, resume=True)


class Trap:
    """What runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def open_to_others(state):
    state.chmod(0o666)


def linked(state):
    state.rename(state.with_name("elsewhere"))
    state.symlink_to("elsewhere")


def of_another_user(state):
    if os.geteuid():
        pytest.skip("only root may give files away")
    os.chown(state, 12345, -1)


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
@pytest.mark.parametrize("expose", [open_to_others, linked, of_another_user])
@pytest.mark.parametrize("method", RECIPES)
def test_a_state_runs_no_code_whoever_has_written_it(refused, trained, tmp_path, method, expose):
    state, trap = copy_of(trained(method), tmp_path / "run"), tmp_path / "trap"
    content = state.read_bytes()
    pickled = np.frombuffer(pickle.dumps(Trap(trap)), np.uint8)
    known = "mean" if method == "evolution" else "model.scaled.returns"
    for name, array, word in (
        ("pickled", pickled, "unknown"),
        (known, np.array(Trap(trap), object), "allow_pickle"),
    ):
        state.write_bytes(changed(content, **{name: array}))
        with refused("resume", "state.npz", "damaged", name, word):
            train(RECIPES[method], state.parent, resume=True)
    state.write_bytes(content)
    expose(state)
    assert same(train(RECIPES[method], state.parent, resume=True), trained(method).checkpoint)
    assert not trap.exists()


@pytest.fixture(scope="module")
def imitating(tmp_path_factory):
    """The folder of a run that was interrupted while it imitates."""
    folder = tmp_path_factory.mktemp("imitating") / "run"
    assert train(PPO, folder, report=interrupting(300)) is None
    return Trained(None, folder, [], [], set())


HOSTILE = [
    ("ppo", {"model.steps": np.array(-1)}, ["do not fit"]),
    ("ppo", {"model.steps": np.array(5.0)}, ["model.steps", "float64", "int64"]),
    ("ppo", {"model.steps": None}, ["model.steps", "missing"]),
    ("ppo", {"model.policy.scorer.out.bias": np.zeros((2, 2))}, ["out.bias", "(2, 2)"]),
    ("ppo", {"model.optimiser.0.exp_avg": np.zeros(3)}, ["0.exp_avg", "(3,)"]),
    ("ppo", {"model.envs.0.ended": np.full(4, 10**12)}, ["do not fit"]),
    ("ppo", {"model.envs.0.ended": np.full(4, 2**63 - 1)}, ["do not fit"]),
    ("ppo", {"model.envs.1.lengths": np.full(4, -1)}, ["do not fit"]),
    ("ppo", {"model.envs.1.lengths": np.zeros(4, np.int64)}, ["actions of 0 steps"]),
    ("ppo", {"model.envs.0.actions": lambda old: old * 0 + 8}, ["8", "a slot, 0 to 7"]),
    ("ppo", {"model.envs.0.actions": lambda old: old * 0}, ["other queues"]),
    ("ppo", {"model.envs.0.actions": lambda old: np.zeros(10**8, np.uint16)}, ["it may take"]),
    ("ppo", {"model.scaled.square": np.array([1.0, -1.0])}, ["of such a size"]),
    ("ppo", {"model.random.numpy.at": np.array([10**6, 0])}, ["generator", "1000000"]),
    ("ppo", {"model.random.python": np.full(625, 2**32 - 1, np.uint32)}, ["state"]),
    ("ppo", {"model.random.torch": lambda old: old * 0}, ["mt19937 state"]),
    ("ppo", {"model.last_episodes": np.zeros((101, 3))}, ["last_episodes", "101 rows", "100"]),
    ("dqn", {"model.replay.at": np.array(125)}, ["125 holds", "is at 125"]),
    ("dqn", {"model.replay.at": np.array(-1)}, ["125 holds", "is at -1"]),
    ("dqn", {"model.replay.rewards": np.zeros((3, 8), np.float32)}, ["3 rewards"]),
    ("dqn", {"model.replay.actions": lambda old: old - 1}, ["no slots"]),
    ("dqn", {"pupil.steps": np.array(8)}, ["pupil", "asks for none"]),
    ("imitating", {"pupil.tilts": np.zeros(3)}, ["pupil.tilts", "(3,)"]),
    ("imitating", {"pupil.steps": np.array(8)}, ["do not fit"]),
    ("imitating", {"model.steps": np.array(8)}, ["unknown"]),
]
"""What is changed in a state of reinforcement learning, and what is said of it."""


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    HOSTILE,
    ids=[f"{at}-{method}-{min(changes)}" for at, (method, changes, _) in enumerate(HOSTILE)],
)
def test_a_state_that_nobody_has_saved_is_refused(
    refused, trained, imitating, tmp_path, method, changes, words
):
    of = imitating if method == "imitating" else trained(method)
    state = copy_of(of, tmp_path / "run")
    with np.load(state) as before:
        new = {
            name: value(before[name]).astype(before[name].dtype) if callable(value) else value
            for name, value in changes.items()
        }
    state.write_bytes(changed(state.read_bytes(), **new))
    with refused("resume", "state.npz", *words):
        train(RECIPES["dqn" if method == "dqn" else "ppo"], state.parent, resume=True)


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
def test_a_state_is_its_users_whatever_new_files_are(tmp_path):
    before = os.umask(0)
    try:
        train(EVOLUTION, tmp_path, report=interrupting(3))
    finally:
        os.umask(before)
    assert (tmp_path / "state.npz").stat().st_mode & 0o022 == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 0}, ["steps", "0", "1 or more"]),
        ({"steps": 2.5}, ["steps", "2.5", "whole number"]),
        ({"steps": True}, ["steps", "True", "whole number"]),
        ({"seed": -1}, ["seed", "-1", "0 or more"]),
        ({"recipe": "evolve"}, ["recipe", "'evolve'", "evolved"]),
    ],
    ids=str,
)
def test_arguments_that_are_refused(refused, tmp_path, arguments, words):
    with refused(*words):
        train(**{"recipe": EVOLUTION, "out": tmp_path / "run", **arguments})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "teacher", ["dysta", "nobody", "pooled.npz", "missing.npz", "evolved:tilt=2"]
)
def test_teachers_that_are_refused(refused, tmp_path, teacher):
    weights = np.zeros(NETWORKS["pooled"].weights(1, select(SCHEDULING)))
    Checkpoint("pooled", "pooled", 1, SCHEDULING, weights, "static").save(tmp_path / "pooled.npz")
    given = str(tmp_path / teacher) if teacher.endswith("npz") else teacher
    recipe = {**PPO, "imitate": {"teacher": given, "steps": 10}}
    with refused("imitate.teacher", given.partition(":")[0]):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()  # so that the next try finds the folder empty


@pytest.mark.parametrize(
    ("method", "missing"),
    [
        ("evolution", "cma"),
        ("evolution", "stable_baselines3.common.logger"),
        ("evolution", "tensorboard"),
        ("ppo", "sb3_contrib"),
        ("dqn", "torch"),
    ],
)
def test_what_is_missing_is_named(refused, monkeypatch, tmp_path, method, missing):
    for name in ("evolution", "reinforcement"):
        monkeypatch.delitem(sys.modules, f"dysta_gym.agents.{name}")
    monkeypatch.setitem(sys.modules, missing, None)
    with refused("train", f"{missing} is missing", 'pip install "dysta-gym[agents]"'):
        train(RECIPES[method], tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- the command line ----------------------------------------------------------------------------

COMMAND = Path(sysconfig.get_path("scripts")) / "dysta-gym"


def begin(*arguments, cwd, program=()):
    """The installed command, or another program, in a process of its own."""
    return subprocess.Popen(
        [*(program or [COMMAND]), "train", *map(str, arguments)], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_the_command_shows_how_it_does_beside_the_reference(trained, tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**EVOLUTION, "steps": 900}))
    running = begin("small.yaml", "--steps", 12, cwd=tmp_path)
    output, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    (line,) = output.splitlines()
    path = Path("runs") / "small-0" / "checkpoint.npz"
    checkpoint, _, reports, _, _ = trained("evolution")
    assert line.startswith(f"{path}: best on validation at step {checkpoint.record['step']} of 12")
    assert f"{checkpoint.record['objective']:.4f}" in line
    assert load(tmp_path / path).weights.tobytes() == checkpoint.weights.tobytes()
    assert errors.splitlines() == [
        f"step {r.step} of 12: violations {100 * r.violation_rate:.2f} % "
        f"({r.reference} {100 * r.reference_violation_rate:.2f}), "
        f"ANTT {r.antt:.2f} ({r.reference} {r.reference_antt:.2f}), "
        f"objective {r.objective:.4f} (best {r.best:.4f})"
        for r in reports
        if r.validated == r.step
    ]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_command_can_be_interrupted_and_goes_on(tmp_path, name):
    if not hasattr(signal, name):
        pytest.skip("this system has no such signal")
    number = getattr(signal, name)
    recipe = {**EVOLUTION, "steps": 40}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(recipe))
    running = begin("small.yaml", "--out", "run", "--seed", 7, cwd=tmp_path)
    assert running.stderr.readline().startswith("step 1 of 40: violations")
    running.send_signal(number)
    output, errors = running.communicate(timeout=120)
    assert running.returncode == 128 + number and output == ""
    *steps, told = errors.splitlines()
    assert all(line.startswith("step ") for line in steps)
    goes_on = "dysta-gym train small.yaml --seed 7 --out run --resume goes on"
    assert told == f"dysta-gym: interrupted; {goes_on}"
    assert (tmp_path / "run" / "state.npz").exists()
    running = begin("small.yaml", "--out", "run", "--seed", 7, "--resume", cwd=tmp_path)
    output, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    assert "run/checkpoint.npz" in output
    other = train(recipe, tmp_path / "other", seed=7)
    assert same(load(tmp_path / "run" / "checkpoint.npz"), other)


TORN = """
import os, signal, sys
import numpy as np
from dysta_gym import cli
whole, left = np.savez, [2]
def torn(path, **arrays):
    whole(path, **arrays)
    left[0] -= 1
    if not left[0]:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
np.savez = torn
cli.main()
"""
"""The command, killed when half of its second state is written."""


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
def test_the_command_can_be_killed_and_goes_on(trained, tmp_path):
    methods = ("evolution", "ppo")
    for method in methods:
        (tmp_path / f"{method}.yaml").write_text(yaml.safe_dump(RECIPES[method]))

    def begun(*program, more=()):
        """The command for each method, at the same time."""
        return {
            method: begin(f"{method}.yaml", "--out", method, *more, cwd=tmp_path, program=program)
            for method in methods
        }

    for method, running in begun(sys.executable, "-W", "ignore", "-c", TORN).items():
        assert running.communicate(timeout=120)[0] == ""
        assert running.returncode == -signal.SIGKILL
        assert list((tmp_path / method).glob(".state.npz.*.scratch"))
    delay = np.random.default_rng().uniform(0, 0.1)
    for method, running in begun(more=["--resume"]).items():
        assert running.stderr.readline().startswith("step"), method
        time.sleep(delay)
        running.kill()
        running.communicate(timeout=120)
        assert running.returncode in (-signal.SIGKILL, 0)  # it may have been that fast
    for method, running in begun(more=["--resume"]).items():
        _, errors = running.communicate(timeout=120)
        assert running.returncode == 0, errors
        run = tmp_path / method
        assert same(load(run / "checkpoint.npz"), trained(method).checkpoint), delay
        assert logged(run) == logged(trained(method).folder), delay
        names = {path.name.split(".tfevents")[0] for path in run.iterdir()}
        assert names == FILES


def test_a_log_that_is_a_link_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    assert train(EVOLUTION, tmp_path / "run", report=interrupting(3)) is None
    link = tmp_path / "run" / "events.out.tfevents.1.link"
    link.symlink_to(tmp_path / "mine")
    state = tmp_path / "run" / "state.npz"
    with np.load(state) as arrays:
        record = json.loads(str(arrays["record"]))
    record["logs"] |= {link.name: 1, "../mine": 1}
    state.write_bytes(changed(state.read_bytes(), record=json.dumps(record)))
    assert train(EVOLUTION, tmp_path / "run", resume=True) is not None
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bad.yaml"], ["bad.yaml", "key 'step' is unknown"]),
        (["nowhere.yaml"], ["nowhere.yaml", "does not exist"]),
        (["evolve"], ["'evolve'", "evolved"]),
        ([], ["RECIPE"]),
        (["evolved", "--steps", "0"], ["steps", "0"]),
        (["evolved", "--seed", "-1"], ["seed", "-1"]),
        (["evolved", "--steps", "many"], ["--steps", "integer"]),
        (["evolved", "--resume", "--out", "."], ["resume", "no run", "'.'"]),
        (["evolved", "--out", "bad.yaml"], ["out", "bad.yaml", "is a file"]),
        (["evolved", "--out", "."], ["out", "'.'", "not empty", "--resume"]),
    ],
    ids=str,
)
def test_the_command_refuses_in_a_line(monkeypatch, capsys, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(yaml.safe_dump({**EVOLUTION, "step": 3}))
    monkeypatch.setattr(sys, "argv", ["dysta-gym", "train", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    output, errors = capsys.readouterr()
    assert ended.value.code == 2 and output == ""
    assert errors.startswith("dysta-gym: error: ") and len(errors.splitlines()) == 1, errors
    for word in words:
        assert word in errors
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]
