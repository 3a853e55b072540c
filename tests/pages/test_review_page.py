from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from medcnn.pages.review_page import (
    REVIEW,
    ROOM,
    Answer,
    Receipts,
    Reviewed,
    Room,
    entry_page,
    receipts,
    result,
    review_page,
)
from medcnn.pages.way import Picture

PICTURE = Picture(name="map", uri="data:image/png;base64,AAAA", width=4, height=4)
PLAIN = Reviewed(
    answers=(
        Answer(name="no", probability=0.2, threshold=None, called=False),
        Answer(name="<yes>", probability=0.8, threshold=0.3, called=True),
    ),
    decided=("<yes>",),
    rule="the most probable class",
    image=PICTURE,
    no_map="the server was started with explain=null",
)
MAP = {"map": PICTURE, "map_by": "gradcam", "map_of": "yes", "no_map": ""}
IMAGES = {
    "plain": PLAIN,
    "unread": Reviewed(reason="the file is empty (0 bytes)"),
    "set": replace(PLAIN, wanted=0.9, per="patient", within="yes"),
    "refer": replace(PLAIN, refer=True, refer_share=0.1),
    "certain": replace(PLAIN, refer=False, refer_share=0.1),
    "usual": replace(PLAIN, verdict="usual"),
    "wrong kind": replace(PLAIN, verdict="wrong kind", mistaken=0.01),
    "other site": replace(PLAIN, verdict="other site", mistaken=0.05),
    "ensemble": replace(PLAIN, disagreement=0.25),
    "map unchecked": replace(PLAIN, **MAP),
    "map passed": replace(PLAIN, **MAP, failed=()),
    "map failed": replace(PLAIN, **MAP, failed=("weights", "outside")),
}
READ = set(IMAGES) - {"unread"}
MAPS = {"map unchecked", "map passed", "map failed"}
MADE = {
    "rule": READ,
    "strange": {"wrong kind", "other site"},
    "unwatched": READ - {"usual", "wrong kind", "other site"},
    "map": MAPS,
    "no map": READ - MAPS,
}


def test_a_disagreement_is_said_to_be_a_standard_deviation_with_its_largest_value() -> None:
    at_odds = replace(PLAIN, disagreement=float(np.std([0.0, 1.0])))
    assert "0.500 (standard deviation of their probabilities, 0 to 0.5)" in REVIEW[
        "ensemble"
    ].words(at_odds)


def test_a_prediction_set_promises_no_more_than_it_was_made_for() -> None:
    told = REVIEW["set"].words(IMAGES["set"])
    assert told == (
        "Prediction set: yes. Sets should contain the true answer for 90 % of the images of new "
        "patients, each patient counting once."
    )
    by_image = replace(IMAGES["set"], per="image", findings=True)
    assert (
        REVIEW["set"]
        .words(by_image)
        .endswith("each image counting once, and do so for each finding by itself.")
    )


@pytest.mark.fault
@pytest.mark.parametrize("name", REVIEW)
def test_a_sentence_about_an_image_is_made_by_its_facts_and_not_by_others(name: str) -> None:
    """Row A13."""
    made = {case for case, of in IMAGES.items() if REVIEW[name].words(of)}
    assert made == MADE.get(name, {name})
    for case in made:
        text = REVIEW[name].words(IMAGES[case])
        assert text.endswith(".")
        assert not re.search(r"\b(nan|None)\b", text), text


SERVER = Room(
    title="Review <images>",
    model="resnet18: no, <yes>",
    classes=("no", "<yes>"),
    several=False,
    keeps_images=False,
    most_mb=200,
)
ROOMS = {
    "forgets": SERVER,
    "keeps": replace(SERVER, keeps_images=True),
    "exported": replace(SERVER, lacks="an exported file answers here"),
}
OF_SERVER = {"local": {"forgets", "exported"}, "local, kept": {"keeps"}, "no maps": {"exported"}}


@pytest.mark.fault
@pytest.mark.parametrize("name", ROOM)
def test_a_sentence_about_the_server_is_made_by_its_settings(name: str) -> None:
    """Row A13."""
    made = {case for case, of in ROOMS.items() if ROOM[name].words(of)}
    assert made == OF_SERVER.get(name, set(ROOMS))


def test_the_page_says_first_that_it_is_no_medical_device_and_escapes_names() -> None:
    page, digest = review_page(SERVER)
    assert page.index("Not a medical device.") < page.index('id="drop"')
    assert f"script-src {digest}; connect-src 'self'" in page
    assert "default-src 'none'" in page
    assert "Review &lt;images&gt;" in page
    assert "<yes>" not in page
    assert 'type="password"' in entry_page("Review")[0]


def test_the_result_names_the_decision_the_threshold_and_what_an_answer_may_be() -> None:
    html = result(IMAGES["map failed"], SERVER)
    assert '<p class="verdict">&lt;yes&gt;</p>' in html
    assert "called from 30.0 %" in html
    assert html.count('type="radio"') == 2
    assert html.index("Do not interpret the map.") < html.index("by Grad-CAM")
    assert result(PLAIN, replace(SERVER, several=True)).count('type="checkbox"') == 2
    assert "button" not in result(IMAGES["unread"], SERVER)


def test_failures_of_the_receiver_are_a_table_and_their_reasons_stay_text() -> None:
    counts = {"waiting": 1, "sent": 1200, "failed": 0}
    html = receipts(Receipts(counts=counts, failures=[("09:00", "image-1", 3, "<b>refused")]))
    assert "1,200 images" in html
    assert "&lt;b&gt;refused" in html
    assert "<table" not in receipts(Receipts(counts=counts, failures=[]))
