"""DICOMweb: what is fetched, and what is stored, with a server of our own and with Orthanc's."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
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
from medcnn.clinic.web import PAGE, Fetcher, Server, SomeError, Wanted, WebError, part_of
from medcnn.clinic.worker import Worker
from tests.clinic.test_archive import Archive, archive  # noqa: F401 - a fixture
from tests.clinic.test_receiver import a_report, an_object, as_bytes

MODEL = "a" * 64
ODD = "it answers HTTP 202, with a reason that cannot be read"
ANY = Wanted(modality=None, days=2, every_s=1, most_mb=1)
SC = "1.2.840.10008.5.1.4.1.1.7"


class Web(ThreadingHTTPServer):
    """Answers as a DICOMweb server does, from `images`: UID -> file."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.images: dict[str, bytes] = {}
        self.studies: dict[str, str | None] = {}
        self.asked: list[tuple[str, dict[str, list[str]], Any]] = []
        self.stored: list[bytes] = []
        self.status = 200
        self.answer: Any = {}
        self.down = False
        self.most, self.pages = PAGE, True
        self.broken: dict[str, int] = {}

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
        if at.path.endswith(("/instances", "/studies")):
            many = min(int(asked["limit"][0]), self.server.most)
            first = int(asked["offset"][0]) if self.server.pages else 0
            listed = self.listed(at.path)[first : first + many]
            items = [
                {tag: {"vr": "UI", "Value": [value]} for tag, value in of.items() if value}
                for of in listed
            ]
            return self.say(200, "application/dicom+json", json.dumps(items).encode())
        uid = at.path.rpartition("/")[2]
        if uid in self.server.broken:
            return self.say(self.server.broken[uid], "text/plain", b"")
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + self.server.images[uid]
        return self.say(200, 'multipart/related; boundary="x"', body + b"\r\n--x--")

    def listed(self, path: str) -> list[dict[str, str | None]]:
        """Studies with their dates, or images; those of a study begin with its UID."""
        *_, study, what = path.split("/")
        if what == "studies":
            return [{"0020000D": uid, "00080020": day} for uid, day in self.server.studies.items()]
        own = [u for u in self.server.images if study == "dicom-web" or u.startswith(f"{study}.")]
        undated = {uid for uid, day in self.server.studies.items() if not day}
        if study == "dicom-web":
            own = [u for u in own if not any(u.startswith(f"{uid}.") for uid in undated)]
        return [dict(described(u)) for u in own]

    def do_POST(self) -> None:
        self.server.stored.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, {}, self.headers))
        if self.server.down:
            return None  # the connection ends without an answer
        answer = self.server.answer
        if isinstance(answer, bytes):
            return self.say(self.server.status, "application/dicom+xml", answer)
        body = json.dumps(answer).encode()
        return self.say(self.server.status, "application/dicom+json", body)

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
    assert {path for path, *_ in web.asked[before:]} == {"/dicom-web/instances"}, "no file again"
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
    offsets = [int(asked["offset"][0]) for _, asked, _ in web.asked]
    assert offsets == [0, PAGE, len(web.images)]
    assert web.asked[0][1]["Modality"] == ["DX"]


@pytest.mark.parametrize(("most", "pages", "found"), [(2, True, 5), (2, False, 2), (9, False, 5)])
def test_a_server_may_give_fewer_than_asked_or_know_no_pages(
    web: Web, server: Server, most: int, pages: bool, found: int
) -> None:
    web.images, web.most, web.pages = {f"1.{i}": b"" for i in range(5)}, most, pages
    assert [uids["00080018"] for uids in server.instances(ANY)] == list(web.images)[:found]


def test_an_image_that_is_too_large_is_asked_for_once_and_does_not_stop_the_others(
    web: Web, server: Server, spool: Spool
) -> None:
    web.images = {"1.1": b"\0" * 1_100_000, "1.2": file_with()}
    fetcher = Fetcher(spool, server, ANY)
    with pytest.raises(SomeError, match="more than 1 MB"):
        fetcher.fetch()
    assert len(spool.waiting(9)) == 1
    ((_, _, _, reason),) = spool.failures()
    assert reason == "an image has more than 1 MB (max_mb)"
    before = len(web.asked)
    assert fetcher.fetch() == 0
    assert {path for path, *_ in web.asked[before:]} == {"/dicom-web/instances"}


def test_studies_without_a_date_are_seen_where_that_is_asked_for(
    web: Web, server: Server, spool: Spool
) -> None:
    web.studies = {"1.7": "20260102", "1.8": None, "1.9": "1997.04.24", "1.10": ""}
    web.studies |= {f"1.{number}": "20260102" for number in range(100, 100 + PAGE)}
    web.images = {f"{study}.5": file_with() for study in ("1.7", "1.8", "1.10")}
    assert Fetcher(spool, server, ANY).fetch() == 1
    fetcher = Fetcher(spool, server, replace(ANY, undated=True, modality="DX"))
    before = len(web.asked)
    assert fetcher.fetch() == 2
    lists = [(path, asked) for path, asked, _ in web.asked[before:] if "limit" in asked]
    of_studies = [asked for path, asked in lists if path.endswith("/studies")]
    assert [int(asked["offset"][0]) for asked in of_studies] == [0, PAGE, len(web.studies)]
    single = {path.split("/")[3] for path, _ in lists if path.count("/") == 4}
    assert single == {"1.8", "1.9", "1.10"}, "no list of a study with a date is read"
    assert all(asked["Modality"] == ["DX"] for path, asked in lists if "/instances" in path)
    assert fetcher.fetch() == 0


