"""DICOMweb: what is fetched, and what is stored, with a server of our own and with Orthanc's."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest

pytest.importorskip("httpx", reason="the extra serve is not installed")
pytest.importorskip("pynetdicom", reason="the extra clinic is not installed")
from medcnn.clinic.spool import FullError, Spool
from medcnn.clinic.web import PAGE, Fetcher, Server, Wanted, WebError, part_of
from medcnn.clinic.worker import Worker
from tests.clinic.test_archive import Archive, archive  # noqa: F401 - a fixture
from tests.clinic.test_receiver import a_report, an_object, as_bytes

MODEL = "a" * 64
ANY = Wanted(modality=None, days=2, every_s=1, most_mb=1)
SC = "1.2.840.10008.5.1.4.1.1.7"


class Web(ThreadingHTTPServer):
    """Answers as a DICOMweb server does, from `images`: UID -> file."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.images: dict[str, bytes] = {}
        self.asked: list[tuple[str, dict[str, list[str]], Any]] = []
        self.stored: list[bytes] = []
        self.status, self.answer = 200, {}
        self.down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/dicom-web/"


class Handler(BaseHTTPRequestHandler):
    server: Web

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        asked = parse_qs(at.query)
        self.server.asked.append((at.path, asked, self.headers))
        if self.server.down:
            return self.say(503, "text/plain", b"down")
        if at.path == "/dicom-web/instances":
            first, many = int(asked["offset"][0]), int(asked["limit"][0])
            found = list(self.server.images)[first : first + many]
            items = [
                {tag: {"vr": "UI", "Value": [value]} for tag, value in described(uid).items()}
                for uid in found
            ]
            return self.say(200, "application/dicom+json", json.dumps(items).encode())
        uid = at.path.rpartition("/")[2]
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + self.server.images[uid]
        return self.say(200, 'multipart/related; boundary="x"', body + b"\r\n--x--")

    def do_POST(self) -> None:
        self.server.stored.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, {}, self.headers))
        body = json.dumps(self.server.answer).encode()
        self.say(self.server.status, "application/dicom+json", body)

    def say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def described(uid: str) -> dict[str, str]:
    return {"00080016": SC, "00080018": uid, "0020000D": "1.2", "0020000E": "1.3"}


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join(10)


@pytest.fixture
def server(web: Web) -> Iterator[Server]:
    made = Server(web.url, "", ssl.create_default_context())
    yield made
    made.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", MODEL, most=500, remembered=500, least_free_bytes=0)
    yield made
    made.close()


def file_with(**tags: Any) -> bytes:
    return as_bytes(an_object(**tags))


def test_new_images_are_fetched_once_and_our_own_pictures_are_not_taken(
    web: Web, server: Server, spool: Spool
) -> None:
    web.images = {"1.1": file_with(), "1.2": file_with(), "1.3": file_with(Manufacturer="medcnn")}
    fetcher = Fetcher(spool, server, ANY)
    assert fetcher.fetch() == 2
    assert len(spool.waiting(9)) == 2
    assert spool.image(spool.waiting(1)[0]).read_bytes() == web.images["1.1"]
    before = len(web.asked)
    assert fetcher.fetch() == 0
    assert [path for path, *_ in web.asked[before:]] == ["/dicom-web/instances"], "no file again"
    web.images["1.4"] = file_with()
    assert fetcher.fetch() == 1
    _, asked, _ = web.asked[0]
    today = date.today()
    assert asked["StudyDate"] == [f"{today - timedelta(days=1):%Y%m%d}-{today:%Y%m%d}"]
    assert "Modality" not in asked


def test_long_lists_are_read_to_their_end(web: Web, server: Server) -> None:
    web.images = {f"1.{number}": b"" for number in range(1, PAGE + 6)}
    found = list(server.instances(Wanted(modality="DX", days=1, every_s=1, most_mb=1)))
    assert [uids["00080018"] for uids in found] == list(web.images)
    assert [asked["offset"] for _, asked, _ in web.asked] == [["0"], [str(PAGE)]]
    assert web.asked[0][1]["Modality"] == ["DX"]


def test_an_image_that_is_too_large_does_not_stop_the_others(
    web: Web, server: Server, spool: Spool
) -> None:
    web.images = {"1.1": b"\0" * 1_100_000, "1.2": file_with()}
    with pytest.raises(WebError, match="more than 1 MB"):
        Fetcher(spool, server, ANY).fetch()
    assert len(spool.waiting(9)) == 1
    spool.most = 1
    web.images["1.3"] = file_with()
    del web.images["1.1"]
    with pytest.raises(FullError):
        Fetcher(spool, server, ANY).fetch()


