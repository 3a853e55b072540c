"""A statement in words is computed from the facts of this run, or it is not made."""

from __future__ import annotations

import ast
import dataclasses
import math
import random
import re
from importlib import resources
from types import SimpleNamespace
from typing import Any

import pytest

from medcnn.audit.finding import Finding, Severity
from medcnn.audit.planted import Recovered
from medcnn.data.labels import Kind
from medcnn.pages import external_page, hospital_page, review_page
from medcnn.pages.anatomy_notes import READING
from medcnn.pages.audit import CONFOUNDS, SEARCH, VERDICTS, Audit
from medcnn.pages.comparison_notes import NOTES, Beside, notes_of
from medcnn.pages.comparison_page import COMPARED, Compared
from medcnn.pages.facts import Facts, Made, facts_of, known_start, say
from medcnn.pages.gallery import CHECKS
from medcnn.pages.looking import LOOKING
from medcnn.pages.seen import SEEN, where_from
from medcnn.pages.shifted import SHIFTED
from medcnn.pages.statements import STATEMENTS
from medcnn.statistics.comparing import compare
from medcnn.statistics.decisions import PatientReadout, Readout
from medcnn.statistics.differences import WITHIN
from medcnn.statistics.scores import evaluate

SECTIONS = sorted(
    {
        *("Scores", "Errors", "points", "grades", "slider", "sets", "referral"),
        *("curves", "confusion", "most confused", "training", "differences", "groups"),
        *("benefit", "patients", "subgroups", "small groups", "skin tone", "mean over labels"),
        *("looks", "maps"),
    }
)
VALUES: dict[str, list[Any]] = {
    "kind": [None, *Kind],
    "split": ["", "test", "validation", "train", "all"],
    "group_noun": ["group", "image", "patient", "lesion"],
    "made": list(Made),
    "own_set": [False, True],
    "leaks": [None, 0, 1, 3],
    "shared": [None, 0, 1, 5],
    "allowed": [None, frozenset(), frozenset({"groups"}), frozenset({"pixels"})],
    "warned": [None, frozenset(), frozenset({"few"}), frozenset({"copies"})],
    "copies_sought": [False, True],
    "known_start": [False, True],
    "epochs": [0, 1, 9],
    "probe": ["", "penalty"],
    "fitted": [frozenset(), frozenset({"thresholds"}), frozenset({"thresholds", "calibration"})],
    "flat": [frozenset(), frozenset({"mass"})],
    "own_prevalence": [False, True],
    "pseudonyms": [None, False, True],
    "resamples": [0, 1000],
    "intervals": [0, 7],
    "thresholds": [(), (0.3,), (0.3, 0.4)],
    "threshold_chosen": [False, True],
    "calibration": ["", "temperature"],
    "rule": ["", "the most probable class"],
    "wanted": ["", "90 %"],
    "per": ["", "patient", "image"],
    "aurc": ["", "0.0123"],
    "unlike": [(), ("unusual",), ("unusual", "other site")],
    "looks_untested": [(), ("wrong kind",)],
    "readers": [0, 2],
    "readers_elsewhere": [0, 1, 2],
    "readers_paired": [0, 1, 2],
    "readers_untested": [0, 1],
    "readers_partly": [False, True],
    "readers_boxed": [False, True],
    "several_each": [False, True],
    "maps_by": ["", "Grad-CAM"],
    "maps_failed": [(), ("weights",), ("agreement", "outside")],
    "unlisted": [0, 3],
    "listed": [0, 200],
    "margin": [None, 0.02],
    "margin_of": ["", "AUROC"],
    "methods": [frozenset(), frozenset({"delong"}), frozenset({"bootstrap", "linearised"})],
    "tests": [0, 12],
    "mcnemar": [0, 3],
    "differing_settings": [None, 0, 2],
    "unknown_settings": [(), ("a", "b")],
    "shows_images": [False, True],
    "numbered": [False, True],
    "shrunk_px": [0, 192],
    "together": [
        None,
        PatientReadout(rule="maximum", unit="", scores={}, units=3, readout=Readout()),
        PatientReadout(
            rule="mean",
            unit="eye",
            scores={"mean": 0.9, "number of images": 0.7},
            units=9,
            readout=Readout(),
        ),
    ],
    "useful": [(), (("mass", None),), (("mass", (0.05, 0.4)), ("edema", None))],
    "costs": [None, (10.0, 1.0)],
    "gaps": [0, 24],
    "small_groups": [False, True],
    "gap_level": ["99.7 %"],
    "alarms": [(), ("age 80 or more: AUROC 0.6, others 0.8",), ("a", "b", "c", "d", "e")],
    "sought": [False, True],
}


