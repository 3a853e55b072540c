"""The report as a reader has it: in a real browser, without a network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import CHROMIUM, Browser, browser

from medcnn.data.labels import Kind
from medcnn.pages.report import Report, write_pages
from medcnn.statistics.shares import predictive_values

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

HOSTILE = (
    "<script>document.title='run'</script>",
    "</script><img src=http://x.invalid/a>",
    "日本 & b",
)


@pytest.fixture(scope="module")
def shown(report_of: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser with the report of findings with hostile names, and that report."""
    folder = tmp_path_factory.mktemp("page")
    report: Report = report_of(Kind.MULTILABEL, names=HOSTILE)
    write_pages(folder, report)
    with browser() as page:
        page.open((folder / "report.html").as_uri())
        yield page, report


def text(page: Browser, element: str) -> str:
    return str(page.run(f"document.getElementById('{element}').textContent"))


def test_nothing_is_asked_of_the_network_and_nothing_complains(shown: Any) -> None:
    page, _ = shown
    assert page.errors == []
    assert len(page.requests) == 1
    assert page.requests[0].startswith("file://")


def test_hostile_names_stay_text(shown: Any) -> None:
    page, report = shown
    assert page.run("document.title") == report.title
    assert page.run("document.querySelectorAll('script').length") == 2
    assert page.run("document.querySelectorAll('img[src^=http]').length") == 0
    options = page.run(
        "[...document.querySelectorAll('#cut-label option')].map(o => o.textContent)"
    )
    assert options == list(HOSTILE)


def test_the_slider_shows_the_numbers_that_python_counts(shown: Any) -> None:
    page, report = shown
    predictions = report.predictions["test"]
    for k in range(len(HOSTILE)):
        page.run(
            f"(e => {{ e.value = '{k}'; e.dispatchEvent(new Event('change')) }})"
            "(document.getElementById('cut-label'))"
        )
        last = int(page.run("document.getElementById('cut-slider').max"))
        for step in (0, last // 3, 2 * last // 3, last):
            page.run(
                f"(e => {{ e.value = '{step}'; e.dispatchEvent(new Event('input')) }})"
                "(document.getElementById('cut-slider'))"
            )
            threshold = page.run(
                f"JSON.parse(document.getElementById('cuts').textContent)[{k}].thresholds[{step}]"
            )
            positive = predictions.targets[:, k] == 1
            called = predictions.probabilities[:, k] >= threshold
            counts = [
                int((positive & called).sum()),
                int((positive & ~called).sum()),
                int((~positive & called).sum()),
                int((~positive & ~called).sum()),
            ]
            cells = ("cut-found", "cut-missed", "cut-alarms", "cut-cleared")
            assert [int(text(page, cell)) for cell in cells] == counts
            shares = (called[positive].mean(), (~called)[~positive].mean())
            prevalence = float(page.run("document.getElementById('cut-prevalence').value")) / 100
            values = (*shares, *predictive_values(*map(float, shares), prevalence))
            places = ("cut-sensitivity", "cut-specificity", "cut-ppv", "cut-npv")
            for place, value in zip(places, values, strict=True):
                wanted = "n/a" if np.isnan(value) else pytest.approx(100 * value, abs=0.0501)
                found = text(page, place)
                assert (found if found == "n/a" else float(found.removesuffix(" %"))) == wanted


@pytest.mark.parametrize("typed", ["150", "-5", "100.01", "", "e"])
def test_an_impossible_prevalence_gives_no_predictive_values(shown: Any, typed: str) -> None:
    page, _ = shown

    def type_in(value: str) -> list[str]:
        page.run(
            f"(e => {{ e.value = '{value}'; e.dispatchEvent(new Event('input')) }})"
            "(document.getElementById('cut-prevalence'))"
        )
        return [text(page, place) for place in ("cut-ppv", "cut-npv", "cut-sensitivity")]

    page.run(
        "(e => { e.value = e.max >> 1; e.dispatchEvent(new Event('input')) })"
        "(document.getElementById('cut-slider'))"
    )
    assert type_in("100")[0] == "100.0 %"
    assert type_in("0")[:2] == ["0.0 %", "100.0 %"]
    ppv, npv, sensitivity = type_in(typed)
    assert (ppv, npv) == ("n/a", "n/a")
    assert sensitivity.endswith(" %")
    type_in("10")


def test_the_keyboard_reaches_and_moves_everything(shown: Any) -> None:
    page, _ = shown
    page.run("document.activeElement.blur(), window.scrollTo(0, 0)")
    reached = set()
    for _step in range(60):
        page.press("Tab", 9)
        reached.add(page.run("document.activeElement.id || document.activeElement.tagName"))
    assert {"cut-label", "cut-slider", "cut-prevalence", "SUMMARY"} <= reached
    page.run("document.getElementById('cut-slider').focus()")
    page.run("document.getElementById('cut-slider').value = 0")
    page.press("ArrowRight", 39)
    assert int(page.run("document.getElementById('cut-slider').value")) == 1
    assert text(page, "cut-threshold") == page.run(
        "JSON.parse(document.getElementById('cuts').textContent)"
        "[document.getElementById('cut-label').value].thresholds[1].toPrecision(3)"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(shown: Any, scheme: str) -> None:
    page, _ = shown
    assert page.hard_to_read(scheme) == []


@pytest.mark.parametrize("width", [360, 1200])
def test_no_page_is_wider_than_a_phone(shown: Any, width: int) -> None:
    page, _ = shown
    assert page.width_at(width) <= width


def test_paper_holds_all_tables_whole_and_what_was_folded_but_no_slider(shown: Any) -> None:
    page, _ = shown
    page.run("document.querySelectorAll('details').forEach(d => d.open = false)")
    assert page.lost_on_paper() == []
    folded = page.run(
        "[...document.querySelectorAll('details')].map(d => "
        "d.querySelector('table, pre').checkVisibility({contentVisibilityAuto: true}) "
        "&& d.querySelector('table, pre').getBoundingClientRect().height > 20)"
    )
    assert len(folded) > 3
    assert all(folded)
    assert page.run("document.getElementById('cut-found').checkVisibility()") is False
    page.call("Emulation.setEmulatedMedia", media="")


def test_paper_breaks_no_short_name(report_of: Any, tmp_path: Path) -> None:
    write_pages(tmp_path, report_of(Kind.MULTILABEL, names=("melanoma", "basal_cell", "nevus")))
    with browser() as page:
        page.open((tmp_path / "report.html").as_uri())
        assert page.lost_on_paper() == []
