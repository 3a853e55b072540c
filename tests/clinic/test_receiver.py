"""The DICOM receiver: nothing is acknowledged that is not on disk, nothing is lost by a kill."""

from __future__ import annotations

import errno
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from operator import attrgetter
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

pytest.importorskip("pynetdicom", reason="the extra clinic is not installed")
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    SecondaryCaptureImageStorage,
    Verification,
)

from medcnn.cli.compose import read_command
from medcnn.clinic import spool as spools
from medcnn.clinic.sending import Peer
from medcnn.clinic.spool import FIRST_WAIT_S, LONGEST_WAIT_S, FullError, Spool, State
from medcnn.clinic.storage import Pace, Receiving, image_classes, start
from medcnn.clinic.worker import NotMade, Worker
from medcnn.verbs.steps.receiving import leaves_unencrypted
from tests.command import run

GOLDEN = Path(__file__).parents[1] / "golden" / "run" / "checkpoints" / "best.safetensors"
MODEL, NEXT_MODEL = "a" * 64, "b" * 64


def an_object(**more: Any) -> pydicom.Dataset:
    made = pydicom.Dataset()
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    made.PatientName = "Meyer^Anna"
    for name, value in more.items():
        setattr(made, name, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def as_bytes(made: pydicom.Dataset) -> bytes:
    stream = BytesIO()
    pydicom.dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", MODEL, most=5, remembered=3, least_free_bytes=0)
    yield made
    for one in (made, *OPENED_AGAIN):
        one.close()
    OPENED_AGAIN.clear()


OPENED_AGAIN: list[Spool] = []


def again(spool: Spool, checkpoint: str = MODEL) -> Spool:
    """As after a kill: another process opens the same folder."""
    opened = Spool(spool.folder, checkpoint, most=5, remembered=3, least_free_bytes=0)
    OPENED_AGAIN.append(opened)
    return opened


def test_what_was_received_waits_also_after_a_kill(spool: Spool) -> None:
    assert spool.receive("1.2.3", b"image")
    (entry,) = again(spool).waiting(9)
    assert spool.image(entry).read_bytes() == b"image"
    assert spool.folder.stat().st_mode & 0o077 == 0
    assert spool.image(entry).stat().st_mode & 0o077 == 0
    everything = b"".join(p.read_bytes() for p in spool.folder.rglob("*") if p.is_file())
    assert b"1.2.3" not in everything.replace(b"image", b"")


def test_an_image_that_comes_again_is_answered_once_by_each_model(spool: Spool) -> None:
    assert spool.receive("1", b"image")
    assert not spool.receive("1", b"image")
    (entry,) = spool.waiting(9)
    spool.built(entry, [b"report"])
    assert not spool.receive("1", b"image")
    (entry,) = spool.due(9)
    spool.sent(entry)
    assert not again(spool).receive("1", b"image")
    assert again(spool, NEXT_MODEL).receive("1", b"image")


def test_an_image_without_an_answer_is_tried_when_it_comes_again(spool: Spool) -> None:
    spool.receive("1", b"image")
    spool.failed(spool.waiting(1)[0], "the file is damaged")
    assert spool.counts()["failed"] == 1
    assert spool.failures()[0][3] == "the file is damaged"
    assert spool.receive("1", b"image")
    assert spool.failures() == []


def a_failure(spool: Spool, uid: str) -> None:
    spool.receive(uid, b"image")
    spool.failed(spool.waiting(1)[0], "no pixels")


def test_what_failed_is_tried_again_on_somebodys_word_also_if_a_kill_comes(spool: Spool) -> None:
    a_failure(spool, "1")
    a_failure(spool, "2")
    spool.unfetched("3", "an image has more than 1 MB")
    (sent,) = [spool.receive("4", b"image")] and spool.waiting(1)
    spool.built(sent, [b"report"])
    spool.sent(sent)
    assert len(list(spool.files.iterdir())) == 2, "kept, whatever came between"
    assert spool.again() == 3
    after = again(spool)
    assert [after.image(entry).read_bytes() for entry in after.waiting(9)] == [b"image"] * 2
    assert not after.knows("3"), "so that it is fetched again"
    assert after.counts()["sent"] == 1, "what was answered is not asked about again"
    assert after.again() == 0
    after.close()


def test_a_kill_while_it_says_so_leaves_everything_or_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_failure(spool, "1")
    a_failure(spool, "2")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as now:
        now.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            spool.drop()
    assert len(list(spool.files.iterdir())) == 2, "the kill came before the files were deleted"
    after = again(spool)
    assert list(after.files.iterdir()) == []
    assert after.counts()["dropped"] == 2
    after.close()


def test_what_is_dropped_is_gone_and_is_not_fetched_but_may_be_sent_again(spool: Spool) -> None:
    a_failure(spool, "1")
    spool.receive("2", b"another")
    assert spool.drop() == 1
    assert [path.read_bytes() for path in spool.files.iterdir()] == [b"another"]
    assert spool.failures() == []
    assert spool.knows("1")
    assert spool.receive("1", b"image")
    assert len(spool.waiting(9)) == 2


def test_nothing_of_a_patient_stays_when_results_have_arrived(spool: Spool) -> None:
    spool.receive("1", b"image")
    spool.built(spool.waiting(1)[0], [b"report", b"map"])
    (entry,) = spool.due(1)
    assert [p.read_bytes() for p in spool.objects(entry)] == [b"report", b"map"]
    spool.sent(entry)
    assert list(spool.folder.rglob("*.dcm")) == []
    assert spool.counts()["sent"] == 1


def test_what_a_kill_left_without_a_row_is_removed(spool: Spool) -> None:
    spool.receive("1", b"image")
    (spool.files / "orphan.dcm").write_bytes(b"never acknowledged")
    (spool.files / ".x.part").write_bytes(b"half")
    (spool.results / "y-0.dcm").write_bytes(b"not recorded")
    after = again(spool)
    assert len(list(after.files.iterdir())) == 1
    assert list(after.results.iterdir()) == []


def test_waits_grow_and_end_growing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    at = 1000.0
    monkeypatch.setattr(spools.time, "time", lambda: at)
    spool.receive("1", b"image")
    spool.built(spool.waiting(1)[0], [b"report"])
    waits = []
    for _ in range(12):
        (entry,) = spool.due(1)
        spool.later(entry, "PACS does not answer")
        began = at
        while not spool.due(1):
            at += 1
        waits.append(at - began)
    assert waits[:3] == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert waits[-1] == LONGEST_WAIT_S
    assert spool.failures()[0][2:] == (12, "PACS does not answer")


def test_a_peer_may_be_down_for_weeks(spool: Spool) -> None:
    spool.receive("1", b"image")
    spool.built(spool.waiting(1)[0], [b"report"])
    (entry,) = spool.due(1)
    spool.later(replace(entry, tries=5000), "PACS does not answer")
    assert spool.failures()[0][2] == 5001


def test_the_names_of_new_folders_reach_the_disk_before_any_image_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(spools, "flush_folder", flushed.append)
    Spool(tmp_path / "served" / "spool", MODEL, most=5, remembered=3, least_free_bytes=0).close()
    assert {tmp_path, tmp_path / "served", tmp_path / "served" / "spool"} <= set(flushed)


def test_a_full_queue_or_disk_refuses_and_keeps_what_is_there(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(5):
        spool.receive(str(i), b"image")
    with pytest.raises(FullError, match="5 images wait"):
        spool.receive("5", b"image")
    assert not spool.receive("4", b"image"), "what is there already is acknowledged"
    spool.least_free_bytes = shutil.disk_usage(spool.folder).total + 1
    spool.most = 9
    with pytest.raises(FullError, match="nearly full"):
        spool.receive("6", b"image")


def test_a_sender_beyond_its_rate_waits_and_others_do_not() -> None:
    pace = Pace(per_minute=60)
    waits = [pace.wait_s("A", 100.0) for _ in range(23)]
    assert waits[:21] == [0.0] * 21
    assert waits[21:] == [1.0, 2.0]
    assert pace.wait_s("B", 100.0) == 0.0
    assert pace.wait_s("A", 200.0) == 0.0


class Clinic:
    """A receiver, a peer that counts, and a sender."""

    def __init__(self, spool: Spool, **limits: Any) -> None:
        self.port, self.peer_port = free_port(), free_port()
        given = {"per_minute": 100_000, "associations": 4, "most_mb": 1} | limits
        how = Receiving(host="127.0.0.1", port=self.port, title="MEDCNN", allowed=["PACS"], **given)
        self.server = start(spool, how)
        self.got: list[str] = []
        self.read: list[pydicom.Dataset] = []
        self.syntaxes: list[str] = []
        self.status = 0x0000

    def peer(self, *syntaxes: str) -> Any:
        ae = AE(ae_title="ARCHIVE")
        ae.add_supported_context(BasicTextSRStorage, list(syntaxes) or None)

        def store(event: Any) -> int:
            self.got.append(str(event.request.AffectedSOPInstanceUID))
            self.read.append(event.dataset)
            self.syntaxes.append(event.context.transfer_syntax)
            return self.status

        address = ("127.0.0.1", self.peer_port)
        handlers = [(evt.EVT_C_STORE, store)]
        return ae.start_server(address, block=False, evt_handlers=handlers)

    def given(self, made: pydicom.Dataset, *syntaxes: str) -> str:
        """Why a peer that knows these transfer syntaxes does not have the object."""
        port, peer = self.peer_port, self.peer(*syntaxes)
        place = Peer(host="127.0.0.1", port=port, title="ARCHIVE", own_title="MEDCNN")
        ((_, why),) = place({"1": [made]})
        peer.shutdown()
        return why

    def associate(self, *contexts: Any, title: str = "PACS", called: str = "MEDCNN") -> Any:
        ae = AE(ae_title=title)
        for context in contexts:
            ae.add_requested_context(*context)
        return ae.associate("127.0.0.1", self.port, ae_title=called)

    def send(self, made: pydicom.Dataset) -> int | None:
        """The status; None where the association was aborted."""
        context = (made.SOPClassUID, made.file_meta.TransferSyntaxUID)
        association = self.associate(context)
        assert association.is_established
        status = association.send_c_store(made)
        if association.is_established:
            association.release()
        return status.get("Status")


@pytest.fixture
def clinic(spool: Spool) -> Iterator[Callable[..., Clinic]]:
    made: list[Clinic] = []

    def build(**limits: Any) -> Clinic:
        made.append(Clinic(spool, **limits))
        return made[-1]

    yield build
    for one in made:
        one.server.shutdown()


def test_an_image_is_on_disk_before_its_sender_hears_it(
    clinic: Callable[..., Clinic], spool: Spool
) -> None:
    made = an_object()
    assert clinic().send(made) == 0x0000
    (entry,) = again(spool).waiting(9)
    stored = pydicom.dcmread(spool.image(entry))
    assert stored.PatientName == "Meyer^Anna"
    assert stored.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_only_known_titles_are_let_in_and_an_echo_is_answered(
    clinic: Callable[..., Clinic],
) -> None:
    receiver = clinic()
    echo = receiver.associate((Verification,))
    assert echo.send_c_echo().Status == 0x0000
    echo.release()
    assert not receiver.associate((Verification,), title="STRANGER").is_established
    assert not receiver.associate((Verification,), called="OTHER").is_established


def test_each_transfer_syntax_has_a_context_and_reports_have_none(
    clinic: Callable[..., Clinic],
) -> None:
    syntaxes = [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless]
    contexts = [(SecondaryCaptureImageStorage, syntax) for syntax in syntaxes]
    association = clinic().associate(*contexts, (BasicTextSRStorage,))
    accepted = {str(c.transfer_syntax[0]) for c in association.accepted_contexts}
    assert accepted == set(map(str, syntaxes))
    assert [c.abstract_syntax for c in association.rejected_contexts] == [BasicTextSRStorage]
    association.release()
    assert len(image_classes()) > 30


def test_without_room_the_sender_is_told_to_keep_it(
    clinic: Callable[..., Clinic], spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = clinic()
    spool.most = 0
    assert receiver.send(an_object()) == 0xA700
    spool.most = 5

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spools, "_write", full)
    assert receiver.send(an_object()) == 0xA700
    assert spool.counts()["waiting"] == 0


def test_an_object_that_is_too_large_ends_the_association(
    clinic: Callable[..., Clinic], spool: Spool
) -> None:
    large = an_object(PixelData=b"\0" * 2_000_000)
    large["PixelData"].VR = "OW"
    assert clinic().send(large) is None
    assert spool.counts()["waiting"] == 0


def test_our_own_results_that_come_back_get_no_answer(
    clinic: Callable[..., Clinic], spool: Spool
) -> None:
    assert clinic().send(an_object(Manufacturer="medcnn")) == 0x0000
    assert spool.counts()["waiting"] == 0


def a_report(file: Path) -> bytes:
    """A result whose number is a function of its source."""
    source = pydicom.dcmread(file)
    number = f"{source.SOPInstanceUID}.1"[-60:].strip(".")
    return as_bytes(an_object(SOPClassUID=BasicTextSRStorage, SOPInstanceUID=number))


def test_results_are_sent_until_the_peer_has_them(
    clinic: Callable[..., Clinic], spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "FIRST_WAIT_S", 0.01)
    receiver = clinic()
    receiver.send(an_object())
    place = Peer(host="127.0.0.1", port=receiver.peer_port, title="ARCHIVE", own_title="MEDCNN")
    worker = Worker(spool, place, lambda files: [[a_report(f)] for f in files])
    assert worker.build() == 1
    assert worker.send() == 0
    assert "does not answer" in spool.failures()[0][3]
    time.sleep(0.02)
    peer = receiver.peer()
    receiver.status = 0xA700
    assert worker.send() == 0
    assert spool.failures()[0][3] == "ARCHIVE: it answers 0xA700"
    receiver.status = 0x0000
    time.sleep(0.05)
    assert worker.send() == 1
    assert spool.failures() == []
    assert spool.counts()["sent"] == 1
    assert len(receiver.got) == 2
    assert len(set(receiver.got)) == 1, "the same object, however often it is sent"
    peer.shutdown()


def test_a_peer_that_has_an_object_already_has_it(clinic: Callable[..., Clinic]) -> None:
    receiver = clinic()
    receiver.status = 0x0111  # Duplicate SOP Instance
    assert receiver.given(an_object(SOPClassUID=BasicTextSRStorage)) == ""


def test_a_peer_that_knows_only_the_default_transfer_syntax_gets_the_same_elements(
    clinic: Callable[..., Clinic],
) -> None:
    receiver = clinic()
    made = an_object(SOPClassUID=BasicTextSRStorage)
    assert receiver.given(made, ImplicitVRLittleEndian) == ""
    assert receiver.read[0] == made
    assert receiver.given(made) == ""
    assert receiver.syntaxes == [ImplicitVRLittleEndian, ExplicitVRLittleEndian]


def test_a_peer_that_takes_none_of_our_objects_is_not_said_to_be_silent(
    clinic: Callable[..., Clinic],
) -> None:
    why = clinic().given(an_object())
    assert why.endswith("accepts none of our objects (Secondary Capture Image Storage)")


def test_one_image_that_cannot_be_answered_does_not_stop_the_others(spool: Spool) -> None:
    for i in range(3):
        spool.receive(str(i), as_bytes(an_object(InstanceNumber=i)))

    def answer(files: Any) -> Any:
        numbers = [pydicom.dcmread(f).InstanceNumber for f in files]
        if 1 in numbers:
            raise RuntimeError("Meyer^Anna is no number")
        return [
            NotMade(why="no pixels") if n == 2 else [a_report(f)]
            for n, f in zip(numbers, files, strict=True)
        ]

    worker = Worker(spool, Peer(host="", port=1, title="A", own_title="B"), answer)
    assert worker.build() == 3
    assert spool.counts() == {"waiting": 0, "built": 1, "sent": 0, "failed": 2, "dropped": 0}
    assert {why for *_, why in spool.failures()} == {"RuntimeError", "no pixels"}, (
        "no words of a header"
    )


@pytest.mark.parametrize(
    "fault",
    [
        NotMade(why="the file cannot be opened: Cannot allocate memory", passing=True),
        OSError(errno.ENOSPC, "No space left on device"),
        MemoryError(),
        sqlite3.OperationalError("database or disk is full"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_an_error_that_passes_is_tried_again_and_the_answer_given(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    at = 1000.0
    monkeypatch.setattr(spools.time, "time", lambda: at)
    spool.receive("1", b"image")
    faults = [fault, fault]

    def answer(files: Any) -> Any:
        if not faults:
            return [[b"report"] for _ in files]
        if isinstance(found := faults.pop(), NotMade):
            return [found for _ in files]
        raise found

    worker = Worker(spool, Peer(host="", port=1, title="A", own_title="B"), answer)
    for wait_s in (FIRST_WAIT_S, 2 * FIRST_WAIT_S):
        assert worker.build() == 1
        assert spool.counts()["waiting"] == 1
        assert spool.failures()[0][3] != ""
        assert worker.build() == 0, "not before its time"
        at += wait_s
    assert worker.build() == 1
    assert spool.counts()["built"] == 1
    assert spool.failures() == []


def test_an_image_that_is_damaged_is_asked_about_once(spool: Spool) -> None:
    spool.receive("1", b"image")

    def answer(_: Any) -> Any:
        raise OSError("image file is truncated")  # as pillow does, without a number

    worker = Worker(spool, Peer(host="", port=1, title="A", own_title="B"), answer)
    assert worker.build() == 1
    assert spool.counts()["failed"] == 1
    assert worker.build() == 0


def test_the_earliest_answers_are_forgotten_and_later_ones_are_not(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "FORGET_EVERY", 1)
    for number in range(6):
        spool.receive(str(number), b"image")
        spool.built(spool.waiting(1)[0], [b"report"])
        spool.sent(spool.due(1)[0])
    assert spool.counts() == {"waiting": 0, "built": 0, "sent": 3, "failed": 0, "dropped": 0}
    assert not spool.receive("5", b"image"), "answered"
    assert not again(spool).receive("3", b"image"), "answered"
    assert spool.receive("2", b"image"), "forgotten, so it gets the same objects again"


def test_answers_that_a_server_may_still_list_are_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "FORGET_EVERY", 1)
    limits = {"most": 9, "remembered": 1, "least_free_bytes": 0}
    spool = Spool(tmp_path / "served" / "spool", MODEL, listed_days=3, **limits)

    def answered(uid: str) -> None:
        spool.receive(uid, b"image")
        spool.built(spool.waiting(1)[0], [b"report"])
        spool.sent(spool.due(1)[0])

    for uid in ("1", "2", "3"):
        answered(uid)
    assert all(spool.knows(uid) for uid in ("1", "2", "3"))
    later = time.time() + 3 * 86_400 + 60
    monkeypatch.setattr(time, "time", lambda: later)
    answered("4")
    assert [spool.knows(uid) for uid in ("1", "2", "3", "4")] == [False, False, False, True]
    spool.close()


def test_results_that_cannot_be_read_do_not_stop_the_others(
    clinic: Callable[..., Clinic], spool: Spool
) -> None:
    receiver = clinic()
    peer = receiver.peer()
    for i in range(2):
        spool.receive(str(i), as_bytes(an_object(SOPInstanceUID=f"1.2.{i}")))
    place = Peer(host="127.0.0.1", port=receiver.peer_port, title="ARCHIVE", own_title="MEDCNN")
    worker = Worker(spool, place, lambda files: [[a_report(f)] for f in files])
    assert worker.build() == 2
    (damaged,) = spool.objects(spool.due(1)[0])
    damaged.write_bytes(b"half a file")
    assert worker.send() == 1
    assert spool.counts()["failed"] == spool.counts()["sent"] == 1
    ((*_, why),) = spool.failures()
    assert why == "its results cannot be read: InvalidDicomError"
    peer.shutdown()


def test_a_worker_in_a_thread_ends_when_it_is_asked(spool: Spool) -> None:
    worker = Worker(spool, Peer(host="", port=1, title="A", own_title="B"), lambda _: [])
    worker.start()
    worker.stop()
    assert not worker.is_alive()
    assert threading.active_count() < 20
    assert State.SENT == "sent"


FROM_PACS, TO_WEB = ("scp.port=11112", "scp.allowed=[PACS]"), ("web.url=https://pacs",)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scp.port=11112",), "scp.port needs scp.allowed"),
        (("scp.port=11112", "scp.allowed=[PACS]"), "peer.host, peer.port, peer.title"),
        (("scp.title=a_title_that_is_too_long",), "scp.title should be a DICOM title"),
        (("scp.allowed=[OK,'']",), "scp.allowed"),
        (("scp.queue=0",), "scp.queue=0"),
        (("peer.host=a",), "peer has no effect: images come from scp.port="),
        (("web.url=pacs/dicom-web",), "web.url should be the root of a DICOMweb server"),
        (("web.url=https://user:word@pacs",), "belong in the file of web.credentials"),
        (("web.url='https://pacs?x'",), "without a query"),
        (("web.url=https://pacs:99999",), "web.url=https://pacs:99999 is not an address"),
        (("web.url=https://pacs:port/x",), "web.url=https://pacs:port/x is not an address"),
        (("web.url=https://pacs", "web.fetch=false", "web.send=false"), "web.url has no effect"),
        (("web.send=false",), "web.send has no effect without web.url="),
        (("web.modality=DX",), "web.modality has no effect without web.url="),
        (("web.credentials=c",), "web.credentials has no effect without web.url="),
        (("web.url=http://pacs", "web.ca=c"), "web.ca has no effect without an https://"),
        ((*FROM_PACS, *TO_WEB, "web.fetch=false", "web.days=3"), "web.days has no effect without"),
        ((*FROM_PACS, *TO_WEB, "peer.tls=true"), "peer.tls has no effect without results that"),
        (("peer.tls=true",), "peer.tls has no effect without results that go to peer.host="),
        (("scp.allowed=[PACS]",), "scp.allowed has no effect without scp.port="),
        (("scp.tls_key=k", "scp.tls_certificate=c"), "scp.tls_key has no effect without scp.port="),
        (("scp.maps=false",), "scp.maps has no effect without scp.port= or web.fetch=true"),
        (("web.url=https://pacs", "web.fetch=false"), "web.send has no effect"),
        (("web.url=https://pacs", "web.send=false"), "web.fetch needs peer.host, peer.port"),
        (("web.url=https://pacs", "peer.host=a"), "peer.host: results go to web.url"),
        (("scp.tls_key=k.pem",), "scp.tls_certificate and scp.tls_key go together"),
        (("scp.tls_ca=c.pem",), "scp.tls_ca has no effect"),
        (("peer.tls_ca=c.pem",), "peer.tls_ca has no effect"),
        (("web.url=https://pacs", "web.ca=gone.pem"), "web.ca=gone.pem: no such file"),
    ],
)
def test_faults_of_the_receivers_settings_are_found_at_once(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("serve", GOLDEN, *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_settings_that_need_another_are_known_with_the_defaults_of_serve() -> None:
    config = read_command("serve", ["checkpoint=x"]).config
    for _, _, defaults in config.needs():
        for name, default in defaults.items():
            assert attrgetter(name)(config) == default, name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b" \n", "holds nothing"),
        (b"anna:secret\nbert:other\n", "holds several lines"),
        ("anna:geheimnis\u00fc".encode(), "holds characters that are not ASCII"),
        (b"anna:\xfc", "is not a text file in UTF-8"),
    ],
)
def test_credentials_that_no_server_would_take_are_refused(
    tmp_path: Path, content: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "credentials"
    file.write_bytes(content)
    file.chmod(0o600)
    assert run("serve", GOLDEN, *TO_WEB, f"web.credentials={file}") == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("url", "leaves"),
    [
        ("http://pacs/dicom-web", True),
        ("http://localhost.example.org", True),
        ("http://127.0.0.1.example.org:80/x", True),
        ("http://localhost:8042/dicom-web", False),
        ("http://[::1]:8042", False),
        ("https://pacs/dicom-web", False),
    ],
)
def test_images_that_leave_the_machine_unencrypted_are_warned_about(url: str, leaves: bool) -> None:
    assert leaves_unencrypted(url) is leaves
