"""DICOM by TLS, with certificates that are made here."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

pytest.importorskip("pynetdicom", reason="the extra clinic is not installed")
from pynetdicom import AE, evt
from pynetdicom.sop_class import BasicTextSRStorage, Verification

from medcnn.clinic import door
from medcnn.clinic.review import serving
from medcnn.clinic.sending import Peer
from medcnn.clinic.spool import Spool
from medcnn.clinic.storage import Receiving, start
from medcnn.clinic.tls import receiving, sending
from medcnn.system.errors import UsageError
from tests.clinic.test_receiver import GOLDEN, an_object, free_port
from tests.command import run


@dataclass(frozen=True)
class Pair:
    certificate: str
    key: str


def pair(folder: Path, name: str, *more: str) -> Pair:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = Pair(str(folder / f"{name}.pem"), str(folder / f"{name}.key"))
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-keyout", made.key, "-out", made.certificate, "-days", "2", "-subj", f"/CN={name}"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", *(more or ("-nodes",))]
    subprocess.run(words, check=True, capture_output=True)
    return made


@pytest.fixture
def ours(tmp_path: Path) -> Pair:
    return pair(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Pair:
    return pair(tmp_path, "theirs")


@pytest.fixture
def port(tmp_path: Path, ours: Pair, theirs: Pair) -> Iterator[int]:
    """Of a receiver that wants to see the certificate of the others."""
    spool = Spool(tmp_path / "spool", "a" * 64, most=9, remembered=9, least_free_bytes=0)
    how = Receiving(
        host="127.0.0.1",
        port=free_port(),
        title="MEDCNN",
        allowed=["PACS"],
        most_mb=1,
        per_minute=1000,
        associations=4,
        context=receiving(ours.certificate, ours.key, theirs.certificate),
    )
    server = start(spool, how)
    yield how.port
    server.shutdown()
    spool.close()


def echo(port: int, tls: Any, within_s: float = 5) -> bool:
    ae = AE(ae_title="PACS")
    ae.acse_timeout = ae.connection_timeout = within_s
    ae.add_requested_context(Verification)
    assoc = ae.associate("127.0.0.1", port, ae_title="MEDCNN", tls_args=tls)
    if not assoc.is_established:
        if assoc.dul.socket is not None and assoc.dul.socket.socket is not None:
            assoc.dul.socket.socket.close()
        return False
    heard = assoc.send_c_echo().Status == 0x0000
    assoc.release()
    return heard


def test_only_who_shows_a_known_certificate_is_heard(port: int, ours: Pair, theirs: Pair) -> None:
    known = sending("ca", ours.certificate, (theirs.certificate, theirs.key))
    assert echo(port, (known, "127.0.0.1"))
    stranger = sending("ca", ours.certificate, (ours.certificate, ours.key))
    assert not echo(port, (stranger, "127.0.0.1"))
    nobody = sending("ca", ours.certificate)
    assert not echo(port, (nobody, "127.0.0.1"))
    assert not echo(port, None), "without TLS"
    assert echo(port, (known, "127.0.0.1")), "the others did no harm"


def test_who_says_nothing_does_not_keep_others_out(port: int, ours: Pair, theirs: Pair) -> None:
    known = sending("ca", ours.certificate, (theirs.certificate, theirs.key))
    with socket.create_connection(("127.0.0.1", port)):
        assert echo(port, (known, "127.0.0.1"))


def flood(port: int, many: int, first: bytes = b"") -> list[socket.socket]:
    """Connections that say this and no more."""
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(many)]
    for one in opened:
        one.settimeout(60)
        one.sendall(first)
    return opened


def ended(one: socket.socket) -> bool:
    """Whether the other side ends it."""
    with one, suppress(ConnectionError):
        while one.recv(1000):  # an alert
            pass
    return True


@pytest.mark.parametrize("first", [b"", b"\x16\x03\x01\x02"], ids=["nothing", "half a hello"])
def test_many_who_say_nothing_keep_no_sender_out_and_are_ended(
    port: int, ours: Pair, theirs: Pair, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    known = sending("ca", ours.certificate, (theirs.certificate, theirs.key))
    monkeypatch.setattr(door, "SILENT_S", 8.0)
    silent = flood(port, door.MOST_SILENT + 8, first)
    assert echo(port, (known, "127.0.0.1"), 60)
    assert [one for one in silent[:8] if not ended(one)] == [], "silent for longest"
    monkeypatch.setattr(door, "SILENT_S", 0.5)
    (late,) = flood(port, 1, first)
    began = time.monotonic()
    assert ended(late)
    assert time.monotonic() - began < 15
    assert [one for one in silent[8:] if not ended(one)] == []
    assert gone_within(60) == [], "no thread waits for them"


def gone_within(seconds: float) -> list[threading.Thread]:
    """Threads that are still there then, of those that hear senders."""
    until = time.monotonic() + seconds
    while left := [t for t in threading.enumerate() if "AcceptorThread" in t.name]:
        if time.monotonic() > until:
            return left
        time.sleep(0.1)
    return []


def test_only_those_who_ask_count_as_senders(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "a" * 64, most=9, remembered=9, least_free_bytes=0)
    limits = {"most_mb": 1, "per_minute": 1000, "associations": 2, "port": free_port()}
    how = Receiving(host="127.0.0.1", title="MEDCNN", allowed=["PACS"], **limits)
    server = start(spool, how)
    silent = flood(how.port, 20)
    ae = AE(ae_title="PACS")
    ae.add_requested_context(Verification)
    ae.acse_timeout = ae.connection_timeout = 60
    heard = [ae.associate("127.0.0.1", how.port, ae_title="MEDCNN") for _ in range(3)]
    assert [one.is_established for one in heard] == [True, True, False]
    assert heard[2].is_rejected
    assert heard[0].send_c_echo().Status == 0x0000
    heard[0].release()
    assert echo_soon(how.port)
    heard[1].release()
    for one in silent:
        one.close()
    server.shutdown()
    spool.close()


def echo_soon(port: int) -> bool:
    """Whether a sender is heard within some seconds, when the thread of another has ended."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if echo(port, None, 30):
            return True
        time.sleep(0.2)
    return False


