"""Spatial operations and their gradients, 256x256x128 float32 unless said, beside SimpleITK, torch, TorchIO, SciPy and JAX.

Run: `python benchmarks/spatial.py [rounds]`. Public calls, data on the device, medians of rounds in which the libraries take
turns; each row with its error against SciPy in float64 at 100,000 voxels. Writes results/spatial.json and spatial.png.
"""

from __future__ import annotations

import sys
import time
import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import RESULTS, Row, chart, measured, optional, save
from scipy import ndimage

import medjax as mj

sitk, torch, torchio = (optional(name) for name in ("SimpleITK", "torch", "torchio"))
IS_ON_GPU = jax.default_backend() == "gpu"
cupy = optional("cupy") if IS_ON_GPU else None
DEVICE = "cuda" if IS_ON_GPU and torch is not None and torch.cuda.is_available() else "cpu"

SHAPE = (256, 256, 128)
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 7
rng = np.random.default_rng(0)
VOXELS = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.0).astype(np.float32)
VOXELS /= np.abs(VOXELS).max()
IMAGE = mj.Image.from_array(jnp.asarray(VOXELS))
CENTER = (np.array(SHAPE) - 1) / 2
ANGLE = 45.0


def in_itk(image: Any = IMAGE) -> Any:
    if sitk is None:
        return None
    out = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(image.voxels).T))
    out.SetSpacing(image.spacing)
    out.SetOrigin(image.origin)
    out.SetDirection(np.asarray(image.direction).ravel().tolist())
    return out


ITK = in_itk()


def peer(name: str, module: Any, call: Any) -> dict[str, Any]:
    return {} if module is None else {name: call}


def on_torch(array: np.ndarray) -> Any:
    """A tensor beside our own arrays: on the GPU where those are."""
    return torch.tensor(array, device=DEVICE)


def finished(result: Any) -> Any:
    """Waits for what a peer still computes on the GPU."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    if cupy is not None:
        cupy.cuda.get_current_stream().synchronize()
    return result


def with_cupy(matrix: np.ndarray, offset: np.ndarray, order: int, **options: Any) -> dict[str, Any]:
    """CuPy's affine_transform as a peer, where there is a GPU and it is installed."""
    if cupy is None:
        return {}
    from cupyx.scipy import ndimage as on_gpu

    volume, matrix, offset = cupy.asarray(VOXELS), cupy.asarray(matrix), cupy.asarray(offset)
    return {"cupy": lambda: finished(on_gpu.affine_transform(volume, matrix, offset, order=order, **options))}


def truth_error(out: Any, matrix: np.ndarray, offset: np.ndarray, order: int) -> float:
    """Largest difference from SciPy in float64 at a sample of voxels that lie well inside, over the value range."""
    values = np.asarray(out)
    index = np.stack([rng.integers(0, n, 100_000) for n in values.shape])
    points = matrix @ index + offset[:, None]
    inside = ((points >= 0) & (points <= np.array(SHAPE)[:, None] - 1)).all(0)
    if order == 0:  # ties may fall either way
        inside &= (np.abs(points - np.floor(points) - 0.5) > 1e-5).all(0)
    points, index = points[:, inside], index[:, inside]
    wanted = ndimage.map_coordinates(VOXELS.astype(np.float64), points, order=order, mode="mirror")
    return float(np.abs(values[tuple(index)] - wanted).max() / np.ptp(VOXELS))


