"""`serve`: a page on this machine for reviewing images, and a DICOM receiver that answers."""

from __future__ import annotations

import importlib
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medcnn.system.errors import MedcnnError, UsageError, pip_install
from medcnn.system.settings import called, within
from medcnn.verbs import Command, Verb

if TYPE_CHECKING:
    from medcnn.config import Device, Explain, Precision, ReadingConfig
    from medcnn.models.deployed import Model

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ANYWHERE = ("0.0.0.0", "::", "")
# Settings with their values in serve.yaml.
Defaults = dict[str, object]
# Settings that name a file.
FILES = (
    *("token_file", "tls_certificate", "tls_key", "web.credentials", "web.ca"),
    *("scp.tls_certificate", "scp.tls_key", "scp.tls_ca", "peer.tls_ca"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScpConfig:
    port: int | None = within(1, 65_535)
    host: str
    title: str
    allowed: tuple[str, ...]
    per_minute: int = within(1, 1_000_000)
    queue: int = within(1, 10_000_000)
    remembered: int = within(1, 100_000_000)
    associations: int = within(1, 100)
    min_free_mb: int = within(0, 1_000_000)
    tls_certificate: str | None
    tls_key: str | None
    tls_ca: str | None
    maps: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    host: str | None
    port: int | None = within(1, 65_535)
    title: str | None
    tls: bool
    tls_ca: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    url: str | None
    fetch: bool
    send: bool
    modality: str | None
    days: int = within(1, 36_500)
    every_s: int = within(1, 86_400)
    undated: bool
    credentials: str | None
    ca: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    checkpoint: str
    trusted: bool
    host: str
    port: int = within(0, 65_535)
    names: tuple[str, ...]
    token_file: str | None
    tls_certificate: str | None
    tls_key: str | None
    folder: str
    keep_images: bool
    max_mb: int = within(1, 4_000)
    scp: ScpConfig
    web: WebConfig
    peer: PeerConfig
    explain: Explain
    device: Device = called("trainer.device")
    precision: Precision = called("trainer.precision")
    threads: int | None = within(1, called="trainer.threads")
    data: ReadingConfig

    def contradictions(self) -> list[str]:
        from medcnn.places import trust_faults

        faults = trust_faults(self.checkpoint, trusted=self.trusted)
        if self.host not in LOOPBACK and self.token_file is None:
            faults.append(
                f"host={self.host} can be reached from other machines, so token_file is required: "
                "a file that only you can read, with a secret of "
                "16 characters or more (openssl rand -hex 32)."
            )
        if self.host in ANYWHERE and not self.names:
            faults.append(
                f"host={self.host} has no name of its own: set the names that browsers will use, "
                "such as names=[review.hospital.org,192.168.1.20]."
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            faults.append("tls_certificate and tls_key go together; one of them is missing.")
        if (self.scp.tls_certificate is None) != (self.scp.tls_key is None):
            faults.append("scp.tls_certificate and scp.tls_key go together; one is missing.")
        return [*faults, *self._dicom_faults(), *self._unused()]

    def _unused(self) -> list[str]:
        """Settings that differ from serve.yaml although nothing uses them."""
        return [
            f"{name} has no effect without {needed}."
            for given, needed, defaults in self.needs()
            if not given
            for name, default in defaults.items()
            if attrgetter(name)(self) != default
        ]

    def needs(self) -> tuple[tuple[bool, str, Defaults], ...]:
        """Whether something is given, what it is, and the settings that need it with their
        defaults."""
        scp, web, peer = self.scp, self.web, self.peer
        url, listens = web.url or "", scp.port is not None
        to_peer = peer.host is not None and not (url and web.send)
        spool = {"scp.queue": 10_000, "scp.remembered": 1_000_000, "scp.min_free_mb": 500}
        sender = {"scp.host": "127.0.0.1", "scp.per_minute": 600, "scp.associations": 10}
        asked: Defaults = {"web.modality": None, "web.days": 2, "web.every_s": 30}
        asked |= {"web.undated": False}
        own: Defaults = {"scp.tls_certificate": None, "scp.tls_key": None}
        return (
            (listens, "scp.port=", {"scp.allowed": (), "scp.tls_ca": None, **sender}),
            (listens or peer.tls, "scp.port= or peer.tls=true", own),
            (
                bool(scp.tls_certificate),
                "scp.tls_certificate and scp.tls_key",
                {"scp.tls_ca": None},
            ),
            (self.receives, "scp.port= or web.fetch=true", {**spool, "scp.maps": True}),
            (bool(url), "web.url=", {"web.fetch": True, "web.send": True, "web.credentials": None}),
            (bool(url) and web.fetch, "web.url= and web.fetch=true", asked),
            (url.startswith("https:"), "an https:// address in web.url", {"web.ca": None}),
            (web.fetch or web.send, "web.fetch=true or web.send=true", {"web.url": None}),
            (to_peer, "results that go to peer.host=", {"peer.tls": False, "peer.tls_ca": None}),
            (peer.tls, "peer.tls=true", {"peer.tls_ca": None}),
        )

    def _dicom_faults(self) -> list[str]:
        titles = {"scp.title": self.scp.title, "peer.title": self.peer.title}
        titles |= {f"scp.allowed ({title})": title for title in self.scp.allowed}
        faults = [
            f"{name} should be a DICOM title: 1 to 16 printable characters without a backslash."
            for name, title in titles.items()
            if title is not None and not re.fullmatch(r"(?! )[ -\[\]-~]{1,16}(?<! )", title)
        ]
        if self.scp.port is not None and not self.scp.allowed:
            faults.append("scp.port needs scp.allowed: the titles of senders, such as [PACS].")
        return [*faults, *self._way_faults()]

    def _way_faults(self) -> list[str]:
        """Faults in where images come from and results go."""
        web, peer = self.web, self.peer
        given = {"peer.host": peer.host, "peer.port": peer.port, "peer.title": peer.title}
        missing = [name for name, value in given.items() if value is None]
        if web.url is not None and not re.fullmatch(r"https?://[^/@?#\s]+(/[^?#\s]*)?", web.url):
            return [
                "web.url should be the root of a DICOMweb server, such as https://pacs/dicom-web, "
                "without a query (?...); user and password belong in the file of web.credentials."
            ]
        if not self.receives:
            said = "web.send" if web.url else "peer"
            return [
                f"{said} has no effect: images come from scp.port=, or from web.url= with "
                "web.fetch=true, and neither is given."
            ] * bool(web.url or len(missing) < len(given))
        if web.url and web.send:
            return [
                f"{', '.join(n for n in given if n not in missing)}: results go to web.url; set "
                "web.send=false if they should go to the peer."
            ] * (len(missing) < len(given))
        why = "where results are sent (or web.url= with web.send=true)"
        source = "scp.port" if self.scp.port is not None else "web.fetch"
        return [f"{source} needs {', '.join(missing)}: {why}."] * bool(missing)

    @property
    def receives(self) -> bool:
        """Whether images come by DICOM."""
        return self.scp.port is not None or (self.web.url is not None and self.web.fetch)

    @property
    def all_names(self) -> list[str]:
        """What the `Host` of a request may be."""
        own = ["localhost", "127.0.0.1", "[::1]"] if self.host in LOOPBACK else []
        host = [] if self.host in ANYWHERE else [self.host]
        return [*own, *(f"[{h}]" if ":" in h else h for h in (*host, *self.names))]


def check(config: ServeConfig) -> None:
    from medcnn.places import checkpoints_at, require_checkpoint
    from medcnn.verbs.steps.secrets import credentials, token

    for file in checkpoints_at(Path(config.checkpoint)):
        require_checkpoint(file, exported=True)
    for name in FILES:
        path = attrgetter(name)(config)
        if path is not None and not Path(path).is_file():
            raise UsageError(f"{name}={path}: no such file.")
    token(config.token_file)
    credentials(config.web.credentials)
    _refuse_place(Path(config.folder))
    dicom = ("pynetdicom", "highdicom") if config.receives else ()
    for module in ("starlette", "uvicorn", *dicom, *(("httpx",) if config.web.url else ())):
        try:
            importlib.import_module(module)
        except ImportError:
            raise UsageError(f"serve needs {module}: {pip_install('serve,clinic')}.") from None
    if config.web.url:
        _require_url(config.web.url)


def _require_url(url: str) -> None:
    import httpx

    try:
        httpx.URL(url)
        _ = urlsplit(url).port
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"web.url={url} is not an address: {error}.") from None


def _refuse_place(folder: Path) -> None:
    """Raises UsageError if patients' images must not be stored there."""
    from medcnn.places import refuse_shared

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"folder={folder} is a file; name a folder.")
    refuse_shared(folder, f"folder={folder}")
    if _open_to_others(folder) and any(folder.iterdir()):
        raise UsageError(
            f"folder={folder}: other users of this machine can enter it, and it contains files. "
            "What serve stores there may show patients, so it would have to close the folder to "
            f"them. Name another folder, or close it yourself: chmod 700 '{folder}'."
        )


def _open_to_others(folder: Path) -> bool:
    from medcnn.system.files import POSIX

    return POSIX and folder.is_dir() and bool(folder.stat().st_mode & 0o077)


def run(config: ServeConfig, _: Command) -> None:
    """Serve until a signal comes.

    Raises:
        UsageError: the port is taken, the folder is in use or has other answers.
    """
    import torch

    from medcnn.models.deployed import load_model
    from medcnn.system.files import locked, own_folder
    from medcnn.system.progress import log

    if config.threads:
        torch.set_num_threads(config.threads)
    listening = _listening(config)
    if _open_to_others(folder := Path(config.folder)):
        log.info(f"folder={folder}: from now on only you can enter it")
    own_folder(folder)
    try:
        with listening, locked(folder / "serve.lock"):
            model = load_model(
                config.checkpoint,
                device=config.device,
                precision=config.precision,
                trusted=config.trusted,
            )
            _serve(config, model, folder, listening)
    except BlockingIOError:
        raise UsageError(f"folder={folder}: another server uses it; name another folder.") from None


def _listening(config: ServeConfig) -> socket.socket:
    """The socket of the page, before anything slow; raises UsageError."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=128)
    except OSError as error:
        raise UsageError(
            f"host={config.host} port={config.port} cannot be used: {error.strerror}. Another "
            "program may be using it; name another port, or port=0 for any free one."
        ) from None


def _serve(config: ServeConfig, model: Model, folder: Path, listening: socket.socket) -> None:
    from dataclasses import replace

    from medcnn.clinic.review.answers import Answers
    from medcnn.clinic.review.app import Served, application
    from medcnn.clinic.review.reading import Reader, checks_of
    from medcnn.clinic.review.serving import serve_until_stopped
    from medcnn.models.explaining import METHODS
    from medcnn.pages.review_page import Room
    from medcnn.system.progress import log
    from medcnn.verbs.predict import NO_VERDICTS
    from medcnn.verbs.steps.datasets import read_as
    from medcnn.verbs.steps.receiving import receiving
    from medcnn.verbs.steps.secrets import token

    if config.explain:
        METHODS.bind(config.explain.name, config.explain.options)
    how = read_as(model.preprocessing, config.data, log.warning)
    model = replace(model, checkpoint=replace(model.checkpoint, preprocessing=how))
    sha256 = str(model.provenance["checkpoint_sha256"])
    checks = checks_of(Path(config.checkpoint), sha256, config.explain)
    reader = Reader(model, config.explain, checks)
    room = Room(
        title="Review images",
        model=f"{model.checkpoint.architecture.backbone}, {_file_of(model.provenance)}: "
        f"{', '.join(model.labels.names)}",
        classes=model.labels.names,
        several=model.labels.kind == "multilabel",
        keeps_images=config.keep_images,
        most_mb=config.max_mb,
        receiver=config.scp.title if config.receives else "",
        lacks=reader.lacks,
    )
    _warn(config, reader.lacks)
    if model.readout.unusual is None:
        log.info(NO_VERDICTS)
    tls: dict[str, Any] = {}
    if config.tls_key:
        tls = {"ssl_certfile": config.tls_certificate, "ssl_keyfile": config.tls_key}
    uploads = folder / "uploads"
    shutil.rmtree(uploads, ignore_errors=True)  # of a server that was killed
    with receiving(config, reader, folder) as spool:
        served = Served(
            reader=reader,
            answers=Answers(folder, model.labels, keep_images=config.keep_images),
            room=room,
            names=config.all_names,
            token=token(config.token_file),
            secure=config.tls_key is not None,
            uploads=uploads,
            spool=spool,
        )
        scheme = "https" if config.tls_key else "http"
        shown = f"[{config.host}]" if ":" in config.host else config.host
        address = f"{scheme}://{shown}:{listening.getsockname()[1]}/"
        log.info(f"open {address} in a browser; Ctrl-C stops the server")
        log.info("not a medical device: no decision about a patient may rest on it")
        try:
            serve_until_stopped(application(served), listening, **tls)
        except OSError as error:
            raise MedcnnError(f"the server ended: {error.strerror or error}.") from error
    log.info("stopped; every answer is kept")


def _file_of(provenance: Mapping[str, Any]) -> str:
    """Which file answers, in words."""
    digest = str(provenance["checkpoint_sha256"])[:12]
    origin = str(provenance.get("exported", {}).get("checkpoint_sha256", ""))[:12]
    return f"file {digest}, exported from checkpoint {origin}" if origin else f"checkpoint {digest}"


def _warn(config: ServeConfig, lacks: str) -> None:
    from medcnn.system.progress import log

    if lacks and config.explain:
        log.warning(f"no maps: {lacks}. Name the checkpoint that it was made from to have them.")
    if config.host not in LOOPBACK and config.tls_key is None:
        log.warning(
            "images and the token travel unencrypted. Set tls_certificate and tls_key, or put a "
            "proxy with TLS in front."
        )


VERB = Verb(
    name="serve",
    lines=("serve checkpoint=best.safetensors: a page for reviewing images",),
    usage="CHECKPOINT [key=value ...]",
    examples=(
        "serve runs/demo/checkpoints/best.safetensors",
        "serve best.safetensors keep_images=true folder=/data/review",
        "serve best.safetensors scp.port=4242 scp.allowed=[A] peer.host=a peer.port=104 "
        "peer.title=A",
    ),
    synonyms=("server", "web", "review", "ui"),
    places=("checkpoint",),
    config=ServeConfig,
    check=check,
    run=run,
)
