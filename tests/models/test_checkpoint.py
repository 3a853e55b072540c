from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from medcnn.config import data_from_json
from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.models import checkpoint as checkpoints
from medcnn.models.checkpoint import Checkpoint
from medcnn.models.classifier import Architecture, Classifier, build_classifier
from medcnn.statistics.decisions import Readout
from medcnn.system.errors import CheckpointError, UsageError
from medcnn.system.privacy import pseudonym

CPU = torch.device("cpu")


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Classifier, Checkpoint]:
    torch.manual_seed(0)
    architecture = Architecture(
        backbone="lenet5",
        options={},
        head="mlp",
        head_options={"hidden": 7},
        channels=1,
        size_px=32,
    )
    labels = LabelSpace(kind=Kind.MULTILABEL, names=("Mass", "Nodule"))
    classifier, _ = build_classifier(architecture, 2)
    described = Checkpoint(
        labels=labels,
        preprocessing=Preprocessing(size_px=32, channels=1, fit=Fit.CROP, bits=16),
        architecture=architecture,
        normalisation=classifier.normalisation,
        modality=Modality.CHEST,
        flips="",
        readout=Readout.of_thresholds((0.25, 1 / 3)),
        training={"seed": 3},
        provenance={"medcnn": "0.1.0", "manifest": "abc"},
    )
    path = tmp_path / "checkpoints" / "best.safetensors"
    checkpoints.save(path, classifier, described)
    return path, classifier.eval(), described


def test_what_is_loaded_is_what_was_saved(saved: tuple[Path, Classifier, Checkpoint]) -> None:
    path, classifier, described = saved
    loaded, again = checkpoints.load(path, CPU)
    images = torch.rand(3, 1, 32, 32)
    assert loaded == described
    assert torch.equal(again(images), classifier(images))


def test_a_pooling_that_learned_comes_back_with_what_it_learned(
    saved: tuple[Path, Classifier, Checkpoint], tmp_path: Path
) -> None:
    architecture = Architecture(
        backbone="lenet5",
        options={},
        pooling="gem",
        pooling_options={"power": 2.0},
        head="cosine",
        head_options={},
        channels=1,
        size_px=48,
    )
    classifier, _ = build_classifier(architecture, 2)
    with torch.no_grad():
        classifier.get_parameter("body.10.pooling.log_power").fill_(1.5)
    how = replace(saved[2].preprocessing, size_px=48)
    described = replace(saved[2], architecture=architecture, preprocessing=how)
    checkpoints.save(tmp_path / "gem.safetensors", classifier, described)
    loaded, again = checkpoints.load(tmp_path / "gem.safetensors", CPU)
    images = torch.rand(3, 1, 48, 48)
    assert loaded == described
    assert torch.equal(again(images), classifier.eval()(images))


def test_the_file_is_weights_and_json_and_nothing_else(
    saved: tuple[Path, Classifier, Checkpoint],
) -> None:
    with safetensors.safe_open(saved[0], framework="pt") as file:
        described = json.loads(file.metadata()["medcnn"])
    assert described["labels"] == {"kind": "multilabel", "names": ["Mass", "Nodule"]}
    assert described["schema"] == checkpoints.SCHEMA


@pytest.mark.fault
@pytest.mark.parametrize("keep", [0, 4, 200, 5000])
def test_a_half_written_checkpoint_is_refused_in_one_sentence(
    saved: tuple[Path, Classifier, Checkpoint], keep: int
) -> None:
    """Rows 10 and 12."""
    path = saved[0]
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="half written or damaged"):
        checkpoints.read(path)


@pytest.mark.fault
def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    """Row 24."""
    file = tmp_path / "x.safetensors"
    file.write_bytes((2**40).to_bytes(8, "little") + b"{" * 1000)
    with pytest.raises(CheckpointError):
        checkpoints.read(file)


@pytest.mark.fault
def test_a_newer_schema_names_the_version_it_needs(
    saved: tuple[Path, Classifier, Checkpoint],
) -> None:
    """Row 16."""
    path, classifier, described = saved
    stored = described.to_json() | {"schema": 99, "provenance": {"medcnn": "7.0"}}
    safetensors.torch.save_file(
        classifier.state_dict(), path, metadata={"medcnn": json.dumps(stored)}
    )
    with pytest.raises(CheckpointError, match=r"schema 99.*written by medcnn 7\.0"):
        checkpoints.read(path)


