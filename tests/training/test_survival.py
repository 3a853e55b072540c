"""What a run survives: damaged states, full disks, signals at any time, clocks that jump."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from medcnn.config import Choice
from medcnn.models import checkpoint as checkpoints
from medcnn.system.errors import CheckpointError, DataError, MedcnnError, StoppedError, UsageError
from medcnn.system.files import kept_twice
from medcnn.training import epochs as epochs_module
from medcnn.training.state import newest_whole
from medcnn.verbs.steps import sitting, starting
from medcnn.verbs.train import TrainConfig
from tests.full_disk import no_room
from tests.killing import Killed, at_call, die, killed

Make = Callable[..., TrainConfig]
Train = Callable[[TrainConfig], Path]


@pytest.fixture
def quick(settings: Make) -> Make:
    """Settings of a run that takes a second, with dropout in its head."""

    def make(name: str, **trainer: Any) -> TrainConfig:
        config = settings(name, **{"epochs": 2, **trainer})
        assert config.model is not None
        return replace(config, model=replace(config.model, backbone="lenet5", options={}))

    return make


_WHOLE: dict[int, Path] = {}


@pytest.fixture
def whole(quick: Make, train: Train) -> Callable[[int], Path]:
    """An uninterrupted run of so many epochs; trained once each."""

    def run(epochs: int = 2) -> Path:
        if epochs not in _WHOLE:
            _WHOLE[epochs] = train(quick(f"whole-{epochs}", epochs=epochs))
        return _WHOLE[epochs]

    return run


def assert_same(left: Path, right: Path) -> None:
    for name in ("best", "last"):
        theirs, ours = (load_file(r / "checkpoints" / f"{name}.safetensors") for r in (left, right))
        assert all(torch.equal(theirs[k], ours[k]) for k in theirs.keys() | ours.keys()), name
    assert (left / "metrics.json").read_text() == (right / "metrics.json").read_text()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "is empty": lambda _: b"",
    "contains only zeros": lambda c: bytes(len(c)),
    "was cut short or changed": lambda c: c[: len(c) // 2],
    "was cut short or changed (": lambda c: c[:9000] + bytes([c[9000] ^ 4]) + c[9001:],
}


@pytest.mark.fault
def test_a_damaged_state_gives_way_to_the_one_before_it(
    quick: Make, train: Train, whole: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Rows 4, 10, 11 and 12."""
    config = quick("torn", save_every_s=1e-6)
    newest, _ = kept_twice(killed(config, train, 6) / "resume.pt")
    good = newest.read_bytes()
    for said, damage in DAMAGES.items():
        caplog.clear()
        newest.write_bytes(damage(good))
        assert newest_whole(newest)["numbers"]["step"] < 4
        (warning,) = [r.getMessage() for r in caplog.records]
        assert said in warning
        assert "continuing from the state before it" in warning
        assert newest.with_suffix(".damaged").is_file()
    assert_same(whole(), train(config))


@pytest.mark.fault
def test_where_no_state_is_whole_the_run_says_what_to_do(quick: Make, train: Train) -> None:
    """Rows 10 and 12."""
    config = quick("lost", save_every_s=1e-6)
    for place in kept_twice(killed(config, train, 4) / "resume.pt"):
        place.write_bytes(place.read_bytes()[:-1])
    for _ in range(2):  # nothing begins afresh by itself the next time either
        with pytest.raises(CheckpointError, match=r"no saved state.*remove resume"):
            train(config)


