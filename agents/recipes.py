"""How an agent is trained: a YAML file checked by a schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic import BaseModel, Field, TypeAdapter

from dysta_gym.agents.distribution import FRAMES, MOST_FRAMES
from dysta_gym.agents.networks import NETWORKS, TILTED
from dysta_gym.configs import Finite, NotNegative, Positive, Strict, content_of, told
from dysta_gym.errors import DystaError, shown
from dysta_gym.features import CONDITIONED, SCHEDULING, Selection, select
from dysta_gym.information import ALL_LEVELS
from dysta_gym.workloads import load_scenario

SHIPPED = Path(__file__).parent / "recipes"

PENALTY = 30.0
"""ANTT that a violation rate of 1 weighs, unless a recipe says so."""

Count = Annotated[int, Field(gt=0, le=10**9, strict=True)]
Share = Annotated[NotNegative, Field(lt=1)]
Preference = Annotated[NotNegative, Field(le=1)]


_IDLE = {
    "scenarios": {
        "mixes": "there are no random mixes",
        "frames": "scenarios have their own arrivals",
        "uncertain": "there are no random mixes",
    },
    "random": {
        "loads": "random scenarios have their own",
        "slo_multiplier": "random scenarios have their own",
        "requests": "random scenarios have their own number",
    },
}
"""Fields of `Workloads` that do not count with a distribution, and why."""


class Workloads(Strict):
    """What an agent is trained and validated on: scenarios at loads, or random ones.

    Attributes:
        distribution: ``scenarios``, every scenario at every load, or ``random``
            (`dysta_gym.agents.distribution`), which has loads, deadlines and lengths of its own.
        scenarios: Names or YAML files; of ``scenarios``, as the next three.
        loads: Offered work over capacity.
        slo_multiplier: Deadlines.
        requests: Requests a workload; None for each scenario's own number.
        mixes: Random mixes of networks, as many in training as in validation; of ``random``, as the
            next two.
        frames: Share of their workloads whose requests are frames; 0.55 at most.
        uncertain: Share of the mixes whose inputs take times that nothing tells at arrival.
        validation: Validation workloads a condition.
    """

    distribution: Literal["scenarios", "random"] = "scenarios"
    scenarios: tuple[str, ...] = ()
    loads: tuple[Positive, ...] = Field((0.8, 0.95, 1.05), min_length=1)
    slo_multiplier: Positive = 10.0
    requests: Count | None = None
    mixes: int = Field(48, gt=0, le=1000, strict=True)
    frames: NotNegative = Field(FRAMES, le=MOST_FRAMES)
    uncertain: NotNegative = Field(0.0, le=1)
    validation: int = Field(20, gt=0, le=1000, strict=True)

    @pydantic.field_validator("scenarios")
    @classmethod
    def _known(cls, scenarios: tuple[str, ...]) -> tuple[str, ...]:
        for scenario in scenarios:
            load_scenario(scenario)
        return scenarios

    @property
    def count(self) -> int:
        """How many conditions there are."""
        random = self.distribution == "random"
        return self.mixes if random else len(self.scenarios) * len(self.loads)

    @pydantic.model_validator(mode="after")
    def _some(self) -> Workloads:
        if (self.distribution == "scenarios") != bool(self.scenarios):
            fault = "some are given; a random distribution has its own"
            raise ValueError(f"scenarios: {fault if self.scenarios else 'there is none; give one'}")
        for name, reason in _IDLE[self.distribution].items():
            # As it is unless given, it stands in what earlier versions wrote.
            if (value := getattr(self, name)) != type(self).model_fields[name].default:
                value = list(value) if isinstance(value, tuple) else value
                raise ValueError(f"{name}: {shown(value)} is not allowed; {reason}: leave it out")
        if 0 < self.uncertain * self.mixes < 1 - 1e-9:
            raise ValueError(
                f"uncertain: {self.uncertain:g} of {self.mixes} mixes is not one; give more of "
                "either, or leave it out"
            )
        return self

    @pydantic.model_serializer(mode="wrap")
    def _dumped(self, dump: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        return without_idle(dump(self))


def without_idle(workloads: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe's workloads without those that do not count."""
    idle = next((idle for key, idle in _IDLE.items() if key == workloads.get("distribution")), {})
    return {name: value for name, value in workloads.items() if name not in idle}


class Shape(Strict):
    """A network (`dysta_gym.agents.networks`).

    Attributes:
        kind: Its kind.
        width: Its width.
    """

    kind: Literal[tuple(NETWORKS)]  # type: ignore[valid-type]
    width: int = Field(ge=0, le=4096, strict=True)


