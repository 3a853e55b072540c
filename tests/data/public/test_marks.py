"""Where readers marked findings, read from miniatures of the authors' layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcnn.data.public.marks import IDRID, SEGMENTED, marks_of, may_have_marks


def corners(mask: np.ndarray | None) -> list[int]:
    """First row and column of the marked part, and the ones after its last."""
    assert mask is not None
    rows, columns = np.nonzero(mask)
    return [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


NIH = """Image Index,Finding Label,Bbox [x,y,w,h],,,
00000032_037.png,Infiltrate,225.0,512,128.5,256,,,
00000032_037.png,Nodule,0,0,64,64,,,
"""


def test_boxes_of_chestxray14_are_in_pixels_of_the_original_and_scaled(tmp_path: Path) -> None:
    (tmp_path / "BBox_List_2017.csv").write_text(NIH)
    path = "images_001/images/00000032_037.png"
    assert corners(marks_of(tmp_path, path, "Infiltration", 1024, 1024)) == [512, 225, 768, 354]
    assert corners(marks_of(tmp_path, path, "Infiltration", 256, 256)) == [128, 56, 192, 88]
    assert corners(marks_of(tmp_path, path, "Nodule", 1024, 1024)) == [0, 0, 64, 64]
    assert marks_of(tmp_path, path, "Mass", 1024, 1024) is None
    assert marks_of(tmp_path, "images_001/images/00000001_000.png", "Nodule", 64, 64) is None


def test_boxes_of_rsna_are_those_of_the_finding(tmp_path: Path) -> None:
    (tmp_path / "stage_2_train_labels.csv").write_text(
        "patientId,x,y,width,height,Target\na,,,,,0\nb,10,20,30,40,1\nb,60,70,5,5,1\n"
    )
    found = marks_of(tmp_path, "stage_2_train_images/b.dcm", "lung opacity", 100, 100)
    assert corners(found) == [20, 10, 75, 65]
    assert found is not None
    assert found.sum() == 30 * 40 + 25
    assert marks_of(tmp_path, "stage_2_train_images/a.dcm", "lung opacity", 100, 100) is None


def test_boxes_of_vindr_are_of_all_readers_of_the_split(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "annotations_train.csv").write_text(
        "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n"
        "a,R1,ILD,10,10,20,30\na,R2,ILD,15,5,40,20\na,R2,No finding,,,,\n"
        "a,R3,ILD,nan,nan,nan,nan\n"
    )
    assert corners(marks_of(tmp_path, "train/a.dicom", "ILD", 50, 50)) == [5, 10, 30, 40]
    assert marks_of(tmp_path, "test/a.dicom", "ILD", 50, 50) is None, "another table"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (
            "HAM10000_images_part_1/ISIC_0024306.jpg",
            f"{SEGMENTED}/ISIC_0024306_segmentation.png",
        ),
        (
            "PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp",
            "PH2 Dataset images/IMD003/IMD003_lesion/IMD003_lesion.bmp",
        ),
    ],
)
def test_masks_are_of_the_lesion_whatever_it_is(tmp_path: Path, image: str, mask: str) -> None:
    assert marks_of(tmp_path, image, "mel", 40, 60) is None
    pixels = np.zeros((40, 60), np.uint8)
    pixels[10:20, 30:50] = 255
    (tmp_path / mask).parent.mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / mask)
    assert corners(marks_of(tmp_path, image, "mel", 40, 60)) == [10, 30, 20, 50]
    assert corners(marks_of(tmp_path, image, "nv", 80, 120)) == [20, 60, 40, 100], "a larger copy"
    (tmp_path / mask).write_bytes(b"damaged")
    assert marks_of(tmp_path, image, "mel", 40, 60) is None


@pytest.mark.parametrize("above", ["", "A. Segmentation/"])
def test_marks_of_idrid_are_all_its_lesions_and_not_the_optic_disc(
    tmp_path: Path, above: str
) -> None:
    place = tmp_path / above / IDRID / "b. Testing Set"
    for folder, short, row in (
        ("2. Haemorrhages", "HE", 10),
        ("4. Soft Exudates", "SE", 20),
        ("5. Optic Disc", "OD", 35),
    ):
        pixels = np.zeros((40, 60, 3), np.uint8)
        pixels[row : row + 5, 30:50, 0] = 255
        (place / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(place / folder / f"IDRiD_55_{short}.tif")
    path = f"{above}1. Original Images/b. Testing Set/IDRiD_55.jpg"
    found = marks_of(tmp_path, path, "moderate", 40, 60)
    assert corners(found) == [10, 30, 25, 50]
    assert found is not None
    assert found.sum() == 2 * 5 * 20
    assert may_have_marks(tmp_path, path)
    graded = f"{above}1. Original Images/b. Testing Set/IDRiD_055.jpg"
    assert not may_have_marks(tmp_path, graded), "part B has other names"
