from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcnn.data.labels import Kind, LabelSpace
from medcnn.data.manifest import Manifest, Modality, Record
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.pixels.batches import batches, epoch_order, times_before
from medcnn.pixels.opening import open_store
from medcnn.system.distributed import Ranks
from medcnn.training.draws import again
from medcnn.training.samplers import NOT_ASSESSED, SAMPLERS, Pool, classes_of

SIZES = (60, 30, 9, 1)
EXCLUSIVE = LabelSpace(kind=Kind.MULTICLASS, names=("a", "b", "c", "d"))


def manifest_of(patients: list[str] | None = None, sizes: tuple[int, ...] = SIZES) -> Manifest:
    """Images of each class, each of a patient of its own where none are named."""
    classes = np.repeat(np.arange(len(sizes)), sizes)
    return Manifest(
        root=Path(),
        source="drawn",
        labels=EXCLUSIVE,
        modality=Modality.OTHER,
        records=tuple(
            Record(
                image_id=f"i{i}",
                path=f"{i}.png",
                group=patients[i] if patients else f"p{i}",
                target=tuple(float(k == c) for k in range(4)),
            )
            for i, c in enumerate(classes)
        ),
    )


def order_of(name: str, manifest: Manifest, epoch: int = 0, epochs: int = 10, **how: Any) -> Any:
    rows = np.arange(len(manifest.records))
    pool = Pool(manifest=manifest, rows=rows, seed=how.pop("seed", 0), epoch=epoch, epochs=epochs)
    return SAMPLERS.bind(name, how)(pool)


def classes_in(order: Any, manifest: Manifest) -> list[int]:
    return np.bincount(manifest.targets()[order].argmax(1), minlength=4).tolist()


def test_shuffle_by_image_is_the_order_that_always_was() -> None:
    manifest = manifest_of()
    expected = epoch_order(np.arange(100), seed=0, epoch=3)
    assert np.array_equal(order_of("shuffle", manifest, epoch=3), expected)