@pytest.mark.fault
def test_after_a_power_cut_at_any_moment_of_a_save_a_state_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 4. What was not flushed is lost: the model of a disk that forgets all it may."""
    from medcnn.system.files import read_sealed, write_sealed

    path = tmp_path / "resume.pt"
    flushed: set[int] = set()
    cut_at, steps = 0, 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == cut_at:
            raise Killed

    real_sync, real_replace = os.fsync, Path.replace

    def sync(number: int) -> None:
        step()
        flushed.add(os.fstat(number).st_ino)
        real_sync(number)

    def rename(self: Path, target: Path) -> Path:
        step()
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    for content in (b"first" * 1000, b"second" * 1000):
        write_sealed(path, content)
    whole_save = steps // 2
    for cut in range(1, whole_save + 2):
        steps, cut_at = 0, cut
        try:
            write_sealed(path, b"%d" % cut * 3000)
        except Killed:
            pass
        else:
            assert cut == whole_save + 1
        for file in tmp_path.iterdir():
            if file.stat().st_ino not in flushed:
                file.write_bytes(b"")
        readable = []
        for place in kept_twice(path):
            try:
                readable.append(bytes(read_sealed(place)[:6]))
            except (ValueError, FileNotFoundError):
                continue
        assert readable, f"cut before step {cut} of a save"


@pytest.mark.slow
@pytest.mark.fault
def test_a_kill_at_any_moment_of_a_save_leaves_a_state_that_can_be_read(tmp_path: Path) -> None:
    """Row 3."""
    script = """
import os, random, signal, sys, time
from pathlib import Path
from medcnn.system.files import kept_twice, read_sealed, sweep, write_sealed
path, rng = Path(sys.argv[1]) / "resume.pt", random.Random(0)
write_sealed(path, b"0" * 200_000)
torn = 0
for kill in range(200):
    child = os.fork()
    if not child:
        while True:
            write_sealed(path, b"%d" % (kill % 10) * 200_000)
    time.sleep(rng.uniform(0.0005, 0.006))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    torn += len(list(path.parent.glob(".*.part*"))) > 0
    sweep(path.parent)
    newest = next(p for p in kept_twice(path) if p.exists())
    assert len(set(bytes(read_sealed(newest)))) == 1
print(torn)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20, "the kills never hit a save, so nothing was seen"


