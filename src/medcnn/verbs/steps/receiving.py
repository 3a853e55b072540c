"""The DICOM half of `serve`: spool, receiver and worker, for the length of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medcnn.clinic.review.reading import Reader
from medcnn.clinic.spool import Spool
from medcnn.pages.review_page import Receipts
from medcnn.system.errors import UsageError
from medcnn.system.progress import log
from medcnn.verbs.serve import LOOPBACK, ServeConfig


@contextmanager
def receiving(
    config: ServeConfig, reader: Reader, folder: Path
) -> Iterator[Callable[[], Receipts] | None]:
    """What the page shows of the receiver; None where none was asked for.

    Raises:
        UsageError: the port cannot be used.
    """
    scp, peer = config.scp, config.peer
    if scp.port is None:
        yield None
        return
    from medcnn.clinic.answering import Answering
    from medcnn.clinic.storage import Receiving, start
    from medcnn.clinic.worker import Peer, Worker

    assert peer.host is not None, "contradictions() asks for it"
    assert peer.port is not None, "contradictions() asks for it"
    assert peer.title is not None, "contradictions() asks for it"
    spool = Spool(
        folder / "spool",
        str(reader.model.provenance["checkpoint_sha256"]),
        most=scp.queue,
        remembered=scp.remembered,
        least_free_bytes=scp.min_free_mb * 1_000_000,
    )
    how = Receiving(
        host=scp.host,
        port=scp.port,
        title=scp.title,
        allowed=scp.allowed,
        most_mb=config.max_mb,
        per_minute=scp.per_minute,
        associations=scp.associations,
    )
    worker = Worker(
        spool,
        Peer(host=peer.host, port=peer.port, title=peer.title, own_title=scp.title),
        Answering(reader, Path(config.checkpoint), maps=scp.maps),
    )
    try:
        server = start(spool, how)
    except OSError as error:
        spool.close()
        raise UsageError(
            f"scp.port={scp.port} on {scp.host} cannot be used: {error.strerror}."
        ) from None
    worker.start()
    if scp.host not in LOOPBACK:
        log.warning(
            "anyone can claim a title, and DICOM travels unencrypted: use this receiver in a "
            "protected network only."
        )
    log.info(
        f"receiver {scp.title} at {scp.host}:{scp.port} for {', '.join(scp.allowed)}; results go "
        f"to {peer.title} at {peer.host}:{peer.port}"
    )
    try:
        yield lambda: Receipts(counts=spool.counts(), failures=spool.failures())
    finally:
        server.shutdown()
        worker.stop()
        spool.close()
