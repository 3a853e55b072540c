"""DICOMweb (PS3.18): fetches the images of a server (QIDO-RS, WADO-RS) and stores results there
(STOW-RS)."""

from __future__ import annotations

import re
import ssl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import httpx

from medcnn.clinic.objects import file_of
from medcnn.clinic.spool import FullError, Spool
from medcnn.clinic.storage import image_classes, made_here
from medcnn.clinic.worker import Stoppable
from medcnn.system.progress import log

TIMEOUT = httpx.Timeout(60, connect=10)
PAGE = 200
JSON = {"Accept": "application/dicom+json"}
# Every transfer syntax as it is stored (PS3.18 8.7.3.5.2).
FILES = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
SOP_CLASS, INSTANCE, STUDY, SERIES = "00080016", "00080018", "0020000D", "0020000E"
STUDY_DATE = "00080020"
# PS3.18 I.2: FailedSOPSequence and FailureReason; the server has the object already.
FAILED, REASON, DUPLICATE = "00081198", "00081197", 0x0111
UID = re.compile(r"[0-9.]{1,64}")


class WebError(Exception):
    """The server did not do it; the text names no patient."""


class DownError(WebError):
    """It would not do it for another image either."""


class LargeError(WebError):
    """An image is larger than is taken."""


class SomeError(WebError):
    """Some images were not fetched; the others were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which images are fetched.

    Attributes:
        modality: such as DX; None: any.
        days: of studies of today and the days before, so many together.
        undated: also of studies without a date, for which there is no query: the list of all
            studies is read each time.
        every_s: how often the server is asked.
    """

    modality: str | None
    days: int
    every_s: int
    most_mb: int
    undated: bool = False


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
            timeout=TIMEOUT,
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
        days = {"StudyDate": f"{since:%Y%m%d}-{date.today():%Y%m%d}"}
        of = {"Modality": wanted.modality} if wanted.modality else {}
        yield from self._images("instances", {**days, **of})
        for study in self._items("studies", {}, STUDY) if wanted.undated else ():
            uid, dated = _first(study, STUDY), _first(study, STUDY_DATE)
            if not re.fullmatch(r"[0-9]{8}", dated) and UID.fullmatch(uid):
                yield from self._images(f"studies/{uid}/instances", of)

    def _images(self, path: str, asked: Mapping[str, str]) -> Iterator[dict[str, str]]:
        classes = {*image_classes(), ""}
        for item in self._items(path, asked, INSTANCE):
            uids = {tag: _first(item, tag) for tag in (SOP_CLASS, INSTANCE, STUDY, SERIES)}
            named = all(UID.fullmatch(uids[tag]) for tag in (INSTANCE, STUDY, SERIES))
            if named and uids[SOP_CLASS] in classes:
                yield uids

    def _items(self, path: str, asked: Mapping[str, str], tag: str) -> Iterator[dict[str, Any]]:
        """A list to its end, each item once, known by the UID in `tag`."""
        start, seen = 0, set[str]()
        while True:
            page = {**asked, "limit": str(PAGE), "offset": str(start)}
            answer = self._asked(path, page, JSON)
            found = [] if answer.status_code == 204 else _listed(answer)
            new = {uid: item for item in found if (uid := _first(item, tag)) not in seen}
            seen |= new.keys()
            yield from new.values()
            # a server may give fewer than were asked for, or ignore where to start
            if not new:
                return
            start += len(found)

    def file(self, uids: Mapping[str, str], most_mb: int) -> bytes:
        """An image as it is stored (WADO-RS, PS3.18 10.4); raises WebError."""
        path = f"studies/{uids[STUDY]}/series/{uids[SERIES]}/instances/{uids[INSTANCE]}"
        body = bytearray()
        try:
            with self._client.stream("GET", f"{self.url}/{path}", headers=FILES) as answer:
                status = answer.status_code
                if status != 200:
                    down = status in (401, 403) or status >= 500
                    raise (DownError if down else WebError)(f"it answers HTTP {status}")
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > most_mb * 1_000_000:
                        raise LargeError(f"an image has more than {most_mb} MB (max_mb)")
                return part_of(bytes(body), answer.headers.get("content-type", ""))
        except httpx.TransportError as error:
            raise DownError(f"it does not answer ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise WebError(f"its answer cannot be read ({type(error).__name__})") from error

    def __call__(self, results: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, str]]:
        """As `Deliver` (STOW-RS, PS3.18 10.5)."""
        down = ""
        for key, objects in results.items():
            if down:
                yield key, down
                continue
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
                why = _refused(answer)
            except httpx.HTTPError as error:
                why = f"{self.url} does not answer ({type(error).__name__})"
                down = why if isinstance(error, httpx.TransportError) else ""
            yield key, why

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
        raise WebError("its answer is not a list of DICOM objects: is web.url the DICOMweb root?")
    return found


