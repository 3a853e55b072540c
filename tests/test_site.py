"""The documentation as a site: it builds, its references are complete, its blocks are understood.

Blocks of docs/python.md run in tests/test_api.py, those of CONTRIBUTING.md in test_contributing.py.
"""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from PIL import Image

import medcnn
from medcnn.cli.help import settings
from medcnn.verbs import VERBS, verb_of
from tests.command import run

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if p.parent.name != "decisions")


def script() -> ModuleType:
    """scripts/site.py, which is called as the `site` of Python is no more."""
    spec = importlib.util.spec_from_file_location("medcnn_site", TOP / "scripts" / "site.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SITE = script()
WITH_YAML = [verb for verb in VERBS if (TOP / "configs" / f"{verb}.yaml").is_file()]


@pytest.mark.parametrize("verb", WITH_YAML)
def test_every_setting_has_a_type_a_default_and_a_meaning(verb: str) -> None:
    rows = SITE.of_verb(verb)
    assert [row.key for row in rows] == [*settings(verb, TOP / "configs")]
    assert [row.key for row in rows if not (row.type and row.default and row.meaning)] == []
    told = SITE.settings_page()
    assert [row.key for row in rows if f"| `{row.key}` |" not in told] == []


@pytest.mark.parametrize("verb", WITH_YAML)
def test_no_setting_of_a_command_is_left_out(verb: str) -> None:
    """But names of choices, words without a key, and what other settings decide."""
    shown = {row.key for row in SITE.of_verb(verb)}
    left = {key for key, _ in SITE.kinds(verb_of(verb).config)} - shown
    inner = {"moved", "sweep.space", verb_of(verb).rest}
    inner |= {"checkpoint"} if verb != "finetune" else set()
    assert {key for key in left if not key.endswith(".name")} <= inner


@pytest.mark.parametrize("group", SITE.GROUPS)
def test_every_option_of_a_choice_has_a_meaning(group: str) -> None:
    for name, rows in SITE.of_group(group).items():
        assert [row.key for row in rows if not (row.type and row.meaning)] == [], name


def test_a_type_names_its_range() -> None:
    kinds = dict(SITE.kinds(verb_of("train").config))
    assert kinds["trainer.epochs"] == "whole number, at least 1"
    assert kinds["trainer.swa_from"] == "number, 0 to 0.99, or null"
    assert kinds["trainer.precision"] == "auto, fp32, bf16, fp16"
    assert kinds["audit.copies"] == "true or false"


def test_every_public_name_is_on_the_page_of_python_with_its_docstring() -> None:
    page = SITE.python_page()
    for name in medcnn.__all__:
        first = (getattr(medcnn, name).__doc__ or "").strip().splitlines()[0]
        assert f"## {name}\n" in page
        assert first in page, name


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="pip install medcnn[docs]")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(TOP / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    made = {p.relative_to(tmp_path).with_suffix("").as_posix() for p in tmp_path.rglob("*.html")}
    pages = {p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md")}
    assert pages | {"reference/settings", "reference/python", "project/contributing"} <= made
    notebook = (tmp_path / "project" / "first_steps.html").read_text(encoding="utf-8")
    assert "medcnn.compare(run, other)" in html.unescape(re.sub(r"<.*?>", "", notebook))
    assert 'href="project/first_steps.html"' in (tmp_path / "python.html").read_text("utf-8")


LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    made = SITE.pages()
    for target, _ in LINK.findall(page.read_text(encoding="utf-8")):
        if not re.match(r"\w+:", target):
            place = (page.parent / target).resolve()
            there = place.exists() or place.relative_to(DOCS).as_posix() in made
            assert there, target


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each block; those that are indented have none."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return fenced + [("", block) for block in re.findall(r"(?:^    .*\n)+", rest, re.MULTILINE)]


def lines(block: str) -> list[str]:
    """Commands, without comments and with their continuations."""
    joined = re.sub(r"\\\n\s*", "", block)
    return [re.sub(r"\s+# .*", "", line).strip() for line in joined.splitlines() if line.strip()]


# Why lines of shell in the documentation are not run by a test.
NOT_RUN = {
    r"(nice -n 19 )?python (benchmarks|scripts)/": "measures or draws for minutes",
    r"\.venv/bin/pip install": "installs; README's own lines are what .ci/run does",
    r"torchrun |srun |touch |\[ |#SBATCH|sleep |wait|scontrol ": "needs a cluster or several GPUs",
    r"pytest ": "is a test",
    r"cd exported|python run\.py": "goes on from an export; tests/verbs/test_export.py does",
}
COMMANDS = {
    line: page.relative_to(TOP).as_posix()
    for page in PAGES
    for language, block in blocks(page)
    if language in ("", "sh")
    for line in lines(block)
    if line.startswith("medcnn ")
}
HOSPITAL = re.findall(r"```yaml\n(.*?)```", (TOP / "README.md").read_text("utf-8"), re.DOTALL)[0]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_documentation_is_understood(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("my-configs", "conf"):
        (tmp_path / folder / "data").mkdir(parents=True)
        for name in ("my_hospital", "other_hospital", "clinic", "covid", "ham_off", "ham_face"):
            (tmp_path / folder / "data" / f"{name}.yaml").write_text(HOSPITAL, "utf-8")
    words = [word for word in shlex.split(line)[1:] if word != "..."]
    if words[0] == "finetune" and "..." in shlex.split(line):
        words += ["best.safetensors", "data=my_hospital"]
    if words[0] in ("init", "list"):
        return  # tests/cli/test_init.py and tests/verbs run them; they have no settings to show
    if re.search(r"loss=tversky", line):
        return  # of the plug-in in examples/, with which tests/verbs/test_plugins.py runs it
    if "data=my_hospital" in words and "--config-dir" not in words:
        words += ["--config-dir", "my-configs"]
    if "hydra/launcher" in line:
        pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    assert run(*words, "--show-config") == 0, COMMANDS[line]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_line_of_shell_is_a_command_or_has_a_reason_why_no_test_runs_it(page: Path) -> None:
    shell = [line for language, block in blocks(page) if language == "sh" for line in lines(block)]
    left = [line for line in shell if not line.startswith("medcnn ")]
    assert [line for line in left if not any(re.match(why, line) for why in NOT_RUN)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_blocks_of_other_languages_can_be_read(page: Path) -> None:
    for language, block in blocks(page):
        if language == "yaml":
            assert isinstance(yaml.safe_load(block), dict)
        elif language == "toml":
            tomllib.loads(block)
        elif language == "json":
            json.loads(re.sub(r"\.\.\.", "", block))
        elif language == "python":
            assert page.name == "python.md"  # whose blocks tests/test_api.py runs
        else:
            assert language in ("", "sh", "text")


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-images").mkdir()
    rows = ["file,label,patient"]
    for n in range(24):
        noise = np.random.default_rng(n).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "my-images" / f"{n}.png")
        rows.append(f"{n}.png,{'ab'[n % 2]},p{n // 2}")
    (tmp_path / "my-images" / "labels.csv").write_text("\n".join(rows))
    tutorial = [b for language, b in blocks(DOCS / "tutorial.md") if language == "sh"]
    for line in (line for block in tutorial for line in lines(block)):
        more = ["trainer.device=cpu", "trainer.threads=1"] if " train " in line else []
        assert run(*shlex.split(line)[1:], *more) == 0, line
    for name in ("audit.html", "runs/tutorial/report.html", "predictions.csv", "plan/plan.html"):
        assert (tmp_path / name).is_file()
