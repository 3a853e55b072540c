"""Brings results to an archive by C-STORE (PS3.4 B, PS3.7 9.1.1)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 60
# Duplicate SOP Instance (PS3.7 C): it has this object, whose number is a function of its content.
THERE_ALREADY = 0x0111
# The objects that answer each image -> why they did not all arrive, "" where they did.
Deliver = Callable[[Mapping[str, Sequence[Any]]], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who gets the results, and our own title.

    Attributes:
        context: by TLS; None: without.
    """

    host: str
    port: int
    title: str
    own_title: str
    context: ssl.SSLContext | None = None

    def __call__(self, results: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, str]]:
        """As `Deliver`."""
        from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
        from pynetdicom import AE

        ae = AE(ae_title=self.own_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT_S
        ae.connection_timeout = 10
        classes = sorted({UID(o.SOPClassUID) for of in results.values() for o in of})
        for uid in classes:
            # apart, so that the second, which every peer knows (PS3.5 10.1), is used only if needed
            for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
                ae.add_requested_context(uid, syntax)
        tls = (self.context, self.host) if self.context else None
        assoc = ae.associate(self.host, self.port, ae_title=self.title, tls_args=tls)
        if not assoc.is_established:
            # pynetdicom leaves the socket of a failed connection to the garbage collector
            if (transport := assoc.dul.socket) is not None and transport.socket is not None:
                transport.socket.close()
            why = "does not answer" + ", or its TLS certificate is not trusted" * bool(tls)
            if assoc.is_rejected:
                why = "refuses us"
            elif assoc.rejected_contexts:
                why = f"accepts none of our objects ({', '.join(uid.name for uid in classes)})"
            yield from ((key, f"{self.title} at {self.host}:{self.port} {why}") for key in results)
            return
        try:
            for key, objects in results.items():
                reason = _stored(assoc, objects)
                yield key, f"{self.title}: {reason}" if reason else ""
        finally:
            assoc.release()


def _stored(assoc: Any, objects: Sequence[Any]) -> str:
    """Why the peer does not have all of them; "" if it has. One that it has already is the same."""
    for made in objects:
        try:
            status = assoc.send_c_store(made)
        except (RuntimeError, ValueError) as error:  # no connection, or no context for this class
            return str(error).split("\n")[0]
        if "Status" not in status:
            return "the connection was lost"
        # 0xBxxx: stored, with a remark
        if status.Status not in (0, THERE_ALREADY) and status.Status >> 12 != 0xB:
            return f"it answers 0x{status.Status:04X}"
    return ""
