"""Load on `medcnn serve`: 2 senders, 2,000 images, and three kills with SIGKILL.

    python benchmarks/serve.py CHECKPOINT [IMAGES] [KILLS] > benchmarks/results/serve.json

Counts which images got an answer and how many different ones, and the memory of the server over
time. Exit code 1 unless each image is answered by exactly one report.
"""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedSRStorage,
)

SENDERS, SIDE = 2, 96
UP_S, QUIET_S, WHOLE_S = 180, 1.0, 3600
# Answers after which a server holds all that it loads late.
WARM = 50


def phantom(number: int, series: str, study: str) -> pydicom.Dataset:
    """A small radiograph; no two are alike."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    centre = rng.uniform(0.3, 0.7, 2)
    blob = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 0.02)
    pixels = (1000 + 2000 * blob + rng.normal(0, 60, (SIDE, SIDE))).clip(0, 4095)
    made = pydicom.Dataset()
    made.SOPClassUID, made.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = study, series
    made.PatientID, made.PatientName = f"P{number // 4}", f"Phantom^{number // 4}"
    made.StudyDate, made.StudyTime, made.Modality = "20260101", "120000", "DX"
    made.InstanceNumber = number + 1
    made.Rows, made.Columns, made.SamplesPerPixel = SIDE, SIDE, 1
    made.PhotometricInterpretation, made.PixelRepresentation = "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    made.PixelData = pixels.astype(np.uint16).tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


class Archive:
    """Takes reports, and knows which image each is about."""

    def __init__(self) -> None:
        self.reports: dict[str, set[str]] = defaultdict(set)
        self.contents: dict[str, set[bytes]] = defaultdict(set)
        self.times: Counter[str] = Counter()
        ae = AE(ae_title="ARCHIVE")
        for uid in (EnhancedSRStorage, ComprehensiveSRStorage):
            ae.add_supported_context(uid, ExplicitVRLittleEndian)
        self.port = free_port()
        self.server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)]
        )

    def store(self, event: evt.Event) -> int:
        made, uid = event.dataset, str(event.request.AffectedSOPInstanceUID)
        evidence = made.CurrentRequestedProcedureEvidenceSequence[0]
        source = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        self.reports[str(source.ReferencedSOPInstanceUID)].add(uid)
        self.contents[uid].add(event.encoded_dataset(include_meta=False))
        self.times[uid] += 1
        return 0x0000


class Server:
    """`medcnn serve` in a process that can be killed."""

    def __init__(self, checkpoint: str, folder: Path, archive_port: int) -> None:
        self.port, page = free_port(), free_port()
        self.command = [
            *(sys.executable, "-m", "medcnn", "serve", checkpoint, f"folder={folder}"),
            *(f"port={page}", f"scp.port={self.port}", "scp.allowed=[SENDER]", "scp.maps=false"),
            *("peer.host=127.0.0.1", f"peer.port={archive_port}", "peer.title=ARCHIVE"),
            *("scp.per_minute=1000000", "trainer.device=cpu", "trainer.threads=1"),
        ]
        self.address = f"http://127.0.0.1:{page}"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + UP_S
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.2)
        raise SystemExit("the server does not start")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def rss_mb(self) -> float:
        """Of the process, its decoders not counted."""
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return float("nan")
        found = next((line for line in lines if line.startswith("VmRSS")), "x 0 kB")
        return int(found.split()[1]) / 1000


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def send(images: list[pydicom.Dataset], server: Server, told: Counter[str]) -> None:
    """As an archive does: an image that was not acknowledged is sent again."""
    left = list(images)
    while left:
        ae = AE(ae_title="SENDER")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
        ae.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
        association = ae.associate("127.0.0.1", server.port, ae_title="MEDCNN")
        while left and association.is_established:
            try:
                status = association.send_c_store(left[0]).get("Status")
            except (RuntimeError, ValueError):
                break
            told[str(status)] += 1
            if status != 0x0000:
                break
            left.pop(0)
        if association.is_established:
            association.release()
        if left:
            time.sleep(QUIET_S)


@dataclass
class Watched:
    """What was seen once a second: seconds, images answered, MB of the server, and its life."""

    began: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, int, float, int]] = field(default_factory=list)

    def look(self, answered: int, server: Server, life: int) -> None:
        self.seen.append((time.monotonic() - self.began, answered, server.rss_mb(), life))
        if len(self.seen) % 20 == 0:
            second, done, mb, _ = self.seen[-1]
            print(f"{second:6.0f} s  {done:5} answered  {mb:6.0f} MB", file=sys.stderr, flush=True)

    def lives(self) -> list[dict[str, float]]:
        """Of each life of the server: answers; its memory when it was warm, at most, and last."""
        found = []
        for life in sorted({life for *_, life in self.seen}):
            own = [s for s in self.seen if s[3] == life and math.isfinite(s[2])]
            warm = [s for s in own if s[1] >= own[0][1] + WARM] or own
            found.append(
                {
                    "answered": own[-1][1] - own[0][1],
                    "mb_warm": round(warm[0][2]),
                    "mb_most": round(max(s[2] for s in own)),
                    "mb_last": round(own[-1][2]),
                }
            )
        return found


def load(checkpoint: str, count: int, kills: int, folder: Path) -> dict[str, Any]:
    """What was seen, with `faults`: what is wrong after `count` images and `kills`."""
    archive, told = Archive(), Counter[str]()
    places = [(generate_uid(), generate_uid()) for _ in range(SENDERS)]
    images = [phantom(i, *places[i % SENDERS]) for i in range(count)]
    server, watched, life = Server(checkpoint, folder, archive.port), Watched(), 0
    threads = [
        threading.Thread(target=send, args=(images[i::SENDERS], server, told), daemon=True)
        for i in range(SENDERS)
    ]
    for thread in threads:
        thread.start()
    at = [count * (k + 1) // (kills + 1) for k in range(kills)]
    while len(archive.reports) < count and time.monotonic() - watched.began < WHOLE_S:
        time.sleep(QUIET_S)
        watched.look(len(archive.reports), server, life)
        if at and watched.seen[-1][1] >= at[0]:
            at.pop(0)
            server.kill()
            print(f"killed after {watched.seen[-1][1]} answers", file=sys.stderr, flush=True)
            server.start()
            life += 1
    took = time.monotonic() - watched.began
    time.sleep(3 * QUIET_S)  # whatever would be sent twice
    server.process.terminate()
    ended = server.process.wait(60)
    archive.server.shutdown()
    return {
        "images": count,
        "senders": SENDERS,
        "kills": life,
        "seconds": round(took),
        "answered": len(archive.reports),
        "sent again, same UID and content": sum(n - 1 for n in archive.times.values()),
        "senders heard": dict(told),
        "lives": watched.lives(),
        "every 20 s: seconds, answered, MB": [
            (round(second), done, round(mb)) for second, done, mb, _ in watched.seen[::20]
        ],
        "faults": faults(archive, {str(image.SOPInstanceUID) for image in images}, ended),
    }


def faults(archive: Archive, asked: set[str], ended: int) -> list[str]:
    """What is wrong; nothing if all is well."""
    found = [f"{len(asked - archive.reports.keys())} images without an answer"]
    found += [f"{len(archive.reports.keys() - asked)} answers to nothing"]
    found += [f"{sum(len(r) != 1 for r in archive.reports.values())} images with several answers"]
    found += [f"{sum(len(c) != 1 for c in archive.contents.values())} reports of several contents"]
    found += [f"{ended} as exit code"]
    return [fault for fault in found if not fault.startswith("0 ")]


def main(checkpoint: str, count: str = "2000", kills: str = "3") -> None:
    """Prints what was found."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found = load(checkpoint, int(count), int(kills), Path(folder) / "served")
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "threads": 1}
    print(json.dumps({"checkpoint": Path(checkpoint).name, **machine, **found}, indent=1))
    if found["faults"]:
        raise SystemExit("; ".join(found["faults"]))
    print("every image was answered once", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
