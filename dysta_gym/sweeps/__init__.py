"""Sweeps: grids of cells that are run by one command, on any number of workers, and kept.

`sweep` runs one, or what is left of it; `load_sweep` reads its YAML file; `opened` and `frames`
read what it kept.
"""

from dysta_gym.sweeps.grid import Grid, Sweep, load_sweep
from dysta_gym.sweeps.running import sweep
from dysta_gym.sweeps.store import Store, frames, opened

__all__ = ["Grid", "Store", "Sweep", "frames", "load_sweep", "opened", "sweep"]
