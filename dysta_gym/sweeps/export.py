"""The cells of sweeps as one table in a file, written part after part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dysta_gym.companions import write_parts
from dysta_gym.comparison import in_order_of_conditions
from dysta_gym.errors import DystaError
from dysta_gym.extras import extra
from dysta_gym.files import replacing


def to_csv(
    parts: Iterable[pd.DataFrame],
    path: Path,
    origin: Mapping[str, Any],
    *,
    command: str | None = None,
) -> None:
    """Write what `dysta_gym.sweeps.frames` gives as CSV, conditions first, and its companion.

    Raises:
        DystaError: If it cannot be written, or a store is damaged.
    """
    write_parts(map(in_order_of_conditions, parts), path, origin, command=command)


LARGEST_SEED = 2**63 - 1
"""Beyond it no column of Parquet has whole numbers that all of its readers know."""


def check_seeds(seeds: Iterable[int]) -> None:
    """See that seeds can be written as Parquet.

    Raises:
        DystaError: If one cannot.
    """
    largest = max(seeds)
    if largest > LARGEST_SEED:
        raise DystaError(
            f"parquet: seed {largest} is not allowed, for its column ends at {LARGEST_SEED}; "
            "give --csv"
        )


def to_parquet(parts: Iterable[pd.DataFrame], path: Path) -> None:
    """Write what `dysta_gym.sweeps.frames` gives as Parquet, conditions first, a row group a part.

    Raises:
        DystaError: If it cannot be written, a seed is beyond `LARGEST_SEED`, or a store is damaged.
        MissingExtra: If there is no library for it.
    """
    with extra("parquet", "parquet"):
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    with replacing(path) as scratch:
        writer: Any = None
        try:
            for part in parts:
                check_seeds(part["seed"])
                made = arrow.Table.from_pandas(in_order_of_conditions(part), preserve_index=False)
                if writer is None:
                    writer = parquet.ParquetWriter(scratch, made.schema)
                writer.write_table(made)
        finally:
            if writer is not None:
                writer.close()
