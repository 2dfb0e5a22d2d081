"""The public names of medjax.augment, each with the module it lies in: read on first use, and by type checkers."""

from medjax.augment._apply import apply as apply
from medjax.augment._compose import one_of as one_of
from medjax.augment._compose import repeat as repeat
from medjax.augment._compose import sequence as sequence
from medjax.augment._compose import some_of as some_of
from medjax.augment._distribution import Distribution as Distribution
from medjax.augment._distribution import choice as choice
from medjax.augment._distribution import fixed as fixed
from medjax.augment._distribution import log_uniform as log_uniform
from medjax.augment._distribution import normal as normal
from medjax.augment._distribution import uniform as uniform
from medjax.augment._draw import Draw as Draw
from medjax.augment._points import Boxes as Boxes
from medjax.augment._points import Points as Points
from medjax.augment._pointwise import brightness as brightness
from medjax.augment._randomness import item_keys as item_keys
from medjax.augment._spatial import affine as affine
from medjax.augment._spatial import elastic as elastic
from medjax.augment._spatial import mirror as mirror
from medjax.augment._spatial import misalign as misalign
from medjax.augment._spatial import rotate90 as rotate90
from medjax.augment._step import Step as Step
