"""The DICOM half of `serve`: spool, receiver, fetcher and worker, for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medcnn.clinic.review.reading import Reader
from medcnn.clinic.sending import Deliver, Peer
from medcnn.clinic.spool import Spool, State
from medcnn.clinic.tls import receiving as by_tls
from medcnn.clinic.tls import sending
from medcnn.system.errors import UsageError
from medcnn.system.progress import log
from medcnn.verbs.serve import LOOPBACK, ServeConfig, WebConfig
from medcnn.verbs.steps.secrets import credentials

if TYPE_CHECKING:
    from medcnn.clinic.web import Server


FOR_EVER = 36_500
BY_PAGE = "try them again or drop them on the page"


@contextmanager
def receiving(config: ServeConfig, reader: Reader, folder: Path) -> Iterator[Spool | None]:
    """The spool, which the page shows; None if there is no receiver.

    Raises:
        UsageError: the port or a certificate cannot be used.
    """
    if not config.receives:
        yield None
        return
    from medcnn.clinic.answering import Answering
    from medcnn.clinic.worker import Worker

    with ExitStack() as ending:
        spool = Spool(
            folder / "spool",
            str(reader.model.provenance["checkpoint_sha256"]),
            most=config.scp.queue,
            remembered=config.scp.remembered,
            least_free_bytes=config.scp.min_free_mb * 1_000_000,
            listed_days=_listed_days(config.web),
        )
        ending.callback(spool.close)
        web = _web(config) if config.web.url else None
        answering = Answering(reader, Path(config.checkpoint), maps=config.scp.maps)
        worker = Worker(spool, _deliver(config, web), answering)
        if web:
            ending.callback(web.close)
        ending.callback(worker.stop)  # after those that bring images have ended
        if config.scp.port is not None:
            ending.callback(_started(config, spool).shutdown)
        if web and config.web.fetch:
            from medcnn.clinic.web import Fetcher, Wanted

            asked = config.web
            wanted = Wanted(
                modality=asked.modality,
                days=asked.days,
                every_s=asked.every_s,
                most_mb=config.max_mb,
                undated=asked.undated,
            )
            fetcher = Fetcher(spool, web, wanted)
            fetcher.start()
            ending.callback(fetcher.stop)
            which = "" if asked.undated else "; none of studies without a date (web.undated)"
            log.info(f"images are fetched from {web.url}{which}")
        worker.start()
        if failed := spool.counts()[State.FAILED]:
            log.warning(f"{failed:,} images that failed are in the spool: {BY_PAGE}")
        yield spool


def _listed_days(web: WebConfig) -> int:
    """How long an image may be listed by the server that it is fetched from."""
    if not (web.url and web.fetch):
        return 0
    return FOR_EVER if web.undated else web.days + 1  # since clocks differ


def _web(config: ServeConfig) -> Server:
    from medcnn.clinic.web import Server

    web = config.web
    assert web.url is not None, "the caller looked"
    if leaves_unencrypted(web.url):
        log.warning(f"web.url={web.url}: images and credentials travel unencrypted; use https.")
    return Server(web.url, credentials(web.credentials), sending("web.ca", web.ca))


def leaves_unencrypted(url: str) -> bool:
    """Whether what is sent there leaves this machine without TLS."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in LOOPBACK


def _deliver(config: ServeConfig, web: Server | None) -> Deliver:
    peer, scp = config.peer, config.scp
    if web and config.web.send:
        log.info(f"results go to {web.url}")
        return web
    assert peer.host is not None, "contradictions() asks for it"
    assert peer.port is not None, "contradictions() asks for it"
    assert peer.title is not None, "contradictions() asks for it"
    log.info(f"results go to {peer.title} at {peer.host}:{peer.port}")
    own = (scp.tls_certificate, scp.tls_key) if scp.tls_certificate and scp.tls_key else None
    return Peer(
        host=peer.host,
        port=peer.port,
        title=peer.title,
        own_title=scp.title,
        context=sending("peer.tls_ca", peer.tls_ca, own) if peer.tls else None,
    )


def _started(config: ServeConfig, spool: Spool) -> Any:
    """The receiver."""
    from medcnn.clinic.storage import Receiving, start

    scp = config.scp
    assert scp.port is not None, "the caller looked"
    context = None
    if scp.tls_certificate and scp.tls_key:
        context = by_tls(scp.tls_certificate, scp.tls_key, scp.tls_ca)
    how = Receiving(
        host=scp.host,
        port=scp.port,
        title=scp.title,
        allowed=scp.allowed,
        most_mb=config.max_mb,
        per_minute=scp.per_minute,
        associations=scp.associations,
        context=context,
    )
    try:
        server = start(spool, how)
    except OSError as error:
        raise UsageError(
            f"scp.port={scp.port} on {scp.host} cannot be used: {error.strerror}."
        ) from None
    if scp.host not in LOOPBACK and not scp.tls_ca:
        travels = "" if context else ", and DICOM travels unencrypted"
        log.warning(
            f"anyone can claim a title{travels}: use this receiver in a protected network, or set "
            "scp.tls_certificate, scp.tls_key and scp.tls_ca."
        )
    log.info(f"receiver {scp.title} at {scp.host}:{scp.port} for {', '.join(scp.allowed)}")
    return server
