"""What the README says is computed from the code, or shown by a test, or not said.

Every sentence of it has a row in `CLAIMS`: words that the code gives and that must stand in it, and
tests that show what it promises. Besides, every number in a sentence must be among those words, and
everything that is set in code type must exist.
"""

from __future__ import annotations

import ast
import math
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import medcnn
from medcnn.audit.checks import CHECKS
from medcnn.cli import VERBS
from medcnn.cli.help import general, settings
from medcnn.cli.words import SHORT
from medcnn.data.adapters import DATASETS
from medcnn.data.manifest import Modality
from medcnn.data.own.sheets import TABLE_SUFFIXES
from medcnn.images.steps import CHAINS
from medcnn.models.backbone_names import CLASSIC_NAMES, backbone_names
from medcnn.statistics.intervals import LEVEL
from medcnn.system import errors
from medcnn.system.plugins import GROUPS
from medcnn.system.run_folder import RunFolder
from medcnn.verbs.list import LISTS

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONFIGS = TOP / "configs"
NUMBERS = {15: "Fifteen", 16: "Sixteen", 17: "Seventeen", 18: "Eighteen", 19: "Nineteen"}
NUMBERS |= {20: "Twenty", 21: "Twenty-one", 22: "Twenty-two", 23: "Twenty-three"}


def sentences(readme: str) -> list[str]:
    """Of the running text, without headings, tables and blocks of code."""
    text = re.sub(r"```.*?```", "\n\n", readme, flags=re.DOTALL)
    parts = [" ".join(p.split()) for p in text.split("\n\n") if p.strip() and p[0] not in "#|"]
    return [s for part in parts for s in re.split(r"(?<=[.:!?]) (?=[A-Z`\[])", part)]


