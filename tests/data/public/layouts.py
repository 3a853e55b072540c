"""Miniatures of the public sets: the folders, names, columns and file formats of the real ones.

Layouts were taken from the data pages and from programs that read the real sets; each adapter
names its source.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset

from medcnn.data.public.chexpert import OBSERVATIONS
from medcnn.data.public.vindr_cxr import FINDINGS


def picture(path: Path, grey: bool = False, bits: int = 8) -> None:
    """A tiny image in the format of its ending; DICOM is 12 bit, MONOCHROME2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".dcm", ".dicom"):
        _dicom(path)
    elif grey:
        deep = np.uint16 if bits == 16 else np.uint8
        Image.fromarray(np.full((6, 8), 90, deep)).save(path)
    else:
        Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(path)


def _dicom(path: Path) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.name])
    made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID = meta.MediaStorageSOPClassUID
    made.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    made.Rows, made.Columns, made.SamplesPerPixel = 6, 8, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelData = np.arange(48, dtype=np.uint16).tobytes()
    made.save_as(path, enforce_file_format=True)


def table(path: Path, header: str, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join([header, *rows]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def aptos2019(root: Path) -> None:
    ids = ["000c1434d8d7", "001639a390f0", "0024cdab0c1e"]
    for name in ids:
        picture(root / "train_images" / f"{name}.png")
    picture(root / "test_images" / "0005cfc8afb6.png")
    table(root / "train.csv", "id_code,diagnosis", f"{ids[0]},2", f"{ids[1]},4", f"{ids[2]},0")
    table(root / "test.csv", "id_code", "0005cfc8afb6")


def eyepacs(root: Path) -> None:
    for part, names in {"train": ("10", "13"), "test": ("1", "2")}.items():
        for patient in names:
            for eye in ("left", "right"):
                picture(root / part / f"{patient}_{eye}.jpeg")
    levels = ["10_left,0", "10_right,1", "13_left,0", "13_right,4"]
    table(root / "trainLabels.csv", "image,level", *levels)
    usages = ["1_left,0,Private", "1_right,0,Private", "2_left,3,Public", "2_right,2,Public"]
    table(root / "retinopathy_solution.csv", "image,level,Usage", *usages)


def messidor2(root: Path) -> None:
    for name in ("20051020_43808_0100_PP.png", "20051020_43832_0100_PP.png"):
        picture(root / "IMAGES" / name)
    for name in ("IM000004.JPG", "IM000005.JPG"):
        picture(root / "IMAGES" / name)
    pairs = ("20051020_43808_0100_PP.png;20051020_43832_0100_PP.png", "IM000004.JPG;IM000005.JPG")
    table(root / "messidor-2.csv", "left;right", *pairs)
    table(
        root / "messidor_data.csv",
        "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable",
        "20051020_43808_0100_PP.png,0.0,0.0,1",
        "20051020_43832_0100_PP.png,2.0,1.0,1",
        "IM000004.jpg,1.0,0.0,1",
        "IM000005.jpg,,,0",
    )


def idrid(root: Path) -> None:
    for folder, count in (("a. Training Set", 3), ("b. Testing Set", 2)):
        for i in range(count):
            picture(root / "1. Original Images" / folder / f"IDRiD_{i + 1:03d}.jpg")
    truths = root / "2. Groundtruths"
    table(
        truths / "a. IDRiD_Disease Grading_Training Labels.csv",
        "Image name,Retinopathy grade,Risk of macular edema ,,,",
        *("IDRiD_001,3,2,,,", "IDRiD_002,0,0,,,", "IDRiD_003,4,2,,,"),
    )
    table(
        truths / "b. IDRiD_Disease Grading_Testing Labels.csv",
        "Image name,Retinopathy grade,Risk of macular edema ",
        *("IDRiD_001,4,0", "IDRiD_002,1,1"),
    )


def ddr(root: Path) -> None:
    parts = {
        "train": ("007-0004-000.jpg 0", "007-0007-000.jpg 2", "007-0009-000.jpg 5"),
        "valid": ("007-1789-000.jpg 3",),
        "test": ("007-3711-200.jpg 4", "20170413102628830.jpg 1"),
    }
    for part, lines in parts.items():
        for line in lines:
            picture(root / part / line.split()[0])
        table(root / f"{part}.txt", lines[0], *lines[1:])


def ham10000(root: Path) -> None:
    rows = [
        "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp",
        "HAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp",
        "HAM_0002730,ISIC_0026769,mel,histo,80.0,,scalp",
    ]
    for i, row in enumerate(rows):
        picture(root / f"HAM10000_images_part_{i % 2 + 1}" / f"{row.split(',')[1]}.jpg")
    table(
        root / "HAM10000_metadata.csv",
        "lesion_id,image_id,dx,dx_type,age,sex,localization",
        *rows,
    )


def isic2018(root: Path) -> None:
    header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    parts = {
        "Training": {
            "ISIC_0024306": "0.0,1.0,0.0,0.0,0.0,0.0,0.0",
            "ISIC_0024307": "0.0,1.0,0.0,0.0,0.0,0.0,0.0",
            "ISIC_0024313": "1.0,0.0,0.0,0.0,0.0,0.0,0.0",
        },
        "Validation": {"ISIC_0034321": "0.0,0.0,0.0,1.0,0.0,0.0,0.0"},
        "Test": {"ISIC_0034524": "0.0,0.0,1.0,0.0,0.0,0.0,0.0"},
    }
    for part, rows in parts.items():
        for name in rows:
            picture(root / f"ISIC2018_Task3_{part}_Input" / f"{name}.jpg")
        folder = f"ISIC2018_Task3_{part}_GroundTruth"
        table(root / folder / f"{folder}.csv", header, *(f"{n},{r}" for n, r in rows.items()))
    table(
        root / "ISIC2018_Task3_Training_LesionGroupings.csv",
        "image,lesion_id,diagnosis_confirm_type",
        "ISIC_0024306,HAM_0000550,serial imaging showing no change",
        "ISIC_0024307,HAM_0000550,single image expert consensus",
        "ISIC_0024313,HAM_0001751,histopathology",
    )


def isic2019(root: Path) -> None:
    header = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
    train = {
        "ISIC_0000000": "0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_0000002": "1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_0000004_downsampled": "1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_0053457": "0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0",
    }
    test = {
        "ISIC_0034321": "0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0",
        "ISIC_0034322": "0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0",
    }
    for part, rows in {"Training": train, "Test": test}.items():
        for name in rows:
            picture(root / f"ISIC_2019_{part}_Input" / f"{name}.jpg")
    rows = [f"{name},{row}" for name, row in train.items()]
    table(root / "ISIC_2019_Training_GroundTruth.csv", header, *rows)
    rows = [f"{name},{row},1.0,0.0" for name, row in test.items()]
    header += ",score_weight,validation_weight"
    table(root / "ISIC_2019_Test_GroundTruth.csv", header, *rows)
    table(
        root / "ISIC_2019_Training_Metadata.csv",
        "image,age_approx,anatom_site_general,lesion_id,sex",
        "ISIC_0000000,55.0,anterior torso,,female",
        "ISIC_0000002,30.0,anterior torso,MSK4_0011169,female",
        "ISIC_0000004_downsampled,80.0,upper extremity,MSK4_0011169,male",
        "ISIC_0053457,,,BCN_0000012,",
    )
    table(
        root / "ISIC_2019_Test_Metadata.csv",
        "image,age_approx,anatom_site_general,sex",
        *("ISIC_0034321,50.0,posterior torso,female", "ISIC_0034322,65.0,,male"),
    )


def isic2020(root: Path) -> None:
    names = ["ISIC_2637011", "ISIC_0015719", "ISIC_0052212", "ISIC_0068279"]
    for name in names:
        picture(root / "ISIC_2020_Training_JPEG" / "train" / f"{name}.jpg")
        picture(root / "ISIC_2020_Training_Dicom" / "train" / f"{name}.dcm")
    table(
        root / "ISIC_2020_Training_GroundTruth_v2.csv",
        "image_name,patient_id,lesion_id,sex,age_approx,anatom_site_general_challenge,diagnosis,"
        "benign_malignant,target",
        f"{names[0]},IP_7279968,IL_7972535,male,45.0,head/neck,unknown,benign,0",
        f"{names[1]},IP_3075186,IL_4649854,female,45.0,upper extremity,unknown,benign,0",
        f"{names[2]},IP_2842074,IL_9087444,female,50.0,lower extremity,nevus,benign,0",
        f"{names[3]},IP_2842074,IL_4255399,female,45.0,head/neck,melanoma,malignant,1",
    )
    table(
        root / "ISIC_2020_Training_Duplicates.csv",
        "image_name_1,image_name_2",
        f"{names[0]},{names[1]}",
    )


def pad_ufes_20(root: Path) -> None:
    header = (
        "patient_id,lesion_id,smoke,drink,background_father,background_mother,age,pesticide,gender,"
        "skin_cancer_history,cancer_history,has_piped_water,has_sewage_system,fitspatrick,region,"
        "diameter_1,diameter_2,diagnostic,itch,grew,hurt,changed,bleed,elevation,img_id,biopsed"
    )
    rows = [
        "PAT_46,881,False,False,POMERANIA,POMERANIA,55,False,FEMALE,True,True,True,True,3.0,NECK,"
        "6.0,5.0,BCC,True,True,False,True,True,True,PAT_46_881_14.png,True",
        "PAT_46,882,,,,,55,,,,,,,,CHEST,,,NEV,,,,,,,PAT_46_882_939.png,False",
        "PAT_771,1489,,,,,31,,FEMALE,,,,,1.0,CHEST,,,ACK,,,,,,,PAT_771_1489_632.png,True",
    ]
    for i, row in enumerate(rows):
        picture(root / "images" / f"imgs_part_{i + 1}" / row.split(",")[-2])
    table(root / "metadata.csv", header, *rows)


def ph2(root: Path) -> None:
    rows = []
    for name, histology, code in (
        ("IMD003", "", 0),
        ("IMD171", "", 1),
        ("IMD405", "Melanoma", 2),
    ):
        inner = root / "PH2 Dataset images" / name
        picture(inner / f"{name}_Dermoscopic_Image" / f"{name}.bmp")
        picture(inner / f"{name}_lesion" / f"{name}_lesion.bmp")
        rows.append(
            f"|| {name} || {histology:>22} || {code:>18} || {0:>9} | {'T':>15} || 4 ||".rstrip()
        )
    legend = [
        "",
        "------",
        "Clinical Diagnosis",
        "0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma",
    ]
    header = (
        "||   Name   ||   Histological Diagnosis || Clinical Diagnosis || Asymmetry || Colors ||"
    )
    table(root / "PH2_dataset.txt", header, *rows, *legend)


def chestxray14(root: Path) -> None:
    rows = [
        "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143",
        "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143",
        "00000002_000.png,No Finding,0,2,80,M,AP,2500,2048,0.171,0.171",
    ]
    for i, row in enumerate(rows):
        picture(root / f"images_{i + 1:03d}" / "images" / row.split(",")[0], grey=True)
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    )
    table(root / "Data_Entry_2017_v2020.csv", header, *rows)
    table(root / "train_val_list.txt", "00000001_000.png", "00000001_001.png")
    table(root / "test_list.txt", "00000002_000.png")


CHEXPERT_HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(OBSERVATIONS)


def chexpert(root: Path) -> None:
    small = "CheXpert-v1.0-small"
    frontal, lateral = "view1_frontal.jpg", "view2_lateral.jpg"
    train = [
        f"train/patient00001/study1/{frontal},Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0",
        f"train/patient00005/study1/{frontal},Male,33,Frontal,PA,,,,,,-1.0,,,,,1.0,,,",
        f"train/patient00005/study1/{lateral},Male,33,Lateral,,,,,,,-1.0,,,,,1.0,,,",
    ]
    zeros = ",".join(["0.0"] * 13)
    valid = [f"valid/patient64541/study1/{frontal},Male,73,Frontal,AP,{zeros},1.0"]
    for row in train + valid:
        picture(root / row.partition(",")[0], grey=True)
    table(root / "train.csv", CHEXPERT_HEADER, *(f"{small}/{row}" for row in train))
    table(root / "valid.csv", CHEXPERT_HEADER, *(f"{small}/{row}" for row in valid))


def mimic_cxr_jpg(root: Path) -> None:
    images = {  # dicom: (subject, study, split, view)
        "02aa804e-bde0afdd": ("10000032", "50414267", "train", "PA"),
        "174413ec-4ec4c1f7": ("10000032", "50414267", "train", "LATERAL"),
        "2a2277a9-b0ded155": ("10000764", "57375967", "validate", "AP"),
        "68b5c4b1-227d0485": ("10000898", "50771383", "test", "PA"),
        "8959e402-2175d68d": ("10000898", "54205396", "test", "PA"),
    }
    names = sorted(OBSERVATIONS)  # the real columns are in alphabetical order
    studies = {"50414267": {"No Finding": "1.0"}, "57375967": {"Edema": "-1.0", "Fracture": "0.0"}}
    studies["50771383"] = {"Edema": "1.0"}
    for dicom, (subject, study, _, _) in images.items():
        picture(root / f"files/p{subject[:2]}/p{subject}/s{study}/{dicom}.jpg", grey=True)
    subject_of = {study: subject for subject, study, _, _ in images.values()}
    labels = [
        f"{subject_of[s]},{s}," + ",".join(found.get(n, "") for n in names)
        for s, found in studies.items()
    ]
    for labeler in ("chexpert", "negbio"):
        table(
            root / f"mimic-cxr-2.0.0-{labeler}.csv.gz",
            "subject_id,study_id," + ",".join(names),
            *labels,
        )
    table(
        root / "mimic-cxr-2.0.0-split.csv.gz",
        "dicom_id,study_id,subject_id,split",
        *(f"{d},{study},{subject},{split}" for d, (subject, study, split, _) in images.items()),
    )
    table(
        root / "mimic-cxr-2.0.0-metadata.csv.gz",
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns",
        *(f"{d},{sub},{st},CHEST (PA AND LAT),{v},6,8" for d, (sub, st, _, v) in images.items()),
    )


def padchest(root: Path) -> None:
    rows = {  # image: (folder, patient, birth, sex, projection, labels)
        "20536686_k6ga29.png": (0, "839860", "1930.0", "F", "PA", "['normal']"),
        "13580341_fzis7d.png": (0, "313572", "1929.0", "M", "L", "['kyphosis', ' cardiomegaly']"),
        "13580341_fzis7e.png": (1, "313572", "1929.0", "M", "PA", "['cardiomegaly', '']"),
        "99999999_aaaaaa.png": (54, "555555", "", "F", "PA", "nan"),
        "99999999_bbbbbb.png": (54, "555555", "1950.0", "F", "PA", "['exclude']"),
    }
    lines = []
    for i, (name, (folder, patient, birth, sex, view, labels)) in enumerate(rows.items()):
        picture(root / str(folder) / name, grey=True, bits=16)
        lines.append(
            f'{i},{name},{folder},20140915,S{i},{patient},{birth},{sex},{view},Physician,"{labels}"'
        )
    table(
        root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",
        ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
        "Projection,MethodLabel,Labels",
        *lines,
    )


def rsna_pneumonia(root: Path) -> None:
    names = ["0004cfab-14fd-4e49", "00436515-870c-4b36", "00704310-78a8-4b38"]
    for name in names:
        picture(root / "stage_2_train_images" / f"{name}.dcm")
    picture(root / "stage_2_test_images" / "0000a175-0e68-4ca4.dcm")
    table(
        root / "stage_2_train_labels.csv",
        "patientId,x,y,width,height,Target",
        f"{names[0]},,,,,0",
        f"{names[1]},264.0,152.0,213.0,379.0,1",
        f"{names[1]},562.0,152.0,256.0,453.0,1",
        f"{names[2]},,,,,0",
    )
    table(
        root / "stage_2_detailed_class_info.csv",
        "patientId,class",
        f"{names[0]},No Lung Opacity / Not Normal",
        *(f"{names[1]},Lung Opacity", f"{names[1]},Lung Opacity", f"{names[2]},Normal"),
    )


def rsna_mapping(root: Path) -> None:
    """The list that RSNA publishes beside the challenge: two images are of one patient."""
    rows = [
        {"img_id": "00000013_005.png", "subset_img_id": "0004cfab-14fd-4e49"},
        {"img_id": "00000013_026.png", "subset_img_id": "00436515-870c-4b36"},
        {"img_id": "00000022_000.png", "subset_img_id": "00704310-78a8-4b38"},
    ]
    path = root / "pneumonia-challenge-dataset-mappings_2018.json"
    path.write_text(json.dumps(rows), encoding="utf-8")


def vindr_cxr(root: Path) -> None:
    def cells(*found: str) -> str:
        names = (*FINDINGS, "No finding")
        return ",".join(str(int(name in found)) for name in names)

    first, second, third = "000434271f63a053", "00053190460d56c5", "7ef4f7b6ea2f"
    for name in (first, second):
        picture(root / "train" / f"{name}.dicom")
    picture(root / "test" / f"{third}.dicom")
    readers = [
        (first, "R1", ("Cardiomegaly", "ILD")),
        (first, "R2", ("Cardiomegaly",)),
        (first, "R3", ("No finding",)),
        *((second, f"R{i}", ("No finding",)) for i in (8, 9, 10)),
    ]
    names = ",".join((*FINDINGS, "No finding"))
    table(
        root / "annotations" / "image_labels_train.csv",
        f"image_id,rad_id,{names}",
        *(f"{image},{reader},{cells(*found)}" for image, reader, found in readers),
    )
    table(
        root / "annotations" / "image_labels_test.csv",
        f"image_id,{names.replace('Other diseases', 'Other disease')}",
        f"{third},{cells('Other diseases', 'Pneumonia')}",
    )


def covid_chestxray(root: Path) -> None:
    header = "patientid,offset,sex,age,finding,view,modality,date,location,folder,filename,license"
    rows = []
    findings = ["Pneumonia/Viral/COVID-19", "COVID-19, ARDS", "No Finding"]
    for patient in range(6):
        for view, found in (("PA", findings[patient % 2]), ("AP", findings[patient % 3])):
            name = f"{patient}-{view}.jpg"
            rows.append(f'{patient},0,M,54,"{found}",{view},X-ray,2020,Korea,images,{name},CC BY')
            picture(root / "images" / name, grey=True)
    rows.append("77,0,F,40,Pneumonia/Viral/COVID-19,Axial,CT,2020,Korea,volumes,x.nii.gz,CC BY")
    rows.append("78,0,F,41,todo,PA,X-ray,2020,Korea,images,todo.jpg,CC BY")
    table(root / "metadata.csv", header, *rows)


def kermany(root: Path) -> None:
    files = {
        "train/NORMAL": ("IM-0115-0001.jpeg", "IM-0509-0001-0001.jpeg", "IM-0509-0001-0002.jpeg"),
        "train/PNEUMONIA": ("person1000_bacteria_2931.jpeg", "person1000_virus_1681.jpeg"),
        "val/NORMAL": ("NORMAL2-IM-1427-0001.jpeg",),
        "val/PNEUMONIA": ("person1946_bacteria_4874.jpeg", "person1946_bacteria_4875.jpeg"),
        "test/NORMAL": ("IM-0001-0001.jpeg",),
        "test/PNEUMONIA": ("person100_bacteria_475.jpeg", "person1_virus_6.jpeg"),
    }
    for folder, names in files.items():
        for name in names:
            picture(root / folder / name, grey=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Miniature:
    """A writer of a layout and what its adapter must find: images, groups, images a split."""

    write: Callable[[Path], None]
    images: int
    groups: int
    splits: Mapping[str, int] = field(default_factory=dict)
    excluded: int = 0


MINIATURES = {
    "aptos2019": Miniature(write=aptos2019, images=3, groups=3),
    "chestxray14": Miniature(write=chestxray14, images=3, groups=2, splits={"train": 2, "test": 1}),
    "chexpert": Miniature(write=chexpert, images=4, groups=3, splits={"train": 3, "test": 1}),
    "covid_chestxray": Miniature(write=covid_chestxray, images=12, groups=6, excluded=2),
    "ddr": Miniature(
        write=ddr,
        images=5,
        groups=5,
        splits={"train": 2, "validation": 1, "test": 2},
        excluded=1,
    ),
    "eyepacs": Miniature(write=eyepacs, images=8, groups=4, splits={"train": 4, "test": 4}),
    "ham10000": Miniature(write=ham10000, images=3, groups=2),
    "idrid": Miniature(write=idrid, images=5, groups=5, splits={"train": 3, "test": 2}),
    "isic2018": Miniature(
        write=isic2018, images=5, groups=4, splits={"train": 3, "validation": 1, "test": 1}
    ),
    "isic2019": Miniature(
        write=isic2019, images=5, groups=4, splits={"train": 4, "test": 1}, excluded=1
    ),
    "isic2020": Miniature(write=isic2020, images=3, groups=2, excluded=1),
    "kermany": Miniature(
        write=kermany, images=11, groups=9, splits={"train": 5, "validation": 3, "test": 3}
    ),
    "messidor2": Miniature(write=messidor2, images=3, groups=2, excluded=1),
    "mimic_cxr_jpg": Miniature(
        write=mimic_cxr_jpg,
        images=4,
        groups=3,
        splits={"train": 2, "validation": 1, "test": 1},
        excluded=1,
    ),
    "pad_ufes_20": Miniature(write=pad_ufes_20, images=3, groups=2),
    "padchest": Miniature(write=padchest, images=3, groups=2, excluded=2),
    "ph2": Miniature(write=ph2, images=3, groups=3),
    "rsna_pneumonia": Miniature(write=rsna_pneumonia, images=3, groups=3),
    "vindr_cxr": Miniature(write=vindr_cxr, images=3, groups=3, splits={"train": 2, "test": 1}),
}
