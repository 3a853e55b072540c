"""The page holds what was found, whole, safe and narrow enough."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from browser import CHROMIUM, browser

from medcnn.pages.audit import html, text, write_html
from medcnn.places import refuse_other_page
from medcnn.system.errors import UsageError


@pytest.fixture
def faulty(bench: Any) -> Any:
    clean = bench.make(24)
    shutil.copy(clean.root / "000.png", clean.root / "017.png")
    (clean.root / "003.png").write_bytes(b"")
    named = bench.with_record(clean, 3, image_id="<script>alert(1)</script>" + "x" * 150)
    return bench.audited(named)


def test_the_terminal_gets_lines_of_a_terminal(faulty: Any) -> None:
    said = text(faulty)
    assert max(map(len, said.splitlines())) <= 100
    assert "What to do:" in said
    assert said.splitlines()[-1] == faulty.verdict


@pytest.mark.fault
def test_the_page_needs_nothing_else_and_runs_nothing(faulty: Any) -> None:
    """Row 73."""
    page = html(faulty)
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert page.count("data:image/png;base64,") >= 2
    assert "http" not in page.replace("http-equiv", "")


def test_only_the_page_of_an_audit_is_replaced(faulty: Any, tmp_path: Path) -> None:
    path = tmp_path / "audit.html"
    refuse_other_page(path, "audit")
    write_html(path, faulty)
    refuse_other_page(path, "audit")
    path.write_text("<html>my thesis</html>")
    with pytest.raises(UsageError, match="not a page of medcnn audit"):
        refuse_other_page(path, "audit")


@pytest.mark.fault
def test_the_page_says_of_pictures_and_pseudonyms_only_what_is_so(bench: Any, faulty: Any) -> None:
    """Row A16: no pictures are announced where none stand, and no pseudonyms where no patient is
    named."""
    page = html(faulty)
    assert "keep it only where the images may be kept" in page
    assert "Patients appear under pseudonyms." in page
    clean = html(bench.audited(bench.make(24)))
    told = ("keep it only where", "appear under pseudonyms")
    assert [words in clean for words in told] == [
        "data:image/png" in clean,
        '<th scope="col">of</th>' in clean or '<th scope="col">patient</th>' in clean,
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_table_wider_than_a_phone_shows_that_it_scrolls(faulty: Any, tmp_path: Path) -> None:
    write_html(tmp_path / "audit.html", faulty)
    with browser() as page:
        page.open((tmp_path / "audit.html").as_uri())
        assert page.width_at(390) == 390
        shadows = page.run(
            "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth)"
            ".map(e => getComputedStyle(e)).map(s => [s.backgroundAttachment, s.backgroundImage])"
        )
    assert shadows
    for attachment, image in shadows:
        assert attachment == "local, local, scroll, scroll"
        assert image.count("linear-gradient") == 4
