"""Look-up tables that are not there, and numbers without a value."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medcnn.images import Frames
from medcnn.images.dicom import read_dicom
from medcnn.images.dicom_chain import explained
from medcnn.images.said import say_once
from medcnn.system.errors import ImageError
from tests.images.test_dicom import VALUES, crafted, shown

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def item(**parts: Any) -> Dataset:
    found = Dataset()
    for name, value in parts.items():
        if name.startswith("LUTD"):  # pydicom would ask the other one for the type
            found.add_new(name, "US" if name == "LUTDescriptor" else "OW", value)
        else:
            setattr(found, name, value)
    return found


def ramp(count: int = 4096) -> Dataset:
    return item(
        LUTDescriptor=[count, 0, 16],
        LUTData=np.linspace(65535, 0, count).astype("<u2").tobytes(),
    )


EMPTY = {
    "no element": item(),
    "no value": item(LUTDescriptor=None, LUTData=None),
    "no data": item(LUTDescriptor=[4096, 0, 16]),
    "empty data": item(LUTDescriptor=[4096, 0, 16], LUTData=b""),
    "no descriptor": item(LUTData=b"\1\2"),
    "an explanation": item(LUTExplanation="none"),
}
SEQUENCES = ("ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence")


@pytest.mark.fault
@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_an_empty_item_of_a_lut_is_ignored_and_said(
    sequence: str, empty: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Row B9: some writers leave one where there is no LUT; rescale and window are what is left."""
    say_once.cache_clear()
    tags = {"RescaleSlope": 1, "RescaleIntercept": 0, **WINDOW, sequence: [EMPTY[empty]]}
    assert np.array_equal(shown(**tags), shown(**WINDOW))
    assert caplog.text.count(f"an item of {sequence} in a DICOM is ignored") == 1
    facts, stages = explained(crafted(**tags), window=0, frames=Frames.ERROR)
    assert "LUT" not in f"{facts['modality']} {facts['VOI']} {facts['polarity']}"
    assert stages[-1].name == "polarity"


@pytest.mark.fault
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_a_lut_beside_an_empty_item_counts(sequence: str) -> None:
    """Row B9."""
    whole = shown(**WINDOW, **{sequence: [ramp()]})
    assert np.array_equal(shown(**WINDOW, **{sequence: [item(), ramp()]}), whole)
    assert not np.array_equal(whole, shown(**WINDOW))


@pytest.mark.fault
def test_windows_count_the_luts_that_hold_a_table() -> None:
    """Row B9."""
    data = crafted(VOILUTSequence=[item(), ramp(), item(), ramp(2048)])
    assert read_dicom(data, window=1)[1, 0, 0] == int(np.linspace(65535, 0, 2048)[2000])
    with pytest.raises(ImageError, match="no window 2: the file has 2 VOI LUTs"):
        read_dicom(data, window=2)


@pytest.mark.fault
@pytest.mark.parametrize("wrong", [[4096, 0], [4096], 4096])
def test_a_descriptor_that_is_not_three_numbers_is_named(wrong: Any) -> None:
    """Row B9: such a LUT was meant to be there, so nothing else is shown instead."""
    broken = item(LUTDescriptor=wrong, LUTData=bytes(8192))
    with pytest.raises(ImageError, match="the descriptor of a LUT is not three numbers"):
        read_dicom(crafted(VOILUTSequence=[broken]))


@pytest.mark.fault
@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": None, "RescaleIntercept": 0},
        {"VOILUTFunction": None},
        {"VOILUTFunction": "LINEAR "},
        {"PixelPaddingValue": None},
        {"PixelPaddingRangeLimit": None},
        {"PresentationLUTShape": None},
        {"PresentationLUTShape": "LIN OD"},
        {"VOILUTSequence": None},
        {"ModalityLUTSequence": []},
        {"WindowCenter": [2048, None], "WindowWidth": [4096, None]},
    ],
)
def test_an_element_without_a_value_is_as_good_as_absent(tags: dict[str, Any]) -> None:
    """Row B9."""
    assert np.array_equal(shown(**{**WINDOW, **tags}), shown(**WINDOW))