def some_facts(count: int = 4000) -> list[Facts]:
    draw = random.Random(0)
    return [
        Facts(
            sections=frozenset(s for s in SECTIONS if draw.random() < 0.5),
            **{name: draw.choice(values) for name, values in VALUES.items()},
        )
        for _ in range(count)
    ]


CLEAN = Facts(
    split="test",
    made=Made.TRAINED,
    group_noun="patient",
    leaks=0,
    shared=0,
    allowed=frozenset(),
    warned=frozenset(),
    copies_sought=True,
    known_start=True,
    epochs=9,
)
FACTS = [*some_facts(), CLEAN]
NEVER = "which the model had never seen"


def said(name: str, facts: Facts) -> str:
    return say(STATEMENTS, facts, name)


def test_the_facts_that_are_tried_are_all_there_are() -> None:
    assert {f.name for f in dataclasses.fields(Facts)} == {"sections", *VALUES}


@pytest.mark.fault
@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_is_made_by_some_facts_and_not_by_others(name: str) -> None:
    """Row A13: what is printed whatever the facts are is no statement about this run."""
    made = [bool(said(name, facts)) for facts in FACTS]
    assert any(made)
    assert not all(made)


@pytest.mark.fault
@pytest.mark.parametrize("name", STATEMENTS)
def test_nothing_is_stated_by_whoever_knows_nothing(name: str) -> None:
    """Row A13."""
    if name != "nothing judged":
        assert said(name, Facts()) == ""


def test_a_sentence_ends_once_and_a_clause_does_not() -> None:
    for name in STATEMENTS:
        for facts in FACTS[:400]:
            text = said(name, facts)
            if text and name != "flatters":
                assert text.endswith(".") != (name in SEEN), text
                assert "  " not in text
                assert not re.search(r"\b(None|nan)\b", text), text


def test_verdicts_that_no_interval_tests_are_not_said_to_be_as_stated() -> None:
    tested = dataclasses.replace(CLEAN, sections=frozenset({"looks"}))
    assert "No verdict is given more often" in said("looks: as stated", tested)
    assert said("looks: too few", tested) == ""
    untested = dataclasses.replace(tested, looks_untested=("wrong kind", "unusual"))
    assert said("looks: as stated", untested) == ""
    assert said("looks: too few", untested) == (
        "Wrong kind, unusual: too few patients to say whether given more often than stated."
    )


@pytest.mark.fault
def test_the_model_is_said_not_to_have_seen_images_only_where_all_of_it_is_known() -> None:
    """Row A13: whatever of leaks, shared ids, audit.allow, near-duplicates, starting weights and
    what names the group is otherwise or unknown takes the sentence away."""
    assert where_from(CLEAN) == NEVER
    doubts: list[dict[str, Any]] = [
        *({"leaks": n} for n in (None, 1, 3)),
        *({"shared": n} for n in (None, 1, 3)),
        *({"allowed": a} for a in (None, frozenset({"groups"}), frozenset({"pixels"}))),
        *({"warned": w} for w in (None, frozenset({"copies"}), frozenset({"groups"}))),
        {"copies_sought": False},
        {"known_start": False},
        {"group_noun": "image"},
        {"group_noun": "exam"},
        {"made": Made.UNKNOWN},
        {"made": Made.EVALUATED},
        *({"split": s} for s in ("validation", "train", "all", "external")),
    ]
    for doubt in doubts:
        assert "never seen" not in where_from(dataclasses.replace(CLEAN, **doubt)), doubt
    exams = where_from(dataclasses.replace(CLEAN, group_noun="exam"))
    assert "their patients are unknown" in exams