@cache
def names_of_tests() -> frozenset[str]:
    """Functions that pytest would run."""
    trees = (ast.parse(p.read_text(encoding="utf-8")) for p in TOP.glob("tests/**/test_*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    return frozenset(n.name.removeprefix("test_") for n in nodes if isinstance(n, ast.FunctionDef))


@cache
def all_settings() -> dict[str, str]:
    """Settings of any command, with their defaults."""
    found: dict[str, str] = {}
    for verb in VERBS:
        if (CONFIGS / f"{verb}.yaml").is_file():
            found = {k: v for k, (v, _) in settings(verb, CONFIGS).items()} | found
    options = {option for name in DATASETS for option in DATASETS.options(name)}
    more = [*SHORT, *(f"data.{option}" for option in options)]
    return found | dict.fromkeys(more, "")


def modalities() -> Iterator[str]:
    names = {
        Modality.FUNDUS: "fundus photographs",
        Modality.DERMOSCOPY: "dermoscopic images",
        Modality.CHEST: "chest radiographs",
    }
    return (names[m] for m in Modality if m is not Modality.OTHER)


def pythons() -> Iterator[str]:
    versions = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if ":: 3." in c]
    low, high = re.fullmatch(r">=([\d.]+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert (low, int(high) - 1) == (versions[0], int(versions[-1].split(".")[1]))
    yield f"Python {versions[0]} ({' and '.join(versions[1:])} should do)"


def measured() -> Iterator[str]:
    """Of the demo in docs/results.md, rounded up."""
    results = (TOP / "docs" / "results.md").read_text(encoding="utf-8")
    demo = results[results.index("## Demo of the README") :]
    seconds = int(re.search(r"evaluation\s+and report in (\d+) s", demo)[1])
    yield f"about {10 * math.ceil(seconds / 10)} s"
    yield f"about {float(re.search(r'packages take ([0-9.]+) GB', demo)[1]):.0f} GB"


def machine() -> Iterator[str]:
    """The machine of docs/results.md, and the systems that the package names."""
    results = (TOP / "docs" / "results.md").read_text(encoding="utf-8")
    processor, python = re.search(
        r"shared (\S+) cores.*?Python (3\.\d+)", results, re.DOTALL
    ).groups()
    systems = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if c.startswith("Operating")]
    yield f"Tested on {', '.join(systems)} ({processor}), with Python {python}."


def checks() -> Iterator[str]:
    words = {
        "groups": "a patient",
        "pixels": "the same pixels in two splits",
        "copies": "copies",
        "labels": "an image with two labels",
        "files": "damaged files",
        "columns_tell": "from the table",
        "border_tells": "the border alone",
    }
    return (says for name, says in words.items() if name in CHECKS)


def public_sets() -> Iterator[str]:
    public = [name for name, dataset in DATASETS.items() if dataset.public]
    yield f"{NUMBERS[len(public)]} public sets"
    if "medmnist" in DATASETS:
        yield "2-D MedMNIST"


def classics() -> Iterator[str]:
    names = {"lenet5": "LeNet-5", "alexnet": "AlexNet", "googlenet": "GoogLeNet"}
    assert set(names) == set(CLASSIC_NAMES)
    yield ", ".join(list(names.values())[:-1]) + f" and {names['googlenet']}"
    assert len(backbone_names()) > 500
    yield "Any of timm's networks"


def default_weights() -> Iterator[str]:
    if all_settings()["model.weights"] == "auto":
        yield "`model.weights=auto` (the default)"


def exit_codes() -> Iterator[str]:
    named = {
        errors.MedcnnError: "failed",
        errors.UsageError: "wrong usage or setting",
        errors.DivergedError: "training diverged",
        errors.DataError: "data refused",
        errors.StoppedError: "stopped",
    }
    yield ", ".join(["0 done", *(f"{e.exit_code} {says}" for e, says in named.items())])
    yield " ".join(re.search(r"exit codes: (.*?75 stopped)", general(), re.DOTALL)[1].split())


def files() -> Iterator[str]:
    run = RunFolder(Path("run"), {}, finished=False)
    for place in (run.report, run.metrics, run.events, run.path / "run.json"):
        yield place.name
    yield "MODEL_CARD.md"


def tables() -> Iterator[str]:
    names = {".csv": "CSV", ".xlsx": "Excel", ".parquet": "Parquet"}
    return (name for suffix, name in names.items() if suffix in TABLE_SUFFIXES)


def door() -> Iterator[str]:
    words = {"train": "Training", "read_manifest": "data sets", "evaluate": "scores"}
    words |= {"compare": "comparisons", "torch_dataset": "data sets"}
    return (says for name, says in words.items() if name in medcnn.__all__)


def lists() -> Iterator[str]:
    return (f"`medcnn list {name}`" for name in LISTS if name == "datasets")


def steps() -> Iterator[str]:
    return (f"`{name}`" for name in CHAINS if name in ("dermoscopy", "chest"))


@dataclass(frozen=True)
class Claim:
    """Attributes:
    begins: how the sentence begins.
    shown: tests that show what it promises.
    words: what the code makes of it.
    """

    begins: str
    shown: tuple[str, ...] = ()
    words: Callable[[], Iterator[str]] = lambda: iter(())


COMMANDS = ("every_command_of_the_readme_is_understood",)
LINES = ("the_readme_opens_with_two_lines_that_train_and_a_line_that_tests",)
CLAIMS = (
    Claim("Train, evaluate and fine-tune CNNs", words=modalities),
    Claim("On a machine with Python", LINES, pythons),
    Claim("It creates an environment", LINES),
    Claim(
        "The next line starts from ImageNet weights",
        (*LINES, "pictures_get_their_class_of_imagenet", "the_packages_are_those_of_the_extra"),
    ),
    Claim("And this runs the tests", LINES),
    Claim("Tested on", words=machine),
    Claim(
        "Training and prediction need nothing",
        ("a_run_and_its_predictions_are_the_same_where_nothing_of_unix_is",),
    ),
    Claim("Install from a checkout only", words=lambda: iter([f"`{PROJECT['name']}`"])),
    Claim("Installation takes a few minutes", words=measured),
    Claim("Below, `medcnn` stands", words=lambda: (f"bin/{s}`" for s in PROJECT["scripts"])),
    Claim("You have a folder of images", ("phantoms_are_read_like_any_table",)),
    Claim("CSV, Excel or Parquet", words=tables),
    Claim("looks at both", ("a_yaml_is_never_overwritten_and_its_place_can_be_named",)),
    Claim("Or write it yourself", COMMANDS),
    Claim("`audit` writes one page", ("an_audit_writes_one_page_and_replaces_it",), checks),
    Claim(
        "Anything that would invalidate",
        words=lambda: iter([f"(exit code {errors.DataError.exit_code})"]),
    ),
    Claim(
        "An unusable image is never",
        (
            "unreadable_images_are_named_with_their_reason_and_never_replaced",
            "a_run_folder_with_other_settings_or_other_files_is_not_overwritten",
            "only_the_page_of_an_audit_is_replaced",
            "a_page_that_exists_is_not_overwritten",
            "evaluating_twice_overwrites_nothing",
        ),
    ),
    Claim("More in [docs/your-data.md]", ("every_link_of_the_readme_leads_somewhere",)),
    Claim(
        "Names of patients become pseudonyms",
        ("whoever_is_left_out_by_any_column_has_a_pseudonym",),
    ),
    Claim("On a machine with the data", COMMANDS),
    Claim("`medcnn preview data=my_hospital", COMMANDS),
    Claim("`data.steps=fundus` finds the disc", ("steps_go_to_json_and_back",), steps),
    Claim(
        "Some formats need an extra",
        ("a_missing_extra_is_answered_with_the_line_that_installs_it",),
    ),
    Claim(
        "Images are decoded once",
        (
            "the_second_run_reads_the_cache_and_decodes_nothing",
            "a_build_that_is_killed_goes_on_where_it_was",
            "a_damaged_or_foreign_cache_is_noticed_and_rebuilt",
        ),
    ),
    Claim(
        "Without a root, each runs",
        ("every_recipe_runs_on_phantoms_and_is_the_default_but_for_size_and_steps",),
    ),
    Claim(
        "Nineteen public sets", ("the_table_of_the_documentation_is_that_of_the_code",), public_sets
    ),
    Claim("`medcnn list datasets`", words=lists),
    Claim("Any of timm's networks", words=classics),
    Claim(
        "`model.weights=auto`",
        (
            "pretrained_weights_that_do_not_fit_never_end_a_run_under_auto",
            "without_network_pretrained_says_what_to_do_within_seconds",
            "real_pretrained_weights_are_loaded_from_a_file",
            "a_file_that_would_run_code_is_refused",
            "pictures_get_their_class_of_imagenet",
            "a_folder_of_timm_gives_weights_normalisation_and_licence",
            "a_file_of_torchvision_gives_torchvisions_features",
            "a_whole_densenet_of_torchxrayvision_comes_with_its_range_of_pixels",
            "transformers_of_other_libraries_are_found",
            "the_licence_of_known_weights_is_named_once",
        ),
        default_weights,
    ),
    Claim(
        "`medcnn finetune` continues",
        ("finetune_keeps_the_head_rows_of_classes_with_the_same_name",),
    ),
    Claim(
        "`medcnn probe` fits",
        (
            "a_logistic_probe_leaves_a_checkpoint_that_predicts_what_it_did",
            "nearest_neighbours_leave_predictions_and_no_features_of_patients",
        ),
    ),
    Claim(
        "`medcnn inspect` shows",
        (
            "networks_stand_side_by_side_in_the_terminal_on_a_page_and_in_a_table",
            "multiply_adds_are_half_of_what_torchs_counter_counts",
            "what_a_position_sees_is_what_the_gradient_reaches",
        ),
    ),
    Claim(
        "`predict` says which images",
        (
            "images_of_another_kind_are_flagged_in_their_row",
            "it_says_when_to_look_and_when_not",
        ),
    ),
    Claim(
        "`export` writes",
        (
            "predict_says_the_same_of_an_exported_file_as_of_its_checkpoint",
            "a_file_whose_answers_differ_from_its_checkpoints_is_not_left_behind",
            "monai_loads_the_bundle_and_finds_the_logits",
            "timm_loads_the_folder_and_finds_the_logits",
        ),
    ),
    Claim(
        "With `dicom=FOLDER`",
        (
            "each_dicom_gets_its_objects_and_every_other_file_its_reason",
            "an_archive_keeps_every_element_and_files_them_with_the_image",
        ),
    ),
    Claim(
        "A package of your own can add",
        (
            "a_package_of_ones_own_trains_evaluates_and_predicts",
            "a_plugin_is_known_by_name_and_imported_when_it_is_chosen",
        ),
        lambda: (
            {"datasets": "data sets", "steps": "preprocessing steps"}.get(g, g) for g in GROUPS
        ),
    ),
    Claim("`trainer.dry_run=true` says", ("a_dry_run_says_what_a_run_costs_and_leaves_no_folder",)),
    Claim("After a kill", ("a_kill_at_any_moment_of_a_save_leaves_a_state_that_can_be_read",)),
    Claim(
        "The weights equal those",
        (
            "a_killed_run_ends_with_the_same_weights_to_the_bit",
            "the_weights_are_those_of_one_process_up_to_rounding",
        ),
    ),
    Claim(
        "`train -m` trains one run", ("each_combination_is_a_run_and_the_worst_exit_code_counts",)
    ),
    Claim("`sweep` (", ("a_sweep_that_was_killed_comes_to_the_same_trials_and_never_opens_test",)),
    Claim(
        "`compare` shows by how much",
        ("runs_are_compared_in_the_terminal_on_a_page_and_in_json",),
    ),
    Claim(
        "`crossvalidate` trains one model",
        ("every_image_is_tested_once_by_a_model_that_never_saw_its_patient",),
    ),
    Claim("`plan` says", ("a_plan_is_printed_on_a_page_and_in_json",)),
    Claim(
        "`learning-curve` estimates how many",
        ("intervals_of_the_number_and_the_band_hold_in_simulations",),
    ),
    Claim("`readers` compares", ("a_reader_study_is_printed_on_a_page_and_in_json",)),
    Claim("A checkpoint is one safetensors", ("the_file_is_weights_and_json_and_nothing_else",)),
    Claim("Everything fitted on validation", ("the_page_judges_the_bound_that_predict_refers_by",)),
    Claim("Classes are matched by name", ("classes_are_matched_by_name_and_never_by_position",)),
    Claim(
        "`finetune` keeps the head's rows",
        (
            "finetune_keeps_the_head_rows_of_classes_with_the_same_name",
            "what_there_is_to_choose_from_are_predictions_of_the_same_images",
        ),
    ),
    Claim("`report` rebuilds", ("a_report_is_made_again_without_torch",)),
    Claim(
        "`robustness` makes the images",
        ("every_grade_of_every_kind_is_on_the_page_in_the_table_and_in_the_terminal",),
    ),
    Claim("Training, data sets, features", ("python_says_what_the_command_says_to_the_bit",), door),
    Claim("[docs/python.md]", ("every_link_of_the_readme_leads_somewhere",)),
    Claim("A run folder with", words=files),
    Claim(
        "Every score has its count",
        words=lambda: iter([f"{100 * LEVEL:.0f} % interval that treats patients, not images"]),
    ),
    Claim("A stopped run", ("a_killed_run_ends_with_the_same_weights_to_the_bit",)),
    Claim("All settings of a command", COMMANDS),
    Claim("`medcnn train --show-config`", COMMANDS),
    Claim("Exit codes", words=exit_codes),
    Claim("Not a medical device"),
    Claim(
        "[Tutorial]",
        ("every_link_of_the_readme_leads_somewhere",),
        lambda: iter([PROJECT["license"]]),
    ),
)


def exists(span: str) -> bool:
    """Whether what is set in code type is something of this project."""
    span = span.removeprefix(".venv/bin/")
    if span.startswith("pip install"):
        extras = re.search(r"\[(.*?)\]", span)[1].split(",")
        return set(extras) <= set(PROJECT["optional-dependencies"])
    if " " in span:
        command, *words = span.removeprefix("medcnn ").split()
        given = (w.partition("=")[0] for w in words if "=" in w)
        return command in VERBS and all(key in all_settings() for key in given)
    if "=" in span:
        return span.partition("=")[0] in all_settings()
    known = {PROJECT["name"], *VERBS, *PROJECT["optional-dependencies"], *CHAINS, *files()}
    known |= {"pretrained", "auto", ".safetensors", ".pth"}  # words of model.weights
    return span.rstrip("/") in known


def faults(readme: str) -> Iterator[str]:
    """What the README says and the code does not."""
    said = sentences(readme)
    for claim in CLAIMS:
        found = [s for s in said if s.startswith(claim.begins)]
        if len(found) != 1:
            yield f"{len(found)} sentences begin with {claim.begins!r}"
        words = list(claim.words())
        yield from (f"{s!r} lacks {w!r}" for s in found for w in words if w not in s)
        yield from (
            f"no test shows {name!r}" for name in claim.shown if name not in names_of_tests()
        )
        for sentence in found:
            prose = re.sub(r"`[^`]*`|\([^()]*\.md[^()]*\)", "", sentence)
            computed = set(re.findall(r"\d+", " ".join(words)))
            left = [n for n in re.findall(r"\d+", prose) if n not in computed]
            yield from (f"nothing gives {n} in {sentence!r}" for n in left)
    for sentence in said:
        if not any(sentence.startswith(claim.begins) for claim in CLAIMS):
            yield f"nothing bears out {sentence!r}"
        yield from (f"no {span}" for span in re.findall(r"`([^`]*)`", sentence) if not exists(span))
    for extra in re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE):
        if extra not in PROJECT["optional-dependencies"]:
            yield f"no extra {extra}"


