"""The Storage SCP: takes images from the senders that it knows, and answers when they are on disk
(PS3.4 B)."""

from __future__ import annotations

import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from medcnn.clinic.door import MOST_SILENT, SILENT_S, Door
from medcnn.clinic.spool import FullError, Spool
from medcnn.system.files import NO_ROOM
from medcnn.system.progress import log

# PS3.4 B.2.3 and PS3.7 C
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
VERIFICATION = "1.2.840.10008.1.1"  # C-ECHO, PS3.4 A.4
TIMEOUT_S = 60
PDU_BYTES = 131_072
# The manufacturer of what we send ourselves: an archive that forwards everything would else get an
# answer to our answer, without end.
OURS = "medcnn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiving:
    """Who may send, and how much.

    Attributes:
        title: of this receiver, which a sender must know.
        allowed: titles of senders.
        per_minute: images of one sender; beyond that its answers come later.
        associations: at once.
        context: of TLS, without which nobody is heard then; None: without TLS.
    """

    host: str
    port: int
    title: str
    allowed: Sequence[str]
    most_mb: int
    per_minute: int
    associations: int
    context: ssl.SSLContext | None = None


class Pace:
    """Lets each sender go on at its rate; a short burst is free."""

    def __init__(self, per_minute: int) -> None:
        self.gap_s = 60 / per_minute
        self.burst_s = 20 * self.gap_s
        self._next: dict[str, float] = defaultdict(float)
        self._turn = threading.Lock()

    def wait_s(self, sender: str, at: float) -> float:
        """How long the answer to an image that arrives now must wait."""
        with self._turn:
            start = max(self._next[sender], at - self.burst_s)
            self._next[sender] = start + self.gap_s
            return max(0.0, start - at)


def image_classes() -> list[str]:
    """Storage classes of pixels, which a model may be asked about."""
    from pynetdicom import AllStoragePresentationContexts

    uids = [context.abstract_syntax for context in AllStoragePresentationContexts]
    return [str(uid) for uid in uids if uid and "ImageStorage" in uid.keyword]


def start(spool: Spool, how: Receiving) -> Any:
    """The running server, which has `shutdown`.

    Raises:
        OSError: the port cannot be used.
    """
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt

    ae = AE(ae_title=how.title)
    ae.require_called_aet = True
    ae.require_calling_aet = list(how.allowed)
    ae.maximum_associations = how.associations + MOST_SILENT + 1  # the door has the limits
    ae.maximum_pdu_size = PDU_BYTES
    ae.acse_timeout = SILENT_S
    ae.dimse_timeout = ae.network_timeout = TIMEOUT_S
    ae.add_supported_context(VERIFICATION)
    for uid in image_classes():
        ae.add_supported_context(uid, ALL_TRANSFER_SYNTAXES)
    handler, door = _Handler(spool, how), Door(how.associations)
    server: Any = ae.start_server(
        (how.host, how.port),
        block=False,
        ssl_context=how.context,
        evt_handlers=[
            (evt.EVT_C_STORE, handler.store),
            (evt.EVT_PDU_RECV, handler.count),
            (evt.EVT_CONN_OPEN, door.opened),
            (evt.EVT_REQUESTED, door.asked),
        ],
    )
    server.contexts = _Shared(server.contexts)
    return server


class _Shared(list[Any]):
    """What nobody changes: pynetdicom makes a deep copy for each connection, which costs more than
    all else about one that says nothing."""

    def __deepcopy__(self, _: Any) -> list[Any]:
        return self


class _Handler:
    def __init__(self, spool: Spool, how: Receiving) -> None:
        self.spool, self.how = spool, how
        self.pace = Pace(how.per_minute)
        self.most_bytes = how.most_mb * 1_000_000

    def count(self, event: Any) -> None:
        """End an association whose object grows beyond the limit: it is held in memory."""
        from pynetdicom.pdu import P_DATA_TF

        if not isinstance(event.pdu, P_DATA_TF):
            return
        assoc = event.assoc
        assoc.medcnn_bytes = getattr(assoc, "medcnn_bytes", 0) + len(event.pdu)
        if assoc.medcnn_bytes > self.most_bytes:
            log.warning(
                f"receiver: an object of more than {self.how.most_mb} MB was refused; its sender "
                f"is {assoc.requestor.ae_title}"
            )
            assoc.abort()

    def store(self, event: Any) -> int:
        """The status of a C-STORE."""
        event.assoc.medcnn_bytes = 0
        try:
            data = event.encoded_dataset(include_meta=True)
            uid = str(event.request.AffectedSOPInstanceUID or "")
            if not uid:
                return CANNOT_UNDERSTAND
            if made_here(data):
                return SUCCESS
            time.sleep(self.pace.wait_s(event.assoc.requestor.ae_title, time.monotonic()))
            self.spool.receive(uid, data)
        except FullError as error:
            log.warning(f"receiver: refused for now (0xA700): {error}")
            return OUT_OF_RESOURCES
        except OSError as error:
            why = "the disk is full" if error.errno in NO_ROOM else error.strerror
            log.error(f"receiver: refused (0xA700): {why}")
            return OUT_OF_RESOURCES
        return SUCCESS


def made_here(data: bytes) -> bool:
    """Whether this is a result of ours that comes back."""
    import pydicom

    try:
        header = pydicom.dcmread(
            BytesIO(data), stop_before_pixels=True, specific_tags=["Manufacturer"]
        )
    except Exception:  # of a damaged header, pydicom raises anything; the model will say so
        return False
    return str(header.get("Manufacturer", "")) == OURS
