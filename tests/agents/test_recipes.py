"""Recipes: what they may say, and what is said about what they may not."""

import copy

import pytest
import yaml

from dysta_gym import shipped_trace
from dysta_gym.agents import load_recipe
from dysta_gym.agents.protocol import VALIDATION, conditions
from dysta_gym.agents.recipes import shipped_recipes
from dysta_gym.features import CONDITIONED, SCHEDULING
from dysta_gym.information import ALL_LEVELS
from dysta_gym.traces import HELD_OUT

COMMON = {
    "name": "mine",
    "level": "monitored",
    "workloads": {"scenarios": ["multi-attnn", "multi-cnn"], "loads": [0.9], "requests": 50},
    "steps": 1000,
    "validate_every": 100,
}
EVOLUTION = {**COMMON, "method": "evolution", "network": {"kind": "tiny", "width": 0}}
PPO = {**COMMON, "method": "ppo", "network": {"kind": "pooled", "width": 4}}
DQN = {**PPO, "method": "dqn"}
RECIPES = {"evolution": EVOLUTION, "ppo": PPO, "dqn": DQN}


def changed(recipe, changes):
    """A recipe with other values, by dotted names; ``...`` takes a key away."""
    recipe = copy.deepcopy(recipe)
    for name, value in changes.items():
        *path, last = name.split(".")
        inner = recipe
        for part in path:
            inner = inner.setdefault(part, {})
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return recipe


def test_shipped_recipes():
    assert list(shipped_recipes()) == ["dqn", "evolved", "pareto", "ppo"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe(name):
    recipe, path = load_recipe(name), shipped_recipes()[name]
    assert recipe.name == name and recipe.workloads.distribution == "random"
    assert recipe.method == {"evolved": "evolution"}.get(name, name)
    assert load_recipe(path) == load_recipe(str(path)) == recipe
    assert load_recipe(yaml.safe_load(path.read_text())) == recipe
    assert load_recipe(recipe.model_dump(mode="json")) == recipe


def test_what_is_seen_unless_told_otherwise():
    assert load_recipe(EVOLUTION).features == SCHEDULING == load_recipe("evolved").features
    shipped = yaml.safe_load(shipped_recipes()["pareto"].read_text())
    assert "features" not in shipped
    assert load_recipe(shipped).features == CONDITIONED
    assert load_recipe("pareto").model_dump(mode="json")["features"] == [*CONDITIONED]


def test_what_does_not_count_is_not_recorded():
    """Earlier versions did, so that their records, with what was nowhere given, are read."""
    random, named = (load_recipe(each).model_dump() for each in ("pareto", EVOLUTION))
    assert {*named["workloads"]} - {*random["workloads"]} == {"loads", "slo_multiplier", "requests"}
    its_own = {"mixes", "frames", "uncertain"}
    assert {*random["workloads"]} - {*named["workloads"]} == its_own
    earlier = changed(random, {"workloads.loads": (0.8, 0.95, 1.05), "workloads.requests": None})
    assert load_recipe(earlier) == load_recipe("pareto")


@pytest.mark.parametrize("method", RECIPES)
def test_a_recipe_of_ones_own(tmp_path, method):
    recipe = load_recipe(RECIPES[method])
    assert recipe.method == method and recipe.workloads.loads == (0.9,)
    assert load_recipe(recipe.model_dump()) == recipe
    for name in ("mine.yaml", "mine.yml"):
        (tmp_path / name).write_text(yaml.safe_dump(RECIPES[method]))
        assert load_recipe(tmp_path / name) == load_recipe(str(tmp_path / name)) == recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.steps = 3


def test_a_scenario_may_be_a_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "{name: mine, accelerator: sanger, traces: {mpnet: 1}, arrivals: {process: poisson}, "
        "load: 0.9, slo_multiplier: 10, priorities: [1], requests: 9}"
    )
    path = str(tmp_path / "mine.yaml")
    assert load_recipe(changed(PPO, {"workloads.scenarios": [path]})).workloads.scenarios == (path,)