def turn(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Output index to input index of a rotation of the content about k."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    return matrix, CENTER - matrix @ CENTER


def rotations() -> list[Row]:
    rows = []
    matrix, offset = turn(ANGLE)
    if sitk is not None:
        transform = sitk.Euler3DTransform()
        transform.SetCenter(CENTER.tolist())
        transform.SetRotation(0, 0, float(-np.radians(ANGLE)))
    targets = {"linear": (1, 2.5, 4), "nearest": (0, 2, 3), "bspline": (3, 3, 6)}
    for name, (order, must, aim) in targets.items():

        def ours(name: Any = name) -> Any:
            return mj.rotate(IMAGE, "k", ANGLE, interpolation=name, fill=0.0).voxels

        code = getattr(
            sitk, {"linear": "sitkLinear", "nearest": "sitkNearestNeighbor", "bspline": "sitkBSpline"}[name], None
        )
        peers = peer("SimpleITK", sitk, lambda code=code: sitk.Resample(ITK, ITK, transform, code, 0.0))
        peers["SciPy"] = lambda order=order: ndimage.affine_transform(VOXELS, matrix, offset, order=order)
        peers |= with_cupy(matrix, offset, order)
        if name == "linear":
            grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in SHAPE), indexing="ij")
            points = [
                sum(float(m) * g for m, g in zip(row, grid, strict=True)) + float(t)
                for row, t in zip(matrix, offset, strict=True)
            ]
            points = [np.asarray(p, np.float32) for p in points]
            on_device = [jnp.asarray(p) for p in points]
            theirs = jax.jit(lambda v, p: jax.scipy.ndimage.map_coordinates(v, p, order=1))
            peers["jax.scipy"] = lambda theirs=theirs, on_device=on_device: theirs(IMAGE.voxels, on_device)
        error = truth_error(ours(), matrix, offset, order)
        rows.append(
            measured(
                f"rotate 45, {name}",
                ours,
                peers,
                error=error,
                must={"SimpleITK": must},
                aim={"SimpleITK": aim},
                rounds=ROUNDS,
            )
        )
    general = mj.affine_matrix(rotation=(20.0, -10.0, 30.0))
    inverse = np.linalg.inv(general)
    affine = None if sitk is None else sitk.AffineTransform(3)
    if affine is not None:
        affine.SetCenter(CENTER.tolist())
        affine.SetMatrix(inverse[:3, :3].ravel().tolist())
    for name, code in (("linear", "sitkLinear"), ("bspline", "sitkBSpline")):
        rows.append(
            measured(
                f"affine about three axes, {name}",
                lambda name=name: mj.affine_transform(IMAGE, general, interpolation=name, fill=0.0).voxels,
                peer("SimpleITK", sitk, lambda code=code: sitk.Resample(ITK, ITK, affine, getattr(sitk, code), 0.0)),
                error=truth_error(
                    mj.affine_transform(IMAGE, general, interpolation=name, fill=0.0).voxels,
                    inverse[:3, :3],
                    CENTER - inverse[:3, :3] @ CENTER,
                    1 if name == "linear" else 3,
                ),
                rounds=ROUNDS,
            )
        )
    return rows


def spacings() -> list[Row]:
    rows = []
    for factor, name, must, aim in ((1.5, "linear", 2.5, 5), (0.5, "linear", 1.5, 3), (1.5, "bspline", 5, 15)):
        size = [round(n * factor) for n in SHAPE]
        spacing = [n / m for n, m in zip(SHAPE, size, strict=True)]

        def theirs(size: Any = size, spacing: Any = spacing, name: str = name) -> Any:
            code = sitk.sitkLinear if name == "linear" else sitk.sitkBSpline
            origin = [(s - 1) / 2 for s in spacing]
            return sitk.Resample(ITK, size, sitk.Transform(), code, origin, spacing, ITK.GetDirection(), 0.0)

        def ours(spacing: Any = spacing, name: Any = name) -> Any:
            return mj.resample_to_spacing(IMAGE, spacing, interpolation=name, fill=0.0).voxels

        matrix, offset, order = np.diag(spacing), (np.array(spacing) - 1) / 2, 1 if name == "linear" else 3
        error = truth_error(ours(), matrix, offset, order)
        peers = peer("SimpleITK", sitk, theirs) | with_cupy(matrix, offset, order, output_shape=tuple(size))
        if order == 1:
            options = {"output_shape": size, "order": order}
            peers["SciPy"] = lambda spacing=spacing, offset=offset, options=options: ndimage.affine_transform(
                VOXELS, spacing, offset, **options
            )
        rows.append(
            measured(
                f"resample x{factor}, {name}",
                ours,
                peers,
                error=error,
                must={"SimpleITK": must},
                aim={"SimpleITK": aim},
                rounds=ROUNDS,
            )
        )
    rows.append(
        measured(
            "change_orientation, permuting and flipping",
            lambda: mj.change_orientation(IMAGE, "SRP").voxels,
            peer("SimpleITK", sitk, lambda: sitk.DICOMOrient(ITK, "SRP")),
            error=0.0,
            must={"SimpleITK": 1.5},
            rounds=ROUNDS,
        )
    )
    copy = jax.jit(lambda v: v + 1)
    rows.append(measured("(a copy of the volume)", lambda: copy(IMAGE.voxels), rounds=ROUNDS))
    return rows


