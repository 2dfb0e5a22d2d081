"""Pickles: what a later version writes names no module that may move, and what 0.1.0 wrote is still read."""

from __future__ import annotations

import base64
import pickle
import pickletools
import re
import zlib
from typing import Any

import numpy as np
import pytest

import medjax as mj

# Made by medjax 0.1.0 (commit 6468068): pickle.dumps(..., protocol=4) of the objects that `expected` makes, zlib, base 85.
WRITTEN_BY_0_1_0 = (
    "c-qBQy>Ht_6sIIo)|WpMCr(hH89LZNp%j6K6ewz2PVJ_OiNq0#Zp4W^=`P}j$~!tz0Rzquy8+%NcIuQrqFaZK9s7rL@Y1DA`$+m^$#ESI0ZKvA"
    "yWhQgeD}NeaYy=3PDM+f!&NZ2N4gYdJ?gw5gSwRsjmOE~Xzdkh6c2&{bp_n=Bd<TKTXqoAx)-^UlQ1O17;08X?Z6i@jBGiI!AKQjnDL!dV-z>F"
    "*W0;ve6qjV%;6{BES#`B7>*qFDK5zK2XB5%CJT`JA~sF)n}6_0f0~+XzuB&7T29Mr1x?os1fWPd9q!YZ<yZl2Gd;7cH}zv?K)&-ZF&CpfR=mX8"
    "QMUQh4eff*=JnJ{*VH@Rz#Zs4?mID*xi6_NxEw;sqmnp8k{A}$VJHYnduP%pUWNR2%T&+d;i24*&|Wv>4%F1bbfoX%Z+3=;V5CnI;+y&jo4Jg)"
    "(wLa*Zump%CB#H+HUo=l8!{xm=men`!~9ly<Sm7q#imDO$Ol*N=YKuuqD}FL!wVi3UMK#o{MX8a2PoTt*AFl@D67HJwi-+^0F^OCVokKc=y2*f"
    "sK5A#i@r;2>f!5m5-=mI=1kzzPGz}?zRCCa_P+SJF5e$sFXgS!4hFD1P9Y+Cbu3U_jui^3jUe(J?spr(VD#>pVC~@RSJsZ2dRZ=`;vEySsFTOJ"
    "{8;Ds6%_jcCc1zd(_W=X36(t@JWUlYx`g?f68qWJ#9SmOA!6FnTH=?USN@b;;yWG*djdWh7k*WV>el(}tT~L_Cu*qr0dXTLF1T7v+3T#I74l2T"
    "`!sQ`b-J{5@9xiA%fJ4)RlNUkL({%){QXBCzt9+d{<iVg+g}j-y@9z??b9$xAMR4Iy1Q|j?QVDT6D6!G;Y%evQo>^;m`ZqdbSAVE@~uL?`z;G?"
    "sI-aQ>xM~?m>5dM4zXnr#^(noqJz4Xp-_Gv9qgoHN(`IZ-PAMFtPJ_~OVA^qODxUzJs0#aa<O5}gOPv&^v1KjC$Qj9n+%hdiY-)Ph?+1L(hd!&"
    "Z&OQhkD9PN4Ok+GkQG$q{)=ppQk(|HilwM8Ne{;+rhodrYy&3DIDw#6`+F0rjJO@k<(*Wm;$uM}F8_g|(){_rN;Y9a`6cCDCaqo<jk8SlOehFC"
    "FtPgwl8QBCuOcLoTu5#UxIIPS#KbI;_<TIfB24!v@tFoiVH1~xqnMSpODedJ_o3jC0b4i+Pd5<M`;_!1QEd}ZLk5z#lW-}4%LjoQAw}NQ)Izqx"
    "?ONSQ_+|oE(_0XpRD^YNVsZs1v1wIU6&v%@mI=ARWNQY4h9Sm^YH2*ETPY%9m`g8NI~d(xCCCU$xL?2Sa~?yHi+gq?W6<pY?@}lG2`zmhS<IH8"
    "7*ZkvKV~;TXPCD!yP5P0ynp#Nk<?*}u+&n63Ht`gjN?_zOf0fxw!&_)JM4B6>@`6{PDSP(tV}rUaBM}&Z<sfOT^iukBpjaGb!;zYca+t;W2;g9"
    "U*&ql0R"
)
OLD: dict[str, Any] = pickle.loads(zlib.decompress(base64.b85decode(WRITTEN_BY_0_1_0)))


def expected() -> dict[str, Any]:
    """The same objects by this version; results of computations by the numbers that 0.1.0 found."""
    number = np.float64
    return {
        "image": mj.Image.from_array(
            np.arange(6, dtype=np.int16).reshape(1, 2, 3), spacing=(1, 2, 3), metadata=mj.Metadata(modality="CT")
        ),
        "grid": mj.Grid.of((2, 3, 4), spacing=2.0),
        "metadata": mj.Metadata(modality="PT", patient_id="x"),
        "affine": mj.AffineTransform.of(np.diag([1.0, 2.0, 3.0, 1.0])),
        "composite": mj.CompositeTransform(()),
        "field": mj.DisplacementField.of(np.zeros((1, 1, 1, 3)), np.eye(4)),
        "box": mj.BoundingBox(np.array([0, 0, 1], np.int32), np.array([2, 2, 1], np.int32)),
        "points": mj.MaskPoints(np.array([[0.0, 0, 1], [1, 0, 1]]), np.array(2, np.int32)),
        "statistics": mj.SuvStatistics(*(number(n) for n in range(7))),
        "factor": mj.SuvFactor(2.5, "bw", "g/ml", "rule", "BQML"),
        "error": mj.ImageFileError("scan.nii", "is cut", "copy"),
        "truncated": mj.io.TruncatedFileError("a.nii", "b"),
        "series_error": mj.io.NoGeometryError("a.dcm", "b"),
    }


def parts(thing: Any) -> Any:
    """What an object holds, for comparison."""
    if isinstance(thing, Exception):
        return thing.args
    names = getattr(thing, "_fields", None) or getattr(thing, "__dataclass_fields__", None)
    return {name: parts(getattr(thing, name)) for name in names} if names else thing


def assert_same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", expected())
def test_pickle_of_0_1_0_is_read(name: str) -> None:
    wanted = expected()[name]
    assert type(OLD[name]) is type(wanted)
    assert_same(parts(OLD[name]), parts(wanted))


def test_trained_landmarks_of_0_1_0_are_read() -> None:
    landmarks = OLD["landmarks"]
    assert type(landmarks) is mj.NyulLandmarks
    assert landmarks.percentiles == (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)
    np.testing.assert_allclose(landmarks.values[[0, 1, -1]], (0, 9.183674, 100), rtol=1e-6)


@pytest.mark.parametrize("name", OLD)
def test_pickle_names_the_package_alone(name: str) -> None:
    data = pickle.dumps(OLD[name])
    texts = [argument for _, argument, _ in pickletools.genops(data) if isinstance(argument, str)]
    modules = {text for text in texts if re.match(r"medjax\b", text)}
    assert modules
    assert modules <= {"medjax", "medjax.io"}
    assert type(pickle.loads(data)) is type(OLD[name])
