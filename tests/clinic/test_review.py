"""The page of `medcnn serve`, asked as a browser and as a stranger asks it."""

from __future__ import annotations

import asyncio
import csv
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="the extra serve is not installed")
import uvicorn
from starlette.testclient import TestClient

from medcnn.clinic.review import serving
from medcnn.clinic.review.answers import TABLE, Answers
from medcnn.clinic.review.app import Served, application
from medcnn.clinic.review.reading import Reader, Turns, checks_of
from medcnn.clinic.spool import Spool
from medcnn.config import Choice
from medcnn.data.labels import Kind, LabelSpace
from medcnn.models.deployed import Model, load_model
from medcnn.pages.review_page import Room
from medcnn.system.errors import UsageError
from medcnn.system.files import sha256_of
from tests.browser import CHROMIUM, browser
from tests.command import run

BEST = Path(__file__).parents[1] / "golden" / "run" / "checkpoints" / "best.safetensors"
PAGE = {"X-Medcnn": "1"}
ANSWER = "/answer?kind={}&drop=d1&class={}"


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(BEST, device="cpu")


@pytest.fixture
def serve(model: Model, tmp_path: Path) -> Callable[..., TestClient]:
    """A client of a server; `folder` is where its answers are."""

    def start(*, keep_images: bool = False, token: str = "", most_mb: int = 1) -> TestClient:
        folder = tmp_path / "served"
        folder.mkdir(mode=0o700, exist_ok=True)
        app = application(served(model, folder, keep_images, token, most_mb))
        return TestClient(app, base_url="http://localhost:8017", headers=PAGE)

    return start


def served(
    model: Model, folder: Path, keep_images: bool = False, token: str = "", most_mb: int = 1
) -> Served:
    how = Choice(name="gradcam", options={})
    room = Room(
        title="Review images",
        model="lenet5",
        classes=model.labels.names,
        several=False,
        keeps_images=keep_images,
        most_mb=most_mb,
    )
    return Served(
        reader=Reader(model, how, checks_of(BEST, sha256_of(BEST), how)),
        answers=Answers(folder, model.labels, keep_images=keep_images),
        room=room,
        names=["localhost", "127.0.0.1"],
        token=token,
        secure=False,
        uploads=folder / "uploads",
    )


def picture(place: Path, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 60, 3), np.uint8)
    Image.fromarray(pixels).save(place)
    return place.read_bytes()


@pytest.fixture
def png(tmp_path: Path) -> bytes:
    return picture(tmp_path / "Meyer_Anna.png")


@pytest.fixture
def dcm(tmp_path: Path) -> bytes:
    from pydicom import Dataset, dcmwrite
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    image.PatientID, image.PatientName, image.StudyInstanceUID = "4711", "Meyer", generate_uid()
    image.Rows, image.Columns, image.SamplesPerPixel = 40, 40, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelData = np.arange(1600, dtype=np.uint16).tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    dcmwrite(tmp_path / "x.dcm", image, enforce_file_format=True)
    return (tmp_path / "x.dcm").read_bytes()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_an_image_gets_the_answer_that_predict_gives(
    serve: Callable[..., TestClient], model: Model, png: bytes, tmp_path: Path
) -> None:
    html = serve().post("/judge", content=png).text
    said = model.predict(tmp_path / "Meyer_Anna.png")
    assert f'<p class="verdict">{said.new_rows()[0]["decision"]}</p>' in html
    for name, p in zip(model.labels.names, said.probabilities[0], strict=True):
        assert f'{name}</th><td class="number">{100 * p:.1f} %' in html
    assert "Nobody has checked whether maps of this model mean anything" in html
    assert html.count("<img") >= 4, "image, map, as read, final"
    assert list((tmp_path / "served" / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"PK\3\4 zip", "zip archive; unpack it"),
        (b"%PDF-1.4", "a PDF document, not an image"),
        (b"\x89PNG\r\n\x1a\n broken", "This file has no answer"),
    ],
)
def test_a_file_that_is_no_image_gets_its_reason(
    serve: Callable[..., TestClient], data: bytes, said: str
) -> None:
    found = serve().post("/judge", content=data)
    assert found.status_code == 200
    assert said in found.text