ALL = {
    **{f"no {key}": ({key: ...}, [repr(key), "missing"]) for key in COMMON if key != "level"},
    "no network": ({"network": ...}, ["'network'", "missing"]),
    "no width": ({"network.width": ...}, ["'network.width'", "missing"]),
    "no scenarios": ({"workloads.scenarios": ...}, ["workloads", "scenarios", "none"]),
    "no method": ({"method": ...}, ["method", "missing", "'evolution', 'pareto', 'ppo', 'dqn'"]),
    "method": ({"method": "sarsa"}, ["method", "'sarsa'", "'evolution', 'pareto', 'ppo', 'dqn'"]),
    "key": ({"stepps": 3}, ["'stepps'", "unknown", "validate_every", "workloads"]),
    "key of workloads": (
        {"workloads.load": 1}, ["'workloads.load'", "unknown", "slo_multiplier", "validation"],
    ),
    "key of network": ({"network.depth": 1}, ["'network.depth'", "unknown", "kind, width"]),
    "name": ({"name": "../mine"}, ["name", "'../mine'"]),
    "no text": ({"name": 3}, ["name", "3"]),
    "level": ({"level": "psychic"}, ["level", "'psychic'", *ALL_LEVELS]),
    "option": ({"level": "sized/length"}, ["level", "'sized/length'", "sized/kalman"]),
    "scenario": ({"workloads.scenarios": ["x"]}, ["workloads.scenarios", "'x'", "multi-attnn"]),
    "scenario file": ({"workloads.scenarios": ["x.yaml"]}, ["workloads.scenarios", "'x.yaml'"]),
    "no list": ({"workloads.scenarios": "multi-attnn"}, ["workloads.scenarios", "'multi-attnn'"]),
    "no scenario": ({"workloads.scenarios": []}, ["workloads", "scenarios", "none"]),
    "no load": ({"workloads.loads": []}, ["workloads.loads", "[]"]),
    "load": ({"workloads.loads": [0.9, -0.5]}, ["workloads.loads.1", "-0.5", "greater than 0"]),
    "named load": ({"workloads.loads": ["heavy"]}, ["workloads.loads.0", "'heavy'", "number"]),
    "deadlines": ({"workloads.slo_multiplier": 0}, ["workloads.slo_multiplier", "0"]),
    "requests": ({"workloads.requests": 0}, ["workloads.requests", "0", "greater than 0"]),
    "validation": ({"workloads.validation": 0}, ["workloads.validation", "0"]),
    "workloads": ({"workloads": 3}, ["workloads", "3"]),
    "features": ({"features": ["size", "x"]}, ["features", "'x'", "wide_slack"]),
    "features twice": ({"features": ["size", "size"]}, ["features", "'size'", "once"]),
    "hidden features": ({"features": ["size", "behind"]}, ["features", "'behind'", "environment"]),
    "presence": ({"features": ["size", "present"]}, ["features", "'present'"]),
    "no request": ({"features": ["length"]}, ["features", "request"]),
    "no feature": ({"features": []}, ["features", "none"]),
    "network": ({"network": "tiny"}, ["network", "'tiny'"]),
    "kind": ({"network.kind": "huge"}, ["network.kind", "'huge'", "'tiny'", "'pooled'"]),
    "negative width": ({"network.width": -1}, ["network.width", "-1"]),
    "half a width": ({"network.width": 1.5}, ["network.width", "1.5", "integer"]),
    "no steps at all": ({"steps": 0}, ["steps", "0", "greater than 0"]),
    "negative steps": ({"steps": -5}, ["steps", "-5", "greater than 0"]),
    "half a step": ({"steps": 2.5}, ["steps", "2.5", "integer"]),
    "steps in words": ({"steps": "many"}, ["steps", "'many'", "integer"]),
    "validate_every": ({"validate_every": 0}, ["validate_every", "0"]),
}  # fmt: skip

OF_EVOLUTION = {
    "pooled": ({"network.kind": "pooled"}, ["network.kind", "'pooled'", "'tiny'"]),
    "batch": ({"pool": 4, "batch": 5}, ["batch", "5", "pool", "4"]),
    "population": ({"population": 3}, ["population", "3", "4"]),
    "sigma": ({"sigma": -0.5}, ["sigma", "-0.5"]),
    "start": ({"start": {"length": 1}}, ["start: ", "'length'", "'slack'", "'progress'"]),
    "endless start": ({"start": {"size": float("nan")}}, ["start.size", "nan"]),
    "key of another method": ({"slots": 3}, ["'slots'", "unknown", "population"]),
}

