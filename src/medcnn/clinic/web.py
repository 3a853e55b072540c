"""DICOMweb (PS3.18): fetches the images of a server (QIDO-RS, WADO-RS) and stores results there
(STOW-RS)."""

from __future__ import annotations

import re
import ssl
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import httpx

from medcnn.clinic.objects import file_of
from medcnn.clinic.spool import FullError, Spool
from medcnn.clinic.storage import image_classes, made_here
from medcnn.system.progress import log

TIMEOUT_S = 60
PAGE = 200
JSON = {"Accept": "application/dicom+json"}
# Every transfer syntax as it is stored (PS3.18 8.7.3.5.2).
FILES = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
SOP_CLASS, INSTANCE, STUDY, SERIES = "00080016", "00080018", "0020000D", "0020000E"
# PS3.18 I.2: FailedSOPSequence and FailureReason; the server has the object already.
FAILED, REASON, DUPLICATE = "00081198", "00081197", 0x0111


class WebError(Exception):
    """The server did not do it; the text names no patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which images are fetched.

    Attributes:
        modality: such as DX; None: any.
        days: of studies of today and the days before, so many together.
        every_s: how often the server is asked.
    """

    modality: str | None
    days: int
    every_s: int
    most_mb: int


class Server:
    """A DICOMweb server.

    Args:
        credentials: `user:password`, or a bearer token; "" where none are needed.
        context: whose certificates are trusted.
    """

    def __init__(self, url: str, credentials: str, context: ssl.SSLContext) -> None:
        self.url = url.rstrip("/")
        basic = ":" in credentials
        bearer = {"Authorization": f"Bearer {credentials}"} if credentials and not basic else {}
        self._client = httpx.Client(
            timeout=TIMEOUT_S,
            verify=context,
            headers=bearer,
            auth=tuple(credentials.split(":", 1)) if basic else None,  # type: ignore[arg-type]
            trust_env=False,  # images of patients go nowhere but to the url
        )

    def close(self) -> None:
        self._client.close()

    def instances(self, wanted: Wanted) -> Iterator[dict[str, str]]:
        """UIDs of images (QIDO-RS, PS3.18 10.6), tag -> UID; raises WebError."""
        since = date.today() - timedelta(days=wanted.days - 1)
        asked = {"StudyDate": f"{since:%Y%m%d}-{date.today():%Y%m%d}", "limit": str(PAGE)}
        if wanted.modality:
            asked["Modality"] = wanted.modality
        start, classes = 0, set(image_classes())
        while True:
            answer = self._asked("instances", {**asked, "offset": str(start)}, JSON)
            found = [] if answer.status_code == 204 else _listed(answer)
            for item in found:
                uids = {tag: _first(item, tag) for tag in (SOP_CLASS, INSTANCE, STUDY, SERIES)}
                if uids[SOP_CLASS] in (*classes, "") and all(
                    re.fullmatch(r"[0-9.]{1,64}", uids[tag]) for tag in (INSTANCE, STUDY, SERIES)
                ):
                    yield uids
            if len(found) < PAGE:
                return
            start += PAGE

    def file(self, uids: Mapping[str, str], most_mb: int) -> bytes:
        """An image as it is stored (WADO-RS, PS3.18 10.4); raises WebError."""
        path = f"studies/{uids[STUDY]}/series/{uids[SERIES]}/instances/{uids[INSTANCE]}"
        body = bytearray()
        try:
            with self._client.stream("GET", f"{self.url}/{path}", headers=FILES) as answer:
                if answer.status_code != 200:
                    raise WebError(f"it answers HTTP {answer.status_code}")
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > most_mb * 1_000_000:
                        raise WebError(f"an image has more than {most_mb} MB")
                return part_of(bytes(body), answer.headers.get("content-type", ""))
        except httpx.HTTPError as error:
            raise WebError(f"it does not answer ({type(error).__name__})") from error

    def __call__(self, results: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, str]]:
        """As `Deliver` (STOW-RS, PS3.18 10.5)."""
        for key, objects in results.items():
            boundary = uuid.uuid4().hex
            kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
            parts = [
                f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
                + file_of(made)
                + b"\r\n"
                for made in objects
            ]
            body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
            try:
                answer = self._client.post(
                    f"{self.url}/studies", content=body, headers={**JSON, "Content-Type": kind}
                )
                yield key, _refused(answer)
            except httpx.HTTPError as error:
                yield key, f"{self.url} does not answer ({type(error).__name__})"

    def _asked(self, path: str, asked: Mapping[str, str], headers: Any) -> httpx.Response:
        try:
            answer = self._client.get(f"{self.url}/{path}", params=dict(asked), headers=headers)
        except httpx.HTTPError as error:
            raise WebError(f"it does not answer ({type(error).__name__})") from error
        if answer.status_code not in (200, 204):
            raise WebError(f"it answers HTTP {answer.status_code}")
        return answer