def test_maps_that_failed_a_check_are_said_to_explain_nothing_and_others_are_not() -> None:
    passed = dataclasses.replace(CLEAN, sections=frozenset({"maps"}), maps_by="Grad-CAM")
    assert said("maps explain nothing", passed) == ""
    assert "not why" in said("maps passed", passed)
    for name, why in CHECKS.items():
        failed = dataclasses.replace(passed, maps_failed=(name,))
        assert f"explain nothing: {why}." in said("maps explain nothing", failed)
        assert said("maps passed", failed) == ""


@pytest.mark.fault
@pytest.mark.parametrize(
    ("doubt", "clause"),
    [
        ({"leaks": 3}, "although 3 patients are in more than one split, which makes the result"),
        ({"leaks": 1}, "although 1 patient is in more than one split, which makes the result"),
        ({"shared": 2}, "2 of which share their id with an image used in training"),
        ({"warned": frozenset({"copies"})}, "although the audit found equal or similar"),
        ({"known_start": False}, "who are in neither its training nor its validation split"),
        ({"group_noun": "image"}, "(but their patients are unknown and may be)"),
        ({"allowed": frozenset({"groups"})}, ""),
        ({"made": Made.EVALUATED, "own_set": False}, "none of which shares its id with an image"),
        ({"made": Made.EVALUATED, "own_set": False, "shared": None}, ""),
        (
            {"split": "validation"},
            "which were also used to choose the epoch, so the result is",
        ),
        ({"split": "validation", "epochs": 1}, ""),
        ({"split": "validation", "made": Made.EVALUATED}, "none of which shares its id"),
        ({"split": "train", "made": Made.EVALUATED}, "none of which shares its id"),
        ({"split": "train"}, "on which the model was trained"),
    ],
)
def test_what_is_said_instead(doubt: dict[str, Any], clause: str) -> None:
    """Row A13."""
    found = where_from(dataclasses.replace(CLEAN, **doubt))
    assert (clause in found) if clause else found == ""


@pytest.mark.fault
def test_facts_come_from_run_json_and_old_files_claim_nothing() -> None:
    """Row A13."""
    run = {
        "best_epoch": 2,
        "audit": {"warned": []},
        "config": {
            "audit": {"allow": [], "copies": True},
            "model": {"weights": "auto", "backbone": "resnet18"},
        },
        "report": {"group_noun": "patient", "leaks": 0},
    }
    assert where_from(Facts(**facts_of(run, "test"))) == NEVER
    old = {key: value for key, value in run.items() if key != "audit"}
    assert where_from(Facts(**facts_of(old, "test"))) != NEVER
    assert where_from(Facts(**facts_of({"best_epoch": 2}, "test"))) == ""
    assert where_from(Facts(**facts_of({}, "test"))) == ""
    later = {**run, "trained_on": {"manifest": "aa", "shared_images": 0}, "manifest": "bb"}
    assert "id with an image used" in where_from(Facts(**facts_of(later, "test")))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("config", "known"),
    [
        ({"model": {"weights": "none", "backbone": "resnet18"}}, True),
        ({"model": {"weights": "body.safetensors", "backbone": "resnet18"}}, False),
        ({"model": {"weights": "auto", "backbone": "hf-hub:x/retina"}}, False),
        ({"model": {"weights": "auto", "backbone": "r"}, "checkpoint": "a.safetensors"}, False),
        ({}, False),
    ],
)
def test_what_weights_of_others_have_seen_is_not_known(config: dict[str, Any], known: bool) -> None:
    """Row A13."""
    assert known_start(config) is known


def difference(**more: Any) -> Any:
    given: dict[str, Any] = {"score": "auroc", "label": None, "better": 1, "verdict": ""}
    given |= {"reference": 0.8, "other": 0.9, "difference": 0.1, "low": 0.05, "high": 0.15}
    return SimpleNamespace(**given | {"margin": None, "note": ""} | more)


def compared(*differences: Any) -> Compared:
    return Compared("a", "b", SimpleNamespace(differences=differences), "patient")  # type: ignore[arg-type]


VERDICT_OF = {
    "better": "better",
    "worse": "worse",
    "within": WITHIN,
    "different": "different",
    "not inferior": "not inferior",
    "not excluded": "inferiority not excluded",
    "chance": "",
}
COMPARISONS = {
    **{name: compared(difference(verdict=v, margin=0.02)) for name, v in VERDICT_OF.items()},
    "unsure": compared(difference(low=math.nan, note="based on only 4 groups")),
    "others": compared(difference(verdict="better"), difference(verdict="worse"), difference()),
    "no others": compared(difference(), difference()),
}


