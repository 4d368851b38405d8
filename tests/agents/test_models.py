"""Models of Stable-Baselines3 in files, judged by `compare` beside rules."""

import base64
import contextlib
import io
import json
import os
import pickle
import subprocess
import sys
import sysconfig
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dysta_gym import DystaError, compare, compare_on, find, load_scenario
from dysta_gym.agents import evaluate, export
from dysta_gym.entries import entered
from dysta_gym.sweeps import frames, opened, sweep

with warnings.catch_warnings():  # what they warn of while they are imported is not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    sb3 = pytest.importorskip("stable_baselines3")
    contrib = pytest.importorskip("sb3_contrib")
    from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

    from dysta_gym.agents import ScoringPolicy, SparseMultiDNNVecEnv, ValidationCallback
    from dysta_gym.agents.models import _statistics

TOLD = {"slots": 4, "requests": 5, "decisions": "events", "level": "sized"}
WORKLOADS = {"scenarios": ["multi-attnn", "multi-cnn"], "requests": 6, "seeds": range(3)}
ON_POLICY = {"n_steps": 8, "batch_size": 8}
OFF_POLICY = {"buffer_size": 50, "learning_starts": 4}
KINDS = [
    (sb3.PPO, "MlpPolicy", ON_POLICY),
    (sb3.A2C, "MlpPolicy", {"n_steps": 8}),
    (sb3.DQN, "MlpPolicy", OFF_POLICY),
    (contrib.MaskablePPO, "MlpPolicy", ON_POLICY),
    (contrib.MaskablePPO, ScoringPolicy, ON_POLICY),
    (contrib.RecurrentPPO, "MlpLstmPolicy", ON_POLICY),
    (contrib.QRDQN, "MlpPolicy", OFF_POLICY),
    (contrib.TRPO, "MlpPolicy", ON_POLICY),
    (contrib.ARS, "LinearPolicy", {"n_delta": 1}),
]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(kind, policy, more, env=None):
    env = env or SparseMultiDNNVecEnv(2, **TOLD)
    return kind(policy, env, device="cpu", seed=0, **more).learn(16)


def small():
    return trained(*KINDS[3])


@pytest.mark.parametrize(("kind", "policy", "more"), KINDS)
def test_a_model_is_judged_beside_rules(folder, kind, policy, more):
    model = trained(kind, policy, more)
    model.save("model.zip")
    progress = []
    table = compare(
        policies=["sjf", "model.zip", "dysta"], **WORKLOADS,
        progress=lambda *each: progress.append(each),
    )  # fmt: skip
    assert progress == [(done, 12) for done in range(1, 13)]
    assert table["policy"].tolist() == ["sjf", "model.zip@sized", "dysta"] * 6
    rules = table[table["policy"] != "model.zip@sized"].reset_index(drop=True)
    expected = compare(policies=["sjf", "dysta"], **WORKLOADS)
    pd.testing.assert_frame_equal(rules, expected, check_exact=True)
    mine = table[table["policy"] == "model.zip@sized"].reset_index(drop=True)
    judged = evaluate(model, **WORKLOADS, name="model.zip")
    pd.testing.assert_frame_equal(mine, judged, check_exact=True)
    # What is in the file is of this class, which the file does not name.
    from dysta_gym.agents.models import model_of_file

    assert type(model_of_file("model.zip", False)._model) is kind


@pytest.mark.parametrize("kind", [sb3.PPO, sb3.DQN])
def test_normalised_observations(folder, refused, kind):
    env = VecNormalize(SparseMultiDNNVecEnv(2, **TOLD))
    model = trained(kind, "MlpPolicy", ON_POLICY if kind is sb3.PPO else OFF_POLICY, env)
    model.save("model.zip")
    with refused("'model.zip'", "normalised", "no 'vecnormalize.pkl'", "env.save"):
        compare(policies=["model.zip"], **WORKLOADS)
    env.save("vecnormalize.pkl")
    mine = compare(policies=["model.zip"], **WORKLOADS)
    pd.testing.assert_frame_equal(mine, evaluate(model, **WORKLOADS, name="model.zip"))
    Path("vecnormalize.pkl").chmod(0o666)
    with refused("'vecnormalize.pkl'", "written to by others", "--trust"):
        compare(policies=["model.zip"], **WORKLOADS)
    compare(policies=["model.zip"], **WORKLOADS, trust=True)
    Path("vecnormalize.pkl").chmod(0o600)
    Path("vecnormalize.pkl").write_bytes(pickle.dumps(5))
    with refused("'vecnormalize.pkl'", "int", "VecNormalize.save"):
        compare(policies=["model.zip"], **WORKLOADS)
    Path("vecnormalize.pkl").write_bytes(b"no pickle")
    with refused("'vecnormalize.pkl'", "damaged"):
        compare(policies=["model.zip"], **WORKLOADS)