def test_a_foreign_file_and_a_missing_one_say_what_to_do(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.weights="):
        checkpoints.read(tmp_path / "foreign.safetensors")
    with pytest.raises(UsageError, match=r"no such file; there are foreign\.safetensors"):
        checkpoints.read(tmp_path / "best.safetensors")


def test_weights_that_do_not_fit_the_description_are_refused(
    saved: tuple[Path, Classifier, Checkpoint],
) -> None:
    path, classifier, described = saved
    wrong = replace(
        described,
        labels=LabelSpace(kind=Kind.MULTILABEL, names=("a", "b", "c")),
        readout=Readout.of_thresholds((0.5, 0.5, 0.5)),
    )
    checkpoints.save(path, classifier, wrong)
    with pytest.raises(CheckpointError, match="do not fit lenet5"):
        checkpoints.load(path, CPU)


def test_a_failed_save_leaves_the_old_checkpoint(
    saved: tuple[Path, Classifier, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, classifier, described = saved
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoints.save(path, classifier, described)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["best.safetensors"]


def test_nan_never_enters_the_description(saved: tuple[Path, Classifier, Checkpoint]) -> None:
    path, classifier, described = saved
    with pytest.raises(ValueError, match="JSON"):
        checkpoints.save(
            path, classifier, replace(described, readout=Readout.of_thresholds((math.nan, 0.5)))
        )


@pytest.mark.fault
@pytest.mark.parametrize("schema", [1, 2])
def test_descriptions_that_earlier_versions_wrote_are_read(tmp_path: Path, schema: int) -> None:
    """Row 17. The descriptions were written by those versions; the weights are those of today."""
    text = (Path(__file__).parents[1] / "golden" / f"checkpoint-schema-{schema}.json").read_text()
    stored = json.loads(text)
    assert stored["schema"] == schema
    classifier, _ = build_classifier(Architecture(**stored["architecture"]), 4)
    path = tmp_path / "old.safetensors"
    safetensors.torch.save_file(classifier.state_dict(), path, metadata={"medcnn": text})
    checkpoint, restored = checkpoints.load(path, CPU)
    assert checkpoint.labels.names == ("nevus", "melanoma", "keratosis", "basal_cell")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(restored(images), classifier.eval()(images))
    data_from_json(checkpoint.training["data"])
    # what is written anew is of today, and says the same
    checkpoints.save(path, restored, checkpoint)
    assert checkpoints.read(path)[0] == checkpoint


@pytest.mark.fault
def test_a_description_of_today_without_its_seal_is_refused(
    saved: tuple[Path, Classifier, Checkpoint],
) -> None:
    """Row 11."""
    path, classifier, described = saved
    metadata = {"medcnn": json.dumps(described.to_json())}
    safetensors.torch.save_file(classifier.state_dict(), path, metadata=metadata)
    with pytest.raises(CheckpointError, match="its checksum does not match"):
        checkpoints.read(path)


def test_images_of_the_training_are_known_under_another_key_only_where_they_are_the_same(
    colours: Callable[..., Manifest],
    saved: tuple[Path, Classifier, Checkpoint],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seen(key: str, keep: slice = slice(None)) -> Manifest:
        """The manifest as it comes through the door under a key."""
        monkeypatch.setenv("MEDCNN_PSEUDONYM_KEY", key)
        return plain.with_records(
            replace(r, image_id=pseudonym(r.image_id, "image"), origin=(r.image_id, r.group))
            for r in plain.records[keep]
        )

    plain = colours()
    trained = seen("the key of the training")
    made_with = [checkpoints.digest_of(r) for r in trained.records if r.split != "test"]
    here = replace(
        saved[2],
        provenance={
            "manifest": trained.fingerprint(),
            "made_with": made_with,
            "pseudonym_key": pseudonym("", "key"),
        },
    )
    known = len(made_with)
    assert here.trained_on(trained).sum() == known
    part = seen("the key of the training", slice(30))
    assert here.trained_on(part).any()
    assert not here.other_key(part)
    same = seen("the key of another house")
    assert here.trained_on(same).sum() == known
    assert not here.other_key(same)
    part = seen("the key of another house", slice(30))
    assert not here.trained_on(part).any()
    assert here.other_key(part)


def test_a_fine_tuned_checkpoint_knows_the_images_of_those_before_it(
    colours: Callable[..., Manifest], saved: tuple[Path, Classifier, Checkpoint]
) -> None:
    plain = colours()
    digests = [checkpoints.digest_of(r) for r in plain.records]
    oldest = {"manifest": plain.fingerprint(), "made_with": digests[:10]}
    before = {"manifest": "b", "made_with": digests[10:15]}
    own = {"manifest": "c", "made_with": digests[15:18]}
    tuned = replace(saved[2], provenance={**own, "parents": [before, oldest]})
    part = plain.with_records(plain.records[5:20])
    assert tuned.trained_on(part).tolist() == [True] * 13 + [False] * 2
    assert tuned.trained_on(plain).sum() >= sum(r.split != "test" for r in plain.records)
    assert replace(saved[2], provenance=own).trained_on(part).sum() == 3


def test_two_large_sets_without_a_common_image_share_no_id_in_a_checkpoint(
    colours: Callable[..., Manifest], saved: tuple[Path, Classifier, Checkpoint]
) -> None:
    """With 32 bits 90,000 images and 300,000 others had six ids in common on average."""
    record = colours().records[0]
    ids = [
        checkpoints.digest_of(replace(record, image_id=f"image {i}", origin=(f"{i}", "p")))
        for i in range(2000)
    ]
    assert {len(found) for found in ids} == {24}, "96 bits"
    assert len(set(ids)) == 2000
    plain = colours()
    short = [checkpoints.short_digest_of(r) for r in plain.records[:10]]
    earlier = replace(saved[2], provenance={"manifest": "another", "made_with": short})
    assert earlier.trained_on(plain).sum() == 10, "an earlier checkpoint is still read"
