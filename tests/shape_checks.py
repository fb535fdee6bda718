"""The type checker behind jaxtyping's import hook: strict shapes, NumPy scalars are numbers."""

import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

typechecker = beartype(
    conf=BeartypeConf(
        hint_overrides=FrozenDict(
            {
                int: int | np.integer,
                float: float | int | np.floating | np.integer,
                bool: bool | np.bool_,
                np.ndarray: np.ndarray | np.generic,
            }
        )
    )
)