@pytest.mark.fault
def test_a_full_disk_keeps_the_good_state_and_is_reported_and_tried_again(
    quick: Make, train: Train, whole: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Row 5."""
    config = quick("full", epochs=3)
    folder = killed(config, train, 6)
    kept = {p.name: p.read_bytes() for p in folder.iterdir()}
    with (
        pytest.raises(MedcnnError, match="free disk space, then run the same command") as told,
        no_room(),
    ):
        train(config)
    assert told.value.exit_code == 1
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == kept
    assert caplog.text.count("the next save tries again") >= 2  # after each of the epochs
    assert_same(whole(3), train(config))


@pytest.mark.fault
def test_a_disk_that_was_full_for_a_while_costs_nothing(
    quick: Make, train: Train, whole: Callable[..., Path]
) -> None:
    """Row 5."""
    room = no_room()
    config = quick("crowded", epochs=3)
    with (
        at_call(2, epochs_module, "update", room.__enter__),  # the first epoch's save fails
        at_call(6, epochs_module, "update", lambda: room.__exit__(None, None, None)),
    ):
        assert_same(whole(3), train(config))


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes nobody, whom folders can be closed to")
@pytest.mark.parametrize("closed", [".", "checkpoints"])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_done(
    tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 6."""
    from medcnn.system import run_facts
    from medcnn.system.run_folder import open_run

    # nobody may be kept out of the environment in which the packages lie, too
    monkeypatch.setattr(run_facts, "versions", dict)
    run = tmp_path / "r"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text('{"config": {"seed": 0}}')
    for parent in (run, *run.parents[:4]):
        parent.chmod(0o755)
    for place in (run, run / "checkpoints", run / "run.json"):
        os.chown(place, 65534, 65534)
    (run / closed).chmod(0o555)
    os.seteuid(65534)
    try:
        with (
            pytest.raises(UsageError, match=r"cannot be written: Permission denied"),
            open_run(run, {"seed": 0}, ["train"], resumable=True),
        ):
            pytest.fail("it was opened")
    finally:
        os.seteuid(0)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("module", "name", "call", "number", "said"),
    [
        (epochs_module, "update", 3, signal.SIGTERM, "epoch 1, step 3 of 4"),
        (epochs_module, "update", 4, signal.SIGINT, "epoch 1, step 4 of 4"),
        (epochs_module, "predict", 2, signal.SIGUSR1, "at the end of epoch 2"),
        (starting, "new_classifier", 1, signal.SIGTERM, "while not training"),
        (sitting, "judged_best", 1, signal.SIGUSR1, "while not training"),
    ],
)
def test_a_signal_ends_a_run_in_good_order_wherever_it_comes(
    quick: Make,
    train: Train,
    whole: Callable[..., Path],
    module: Any,
    name: str,
    call: int,
    number: signal.Signals,
    said: str,
) -> None:
    """Rows 7, 8 and 9."""
    config, handler = quick("asked"), signal.getsignal(number)
    with (
        pytest.raises(StoppedError, match=f"{number.name}.*{said}.*the same command again") as stop,
        at_call(call, module, name, lambda: os.kill(os.getpid(), number)),
    ):
        train(config)
    facts = json.loads((Path(str(config.run_dir)) / "run.json").read_text())
    assert stop.value.exit_code == facts["exit"]["code"] == 75
    assert signal.getsignal(number) is handler
    run = train(config)
    assert_same(whole(), run)
    assert curves(run) == curves(whole())


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Every number that TensorBoard shows and that is no speed."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "events")).Reload()
    return {
        tag: [(e.step, e.value) for e in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
        if not tag.startswith("perf/")
    } | {tag: [(e.step, 0.0) for e in board.Images(tag)] for tag in board.Tags()["images"]}


@pytest.mark.fault
def test_a_killed_run_with_a_pooling_that_learns_and_drop_path_ends_with_the_same_weights(
    quick: Make, train: Train
) -> None:
    """Rows 1 and 2."""

    def make(name: str, **trainer: float) -> TrainConfig:
        config = quick(name, **trainer)
        assert config.model is not None
        return replace(
            config,
            data=replace(config.data, size_px=64),
            model=replace(config.model, backbone="test_resnet", drop_path=0.3),
            pooling=Choice(name="attention", options={"hidden": 4}),
            head=Choice(name="cosine", options={}),
        )

    whole = train(make("whole"))
    config = make("killed", save_every_s=1e-6)
    killed(config, train, 5)
    assert_same(whole, train(config))


@pytest.mark.slow
@pytest.mark.fault
def test_a_killed_run_with_auxiliary_classifiers_ends_with_the_same_weights_without_them(
    quick: Make, train: Train
) -> None:
    """Rows 1 and 2."""

    def make(name: str, **trainer: float) -> TrainConfig:
        config = quick(name, batch_size=16, **trainer)
        assert config.model is not None
        network = replace(config.model, backbone="googlenet", auxiliary=True)
        return replace(config, data=replace(config.data, size_px=64), model=network)

    whole = train(make("whole"))
    config = make("killed", save_every_s=1e-6)
    killed(config, train, 3)
    assert_same(whole, train(config))
    kept = load_file(whole / "checkpoints" / "last.safetensors")
    assert not [name for name in kept if "aux" in name]
    train(make("whole", epochs=3))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("mode", "at_update"), [("gradual", 6), ("gradual", 9), ("lp_ft", 5), ("lora", 7)]
)
def test_a_run_that_is_killed_in_any_stage_of_transfer_ends_with_the_same_weights(
    quick: Make, train: Train, mode: str, at_update: int
) -> None:
    """Rows 1 and 2."""
    chosen = Choice(name=mode, options={})
    whole = train(replace(quick("whole", epochs=3), transfer=chosen))
    config = replace(quick("killed", epochs=3, save_every_s=1e-6), transfer=chosen)
    killed(config, train, at_update)
    assert_same(whole, train(config))


@pytest.mark.fault
def test_a_run_that_is_killed_between_repeated_images_ends_with_the_same_weights(
    quick: Make, train: Train
) -> None:
    """Rows 1 and 2. Also where the loss begins to weigh in the middle."""

    def config(name: str, **trainer: Any) -> TrainConfig:
        return replace(
            quick(name, epochs=3, **trainer),
            sampler=Choice(name="progressive", options={"by": "patient"}),
            loss=Choice(name="ldam", options=DEFERRED),
        )

    whole = train(config("whole"))
    killed(config("killed", save_every_s=1e-6), train, at_update=5)
    assert_same(whole, train(config("killed", save_every_s=1e-6)))


