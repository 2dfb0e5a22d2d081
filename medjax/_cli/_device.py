"""The device that a heavy command computes on."""

from __future__ import annotations

import re

from medjax._cli._failure import USAGE, Failure

__all__ = ["use_device"]


def use_device(name: str) -> None:
    """Makes JAX compute on a device; loads JAX.

    Raises:
        Failure: there is no such device, or no such name.
    """
    match = re.fullmatch(r"(auto|cpu|gpu)(?::(\d+))?", name)
    if match is None:
        raise Failure(USAGE, f"--device {name}: there are auto, cpu, gpu and gpu:1")
    if name == "auto":
        return
    import jax

    try:
        devices = jax.devices(match[1])
    except RuntimeError:
        devices = []
    number = int(match[2] or 0)
    if number >= len(devices):
        found = ", ".join(str(device) for device in jax.devices())
        hint = "medjax doctor says what is installed" + (
            "; a GPU of NVIDIA needs jax[cuda13]" if match[1] == "gpu" else ""
        )
        raise Failure(USAGE, f"--device {name}: JAX has {found} here", hint)
    jax.config.update("jax_default_device", devices[number])
