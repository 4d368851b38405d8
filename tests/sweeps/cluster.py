"""What test_cluster.py runs: a cluster of three nodes, of which one is killed amid the work.

python cluster.py FOLDER PART..., where parts are sweep, rllib and tune. Each part has three nodes
when it begins, one of which is killed while it works. What came of them is printed, a line a part.
"""

import importlib.util
import json
import sys
import threading
import time
from pathlib import Path

import ray
from ray import cloudpickle
from ray.cluster_utils import Cluster

from dysta_gym import DystaError
from dysta_gym.sweeps import opened, sweep

GRID = {
    "scenarios": ["multi-attnn", "multi-cnn"],
    "policies": ["fcfs", "dysta", "mine.py"],
    "loads": [0.8, 1.05],
    "seeds": {"count": 100},
    "requests": 200,
    "bounds": False,
}


def example(name):
    path = Path(__file__).parents[2] / "examples" / f"{name}.py"
    made = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(made)
    sys.modules[name] = module
    made.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)  # as what is run as a script is
    return module


class Killing:
    """Kills a node that works, once it is told that the work goes on."""

    def __init__(self, cluster):
        self.cluster, self.begun = cluster, threading.Event()
        self.thread = threading.Thread(target=self._kill, daemon=True)
        self.thread.start()

    def _kill(self):
        self.begun.wait()
        while not (busy := [node for node in self.cluster.list_all_nodes()[1:] if works(node)]):
            time.sleep(0.05)
        self.cluster.remove_node(busy[0], allow_graceful=False)

    @property
    def done(self):
        return self.begun.is_set() and not self.thread.is_alive()


def works(node):
    """Whether somebody uses a processor of a node."""
    left = ray._private.state.available_resources_per_node().get(node.node_id, {})
    return left.get("CPU", 0) < 1


def swept(cluster, folder):
    """How many cells were kept, and what is told of a rule that raises an error."""
    killing = Killing(cluster)

    def progress(done, total):
        if done > total // 10:
            killing.begun.set()

    (folder / "grid.json").write_text(json.dumps(GRID))
    sweep(GRID, folder / "ray", ray=cluster.address, progress=progress)
    assert killing.done
    try:
        sweep({**GRID, "policies": ["raising.py"]}, folder / "raising", ray=cluster.address)
    except DystaError as error:
        told = str(error)
    with opened(folder / "ray") as store:
        return store.count(), told


def learned(cluster, folder):
    """Of each iteration of RLlib's PPO, how many runners had been started anew."""
    from ray.rllib.algorithms.ppo import PPO

    killing = Killing(cluster)
    restarts = []
    train = PPO.train

    def watched(self):
        result = train(self)
        restarts.append(result["fault_tolerance"]["num_remote_worker_restarts"])
        killing.begun.set()
        if len(restarts) > 1 and not restarts[-1]:
            time.sleep(5)  # for a runner to be begun again elsewhere
        return result

    PPO.train = watched
    example("rllib_ppo").main(6)
    assert killing.done
    return restarts


def tuned(cluster, folder):
    """How often trials were begun, and at which steps those that went on from their states.

    A node is killed once each of the three has saved its state.
    """
    killing, module = Killing(cluster), example("ray_tune")
    log, told = folder / "begun", folder / "saved"
    train = module.train

    def watched(recipe, out, **options):
        state = Path(out) / "state.npz"
        with log.open("a") as file:
            file.write(f"{Path(out).name} {int(state.exists())}\n")
        steps = []

        def report(each):
            steps.append(each.step)
            if state.exists():
                with told.open("a") as file:
                    file.write(f"{Path(out).name} {steps[0]} {each.step}\n")

        return train(recipe, out, report=report, **options)

    module.train = watched

    def saved():
        return {line.split()[0] for line in told.read_text().splitlines()}

    def wait():
        while not told.exists() or len(saved()) < 3:
            time.sleep(0.05)
        killing.begun.set()

    threading.Thread(target=wait, daemon=True).start()
    module.main(150, 3, cluster.address, folder / "population")
    assert killing.done
    begun = [line.split() for line in log.read_text().splitlines()]
    first = {name: int(step) for name, step, _ in map(str.split, told.read_text().splitlines())}
    again = [name for name, resumed in begun if resumed == "1"]
    return {"begun": len(begun), "resumed": [first[name] for name in again]}


PARTS = {"sweep": swept, "rllib": learned, "tune": tuned}


def main(folder, parts):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for part in parts:
            while len(cluster.list_all_nodes()) < 3:
                cluster.add_node(num_cpus=1)
            if part != "sweep":
                ray.init(address=cluster.address, log_to_driver=False)
            print(json.dumps({part: PARTS[part](cluster, folder)}), flush=True)
            ray.shutdown()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
