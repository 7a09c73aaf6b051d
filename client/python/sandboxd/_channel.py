"""The channel to a daemon, and which calls are made again when it comes back."""

from __future__ import annotations

import time
from typing import Any, Optional, Sequence, Tuple

import grpc

from sandboxd import errors

OPTIONS: Tuple[Tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", 64 << 20),
    # A daemon that is not there is an answer; one that restarts is found again soon.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Clients in one process don't share a connection, nor how long one has waited.
    ("grpc.use_local_subchannel_pool", 1),
)

# Between two tries to reach a daemon that is away.
RETRY_SECONDS = 0.1


def open_sync(address: str, credentials: Optional[grpc.ChannelCredentials],
              options: Sequence[Tuple[str, Any]]) -> grpc.Channel:
    every = (*OPTIONS, *options)
    if credentials is None:
        return grpc.insecure_channel(address, options=every)
    return grpc.secure_channel(address, credentials, options=every)


def open_aio(address: str, credentials: Optional[grpc.ChannelCredentials],
             options: Sequence[Tuple[str, Any]]) -> "grpc.aio.Channel":
    every = (*OPTIONS, *options)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=every)
    return grpc.aio.secure_channel(address, credentials, options=every)


class Tries:
    """How often one call may be made: until its deadline, and `patience` seconds long while no daemon answers.

    Patience is for calls that may be made twice without harm. Others are made once, because a lost connection does not
    tell whether the daemon has done what was asked.
    """

    def __init__(self, address: str, timeout: Optional[float], patience: float):
        self._address = address
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._patience = patience
        self._away_since: Optional[float] = None

    def timeout(self) -> Optional[float]:
        """What is left for the next try."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.001)

    def answered(self, patience: float) -> None:
        """The daemon was there; from now on it is waited for."""
        self._patience = patience
        self._away_since = None

    def failed(self, error: Any, started: float) -> float:
        """Seconds to wait before the next try, begun at `started`; raises if there is to be none."""
        if not errors.is_transport_loss(error) or self._patience <= 0:
            raise errors.from_rpc(error, self._address) from None
        now = time.monotonic()
        # A connection that held for a while and was then lost begins a new absence.
        if self._away_since is None or now - started > self._patience:
            self._away_since = now
        if now + RETRY_SECONDS > self._away_since + self._patience:
            raise errors.from_rpc(error, self._address) from None
        if self._deadline is not None and now + RETRY_SECONDS > self._deadline:
            raise errors.from_rpc(error, self._address) from None
        return RETRY_SECONDS
