"""Steps: one grammar for text, TOML and Python, read from the public functions, with one interpolation."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_files import Commands, scan

import medjax as mj

# Private: the table of steps, to walk it.
from medjax._pipeline._grammar import from_table, from_text, from_toml, to_toml
from medjax._pipeline._operations import FUNCTIONS
from medjax._pipeline._signatures import REQUIRED, parameters_of
from medjax._pipeline._steps import KINDS, METHODS, NO_STEP

TEXTS = [
    "reorient:RAS",
    "flip:ij",
    "resample:1.5",
    "resample:1,1,2.5,anchor=first",
    "resample:size=8,8,8",
    "resample:fill=-1000,like=other.nii.gz",
    "scale:0.5",
    "rotate:k,10,expand=true",
    "crop:1,2,3,size=4,4,2",
    "crop:to_mask=seg.nii.gz,margin=5mm",
    "pad:2,after=1,1,0,mode=edge",
    "size:96,96,64",
    "translate:-3,0,0.5,unit=mm",
    "clip:-1000,1000",
    "rescale:1,-1024",
    "window:40,400,function=linear_exact,range=0,255",
    "normalize:zscore,ddof=0",
    "normalize:percentile,percentiles=1,99,outside=extend",
    "cast:int16",
    "threshold:100,200",
    "gaussian_blur:2,unit=voxel",
    "unsharp:0.5,2",
    "dilate:3",
    "fill_holes",
    "suv:bsa",
    "window:40,400,on=ct+mr",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_and_toml_are_read_back(text: str) -> None:
    step = from_text(text)
    assert from_text(str(step)) == step
    assert from_toml(to_toml([step])) == [step]
    assert str(step) == text


def test_examples_of_the_specification() -> None:
    assert from_table({"resample": {"spacing": [2.0, 2.0, 3.0], "like": "ct"}}) == from_text("resample:2,2,3,like=ct")
    assert from_table({"reorient": "RAS"}) == from_text("reorient:RAS")
    assert from_table({"size": [192, 192, 256]}) == from_text("size:192,192,256")
    window = from_table({"on": ["ct"], "window": {"center": 40, "width": 400, "range": [0, 1]}})
    assert window == from_text("window:40,400,range=0,1,on=ct")


def test_every_operation_is_a_step_or_says_why_not() -> None:
    """Whatever takes an image first (or a key and then an image) and gives an image."""
    functions = {name: getattr(mj, name) for name in dir(mj) if inspect.isfunction(getattr(mj, name))}
    operations = set()
    for name, function in functions.items():
        signature = inspect.signature(function)
        annotations = [str(p.annotation) for p in list(signature.parameters.values())[:2]]
        if str(signature.return_annotation).split(".")[-1].strip("'>") == "Image" and any(
            "Image" in a for a in annotations
        ):
            operations.add(name)
    steps = {kind.function for kind in KINDS.values()} | {name for _, name in METHODS.values()}
    assert len(operations) > 40
    assert operations - steps - set(NO_STEP) - {"stack", "load_image"} == set(), (
        "a step in medjax/_pipeline/_steps.py, or a reason in NO_STEP"
    )
    assert set(NO_STEP) - set(functions) == set()


@pytest.mark.parametrize("name", sorted({kind.function for kind in KINDS.values()} | {f for _, f in METHODS.values()}))
def test_options_are_those_of_the_public_function(name: str) -> None:
    """They are read from its source, since importing it would import JAX for `--help`."""
    homes = [(kind.home, kind.function) for kind in KINDS.values()] + list(METHODS.values())
    home = next(home for home, function in homes if function == name)
    function = getattr(mj, name)
    assert function is FUNCTIONS[name]
    assert function.__module__ == f"medjax.{home.replace('/', '.')}"
    parameters = inspect.signature(function).parameters
    read = parameters_of(home, name)
    no_words = {"image", "mask", "landmarks", "tags"}
    no_words |= {"invert"} if name == "adjust_gamma" else set()  # a truth value, or one for each item
    assert set(parameters) - set(read) <= no_words
    for one, parameter in read.items():
        default = parameters[one].default
        assert parameter.default == (REQUIRED if default is inspect.Parameter.empty else default)
        assert parameter.help
        assert not parameter.choices or all(word in str(inspect.getdoc(function)) for word in parameter.choices[:1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resampel:1", "there is no step 'resampel'; did you mean 'resample'?"),
        ("resample:1,ancor=first", "resample has no option 'ancor'; did you mean 'anchor'?"),
        ("resample:1,2", "spacing must be one number or three; got '1,2'"),
        ("resample:-1", "spacing must be above 0"),
        ("resample:nan", "spacing must be one number or three"),
        ("resample:1,anchor=middle", "anchor must be one of center, first"),
        ("resample:1,spacing=2", "given twice"),
        ("resample", "resample needs spacing, size, like or transform"),
        ("resample:2,like=a.nii,antialias=true", "leave out antialias"),
        ("size", "size needs size"),
        ("size:1.5", "one whole number or three, at least 1"),
        ("fill_holes:3", "fill_holes takes no value; 3 is left over"),
        ("crop:1,1,1", "crop needs start and size, or to_mask"),
        ("crop:1,1,1,size=2,2,2,to_mask=m.nii", "not both"),
        ("crop:1,1,1,size=2,2,2,margin=3", "give to_mask"),
        ("normalize:zscore,range=0,1", "normalize:zscore has no option 'range'"),
        ("normalize:nyul", "needs landmarks"),
        ("cast:int12", "a type of numbers"),
        ("window:40,400,range=1,0", "the lower one first"),
        ("1.5", "a step is written"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        from_text(text)


def test_toml_that_is_wrong() -> None:
    for text, message in (
        ("schema = 1", "schema must be"),
        ("schema", "this is no TOML"),
        ('schema = "medjax.pipeline/1"\nstep = []', "there is no key 'step'; did you mean 'steps'?"),
        (
            'schema = "medjax.pipeline/1"\n[[steps]]\nsize = 3\n[[steps]]\nclip = 1\nrotate = 2',
            "step 2: a step has one",
        ),
        ('schema = "medjax.pipeline/1"\n[[steps]]\nsize = 3\non = "ct"', "step 1: size: on is a list"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            from_toml(text)


CHAIN = "reorient:RAS rotate:k,7 resample:1.5 size:8,8,6 window:0,600"


def test_text_toml_and_python_give_the_same_bytes(medjax: Commands) -> None:
    ran = medjax(f"apply ct.nii.gz a.nii.gz {CHAIN} --labels seg.nii.gz a_seg.nii.gz --save-pipeline p.toml")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    ran = medjax("apply ct.nii.gz b.nii.gz --pipeline p.toml --labels seg.nii.gz b_seg.nii.gz")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    images = {"ct": medjax.load("ct.nii.gz"), "seg": medjax.load("seg.nii.gz")}
    out = mj.data.Pipeline.read("p.toml")(images)
    assert mj.data.Pipeline.of(CHAIN) == mj.data.Pipeline.read("p.toml")
    mj.save_image(out["ct"], "c.nii.gz")
    mj.save_image(out["seg"], "c_seg.nii.gz")
    for name in ("{}.nii.gz", "{}_seg.nii.gz"):
        first, *others = (Path(name.format(letter)).read_bytes() for letter in "abc")
        assert others == [first, first]

    @mj.fuse
    def by_hand(image: mj.Image) -> mj.Image:
        image = mj.rotate(mj.change_orientation(image, "RAS"), "k", 7.0)
        image = mj.crop_or_pad(mj.resample_to_spacing(image, 1.5), (8, 8, 6))
        return mj.window(image, 0.0, 600.0) if image.kind == "intensity" else image

    with mj.shape_buckets():
        np.testing.assert_array_equal(by_hand(images["ct"]).voxels, out["ct"].voxels)
        np.testing.assert_array_equal(by_hand(images["seg"]).voxels, out["seg"].voxels)
    assert set(np.unique(out["seg"].voxels)) == {0, 1, 2}
    assert out["seg"].dtype == np.uint8


def test_a_chain_is_one_interpolation(medjax: Commands) -> None:
    """A turn and its opposite cancel in the map: values come back exactly, which two interpolations would not give."""
    assert medjax("apply ct.nii.gz out.nii.gz rotate:k,20 rotate:k,-20 cast:int16").code == 0
    np.testing.assert_array_equal(medjax.load("out.nii.gz").voxels, medjax.load("ct.nii.gz").voxels)
    turned = mj.rotate(mj.rotate(scan(), "k", 20.0), "k", -20.0)
    assert np.abs(np.asarray(turned.voxels) - scan().voxels).max() > 1


def test_labels_on_another_grid_come_onto_the_leaders(medjax: Commands) -> None:
    fine = mj.resample_to_spacing(medjax.load("seg.nii.gz"), 0.5)
    mj.save_image(fine, "fine.nii.gz")
    assert medjax("apply ct.nii.gz a.nii.gz resample:1 size:9 --labels fine.nii.gz b.nii.gz").code == 0
    image, labels = medjax.load("a.nii.gz"), medjax.load("b.nii.gz")
    assert labels.shape == image.shape == (9, 9, 9)
    np.testing.assert_allclose(labels.affine, image.affine, atol=1e-5)
    assert labels.kind == "label"
    expected = mj.resample_to_grid(fine, image.grid)
    np.testing.assert_array_equal(labels.voxels, expected.voxels)


ALIASES = {
    "resample ct.nii.gz OUT --spacing 1,1.5,3 --anchor first": lambda x: mj.resample_to_spacing(
        x, (1, 1.5, 3), anchor="first"
    ),
    "resample ct.nii.gz OUT --size 6,6,6": lambda x: mj.resample_to_spacing(x, (2, 2.5, 2), size=(6, 6, 6)),
    "resample ct.nii.gz OUT --like other.nii.gz --fill -7": lambda x: mj.resample_to_image(
        x, mj.load_image("other.nii.gz"), fill=-7.0
    ),
    "resample ct.nii.gz OUT --like other.nii.gz --transform move.tfm": lambda x: mj.resample_to_image(
        x, mj.load_image("other.nii.gz"), transform=mj.io.load_transform("move.tfm")
    ),
    "reorient SRP ct.nii.gz OUT": lambda x: mj.change_orientation(x, "SRP"),
    "reorient ct.nii.gz OUT LIA": lambda x: mj.change_orientation(x, "LIA"),
    "crop ct.nii.gz OUT --start 1,2,3 --size 4,4,2": lambda x: mj.crop(x, (1, 2, 3), (4, 4, 2)),
    "crop ct.nii.gz OUT --to-mask seg.nii.gz --margin 2mm": lambda x: mj.crop_to_mask(
        x, mj.load_image("seg.nii.gz"), margin=2, unit="mm"
    ),
    "pad ct.nii.gz OUT --before 1 --after 2,0,0 --fill -1000": lambda x: mj.pad(x, 1, (2, 0, 0), fill=-1000),
    "pad ct.nii.gz OUT --before 2 --mode reflect": lambda x: mj.pad(x, 2, 2, mode="reflect"),
    "normalize zscore ct.nii.gz OUT --ddof 0": lambda x: mj.z_score_normalize(x, ddof=0),
    "normalize ct.nii.gz OUT minmax --range -1,1": lambda x: mj.min_max_normalize(x, range=(-1, 1)),
    "normalize percentile ct.nii.gz OUT --percentiles 5,95": lambda x: mj.percentile_normalize(x, percentiles=(5, 95)),
    "normalize nyul ct.nii.gz OUT --landmarks nyul.json": lambda x: mj.nyul_transform(
        x, mj.NyulLandmarks.from_json(Path("nyul.json").read_text())
    ),
    "window ct.nii.gz OUT --center -40 --width 400 --function sigmoid": lambda x: mj.window(
        x, -40, 400, function="sigmoid"
    ),
}


@pytest.mark.parametrize("line", ALIASES)
def test_an_alias_gives_what_the_function_gives(medjax: Commands, line: str) -> None:
    mj.io.save_transform(mj.AffineTransform.of(mj.affine_matrix(translation=(1, 2, 0))), "move.tfm")
    Path("nyul.json").write_text(mj.NyulLandmarks(np.array([0.0, 50.0, 100.0]), (1.0, 50.0, 99.0)).to_json())
    ran = medjax(line.replace("OUT", "out.nii.gz"))
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    with mj.shape_buckets():
        mj.save_image(ALIASES[line](medjax.load("ct.nii.gz")), "expected.nii.gz")
    assert Path("out.nii.gz").read_bytes() == Path("expected.nii.gz").read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        "apply ct.nii.gz new/a.nii.gz reorient:RAS size:20,6,6",
        "apply ct.nii.gz new/a.nii.gz reorient:RAS resample:1.5 cast:int16",
        "apply ct.nii.gz new/a.nii.gz resample:2,like=other.nii.gz window:40,400",
        "resample ct.nii.gz new/a.nii.gz --size 7,7,7",
    ],
)
def test_dry_run_says_what_the_run_does(medjax: Commands, line: str) -> None:
    ran = medjax(f"{line} --dry-run --json")
    assert ran.code == 0
    plan = json.loads(ran.out)
    assert next(iter(plan)) == "schema"
    assert not Path("new").exists()
    assert medjax(line).code == 0
    made = medjax.load("new/a.nii.gz")
    assert (plan["shape"], plan["dtype"]) == (list(made.shape), str(made.dtype))
    np.testing.assert_allclose(plan["spacing"], made.spacing, rtol=1e-6)
    assert plan["peak_bytes"] > 0
    assert medjax(f"{line} --dry-run").code == 4  # as the real run would end


def test_python_refuses_what_it_cannot_do() -> None:
    pipeline = mj.data.Pipeline.of(["window:40,400,on=pet"])
    with pytest.raises(ValueError, match="there is no image 'pet'; there are ct"):
        pipeline({"ct": scan()})
    with pytest.raises(ValueError, match="Image"):
        pipeline(np.zeros((2, 2, 2)))
    with pytest.raises(FileNotFoundError):
        mj.data.Pipeline.read("no.toml")


def test_roles_choose_the_grid() -> None:
    """`like` names a role; spacing with it is that role's grid at another spacing."""
    images: dict[str, Any] = {"pet": scan((6, 6, 6)), "ct": scan((8, 9, 5))}
    out = mj.data.Pipeline.of("resample:2,like=ct")(images)
    expected = mj.resample_to_spacing(images["ct"], 2.0)
    for image in out.values():
        assert image.shape == expected.shape
        np.testing.assert_allclose(image.affine, expected.affine, atol=1e-12)


def test_the_first_image_leads() -> None:
    """In the order that they are given, not in the order of their names."""
    images: dict[str, Any] = {"pet": scan((6, 6, 6)), "ct": scan((8, 9, 5))}
    out = mj.data.Pipeline.of("resample:2")(images)
    assert list(out) == ["pet", "ct"]
    assert out["pet"].shape == out["ct"].shape == mj.resample_to_spacing(images["pet"], 2.0).shape
