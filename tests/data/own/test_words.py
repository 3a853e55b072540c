"""Words as people see them."""

from __future__ import annotations

import pytest

from medcnn.data.own.vocabulary import identifies, names_someone, numbered, on_scale
from medcnn.data.own.words import is_error_cell, tidy, trimmed


@pytest.mark.fault
@pytest.mark.parametrize(
    "text",
    """#N/A #REF! #VALUE! #DIV/0! #NAME? #NULL! #NUM! #SPILL! #CALC! #GETTING_DATA #FIELD! #BLOCKED!
    #NV #BEZUG! #WERT! #ZAHL! #ÜBERLAUF! #VALEUR! #NOM? #NOMBRE! #¡VALOR! #¿NOMBRE? #N/D #RIF!
    #VERW! #NAAM? #N/B #ADR! #ДЕЛ/0! #Н/Д #YOK #SAYI/0! #ÉRTÉK! #HIÁNYZIK #ODKAZ! #ERROR! Err:502
    ##### #n/a #N/V #N.V. Fehler:502 Erreur:502""".split(),  # noqa: SIM905
)
def test_the_errors_of_spreadsheets_are_known_in_their_languages(text: str) -> None:
    """Row A11."""
    assert is_error_cell(text)


@pytest.mark.parametrize(
    "text", ["#1", "# 3", "#tag", "error", "N/A", "", "Erratic", "#", "ratio:502", "error: 5021"]
)
def test_words_with_a_hash_are_words(text: str) -> None:
    assert not is_error_cell(text)


@pytest.mark.fault
@pytest.mark.parametrize(
    "name",
    """MRN Fallnummer DOB geb. Geburtsdatum date_of_birth NHC NHS_number Vorname Nachname
    patient_name apellidos prénom Codice_Fiscale Telefon E-Mail PLZ 氏名""".split(),  # noqa: SIM905
)
def test_columns_that_say_who_somebody_is_are_known_by_their_names(name: str) -> None:
    """Row 66: dates of birth are shared by some, and name people all the same."""
    assert identifies(name)


@pytest.mark.parametrize(
    "name", ["age", "sex", "lesion_id", "scanner name", "birth weight", "hospital", "case mix"]
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
