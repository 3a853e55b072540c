from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medcnn.data.manifest import Manifest
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.pixels import decoder, opening, segments, shards, shelves
from medcnn.pixels.decoder import Answer
from medcnn.pixels.opening import open_store
from medcnn.pixels.pixel_store import PixelStore
from medcnn.pixels.pool import Request
from medcnn.pixels.segments import CHECK, RECORD
from medcnn.system.errors import DataError

HOW = Preprocessing(size_px=16, channels=3, fit=Fit.PAD, bits=8)

# Stands in the path of decoder processes, which import it at their start: {body} runs before the
# file at `path` is read.
IN_DECODER = """\
import ctypes, errno, os, signal, time
from pathlib import Path
from medcnn.pixels import decoder
real = decoder.read_pixels
def read_pixels(root, path, **how):
{body}
    return real(root, path, **how)
decoder.read_pixels = read_pixels
"""

# As decoders written in Rust do, by an exception that is no Exception.
PANIC = """\
from medcnn.images import reading
class Panic(BaseException): pass
decode = reading.read_png
def panic(*_, **__):
    reading.read_png = decode
    raise Panic("rle panicked")
reading.read_png = panic
"""

# What a builder of its own runs: the arguments are root, cache and how many images.
BUILD = """\
import sys
from pathlib import Path
from medcnn.images.preprocessing import Fit, Preprocessing
from medcnn.data.labels import Kind, LabelSpace
from medcnn.pixels.opening import open_store
from medcnn.data.manifest import Manifest, Record
labels = LabelSpace(kind=Kind.BINARY, names=("no", "yes"))
records = tuple(
    Record(image_id=str(i), path=f"{i:03d}.png", group=str(i), target=(0.0,))
    for i in range(int(sys.argv[3]))
)
manifest = Manifest(source="x", root=Path(sys.argv[1]), labels=labels, records=records)
how = Preprocessing(size_px=16, channels=3, fit=Fit.PAD, bits=8)
assert not open_store(manifest, how, cache=sys.argv[2]).unreadable
"""


@pytest.fixture
def in_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes decoder processes run some lines before they read a file."""
    folder = tmp_path / "decoder"

    def install(body: str) -> None:
        folder.mkdir(exist_ok=True)
        indented = "\n".join(f"    {line}" for line in body.splitlines())
        (folder / "sitecustomize.py").write_text(IN_DECODER.format(body=indented))

    monkeypatch.syspath_prepend(folder)
    return install


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """What is asked of the decoder processes from here on."""
    requests: list[Request] = []

    def decode(wanted: list[Request], *args: object, **options: object) -> Iterator[Answer]:
        requests.extend(wanted)
        return decoder.decode(wanted, *args, **options)  # type: ignore[arg-type]

    for module in (opening, shards):
        monkeypatch.setattr(module, "decode", decode)
    return requests


def every(store: PixelStore) -> np.ndarray:
    return store.take(np.arange(len(store)))


def builder(manifest: Manifest, cache: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(manifest.root), cache, str(len(manifest.records))],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
    )


def only_file(cache: str, ending: str) -> Path:
    (found,) = Path(cache).rglob(f"*.{ending}")
    return found


def test_pixels_are_those_of_the_files_in_manifest_order(colours: Callable[..., Manifest]) -> None:
    manifest = colours()
    store = open_store(manifest, HOW, cache="off")
    for i in (0, 7, 47):
        pixels = np.asarray(Image.open(manifest.root / manifest.records[i].path))
        assert np.array_equal(store.take(np.array([i]))[0], HOW.apply(pixels))


def test_the_second_run_reads_the_cache_and_decodes_nothing(
    colours: Callable[..., Manifest], tmp_path: Path, asked: list[Request]
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    first = every(open_store(manifest, HOW, cache=cache))
    assert len(asked) == 48
    assert np.array_equal(every(open_store(manifest, HOW, cache=cache)), first)
    assert np.array_equal(every(open_store(manifest, HOW, cache="off")), first)
    assert len(asked) == 96  # those of `off` alone


@pytest.mark.fault
def test_pixels_do_not_depend_on_how_many_processes_decode(
    colours: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 85."""
    manifest = colours()
    one = every(open_store(manifest, HOW, cache="off"))
    monkeypatch.setattr(opening.torch, "get_num_threads", lambda: 3)
    assert np.array_equal(every(open_store(manifest, HOW, cache="off")), one)


