"""Coverage-guided fuzzing of a reader with Atheris (`pip install atheris`, Python 3.11 to 3.13), as long as one likes:

    python tests/cases/fuzz_guided.py nifti CORPUS -max_total_time=900 -max_len=6000

CORPUS is a folder: sound files, made here where it is empty, and what libFuzzer adds. The first argument is nifti, metaimage or nrrd;
the others are libFuzzer's. It stops at the first input that raises anything but `ImageFileError` or warns of anything but
`ImageFileWarning`, and writes it to a file.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import warnings
from pathlib import Path

import medjax as mj

NAMES = {"nifti": ("a.nii", "a.hdr"), "metaimage": ("a.mha", "a.mhd"), "nrrd": ("a.nrrd", "a.nhdr", "a.seg.nrrd")}


def main() -> None:
    import atheris

    kind, corpus = sys.argv.pop(1), Path(sys.argv[1])
    # Private: the modules that a fuzzed header goes through.
    with atheris.instrument_imports(include=["medjax.io", "medjax._geometry._grid", "medjax._image._metadata"]):
        reader = importlib.import_module(f"medjax.io._{kind}")
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        make_corpus(kind, corpus)
    folder = Path(tempfile.mkdtemp())
    (folder / "a.img").write_bytes(bytes(4096))

    def read(data: bytes) -> None:
        if not data:
            return
        path = folder / NAMES[kind][data[0] % len(NAMES[kind])]
        path.write_bytes(data[1:])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", mj.ImageFileWarning)
            try:
                reader.read(path).voxels.reshape(-1)[-1:].copy()
            except mj.ImageFileError:
                return

    atheris.Setup(sys.argv, read)
    atheris.Fuzz()


def make_corpus(kind: str, corpus: Path) -> None:
    """Sound files, each behind the byte that chooses its name."""
    from fuzz_seeds import SEEDS

    for number, files in enumerate(SEEDS[kind]()):
        name, content = next(iter(files.items()))
        ending = next((n for n, known in enumerate(NAMES[kind]) if known.endswith(Path(name).suffix)), 0)
        (corpus / str(number)).write_bytes(bytes([ending]) + content)


if __name__ == "__main__":
    main()
