"""`medjax doctor`: what is installed here, and whether it computes what it should."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Any

from medjax._cli._arguments import Parser
from medjax._cli._cache import compiled_folder
from medjax._cli._commands import COMMANDS
from medjax._cli._failure import ANSWER_NO, DONE
from medjax._cli._talk import Talk
from medjax._errors import printable
from medjax._version import __version__

__all__ = ["parser", "run", "version"]

_NEEDED = ("jax", "jaxlib", "numpy", "nibabel", "pydicom", "h5py")


def parser(name: str) -> Parser:
    made = Parser(name, COMMANDS[name].line)
    made.takes_json()
    return made


def version(*, is_long: bool = False) -> str:
    """`medjax` and its version; long, with the versions of what it stands on, and the devices."""
    lines = [f"medjax {__version__}"]
    if is_long:
        lines.append(f"Python {platform.python_version()}")
        lines += [f"{name} {found or 'is missing'}" for name, found in _versions(_NEEDED).items()]
        lines.append(f"devices {', '.join(str(device) for device in _devices())}")
    return "\n".join(lines)


def _versions(names: Any) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _devices() -> list[Any]:
    """All devices; none where a driver fails, which JAX says in words of its own."""
    import jax

    try:
        jax.devices()
    except RuntimeError as error:
        print(f"JAX finds no device: {printable(str(error))}", file=sys.stderr)
        return []
    return list(jax.devices()) + ([] if jax.default_backend() == "cpu" else list(jax.devices("cpu")))


def run(options: Any, talk: Talk) -> int:
    from medjax._optional import PACKAGES

    facts: dict[str, Any] = {
        "medjax": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": _versions(_NEEDED),
        "extras": {
            module: {"installed": importlib.util.find_spec(module) is not None, "extra": extra, "package": package}
            for module, (package, extra) in PACKAGES.items()
        },
        "devices": [_tested(device) for device in _devices()],
        "compiled_programs": str(compiled_folder()),
        "open_files": _open_files(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory(),
    }
    is_well = bool(facts["devices"]) and all(one["agrees"] for one in facts["devices"])
    is_well = is_well and all(facts["versions"].values())
    if options.json:
        talk.json("medjax.doctor/1", ok=is_well, **facts)
    else:
        _say(facts, is_well, talk)
    return DONE if is_well else ANSWER_NO


def _tested(device: Any) -> dict[str, Any]:
    """Resamples 64^3 voxels on a device and compares with the same interpolation on the host, by NumPy."""
    import time

    import jax
    import numpy as np

    from medjax._image._image import Image
    from medjax._space._resample import resample_to_spacing

    voxels = np.random.default_rng(0).standard_normal((64, 64, 64)).astype(np.float32)
    start = time.perf_counter()
    with jax.default_device(device):
        found = np.asarray(resample_to_spacing(Image.from_array(jax.device_put(voxels, device)), 2.0).voxels)
    seconds = time.perf_counter() - start
    expected = voxels.reshape(32, 2, 32, 2, 32, 2).mean(axis=(1, 3, 5), dtype=np.float64)
    error = float(np.abs(found - expected).max())
    return {"device": str(device), "kind": device.device_kind, "agrees": error < 1e-5, "error": error, "s": seconds}


def _open_files() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _memory() -> int | None:
    """What this process may use: the machine's memory, or less where a container allows less."""
    found = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # not Linux, or "max"
            continue
    return min(found, default=None)


def _say(facts: dict[str, Any], is_well: bool, talk: Talk) -> None:
    rows = [("medjax", facts["medjax"]), ("Python", f"{facts['python']} on {facts['platform']}")]
    rows += [(name, found or "is missing") for name, found in facts["versions"].items()]
    for one in facts["devices"]:
        result = f"agrees to {one['error']:.1e}" if one["agrees"] else f"WRONG by {one['error']:.3g}"
        rows.append((one["device"], f"{one['kind']}: 64^3 resampled, {result}, {one['s']:.2f} s with compilation"))
    rows.append(("programs", f"compiled ones are kept in {facts['compiled_programs']}"))
    memory = "unknown" if facts["memory_bytes"] is None else f"{facts['memory_bytes'] / 1e9:.1f} GB"
    rows.append(("limits", f"{facts['cores']} cores, {memory} of memory, {facts['open_files']} open files"))
    talk.table(rows)
    talk.out()
    for one in facts["extras"].values():
        state = "installed" if one["installed"] else f'pip install "medjax[{one["extra"]}]"'
        talk.out(f"  {one['package'].ljust(12)}  {state}")
    talk.out()
    talk.out("all is well" if is_well else "something is wrong: see above")
