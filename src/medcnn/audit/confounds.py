"""What a network could learn instead of the disease, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from medcnn.audit.examined import Examined
from medcnn.audit.finding import Finding, Severity, counted
from medcnn.audit.headers import POLARITY, SIZE
from medcnn.audit.shortcuts import Shortcut
from medcnn.audit.traits import Association
from medcnn.data.manifest import Modality

ALARMING = {"file": 0.60, "border": 0.60, "columns": 0.70}
"""Alarm if the lower end of the interval exceeds this; 0.5 is guessing. Columns may reach more: age
and sex are medicine."""
ALARMING_LABEL = 0.15
"""A single label alarms only this much higher: the best of many is high by chance."""
STRONG, SURE = 0.3, 0.01

_AT_BORDER = {
    Modality.CHEST: "No finding is in the outermost sixteenth of a radiograph. The clue there is "
    "collimation, markers, burned-in text or the cropping of a figure.",
    Modality.FUNDUS: "Around the retina there is only the mask of the camera, so the clue there is "
    "the camera.",
    Modality.DERMOSCOPY: "Large lesions reach the border, and the skin around them can be "
    "medicine; dark corners, rulers, ink and plasters cannot.",
    Modality.OTHER: "Little of the disease is in the outermost sixteenth. The clue there may be "
    "the device, a marker or the background.",
}
_AT_32_PX = {
    Modality.CHEST: "An enlarged heart or a large effusion is visible at 32 px, a nodule is not. "
    "For small findings, the clue at 32 px is exposure, position and source.",
    Modality.FUNDUS: "Colour and bright patches are visible at 32 px and can be medicine. Single "
    "microaneurysms are not, so a high value for early grades points to the camera.",
    Modality.DERMOSCOPY: "Colour and size of a lesion are a good part of its diagnosis, so this is "
    "not a fault.",
    Modality.OTHER: "Only the images show whether that is the disease or its surroundings.",
}


def file_tells(of: Examined) -> Iterator[Finding]:
    """The way the file was made gives the label away."""
    for cue in _alarming(of, "file"):
        yield Finding(
            check="file_tells",
            severity=Severity.WARN,
            title=f"The file alone, without its pixels, predicts the label: {_auroc(cue)}",
            meaning="Format, size, bit depth, colour and scanner suffice to distinguish "
            f"{_best(cue)}. Classes come from different sources, and a network can score well here "
            "by recognising the source; it will fail elsewhere.",
            advice="Take all classes from the same sources. Otherwise keep one source as the test "
            "split (data.split), and trust only that score.",
            columns=_TRAIT_COLUMNS,
            rows=_trait_rows(of.traits),
        )


def border_tells(of: Examined) -> Iterator[Finding]:
    """The border of the image gives the label away."""
    for cue in _alarming(of, "border"):
        yield Finding(
            check="border_tells",
            severity=Severity.WARN,
            title=f"The border of the image alone predicts the label: {_auroc(cue)}",
            meaning=f"{_AT_BORDER[of.manifest.modality]} Predicted best: {_best(cue)}.",
            advice="Look at the images of each class side by side. Crop or mask the border, train "
            "again, and see whether the score stays the same; keep one source as test split.",
        )


def columns_tell(of: Examined) -> Iterator[Finding]:
    """Other columns of the table give the label away."""
    linked = [a for a in of.columns if a.p <= 0.05]
    for cue in _alarming(of, "columns"):
        yield Finding(
            check="columns_tell",
            severity=Severity.WARN,
            title=f"The table alone, without any image, predicts the label: {_auroc(cue)}",
            meaning=f"Its other columns suffice to distinguish {_best(cue)}. Age and sex can be "
            "medicine. Site, view and how a diagnosis was made are not: they reveal the source of "
            "an image, which pixels often show too, and a network learns it.",
            advice="For each column below, ask whether it would mean the same in another hospital. "
            "If not, compare classes within one value of it, or keep one value as test split.",
            columns=("column", "goes with", "strength (Cramér's V, 0 to 1)", "p"),
            rows=tuple((a.trait, a.label, f"{a.strength:.2f}", _p(a)) for a in linked),
        )


def files_differ(of: Examined) -> Iterator[Finding]:
    """Depth, size, format, photometric or scanner vary, or go with a class."""
    strong = [a for a in of.traits if a.strength >= STRONG and a.p <= SURE]
    mixed = [a for a in of.traits if a.trait != SIZE]
    if strong:
        yield Finding(
            check="made",
            severity=Severity.WARN,
            title=f"Classes differ in {', '.join(a.trait for a in strong)}",
            meaning="Images of different classes were made or exported differently, "
            "and a network can see that.",
            advice="Export all classes in the same way, or show that the score is the same within "
            "one kind of file.",
            columns=_TRAIT_COLUMNS,
            rows=_trait_rows(strong),
        )
    elif mixed:
        yield Finding(
            check="made",
            severity=Severity.NOTE,
            title=f"Files are of several kinds: {', '.join(a.trait for a in mixed)}",
            meaning="They are not strongly associated with any class.",
            advice="Nothing needs to be done.",
            columns=_TRAIT_COLUMNS,
            rows=_trait_rows(mixed),
        )


def polarity_is_contradicted(of: Examined) -> Iterator[Finding]:
    """Radiographs whose header contradicts itself on whether low values are white."""
    said = Counter(f.traits[POLARITY] for f in of.looks.facts if POLARITY in f.traits)
    if said:
        yield Finding(
            check="polarity",
            severity=Severity.WARN,
            title=f"{counted(sum(said.values()), 'image')} whose header contradicts itself on "
            "whether low values are white",
            meaning="PhotometricInterpretation says one thing and PresentationLUTShape the other "
            "(PS3.3 C.8.11.3 requires IDENTITY with MONOCHROME2 and INVERSE with MONOCHROME1). The "
            "shape decides here, as in DCMTK and dcm4che; if the shape is wrong, bone is "
            "dark.",
            advice="Look at some of them with `medcnn preview`. If bone is dark, correct the "
            "headers.",
            columns=("header", "images"),
            rows=tuple((words, f"{count:,}") for words, count in sorted(said.items())),
        )


def thumbnail_tells(of: Examined) -> Iterator[Finding]:
    """How much 32 x 32 pixels reveal: the bar for a network."""
    for cue in of.shortcuts:
        if cue.source == "thumbnail" and cue.auroc.low > 0.5:
            yield Finding(
                check="thumbnail_tells",
                severity=Severity.NOTE,
                title=f"A thumbnail of 32 x 32 pixels predicts the label: {_auroc(cue)}",
                meaning=f"{_AT_32_PX[of.manifest.modality]} Predicted best: {_best(cue)}.",
                advice="Take this as the bar: a network has learnt from detail only if it scores "
                "clearly above this.",
            )


_TRAIT_COLUMNS = ("trait", "value", "images", "share with", "of the label", "strength", "p")


def _trait_rows(traits: list[Association] | tuple[Association, ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (a.trait, value, f"{count:,}", f"{share:.0%}", a.label, f"{a.strength:.2f}", _p(a))
        for a in traits
        for value, (count, share) in a.values.items()
    )


def _alarming(of: Examined, source: str) -> list[Shortcut]:
    limit, label = ALARMING[source], ALARMING[source] + ALARMING_LABEL
    of_source = [t for t in of.shortcuts if t.source == source]
    return [t for t in of_source if t.auroc.low >= limit or t.best_auroc.low >= label]


def _auroc(cue: Shortcut) -> str:
    found = cue.auroc
    if found.note:
        return f"AUROC {found.value:.2f} (no interval: {found.note})"
    return f"AUROC {found.value:.2f} (95 % interval {found.low:.2f} to {found.high:.2f})"


def _best(cue: Shortcut) -> str:
    return f"'{cue.best}' from the rest with AUROC {cue.best_auroc.value:.2f}"


def _p(association: Association) -> str:
    return f"{association.p:.3f}"
