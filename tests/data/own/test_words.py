"""Words as people see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcnn.data.own.identity import identifies
from medcnn.data.own.people import is_nobody
from medcnn.data.own.sheets import whole_number
from medcnn.data.own.vocabulary import names_someone, numbered, on_scale
from medcnn.data.own.words import is_error_cell, likeness, tidy, trimmed
from medcnn.system.errors import UsageError
from tests.data.own import tables as table


@pytest.mark.fault
@pytest.mark.parametrize(
    "text",
    """#N/A #REF! #VALUE! #DIV/0! #NAME? #NULL! #NUM! #SPILL! #CALC! #GETTING_DATA #FIELD! #BLOCKED!
    #NV #BEZUG! #WERT! #ZAHL! #ÜBERLAUF! #VALEUR! #NOM? #NOMBRE! #¡VALOR! #¿NOMBRE? #N/D #RIF!
    #VERW! #NAAM? #N/B #ADR! #ДЕЛ/0! #Н/Д #YOK #SAYI/0! #ÉRTÉK! #HIÁNYZIK #ODKAZ! #ERROR! Err:502
    ##### #n/a #N/V #N.V. Fehler:502 Erreur:502 ＃N/A #Err504 #ERR #NOT_AVAILABLE =NA() VALUE!
    NULL! Loading... #VÄRDEFEL! #PUUTTUU! #ΤΙΜΗ! #値!""".split(),  # noqa: SIM905
)
def test_the_errors_of_spreadsheets_are_known_in_their_languages(text: str) -> None:
    """Row A11."""
    assert is_error_cell(text)


@pytest.mark.parametrize(
    "text",
    [
        "#1",
        "# 3",
        "#tag",
        "error",
        "N/A",
        "",
        "Erratic",
        "#",
        "ratio:502",
        "error: 5021",
        "no!",
        "etc.",
    ],
)
def test_words_with_a_hash_are_words(text: str) -> None:
    assert not is_error_cell(text)


@pytest.mark.fault
@pytest.mark.parametrize(
    "name",
    """MRN Fallnummer DOB geb. Geburtsdatum date_of_birth NHC NHS_number Vorname Nachname
    patient_name apellidos prénom Codice_Fiscale Telefon E-Mail PLZ 氏名 Familienname Straße Wohnort
    Sozialversicherungsnummer Nom_de_naissance Née_le NIR Numéro_de_sécurité_sociale Code_postal
    F._nacimiento Nombre_y_apellidos CURP Cédula Nome_da_mãe Data_nasc. Telemóvel Nato_il C.F.
    Burgerservicenummer Imię Förnamn Fødselsdato Hetu Rodné_číslo Születési_dátum CNP Prenume Soyadı
    Doğum_tarihi ФИО Отчество Дата_рождения СНИЛС Επώνυμο 身份证号 联系电话 住址 患者氏名 フリガナ
    주민등록번호 성명 전화번호 الاسم תאריך_לידה Aadhaar Maiden_name PatientBirthDate patient_dob
    Next_of_kin Accession_Number StudyInstanceUID Home_phone ID_number NRIC DoB""".split(),  # noqa: SIM905
)
def test_columns_that_say_who_somebody_is_are_known_by_their_names(name: str) -> None:
    """Row 66: dates of birth are shared by some, and name people all the same."""
    assert identifies(name)


@pytest.mark.parametrize(
    "name",
    [
        *("age", "sex", "lesion_id", "scanner name", "birth weight", "hospital", "case mix"),
        *(
            "portable x-ray",
            "portable",
            "mobile device",
            "data source",
            "birth order",
            "model name",
            "first exam",
        ),
        *("anatomical site", "device id", "image name", "class name", "study date", "full field"),
    ],
)
def test_other_columns_may_be_kept_as_attributes(name: str) -> None:
    assert not identifies(name)


@pytest.mark.fault
def test_what_cannot_be_seen_makes_no_other_word() -> None:
    """Row C: zero-width spaces, byte order marks and no-break spaces."""
    for text in (
        "mel\u200b",
        "\ufeffmel",
        "me\u00adl",
        "\u200emel\u200f",
        "mel\u00a0",
        "\u2060mel",
    ):
        assert tidy(text) == "mel"
    assert tidy("basal\u00a0cell \u3000 carcinoma") == "basal cell carcinoma"
    assert tidy("می\u200cخواهم") == "می\u200cخواهم"  # a joiner that a reader sees
    assert trimmed("\ufeff a\u200bb\u200b ") == "a\u200bb"


