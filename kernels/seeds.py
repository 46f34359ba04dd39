"""Seeds of several texts that are drawn from one."""

import numpy as np


def seed_of(seed: int, sample: int) -> int:
    """That of the text of this index, from 0 on, which has the seed itself. Specified in docs/noise.md."""
    if sample == 0:
        return seed
    return int(np.random.Philox(key=np.array([seed, sample], dtype=np.uint64)).random_raw())