def _listed(answer: httpx.Response) -> list[dict[str, Any]]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise WebError("its answer is no list of DICOM objects: is this the root of DICOMweb?")
    return found


def _first(item: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute (PS3.18 F.2); "" where it has none."""
    try:
        return str(item[tag]["Value"][0])
    except (LookupError, TypeError):
        return ""


def _refused(answer: httpx.Response) -> str:
    """Why a server did not store all; "" where it has all of them."""
    try:
        failed = answer.json().get(FAILED, {}).get("Value", [])
        reasons = [int(_first(one, REASON) or 0) for one in failed]
    except (ValueError, AttributeError):
        reasons = []
    others = [reason for reason in reasons if reason != DUPLICATE]
    if others:
        return f"it answers HTTP {answer.status_code}, reason 0x{others[0]:04X}"
    if answer.status_code in (200, 202) or (answer.status_code == 409 and reasons):
        return ""
    return f"it answers HTTP {answer.status_code}"


def part_of(body: bytes, content_type: str) -> bytes:
    """The first part of a multipart answer (RFC 2046 5.1); raises WebError."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if not found:
        raise WebError("its answer has no parts")
    edge = b"--" + found[1].strip().encode()
    _, _, rest = body.partition(edge)
    head, _, data = rest.partition(b"\r\n\r\n")
    end = data.find(b"\r\n" + edge)
    if end < 0 or b"application/dicom" not in head.lower():
        raise WebError("its answer is cut short, or no DICOM file")
    return data[:end]


class Fetcher(threading.Thread):
    """Asks a server for images that the spool does not know, until `stop`."""

    def __init__(self, spool: Spool, server: Server, wanted: Wanted) -> None:
        super().__init__(name="fetcher", daemon=True)
        self.spool, self.server, self.wanted = spool, server, wanted
        self._over, self._said = threading.Event(), ""
        # pictures of maps that we stored there, as the last round saw them
        self._ours: set[str] = set()

    def stop(self) -> None:
        self._over.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.fetch()
                self._say("")
            except (WebError, FullError) as error:
                self._say(str(error))
            except Exception as error:  # a full disk, a locked table: the server keeps its images
                self._say(f"{type(error).__name__}")
            self._over.wait(self.wanted.every_s)

    def _say(self, why: str) -> None:
        """Log a reason when it begins, not each time."""
        if why and why != self._said:
            log.warning(f"{self.server.url}: nothing more is fetched for now: {why}")
        self._said = why

    def fetch(self) -> int:
        """Take what is new into the spool; how many images.

        Raises:
            WebError: the server did not answer, or not as it should.
            FullError: there is no room; the others are fetched next time.
        """
        taken, last, ours = 0, "", set[str]()
        for uids in self.server.instances(self.wanted):
            if self._over.is_set():
                break
            if uids[INSTANCE] in self._ours:
                ours.add(uids[INSTANCE])
            if uids[INSTANCE] in ours or self.spool.knows(uids[INSTANCE]):
                continue
            try:
                data = self.server.file(uids, self.wanted.most_mb)
            except WebError as error:  # the others may be there
                last = str(error)
                continue
            if made_here(data):
                ours.add(uids[INSTANCE])
            else:
                taken += self.spool.receive(uids[INSTANCE], data)
        self._ours = ours
        if last:
            raise WebError(last)
        return taken