def test_the_page_ends_handshakes_that_do_not_and_answers_others(
    ours: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HANDSHAKE_S", 5.0)
    monkeypatch.setattr(serving, "MOST_UNHEARD", 16)

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    config = uvicorn.Config(
        app,
        http=serving.Connection,
        log_config=None,
        lifespan="off",
        ssl_certfile=ours.certificate,
        ssl_keyfile=ours.key,
    )
    server, listening = uvicorn.Server(config), socket.create_server(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    thread = threading.Thread(target=serving.answer, args=(server, listening), daemon=True)
    thread.start()
    silent = flood(port, 20, b"\x16\x03\x01\x02")
    trusted = sending("ca", ours.certificate)
    answer = httpx.get(f"https://127.0.0.1:{port}/", verify=trusted, timeout=60)
    assert answer.status_code == 204
    began = time.monotonic()
    assert [one for one in silent if not ended(one)] == []
    assert time.monotonic() - began < 30, "asyncio would give them a minute"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def test_results_travel_by_tls_to_a_peer_whose_certificate_is_trusted(
    ours: Pair, theirs: Pair
) -> None:
    got: list[str] = []

    def store(event: Any) -> int:
        got.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    ae, at = AE(ae_title="ARCHIVE"), free_port()
    ae.add_supported_context(BasicTextSRStorage)
    archive = ae.start_server(
        ("127.0.0.1", at),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, store)],
        ssl_context=receiving(theirs.certificate, theirs.key, ours.certificate),
    )
    report = an_object(SOPClassUID=BasicTextSRStorage)
    own = (ours.certificate, ours.key)

    def peer(ca: str) -> Peer:
        context = sending("peer.tls_ca", ca, own)
        return Peer(host="127.0.0.1", port=at, title="ARCHIVE", own_title="ME", context=context)

    assert list(peer(theirs.certificate)({"k": [report]})) == [("k", "")]
    assert got == [report.SOPInstanceUID]
    ((_, why),) = peer(ours.certificate)({"k": [report]})
    assert why.endswith("does not answer, or its TLS certificate is not trusted")
    archive.shutdown()


def test_files_that_do_not_fit_are_named(tmp_path: Path, ours: Pair, theirs: Pair) -> None:
    with pytest.raises(UsageError, match=r"scp\.tls_key=.* cannot be used"):
        receiving(ours.certificate, theirs.key, None)
    locked = pair(tmp_path, "locked", "-passout", "pass:secret")
    with pytest.raises(UsageError, match="unencrypted key"):
        receiving(locked.certificate, locked.key, None)
    with pytest.raises(UsageError, match=r"peer\.tls_ca=.*ours\.key cannot be used"):
        sending("peer.tls_ca", ours.key)


def test_a_key_of_another_certificate_ends_the_command(
    tmp_path: Path, ours: Pair, theirs: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"folder={tmp_path / 'served'}", "port=0", "trainer.device=cpu")
    words += (f"scp.port={free_port()}", "scp.allowed=[PACS]", f"scp.tls_key={theirs.key}")
    words += ("peer.host=a", "peer.port=104", "peer.title=A")
    assert run("serve", GOLDEN, *words, f"scp.tls_certificate={ours.certificate}") == 2
    assert "scp.tls_certificate and scp.tls_key=" in " ".join(capsys.readouterr().err.split())
