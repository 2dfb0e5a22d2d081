"""The public names of medjax.datasets, each with the module it lies in: read on first use, and by type checkers."""

from medjax.datasets._cohort import cohort as cohort
from medjax.datasets._head_mr import head_mr as head_mr
from medjax.datasets._pet_ct import pet_ct as pet_ct
from medjax.datasets._phantom import Lesion as Lesion
from medjax.datasets._phantom import Phantom as Phantom
from medjax.datasets._sample import Sample as Sample