def test_who_leaves_before_the_file_is_there_is_no_fault_of_ours(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"x-medcnn", b"1")]
    scope = {"type": "http", "method": "POST", "path": "/judge", "headers": headers}
    app = application(served(model, tmp_path / "served"))
    asyncio.run(app({**scope, "query_string": b""}, receive, send))
    assert sent[0]["status"] == 499
    assert caplog.records == []


def test_a_file_that_is_too_large_is_refused_before_and_while_it_arrives(
    serve: Callable[..., TestClient], tmp_path: Path
) -> None:
    client = serve()
    assert client.post("/judge", content=b"0" * 1_000_001).status_code == 413

    def pieces() -> Iterator[bytes]:
        yield from (b"0" * 100_000 for _ in range(12))

    found = client.post("/judge", content=pieces())
    assert found.status_code == 413
    assert "more than the 1 MB allowed" in found.text
    assert list((tmp_path / "served" / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8017"},
        {"Host": "localhost.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_page_cannot_ask(
    serve: Callable[..., TestClient], png: bytes, headers: dict[str, str]
) -> None:
    assert serve().post("/judge", content=png, headers=headers).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_of_another_page_opens_the_page_and_nothing_else(
    serve: Callable[..., TestClient], site: str
) -> None:
    client = serve()
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert 'id="drop"' in client.get("/", headers=link).text
    assert 'id="entry"' in serve(token="a secret of some length").get("/", headers=link).text
    for other in (
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Mode": "no-cors"},
        {"Origin": "http://evil.example"},
        {"Host": "evil.example:8017"},
    ):
        assert client.get("/", headers=link | other).status_code == 403
    assert client.get("/receipts", headers=link).status_code == 403
    assert client.post("/", headers=link).status_code == 403


def test_a_form_of_another_page_lacks_our_header_and_every_answer_has_a_policy(
    serve: Callable[..., TestClient], png: bytes
) -> None:
    client = serve()
    del client.headers["X-Medcnn"]
    assert client.post("/judge", content=png).status_code == 403
    for path in ("/", "/gone"):
        headers = client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in client.get("/").headers["content-security-policy"]


def test_a_bug_is_logged_with_its_traceback_and_without_a_name(
    model: Model, png: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "served").mkdir(mode=0o700)
    at = served(model, tmp_path / "served")

    def broken(_: Path) -> None:
        raise KeyError("Meyer^Anna")

    at.reader.review = broken  # type: ignore[method-assign,assignment]
    client = TestClient(
        application(at), "http://localhost:8017", headers=PAGE, raise_server_exceptions=False
    )
    with caplog.at_level("ERROR", "medcnn"):
        found = client.post("/judge", content=png)
    assert found.status_code == 500
    assert "(KeyError). This is a bug in medcnn" in found.text
    assert found.headers["cache-control"] == "no-store"
    logged = "\n".join(record.getMessage() for record in caplog.records)
    assert "clinic/review/app.py" in logged
    assert "builtins.KeyError" in logged
    assert "Meyer" not in logged + found.text
    assert list((tmp_path / "served" / "uploads").iterdir()) == []


def test_a_person_goes_before_what_waits_in_the_spool() -> None:
    turns, order, ready = Turns(), list[str](), threading.Barrier(4)

    def ask(name: str) -> None:
        ready.wait()
        if name == "person":
            time.sleep(0.1)  # comes last
        with turns.taken(person=name == "person"):
            order.append(name)

    names = ["worker 1", "worker 2", "person"]
    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    with turns.taken(person=False):
        ready.wait()
        time.sleep(0.3)
    for thread in threads:
        thread.join(10)
    assert order[0] == "person"
    assert sorted(order) == sorted(names)


def test_a_page_request_waits_for_one_image_of_a_batch_at_most(
    model: Model, tmp_path: Path
) -> None:
    reader, order = Reader(model, None, None), list[str]()
    files = [tmp_path / f"{i}.png" for i in range(6)]
    for i, file in enumerate(files):
        picture(file, seed=i)
    plain, first = reader.turns.taken, threading.Event()

    @contextmanager
    def watched(*, person: bool) -> Iterator[None]:
        with plain(person=person):
            order.append("person" if person else "worker")
            first.set()
            time.sleep(0.2)
            yield

    reader.turns.taken = watched  # type: ignore[method-assign]
    worker = threading.Thread(target=reader.asked, args=(files,), kwargs={"person": False})
    worker.start()
    assert first.wait(30)
    with reader.turns.taken(person=True):
        pass
    worker.join(30)
    assert order.count("worker") == 6
    assert order.index("person") <= 2


def test_numbers_do_not_depend_on_what_is_asked_at_once(model: Model, tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(5)]
    for i, file in enumerate(files):
        picture(file, seed=i)
    (tmp_path / "2.png").write_bytes(b"damaged")
    reader = Reader(model, None, None)
    _, together = reader.asked(files, person=False)
    alone = [reader.asked([file])[1] for file in files]
    assert [i for i, _ in together.unreadable] == ["2.png"]
    assert (together.logits == np.concatenate([said.logits for said in alone])).all()


def test_with_a_token_nothing_is_answered_without_it(
    serve: Callable[..., TestClient], png: bytes
) -> None:
    token = "a secret of some length"
    client = serve(token=token)
    assert 'id="entry"' in client.get("/").text
    assert client.post("/judge", content=png).status_code == 401
    assert client.post("/enter", content="guessed").status_code == 401
    assert client.post("/enter", content=token).status_code == 200
    assert 'id="drop"' in client.get("/").text
    assert client.post("/judge", content=png).status_code == 200
    cookie = next(iter(client.cookies.jar))
    assert token not in str(cookie.value)
    other = serve(token=token)
    bearer = {"Authorization": f"Bearer {token}"}
    assert other.post("/judge", content=png, headers=bearer).status_code == 200


def test_a_wrong_token_takes_its_time_and_odd_cookies_of_others_do_no_harm(
    serve: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcnn.clinic.review.app.WRONG_TOKEN_S", 0.3)
    token = "a secret of some length"
    client = serve(token=token)
    began = time.monotonic()
    assert client.post("/enter", content="guessed").status_code == 401
    assert time.monotonic() - began >= 0.3
    client.post("/enter", content=token)
    ours = next(iter(client.cookies.jar)).value
    client.cookies.clear()
    headers = {"Cookie": f"a/b@c=1; medcnn={ours}"}
    assert 'id="drop"' in client.get("/", headers=headers).text


def test_uploads_of_a_server_that_was_killed_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "served" / "uploads" / "upload-x"
    left.parent.mkdir(parents=True)
    left.parents[1].chmod(0o700)
    left.write_bytes(b"Meyer")
    monkeypatch.setattr("medcnn.clinic.review.serving.serve_until_stopped", lambda *_, **__: None)
    assert run("serve", BEST, "port=0", f"folder={tmp_path / 'served'}", "trainer.device=cpu") == 0
    assert not left.exists()


def test_an_answer_is_kept_without_a_name_and_a_second_one_replaces_it(
    serve: Callable[..., TestClient], png: bytes, tmp_path: Path
) -> None:
    client, folder = serve(keep_images=True), tmp_path / "served"
    assert client.post(ANSWER.format("agreed", 1), content=png).text == "kept: 1"
    assert client.post(ANSWER.format("corrected", 3), content=png).text == "kept: 3"
    (row,) = rows(folder)
    assert row["label"] == "3"
    assert row["answer"] == "corrected"
    assert row["patient"].startswith("patient-")
    kept = np.asarray(Image.open(folder / row["image"]))
    assert (kept == np.asarray(Image.open(tmp_path / "Meyer_Anna.png"))).all()
    written = "".join(p.name for p in folder.rglob("*")) + (folder / TABLE).read_text()
    assert "Meyer" not in written
    assert (folder / TABLE).stat().st_mode & 0o077 == 0


def test_a_dicom_is_kept_by_its_number_or_as_a_picture_that_reads_the_same(
    serve: Callable[..., TestClient], model: Model, dcm: bytes, tmp_path: Path
) -> None:
    assert serve().post(ANSWER.format("agreed", 0), content=dcm).status_code == 200
    (row,) = rows(tmp_path / "served")
    assert row["SOPInstanceUID"].encode() in dcm
    assert "4711" not in str(row)
    shutil.rmtree(tmp_path / "served")
    serve(keep_images=True).post(ANSWER.format("agreed", 0), content=dcm)
    (row,) = rows(tmp_path / "served")
    path = tmp_path / "served" / row["image"]
    assert b"Meyer" not in path.read_bytes()
    whole = [model.preprocessing.read_whole(p.parent, p.name) for p in (path, tmp_path / "x.dcm")]
    assert (whole[0] == whole[1]).all()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("kind=agreed&drop=d&class=7", "unknown class 7"),
        ("kind=agreed&drop=d", "choose one class"),
        ("kind=agreed&drop=d&class=1&class=2", "choose one class"),
        ("kind=liked&drop=d&class=1", "not one of this page"),
        ("kind=agreed&drop=d&class=1", "keep_images=true"),
    ],
)
def test_an_answer_that_could_not_be_used_is_refused_with_its_reason(
    serve: Callable[..., TestClient], png: bytes, tmp_path: Path, query: str, said: str
) -> None:
    found = serve().post(f"/answer?{query}", content=png)
    assert found.status_code == 400
    assert said in found.text
    assert not (tmp_path / "served" / TABLE).exists()


def test_failures_of_the_receiver_are_shown_where_there_is_one(
    serve: Callable[..., TestClient], model: Model, tmp_path: Path
) -> None:
    assert serve().get("/receipts").status_code == 404
    spool = Spool(tmp_path / "spool", "a" * 64, most=9, remembered=9, least_free_bytes=0)
    for uid in ("1", "2"):
        spool.receive(uid, b"image")
    spool.later(spool.waiting(1)[0], "PACS is away")
    more = replace(served(model, tmp_path / "served"), spool=spool)
    client = TestClient(application(more), base_url="http://localhost:8017")
    shown = client.get("/receipts").text
    assert "PACS is away" in shown
    assert "data-do" not in shown, "it is tried again without anybody's word"
    spool.failed(spool.waiting(1)[0], "no pixels")
    shown = client.get("/receipts").text
    assert "1 image failed. Files of such images stay in the spool" in shown
    assert shown.count("data-do") == shown.count("data-ask") == 2
    assert client.post("/failed?do=again").status_code == 403, "not from the page"
    for what, status in (("keep", 400), ("again", 200)):
        assert client.post(f"/failed?do={what}", headers=PAGE).status_code == status
    assert spool.counts()["waiting"] == 2
    spool.failed(spool.waiting(1)[0], "no pixels")
    assert client.post("/failed?do=drop", headers=PAGE).status_code == 200
    assert spool.counts() == {"waiting": 1, "built": 0, "sent": 0, "failed": 0, "dropped": 1}
    assert serve().post("/failed?do=drop").status_code == 400, "there is no receiver"
    spool.close()


def test_answers_of_other_classes_are_not_mixed(tmp_path: Path, model: Model) -> None:
    (tmp_path / TABLE).write_text("image,patient,cat\n")
    with pytest.raises(UsageError, match="Name another folder"):
        Answers(tmp_path, model.labels, keep_images=True)


def test_findings_have_a_column_each(tmp_path: Path) -> None:
    labels = LabelSpace(kind=Kind.MULTILABEL, names=("Mass", "Nodule"))
    answers = Answers(tmp_path, labels, keep_images=True)
    pixels = np.full((8, 8, 1), 60_000, np.uint16)
    about: dict[str, Any] = {"kind": "agreed", "drop": "d", "said": (), "checkpoint": "0" * 64}
    answers.add(b"one", pixels, ["Nodule"], **about)
    answers.add(b"two", pixels, [], **about)
    assert [(r["Mass"], r["Nodule"]) for r in rows(tmp_path)] == [("0", "1"), ("0", "0")]
    assert len(Answers(tmp_path, labels, keep_images=True).rows) == 2, "read again"


def test_the_kept_table_is_one_that_init_and_audit_read(
    serve: Callable[..., TestClient], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = serve(keep_images=True)
    for i in range(10):
        data = picture(tmp_path / "p.png", seed=i)
        sent = client.post(f"/answer?kind=agreed&drop=d{i}&class={i % 5}", content=data)
        assert sent.status_code == 200
    conf = tmp_path / "conf" / "data" / "reviewed.yaml"
    assert run("init", tmp_path / "served", "answers.csv", f"output={conf}") == 0
    text = conf.read_text()
    assert "image: image" in text
    assert "label: label" in text
    assert "patient: patient" in text
    words = ("data=reviewed", f"--config-dir={conf.parents[1]}", f"output={tmp_path / 'a.html'}")
    run("audit", *words)
    assert "10 images" in capsys.readouterr().err + (tmp_path / "a.html").read_text()


@contextmanager
def answering(more: Served) -> Iterator[str]:
    """The address of a server in a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(more), log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()


@pytest.fixture
def address(model: Model, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir(mode=0o700)
    with answering(served(model, folder, keep_images=True)) as at:
        yield at


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_failed_images_are_tried_again_and_dropped_after_a_question(
    model: Model, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool", "a" * 64, most=9, remembered=9, least_free_bytes=0)
    spool.receive("1", b"image")
    spool.failed(spool.waiting(1)[0], "no pixels")
    more = served(model, tmp_path / "served")
    more = replace(more, spool=spool, room=replace(more.room, receiver="Receives here."))
    button = "document.querySelector('#receipts [data-do={}]')"
    with answering(more) as address, browser() as page:
        page.open(address)
        wait(page, f"!!{button.format('drop')}")
        page.run("window.said = []; window.confirm = (text) => { said.push(text); return false }")
        page.run(f"{button.format('drop')}.click()")
        assert spool.counts()["failed"] == 1, "nobody said yes"
        page.run("window.confirm = (text) => { said.push(text); return true }")
        page.run(f"{button.format('again')}.click()")
        wait(page, f"!{button.format('again')}")
        assert spool.counts()["waiting"] == 1
        spool.failed(spool.waiting(1)[0], "no pixels")
        wait(page, f"!!{button.format('drop')}")
        page.run(f"{button.format('drop')}.click()")
        wait(page, f"!{button.format('drop')}")
        assert spool.counts()["dropped"] == 1
        assert [text.split()[0] for text in page.run("said")] == ["Delete", "Try", "Delete"]
        assert page.errors == []
    spool.close()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_a_file_is_judged_and_corrected_by_keys_alone(
    address: str, tmp_path: Path, png: bytes
) -> None:
    broken = tmp_path / "broken<b>.png"
    broken.write_bytes(b"<html>")
    with browser() as page:
        page.open(address)
        document = page.call("DOM.getDocument")["root"]["nodeId"]
        box = page.call("DOM.querySelector", nodeId=document, selector="#files")["nodeId"]
        files = [str(tmp_path / "Meyer_Anna.png"), str(broken)]
        page.call("DOM.setFileInputFiles", nodeId=box, files=files)
        wait(page, "document.querySelectorAll('.one-image p').length > 4")
        wait(page, "document.querySelectorAll('.one-image')[1].textContent.includes('web page')")
        assert page.run("document.querySelectorAll('h2')[1].textContent") == "broken<b>.png"
        page.run("document.activeElement.blur()")
        page.press("a", 65)
        assert page.run("document.querySelector('output').textContent") == "", "of which image?"
        page.press("j", 74)
        page.press("c", 67)
        assert page.run("document.activeElement.name") == "class"
        page.run("document.querySelectorAll('[name=class]')[3].checked = true")
        page.run("document.querySelector('.answer').requestSubmit()")
        wait(page, "document.querySelector('output').textContent == 'kept: 3'")
        page.press("j", 74)
        assert page.run("document.activeElement.textContent").startswith("broken")
        for width, mode in ((1200, "light"), (390, "dark")):
            assert page.hard_to_read(mode) == []
            assert page.width_at(width) <= width
        assert page.errors == []
        asked = [a for a in page.requests if not a.startswith("data:")]
        assert asked
        assert all(a.startswith(address) for a in asked)
        assert not any("Meyer" in a for a in page.requests), "names of files stay in the browser"
    assert rows(tmp_path / "served")[0]["label"] == "3"


def wait(page: Any, expression: str) -> None:
    end = time.monotonic() + 60
    while not page.run(expression):
        assert time.monotonic() < end, expression
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("host=0.0.0.0",), "token_file is required"),
        (("host=0.0.0.0",), "has no name of its own"),
        (("tls_key=k.pem",), "go together"),
        (("token_file=gone",), "token_file=gone: no such file"),
        (("port=70000",), "port=70000"),
        (("max_mb=0",), "max_mb=0"),
        (("explain=cam",), "explain"),
        ((f"folder={BEST.parents[1]}/in",), "a run or a cache"),
        ((f"folder={BEST}",), "is a file; name a folder"),
    ],
)
def test_faults_of_the_command_are_found_before_anything_is_served(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("serve", BEST, *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_port_in_use_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("serve", BEST, f"port={port}", f"folder={tmp_path / 'f'}") == 2
    assert f"port={port} cannot be used" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [("short", 0o600, "can be guessed"), ("x" * 32, 0o644, "other users can read it")],
)
def test_a_token_that_others_know_is_refused(
    tmp_path: Path, content: str, mode: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    assert run("serve", BEST, f"token_file={file}") == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_others_use_is_not_closed_to_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcnn.clinic.review.serving.serve_until_stopped", lambda *_, **__: None)
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "of_a_colleague.txt").write_text("")
    words = ("serve", BEST, "port=0", f"folder={folder}", "trainer.device=cpu")
    assert run(*words) == 2
    assert "other users of this machine can enter it" in " ".join(capsys.readouterr().err.split())
    assert folder.stat().st_mode & 0o777 == 0o755
    (folder / "of_a_colleague.txt").unlink()
    assert run(*words) == 0
    assert "from now on only you can enter it" in " ".join(capsys.readouterr().err.split())
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that ends idle connections after a moment."""
    monkeypatch.setattr(serving, "IDLE_S", 0.5)
    listening = socket.create_server(("127.0.0.1", 0))

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    config = uvicorn.Config(app, http=serving.Connection, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield int(listening.getsockname()[1])
    server.should_exit = True
    thread.join(20)
    listening.close()


def test_connections_that_say_nothing_are_ended(quick: int) -> None:
    with socket.create_connection(("127.0.0.1", quick)) as silent:
        silent.settimeout(10)
        silent.sendall(b"GET / HT")
        assert silent.recv(100) == b""
    with socket.create_connection(("127.0.0.1", quick)) as once:
        once.settimeout(10)
        once.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert once.recv(1000).startswith(b"HTTP/1.1 204")
        once.sendall(b"G")
        assert once.recv(100) == b"", "a byte of the next request does not hold it"


def test_one_address_has_a_part_of_the_connections(
    quick: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "IDLE_S", 60)
    silent = [socket.create_connection(("127.0.0.1", quick)) for _ in range(serving.MOST_OF_ONE)]
    with socket.create_connection(("127.0.0.1", quick)) as refused:
        refused.settimeout(10)
        with suppress(ConnectionError):
            assert refused.recv(100) == b""
    silent.pop().close()
    time.sleep(0.2)
    with socket.create_connection(("127.0.0.1", quick)) as taken:
        taken.settimeout(10)
        taken.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert taken.recv(1000).startswith(b"HTTP/1.1 204")
    for one in silent:
        one.close()
