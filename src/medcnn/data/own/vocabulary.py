"""Names that columns go by and words that stand in them, in English, German, French, Spanish,
Portuguese, Italian, Dutch, Polish, Chinese and Japanese; for guesses that a person will check."""

from __future__ import annotations

import re
import unicodedata


def plain(name: str) -> str:
    """Small letters and digits alone, without accents: `Patient ID` -> `patientid`."""
    bare = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in bare if c.isalnum())


def tokens(name: str) -> set[str]:
    """The words of a name: `ViewPosition`, `view_position` and `View Position` have the same."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return {t for t in (plain(w) for w in re.split(r"[\W_]+", spaced)) if t}


def _words(text: str) -> frozenset[str]:
    return frozenset(plain(word) for word in text.split())


_WHO = _words(
    """pat pt patient patienten patientin paciente pasient pacjent pazient paziente subject sujet
    sujeto soggetto proband probandin person persona participant case fall cas caso lesion
    laesion mrn pid eid empi fallnummer patid 患者 病人 病例 受试者 被験者 症例"""
)
_NUMBER = _words(
    """id ids nr no num number nummer numero numeri code codigo codice key uid ident kennung
    hash pseudonym pseudo 编号 番号 号 name"""
)
_LABEL = _words(
    """label labels class classes klasse classe clase diagnosis diagnose diagnoses diagnostic
    diagnostico diagnosi diagnoza dx finding findings befund befunde grade grad grado target
    pathology pathologie patologia etiqueta etiquette rotulo etichetta etykieta disease
    krankheit maladie enfermedad doenca malattia benignmalignant
    标签 诊断 診断 类别 分类 ラベル 病名"""
)
_PERHAPS = _words(
    """category categoria kategorie type typ tipo result resultat resultado ergebnis severity
    schweregrad severidad gravedad stage stadium estadio level stufe score outcome status"""
)
_GRADES = _words(
    """grade grad grado severity schweregrad stage stadium level stufe score icdr birads kl"""
)
_ATTRIBUTES = _words(
    """age alter edad idade eta annees leeftijd wiek 年龄 年齢 sex gender geschlecht sexo sesso
    sexe genre geslacht plec 性别 性別 site hospital center centre centro zentrum standort
    klinik clinic institution source dataset location view viewposition projection
    projektion aufnahme manufacturer hersteller vendor scanner device gerat camera kamera
    model modality laterality side seite eye auge ojo localization lokalisation anatomsite
    bodypart ethnicity race skintype fitzpatrick smoker"""
)

SPLIT_WORDS = {
    "train": _words(
        """train training trainset tr entrenamiento entrainement treino treinamento addestramento
        trenowanie 训练 训练集 学習"""
    ),
    "validation": _words(
        """validation valid validate val dev tune tuning validierung validacion validacao
        validazione walidacja 验证 验证集 検証"""
    ),
    "test": _words(
        "test testing testset te holdout prueba essai teste verifica 测试 测试集 テスト"
    ),
}

NEGATIVE = _words(
    """0 no n negative neg normal healthy benign none false absent control gesund negativ
    gutartig unauffallig nein sano benigno negativo ausente sain benin negatif absence
    saudavel nao nofinding nofindings nodisease nodr well 正常 阴性 良性 陰性"""
)
_NOTHING = ("normal", "unauffallig", "kein", "ohne", "nofinding", "non")


def is_negative(word: str) -> bool:
    """Whether a class says that nothing was found: `healthy`, `Normalbefund`, `kein Karzinom`."""
    return plain(word) in NEGATIVE or plain(word).startswith(_NOTHING)


UNLABELLED = {"todo", "tbd", "?", "-", "n/a", "na", "nan", "null", "unlabelled", "unlabeled"}
# In order: from nothing to the worst.
_STEPS = (
    *("none", "no", "nodr", "normal", "minimal", "minor", "mild", "light", "leicht", "leve"),
    *("leger", "lieve", "moderate", "mittel", "mittelgradig", "moderado", "modere", "moderato"),
    *("severe", "schwer", "grave", "severo", "proliferative", "pdr"),
)

MODALITIES = {
    "fundus": _words(
        """fundus retina retinal retinopathy eye dr npdr pdr glaucoma aptos messidor idrid macula
        macular drusen auge"""
    ),
    "dermoscopy": _words(
        """skin derm dermoscopy dermoscopic dermatology melanoma mel nevus naevus nv bcc akiec isic
        haut piel peau keratosis"""
    ),
    "chest": _words(
        """chest thorax cxr xray lung pneumonia covid pneumothorax effusion atelectasis edema
        cardiomegaly infiltration consolidation tuberculosis lunge torax"""
    ),
}

COLUMN_WORDS = frozenset().union(
    *(_WHO, _NUMBER, _LABEL, _PERHAPS, _GRADES, _ATTRIBUTES, NEGATIVE),
    *SPLIT_WORDS.values(),
    *MODALITIES.values(),
)
"""All that columns, classes and splits are called here, as `plain` makes them."""


def names_someone(column: str) -> bool:
    """`Patient ID`, `patient`, `ID_paciente`, `lesion_id`: a word for a person, and at most one
    for a number; not `Patient Age`."""
    words = tokens(column) - {"of", "the", "de", "do", "da", "del", "du", "des", "der", "di"}
    if words & _WHO and words <= _WHO | _NUMBER:
        return True
    whole = plain(column)
    for word in _WHO:
        for rest in (whole.removeprefix(word), whole.removesuffix(word)):
            if rest != whole and (not rest or rest in _NUMBER):
                return True
    return False


def label_hint(column: str) -> int:
    """4 for the very name of labels, 3 for a name that holds one, 2 for one that often means them,
    -3 for one that says something else."""
    if plain(column) in _LABEL:
        return 4
    if tokens(column) & _LABEL:
        return 3
    if (tokens(column) | {plain(column)}) & _PERHAPS:
        return 2
    return -3 if is_attribute(column) else 0


def is_attribute(column: str) -> bool:
    return bool((tokens(column) | {plain(column)}) & _ATTRIBUTES)


def means_grades(column: str) -> bool:
    return bool(tokens(column) & _GRADES)


def split_word(word: str) -> str | None:
    """train, validation or test, where a word means one of these."""
    return next((s for s, words in SPLIT_WORDS.items() if plain(word) in words), None)


def in_order(words: list[str]) -> list[str] | None:
    """The words from mildest to worst, where all of them are known."""
    if not all(plain(w) in _STEPS for w in words):
        return None
    return sorted(words, key=lambda w: _STEPS.index(plain(w)))


def modality_of(words: set[str]) -> str | None:
    """The modality whose words appear, where it is one."""
    found = [m for m, known in MODALITIES.items() if words & known]
    return found[0] if len(found) == 1 else None