def test_the_readme_says_nothing_that_the_code_does_not_bear_out() -> None:
    assert list(faults(README)) == []


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("(x86-64), with Python 3.11", "(x86-64), with Python 3.12"),
        ("Nineteen public sets", "Twenty public sets"),
        ("`trainer.dry_run=true`", "`trainer.rehearse=true`"),
        ("about 90 s", "about 60 s"),
        ("3 training diverged", "5 training diverged"),
        ("(exit code 4)", "(exit code 3)"),
        ("a 95 %\ninterval", "a 90 %\ninterval"),
        ("`MODEL_CARD.md`", "`CARD.md`"),
        ("Python 3.11 (3.12 and 3.13", "Python 3.10 (3.11 and 3.12"),
        ("AlexNet and GoogLeNet", "AlexNet and VGG"),
        ("(the\ndefault)", "(an\noption)"),
        ("'.[dicom,heif]'", "'.[dicom,jxl]'"),
        ("| `heif` |", "| `jxl` |"),
        ("Classes are matched by name.", "Classes are matched by name. All hospitals agree."),
        ("CSV, Excel or Parquet", "CSV or Parquet"),
        ("`sweep` (", "`search` ("),
        ("docs/python.md), or", "docs/python.md) (3 pages), or"),
    ],
)
def test_a_readme_that_says_something_else_is_noticed(true: str, false: str) -> None:
    assert true in README
    assert list(faults(README.replace(true, false)))
