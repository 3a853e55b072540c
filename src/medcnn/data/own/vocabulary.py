"""Names that columns go by and words that stand in them, in English, German, French, Spanish,
Portuguese, Italian, Dutch, Polish, Chinese and Japanese; for guesses that a person will check."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medcnn.data.split_words import SPLIT_WORDS
from medcnn.data.split_words import plain as plain
from medcnn.data.split_words import split_word as split_word
from medcnn.data.split_words import tokens as tokens
from medcnn.data.split_words import words as _words

_WHO = _words(
    """pat pt patient patients patienten patientin paciente pacientes pasient pacjent pacjenta
    pazient paziente subject sujet sujeto soggetto proband probandin person persona participant case
    fall cas caso lesion laesion mrn pid eid empi upi fallnummer patid piz ipp nip nhc nuhsa
    nosologico utente utenti prontuario cartella historia expediente dossier
    patientennummer krankenakte
    patientnr patientnummer patienten aufnahmenummer bsn pesel personnummer fodselsnummer cpr
    hastano hastaid medicalrecordnumber medicalrecordno hospitalnumber chartnumber chartno
    potilas pacient pacienti beteg asthenis individual donor owner nhs tajszam
    患者 患者さん 病人 病例 受试者 被験者 症例 住院号 病历号 病歷號 门诊号 登记号 カルテ
    환자 등록번호 пациент пациента больной испытуемый ασθενής ασθενή מטופל مريض المريض"""
)
_NUMBER = _words(
    """id ids n nr nrs no num number nummer numero numeri nombre code codigo codice cod kod key uid
    ident kennung hash pseudonym pseudo anon anonymous dossier clinica clinico clinical hospital
    record medical chart processo proceso historia cartella episodio study unique
    идентификатор номер код αριθμός מספר رقم 编号 番号 号 번호 name nome nom nombre nazwa"""
)
_LABEL = _words(
    """label labels class classes klasse classe clase diagnosis diagnose diagnoses diagnostic
    diagnostico diagnosi diagnoza dx finding findings befund befunde grade grad grado target
    pathology pathologie patologia etiqueta etiquette rotulo etichetta etykieta disease
    krankheit maladie enfermedad doenca malattia benignmalignant retinopathy retinopathie
    retinopatia
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
    bodypart ethnicity race skintype fitzpatrick smoker œil oeil yeux occhio olho oog oko lateralite
    lateralidad lateralidade lateralita appareil apparecchio aparelho aparato"""
)

_HARMLESS = _words("benign benigne benigna benigno benin gutartig gutartige gutartiger 良性")
_HEALTHY = _words(
    """normal normale normalny healthy gesund gesunde gesunder sano sana sain saine sadio sadia
    saudavel unremarkable uninfected unaffected undiseased clear 正常 健康 정상 норма здоровый"""
)
NEGATIVE = (
    _HARMLESS
    | _HEALTHY
    | _words(
        """0 no n negative neg none false absent control controls negativ unauffallig nein negativo
        ausente negatif absence absente nao nofinding nofindings nodisease nodr
        well 阴性 陰性 異常なし"""
    )
)
_NOTHING = ("normal", "unauffallig", "kein", "ohne", "nofinding", "non")
_WITHOUT = _words("no non not without kein keine ohne sans sin senza sem geen brak bez")


def is_negative(word: str) -> bool:
    """Whether a class says that nothing was found: `healthy`, `Normalbefund`, `kein Karzinom`."""
    return plain(word) in NEGATIVE or plain(word).startswith(_NOTHING)


def negative_first(words: Sequence[str]) -> list[str]:
    """Classes that say that nothing was found first, then what is harmless, then all others, each
    in the order given: `healthy lung`, `benign nevus`, `abnormal`, `not healthy`."""
    return sorted(words, key=_how_negative)


def _how_negative(word: str) -> int:
    """0 where nothing was found, 1 for what is harmless, 2 for anything else."""
    parts = [p for p in map(plain, re.split(r"[\W_]+", word)) if p]
    if parts and parts[0] in _WITHOUT and len(parts) > 1:
        return 2 if parts[1] in _HEALTHY | _HARMLESS else 0
    if plain(word) in _HARMLESS or _HARMLESS.intersection(parts):
        return 1
    return 0 if is_negative(word) or _HEALTHY.intersection(parts) else 2


UNLABELLED = frozenset(
    """todo|tbd|?|??|???|-|--|---|–|—|.|..|...|…|n/a|na|nan|n.a.|n. a.|null|unlabelled|unlabeled
    |missing|unknown|pending|not available|not applicable|not assessed|not recorded|no data
    |unbekannt|fehlt|fehlend|k.a.|k. a.|keine angabe|ausstehend|nicht erhoben|nicht befundet
    |inconnu|inconnue|manquant|non renseigné|non disponible|n.c.|n/d|n.d.|s/d|sin dato|sin datos
    |desconocido|desconocida|no disponible|desconhecido|desconhecida|não informado|sconosciuto
    |non noto|mancante|non rilevato|onbekend|ontbreekt|nieznany|nieznane|brak danych|okänd|ukendt
    |ukjent|tuntematon|neznámé|neznámý|ismeretlen|necunoscut|bilinmiyor
    |неизвестно|нет данных|невідомо|άγνωστο|不明|未知|不详|未詳|無し|모름|미상|غير معروف
    |לא ידוע""".replace("\n    |", "|").split("|")
)
"""Cells that say that there is no label, in small letters."""
# Usual scales, from nothing to the worst; words of one step stand together.
_SCALES = tuple(
    tuple(map(_words, steps))
    for steps in (
        (
            "none no normal absent absente aucune healthy negative keine kein ohne sano sain sin "
            "nessuna geen brak",
            "doubtful questionable borderline trace suspect fraglich dudoso",
            "minimal minor verymild",
            "mild light slight leicht leve leger legere lieve licht milde gering lekka leggera",
            "moderate mittel mittelgradig massig moderado moderada modere moderee moderato "
            "moderata matig umiarkowana maessig",
            "severe marked schwer hochgradig grave severo severa sever ernstig ciezka",
            "verysevere extreme critical",
            "proliferative proliferate proliferativ proliferativa proliferante pdr endstage",
        ),
        (
            "none no normal absent healthy negative suspect",
            "early initial fruh inicial precoce iniziale beginnend",
            "intermediate moderate intermediar intermedia",
            "late advanced fortgeschritten avanzado avanzada avance avancee avanzata spat tardive",
            "endstage terminal",
        ),
        (
            "none no verylow",
            "low niedrig bajo bajog faible basso baixo laag",
            "medium intermediate moderate average mittel medio media moyen",
            "high hoch alto alta eleve haut hoog",
            "veryhigh",
        ),
        ("verysmall tiny", "small klein", "medium mittel", "large gross", "verylarge huge"),
    )
)
# What stands beside a step: `Mild NPDR`, `No apparent retinopathy`, `Severe_DR`.
_OF_SCALES = _words(
    """dr npdr nonproliferative retinopathy retinopathie diabetic apparent amd grade stage degree
    disease risk change changes dme edema glaucoma dysplasia stenosis cataract fibrosis steatosis
    nonpdr severity level"""
)
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6, "vii": 7, "viii": 8}

MODALITIES = {
    "fundus": _words(
        """fundus retina retinal retinopathy eye dr npdr pdr glaucoma aptos messidor idrid macula
        macular drusen auge retine retinopathie retinopatia œil oeil"""
    ),
    "dermoscopy": _words(
        """skin derm dermoscopy dermoscopic dermatology melanoma mel nevus naevus nv bcc akiec isic
        haut piel peau keratosis"""
    ),
    "chest": _words(
        """chest thorax cxr xray lung pneumonia covid pneumothorax effusion atelectasis edema
        cardiomegaly infiltration consolidation tuberculosis lunge torax poumon poumons"""
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


def on_scale(words: Sequence[str]) -> list[str] | None:
    """The words from mildest to worst, where a usual scale has a step for each of them."""
    bare = [_step(word) for word in words]
    for scale in _SCALES:
        steps = [next((i for i, step in enumerate(scale) if w in step), -1) for w in bare]
        if -1 not in steps and len(set(steps)) == len(steps):
            return [word for _, word in sorted(zip(steps, words, strict=True))]
    return None


def _step(word: str) -> str:
    spaced = re.sub("non[-_ ]?prolif", "nonprolif", re.sub(r"[\W_]+", " ", word.lower()))
    if plain(word) == "nodr":
        return "no"
    parts = [plain(part) for part in spaced.split()]
    return "".join(part for part in parts if part not in _OF_SCALES) or "".join(parts)


def numbered(words: Sequence[str]) -> list[str] | None:
    """`Grade 1`, `Grade 2`, `Grade 10` and `I`, `II`, `III` by their numbers; a word for nothing
    (`normal`) goes first."""
    found: list[tuple[int, str, str]] = []
    prefixes = set()
    for word in words:
        parts = re.fullmatch(r"(.*?)[\s_.-]*(\d{1,4}|[ivIV]{1,4})\s*([a-dA-D]?)", word.strip())
        number = parts and (
            _ROMAN.get(parts[2].lower(), -1) if parts[2].isalpha() else int(parts[2])
        )
        if parts and number is not None and number >= 0 and not parts[1][-1:].isdigit():
            prefixes.add((plain(parts[1]), parts[2].isalpha()))
            found.append((number, parts[3].lower(), word))
        elif is_negative(word):
            found.append((-1, "", word))
        else:
            return None
    numbers = {(number, letter) for number, letter, _ in found}
    if len(prefixes) != 1 or len(numbers) < len(found) or prefixes == {("", False)}:
        return None
    return [word for _, _, word in sorted(found)]


def modality_of(words: set[str]) -> str | None:
    """The modality whose words appear, where it is one."""
    found = [m for m, known in MODALITIES.items() if words & known]
    return found[0] if len(found) == 1 else None