@pytest.mark.fault
@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 5, "WindowWidth": None},
        {"WindowCenter": [None, 3], "WindowWidth": [None, 4]},
        {"WindowCenter": "", "WindowWidth": ""},
    ],
)
def test_a_window_without_numbers_is_not_a_window(tags: dict[str, Any]) -> None:
    """Row B9."""
    assert np.array_equal(shown(**tags), shown())


@pytest.mark.fault
def test_text_in_place_of_a_number_is_not_called_damage() -> None:
    """Row B9: a window that cannot be read is not usable; a slope that cannot be is named."""
    data = crafted(**WINDOW).replace(b"4096", b"4O96")
    assert np.array_equal(read_dicom(data), read_dicom(crafted()))
    data = crafted(RescaleSlope="1.25", RescaleIntercept=0, **WINDOW).replace(b"1.25", b"1,25")
    with pytest.raises(ImageError, match="RescaleSlope nan, intercept 0 cannot give a picture"):
        read_dicom(data)


@pytest.mark.fault
def test_a_frame_without_values_keeps_those_of_the_file() -> None:
    """Row B9; PS3.3 C.7.6.16.2.10."""
    group = item(FrameVOILUTSequence=[item(WindowCenter=None, WindowWidth=None)])
    group.PixelValueTransformationSequence = [item()]
    tags = {"SharedFunctionalGroupsSequence": [group]}
    assert np.array_equal(shown(**WINDOW, **tags), shown(**WINDOW))


def paletted(**tags: Any) -> bytes:
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tables = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [6, 0, 16]), ("Data", bytes(range(12))))
    }
    eight: dict[str, Any] = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    return crafted(
        stored=stored, PhotometricInterpretation="PALETTE COLOR", **eight, **tables | tags
    )


@pytest.mark.fault
@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"RedPaletteColorLookupTableDescriptor": None}, "without a descriptor of its red table"),
        ({"GreenPaletteColorLookupTableData": None}, "without a green table"),
        ({"BluePaletteColorLookupTableData": b""}, "without a blue table"),
        ({"RedPaletteColorLookupTableDescriptor": [6, 0]}, "red palette is not three numbers"),
    ],
)
def test_a_palette_without_colours_is_named(tags: dict[str, Any], said: str) -> None:
    """Row B9: nobody knows what its values look like."""
    assert read_dicom(paletted()).shape == (2, 3, 3)
    with pytest.raises(ImageError, match=said):
        read_dicom(paletted(**tags))


def test_an_empty_palette_of_a_grey_image_is_no_matter() -> None:
    tags = {f"{c}PaletteColorLookupTableDescriptor": None for c in ("Red", "Green", "Blue")}
    assert np.array_equal(shown(**WINDOW, **tags), shown(**WINDOW))


@pytest.mark.fault
def test_a_presentation_lut_follows_the_window_and_says_the_polarity() -> None:
    """Row B8; PS3.3 C.11.6: 3 entries for dark, middle and light, here turned and of 10 bits."""
    lut = item(LUTDescriptor=[3, 0, 10], LUTData=np.array([1023, 256, 0], "<u2").tobytes())
    wanted = np.array([[1, 1, 256 / 1023], [256 / 1023, 256 / 1023, 0]])
    wanted[0, 2] = 1 if (1000 / 4095) * 2 < 0.5 else 256 / 1023
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        found = shown(**WINDOW, PhotometricInterpretation=kind, PresentationLUTSequence=[lut])
        assert np.allclose(found, wanted, atol=1e-4)
    data = crafted(**WINDOW, PresentationLUTSequence=[lut])
    facts, _ = explained(data, window=0, frames=Frames.ERROR)
    assert facts["polarity"] == "a presentation LUT"
    assert VALUES.shape == wanted.shape
    assert pydicom.dcmread(BytesIO(data)).PresentationLUTSequence