@pytest.mark.fault
@pytest.mark.parametrize(
    "name",
    [
        *("N° patient", "Nº patient", "IPP", "Numéro de dossier", "NIP"),
        *("Patientennummer", "Fallnummer", "Pat.-Nr.", "Patienten-ID", "PIZ"),
        *("NHC", "Nº historia clínica", "Número de historia"),
        *("Cartella clinica", "Nosologico", "Codice paziente", "Prontuário", "Nº utente"),
        *("Patiëntnummer", "patientnr", "Nr pacjenta", "PESEL", "Personnummer", "Hasta No"),
        *("MRN", "Medical Record Number", "Hospital number patient", "номер пациента", "住院号"),
    ],
)
def test_patient_columns_are_known_in_many_languages(name: str) -> None:
    """Row C."""
    assert names_someone(name)


@pytest.mark.parametrize(
    "name", ["Patient Age", "image_id", "number", "N", "Alter", "record", "age"]
)
def test_other_columns_name_no_patient(name: str) -> None:
    assert not names_someone(name)


@pytest.mark.fault
@pytest.mark.parametrize(
    "grades",
    [
        ["No DR", "Mild", "Moderate", "Severe", "Proliferative"],
        ["No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR"],
        ["no apparent retinopathy", "mild NPDR", "moderate NPDR", "severe NPDR", "PDR"],
        ["normal", "early", "intermediate", "late"],
        ["none", "doubtful", "minimal", "moderate", "severe"],
        ["low", "medium", "high"],
        ["kein", "leicht", "mittel", "schwer"],
    ],
)
def test_usual_scales_are_put_in_order(grades: list[str]) -> None:
    """Row C: grades stood in the order of their letters."""
    assert on_scale(sorted(grades)) == grades


@pytest.mark.fault
def test_numbered_grades_are_put_in_order() -> None:
    """Row C."""
    for grades in (
        [f"Grade {i}" for i in range(12)],
        ["I", "II", "III", "IV", "V"],
        ["normal", "T1a", "T1b", "T2"],
        ["Stage I", "Stage II", "Stage III", "Stage IV"],
    ):
        assert numbered(sorted(grades)) == grades
    assert numbered(["mel", "nv", "bcc"]) is None
    assert on_scale(["mild", "melanoma", "severe"]) is None


@pytest.mark.fault
@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(
            ("mel", "ｍｅｌ"),
            ("mel", "мel"),
            ("mel", "'mel'"),
            ("mel", "“mel”"),
            ("reflex", "reﬂex"),
        ),
        *(("non-dr", "non\u2011dr"), ("non-dr", "Non–DR"), ("Barrett's", "Barrett’s")),
        *(("no dr", "no_dr"), ("mel", "me\x00l"), ("mel", "\x1bmel"), ("böse", "bo\u0308se")),
    ],
)
def test_words_that_look_alike_are_taken_for_one(one: str, other: str) -> None:
    """Row A11, C: width, alphabets, dashes, quotes and control characters made second classes."""
    assert likeness(one) == likeness(other)


@pytest.mark.parametrize(
    ("one", "other"), [("mel", "nv"), ("1", "-1x"), ("dr", "non-dr"), ("мел", "mel")]
)
def test_words_that_differ_stay_apart(one: str, other: str) -> None:
    assert likeness(one) != likeness(other)


@pytest.mark.fault
@pytest.mark.parametrize(
    "cell",
    [
        "n.a.",
        "k.A.",
        "missing",
        "unknown",
        "unbekannt",
        "s/d",
        "n.d.",
        "不明",
        ".",
        "Sin dato",
        "NaN",
    ],
)
def test_a_cell_that_says_that_there_is_no_label_is_not_a_class(tmp_path: Path, cell: str) -> None:
    """Row A11: blanks in other words became a class."""
    for i in range(3):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / f"{i}.png")
    text = f"image|label\n0.png|mel\n1.png|nv\n2.png|{cell}\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    options = {"table": "t.csv", "image": "image", "label": "label"}
    with pytest.raises(UsageError, match="looks like a missing value"):
        table.read(tmp_path, **options)
    assert len(table.read(tmp_path, exclude={"label": cell}, **options).records) == 2
    found = table.read(tmp_path, classes=["mel", "nv", tidy(cell)], **options)
    assert len(found.labels.names) == 3


@pytest.mark.fault
@pytest.mark.parametrize("cell", ["ANON", "anonymized", "xxx", "n/a", "***", "REMOVED"])
def test_a_patient_without_a_name_is_nobody(cell: str) -> None:
    """Row A11: one patient `anonymous` had all images."""
    assert is_nobody(cell)
    assert not is_nobody("P1")


@pytest.mark.fault
def test_whole_numbers_are_known_with_either_point() -> None:
    assert [whole_number(c) for c in ("1.0", "1,0", "12.00")] == ["1", "1", "12"]
    assert [whole_number(c) for c in ("1,000", "1.5", "0,05")] == ["1,000", "1.5", "0,05"]