def chains() -> list[Row]:
    scan = mj.Image.from_array(IMAGE.voxels, spacing=(0.9, 0.9, 1.5))

    @mj.fuse
    def prepare(image: mj.Image) -> mj.Image:
        image = mj.rotate(mj.change_orientation(image, "RAS"), "k", 10.0, fill=0.0)
        return mj.crop_or_pad(mj.resample_to_spacing(image, 1.2, fill=0.0), (192, 192, 160), fill=0.0)

    target = prepare(scan)
    peers: dict[str, Any] = {}
    if sitk is not None:
        moving, reference = in_itk(scan), in_itk(target)
        rotation = sitk.Euler3DTransform()
        rotation.SetCenter(scan.grid.center.tolist())
        rotation.SetRotation(0, 0, float(-np.radians(10.0)))
        composite = sitk.CompositeTransform([sitk.Transform(3, sitk.sitkIdentity), rotation])
        peers["SimpleITK"] = lambda: sitk.Resample(moving, reference, composite, sitk.sitkLinear, 0.0)
    if torchio is not None:
        steps = torchio.Compose(
            [
                torchio.ToOrientation("RAS") if hasattr(torchio, "ToOrientation") else torchio.ToCanonical(),
                torchio.Affine(scales=1, degrees=(0, 0, 10), translation=0),
                torchio.Resample(1.2),
                torchio.CropOrPad((192, 192, 160)),
            ]
        )
        subject = torchio.ScalarImage(tensor=VOXELS[None], affine=np.asarray(scan.affine_ras))
        peers["TorchIO"] = lambda: steps(subject).data
    rows = [
        measured(
            "fused reorient + rotate + spacing + crop_or_pad",
            lambda: prepare(scan).voxels,
            peers,
            must={"SimpleITK": 2.5, "TorchIO": 8},
            aim={"SimpleITK": 5, "TorchIO": 20},
            rounds=ROUNDS,
        )
    ]
    field = (2 * rng.normal(size=(*SHAPE, 3))).astype(np.float32)
    on_device = jnp.asarray(field)
    peers = {}
    if sitk is not None:
        vectors = sitk.GetImageFromArray(
            np.ascontiguousarray(field.transpose(2, 1, 0, 3)).astype(np.float64), isVector=True
        )
        warp = sitk.DisplacementFieldTransform(vectors)
        peers["SimpleITK"] = lambda: sitk.Resample(ITK, ITK, warp, sitk.sitkLinear, 0.0)
    rows.append(
        measured(
            "warp by a dense field",
            lambda: mj.warp(IMAGE, on_device, fill=0.0).voxels,
            peers,
            must={"SimpleITK": 2},
            aim={"SimpleITK": 4},
            rounds=ROUNDS,
        )
    )
    return rows


def torch_theta(matrices: np.ndarray, size: int | tuple[int, ...]) -> Any:
    """affine_grid's matrices (align_corners=False, axes reversed) for index maps about the centre."""
    n = np.broadcast_to(np.asarray(size), (3,)).astype(float)
    theta = np.zeros((len(matrices), 3, 4), np.float32)
    for item, matrix in zip(theta, matrices, strict=True):
        item[:, :3] = (np.diag(1 / n) @ matrix @ np.diag(n))[::-1, ::-1]
    return on_torch(theta)


def batches() -> list[Row]:
    cubes = rng.normal(size=(8, 96, 96, 96)).astype(np.float32)
    batch = mj.stack([mj.Image.from_array(jnp.asarray(cube)) for cube in cubes])
    content = np.stack([mj.affine_matrix(rotation=(5.0 * n, 3.0 * n, -4.0 * n), scale=1 + 0.02 * n) for n in range(8)])
    peers = {}
    if torch is not None:
        theta = torch_theta(np.linalg.inv(content)[:, :3, :3], 96)
        tensor = on_torch(cubes)[:, None]

        def theirs() -> Any:
            with torch.no_grad():
                grid = torch.nn.functional.affine_grid(theta, list(tensor.shape), align_corners=False)
                return finished(torch.nn.functional.grid_sample(tensor, grid, align_corners=False))

        peers["torch"] = theirs
    ours = lambda: mj.affine_transform(batch, content, fill=0.0).voxels  # noqa: E731
    error = None
    if torch is not None:
        core = (slice(None), *[slice(30, 66)] * 3)  # away from the edges, where torch pads
        error = float(np.abs(np.asarray(ours())[core] - theirs().cpu().numpy()[:, 0][core]).max() / np.ptp(cubes))
    return [
        measured(
            "8 x 96^3, an affine each", ours, peers, error=error, must={"torch": 5}, aim={"torch": 10}, rounds=ROUNDS
        )
    ]


