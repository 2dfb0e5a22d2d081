"""Cases for the fuzz harness: a sound file of a format, damaged in one or several ways."""

from __future__ import annotations

import bz2
import functools
import gzip
import random
from collections.abc import Callable

import fuzz_containers as containers
from fuzz_mutations import (
    BLIND,
    change_lines,
    cut,
    drop,
    flip_used,
    nifti_bomb,
    nifti_extension,
    nifti_field,
    overwrite_number,
    replace_word,
    text_bomb,
)
from fuzz_seeds import SEEDS, Files, gzipped


def damaged(kind: str, rng: random.Random) -> Files:
    """Makes a case: a sound file of the format, damaged in one or several ways."""
    makers: list[Callable[[random.Random], Files]] = [*[functools.partial(_mutated, kind)] * 6, *_MAKERS[kind]]
    return rng.choice(makers)(rng)


def _mutated(kind: str, rng: random.Random) -> Files:
    files = dict(rng.choice(SEEDS[kind]()))
    name = rng.choice(list(files)) if rng.random() < 0.3 else next(iter(files))
    content = files[name]
    packer = _packer(name, content) if rng.random() < 0.8 else None
    if packer is not None:
        content = packer[0](content)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        own = _OWN[kind] if rng.random() < 0.6 else BLIND
        content = rng.choice(own)(content, rng)
    files[name] = content if packer is None else packer[1](content)
    if rng.random() < 0.05 and len(files) > 1:
        del files[list(files)[-1]]
    if rng.random() < 0.05:
        files = {_other_name(key, rng): value for key, value in files.items()}
    return files


def _other_name(name: str, rng: random.Random) -> str:
    """The same content behind another format's name."""
    ending = rng.choice([".nii", ".nii.gz", ".hdr", ".mha", ".mhd", ".nrrd", ".nhdr", ".h5", ".dcm", ".mrb", ""])
    return f"{name.split('.')[0]}{ending}"


def _packer(name: str, content: bytes) -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]] | None:
    if content[:2] == b"\x1f\x8b":
        return gzip.decompress, gzipped
    return (bz2.decompress, bz2.compress) if name.endswith(".bz2") else None


_OWN: dict[str, list[Callable[[bytes, random.Random], bytes]]] = {
    "nifti": [nifti_field, nifti_field, nifti_field, nifti_extension],
    "mgh": [flip_used, flip_used, overwrite_number, cut],
    "metaimage": [replace_word, replace_word, change_lines],
    "nrrd": [replace_word, replace_word, change_lines],
    "hdf5": [flip_used, flip_used, overwrite_number, cut],
    "mrb": [flip_used, cut, drop],
    "dicom": [flip_used, flip_used, overwrite_number, cut, drop],
}
_MAKERS: dict[str, list[Callable[[random.Random], Files]]] = {
    "nifti": [nifti_bomb],
    "mgh": [],
    "metaimage": [functools.partial(text_bomb, "metaimage")],
    "nrrd": [functools.partial(text_bomb, "nrrd")],
    "hdf5": [containers.hdf5_structure] * 3,
    "mrb": [
        *[containers.scene_values] * 6,
        *[containers.scene_members] * 4,
        *[containers.scene_text] * 2,
        *[containers.scene_names] * 2,
        containers.scene_bomb,
    ],
    "dicom": [*[containers.dicom_element] * 5, *[containers.dicom_folder] * 2, containers.dicom_bomb],
}