@pytest.mark.fault
@pytest.mark.parametrize("name", COMPARED)
def test_a_difference_is_called_what_its_verdict_is_and_nothing_else(name: str) -> None:
    """Rows A13, B21: of two models only that is said which was tested."""
    made = {case for case, of in COMPARISONS.items() if COMPARED[name].words(of)}
    own = {"difference": set(COMPARISONS) - {"unsure"}, "chance": {"chance", "no others"}}
    own["better"] = {"better", "others"}
    assert made == own.get(name, {name})
    for case in made:
        text = COMPARED[name].words(COMPARISONS[case])
        assert text.endswith(".")
        assert not re.search(r"\b(nan|groups?)\b", text), text


def finding(severity: Severity, check: str = "few") -> Finding:
    return Finding(check=check, severity=severity, title="", meaning="", advice="")


def audit(*findings: Finding, planted: int = 0) -> Audit:
    found = Recovered(planted={"shifted": planted}, found={"shifted": planted}, false=1)
    manifest: Any = SimpleNamespace(group_noun="patient")
    looks: Any = None
    return Audit(manifest=manifest, looks=looks, findings=findings, recovered=found)


AUDITS = {
    "refused": audit(finding(Severity.REFUSE), finding(Severity.WARN, min(CONFOUNDS))),
    "confounded": audit(finding(Severity.WARN, min(CONFOUNDS))),
    "not refused": audit(finding(Severity.WARN), planted=3),
    "search": audit(planted=3),
}


@pytest.mark.fault
@pytest.mark.parametrize("name", [*VERDICTS, *SEARCH])
def test_an_audit_gives_one_verdict_and_tells_of_its_search_where_one_was_made(name: str) -> None:
    """Rows A13, A16."""
    statement = (VERDICTS | SEARCH)[name]
    made = {case for case, of in AUDITS.items() if statement.words(of)}
    both = {"not refused", "search"}
    assert made == (both if name in both else {name})


BESIDES = {
    "nothing": Beside(),
    "two on test": Beside(split="test", runs=2, groups=30, left_out={"a": 0, "b": 0}),
    "three on test": Beside(split="test", runs=3, groups=300),
    "three on validation": Beside(split="validation", runs=3, trained=True),
    "an evaluation": Beside(split="validation", runs=2),
    "training images": Beside(split="train", runs=2, trained=True),
    "other images": Beside(split="all", runs=3, trained=True),
    "left out": Beside(split="test", runs=2, left_out={"a": 0, "b": 1200}),
    "unread": Beside(split="test", runs=2, unread={"b": 3}),
    "few": Beside(split="test", runs=2, groups=29, noun="patient"),
}
NOTED = {
    "left out": {"left out"},
    "unread": {"unread"},
    "chosen by test": {"three on test"},
    "fitted": {"three on validation", "training images"},
    "perhaps fitted": {"an evaluation"},
    "few": {"few"},
}


@pytest.mark.fault
@pytest.mark.parametrize("name", NOTES)
def test_compare_warns_of_what_is_so_and_of_nothing_else(name: str) -> None:
    """Rows A13, B21."""
    assert {case for case, of in BESIDES.items() if NOTES[name].words(of)} == NOTED[name]
    for case in NOTED[name]:
        (words,) = notes_of(BESIDES[case])
        assert words.endswith(".")
        assert not re.search(r"\b(nan|None|groups?)\b", words), words
    assert "1,200" in " ".join(notes_of(BESIDES["left out"]))


TEMPLATES = sorted(
    entry.name for entry in resources.files("medcnn.pages").iterdir() if entry.name.endswith(".j2")
)
PROMPT = "To be written by those responsible for the model."
"""Of the model card: asks, and tells nothing."""


def is_sentence(text: str) -> bool:
    return text.strip("_") != PROMPT and bool(
        re.search(r"\w{2,}[.!](\s|$)", text) or len(text) > 60
    )