def weighted_sum(out: Any, weight: Any) -> Any:
    return (out * weight).sum()


def squared_error(out: Any, target: Any) -> Any:
    return ((out - target) ** 2).sum()


def gradients() -> list[Row]:
    """Value and gradient of a weighted sum, whose weights are the cotangent, and of a squared error against a target.

    The weighted sum closes over the image's geometry. The squared error is taken as a training step does it: jit has the
    images as arguments. Floors are for two cores, first for the weighted sum, then for the squared error.
    """
    size = [round(n * 1.5) for n in SHAPE]
    spacing = [n / m for n, m in zip(SHAPE, size, strict=True)]
    content = jnp.asarray(mj.affine_matrix(rotation=(0.0, 0.0, ANGLE)), jnp.float32)
    operations = {
        "rotate, value and gradient by voxels": lambda image, matrix: mj.rotate(image, "k", ANGLE, fill=0.0),
        "rotate, value and gradient by matrix": lambda image, matrix: mj.affine_transform(image, matrix, fill=0.0),
        "resample x1.5, value and gradient by voxels": lambda image, matrix: mj.resample_to_spacing(
            image, spacing, size=size, fill=0.0
        ),
    }
    floors = {
        weighted_sum: dict(zip(operations, ((2, 5), (4, 10), (8, 15)), strict=True)),
        squared_error: dict(zip(operations, ((6, 10), (5, 8), (5, 8)), strict=True)),
    }
    rows = []
    for loss, wanted in floors.items():
        for name, operation in operations.items():
            shape = tuple(size) if "resample" in name else SHAPE
            by_voxels, scale = "voxels" in name, 1.0 if loss is weighted_sum else VOXELS.std()
            other = (scale * rng.normal(size=shape)).astype(np.float32)
            reached = mj.Image.from_array(jnp.asarray(other))

            def value(
                moving: Any,
                image: mj.Image,
                other: mj.Image,
                by_voxels: Any = by_voxels,
                op: Any = operation,
                loss: Any = loss,
            ) -> Any:
                out = op(image.with_voxels(moving), None) if by_voxels else op(image, moving)
                return loss(out.voxels, other.voxels)

            moving = IMAGE.voxels if by_voxels else content
            if loss is weighted_sum:
                step = jax.jit(
                    jax.value_and_grad(
                        lambda m, voxels, weight, value=value: value(m, IMAGE.with_voxels(voxels), weight)
                    )
                )
                call = partial(step, moving, IMAGE.voxels, reached)
            else:
                call = partial(step := jax.jit(jax.value_and_grad(value)), moving, IMAGE, reached)
            must, aim = wanted[name]
            rows.append(
                measured(
                    name if loss is weighted_sum else f"{name}, squared error",
                    call,
                    peer("torch", torch, torch and gradient_in_torch(name, other, loss)),
                    error=gradient_error(step, call, loss) if by_voxels else None,
                    must={"torch": must},
                    aim={"torch": aim},
                    rounds=ROUNDS,
                )
            )
    return rows


def gradient_error(step: Any, call: Any, loss: Any) -> float:
    """The gradient's product with the voxels over the slope of the loss along them: exact, the loss is a polynomial."""
    _, *others = call.args
    value, gradient = call()
    slope = float(value)
    if loss is squared_error:  # of degree 2 in the factor of the voxels
        slope = (float(step(2 * IMAGE.voxels, *others)[0]) - float(step(0 * IMAGE.voxels, *others)[0])) / 2
    return float(abs(np.vdot(np.asarray(gradient, np.float64), VOXELS) / slope - 1))


def gradient_in_torch(name: str, other: np.ndarray, loss: Any) -> Any:
    """The same loss and its gradient, by the same thing."""
    functional = torch.nn.functional
    volume, other = on_torch(VOXELS)[None, None], on_torch(other)[None, None]
    theta = torch_theta(turn(ANGLE)[0][None], SHAPE)
    size = tuple(other.shape[2:])

    def step() -> Any:
        wanted = (volume if "voxels" in name else theta).clone().requires_grad_(True)
        v, t = (wanted, theta) if "voxels" in name else (volume, wanted)
        if "resample" in name:
            out = functional.interpolate(v, size=size, mode="trilinear", align_corners=False)
        else:
            grid = functional.affine_grid(t, list(v.shape), align_corners=False)
            out = functional.grid_sample(v, grid, align_corners=False)
        loss(out, other).backward()
        return finished(wanted.grad)

    return step