DEFERRED = {"weighting": "balanced", "defer": 0.5, "twice": True}


def test_a_finished_run_of_low_rank_goes_on_from_its_merged_weights(
    quick: Make, train: Train
) -> None:
    lora = Choice(name="lora", options={})
    run = train(replace(quick("r", epochs=1), transfer=lora))
    first = load_file(run / "checkpoints" / "last.safetensors")
    train(replace(quick("r", epochs=2), transfer=lora))
    second = load_file(run / "checkpoints" / "last.safetensors")
    assert first.keys() == second.keys()
    assert any(not torch.equal(first[name], second[name]) for name in first)
    frozen = [name for name in first if name.startswith("body.") and name.endswith(".bias")]
    assert all(torch.equal(first[name], second[name]) for name in frozen)


@pytest.mark.fault
@pytest.mark.parametrize("at_update", [3, 6])
def test_curves_have_no_number_twice_and_none_is_missing(
    quick: Make, train: Train, whole: Callable[..., Path], at_update: int
) -> None:
    """Row 1."""
    config = quick("curved", save_every_s=1e-6)
    killed(config, train, at_update)
    assert curves(train(config)) == curves(whole())


@pytest.mark.fault
def test_a_second_interrupt_stops_at_once(quick: Make, train: Train) -> None:
    """Row 8."""

    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), at_call(2, epochs_module, "update", twice):
        train(quick("impatient"))


