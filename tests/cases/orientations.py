"""The 48 orientation codes, made from the three pairs of anatomical directions: by no table of the package."""

import itertools
from typing import Any

CODES: list[Any] = [
    "".join(letters) for pairs in itertools.permutations(("RL", "AP", "IS")) for letters in itertools.product(*pairs)
]