def prose(template: str) -> list[str]:
    """Texts of a template that are written there and not computed, also within its expressions."""
    text = resources.files("medcnn.pages").joinpath(template).read_text(encoding="utf-8")
    text = re.sub(r"<(style|script)\b.*?</\1>|<meta.*?>", "", text, flags=re.DOTALL)
    code = re.findall(r"\{%.*?%\}|\{\{.*?\}\}", text, flags=re.DOTALL)
    given = [part for c in code if "extends" not in c for part in re.findall(r'"([^"]*)"', c)]
    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", "\0", text, flags=re.DOTALL)
    parts = re.split(r"<[^>]*>|\0|\|", text)
    return [" ".join(part.split()) for part in (*parts, *given) if part.strip()]


@pytest.mark.fault
@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_hold_headings_and_no_sentence(template: str) -> None:
    """Rows A13, A16: a constant in a template is printed whatever the facts are."""
    assert list(filter(is_sentence, prose(template))) == []


def test_the_search_for_sentences_finds_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "t.j2").write_text(
        "<p>{{ n }} ids are pseudonyms in all we write.</p>{{ p('x', \"All is well.\") }}"
    )
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    assert list(filter(is_sentence, prose("t.j2"))) == [
        "ids are pseudonyms in all we write.",
        "All is well.",
    ]


BY_NAME = {
    "STATEMENTS": [name for name in STATEMENTS if name not in SEEN and name != "flatters"],
    "external": external_page.DETAILS,
    "hospital": hospital_page.DETAILS,
    "look": LOOKING,
    "reading": READING,
    "review": review_page.REVIEW | review_page.ROOM | review_page.RECEIPTS,
    "shifted": SHIFTED,
}
"""Tables whose every sentence a template names; code chooses among those of other tables."""


@pytest.mark.fault
@pytest.mark.parametrize("table", BY_NAME)
def test_every_sentence_that_templates_name_is_named_by_one(table: str) -> None:
    """Row A13: a sentence that no template names is never printed."""
    folder = resources.files("medcnn.pages")
    text = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in TEMPLATES)
    assert [name for name in BY_NAME[table] if f'"{name}"' not in text] == []


def sentences(module: Any) -> list[str]:
    """Those among the texts of a module, without its docstrings."""
    found = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        inside = () if isinstance(node, ast.Expr) else ast.iter_child_nodes(node)
        texts = [n.value for n in inside if isinstance(n, ast.Constant)]
        found += [t for t in texts if re.search(r"[a-z]{2,} [a-z]{2,}.*[.](\s|$)", str(t))]
    return found


TESTED = {"statements.py", "seen.py", "summary.py", "comparison_page.py", "audit.py"}
TESTED |= {"group_statements.py", "gallery.py", "reader_points.py"}
TESTED |= {"anatomy_notes.py", "comparison_notes.py", "crossvalidation_page.py", "hospital_page.py"}
TESTED |= {"curve_page.py", "external_page.py", "family.py", "monitor_page.py", "plan_page.py"}
TESTED |= {"readers_page.py", "robustness_page.py"}
TESTED |= {"looking.py", "review_page.py", "shifted.py"}
"""Modules whose sentences all stand in tables, of which tests ask when they must not be made; the
functions of `checklist.SAYS` are asked the same in test_checklist.py."""


@pytest.mark.fault
def test_sentences_are_in_modules_whose_tables_are_tested() -> None:
    """Row A13: a sentence that is written into any other module would be printed untested."""
    folder = resources.files("medcnn.pages")
    modules = {entry.name: entry for entry in folder.iterdir() if entry.name.endswith(".py")}
    writing = {name for name, entry in modules.items() if sentences(entry)}
    assert {"statements.py", "summary.py"} < writing <= TESTED | {"checklist.py"}


@pytest.mark.fault
@pytest.mark.parametrize("kind", Kind)
def test_no_note_of_a_score_speaks_of_patients_where_only_images_are_known(simulate, kind) -> None:
    """Row A13: notes count groups, and pages say what a group is."""
    plain = simulate(kind, 24, images_per_group=1)
    flat = dataclasses.replace(plain, logits=plain.logits * 0)
    few = simulate(kind, 6, images_per_group=1)
    scores = [s for p in (plain, flat, few) for s in evaluate(p, resamples=20).scores]
    compared = [d for a, b in ((plain, flat), (flat, flat)) for d in compare(a, b).differences]
    notes = {found.note for found in (*scores, *compared)}
    assert any("groups" in note for note in notes)
    assert [note for note in notes if "patient" in note] == []
