"""The public names of medjax.data, each with the module it lies in: read on first use, and by type checkers."""

from medjax._pipeline._pipeline import Pipeline as Pipeline
from medjax.data._batch import Batch as Batch
from medjax.data._cache import cache as cache
from medjax.data._case import Case as Case
from medjax.data._cohort import Cohort as Cohort
from medjax.data._loader import Loader as Loader
from medjax.data._report import CacheReport as CacheReport
from medjax.data._split import Fold as Fold
from medjax.data._split import split as split
from medjax.data._waiting import LoaderStats as LoaderStats