def test_only_what_changed_is_decoded_again(
    colours: Callable[..., Manifest], tmp_path: Path, asked: list[Request]
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    before = every(open_store(manifest, HOW, cache=cache))
    asked.clear()
    file = manifest.root / manifest.records[3].path
    Image.new("RGB", (24, 24), "white").save(file)
    os.utime(file, ns=(1, 1))
    after = every(open_store(manifest, HOW, cache=cache))
    assert [r.row for r in asked] == [3]
    assert (after[3] == 255).all()
    assert np.array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))
    part = manifest.with_records(manifest.records[40:2:-1])
    assert np.array_equal(every(open_store(part, HOW, cache=cache)), after[40:2:-1])
    assert len(asked) == 1
    other = Preprocessing(size_px=8, channels=1, fit=Fit.PAD, bits=16)
    assert every(open_store(manifest, other, cache=cache)).shape == (48, 1, 8, 8)


def test_a_touched_file_is_read_and_not_decoded(
    colours: Callable[..., Manifest],
    tmp_path: Path,
    in_decoder: Callable[[str], None],
    asked: list[Request],
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    first = every(open_store(manifest, HOW, cache=cache))
    for record in manifest.records:
        os.utime(manifest.root / record.path, ns=(5, 5))
    in_decoder("raise AssertionError('decoded again')")
    assert np.array_equal(every(open_store(manifest, HOW, cache=cache)), first)
    asked.clear()
    assert np.array_equal(every(open_store(manifest, HOW, cache=cache)), first)
    assert not asked


@pytest.mark.fault
def test_unreadable_images_are_named_with_their_reason_and_never_replaced(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    """Rows 34 and 35."""
    manifest = colours()
    root = manifest.root
    (root / "001.png").write_bytes(b"")
    (root / "002.png").write_bytes((root / "002.png").read_bytes()[:200])
    (root / "003.png").write_text("<!DOCTYPE html><p>Please log in")
    (root / "004.png").unlink()
    for cache in ("off", str(tmp_path / "cache"), str(tmp_path / "cache")):
        store = open_store(manifest, HOW, cache=cache)
        assert sorted(store.unreadable) == [1, 2, 3, 4]
        assert "empty" in store.unreadable[1]
        assert "truncated" in store.unreadable[2]
        assert "html" in store.unreadable[3].lower()
        assert "missing" in store.unreadable[4]
        assert store.readable(np.arange(6)).tolist() == [0, 5]


def test_the_size_is_said_first_and_a_full_disk_is_refused_before_decoding(
    colours: Callable[..., Manifest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asked: list[Request],
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(shelves.shutil, "disk_usage", lambda _: Usage)
    with caplog.at_level(logging.INFO), pytest.raises(DataError, match=r"data.cache=off") as raised:
        open_store(colours(), HOW, cache=str(tmp_path / "cache"))
    assert "48 of 48 images to decode, 36.9 kB" in caplog.text
    assert "needs 36.9 kB, but" in str(raised.value)
    assert "has 1.0 kB free" in str(raised.value)
    assert not asked


def test_a_disk_that_fills_up_meanwhile_is_said_and_what_is_done_is_kept(
    colours: Callable[..., Manifest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[Request],
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    real, left = segments._write, iter(range(21))

    def write(file: int, data: bytes) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, data)

    monkeypatch.setattr(segments, "_write", write)
    with pytest.raises(DataError, match=r"is full.*data.cache=FOLDER"):
        open_store(manifest, HOW, cache=cache)
    monkeypatch.setattr(segments, "_write", real)
    asked.clear()
    every(open_store(manifest, HOW, cache=cache))
    assert len(asked) == 38  # ten have pixels and record, the eleventh has pixels alone


def test_an_image_that_can_be_read_by_now_is_read(
    colours: Callable[..., Manifest], tmp_path: Path, in_decoder: Callable[[str], None]
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    in_decoder("if path == '003.png': raise ValueError('no decoder is installed')")
    assert list(open_store(manifest, HOW, cache=cache).unreadable) == [3]
    in_decoder("pass")
    assert open_store(manifest, HOW, cache=cache).unreadable == {}


def test_a_sign_in_a_file_name_does_not_hide_that_it_changed(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest = colours()
    (manifest.root / "001.png").rename(manifest.root / "a#1.png")
    records = list(manifest.records)
    records[1] = replace(records[1], path="a#1.png")
    manifest, cache = manifest.with_records(records), str(tmp_path / "cache")
    open_store(manifest, HOW, cache=cache)
    Image.new("RGB", (24, 24), "white").save(manifest.root / "a#1.png")
    assert (every(open_store(manifest, HOW, cache=cache))[1] == 255).all()


def test_no_file_name_stands_in_the_cache(colours: Callable[..., Manifest], tmp_path: Path) -> None:
    manifest = colours()
    (manifest.root / "001.png").rename(manifest.root / "DOE_JANE.png")
    records = (replace(manifest.records[1], path="DOE_JANE.png"), *manifest.records[2:])
    open_store(manifest.with_records(records), HOW, cache=str(tmp_path / "cache"))
    for file in (tmp_path / "cache").rglob("*"):
        assert "DOE" not in file.name
        assert file.is_dir() or b"DOE_JANE" not in file.read_bytes()


def test_a_build_that_is_killed_goes_on_where_it_was(
    colours: Callable[..., Manifest],
    tmp_path: Path,
    in_decoder: Callable[[str], None],
    asked: list[Request],
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    step = RECORD.size + CHECK.size
    in_decoder("time.sleep(0.02)")
    for least in (5, 12):
        with builder(manifest, cache) as run:
            while sum(f.stat().st_size for f in Path(cache).rglob("*.rows")) < least * step:
                assert run.poll() is None, run.stderr.read().decode()  # type: ignore[union-attr]
                time.sleep(0.005)
            run.send_signal(signal.SIGKILL)
    in_decoder("pass")
    kept = sum(f.stat().st_size // step for f in Path(cache).rglob("*.rows"))
    newest = max(Path(cache).rglob("*.rows"), key=lambda f: f.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes() + b"\1" * (step // 2))  # as if killed while writing it
    assert 12 <= kept < 48
    found = every(open_store(manifest, HOW, cache=cache))
    assert len(asked) == 48 - kept
    assert np.array_equal(found, every(open_store(manifest, HOW, cache="off")))


@pytest.mark.parametrize("lock", ["held", "not supported"])
def test_two_runs_that_start_together_both_get_all_images(
    colours: Callable[..., Manifest],
    tmp_path: Path,
    in_decoder: Callable[[str], None],
    asked: list[Request],
    lock: str,
) -> None:
    manifest, cache, decoded = colours(), str(tmp_path / "cache"), tmp_path / "decoded"
    in_decoder(f"time.sleep(0.01)\nopen({str(decoded)!r}, 'a').write(path + ' ')")
    if lock == "not supported":
        custom = tmp_path / "decoder" / "sitecustomize.py"
        refuse = "import fcntl\ndef flock(*_): raise OSError(errno.ENOLCK, 'no locks')\n"
        custom.write_text(f"{custom.read_text()}{refuse}fcntl.flock = flock\n")
    with builder(manifest, cache) as one, builder(manifest, cache) as two:
        for run in (one, two):
            assert run.wait() == 0, run.stderr.read().decode()  # type: ignore[union-attr]
    if lock == "held":
        assert sorted(decoded.read_text().split()) == [r.path for r in manifest.records]
    in_decoder("raise AssertionError('decoded again')")
    found = every(open_store(manifest, HOW, cache=cache))
    assert not asked
    in_decoder("pass")
    assert np.array_equal(found, every(open_store(manifest, HOW, cache="off")))


def damage_pixels(cache: str) -> None:
    file = only_file(cache, "pixels")
    data = bytearray(file.read_bytes())
    data[5 * 768 + 100] ^= 1
    file.write_bytes(data)


def damage_records(cache: str) -> None:
    file = only_file(cache, "rows")
    data = bytearray(file.read_bytes())
    data[5 * (RECORD.size + CHECK.size) + 70] ^= 1
    file.write_bytes(data)


def cut_pixels(cache: str) -> None:
    os.truncate(only_file(cache, "pixels"), 10 * 768 + 7)


def cut_records(cache: str) -> None:
    os.truncate(only_file(cache, "rows"), 333)


def foreign_pixels(cache: str) -> None:
    only_file(cache, "pixels").write_bytes(np.random.default_rng(0).bytes(48 * 768))


def foreign_records(cache: str) -> None:
    only_file(cache, "rows").write_bytes(b"image,label\n" * 500)


def pixels_gone(cache: str) -> None:
    only_file(cache, "pixels").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        damage_pixels,
        damage_records,
        cut_pixels,
        cut_records,
        foreign_pixels,
        foreign_records,
        pixels_gone,
    ],
)
def test_a_damaged_or_foreign_cache_is_noticed_and_rebuilt(
    colours: Callable[..., Manifest],
    tmp_path: Path,
    damage: Callable[[str], None],
    asked: list[Request],
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    right = every(open_store(manifest, HOW, cache=cache))
    damage(cache)
    asked.clear()
    assert np.array_equal(every(open_store(manifest, HOW, cache=cache)), right)
    anew = {damage_pixels: 1, damage_records: 1, cut_pixels: 38, cut_records: 45}
    assert len(asked) == anew.get(damage, 48)
    asked.clear()
    assert np.array_equal(every(open_store(manifest, HOW, cache=cache)), right)
    assert not asked


def test_a_cache_cut_off_while_it_is_read_is_mended_and_ends_nothing(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    store = open_store(manifest, HOW, cache=cache)
    right = every(store)
    cut_pixels(cache)
    assert np.array_equal(every(store), right)


def test_damage_in_a_cache_that_cannot_be_written_is_noticed_at_every_reading(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    right = every(open_store(manifest, HOW, cache=cache))
    damage_pixels(cache)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(segments.Pixels, "mend", refuse)
    store = open_store(manifest, HOW, cache=cache)
    for _ in range(2):
        assert np.array_equal(every(store), right)


@pytest.mark.fault
def test_a_cache_whose_drive_is_gone_ends_no_epoch(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 89."""
    manifest = colours()
    store = open_store(manifest, HOW, cache=str(tmp_path / "cache"))
    right = every(store)

    def stale(*_: object) -> int:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(segments.os, "preadv", stale)
    assert np.array_equal(every(store), right)


def test_a_cache_that_may_only_be_read_serves_a_set_with_an_unreadable_image(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    (manifest.root / "001.png").write_bytes(b"")
    open_store(manifest, HOW, cache=cache)
    os.utime(manifest.root / "002.png", ns=(1, 1))  # and one with other times and the same content
    opened = os.open

    def read_only(path: str, flags: int, *more: int, **options: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(cache):
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", read_only)
    store = open_store(manifest, HOW, cache=cache)
    assert list(store.unreadable) == [1]
    assert store.readable(np.arange(4)).tolist() == [0, 2, 3]
    Image.new("RGB", (24, 24), "white").save(manifest.root / "003.png")
    with pytest.raises(DataError, match=r"cannot be used: Read-only.*data.cache=FOLDER"):
        open_store(manifest, HOW, cache=cache)


def test_a_set_that_grows_by_a_build_a_day_stays_in_few_files(
    colours: Callable[..., Manifest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: list[Request],
) -> None:
    monkeypatch.setattr(shards, "MOST_SEGMENTS", 3)
    manifest, cache = colours(), str(tmp_path / "cache")
    reader = open_store(manifest.with_records(manifest.records[:1]), HOW, cache=cache)
    file = manifest.root / "000.png"
    for day in range(2, 7):
        file.write_bytes(file.read_bytes() + b"x")  # other content, of which the last one counts
        open_store(manifest.with_records(manifest.records[:day]), HOW, cache=cache)
    (folder,) = Path(cache).iterdir()
    assert len(list(folder.glob("*.rows"))) == len(list(folder.glob("*.pixels"))) == 3
    assert sum(f.stat().st_size for f in folder.glob("*.pixels")) < (6 + 5) * 768
    asked.clear()
    found = every(open_store(manifest.with_records(manifest.records[:6]), HOW, cache=cache))
    assert not asked
    assert np.array_equal(found, every(open_store(manifest, HOW, cache="off"))[:6])
    assert np.array_equal(every(reader), found[:1])  # its file is gone by name alone


@pytest.mark.parametrize("cache", ["off", "False"])
def test_off_keeps_nothing_on_disk_however_yaml_reads_it(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    manifest = colours()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    open_store(manifest, HOW, cache=cache)
    assert sorted(tmp_path.iterdir()) == before


def test_a_cache_below_the_home_folder_is_put_there(
    colours: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    open_store(colours(), HOW, cache="~/pixels")
    assert list((tmp_path / "home" / "pixels").rglob("*.pixels"))


def test_damage_is_not_mended_from_a_file_that_has_changed(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest, cache = colours(), str(tmp_path / "cache")
    store = open_store(manifest, HOW, cache=cache)
    damage_pixels(cache)
    Image.new("RGB", (24, 24), "white").save(manifest.root / manifest.records[5].path)
    with pytest.raises(DataError, match=r"005.png.*has changed"):
        every(store)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ("os.abort()", "SIGABRT"),
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os._exit(3)", "exit code 3"),
        (PANIC, "rle panicked"),
        ("raise ZeroDivisionError('no lung')", "preprocessing failed (ZeroDivisionError)"),
        (
            "signal.setitimer(signal.ITIMER_PROF, 0.2)\nwhile True: pass",
            "longer than 60 s",
        ),
        ("signal.alarm(1); ctypes.CDLL(None).pause()", "longer than 600 s"),
    ],
)
def test_what_kills_a_decoder_is_named_and_the_rest_is_read(
    colours: Callable[..., Manifest],
    tmp_path: Path,
    in_decoder: Callable[[str], None],
    death: str,
    reason: str,
) -> None:
    """Rows 31 and 32."""
    manifest = colours()
    body = "\n".join(f"    {line}" for line in death.splitlines())
    in_decoder(f"if path == '007.png':\n{body}")
    store = open_store(manifest, HOW, cache=str(tmp_path / "cache"))
    assert list(store.unreadable) == [7]
    assert reason in store.unreadable[7]
    good = store.readable(np.arange(48))
    in_decoder("pass")
    whole = open_store(manifest, HOW, cache="off")
    assert np.array_equal(store.take(good), whole.take(good))


@pytest.mark.fault
def test_a_file_whose_time_was_up_is_not_asked_for_again(
    colours: Callable[..., Manifest], tmp_path: Path, in_decoder: Callable[[str], None]
) -> None:
    """Row 31."""
    manifest, asked = colours(), tmp_path / "asked"
    in_decoder(
        f"if path == '007.png':\n    open({str(asked)!r}, 'a').write('x')\n"
        "    signal.setitimer(signal.ITIMER_PROF, 0.1)\n    while True: pass"
    )
    store = open_store(manifest, HOW, cache="off")
    assert list(store.unreadable) == [7]
    assert asked.read_text() == "x"


@pytest.mark.fault
def test_a_decoder_that_is_killed_from_outside_costs_no_image(
    colours: Callable[..., Manifest], tmp_path: Path, in_decoder: Callable[[str], None]
) -> None:
    """Row 30."""
    manifest, mark = colours(), str(tmp_path / "killed")
    in_decoder(
        f"if path in ('003.png', '020.png') and not Path({mark!r} + path).exists():\n"
        f"    Path({mark!r} + path).touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = open_store(manifest, HOW, cache="off")
    assert Path(f"{mark}020.png").exists()
    assert killed.unreadable == {}
    assert np.array_equal(every(killed), every(open_store(manifest, HOW, cache="off")))


@pytest.mark.fault
def test_a_network_drive_is_asked_again_before_an_image_is_given_up(
    colours: Callable[..., Manifest], tmp_path: Path, in_decoder: Callable[[str], None]
) -> None:
    """Row 89."""
    manifest, mark = colours(), str(tmp_path / "tried")
    in_decoder(
        f"tries = Path({mark!r} + path)\n"
        "with tries.open('ab') as file: file.write(b'x')\n"
        "if path in ('003.png', '004.png') or path == '002.png' and tries.stat().st_size < 4:\n"
        "    raise OSError(errno.ESTALE, 'Stale file handle')"
    )
    custom = tmp_path / "decoder" / "sitecustomize.py"
    custom.write_text(f"{custom.read_text()}decoder.PAUSES_S = (0.0, 0.0, 0.0)\n")
    store = open_store(manifest, HOW, cache="off")
    assert store.unreadable == {
        3: "Stale file handle (tried 4 times)",
        4: "Stale file handle (tried 1 times)",  # the drive is gone: not waited for again
    }


@pytest.mark.fault
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
def test_a_tiny_shared_memory_does_not_matter(
    colours: Callable[..., Manifest], tmp_path: Path
) -> None:
    """Row 33."""
    mount = "mount -t tmpfs -o size=64k tmpfs /dev/shm"
    isolated = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*isolated, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a test mount anything")
    manifest = colours()
    command = f'{mount} && exec "$0" "$@"'
    arguments = [str(manifest.root), "off", str(len(manifest.records))]
    done = subprocess.run(
        [*isolated, command, sys.executable, "-c", BUILD, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_decoder_that_does_not_start_says_why(
    colours: Callable[..., Manifest], tmp_path: Path, in_decoder: Callable[[str], None]
) -> None:
    in_decoder("pass")
    broken = "import sys\nprint('no module named turbo', file=sys.stderr, flush=True)\n"
    custom = tmp_path / "decoder" / "sitecustomize.py"
    custom.write_text(f"import os\n{broken}os._exit(1)\n")
    with pytest.raises(RuntimeError, match=r"did not start: .*no module named turbo"):
        open_store(colours(), HOW, cache="off")


def test_what_a_training_has_cached_is_not_decoded_again_and_nothing_is_written(
    colours: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", str(tmp_path / "cache"))
    manifest = colours(12)
    first = manifest.with_records(manifest.records[:8])
    cached = open_store(first, HOW, cache="auto")
    before = {p: p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file()}
    file = manifest.root / manifest.records[3].path
    Image.fromarray(np.full((24, 24, 3), 9, np.uint8)).save(file)  # changed since
    (manifest.root / manifest.records[10].path).write_bytes(b"no image")
    asked: list[int] = []
    real = opening.decode

    def decode(requests: Sequence[Request], *more: Any, **named: Any) -> Iterator[Answer]:
        asked.extend(request.row for request in requests)
        return real(requests, *more, **named)

    monkeypatch.setattr(opening, "decode", decode)
    both = open_store(manifest, HOW, cache="known")
    assert sorted(asked) == [3, 8, 9, 10, 11]
    assert list(both.unreadable) == [10]
    memory = open_store(manifest, HOW, cache="off")
    rows = memory.readable(np.arange(12))
    assert np.array_equal(both.take(rows), memory.take(rows))
    assert np.array_equal(both.take(np.arange(3)), cached.take(np.arange(3)))
    assert {p: p.read_bytes() for p in before} == before
    assert len(list((tmp_path / "cache").rglob("*"))) == len(before) + 2  # two folders


def test_new_images_are_read_where_no_cache_and_no_key_can_be_kept(
    colours: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCNN_CACHE", "/dev/null/nope")
    monkeypatch.delenv("MEDCNN_PSEUDONYM_KEY", raising=False)
    monkeypatch.delenv("MEDCNN_PSEUDONYM_KEY_FILE", raising=False)
    assert len(open_store(colours(2), HOW, cache="known").readable(np.arange(2))) == 2
