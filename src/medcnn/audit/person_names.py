"""What looks like the name of a person, in a tag or in a path.

A miss costs more than a false alarm, which is only a warning: whatever is no placeholder, code or
known word counts as a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from medcnn.data.own.vocabulary import COLUMN_WORDS, plain

# What de-identification leaves in place of a name.
_PLACEHOLDER = re.compile(
    r"anon\w*|removed|redacted|deleted|masked|hidden|blank|empty|unknown|none|null|na|nan|nobody|"
    r"dummy|test|phantom|patient|case|subject|study|name|last|first|archive|no|not|id|x+|de|"
    r"deidentified|identified|deid|pseudonym\w*|pat|pt|sub|subj|male|female|given|family|"
    r"surname|lastname|firstname|unbekannt|anonyme|anonimo|desconocido|inconnu|sconosciuto"
)
_LETTERS = re.compile(r"[^\W\d_]+")
_CODE_LETTERS = 4
"""A code such as TCGA-01 or MSK4 has no more of them in a row."""
_FEWEST_OF_NUMBER, _MOST_OF_NUMBER = 4, 15
"""Shorter numbers are dummies, longer ones hashes."""


def looks_real(content: str) -> bool:
    """Whether what stands in a tag of names or of free text may tell of a real person: any word of
    two letters that is neither a placeholder nor part of a code. One letter counts where it is a
    word: in scripts without small letters."""
    if re.fullmatch(r"(?=.*\d)[0-9a-f^=\s-]{8,}", content.strip().lower()):
        return False
    for part in re.split(r"[\^=\s,;]+", content):
        words = [plain(w) for w in _LETTERS.findall(part)]
        code = any(c.isdigit() for c in part)
        for word in words:
            if _PLACEHOLDER.fullmatch(word) or (len(word) < 2 and word.isascii()):
                continue
            if not code or (len(word) > _CODE_LETTERS and word not in IMAGING_WORDS):
                return True
    return False


def looks_assigned(content: str) -> bool:
    """Whether a number that a hospital, an insurer or a telephone company gave stands here."""
    bare = "".join(c for c in content.lower() if c.isalnum())
    if not bare.strip("0") or _PLACEHOLDER.fullmatch(bare):
        return False
    return _FEWEST_OF_NUMBER <= len(bare) <= _MOST_OF_NUMBER


def words_of_name(content: str) -> tuple[str, ...]:
    """Parts of a name by which a path would give it away, lower case."""
    words = _LETTERS.findall(content.lower())
    return tuple(w for w in words if len(w) > (2 if w.isascii() else 1))


def names_in_path(path: str, known: Iterable[str], harmless: frozenset[str]) -> bool:
    """Whether a folder or file seems to carry the name of a person: two words in a row that are
    known for nothing else, in whatever case and with whatever between them.

    Args:
        known: parts of the name that stands in the file's own tags.
        harmless: words, as `plain` makes them, that stand for classes, splits and the like here.
    """
    path = unicodedata.normalize("NFC", path)  # some disks part letters from their accents
    words = set(_LETTERS.findall(path.lower()))
    known = {w for w in known if plain(w) not in harmless}
    if known and known <= words:
        return True
    whole = Path(path)
    return any(_holds_name(p, harmless) for p in (*whole.parent.parts, _stem(whole.name)))


def _stem(name: str) -> str:
    """A file name without its ending; the first name in `Doe.Jane` is none."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and len(ending) <= 5 and not ending[:1].isupper() else name


def _holds_name(part: str, harmless: frozenset[str]) -> bool:
    if re.search(r"[^\W\d_]+\^[^\W\d_]+", part):
        return looks_real(part)
    before = False
    for chunk in re.split(r"[\W_]+", _HEX.sub("0", part)):
        if not chunk:
            continue
        for word in _CAMEL.sub(" ", _BIRTH.sub("", chunk)).split() or [chunk]:
            now = _like_name(word, harmless)
            if before and now:
                return True
            before = now
    return False


# Parts of a hash or UID: a chunk holds letters and digits.
_HEX = re.compile(
    r"(?i)(?<![^\W_])(?=[a-f-]*[0-9])(?=[0-9-]*[a-f])[0-9a-f]{4,}(-[0-9a-f]{4,})*(?![^\W_])"
)
_CAMEL = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z][^\W\d_A-Z]{2})")
_BIRTH = re.compile(r"(19|20)\d\d(\d{4})?$")
_VOWEL = re.compile(r"[aeiouy]|[^\x00-\x7f]")


def _like_name(word: str, harmless: frozenset[str]) -> bool:
    bare = plain(word)
    return (
        word.isalpha()
        and (len(word) > 1 or not word.isascii())
        and _VOWEL.search(word.lower()) is not None
        and bare not in harmless
        and bare.removesuffix("s") not in harmless
        and not _PLACEHOLDER.fullmatch(bare)
        and not _MEDICAL.search(bare)
    )


