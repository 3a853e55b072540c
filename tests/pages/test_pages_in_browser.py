"""Pages as their reader has them: in a browser, light and dark, on a phone and on paper.

The report, the audit and the page of `serve` have tests of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import test_comparison_page
from browser import CHROMIUM, Browser, browser
from test_crossvalidation_page import crossed_of
from test_curve_page import arm_of, curves_of, rising
from test_external_page import external_of
from test_hospital_page import CASES
from test_monitor_page import MONTHS
from test_plan_page import PLANS
from test_robustness_page import robust_of

from medcnn.data.labels import Kind
from medcnn.pages.crossvalidation_page import crossvalidation_page
from medcnn.pages.curve_page import curve_page
from medcnn.pages.external_page import external_page
from medcnn.pages.hospital_page import hospital_page
from medcnn.pages.monitor_page import monitor_page
from medcnn.pages.plan_page import plan_page
from medcnn.pages.robustness_page import robustness_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def shown() -> Iterator[Browser]:
    with browser() as page:
        yield page


def three_arms() -> str:
    one = curves_of()
    more = (arm_of(rising(level), name) for level, name in ((0.8, "scratch"), (0.95, "full")))
    return curve_page(replace(one, arms=(*one.arms, *more)), ["a note"])


PAGES = {
    "comparison": lambda draw: test_comparison_page.page(draw, test_comparison_page.SURELY_WORSE),
    "crossvalidation": lambda draw: crossvalidation_page(crossed_of(draw(Kind.BINARY, 60)), []),
    "external": lambda draw: external_page(external_of(draw), "a title", ["a note"]),
    "learning curve": lambda _: three_arms(),
    "monitor": lambda _: monitor_page(MONTHS["look"]),
    "new hospital": lambda _: hospital_page(next(iter(CASES.values())), "a title", ["a note"]),
    "plan": lambda _: plan_page(PLANS["slope"]),
    "robustness": lambda draw: robustness_page(robust_of(draw), "a title", ["a note"]),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_in_light_and_dark_on_a_phone_and_on_paper(
    name: str, shown: Browser, simulate: Any, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text(PAGES[name](simulate), encoding="utf-8")
    shown.requests.clear()
    shown.call("Emulation.setEmulatedMedia", media="")
    shown.open(file.as_uri())
    assert [shown.hard_to_read(scheme) for scheme in ("light", "dark")] == [[], []]
    for width_px in (360, 1200):
        assert shown.width_at(width_px) <= width_px
    assert shown.lost_on_paper() == []
    assert shown.errors == []
    assert shown.requests == [file.as_uri()]
