"""Environments that are brought to where they were."""

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from dysta_gym.agents.recording import RecordedEnvs, RecordedVecEnv


def envs():
    """Environments with short episodes, of different lengths."""
    env = RecordedEnvs(
        RecordedVecEnv(
            3, scenario=name, requests=requests, slots=8, decisions="events", reward="shaped"
        )
        for name, requests in (("multi-attnn", 7), ("multi-cnn", 40))
    )
    env.seed(5)
    return env


@pytest.mark.parametrize("steps", [0, 1, 13, 300])
def test_they_go_on_from_where_they_were(steps):
    rng, env = np.random.default_rng(steps), envs()
    seen = env.reset()
    for step in range(steps):
        if step == steps // 2:
            env.parts[0].penalty = 3.0  # what is owed does not depend on it
        seen, *_ = env.step(rng.integers(8, size=6))
    other = envs()
    other.reset()
    other.parts[0].penalty = env.parts[0].penalty
    state = {name: array.copy() for name, array in env.state(seen).items()}
    assert other.restore(state, 6 * steps).tobytes() == seen.tobytes()
    again = other.state(seen)
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: array.tobytes() for name, array in state.items()
    }
    for _ in range(200):
        actions = rng.integers(8, size=6)
        (seen, *told), (also, *said) = env.step(actions), other.step(actions)
        assert seen.tobytes() == also.tobytes()
        for ours, theirs in zip(told[2], said[2], strict=True):
            for info in (ours, theirs):
                info.get("episode", {}).pop("t", None)
        assert str(told) == str(said)


def test_where_nothing_leads_is_refused(capsys):
    env = envs()
    seen = env.reset()
    for _ in range(6):
        seen, *_ = env.step(np.zeros(6, np.int64))
    state = env.state(seen)
    state["observations"] = np.nextafter(seen, np.float32(9))
    assert envs_at(state, 36).tobytes() == seen.tobytes()
    (line,) = capsys.readouterr().err.splitlines()
    assert "resume" in line and "rounds in another way" in line
    longer = {**state, "0.lengths": np.full(3, 60), "0.actions": np.zeros(180, np.uint16)}
    with pytest.raises(ValueError, match="ends before its last action"):
        envs_at(longer, 360)


def envs_at(state, steps):
    """What environments show that have been brought to a state."""
    env = envs()
    env.reset()
    return env.restore(state, steps)
