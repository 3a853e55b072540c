from __future__ import annotations

import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from medcnn.data.labels import Kind
from medcnn.pages.checklist import filled, missing
from medcnn.pages.format import percent
from medcnn.pages.report import Report, html, model_card, scored_facts, write_pages
from medcnn.statistics.conformal import fit_conformal
from medcnn.statistics.decisions import Readout, ReadoutConfig, Referral
from medcnn.statistics.operating import fit_point
from medcnn.statistics.patients import by_patient, fit_patients
from medcnn.statistics.points import evaluate_readout
from medcnn.statistics.scores import evaluate
from medcnn.statistics.subgroups import subgroups
from medcnn.system import progress

HOSTILE = ("<script>alert(1)</script>", "</style></svg><img src=x>", "{{ 7*7 }}日本語" + "e" * 300)


@pytest.fixture(scope="module")
def sources(report_of) -> dict[Kind, str]:
    return {kind: html(report_of(kind)) for kind in Kind}


class Page(HTMLParser):
    """Tags, attributes and visible text; knows which tags must be closed."""

    VOID = frozenset({"meta", "br", "img", "input"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]
        assert not any(k.startswith("on") for k, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_gives_a_whole_page_that_asks_nothing_of_the_network(sources, kind) -> None:
    source = sources[kind]
    page = Page(source)
    assert page.open == []
    assert not {"link", "iframe", "object", "base", "form"} & set(page.tags)
    assert page.tags.count("script") == 2  # the numbers and what moves them
    assert all(link.startswith(("#", "data:image/jpeg;base64,")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import", source)
    # neither of the last two follows from the first
    assert "default-src 'none'; base-uri 'none'; form-action 'none'" in source


@pytest.mark.parametrize("kind", Kind)
def test_the_test_split_comes_first_and_everything_has_its_section(sources, kind) -> None:
    text = Page(sources[kind]).text
    assert text.index("120 test images") < text.index("Scores")
    for heading in ("Old, new", "Curves, test split", "Confusions", "Training", "Dataset"):
        assert heading in text
    for content in ("img <7>", "truncated", "no label", "<cpu>", "note: <b>", "0.1235"):
        assert content in text
    assert "Trained from scratch & without weights." in text


@pytest.mark.fault
@pytest.mark.parametrize("kind", Kind)
def test_subgroups_have_their_section_and_its_words_follow_from_them(report_of, kind) -> None:
    """Row B17: of attributes that are kept, a report shows scores, or that groups are too small."""
    report = report_of(kind)
    test = report.predictions["test"]
    assert "Subgroups" not in Page(html(report)).text
    groups = {"<i>sex</i>": ["f"] * 60 + ["m"] * 60, "site": ["here"] * 112 + ["there"] * 8}
    found = subgroups(test, groups, resamples=50)
    texts = [Page(html(replace(report, subgroups={"test": found}))).text]
    texts.append(model_card(replace(report, subgroups={"test": found})))
    for text in texts:
        assert "Every gap between a group and the others may be due to chance here." in text
        assert "differ from the others by more than chance" not in text
        assert re.search(r"too small: [a-z ]+ on (only 4|fewer than 10) patients", text)
        assert f"The intervals of all {found.gaps} gaps hold jointly at 95 %" in text
        assert ("Means are over the labels" in text) == (kind is not Kind.BINARY)
        assert "not a person's skin type" not in text
    assert "<i>sex</i>" in texts[0]


def test_a_gap_beyond_chance_is_said_first_and_skin_tone_has_its_warning(report_of) -> None:
    report = report_of(Kind.BINARY, n=400)
    test = report.predictions["test"]
    old = np.arange(400) % 4 < 2
    logits = np.where(old[:, None], test.logits, -test.logits).astype(np.float32)
    test = replace(test, logits=logits)
    groups = {"skin tone": ["light" if o else "dark" for o in old]}
    found = subgroups(test, groups, resamples=50)
    report = replace(report, predictions={"test": test}, subgroups={"test": found})
    text = Page(html(report)).text
    alarm = "2 groups differ from the others by more than chance would explain: skin tone"
    assert text.index(alarm) < text.index("Scores")
    assert "No gap between a group" not in text
    assert "not a person's skin type" in text


@pytest.mark.parametrize("kind", Kind)
def test_patients_stand_beside_their_images_with_the_rule_that_was_chosen(report_of, kind) -> None:
    report = report_of(kind)
    config = ReadoutConfig(
        calibration="none",
        operating_points=({"name": "youden"},),
        conformal=None,
        refer_share=None,
        unusual=None,
        unit=None,
    )
    fitted = fit_patients(config, report.predictions["validation"])
    test = report.predictions["test"]
    test = replace(test, readout=replace(test.readout, patients=fitted))
    patients = {"test": evaluate(by_patient(test), resamples=20)}
    report = replace(report, predictions={"test": test}, patients=patients)
    rules = {
        "mean": "the mean of",
        "maximum": "the largest of",
        "noisy_or": "the noisy-or, 1 minus",
    }
    for text in (Page(html(report)).text, model_card(report)):
        assert "By patient" in text
        assert f"The probability for a patient is {rules[fitted.rule]}" in text
        assert "this rule had the highest AUROC on the 60 in validation (mean 0." in text
        assert f"{patients['test'].find('auroc').value:.3f}" in text
    assert "By patient" not in Page(html(report_of(kind))).text


def test_all_images_are_not_called_a_split(report_of) -> None:
    report = report_of(Kind.BINARY)
    evaluation = replace(report.evaluations["test"], split="all")
    predictions = {"all": replace(report.predictions["test"], split="all")}
    report = replace(report, evaluations={"all": evaluation}, predictions=predictions)
    text = Page(html(report)).text
    assert "On 120 images of 60 patients" in text
    assert "All scores, all images" in text
    assert "all split" not in text


@pytest.mark.parametrize("kind", [Kind.MULTICLASS, Kind.MULTILABEL])
def test_hostile_class_names_stay_text(report_of, kind) -> None:
    page = Page(html(report_of(kind, names=HOSTILE)))
    assert page.open == []
    assert (page.tags.count("script"), page.tags.count("img")) == (2, 1)
    for name in HOSTILE:
        assert name in page.text


def test_certainty_is_not_called_the_probability_of_the_decision_where_it_may_not_be(
    sources,
) -> None:
    for kind, source in sources.items():
        text = Page(source).text
        another = "probability of the most probable answer"
        assert (another in text) == (kind is not Kind.MULTICLASS)
        assert text.count("which need not be the decision") == (0 if kind is Kind.MULTICLASS else 2)


def test_the_page_judges_the_bound_that_predict_refers_by(report_of) -> None:
    report = report_of(Kind.BINARY)
    test = report.predictions["test"]
    fitted = Referral(share=0.1, certainty=0.6)
    test = replace(test, readout=replace(test.readout, referral=fitted))
    readouts = {"test": evaluate_readout(test)}
    text = Page(html(replace(report, readouts=readouts))).text
    bound = readouts["test"].bound
    row = text[text.index("The bound fitted on validation, to refer 10 % there") :]
    assert f"{100 * bound.referred.value:.1f} %" in row[:80]
    assert f"{100 * bound.error.low:.1f} to {100 * bound.error.high:.1f} %" in row[:250]


def test_the_page_says_where_the_thresholds_came_from(report_of, sources) -> None:
    assert "The decision is the median grade: the lowest at" in sources[Kind.ORDINAL]
    assert "chosen on validation by Youden's index" in Page(sources[Kind.BINARY]).text
    report = report_of(Kind.BINARY)
    bare = replace(report.predictions["test"], readout=Readout())
    report = replace(
        report, predictions={"test": bare}, evaluations={"test": evaluate(bare, resamples=20)}
    )
    assert "No threshold was chosen" in html(report)


def test_the_same_report_gives_the_same_bytes_and_leaves_no_other_file(
    report_of, sources, tmp_path: Path
) -> None:
    write_pages(tmp_path, report_of(Kind.ORDINAL))
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert written == sources[Kind.ORDINAL]
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "MODEL_CARD.md"}


def test_a_page_that_cannot_be_made_leaves_the_old_one(report_of, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    broken = replace(report_of(Kind.BINARY), errors=[{"jpeg": "AA"}])
    with pytest.raises(Exception, match="image_id"):
        write_pages(tmp_path, broken)
    assert path.read_text(encoding="utf-8") == "old"


def test_the_checklists_mark_as_missing_what_the_run_does_not_know(report_of, sources) -> None:
    text = Page(sources[Kind.BINARY]).text
    assert "Best validation score, epoch 3." in text
    assert "test split was opened once" not in text  # nobody counted
    report = report_of(Kind.BINARY)
    known = scored_facts(report.run, report.evaluations["test"], report.predictions["test"])
    shown = {"Scores", "Operating points", "Confusions", "Errors", "Dataset", "Flow of images"}
    rows = filled(report.run, replace(known, sections=frozenset(shown)))
    assert sources[Kind.BINARY].count(">missing<") == sum(not row.text for row in rows)
    for name, (empty, of) in missing(rows).items():
        assert f"{empty} of {of} items of {name}" in text


def test_the_model_card_holds_the_scores_and_hostile_names_stay_text(report_of) -> None:
    report = report_of(Kind.MULTILABEL, names=HOSTILE)
    evaluation, found = report.evaluations["test"], report.readouts["test"]
    report = replace(report, title="<b>|x|", run={**report.run, "notes": ["# no"]})
    card = model_card(report)
    assert "<script>" not in card.replace("\\<script\\>", "")
    assert "# Model card: \\<b\\>\\|x\\|" in card
    auroc = evaluation.find("auroc")
    assert f"| AUROC | {auroc.value:.3f} | {auroc.low:.3f} to {auroc.high:.3f} |" in card
    assert "- \\# no" in card
    assert "To be written" in card
    assert "SHA-256 of the checkpoint | _To be" in card
    test = replace(report.predictions["test"], provenance={"checkpoint_sha256": "ab12"})
    assert "| SHA-256 of the checkpoint | ab12 |" in model_card(
        replace(report, predictions={"test": test})
    )
    point = found.points[0]
    row = next(line for line in card.splitlines() if line.startswith("| Youden's index"))
    assert f"| {point.found} | {point.missed} | {point.alarms} | {point.cleared} |" in row
    for found in (point.sensitivity, point.ppv, point.npv):
        ends = f"{100 * found.low:.1f} to {100 * found.high:.1f} %"
        assert f"{100 * found.value:.1f} % ({ends})" in row


def test_page_and_model_card_show_the_cut_points_of_kappa(report_of) -> None:
    report = report_of(Kind.ORDINAL)
    test = report.predictions["test"]
    rules = ({"name": "sensitivity", "at": 0.95}, {"name": "cost", "miss": 10, "false_alarm": 1})
    points = [fit_point(r, test.probabilities, test.targets) for r in (*rules, {"name": "kappa"})]
    test = replace(test, readout=Readout(points=tuple(points)))
    found = evaluate_readout(test)
    text = Page(html(replace(report, readouts={"test": found}))).text
    card = model_card(replace(report, readouts={"test": found}))
    (grades,) = found.grades
    for cut in (*grades.cuts, grades):
        kappa = cut.kappa
        ends = f"{kappa.low:.3f} to {kappa.high:.3f}"
        assert f"{kappa.value:.3f} {ends}" in text
        assert f"{kappa.value:.3f} ({ends})" in card
    for words in ("sensitivity of 0.95", "a miss costs 10, a false alarm 1"):
        assert words in text
        assert words in card
    assert "at=0.95" not in card


def test_a_threshold_that_no_rule_could_pick_is_not_shown_as_picked(report_of) -> None:
    report = report_of(Kind.BINARY)
    validation = report.predictions["validation"]
    healthy = fit_point(
        {"name": "youden"}, validation.probabilities, np.zeros_like(validation.targets)
    )
    test = replace(report.predictions["test"], readout=Readout(points=(healthy,)))
    found = evaluate_readout(test)
    assert (found.points[0].threshold, found.points[0].reason) == (
        0.5,
        "only one class in validation",
    )
    report = replace(report, readouts={"test": found})
    text = Page(html(report)).text
    said = "not available: only one class in validation; this one is used"
    assert f"0.5 {said}" in text
    assert f"0.5 ({said})" in model_card(report)


def test_notes_stand_under_the_table_whose_scores_they_are_about(sources) -> None:
    source = sources[Kind.MULTILABEL]
    table = source.index("<summary>All scores")
    open_notes, folded_notes = source[:table], source[table : source.index("</details>", table)]
    for part, name in ((open_notes, "note-"), (folded_notes, "note-all-")):
        marks = set(re.findall(rf'href="#{name}([a-z]+)"', part))
        assert marks
        assert marks == set(re.findall(rf'id="{name}([a-z]+)"', part))


def test_a_headline_without_an_interval_says_why(report_of) -> None:
    report = report_of(Kind.BINARY)
    few = report_of(Kind.BINARY, n=6).predictions["test"]
    source = html(replace(report, evaluations={"test": evaluate(few, resamples=20)}))
    cards = source[source.index('<ul class="headlines">') :]
    cards = cards[: cards.index("</ul>")]
    assert cards.count("<li>") == 3
    assert cards.count("available: ") == 3


def test_a_report_of_almost_nothing_is_still_a_page() -> None:
    page = Page(html(Report(title="Empty")))
    assert "nothing can be said about how good the model is" in page.text
    assert page.open == []


def test_scores_without_their_predictions_and_gaps_in_the_history_are_shown(report_of) -> None:
    report = report_of(Kind.BINARY)
    stored = {**report.stored, "history": [{"epoch": 1, "train/loss": None}]}
    report = replace(report, predictions={}, run={**report.run, "report": stored})
    source = html(report)
    assert "<h2>Curves" not in source
    assert "<h2>Training" not in source
    assert "Sensitivity" in Page(source).text


def test_a_class_that_does_not_occur_says_why_it_has_no_curve(report_of) -> None:
    report = report_of(Kind.MULTILABEL)
    test = report.predictions["test"]
    test.targets[:, 0] = 0
    report = replace(report, evaluations={"test": evaluate(test, resamples=20)})
    assert "AUROC n/a (not available: no image is positive)" in Page(html(report)).text


def whole_report(simulate, findings: int, images: int) -> Report:
    names = [f"finding {i}" for i in range(findings)]
    test = simulate(Kind.MULTILABEL, images, names=names)
    youden = fit_point({"name": "youden"}, test.probabilities, test.targets)
    test = replace(test, readout=Readout(points=(youden,)))
    return Report(
        title="Large",
        predictions={"test": test},
        evaluations={"test": evaluate(test, resamples=5)},
        readouts={"test": evaluate_readout(test)},
        run={"seed": 1},
    )


@pytest.mark.fault
def test_a_report_of_fourteen_findings_is_small_and_quick(simulate) -> None:
    """Row B14: it took 6 s and 0.9 MB when matplotlib drew it."""
    report = whole_report(simulate, 14, 2000)
    html(report)  # imports
    before = time.process_time()
    page = html(report)
    assert time.process_time() - before < 2
    assert len(page.encode()) < 350_000


@pytest.mark.fault
def test_a_page_grows_with_its_classes_and_not_with_their_square(simulate) -> None:
    """Row B14."""
    few, many = (len(html(whole_report(simulate, k, 300))) for k in (10, 40))
    assert many < 4 * few


@pytest.mark.fault
def test_a_long_report_says_how_far_it_is(
    simulate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Row B14: 110 s went by without a line."""
    monkeypatch.setattr(progress, "FIRST_LINE_AFTER_S", 0.0)
    report = whole_report(simulate, 5, 100)
    monkeypatch.setattr(progress.log, "propagate", True)
    with caplog.at_level("INFO", logger="medcnn"):
        html(report)
    assert re.search(r"report: charts of each class: 1 of 5, .* left", caplog.text)


def test_training_curves_show_both_rates_and_the_epoch_that_was_kept(sources) -> None:
    text = Page(sources[Kind.BINARY]).text
    assert "AUROC on validation, epoch 3 kept" in text
    rates = text[text.index("Learning rate") :]
    assert "body" in rates
    assert "head" in rates


@pytest.mark.fault
@pytest.mark.parametrize(("per", "counts"), [("patient", "each patient"), ("image", "each image")])
def test_sets_say_what_they_promise_and_how_many_are_empty(simulate, per, counts) -> None:
    """Rows A15, B18: the page stored the share of images, whatever was promised."""
    v = simulate(Kind.MULTICLASS, 400, seed=7)
    chosen = {"name": "split", "coverage": 0.8, "per": per, "by": None}
    p = v.readout.probabilities(v.labels, v.logits)
    fitted = fit_conformal(chosen, v.labels, p, v.targets, v.groups, None)
    test = replace(simulate(Kind.MULTICLASS, 300), readout=Readout(conformal=fitted))
    stored = evaluate_readout(test)
    text = html(
        Report(
            title="t",
            run={"report": {"group_noun": "patient"}},
            predictions={"test": test},
            evaluations={"test": evaluate(test, resamples=10)},
            readouts={"test": stored},
        )
    )
    assert f"80 % of the images of new patients, {counts} counting once" in text
    section = text[text.index("<h2>Prediction sets") :].partition("</section>")[0]
    overall, empty = stored.sets[0], stored.sets[0].empty
    assert empty > 0
    assert f'<td class="number">{empty}</td></tr>' in section
    assert "Mean over patients" in section
    assert percent(overall.by_patient.value) in section
