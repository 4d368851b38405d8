"""A population of recipes on a Ray cluster, the best of them by its validation workloads.

python examples/ray_tune.py [GENERATIONS] [SAMPLES] [ADDRESS FOLDER]

pip install 'dysta-gym[agents,rllib]'

Without an address it starts a cluster on this machine alone. Trials keep their states in the
folder, which all nodes of a cluster have to share: one whose node is lost goes on elsewhere from
where it was.
"""

import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import ray
from ray import tune

from dysta_gym import compare
from dysta_gym.agents import load, train

RECIPE = {
    "name": "tuned",
    "method": "evolution",
    "level": "sized/kalman",
    "network": {"kind": "tiny", "width": 8},
    "workloads": {"scenarios": ["multi-attnn"], "loads": [1.05], "validation": 4},
    "steps": 1,
    "validate_every": 1,
    "population": 8,
    "start": {"remaining": 3, "size": 3},
}


def trial(config):
    """Train one recipe, in a folder of its own, from where it was."""
    folder = Path(config["folder"], "-".join(f"{config[key]:.6g}" for key in ("sigma", "seed")))
    recipe = {**RECIPE, "sigma": config["sigma"]}
    resume = (folder / "state.npz").exists()
    found = train(
        recipe,
        folder,
        seed=config["seed"],
        steps=None if resume else config["steps"],
        resume=resume,
    )
    tune.report({"objective": found.record["objective"], "checkpoint": f"{folder}/checkpoint.npz"})


def main(generations=50, samples=6, address="local", folder=None):
    """Train, and show the best."""
    if folder is None and address != "local":
        sys.exit("ray_tune.py: with an address, give a folder that all nodes of the cluster share")
    warnings.simplefilter("ignore")
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    with TemporaryDirectory() if folder is None else nullcontext(folder) as folder:
        space = {
            "sigma": tune.loguniform(0.1, 1.0),
            "seed": tune.randint(0, 1000),
            "steps": generations,
            "folder": str(Path(folder).absolute()),
        }
        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(num_samples=samples, metric="objective", mode="min"),
            run_config=tune.RunConfig(
                storage_path=space["folder"],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=3),
            ),
        )
        best = tuner.fit().get_best_result()
        print(f"sigma {best.config['sigma']:.3g}: objective {best.metrics['objective']:.4f}")
        learned = load(best.metrics["checkpoint"]).policy()
    table = compare(["multi-attnn"], ["dysta", learned], loads=[1.05], seeds=range(3))
    print(table.groupby("policy", sort=False)[["violation_rate", "antt"]].mean())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:5])
    ray.shutdown()
