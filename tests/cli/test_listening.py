"""The sockets that the servers of the command line listen on."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from slarag.backends.elastic.http.serve import bound
from slarag.cli.serve import listening


@pytest.mark.parametrize("listen", [bound, listening])
def test_what_is_sent_over_an_accepted_connection_does_not_wait(listen: Callable[[str, int], socket.socket]) -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
