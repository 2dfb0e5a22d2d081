"""The public names of medjax.datasets, each with the module it lies in: read on first use, and by type checkers."""

from medjax.datasets._phantom import Lesion as Lesion
from medjax.datasets._phantom import Phantom as Phantom
