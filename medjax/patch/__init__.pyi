"""The public names of medjax.patch, each with the module it lies in: read on first use, and by type checkers."""

from medjax.patch._draw import balanced as balanced
from medjax.patch._draw import uniform as uniform
from medjax.patch._draw import weighted as weighted
from medjax.patch._grid import grid as grid
from medjax.patch._merge import merge as merge
from medjax.patch._sampler import Sampler as Sampler
from medjax.patch._sampler import sampler as sampler
from medjax.patch._table import ClassTable as ClassTable
from medjax.patch._table import class_table as class_table