def test_a_server_that_is_down_is_asked_again_and_named_once(
    web: Web, server: Server, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    web.down, web.images = True, {"1.1": file_with()}
    fetcher = Fetcher(spool, server, Wanted(modality=None, days=1, every_s=1, most_mb=1))
    fetcher._over.wait = lambda _: turns.pop(0)()  # type: ignore[method-assign]
    turns = [
        lambda: True,
        lambda: setattr(web, "down", False),
        lambda: fetcher._over.set(),
    ]
    fetcher.run()
    assert len(spool.waiting(9)) == 1
    assert [r.getMessage().split(": ")[-1] for r in caplog.records] == ["it answers HTTP 503"]


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (200, {}, ""),
        (202, {"00081198": {"Value": [{"00081197": {"Value": [0x0111]}}]}}, ""),
        (409, {"00081198": {"Value": [{"00081197": {"Value": [0x0111]}}]}}, ""),
        (
            409,
            {"00081198": {"Value": [{"00081197": {"Value": [0xA700]}}]}},
            "it answers HTTP 409, reason 0xA700",
        ),
        (503, {}, "it answers HTTP 503"),
        (401, [], "it answers HTTP 401"),
    ],
)
def test_results_are_stored_and_what_is_there_already_has_arrived(
    web: Web, server: Server, status: int, answer: Any, reason: str
) -> None:
    web.status, web.answer = status, answer
    report = an_object()
    assert list(server({"k": [report]})) == [("k", reason)]
    (body,) = web.stored
    kind = web.asked[-1][2]["Content-Type"]
    assert part_of(body, kind) == as_bytes(report)


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        ("anna:secret:1", "Basic YW5uYTpzZWNyZXQ6MQ=="),
        ("a-token", "Bearer a-token"),
        ("", None),
    ],
)
def test_credentials_are_a_name_with_its_word_or_a_token(
    web: Web, credentials: str, header: str | None
) -> None:
    server = Server(web.url, credentials, ssl.create_default_context())
    list(server.instances(ANY))
    server.close()
    assert web.asked[0][2]["Authorization"] == header


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"--x\r\nContent-Type: application/dicom\r\n\r\nhal", "m; boundary=x", "cut short"),
        (b"--x\r\nContent-Type: text/html\r\n\r\nhi\r\n--x--", "m; boundary=x", "no DICOM"),
        (b"{}", "application/json", "has no parts"),
    ],
)
def test_an_answer_that_is_no_file_is_refused(body: bytes, kind: str, said: str) -> None:
    with pytest.raises(WebError, match=said):
        part_of(body, kind)


def test_orthanc_is_asked_and_gets_reports_by_dicomweb(
    archive: Archive,  # noqa: F811
    spool: Spool,
) -> None:
    if not any("dicom-web" in name for name in archive.asked("plugins")):
        pytest.skip("the plug-in orthanc-dicomweb is not installed")
    today = f"{date.today():%Y%m%d}"
    about = {"StudyDate": today, "PatientID": "0815", "Modality": "OT"}
    images = [
        an_object(StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4", **about) for _ in range(3)
    ]
    assert archive.send(images) == [0, 0, 0]
    server = Server(f"http://127.0.0.1:{archive.http}/dicom-web", "", ssl.create_default_context())
    fetcher = Fetcher(spool, server, ANY)
    assert fetcher.fetch() == 3
    for entry in spool.waiting(9):
        stored = pydicom.dcmread(spool.image(entry))
        assert stored in images
    worker = Worker(spool, server, lambda files: [[a_report_of(f)] for f in files])
    assert worker.build() == 3
    assert worker.send() == 3
    assert len(archive.instances()) == 6
    assert fetcher.fetch() == 0, "reports are no images"
    sent = {str(i.SOPInstanceUID) for i in archive.instances().values() if i.Modality == "SR"}
    assert len(sent) == 3
    server.close()


def a_report_of(file: Path) -> bytes:
    from io import BytesIO

    source, made = pydicom.dcmread(file), pydicom.dcmread(BytesIO(a_report(file)))
    made.StudyInstanceUID, made.SeriesInstanceUID = source.StudyInstanceUID, "1.2.3.5"
    made.PatientID, made.Modality = source.PatientID, "SR"
    return as_bytes(made)