class Runs:
    def __reduce__(self):
        return exec, ("open('ran', 'w')",)


@pytest.mark.parametrize("key", ["policy_class", "observation_space", "mine", "_last_obs"])
def test_a_model_that_runs_code_of_its_own_is_asked_for(folder, refused, key):
    small().save("model.zip")
    content = {}
    with zipfile.ZipFile("model.zip") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(content["data"])
    code = base64.b64encode(pickle.dumps(Runs())).decode()
    data[key] = {":type:": "<class>", ":serialized:": code}
    with zipfile.ZipFile("model.zip", "w") as archive:
        for name, each in (content | {"data": json.dumps(data)}).items():
            archive.writestr(name, each)
    with refused("'model.zip'", "builtins.exec", "--trust"):
        compare(policies=["model.zip"], **WORKLOADS)
    assert not Path("ran").exists()
    with contextlib.suppress(Exception):  # of what there is now instead of a policy
        compare(policies=["model.zip"], **WORKLOADS, trust=True)
    assert Path("ran").exists()


def with_weights(content):
    """A model of which the weights are replaced."""
    small().save("model.zip")
    with zipfile.ZipFile("model.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile("model.zip", "w") as archive:
        for name, each in (members | {"policy.pth": content}).items():
            archive.writestr(name, each)


class Makes:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_run_no_code(folder, refused, zipped):
    file = io.BytesIO()
    torch.save(
        {"weight": torch.zeros(3), "more": Makes()}, file, _use_new_zipfile_serialization=zipped
    )
    with_weights(file.getvalue())
    for trust in (False, True):
        with pytest.raises(
            DystaError, match=r"runs code of its own .* \((posix|nt)\.mkdir\)"
        ) as why:
            compare(policies=["model.zip"], **WORKLOADS, trust=trust)
        assert "damaged" not in str(why.value) and "weights_only" not in str(why.value)
    assert not Path("ran").exists()
    with_weights(pickle.dumps({"weight": 0}, protocol=4))
    with refused("'model.zip'", "damaged", "(weights that torch does not read)"):
        compare(policies=["model.zip"], **WORKLOADS)


def test_what_a_pickle_names_is_found_without_running_it(folder):
    from dysta_gym.agents.pickles import named, strange

    assert named(pickle.dumps([Runs(), {"a": Runs()}])) == {"builtins.exec"}
    assert strange(pickle.dumps(np.random.default_rng(0))) == []
    # Through a module that is plain, what it has imported is reached, too.
    assert strange(b"\x80\x04\x8c\x10torch.optim.adam\x8c\x0atorch.load\x93.") == [
        "torch.optim.adam.torch.load"
    ]
    # What is called for its result is not called, nor is memory taken for an index of a thousand
    # million.
    pickled = b"\x80\x04cposix\nsystem\n(S'touch ran'\ntR(cos\ngetcwd\n)R\x94r\x00\xca\x9a;lb."
    assert named(pickled) == {"posix.system", "os.getcwd"}
    assert not Path("ran").exists()


def test_models_alone_and_on_tracks(folder):
    small().save("one.zip")
    small().save("two.zip")
    both = compare(policies=["one.zip@sized", "two.zip"], **WORKLOADS, jobs=1)
    assert both["policy"].tolist() == ["one.zip@sized", "two.zip@sized"] * 6
    assert both["antt_lower_bound"].notna().all()
    blocks = [{"scenarios": ["multi-attnn"], "changes": {"requests": 6}, "suffix": "-x"}]
    track = {"name": "t", "blocks": blocks, "seeds": {"first": 0, "count": 3}, "split": "test"}
    once = compare_on([track], ["fcfs", "one.zip"], bounds=False)
    here = (both["scenario"] == "multi-attnn") & (both["policy"] == "one.zip@sized")
    theirs = once[once["policy"] == "one.zip@sized"]
    assert theirs["antt"].tolist() == both[here]["antt"].tolist()


def test_a_decision_that_takes_time(folder):
    small().save("model.zip")
    slow = load_scenario("multi-attnn").varied(requests=6, decision_cost={"fixed_s": 1.0})
    table = compare([slow], ["model.zip", "fcfs"], seeds=range(3))
    expected = evaluate(small(), [slow], seeds=range(3), name="model.zip")
    mine = table[table["policy"] == "model.zip@sized"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, expected)


def test_what_is_refused(folder, refused):
    small().save("model.zip")

    def judge(spec, **more):
        return compare(policies=["fcfs", spec], **WORKLOADS, **more)

    with refused("'model.zip@static'", "level", "'static'", "'sized'"):
        judge("model.zip@static")
    with refused("'model.zip@sized:a=1'", "'a=1'", "no parameters"):
        judge("model.zip@sized:a=1")
    with refused("policy", "model.zip@sized", "more than once"):
        compare(policies=["model.zip", "model.zip@sized"], **WORKLOADS)
    with refused("'absent.zip'", "cannot be read", "No such file"):
        judge("absent.zip")
    with refused("null", "cannot be read"):
        judge("null\0.zip")
    with refused("policy", "MaskablePPO", "dysta_gym.agents.evaluate"):
        judge(small())
    for use in (find, lambda spec: entered(spec, ["paper"])):
        with refused("'model.zip'", "no scoring rule", "compare"):
            use("model.zip")
    Path("text.zip").write_text("no zip")
    with zipfile.ZipFile("other.zip", "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": 5}))
    with zipfile.ZipFile("empty.zip", "w"):
        pass
    content = Path("model.zip").read_bytes()
    Path("short.zip").write_bytes(content[: len(content) // 2])
    for name in ("text.zip", "empty.zip", "short.zip"):
        with refused(f"'{name}'", "damaged"):
            judge(name)
    with refused("'other.zip'", "no algorithm", "evaluate"):
        judge("other.zip")
    Path("folder.zip").mkdir()
    os.mkfifo("pipe.zip")
    for name in ("folder.zip", "pipe.zip"):
        for trust in (False, True):
            with refused(f"'{name}'", "no regular file"):
                judge(name, trust=trust)
    stacked = trained(*KINDS[0], env=VecFrameStack(SparseMultiDNNVecEnv(2, **TOLD), 2))
    stacked.save("stacked.zip")
    with refused("'stacked.zip'", "give level, features, decisions", "dysta_gym.agents.evaluate"):
        judge("stacked.zip")


class Touch:
    """Pickled, it makes a file when it is read."""

    def __reduce__(self):
        return open, ("touched", "w")


def test_only_ones_own_file_is_read(folder, refused):
    model = small()
    model.touch = Touch()
    model.save("model.zip")
    Path("link.zip").symlink_to("model.zip")
    Path("model.zip").chmod(0o666)
    for name, why in (("model.zip", "written to by others"), ("link.zip", "link")):
        with refused(f"'{name}'", why, "--trust", "trust=True"):
            compare(policies=[name], **WORKLOADS)
    assert not Path("touched").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        compare(policies=["model.zip", "link.zip"], **WORKLOADS, trust=True)
    assert Path("touched").exists()


def test_a_folder_of_others_holds_no_model_of_ones_own(folder, refused):
    env = VecNormalize(SparseMultiDNNVecEnv(2, **TOLD))
    Path("shared").mkdir()
    trained(*KINDS[0], env).save("shared/model.zip")
    env.save("shared/vecnormalize.pkl")
    for mode in (0o777, 0o1777, 0o755):  # the second one as of /tmp
        Path("shared").chmod(mode)
        if mode == 0o777:
            for use in (export, lambda path: compare(policies=[path], **WORKLOADS)):
                with refused("'shared/model.zip'", "in which others may replace it", "--trust"):
                    use("shared/model.zip")
            with refused("vecnormalize.pkl'", "in which others may replace it", "--trust"):
                _statistics(Path("shared/vecnormalize.pkl"), False)
            compare(policies=["shared/model.zip"], **WORKLOADS, trust=True)
        else:
            compare(policies=["shared/model.zip"], **WORKLOADS)


# --- threads -------------------------------------------------------------------------------------


def test_a_model_plays_on_one_thread_and_leaves_the_others_to_whoever_has_them(folder, monkeypatch):
    model, seen = small(), []
    model.save("model.zip")
    real = contrib.MaskablePPO.predict

    def predict(*arguments, **more):
        seen.append(torch.get_num_threads())
        return real(*arguments, **more)

    monkeypatch.setattr(contrib.MaskablePPO, "predict", predict)
    alone = compare(policies=["model.zip"], **WORKLOADS, jobs=1)
    torch.set_num_threads(2)
    tables = [compare(policies=["model.zip"], **WORKLOADS, jobs=2)]
    tables.append(evaluate(model, **WORKLOADS, name="model.zip", batch=1))
    grid = WORKLOADS | {"policies": ["model.zip"], "seeds": {"count": 3}}
    for jobs in (1, 2):  # in this process, and in two that have as many threads as there are cores
        sweep(grid, f"jobs{jobs}", jobs=jobs)
        with opened(f"jobs{jobs}") as store:
            tables.append(pd.concat(frames([store]), ignore_index=True))
    for table in tables:
        pd.testing.assert_frame_equal(table, alone, check_exact=True)
    played = len(seen)
    callback = ValidationCallback(workloads=1, requests=5, every=16, share=1, verbose=0)
    model.learn(16, callback=callback)
    assert len(seen) > played > 0 and set(seen) == {1}
    assert torch.get_num_threads() == 2

    def first(observations, masks):  # which says itself how many it takes
        seen.append(torch.get_num_threads())
        return masks.argmax(1)

    evaluate(first, ["multi-attnn"], requests=5, seeds=[0])
    assert seen[-1] == 2


COMMAND = Path(sysconfig.get_path("scripts")) / "dysta-gym"
FEW = ("--scenario", "multi-attnn", "--requests", "6", "--seeds", "3")


def run(*arguments, status=0, program=(COMMAND,)):
    done = subprocess.run(
        [*program, *arguments], capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr.splitlines()


def test_the_command(folder):
    env = VecNormalize(SparseMultiDNNVecEnv(2, **TOLD))
    trained(*KINDS[0], env).save("model.zip")
    env.save("vecnormalize.pkl")
    policies = ("--policy", "sjf", "--policy", "model.zip")
    out, errors = run("compare", *FEW, *policies, "--reference", "model.zip", "--jobs", "1",
                      "--out", "out")  # fmt: skip
    assert "differences to model.zip@sized" in out
    jobs, note = errors
    assert jobs.startswith("dysta-gym: jobs: ") and "model.zip" in jobs
    assert "normalised by vecnormalize.pkl" in note
    table = pd.read_csv("out/results.csv")
    assert table["policy"].tolist() == ["sjf", "model.zip@sized"] * 3
    assert np.isfinite(table["antt"]).all()
    assert "model.zip@sized" in Path("out/results.md").read_text()
    assert Path("out/trade-off.png").stat().st_size > 1000
    Path("model.zip").chmod(0o666)
    _, errors = run("compare", *FEW, *policies, status=2)
    assert len(errors) == 1 and "--trust" in errors[0]
    _, errors = run("compare", *FEW, *policies, "--trust")
    assert len(errors) == 1


def test_without_the_extra(folder):
    Path("model.zip").touch()
    program = """
import sys
sys.modules["stable_baselines3"] = sys.modules["sb3_contrib"] = None
from dysta_gym.cli import main
main()
"""
    _, errors = run(
        "compare", *FEW, "--policy", "model.zip", status=2, program=(sys.executable, "-c", program)
    )
    (line,) = errors
    assert "sb3_contrib is missing" in line and 'pip install "dysta-gym[agents]"' in line
