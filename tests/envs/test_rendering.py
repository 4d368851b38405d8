"""What is to be seen of an environment."""

import copy
import pickle
import re
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import HumanRendering, RecordVideo

from dysta_gym.envs import SparseMultiDNNEnv, SparseMultiDNNVectorEnv
from dysta_gym.envs.scene import scene_of

ID = "SparseMultiDNN-v0"
SMALL = {"requests": 8, "slots": 8, "load": 1.5, "slo_multiplier": 2}


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("PYGAME_HIDE_SUPPORT_PROMPT", "1")


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def played(mode, steps=90, **arguments):
    """An environment amid an episode, and the last info."""
    env = SparseMultiDNNEnv(render_mode=mode, **{**SMALL, **arguments})
    _, info = env.reset(seed=4)
    for _ in range(steps):
        *_, ended, _, info = env.step(env.action_of("sjf@monitored"))
        if ended:
            break
    return env, info


# --- info ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("decisions", ["layers", "events"])
def test_info_says_who_ran_and_how_long(decisions):
    env = SparseMultiDNNEnv(decisions=decisions, **SMALL)
    _, info = env.reset(seed=0)
    assert (info["request"], info["model"], info["ran_s"]) == (-1, -1, 0.0)
    workload = env.machine.workload
    ran_s = np.zeros(len(workload))
    rng = np.random.default_rng(0)
    ended = False
    while not ended:
        action, size = int(rng.integers(8)), env.machine.size
        expected = env.machine.queue.request[action if action < size else 0]
        *_, ended, _, info = env.step(action)
        assert info["request"] == expected
        assert info["model"] == workload.model[expected]
        assert info["ran_s"] > 0
        ran_s[info["request"]] += info["ran_s"]
    np.testing.assert_allclose(ran_s, workload.isolated_s, rtol=1e-12)


# --- what is drawn -------------------------------------------------------------------------------


def test_the_scene_is_the_state_of_the_machine():
    env, info = played("rgb_array")
    workload, machine, queue = env.machine.workload, env.machine, env.machine.queue
    scene = scene_of(env._episode, workload.store, env.level)
    assert scene.now_s == info["time_s"] and scene.size == info["queue_size"] > 1
    assert (scene.last.request, scene.last.model) == (info["request"], info["model"])
    assert scene.last.latency_s == info["ran_s"]
    trace = workload.store.traces[workload.trace[scene.last.request]]
    row = workload.row[scene.last.request]
    assert scene.last.sparsity == trace.sparsity[row, scene.last.layer]
    assert scene.last.name == trace.layer_names[scene.last.layer]
    finish, deadline = machine.schedule().finish_s, workload.deadline_s
    missed = np.where(np.isnan(finish), machine.now, finish) > deadline
    assert scene.late == missed.sum() > 0
    assert [each.request for each in scene.queue] == queue.request[: scene.size].tolist()
    for slot, each in enumerate(scene.queue):
        assert each.due_s == queue.deadline[slot] - machine.now
        assert each.slack_s == each.due_s - queue.remaining[slot]
        assert (each.executed, each.layers) == (queue.executed[slot], queue.layers[slot])
    runs = scene.runs
    assert (runs.end_s[:-1] <= runs.start_s[1:] + 1e-12).all() and runs.end_s[-1] == machine.now
    assert (np.diff(runs.request) != 0).all()


def test_text_says_all_there_is():
    env, info = played("ansi")
    coloured = env.render()
    text = plain(coloured)
    assert "\x1b[" in coloured and text.isascii()
    lines = text.splitlines()
    models = env.store.models
    assert f"queue {info['queue_size']}   finished" in lines[0]
    assert f"#{info['request']} {models[info['model']]}, layer" in lines[2]
    rows = [line for line in lines if re.match(r" +\d+[> ]", line)]
    assert len(rows) == info["queue_size"]
    for slot, row in enumerate(rows):
        assert f"#{env.machine.queue.request[slot]} " in row
    assert sum(">" in row for row in rows) <= 1
    assert any(row.endswith("late") for row in rows)
    (strip,) = [line for line in lines if line.startswith("|")]
    assert set(strip) <= {*"| ABC"} and len({*strip} - {*"| "}) > 1
    for letter, name in zip("ABC", models, strict=True):
        assert f" {letter}  {name}" in lines[-1]


def test_pictures_have_one_colour_a_network_and_red_where_something_is_late():
    env, _ = played("rgb_array")
    frame = env.render()
    assert frame.dtype == np.uint8 and frame.shape == (544, 960, 3)
    colours = {tuple(each) for each in frame.reshape(-1, 3).tolist()}
    assert {(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73)} <= colours
    assert (0xC8, 0x10, 0x2E) in colours and len(colours) > 30
    np.testing.assert_array_equal(frame, env.render())
    fresh = SparseMultiDNNEnv(render_mode="rgb_array", **SMALL)
    fresh.reset(seed=4)
    before = {tuple(each) for each in fresh.render().reshape(-1, 3).tolist()}
    assert (0xC8, 0x10, 0x2E) in before  # of the legend alone
    assert (0xFB, 0xE9, 0xEC) in colours - before  # behind what is late


