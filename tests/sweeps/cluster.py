"""What test_cluster.py runs: a cluster of three nodes, of which one is killed amid the work.

python cluster.py sweep|rllib|tune FOLDER
"""

import importlib.util
import sys
import threading
import time
from pathlib import Path

import pandas as pd
from ray import cloudpickle
from ray.cluster_utils import Cluster

from dysta_gym.sweeps import frames, opened, sweep

GRID = {
    "scenarios": ["multi-attnn", "multi-cnn"],
    "policies": ["fcfs", "dysta", "mine.py"],
    "loads": [0.8, 1.05],
    "seeds": {"count": 150},
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


def killing(cluster, node, wanted):
    """Kill a node once ``wanted()`` is true, in a thread."""

    def kill():
        while not wanted():
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        print("killed", flush=True)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def swept(address, folder, started):
    def progress(done, total):
        if done > total // 10:
            started.set()

    sweep(GRID, folder / "ray", ray=address, progress=progress)
    with opened(folder / "ray") as store:
        frame = pd.concat(list(frames([store])))
    frame.to_csv(folder / "ray.csv", index=False)


def main(what, folder):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    started = threading.Event()
    thread = killing(cluster, nodes[0], started.is_set)
    if what == "sweep":
        swept(cluster.address, folder, started)
    else:
        import ray

        ray.init(address=cluster.address, log_to_driver=False)
        threading.Timer(15.0, started.set).start()
        arguments = (3,) if what == "rllib" else (20, 4)
        example({"rllib": "rllib_ppo", "tune": "ray_tune"}[what]).main(*arguments)
        ray.shutdown()
    thread.join(60)
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