def _first(item: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute (PS3.18 F.2); "" where it has none."""
    try:
        return str(item[tag]["Value"][0])
    except (LookupError, TypeError):
        return ""


def _refused(answer: httpx.Response) -> str:
    """Why a server did not store all; "" where it has all of them. 202 says that it has some, so
    that without a list of the others nothing is known."""
    said = f"it answers HTTP {answer.status_code}"
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return "" if answer.status_code == 200 else said
    try:
        reasons = [_reason(one) for one in body.get(FAILED, {}).get("Value") or []]
    except (AttributeError, TypeError):
        return f"{said}, and its list of failures cannot be read"
    for reason in reasons:
        if reason is None:
            return f"{said}, with a reason that cannot be read"
        if reason != DUPLICATE:
            return f"{said}, reason 0x{reason:04X}"
    if answer.status_code in (200, 202) or (answer.status_code == 409 and reasons):
        return ""
    return said


def _reason(failed: Any) -> int | None:
    try:
        return int(_first(failed, REASON))
    except ValueError:
        return None


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


class Fetcher(Stoppable):
    """Asks a server for images that the spool does not know, until `stop`."""

    def __init__(self, spool: Spool, server: Server, wanted: Wanted) -> None:
        super().__init__("fetcher")
        self.spool, self.server, self.wanted = spool, server, wanted
        self._said = ""
        # pictures of maps that we stored there
        self._ours: set[str] = set()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.fetch()
                self._say("")
            except SomeError as error:
                self._say(f"some images are not fetched: {error}")
            except (WebError, FullError) as error:
                self._say(f"nothing more is fetched for now: {error}")
            except Exception as error:  # a full disk, a locked table: the server keeps its images
                self._say(f"nothing more is fetched for now: {type(error).__name__}")
            self._over.wait(self.wanted.every_s)

    def _say(self, why: str) -> None:
        """Log a reason when it begins, not each time."""
        if why and why != self._said and not self._over.is_set():
            log.warning(f"{self.server.url}: {why}")
        self._said = why

    def fetch(self) -> int:
        """Take what is new into the spool; how many images.

        Raises:
            WebError: the server did not answer, or not as it should.
            SomeError: some images are not there, or too large; the latter have failed.
            FullError: there is no room; the others are fetched next time.
        """
        taken, last, down, listed = 0, "", False, set[str]()
        for uids in self.server.instances(self.wanted):
            if self._over.is_set():
                return taken
            uid = uids[INSTANCE]
            listed.add(uid)
            if uid in self._ours or self.spool.knows(uid):
                continue
            try:
                data = self.server.file(uids, self.wanted.most_mb)
            except DownError as error:
                if down:  # one may hang for reasons of its own, two mean the server
                    raise
                down, last = True, str(error)
                continue
            except WebError as error:  # the others may be there
                last = str(error)
                if isinstance(error, LargeError):
                    self.spool.unfetched(uid, last)
                continue
            down = False
            if made_here(data):
                self._ours.add(uid)
            else:
                taken += self.spool.receive(uid, data)
        self._ours &= listed
        if last:
            raise SomeError(last)
        return taken
