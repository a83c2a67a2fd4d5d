"""The sizes of bodies on real servers: known uploads and downloads, whichever worker served them or is scraped."""

import re
import urllib.request
from pathlib import Path
from typing import Final

import pytest

from .marks import FILE, HALF_BYTES
from .servers import DEADLINE_SECONDS, SIZES_ASGI, SIZES_WSGI, Kind, Server, get

pytestmark = pytest.mark.once

KINDS: Final = {
    "gunicorn": Kind("gunicorn", SIZES_WSGI, ("--workers=2",)),
    "gunicorn-without-sendfile": Kind("gunicorn", SIZES_WSGI, ("--workers=2", "--no-sendfile")),
    "gunicorn-gthread": Kind("gunicorn", SIZES_WSGI, ("--workers=2", "--worker-class=gthread", "--threads=4")),
    "uwsgi": Kind("uwsgi", SIZES_WSGI, ("--enable-threads",)),
    "waitress": Kind("waitress", SIZES_WSGI),
    "wsgiref": Kind("wsgiref", SIZES_WSGI),
    "uvicorn": Kind("uvicorn", SIZES_ASGI, ("--http=h11",), ("h11",)),
    "hypercorn": Kind("hypercorn", SIZES_ASGI),
}
TIMES: Final = 10
UPLOAD: Final = bytes(200_000)


@pytest.mark.parametrize("name", KINDS)
def test_what_was_sent_and_received_is_counted_to_the_byte(name: str, tmp_path: Path) -> None:
    """A file that the server sends itself, a body that is read, and one of which only a part is."""
    with Server(KINDS[name], tmp_path) as server:
        base = f"http://127.0.0.1:{server.port}"
        for _ in range(TIMES):
            assert get(f"{base}/file") == FILE.read_bytes()
            with urllib.request.urlopen(f"{base}/upload", UPLOAD, DEADLINE_SECONDS) as response:
                assert response.read() == b"%d" % len(UPLOAD)
        expected = {
            "request": {'method="GET",route="/file"': 0, 'method="POST",route="/upload"': TIMES * len(UPLOAD)},
            "response": {
                'method="GET",route="/file"': TIMES * FILE.stat().st_size,
                'method="POST",route="/upload"': TIMES * len(f"{len(UPLOAD)}"),
            },
        }
        if server.kind.framework == SIZES_WSGI:
            with urllib.request.urlopen(f"{base}/half", bytes(HALF_BYTES * 2), DEADLINE_SECONDS) as response:
                assert response.read() == b"%d" % HALF_BYTES
            expected["request"]['method="POST",route="/half"'] = HALF_BYTES
            expected["response"]['method="POST",route="/half"'] = 3
        server.rest()
        text = server.read("/metrics")
    for what, by_row in expected.items():
        found = dict(re.findall(rf"^http_{what}_size_bytes_sum{{(.*)}} (\S+)$", text, re.MULTILINE))
        assert {row: float(found[row]) for row in by_row} == by_row