@pytest.mark.parametrize("decisions", ["layers", "events"])
@pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
def test_drawing_changes_nothing_and_goes_on_to_the_end(mode, decisions):
    drawn = SparseMultiDNNEnv(render_mode=mode, decisions=decisions, **SMALL)
    other = SparseMultiDNNEnv(decisions=decisions, **SMALL)
    for seed in (0, 1):
        one, two = drawn.reset(seed=seed)[0], other.reset(seed=seed)[0]
        ended = steps = 0
        while not ended:
            if steps % 40 == 0:
                drawn.render()
            assert one.tobytes() == two.tobytes()
            action = drawn.action_of("edf")
            one, reward, ended, _, info = drawn.step(action)
            two, *told, _ = other.step(action)
            assert told == [reward, ended, False]
            steps += 1
        last = drawn.render()
        assert info["queue_size"] == 0 and len(last)


def test_given_workloads_of_any_unit_and_idle_layers_are_drawn(workload):
    for mode in ("rgb_array", "ansi"):
        env = SparseMultiDNNEnv(render_mode=mode, **SMALL)
        env.reset(options={"workload": workload})
        ended = False
        while not ended:
            assert len(env.render())
            *_, ended, _, _ = env.step(0)
        assert "small" in plain(env.render()) if mode == "ansi" else env.render().any()


# --- Gymnasium's side ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, "human", "rgb_array", "ansi"])
def test_gymnasiums_checker(mode, capsys):
    env = gym.make(ID, render_mode=mode, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    assert gym.make(ID, render_mode="rgb_array_list", **SMALL).render_mode == "rgb_array_list"


def test_render_without_a_mode_or_an_episode(refused):
    env = SparseMultiDNNEnv(**SMALL)
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode, one of human, rgb_array, ansi"):
        assert env.render() is None
    for make in (SparseMultiDNNEnv, SparseMultiDNNVectorEnv):
        with refused("render", "call reset first"):
            make(render_mode="ansi", **SMALL).render()


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_vectors_draw_what_so_many_single_environments_do(mode, workload):
    many = gym.make_vec(ID, num_envs=3, render_mode=mode, **SMALL)
    singles = [SparseMultiDNNEnv(render_mode=mode, **SMALL) for _ in range(3)]
    many.reset(seed=5)
    for seed, env in enumerate(singles):
        env.reset(seed=5 + seed)
    for _ in range(60):
        many.step(np.array([0, 1, 2]))
        for action, env in enumerate(singles):
            env.step(action)
    assert isinstance(many.render(), tuple)
    for one, env in zip(many.render(), singles, strict=True):
        np.testing.assert_array_equal(one, env.render())
    mask = np.array([False, True, False])
    many.reset(options={"workload": workload, "reset_mask": mask})
    singles[1].reset(options={"workload": workload})
    many.step(np.zeros(3, int))
    singles[1].step(0)
    np.testing.assert_array_equal(many.render()[1], singles[1].render())
    copied = pickle.loads(pickle.dumps(many.unwrapped))
    np.testing.assert_array_equal(copied.render()[1], singles[1].render())


@pytest.mark.parametrize("mode", ["human", "rgb_array"])
def test_copies_draw_for_themselves(mode, capsys):
    env, _ = played(mode, steps=3)
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        twin.step(0)
        assert twin.render_mode == mode
        twin.close()
    env.step(0)
    env.close()


def test_record_video(tmp_path):
    pytest.importorskip("moviepy")
    env = gym.make(ID, render_mode="rgb_array", decisions="events", **SMALL)
    env = RecordVideo(env, str(tmp_path / "videos"))
    env.reset(seed=0)
    ended = False
    while not ended:
        *_, ended, _, _ = env.step(0)
    env.close()
    (video,) = tmp_path.glob("videos/*.mp4")
    assert video.stat().st_size > 1000


def test_human_draws_in_a_window():
    pygame = pytest.importorskip("pygame")
    env, _ = played("human", steps=2)
    shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    assert shown.shape == (544, 960, 3)
    assert env.render() is None
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    env.step(0)  # which sees that the window has been closed
    assert not pygame.display.get_init()
    env.step(0)
    env.close()
    wrapped = HumanRendering(gym.make(ID, render_mode="rgb_array", **SMALL))
    wrapped.reset(seed=0)
    wrapped.close()


@pytest.mark.parametrize("missing", ["pygame", "display"])
def test_human_writes_text_where_there_is_no_window(monkeypatch, capsys, missing):
    if missing == "pygame":
        monkeypatch.setitem(sys.modules, "pygame", None)
    else:
        monkeypatch.setattr(sys, "platform", "linux")
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
            monkeypatch.delenv(name, raising=False)
    env, info = played("human", steps=2)
    shown = capsys.readouterr().out
    assert shown.count("queue ") == 3 and "\x1b" not in shown
    assert f"#{info['request']} " in shown
    env.close()
    env.step(0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("make", "mode", "words"),
    [
        (SparseMultiDNNEnv, "depth_array", ["human", "rgb_array", "ansi", "None"]),
        (SparseMultiDNNEnv, 3, ["human", "rgb_array", "ansi", "None"]),
        (SparseMultiDNNVectorEnv, "human", ["rgb_array", "ansi", "None"]),
    ],
)
def test_other_render_modes_are_refused(refused, make, mode, words):
    with refused("render_mode", repr(mode), *words):
        make(render_mode=mode, **SMALL)


def test_stable_baselines_3_gets_pictures():
    pytest.importorskip("stable_baselines3")
    from dysta_gym.agents import SparseMultiDNNVecEnv

    env = SparseMultiDNNVecEnv(2, render_mode="rgb_array", **SMALL)
    env.reset()
    assert env.render().shape[2] == 3
    assert [image.shape for image in env.get_images()] == [(544, 960, 3)] * 2
