"""A proxy in front of PowerDNS's API that holds requests back and delivers them late, or answers something else."""

import re
import socket
import socketserver
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from pdm_service.dev.servers import PowerDNS

Which = Callable[[str, str, int], bool]
"""Of a request: its method, its path, the size of its body."""


class HoldingProxy:
    """Passes everything on, but for what it is told to hold, or to answer itself."""

    def __init__(self, powerdns: PowerDNS) -> None:
        self._upstream = (urlsplit(powerdns.api_url).hostname, urlsplit(powerdns.api_url).port)
        self._which: Which = lambda *_: False
        self.answer: bytes | None = None
        """What every request is answered; None: what PowerDNS says."""
        self.held: list[bytes] = []
        """Requests that were not delivered, whole."""
        self._over = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), _handler(self))
        self.api_url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def hold(self, which: Which) -> None:
        """Hold such requests from now on: they are read, and neither delivered nor answered."""
        self._which = which

    def pass_on(self) -> None:
        """Hold nothing more; what is held stays so."""
        self.hold(lambda *_: False)

    def deliver(self) -> None:
        """Have what is held carried out, in its order."""
        while self.held:
            self.forward(self.held.pop(0))

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def meet(self, request: bytes) -> bytes | None:
        """Return the answer to a request, None for none."""
        head, _, body = request.partition(b"\r\n\r\n")
        method, path = head.split(b" ", 2)[:2]
        if self._which(method.decode(), path.decode(), len(body)):
            self.held.append(request)
            self._over.wait(60)
            return None
        return self.answer if self.answer is not None else self.forward(request)

    def forward(self, request: bytes) -> bytes:
        """Ask PowerDNS."""
        with socket.create_connection(self._upstream, timeout=30) as upstream:
            upstream.sendall(re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", request, count=1))
            parts = []
            while part := upstream.recv(65536):
                parts.append(part)
        return b"".join(parts)


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128


def _handler(proxy: HoldingProxy) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = b""
            while b"\r\n\r\n" not in request:
                if not (part := self.request.recv(65536)):
                    return
                request += part
            length = re.search(rb"(?i)content-length: *([0-9]+)", request.partition(b"\r\n\r\n")[0])
            size = request.index(b"\r\n\r\n") + 4 + int(length[1] if length else 0)
            while len(request) < size:
                if not (part := self.request.recv(65536)):
                    return
                request += part
            try:
                if answer := proxy.meet(request):
                    self.request.sendall(answer)
            except OSError:
                return  # whoever asked has gone

    return Handler
