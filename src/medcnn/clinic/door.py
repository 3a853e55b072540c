"""Connections of the receiver that have not asked for an association yet: few, and not for long.

pynetdicom counts them among its associations, so that a handful of connections that say nothing
would keep every sender out.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

# From the connection to the A-ASSOCIATE-RQ, with the TLS handshake (PS3.8 9.1.4, ARTIM).
SILENT_S = 10.0
# Beyond that the one that has said nothing for longest makes room.
MOST_SILENT = 32
# PS3.8 9.3.4: rejected for now, by the service provider, since its local limit is exceeded
FULL = (0x02, 0x03, 0x02)


class Door:
    """Handlers of two events of pynetdicom.

    Args:
        most: associations at once.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._turn = threading.Lock()
        self._silent: dict[Any, threading.Timer] = {}
        self._heard: set[Any] = set()

    def opened(self, event: Any) -> None:
        """A connection is there (EVT_CONN_OPEN)."""
        timer = threading.Timer(SILENT_S, self._hang_up, [event.assoc])
        timer.daemon = True
        with self._turn:
            self._silent[event.assoc] = timer
            longest = next(iter(self._silent)) if len(self._silent) > MOST_SILENT else None
        timer.start()
        if longest:
            self._hang_up(longest)

    def asked(self, event: Any) -> None:
        """It asks for an association (EVT_REQUESTED)."""
        with self._turn:
            timer = self._silent.pop(event.assoc, None)
            self._heard = {one for one in self._heard if one.is_alive()}
            full = len(self._heard) >= self.most
            if not full:
                self._heard.add(event.assoc)
        if timer:
            timer.cancel()
        if full:
            event.assoc.acse.send_reject(*FULL)
            event.assoc.kill()  # once it is sent

    def _hang_up(self, association: Any) -> None:
        with self._turn:
            timer = self._silent.pop(association, None)
        if timer is None:  # it has asked meanwhile
            return
        timer.cancel()
        if (there := association.dul.socket.socket) is not None:
            with suppress(OSError):  # it has ended
                # whoever reads from it finds its end, also in the middle of a handshake
                socket.socket.shutdown(there, socket.SHUT_RD)
        # its thread waits for a request there; this is none
        association.dul.to_user_queue.put(None)
