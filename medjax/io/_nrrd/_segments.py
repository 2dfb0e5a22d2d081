"""The segments of 3D Slicer's .seg.nrrd: key/value pairs such as Segment0_Name, as a list of dicts.

Source: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.io._disk._warn import warn

__all__ = ["is_segmentation", "read_segments", "segment_pairs"]

_KEY = re.compile(r"Segment(\d{1,6})_(\w+)")


def is_segmentation(path: Path, pairs: Mapping[str, str]) -> bool:
    """Whether this is a segmentation, by its pairs or by its name."""
    return "Segment0_ID" in pairs or "Segment0_Name" in pairs or path.name.lower().endswith(".seg.nrrd")


def read_segments(path: Path, pairs: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns id, name, label_value and layer of each segment, and if stated its color (three of 0 to 1) and tags.

    Files from before Slicer 5 state neither layer nor value: each segment is a separate layer with the value 1.
    """
    fields: dict[int, dict[str, str]] = {}
    for key, value in pairs.items():
        match = _KEY.fullmatch(key)
        if match:
            fields.setdefault(int(match[1]), {})[match[2]] = value
    segments = []
    for number in sorted(fields):
        try:
            segments.append(_segment(number, fields[number]))
        except ValueError:
            warn(path, f"the fields of segment {number} are no numbers; it is left out of the list")
    return segments


def _segment(number: int, fields: Mapping[str, str]) -> dict[str, Any]:
    segment: dict[str, Any] = {
        "id": fields.get("ID", f"Segment_{number}"),
        "name": fields.get("Name", fields.get("ID", f"Segment_{number}")),
        "label_value": int(fields.get("LabelValue", 1)),
        "layer": int(fields.get("Layer", 0 if "LabelValue" in fields else number)),
    }
    if "Color" in fields:
        segment["color"] = [float(word) for word in fields["Color"].split()]
    if "Extent" in fields:
        segment["extent"] = [int(word) for word in fields["Extent"].split()]
    if "Tags" in fields:
        segment["tags"] = fields["Tags"]
    return segment


def segment_pairs(voxels: np.ndarray, segments: Sequence[Any]) -> dict[str, str]:
    """Returns the pairs of a segmentation `(i, j, k)` or `(i, j, k, layer)`.

    Known segments keep their names, and other values are named by their number. The extent is always the whole image,
    which is all that is known after a crop or a resampling.
    """
    layers = voxels[..., None] if voxels.ndim == 3 else voxels
    known = {(item.get("layer", 0), item["label_value"]): item for item in segments if _is_segment(item)}
    present = [(layer, int(v)) for layer in range(layers.shape[-1]) for v in np.unique(layers[..., layer]) if v]
    extent = " ".join(f"0 {size - 1}" for size in layers.shape[:3])
    pairs: dict[str, str] = {}
    for number, (layer, value) in enumerate(dict.fromkeys([*known, *present])):
        item = known.get((layer, value), {})
        color, tags = item.get("color"), item.get("tags")
        fields = {
            "ID": item.get("id", f"Segment_{layer}_{value}"),
            "Name": item.get("name", f"Segment_{value}"),
            "LabelValue": value,
            "Layer": layer,
            "Extent": extent,
            "Color": " ".join(f"{part:.9g}" for part in color) if _is_color(color) else None,
            "Tags": tags,
        }
        pairs |= {f"Segment{number}_{name}": str(content) for name, content in fields.items() if content is not None}
    representation = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    return pairs | representation


def _is_segment(item: Any) -> bool:
    return (
        isinstance(item, Mapping) and isinstance(item.get("label_value"), int) and isinstance(item.get("layer", 0), int)
    )


def _is_color(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(part, int | float) for part in value)