@pytest.mark.fault
@pytest.mark.parametrize("full", [False, True])
def test_curves_that_cannot_be_written_cost_one_warning(
    quick: Make,
    train: Train,
    whole: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    full: bool,
) -> None:
    """Row 90."""
    config = quick("blind")
    run = Path(str(config.run_dir))
    if full:
        from tensorboard.summary.writer.record_writer import RecordWriter

        def refuse(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        with at_call(5, RecordWriter, "write", lambda: refuse()):
            train(config)
    else:
        run.mkdir()
        (run / "events").write_text("a file stands where the folder should")
        train(config)
    assert_same(whole(), run)
    assert caplog.text.count("TensorBoard's curves cannot be written") == 1


@pytest.mark.fault
def test_no_generator_has_a_state_that_matters(
    quick: Make, train: Train, whole: Callable[..., Path]
) -> None:
    """Row 86."""

    def stir(*_: Any) -> None:
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(int(time.monotonic_ns()) % 2**31)

    config = quick("stirred")
    real = epochs_module.update

    def stirred(*arguments: Any) -> None:
        stir()
        real(*arguments)

    epochs_module.update = stirred
    try:
        assert_same(whole(), train(config))
    finally:
        epochs_module.update = real


@pytest.mark.fault
def test_a_clock_that_jumps_moves_nothing(
    quick: Make, train: Train, whole: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 88."""
    jumps = iter(range(10**6))
    real = time.time
    # further back at each look
    monkeypatch.setattr(time, "time", lambda: real() - 3600 * next(jumps))
    started = time.monotonic()
    config = quick("late", save_every_s=3600)
    killed(config, train, 6)
    run = train(config)
    assert curves(run) == curves(whole())
    facts = json.loads((run / "run.json").read_text())
    assert 0 < facts["wall_s"] <= time.monotonic() - started + 0.1
    assert_same(whole(), run)


def test_a_finished_run_goes_on_with_the_schedule_of_more_epochs(
    quick: Make, train: Train, whole: Callable[..., Path]
) -> None:
    train(quick("longer"))
    run = train(quick("longer", epochs=3))
    assert len(curves(run)["train/loss"]) == 3
    for name in ("lr/body", "lr/head"):
        assert curves(run)[name][2:] == curves(whole(3))[name][2:]
    facts = json.loads((run / "run.json").read_text())
    assert any("with a new optimizer" in n for n in facts["notes"])
    (note,) = [n for n in facts["notes"] if "extended" in n]
    assert "trainer.epochs 2 -> 3" in note
    assert facts["exit"]["code"] == 0
    with pytest.raises(UsageError, match=r"trainer\.epochs: 3 there, 2 now"):
        train(quick("longer"))


def size_of(run: Path, pattern: str = "*") -> int:
    return sum(p.stat().st_size for p in (run / "checkpoints").glob(pattern))


def test_a_finished_run_keeps_little_but_its_two_checkpoints(settings: Make, train: Train) -> None:
    run = train(settings("small", epochs=1))
    assert size_of(run) < 1.01 * size_of(run, "*.safetensors")
    assert [p.name for p in (run / "checkpoints").glob("resume*")] == ["resume.pt"]


def test_a_state_that_is_kept_goes_on_with_all_that_the_optimizer_knew(
    quick: Make, train: Train
) -> None:
    run = train(quick("kept", keep_state=True))
    assert size_of(run) > 3 * size_of(run, "*.safetensors")
    before = newest_whole(run / "checkpoints/resume.pt")["optimizer"]
    assert before["state"]
    run = train(quick("kept", epochs=3, keep_state=True))
    facts = json.loads((run / "run.json").read_text())
    assert not any("fresh optimizer" in note for note in facts["notes"])
    after = newest_whole(run / "checkpoints/resume.pt")["optimizer"]
    steps = [float(s["state"][0]["step"]) for s in (before, after)]
    assert steps == [8, 12]


def test_an_extended_run_that_is_killed_goes_on_to_the_same_weights(
    quick: Make, train: Train
) -> None:
    """The state of the finished run belongs to weights that the longer one replaces."""
    train(quick("once"))
    whole_run = train(quick("once", epochs=4))
    train(quick("cut"))
    # after epoch 3 was saved, whose weights have taken the place of those of the finished run
    with pytest.raises(Killed), at_call(6, epochs_module, "update", die):
        train(quick("cut", epochs=4))
    assert_same(whole_run, train(quick("cut", epochs=4)))


def test_an_extension_under_which_nothing_was_trained_does_not_bind(
    quick: Make, train: Train, whole: Callable[..., Path]
) -> None:
    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError), at_call(3, epochs_module, "update", stop):
        train(quick("typed"))
    with pytest.raises(StoppedError), at_call(1, starting, "new_classifier", stop):
        train(quick("typed", epochs=99))  # a slip, seen at once
    run = train(quick("typed"))
    assert_same(whole(), run)
    assert "epochs: 2" in (run / "config.yaml").read_text()
    assert not any("extended" in n for n in json.loads((run / "run.json").read_text())["notes"])


def test_a_finished_run_that_was_extended_by_a_slip_is_not_bound_either(
    quick: Make, train: Train
) -> None:
    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    run = train(quick("slipped", epochs=1))
    with pytest.raises(StoppedError), at_call(1, sitting, "with_features", stop):
        train(quick("slipped", epochs=99))
    assert train(quick("slipped", epochs=1)) == run
    facts = json.loads((run / "run.json").read_text())
    assert (facts["exit"]["code"], len(curves(run)["train/loss"])) == (0, 1)


def test_more_epochs_may_divide_the_network_into_other_stages(quick: Make, train: Train) -> None:
    gradual = Choice(name="gradual", options={})
    train(replace(quick("parts", epochs=2, keep_state=True), transfer=gradual))
    run = train(replace(quick("parts", epochs=6, keep_state=True), transfer=gradual))
    facts = json.loads((run / "run.json").read_text())
    assert facts["exit"]["code"] == 0
    (note,) = [n for n in facts["notes"] if "new optimizer" in n]
    assert "other groups of parameters" in note
    assert len(curves(run)["train/loss"]) == 6


def test_a_finished_state_without_its_weights_is_refused(quick: Make, train: Train) -> None:
    run = train(quick("swapped"))
    (run / "checkpoints/last.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"last\.safetensors no longer holds its weights"):
        train(quick("swapped", epochs=3))


def test_more_epochs_without_a_run_dir_name_the_run_that_could_go_on(
    quick: Make,
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = replace(quick("none", save_every_s=1e-6), run_dir=None)
    short = sitting.run_folder_of(config)

    def said(**trainer: Any) -> bool:
        caplog.clear()
        killed(replace(config, trainer=replace(config.trainer, **trainer)), train, 2)
        return f"run_dir={short} would continue" in caplog.text

    assert not said()
    assert not said()  # it goes on itself
    assert not said(epochs=1)
    assert not said(epochs=3, batch_size=7)
    assert said(epochs=3)
    assert not said(epochs=3)  # it was said when that run began


def test_a_run_goes_on_with_no_other_setting(quick: Make, train: Train) -> None:
    config = quick("fixed", save_every_s=1e-6)
    killed(config, train, 2)
    changed = replace(config, optimizer=replace(config.optimizer, lr=0.5), seed=3)
    with pytest.raises(
        UsageError, match=r"seed: 0 there, 3 now.*optimizer\.lr: 0\.001 there, 0\.5"
    ):
        train(changed)


@pytest.mark.fault
def test_a_run_does_not_go_on_with_fewer_images_and_tells_of_other_pixels(
    quick: Make, train: Train
) -> None:
    """Row 84. The table is the same: an image on the disk is not."""
    config = quick("meddled", save_every_s=1e-6)
    config = replace(config, audit=replace(config.audit, max_bad=1))
    killed(config, train, 3)
    run = Path(str(config.run_dir))
    image = run.parent / "colours" / "000.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:99])
    with pytest.raises(DataError, match=r"began with other readable images.*Restore them"):
        train(config)
    other = Image.open(run.parent / "colours" / "001.png")
    other.rotate(90).save(image)
    train(config)
    (note,) = [n for n in json.loads((run / "run.json").read_text())["notes"] if "pixels" in n]
    assert "have changed since this run began" in note


def test_a_run_that_goes_on_elsewhere_says_so(quick: Make, train: Train) -> None:
    config = quick("moved", save_every_s=1e-6)
    killed(config, train, 3)
    file = Path(str(config.run_dir)) / "run.json"
    facts = json.loads(file.read_text())
    facts["hardware"]["device"], facts["versions"]["torch"] = "NVIDIA H100", "1.0"
    file.write_text(json.dumps(facts))
    train(config)
    (note,) = [n for n in json.loads(file.read_text())["notes"] if "this run continues" in n]
    assert "device: NVIDIA H100 there, cpu now" in note
    assert "torch: 1.0 there" in note
    assert "threads" not in note


def test_a_run_that_stopped_early_says_why_more_epochs_add_nothing(
    quick: Make, train: Train, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs_module.metrics, "score", lambda *_: 0.5)
    train(quick("early", epochs=4, patience=1))
    caplog.clear()
    train(quick("early", epochs=6, patience=1))
    assert caplog.text.count("stopped early, the best was epoch 1") == 1


@pytest.mark.fault
def test_a_flipped_bit_in_a_checkpoint_is_seen_and_the_whole_one_is_named(
    whole: Callable[..., Path], tmp_path: Path
) -> None:
    """Row 11."""
    rng = random.Random(0)
    source = whole() / "checkpoints"
    content = (source / "best.safetensors").read_bytes()
    (tmp_path / "last.safetensors").write_bytes((source / "last.safetensors").read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    described = content.index(b'"labels\\"')
    for at in (*(rng.randrange(header, len(content)) for _ in range(20)), described + 3):
        flipped = content[:at] + bytes([content[at] ^ (1 << rng.randrange(5))]) + content[at + 1 :]
        (tmp_path / "best.safetensors").write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"last\.safetensors is intact: use that one"):
            checkpoints.read(tmp_path / "best.safetensors")


@pytest.mark.fault
def test_the_lock_of_a_killed_process_is_gone_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    """Row 87."""
    from medcnn.system.run_folder import open_run

    script = (
        "import sys, time; from pathlib import Path\n"
        "from medcnn.system.run_folder import open_run\n"
        "with open_run(Path(sys.argv[1]), {'seed': 0}, ['train'], resumable=True):\n"
        "    print('open', flush=True); time.sleep(60)"
    )
    run = tmp_path / "r"
    command = [sys.executable, "-c", script, str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with (
            pytest.raises(UsageError, match="in use by another"),
            open_run(run, {"seed": 0}, ["train"], resumable=True),
        ):
            pytest.fail("it was opened")
        other.kill()
    with open_run(run, {"seed": 0}, ["train"], resumable=True) as mine:
        assert mine.path == run
