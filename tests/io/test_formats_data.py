"""That no item of ../shared/data goes without a test: which file of tests has the word on which items."""

from __future__ import annotations

import json
from typing import Any

import test_dicom_files
import test_metaimage
import test_mrb
import test_nifti
import test_nrrd
from shared_data import DATA, needs_data

pytestmark = needs_data

# Tested where they are used: test_suv.py reads the headers, test_hdf5_foreign.py the file of MedImages.jl.
ELSEWHERE = {
    "suv_headers/CPS_AND_BQML_AC_DT_-_S_DT-instances.json",
    "suv_headers/PHILIPS_BQML-instances.json",
    "suv_headers/PHILIPS_CNTS_AND_SUV-instances.json",
    "suv_headers/SIEMENS-instances.json",
}


def content_of(name: str) -> dict[str, Any]:
    return json.loads((DATA / name).read_text())


def test_every_expected_item_has_a_test() -> None:
    tested = {
        *(test_dicom_files.LIKE | test_dicom_files.REFUSED | test_dicom_files.OWN),
        *test_nifti.expected_items(),
        *(f"synthetic/{name}" for name in test_nifti.synthetic_items()),
        *test_metaimage.expected("sitk"),
        *test_nrrd.expected(),
        *ELSEWHERE,
    }
    items = content_of("expected.json")["items"]
    assert tested == set(items)
    assert len(items) == 198


def test_every_synthetic_truth_has_a_test() -> None:
    tested = {
        *(name for name in test_dicom_files.TRUTH if name.startswith("dicom/")),
        *test_nifti.synthetic_items(),
        *test_metaimage.expected("truth"),
        *test_mrb.truth(),
        "hdf5/medimages_jl.h5",
    }
    truths = content_of("synthetic/truth.json")
    assert tested == set(truths)
    assert len(truths) == 68