OF_REINFORCEMENT = {
    "emphasis": (
        {"workloads": {"distribution": "random"}, "emphasis": {"multi-cnn": 2}},
        ["emphasis", "random mixes", "leave it out"],
    ),
    "uncertain": (
        {"workloads": {"distribution": "random", "uncertain": 0.2}},
        ["workloads.uncertain", "0.2", "leave it out"],
    ),
    "tiny": ({"network.kind": "tiny"}, ["network.kind", "'tiny'", "'pooled'"]),
    "slots": ({"slots": 0}, ["slots", "0"]),
    "environments": ({"environments": -1}, ["environments", "-1"]),
    "gamma": ({"gamma": 1.0}, ["gamma", "1.0", "less than 1"]),
    "learning_rate": ({"learning_rate": -1e-3}, ["learning_rate", "-0.001"]),
    "no teacher": ({"imitate": {"steps": 3}}, ["'imitate.teacher'", "missing"]),
    "penalty": ({"penalty": -1}, ["penalty", "-1"]),
    "former penalty": ({"penalty": {"start": 0.4, "rate": 0.3}}, ["penalty", "number"]),
    "key of another method": ({"population": 8}, ["'population'", "unknown", "slots"]),
}  # fmt: skip

OF_PPO = {
    "gae_lambda": ({"gae_lambda": 1.1}, ["gae_lambda", "1.1"]),
    "n_steps": ({"n_steps": 0}, ["n_steps", "0"]),
    "clip_range": ({"clip_range": 0}, ["clip_range", "0"]),
    "batch_size": ({"batch_size": 1}, ["batch_size", "1"]),
}

OF_DQN = {
    "buffer_size": ({"buffer_size": 0}, ["buffer_size", "0"]),
    "exploration": ({"exploration_final_eps": 1.5}, ["exploration_final_eps", "1.5"]),
    "key of another method": ({"clip_range": 0.2}, ["'clip_range'", "unknown", "buffer_size"]),
}

TABLE = [
    (method, case, *table[case])
    for method, tables in {
        "evolution": [ALL, OF_EVOLUTION],
        "ppo": [ALL, OF_REINFORCEMENT, OF_PPO],
        "dqn": [OF_REINFORCEMENT, OF_DQN],
    }.items()
    for table in tables
    for case in table
]


def numbers(fields, path=()):
    """Where numbers stand in a recipe."""
    items = fields.items() if isinstance(fields, dict) else enumerate(fields)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from numbers(value, (*path, key))
        elif type(value) in (int, float):
            yield *path, key


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_number_has_bounds(refused, name):
    shipped = yaml.safe_load(shipped_recipes()[name].read_text("utf-8"))
    places = list(numbers(shipped))
    assert len(places) > 8
    for place in places:
        for value in (1e308, -1e308, 1e-300, 10**30, float("nan"), float("inf")):
            changed = copy.deepcopy(shipped)
            part = changed
            for key in place[:-1]:
                part = part[key]
            part[place[-1]] = value
            with refused(str(place[0])):
                load_recipe(changed)


@pytest.mark.parametrize(
    ("method", "changes", "words"),
    [pytest.param(m, changes, words, id=f"{m}-{case}") for m, case, changes, words in TABLE],
)
def test_fields_that_are_refused(refused, tmp_path, method, changes, words):
    recipe = changed(RECIPES[method], changes)
    with refused("recipe", *words):
        load_recipe(recipe)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(recipe))
    with refused(f"recipe file {str(path)!r}", *words):
        load_recipe(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- a\n", ["list", "mapping"]),
        ("", ["NoneType", "mapping"]),
        ("steps: [1\n", ["YAML"]),
        ("steps: 1\nsteps: 2\n", ["'steps'", "once"]),
        ("\x00", ["YAML"]),
    ],
    ids=["list", "empty", "open", "twice", "control"],
)
def test_files_that_are_refused(refused, tmp_path, content, words):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with refused(f"recipe file {str(path)!r}", *words):
        load_recipe(path)


def test_recipes_that_are_not_there(refused, tmp_path):
    with refused("recipe", "'evolve'", "dqn, evolved, pareto, ppo", "YAML file"):
        load_recipe("evolve")
    with refused("recipe file", "nowhere.yaml", "does not exist"):
        load_recipe(tmp_path / "nowhere.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with refused("recipe file", "folder.yaml", "cannot be read"):
        load_recipe(tmp_path / "folder.yaml")


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_agents_never_see_the_networks_that_are_held_out(name):
    workloads = load_recipe(name).workloads
    for condition in (*conditions(workloads, VALIDATION), *conditions(workloads)):
        seen = {shipped_trace(trace.removesuffix("_whole")).model for trace in condition.traces}
        assert seen and not seen & set(HELD_OUT)