# Endings of diseases, examinations and what describes them, which names of people hardly have.
_MEDICAL = re.compile(
    r".{4}oma$|.{2}(osis|itis|iasis|pathy|pathie|trophy|plasia|penia|emia|uria|ectasis|thorax|tion|"
    r"sion|graphy|graphie|scopy|scopic|logy|logie|ectomy|ical|eous|ular|ative|ated|ized|ised)$"
)
# What folders and files of images are called. Words that many people bear (Young, Gray, May, Cross)
# are not among them. Those of one letter or without a vowel need not stand here.
_WORDS = """
after all an and are as at before between both by double eight first five for four from in into is
it last new next nine no non not of off old on one only or other out over per second seven single
six so ten than the third this three to two under up versus very with without

access acquired archive article backup base batch big book case class classes clean cleaned clinic
clinical cohort collection common control copies copy data database dataset date day demo
department detail device documents download draft duplicate empty entry episode error eval exam
example excluded export exported external extra feature figure file final fold folder format found
general generated global group history home hospital hour image imags img import included index
info initial input internal item jumbo kaggle kid label labeled labelled large library list local
main manual master medical medicine misc missing model month multi multiple name night note number
object official original output pack page paper part patch patches path patient people person photo
pic picture prep previous prior private probe process processed progress project protocol public
quality query random raw read reader record ref reference region reject rejected related repeat
report research result root round row run sample scale scan school score screen select selected
sequence series set setting share shared small sort sorted source special split stack stage
standard start state status step storage store structure studies study sub subject subset suite
survey system table target task temp template test text tile time total trace train training trash
trial truth type unit university unlabeled unlabelled unsorted update used user valid validate
value var various version video visit volume week work year

adjusted annotated ap aperture area aspect auto axial back balanced big bit blur blurred border
bottom bright camera center centre channel circle clear clip close closeup color colour compressed
contrast coronal corrected crop cropped cropping cut dark decubitus derm dicom different digital
display down ellipse endian enhanced equalized erect explicit fit flat flip flipped focus frame
front frontal full grade graded half height high implicit inner inverted jpeg jpegls layer level
light line lossless lossy low lower magnified marker mask masked maximum mean medium merged mid
middle min mini mobile mode mono near normalised normalized oblique optic outer overlay pair
palette pixel plain plate point portable position post pre rear rectangle red reduced resized
rotated sagittal sector segment sharp shot side size slice slide smooth space square supine thick
thin thumb thumbnail tone top uncompressed upper view viewer visible visual whole wide width window
zone zoom

abdomen abdominal airspace airway ankle anterior apex apical arm artery axilla basal bilateral body
bone bowel brain breast bronchus cardiac cell cerebral chest colon cornea costal cup cyst diaphragm
disc disk ear elbow esophagus eye face foot fundus genital hand head heart heel hip joint kidney
knee lateral left leg limb lobar lobe lung lymph macula macular medial mediastinal mouth mucosa
mucosal muscle nail neck nerve node nose oral orbit organ palm pelvis pleura pleural posterior
proximal pulmonary retina retinal rib right scalp shoulder skin skull spine stomach superior teeth
thigh thorax thyroid tissue toe tooth torso trachea trunk uni unilateral vein venous vessel wall
wrist

abnormal absent acne acral actinic active acute adult affected allergic atypical bacteria bacterial
bad benign bite blue bulla bullous calcified cancer cardio change chronic coarse cold coronavirus
covid cystic damage death degree dermal diabetic diffuse discharge disease diseased distress drusen
dysplastic early edema effusion emphysema end enlarged equivocal erosion event exclusive exudate
failure false fine fluid focal fungal fungus gastrointestinal germ glaucoma glioma good grave
growth hard healthy hemorrhage hernia herpes histo hot human idiopathic ill illness immune infect
inferior influenza injury interstitial ischemic junk keloid keratoses late latent lentigo lesion
lipoma lupus malignant mass masses mature measles melanocytic metastases metastatic mild minor mole
more most multiform mycoplasma necrotic negative neo nevi nevus nodule none normal opacities
opacity ordinary pain partial pathologic pemphigus pigmented pneumococcal pneumocystis polyp poor
positive possible pregnant primary progressing progressive proliferative psoriasis purpura rapid
rapidly rare rash react recurrent regress residual resolved rubella scar seborrheic secondary
septic severe severity shingles sick simple smear smoker snake soft solar solid spot squamous
stable strain streptococcal subtle surgery suspect suspected suspicious swollen symptom syndrome
therapy tiger tinea trauma treated treatment tube tumor tumour typical ulcer uncertain unclear
undetermined unknown urticaria vaccine vascular viral virus vitiligo warm wart wet wound

akte alle alter andere arzt auf aufnahme aufnahmen auge augen aus avec befund befunde bild bilder
brust carpeta cartella cas caso com con da daten del der derecha derecho des destra die direita
direito do dossier droit droite du eine el esquerdo exame faelle fuer fur ganz gauche gesund gut
haut herz hinten imagen imagenes immagini izquierda izquierdo jahr klinik kontrolle kopf krank
krebs la le leber linke linker links los lunge mit neu neue nicht nouveau novo nueva nuevo nuova
oben occhio oeil ohne ojo olho ordner os para patienten peau pele pelle piel polmone por poumon
praxis pulmao pulmon radio rechte rechter rechts roentgen roh rontgen sans schlecht seite sem senza
sin sinistra sonstige tag teil uma und une unten verdacht von vor yeux
"""
IMAGING_WORDS = COLUMN_WORDS | {plain(word) for word in _WORDS.split()}