def test_our_own_pictures_are_not_taken_again_while_the_spool_is_full(
    web: Web, server: Server, spool: Spool
) -> None:
    spool.most = 1
    web.images = {"1.1": file_with(Manufacturer="medcnn"), "1.2": file_with(), "1.3": file_with()}
    fetcher = Fetcher(spool, server, ANY)
    for _ in range(2):
        with pytest.raises(FullError):
            fetcher.fetch()
    assert sum(path.endswith("/instances/1.1") for path, *_ in web.asked) == 1


@pytest.mark.parametrize(("status", "asked_for"), [(503, 2), (401, 2), (404, 4)])
def test_a_server_that_gives_no_file_is_not_asked_for_each(
    web: Web, server: Server, spool: Spool, status: int, asked_for: int
) -> None:
    web.images = {f"1.{i}": b"" for i in range(4)}
    web.broken = dict.fromkeys(web.images, status)
    with pytest.raises(WebError, match=f"HTTP {status}"):
        Fetcher(spool, server, ANY).fetch()
    assert sum("/studies/" in path for path, *_ in web.asked) == asked_for


def test_one_image_that_a_server_cannot_give_does_not_stop_the_others(
    web: Web, server: Server, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    web.images = {f"1.{i}": file_with() for i in range(4)}
    web.broken = {"1.0": 500, "1.2": 500}
    fetcher = Fetcher(spool, server, ANY)
    fetcher._over.wait = lambda _: fetcher._over.set()  # type: ignore[method-assign,assignment]
    fetcher.run()
    assert len(spool.waiting(9)) == 2
    (said,) = [r.getMessage() for r in caplog.records]
    assert said.endswith(": some images are not fetched: it answers HTTP 500")


def test_a_server_that_hangs_up_is_not_tried_with_each_result(web: Web, server: Server) -> None:
    web.down = True
    reasons = dict(server({"k": [an_object()], "l": [an_object()], "m": [an_object()]}))
    assert list(reasons) == ["k", "l", "m"]
    (reason,) = set(reasons.values())
    assert "does not answer (RemoteProtocolError)" in reason
    assert len(web.stored) == 1


def test_a_server_that_hangs_does_not_hold_up_the_end(
    web: Web, server: Server, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcnn.clinic.worker.STOP_S", 0.2)
    hangs, go_on = threading.Event(), threading.Event()

    def hang(*_: Any) -> Any:
        hangs.set()
        go_on.wait(20)
        return iter(())

    spool.receive("1.1", file_with())
    worker = Worker(spool, hang, lambda files: [[a_report(f)] for f in files])
    monkeypatch.setattr(server, "instances", hang)
    for thread in (worker, Fetcher(spool, server, ANY)):
        hangs.clear()
        thread.start()
        assert hangs.wait(10)
        thread.stop()
        assert thread.is_alive(), "or it did not hang"
    go_on.set()


def test_a_worker_that_is_asked_to_end_sends_no_more(spool: Spool) -> None:
    for uid in ("1.1", "1.2"):
        spool.receive(uid, file_with())
    worker = Worker(spool, lambda results: ends(results), lambda f: [[a_report(one)] for one in f])

    def ends(results: Any) -> Iterator[tuple[str, str]]:
        for key in results:
            worker.stop()
            yield key, ""

    assert worker.build() == 2
    assert worker.send() == 1
    assert len(spool.due(9)) == 1


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
    (said,) = [r.getMessage() for r in caplog.records]
    assert said.endswith(": nothing more is fetched for now: it answers HTTP 503")


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
        (200, [], ""),
        (202, [], "it answers HTTP 202"),
        (202, {"00081198": {"Value": None}}, ""),
        (202, {"00081198": []}, "it answers HTTP 202, and its list of failures cannot be read"),
        (202, {"00081198": {"Value": [{"00081197": {"Value": ["0x0111"]}}]}}, ODD),
        (202, {"00081198": {"Value": [None]}}, ODD),
        (202, {"00081198": {"Value": [{"00081197": {"Value": [0x0111]}}, {}]}}, ODD),
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


@pytest.mark.parametrize(("status", "reason"), [(200, ""), (202, "it answers HTTP 202")])
def test_what_is_not_json_does_not_say_that_all_was_stored(
    web: Web, server: Server, status: int, reason: str
) -> None:
    web.status, web.answer = status, b"<NativeDicomModel/>"
    assert list(server({"k": [an_object()]})) == [("k", reason)]


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
    assert fetcher.fetch() == 0, "a report is not an image"
    undated = {"StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.9.1", "StudyDate": ""}
    assert archive.send([an_object(**(about | undated)) for _ in range(2)]) == [0, 0]
    assert fetcher.fetch() == 0, "no query asks for them"
    more = Fetcher(spool, server, replace(ANY, undated=True))
    assert more.fetch() == 2
    assert more.fetch() == 0
    sent = {str(i.SOPInstanceUID) for i in archive.instances().values() if i.Modality == "SR"}
    assert len(sent) == 3
    server.close()


def a_report_of(file: Path) -> bytes:
    from io import BytesIO

    source, made = pydicom.dcmread(file), pydicom.dcmread(BytesIO(a_report(file)))
    made.StudyInstanceUID, made.SeriesInstanceUID = source.StudyInstanceUID, "1.2.3.5"
    made.PatientID, made.Modality = source.PatientID, "SR"
    return as_bytes(made)
