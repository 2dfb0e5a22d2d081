"""Standardised uptake values: the factor that follows from dose and patient in a PET header, and statistics."""

from medjax._pet._factor import SuvFactor, suv_factor, to_suv
from medjax._pet._rules import decay_reference
from medjax._pet._statistics import SuvStatistics, suv_statistics

__all__ = ["SuvFactor", "SuvStatistics", "decay_reference", "suv_factor", "suv_statistics", "to_suv"]