def bandwidth() -> list[Row]:
    """On a GPU: a linear affine on 512^3 beside a copy of the volume, which reads and writes it once."""
    large = mj.Image.from_array(jnp.asarray(rng.normal(size=(512, 512, 512)).astype(np.float32)))
    content = mj.affine_matrix(rotation=(10.0, 20.0, 30.0))
    copy = jax.jit(lambda v: v + 1)
    affine = lambda: mj.affine_transform(large, content, fill=0.0).voxels  # noqa: E731
    peers = {"a copy": lambda: copy(large.voxels)}
    return [measured("affine on 512^3, linear", affine, peers, aim={"a copy": 0.5}, rounds=ROUNDS)]


def memory() -> dict[str, float]:
    """XLA's temporary memory over the size of the output, by its own analysis, for 512^3 float32; nothing is run."""
    shape = (512, 512, 512)
    image = mj.Image(jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((4, 4), jnp.float32))
    content = mj.affine_matrix(rotation=(10, 20, 30))
    table = {}
    for name in ("linear", "bspline"):
        call = partial(mj.affine_transform, matrix=content, interpolation=name, fill=0.0)
        known = jax.jit(lambda voxels, call=call: call(mj.Image.from_array(voxels)).voxels)
        traced = jax.jit(lambda image, call=call: call(image).voxels)
        for title, program in (
            (name, known.lower(image.voxels)),
            (f"{name} with traced geometry", traced.lower(image)),
        ):
            analysis = program.compile().memory_analysis()
            ratio = analysis.temp_size_in_bytes / analysis.output_size_in_bytes
            table[f"affine on 512^3, {title}: temporary / output"] = ratio
    for name, value in table.items():
        print(f"{name}: {value:.4f}")
    return table


def overhead() -> dict[str, dict[str, float]]:
    """Milliseconds of a public call on 8^3 voxels, and of the first call on a new shape with its compilation."""
    calls = {
        "rotate": lambda i: mj.rotate(i, "k", 30.0),
        "rotate, bspline": lambda i: mj.rotate(i, "k", 30.0, interpolation="bspline"),
        "affine_transform, bspline": lambda i: mj.affine_transform(
            i, mj.affine_matrix(rotation=(10, 20, 30)), interpolation="bspline"
        ),
        "affine_transform": lambda i: mj.affine_transform(i, mj.affine_matrix(rotation=(10, 20, 30))),
        "resample_to_spacing": lambda i: mj.resample_to_spacing(i, 1.5),
        "resample_to_image": lambda i: mj.resample_to_image(i, i),
        "change_orientation": lambda i: mj.change_orientation(i, "SRP"),
        "flip": lambda i: mj.flip(i, "i"),
        "crop": lambda i: mj.crop(i, (1, 1, 1), (4, 4, 4)),
        "pad": lambda i: mj.pad(i, 1, 2),
        "crop_or_pad": lambda i: mj.crop_or_pad(i, (6, 10, 8)),
        "warp": lambda i: mj.warp(i, np.zeros((*i.shape, 3), np.float32)),
    }
    table = {}
    for number, (name, call) in enumerate(calls.items()):
        fresh = mj.Image.from_array(jnp.zeros((120 + number, 110, 100), jnp.float32))
        start = time.perf_counter()
        jax.block_until_ready(call(fresh).voxels)
        first = 1e3 * (time.perf_counter() - start)
        small = mj.Image.from_array(jnp.zeros((8, 8, 8), jnp.float32))
        jax.block_until_ready(call(small).voxels)
        samples = []
        for _ in range(50):
            start = time.perf_counter()
            jax.block_until_ready(call(small).voxels)
            samples.append(1e3 * (time.perf_counter() - start))
        table[name] = {"eager_8_cubed_ms": float(np.median(samples)), "first_call_ms": first}
        print(f"{name:28s} 8^3: {table[name]['eager_8_cubed_ms']:.2f} ms   first call on a new shape: {first:.0f} ms")
    return table


def main() -> None:
    warnings.simplefilter("ignore")
    print(f"{'work':44s} {'median ms':>9s} {'first ms':>8s} {'error':>7s}  peers")
    rows = [*rotations(), *spacings(), *chains(), *batches(), *gradients(), *(bandwidth() if IS_ON_GPU else ())]
    save("spatial", rows, memory=memory(), overhead=overhead())
    name = f"spatial{'-gpu' if IS_ON_GPU else ''}.png"
    chart([row for row in rows if row.peers], RESULTS / name, "medjax beside its peers, 256x256x128 float32")


if __name__ == "__main__":
    main()
