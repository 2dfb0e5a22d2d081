"""Standardised uptake values: what a PET header says of the dose and the patient, and the factor that follows from it."""

from medjax._pet._factor import SuvFactor, suv_factor, to_suv
from medjax._pet._rules import decay_reference
from medjax._pet._statistics import SuvStatistics, suv_statistics

__all__ = ["SuvFactor", "SuvStatistics", "decay_reference", "suv_factor", "suv_statistics", "to_suv"]
