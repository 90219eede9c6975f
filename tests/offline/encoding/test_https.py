"""Downloads over TLS: the certificate is checked against the name, although the socket is opened to a number."""

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from offline.encoding.public_http import DownloadLimits, UnavailableError, download

LIMITS = DownloadLimits(1000, 5.0, allow_private=True)


class Picture(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(f"for {self.headers['Host']}".encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of localhost, signed by itself; certificate and key in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("makes a certificate with openssl: apt-get install openssl")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    call = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    call += f" -addext subjectAltName=DNS:localhost -keyout {file} -out {file}.crt"
    subprocess.run(call.split(), check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture(scope="module")
def port(certificate: Path) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Picture)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # callers that leave are the tests' subject
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def got(url: str) -> bytes:
    target = BytesIO()
    download(url, target, LIMITS, types=("image/",))
    return target.getvalue()


def test_a_trusted_server_answers(port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert got(f"https://localhost:{port}/a.png") == f"for localhost:{port}".encode()


def test_a_server_that_nobody_vouches_for(port: int) -> None:
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        got(f"https://localhost:{port}/a.png")


def test_a_certificate_of_another_name(port: int, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(UnavailableError, match=r"not valid for '127\.0\.0\.1'"):
        got(f"https://127.0.0.1:{port}/a.png")