@pytest.mark.parametrize("by", ["image", "patient"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_an_epoch_is_as_long_as_the_split_and_a_function_of_seed_and_epoch(
    name: str, by: str
) -> None:
    manifest = manifest_of()
    order = order_of(name, manifest, epoch=4, by=by)
    assert len(order) == 100
    assert set(order) <= set(range(100))
    assert np.array_equal(order, order_of(name, manifest, epoch=4, by=by))
    assert not np.array_equal(order, order_of(name, manifest, epoch=5, by=by))
    assert not np.array_equal(order, order_of(name, manifest, epoch=4, by=by, seed=1))


@pytest.mark.parametrize(
    ("name", "epoch", "expected"),
    [
        ("shuffle", 0, SIZES),
        ("progressive", 0, SIZES),
        ("progressive", 9, (25, 25, 25, 25)),
        ("balanced", 0, (25, 25, 25, 25)),
        ("square_root", 0, 100 * np.sqrt(SIZES) / np.sqrt(SIZES).sum()),
    ],
)
def test_every_class_has_its_share_of_an_epoch(name: str, epoch: int, expected: Any) -> None:
    manifest = manifest_of()
    for seed in range(5):
        found = classes_in(order_of(name, manifest, epoch=epoch, seed=seed), manifest)
        assert found == pytest.approx(list(expected), abs=1)


def test_images_of_a_class_stand_in_an_epoch_as_evenly_as_they_can() -> None:
    times = np.bincount(order_of("balanced", manifest_of()), minlength=100)
    assert set(times[:60]) == {0, 1}
    assert set(times[60:90]) == {0, 1}
    assert set(times[90:99]) == {2, 3}
    assert times[99] == 25
    later = np.bincount(order_of("balanced", manifest_of(), epoch=1), minlength=100)
    assert not np.array_equal(times[:60], later[:60]), "others have their turn"


def test_by_patient_every_patient_of_a_class_is_shown_equally_often() -> None:
    """One of them has 21 images of class a, the other 20 have two or one."""
    patients = ["many"] * 21 + [f"p{i // 2}" for i in range(39)] + [f"q{i}" for i in range(40)]
    manifest = manifest_of(patients)
    order = order_of("balanced", manifest, by="patient", epoch=1)
    of_a = Counter(patients[i] for i in order if i < 60)
    assert len(of_a) == 21
    assert set(of_a.values()) <= {1, 2}
    own = np.bincount(order, minlength=100)[:21]
    assert own.sum() in (1, 2)
    assert own.max() == 1, "the images of a patient take turns"


def test_shuffle_by_patient_leaves_classes_as_patients_have_them() -> None:
    patients = ["many"] * 51 + [f"p{i}" for i in range(49)]
    order = order_of("shuffle", manifest_of(patients), by="patient")
    times = Counter(patients[i] for i in order)
    assert set(times.values()) <= {2, 3} | {1}
    assert times["many"] <= 3


def test_an_image_with_several_findings_counts_as_its_rarest() -> None:
    findings = LabelSpace(kind=Kind.MULTILABEL, names=("often", "rare"))
    nan = np.nan
    targets = np.array(
        [[1, 0], [1, 1], [0, 0], [1, nan], [nan, nan], [nan, 0], [1, 0]], dtype=np.float32
    )
    assert classes_of(targets, findings).tolist() == [0, 1, 2, 0, NOT_ASSESSED, 2, 0]


def test_images_that_were_not_assessed_are_left_out_and_mixed_ones_go_with_the_larger_share() -> (
    None
):
    targets = np.array([[0.3, 0.7], [np.nan, np.nan], [1, 0]], dtype=np.float32)
    two = LabelSpace(kind=Kind.MULTICLASS, names=("a", "b"))
    assert classes_of(targets, two).tolist() == [1, NOT_ASSESSED, 0]
    yes_or_no = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
    assert classes_of(targets[:, :1], yes_or_no).tolist() == [1, NOT_ASSESSED, 0]


def test_times_before_counts_how_often_a_number_came() -> None:
    assert times_before(np.array([5, 3, 5, 5, 0, 3])).tolist() == [0, 0, 1, 2, 0, 1]
    assert times_before(np.array([], dtype=np.int64)).tolist() == []


def test_an_image_that_comes_again_has_other_random_numbers() -> None:
    keys = np.array([7, 7, 7, 9], dtype=np.uint64)
    assert again(keys, None) is keys
    assert again(keys, np.zeros(4, dtype=np.int64)) is keys
    new = again(keys, np.array([0, 1, 2, 0]))
    assert new[[0, 3]].tolist() == [7, 9]
    assert len(set(new.tolist())) == 4


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_share_the_batches_of_one_order(
    rank: int, colours: Callable[..., Manifest]
) -> None:
    manifest = colours()
    how = Preprocessing(size_px=8, channels=3, fit=Fit.PAD, bits=8)
    store = open_store(manifest, how, cache="off")
    order = np.concatenate([np.arange(24), np.arange(24)])
    cpu = torch.device("cpu")
    whole = list(batches(store, manifest.targets(), order, 10, device=cpu))
    own = list(
        batches(
            store,
            manifest.targets(),
            order,
            10,
            device=cpu,
            ranks=Ranks(rank=rank, world=2),
            partners=lambda step, size: np.arange(size)[::-1],
        )
    )
    for batch, all_ in zip(own, whole, strict=True):
        assert all_.times is not None
        assert batch.times is not None
        at = np.array_split(np.arange(len(all_.rows)), 2)[rank]
        both = np.concatenate([at, np.arange(len(all_.rows))[::-1][at]])
        assert np.array_equal(batch.rows, all_.rows[both])
        assert np.array_equal(batch.times, all_.times[both])
        assert batch.own == len(at)
