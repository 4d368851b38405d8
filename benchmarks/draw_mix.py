"""Draw the scenarios of the track `unseen-mix`: dysta_gym/data/tracks/unseen-mix.yaml.

    python -m benchmarks.draw_mix > dysta_gym/data/tracks/unseen-mix.yaml

Drawn once, from the seed below, before anything was run on them; the track is the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dysta_gym.agents.distribution import PRIORITIES, between, bursts, one_of, weighted

SEED, SCENARIOS = 20261126, 24

ATTENTION = ("minilm", "mpnet", "smollm2", "whisper")
CONVOLUTIONAL = (
    "vgg16_dense", "vgg16_unstructured20", "vgg16_unstructured60", "vgg16_block20",
    "vgg16_block60", "vgg16_filter20", "vgg16_filter30", "resnet50_dense",
    "resnet50_unstructured20", "resnet50_unstructured40", "resnet50_block20", "resnet50_filter10",
    "ssd_mobilenetv2_dense", "ssd_mobilenetv2_unstructured20", "ssd_mobilenetv2_unstructured40",
    "ssd_mobilenetv2_block20", "ssd_mobilenetv1_dense", "ssd_mobilenetv1_unstructured20",
    "ssd_mobilenetv1_unstructured50", "ssd_mobilenetv1_block20", "hand_landmark_dense",
    "hand_landmark_unstructured40", "efficientnet_lite0_dense",
    "efficientnet_lite0_unstructured20",
)  # fmt: skip
QUEUES = (16, 32, 64, None)

HEAD = """\
# python -m benchmarks.draw_mix
name: unseen-mix
description: >-
  Scenarios drawn at random: networks and their shares, the accelerator that charges them, arrivals,
  load, deadlines, priorities, queue, preemption cost.
seeds: {count: 10}
blocks:
  - scenarios:
"""


def scenario(rng: np.random.Generator, at: int) -> dict[str, Any]:
    """One scenario."""
    accelerator = one_of(rng, ["sanger", "eyerissv2", "ideal"])
    whole = [name + "_whole" for name in ATTENTION]
    names = {
        "sanger": one_of(rng, [list(ATTENTION), whole]),
        "eyerissv2": list(CONVOLUTIONAL),
        "ideal": [*whole, *CONVOLUTIONAL],
    }[accelerator]
    drawn: dict[str, Any] = {
        "name": f"mix-{at:02}",
        "accelerator": accelerator,
        "traces": weighted(rng, names),
    }
    if rng.random() < 0.4:
        drawn["arrivals"] = bursts(rng)
    drawn["load"] = between(rng, 0.6, 1.2)
    drawn["slo_multiplier"] = between(rng, 2, 50)
    drawn["priorities"] = one_of(rng, PRIORITIES)
    drawn["queue_limit"] = one_of(rng, QUEUES)
    if rng.random() < 0.3:
        drawn["preemption_cost_s"] = between(rng, 1e-6, 1e-4)
    return drawn


def written(value: Any) -> str:
    """A value in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return "null" if value is None else str(value)


def main() -> None:
    """Print the track."""
    rng = np.random.default_rng(SEED)
    print(HEAD, end="")
    for at in range(1, SCENARIOS + 1):
        drawn = scenario(rng, at)
        for place, (key, value) in enumerate(drawn.items()):
            mark = "      - " if not place else "        "
            if key == "traces":
                print(f"{mark}{key}:")
                for name, weight in value.items():
                    print(f"          {name}: {weight}")
            else:
                print(f"{mark}{key}: {written(value)}")


if __name__ == "__main__":
    main()
