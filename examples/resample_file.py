"""Loads a scan, resamples it to 1 mm voxels and saves it.

python examples/resample_file.py scan.nii.gz scan_1mm.nii.gz
"""

import sys

import medjax as mj


def main(source: str, target: str) -> None:
    """Writes `target` in the format that its name says; `source` may be a file or a folder with one DICOM series."""
    scan = mj.load_image(source)
    print(f"{source}: {scan}")
    image = mj.resample_to_spacing(scan, 1.0)  # mm; the centre of the field of view stays
    image = mj.change_orientation(image, "RAS")  # permutes and flips axes, changes no value
    mj.save_image(image, target)  # atomic: either the whole file is there, or nothing
    print(f"{target}: {image}")


if __name__ == "__main__":
    main(*sys.argv[1:])
