"""Write ``my_chip/tiny-net.npz``: the latencies of a network, as they were measured on the chip."""

from pathlib import Path

import numpy as np

from dysta_gym import Trace

INPUTS, LAYERS = 60, 5

# In place of a measurement: each input has its own sparsity, which spares part of each layer.
rng = np.random.default_rng(0)
sparsity = np.clip(rng.normal(0.6, 0.1, (INPUTS, 1)) + rng.normal(0, 0.02, (INPUTS, LAYERS)), 0, 1)
dense_s = np.array([0.4, 0.8, 0.8, 0.6, 0.2]) * 1e-3

trace = Trace(
    name="tiny-net",
    model="tiny-net",
    pattern="dense",
    accelerator="my-chip",
    latency_s=dense_s * (1 - 0.7 * sparsity),  # seconds, a row an input and a column a layer
    sparsity=sparsity,  # what a monitor sees of each layer as it runs
    train=np.arange(INPUTS) % 2 == 0,  # what a scheduler may know; the rest is what it is tested on
    sample_ids=np.arange(INPUTS),
    layer_names=tuple(f"layer {index}" for index in range(LAYERS)),
    provenance={"network": "a made-up one", "inputs": "drawn at random"},
)
trace.save(Path(__file__).parent / "my_chip" / "tiny-net.npz")