class _Recipe(Strict):
    """What all recipes have.

    Attributes:
        name: Name of the agent.
        level: Level of information that it sees.
        workloads: What it is trained and validated on.
        network: Its network.
        features: What it sees, names of `dysta_gym.features` that a policy can see.
        steps: How long it is trained: generations of an evolution, else steps of an environment,
            those of an imitation among them.
        validate_every: Steps from one validation to the next.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    level: str = "sized/kalman"
    workloads: Workloads
    network: Shape
    features: tuple[str, ...] = SCHEDULING
    steps: Count
    validate_every: Count

    @pydantic.field_validator("level")
    @classmethod
    def _a_level(cls, level: str) -> str:
        if level not in ALL_LEVELS:
            raise ValueError(f"choose one of: {', '.join(ALL_LEVELS)}")
        return level

    @pydantic.field_validator("features")
    @classmethod
    def _can_be_seen(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        try:
            select(features).check_for_policies()
        except DystaError as error:
            raise ValueError(str(error).removeprefix("features: ")) from None
        if "present" in features:
            raise ValueError("'present' is the same for all requests; leave it out")
        return features

    @property
    def seen(self) -> Selection:
        """The features."""
        return select(self.features)


class Evolving(_Recipe):
    """What recipes have that search by CMA-ES (Hansen, The CMA evolution strategy, 2016).

    Attributes:
        population: Networks a generation.
        sigma: First standard deviation of a weight.
        pool: Training workloads a condition.
        batch: How many of these a generation is judged on ...
        sample: ... of how many conditions; None for all.
        start: Weights of the line that it starts from, by feature of a request; None for those of
            least ``R I``, as far as it sees them. Doubt has that of ``work``.
        separable: Whether weights vary independently of each other: what is then learned of
            each is learned sooner (Ros and Hansen, A simple modification in CMA-ES, PPSN 2008).
    """

    population: int = Field(24, ge=4, le=10_000, strict=True)
    sigma: Positive = 0.5
    pool: Count = 48
    batch: Count = 3
    sample: Count | None = None
    start: dict[str, Finite] | None = None
    separable: bool = Field(False, strict=True)

    evolves: ClassVar[str]

    def first(self, feature: str) -> float:
        """The weight of the line that a feature starts from."""
        usual = dict.fromkeys(TILTED, 3.0)
        return (usual if self.start is None else self.start).get(feature, 0.0)

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if self.network.kind != self.evolves:
            raise ValueError(
                f"network.kind: {self.network.kind!r} is not what this method evolves; choose "
                f"{self.evolves!r}"
            )
        if self.batch > self.pool:
            raise ValueError(f"batch: {self.batch} is not allowed; pool has {self.pool}")
        if (self.sample or 0) > self.workloads.count:
            raise ValueError(
                f"sample: {self.sample} is not allowed; there are {self.workloads.count} "
                + ("mixes" if self.workloads.distribution == "random" else "conditions")
            )
        known = [each.name for each in self.seen.requests]
        for name in self.start or ():
            if name not in known:
                choices = ", ".join(map(repr, known))
                raise ValueError(
                    f"start: {name!r} is no feature of a request that is seen; choose among: "
                    + choices
                )
        return self


class EvolutionRecipe(Evolving):
    """A ``tiny`` network by evolution.

    Attributes:
        penalty: ANTT that a violation rate of 1 weighs, in what it is judged and chosen by.
    """

    method: Literal["evolution"]
    penalty: Positive = PENALTY

    evolves: ClassVar[str] = "tiny"


class ParetoRecipe(Evolving):
    """A ``conditioned`` network by evolution, for a whole trade-off (`dysta_gym.agents.frontier`).

    Attributes:
        features: See `_Recipe`.
        preferences: What a network is judged at in a generation.
    """

    method: Literal["pareto"]
    features: tuple[str, ...] = CONDITIONED
    preferences: tuple[Preference, ...] = Field((0.0, 0.2, 0.4, 0.6, 0.8), min_length=1)

    evolves: ClassVar[str] = "conditioned"


class Imitation(Strict):
    """Learning to choose as another agent does, before learning by oneself.

    Attributes:
        teacher: A policy with a ``tiny`` network: an agent's name, or a checkpoint file.
        tilts: What may be added to the teacher's weights of ``remaining`` and ``size``, more for
            less ANTT, fewer for fewer violations; in each condition it is what does best there on
            training workloads.
        pool: Training workloads a condition that this is judged on.
        steps: Steps of an environment.
        temperature: What the teacher's scores are divided by before they become probabilities.
        learning_rate: First learning rate of Adam.
    """

    teacher: str
    tilts: tuple[Finite, ...] = Field((0.0,), min_length=1)
    pool: Count = 16
    steps: Count
    temperature: Positive = 0.5
    learning_rate: Positive = 2e-3


class Reinforcement(_Recipe):
    """What recipes with environments have.

    Attributes:
        slots: Requests that the agent sees in training.
        environments: Environments a condition.
        emphasis: Environments a condition of single scenarios, where they differ.
        imitate: Whom to imitate first.
        penalty: ANTT that a violation rate of 1 weighs, in what it learns from and is chosen by.
        gamma: Discount.
        learning_rate: First learning rate; it falls to 0 in a line.
    """

    slots: int = Field(64, gt=0, le=10_000, strict=True)
    environments: Count = 12
    emphasis: dict[str, Count] = Field(default_factory=dict)
    imitate: Imitation | None = None
    penalty: Positive = PENALTY
    gamma: Share = 0.99
    learning_rate: Positive = 1e-3

    def counts(self) -> list[int]:
        """Environments of each condition, in the order of `protocol.conditions`."""
        workloads = self.workloads
        if workloads.distribution == "random":
            return [self.environments] * workloads.count
        return [
            self.emphasis.get(scenario, self.environments)
            for scenario in workloads.scenarios
            for _ in workloads.loads
        ]

    @pydantic.model_validator(mode="after")
    def _emphasises_its_own(self) -> Reinforcement:
        if self.emphasis and self.workloads.distribution == "random":
            raise ValueError("emphasis: random mixes have as many environments each: leave it out")
        for scenario in self.emphasis:
            if scenario not in self.workloads.scenarios:
                choices = ", ".join(self.workloads.scenarios)
                raise ValueError(f"emphasis: {scenario!r} is unknown; choose among: {choices}")
        return self

    @pydantic.model_validator(mode="after")
    def _is_certain(self) -> Reinforcement:
        if self.workloads.uncertain:
            raise ValueError(
                f"workloads.uncertain: {self.workloads.uncertain:g} is not allowed; environments "
                "have networks as they are: leave it out"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _is_pooled(self) -> Reinforcement:
        if self.network.kind != "pooled":
            raise ValueError(f"network.kind: {self.network.kind!r} is not trained; choose 'pooled'")
        return self


class PPORecipe(Reinforcement):
    """MaskablePPO of sb3-contrib, whose arguments the attributes are."""

    method: Literal["ppo"]
    n_steps: Count = 64
    batch_size: int = Field(4096, gt=1, le=10**9, strict=True)
    n_epochs: Count = 4
    gae_lambda: NotNegative = Field(0.95, le=1)
    clip_range: Positive = 0.2
    ent_coef: NotNegative = 0.0
    target_kl: Positive | None = 0.02

    @pydantic.model_validator(mode="after")
    def _no_batch_of_one(self) -> PPORecipe:
        if sum(self.counts()) * self.n_steps % self.batch_size == 1:
            raise ValueError(
                f"batch_size: {self.batch_size} is not allowed; it leaves a last batch of one"
            )
        return self


class DQNRecipe(Reinforcement):
    """DQN of Stable-Baselines3, masked, whose arguments the attributes are."""

    method: Literal["dqn"]
    buffer_size: Count = 100_000
    batch_size: Count = 1024
    train_freq: Count = 4
    gradient_steps: Count = 4
    learning_starts: Count = 10_000
    target_update_interval: Count = 100
    n_steps: Count = 1
    exploration_initial_eps: NotNegative = Field(1.0, le=1)
    exploration_fraction: Positive = Field(0.3, le=1)
    exploration_final_eps: Share = 0.02


Recipe = EvolutionRecipe | ParetoRecipe | PPORecipe | DQNRecipe

_SCHEMA: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="method")])
_METHODS: Mapping[str, type[BaseModel]] = {
    "evolution": EvolutionRecipe,
    "pareto": ParetoRecipe,
    "ppo": PPORecipe,
    "dqn": DQNRecipe,
}


def shipped_recipes() -> dict[str, Path]:
    """Name and file of every recipe in the package, sorted by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load_recipe(source: str | Path | Mapping[str, Any]) -> Recipe:
    """A recipe by name, from a YAML file, or from a mapping of its fields.

    Raises:
        DystaError: If there is none of that name, or a field is missing, unknown or not allowed.
    """
    content, where, _ = content_of(source, "recipe", shipped_recipes())
    return _checked(content, where)


def _checked(content: Mapping[str, Any], where: str) -> Recipe:
    try:
        return _SCHEMA.validate_python(dict(content))
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        path = [str(part) for part in fault["loc"]]
        model: type[BaseModel] = _METHODS[path.pop(0)] if path else PPORecipe
        reason = told(fault, path, model, "method", _METHODS, "{kind: tiny, width: 8}")
        raise DystaError(f"{where}: {reason}") from None
    except DystaError as error:  # of a scenario
        raise DystaError(f"{where}: workloads.scenarios: {error}") from None
