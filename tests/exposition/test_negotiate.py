"""Negotiation: which Accept gets which format, which Accept-Encoding gets gzip. Both through the endpoint's answer."""

import gzip
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from red_middleware import RedMetrics
from red_middleware.exposition import Request, answer
from red_middleware.exposition.negotiate import MAX_HEADER

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
OPEN_0: Final = "application/openmetrics-text; version=0.0.1; charset=utf-8"
OM: Final = "application/openmetrics-text"

PROTOBUF: Final = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

CLIENTS: Final = {
    "no header": ("", TEXT),
    "curl": ("*/*", TEXT),
    "Firefox": ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
    "Chrome": (
        "text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8,application/signed-exchange;v=b3",
        TEXT,
    ),
    "Prometheus 2.42": (f"{OM};version=1.0.0,{OM};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN),
    "Prometheus 2.20": (f"{OM}; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPEN_0),
    "Prometheus 1": (f"{PROTOBUF};q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", TEXT),
    "Prometheus 2 with native histograms": (
        f"{PROTOBUF},{OM};version=1.0.0;q=0.8,{OM};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        OPEN,
    ),
    "Prometheus 3": (
        f"{OM};version=1.0.0;escaping=allow-utf-8;q=0.6,{OM};version=0.0.1;q=0.5,"
        "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        OPEN,
    ),
    "Prometheus 3, only its own text": ("text/plain;version=1.0.0;escaping=allow-utf-8,*/*;q=0.2", TEXT),
    "Prometheus 3, text preferred": (f"text/plain;version=0.0.4;q=0.6,{OM};version=1.0.0;escaping=values;q=0.5", TEXT),
}

QUALITIES: Final = {
    f"{OM};q=0": TEXT,
    f"{OM};q=0.0": TEXT,
    f"{OM};q=0.000, */*": TEXT,
    f"{OM};q=1.000": OPEN,
    f"{OM};q=1.0001": TEXT,
    f"{OM};q=1.0001, {OM};q=0.2": OPEN,
    f"{OM};q=2": TEXT,
    f"{OM};q=-1": TEXT,
    f"{OM};q=abc": TEXT,
    f"{OM};q=nan": TEXT,
    f"{OM};q=": TEXT,
    f"{OM};q": TEXT,
    f"{OM};q=\u0660": TEXT,  # a digit, but none of ours
    f"{OM};q=0.5, text/plain;q=0.4": OPEN,
    f"{OM};q=0.4, text/plain;q=0.5": TEXT,
    f"text/plain;q=0.5, {OM};q=0.5": TEXT,
    f"{OM};q=0.5, text/plain;q=0.5": OPEN,
    f"text/plain;q=0, {OM};q=0.001": OPEN,
    "text/plain;q=0": TEXT,
    "*/*;q=0": TEXT,
}

VERSIONS: Final = {
    OM: OPEN,
    f"{OM};version=0.0.1": OPEN_0,
    f"{OM};version=1.0.0": OPEN,
    f"{OM};version=9.9.9": TEXT,
    f"{OM};version=2.0.0, {OM};version=0.0.1;q=0.1": OPEN_0,
    f"{OM};version=abc": TEXT,
    f"{OM};version=": OPEN,
    f"{OM};version": OPEN,
    f"{OM};version=0.0.1, {OM};version=1.0.0": OPEN_0,
    f"{OM};version=1.0.0, {OM};version=0.0.1": OPEN,
    f"{OM};version=0.0.1;q=0.5, {OM};version=1.0.0": OPEN,
    f"{OM};version=1.0.0;q=0.1, {OM};version=0.0.1;q=0.2": OPEN_0,
    f"{OM};version=1.0.0;q=0, {OM}": OPEN_0,
    "text/plain;version=9.9.9": TEXT,
    "text/plain;version=0.0.4": TEXT,
    f"text/plain;version=9.9.9, {OM};q=0.1": OPEN,
}

WILDCARDS: Final = {
    "application/*": OPEN,
    "text/*": TEXT,
    "application/*;q=0.9, text/*;q=0.8": OPEN,
    "application/*, text/plain": OPEN,
    "text/plain;q=0, */*": OPEN,
    "text/*;q=0, */*;q=0.1": OPEN,
    f"*/*, {OM};q=0.9": TEXT,
    f"*/*;q=0.1, {OM};q=0.2": OPEN,
    f"{OM};q=0.1, application/*": OPEN,
    "image/*": TEXT,
    "*": TEXT,
    "/*": TEXT,
    "application": TEXT,
}

LETTERS: Final = {
    f"{OM.upper()};VERSION=1.0.0;Q=0.5": OPEN,
    f'{OM};version="1.0.0"': OPEN,
    f'{OM};version="0.0.1";q="0.5"': OPEN_0,
    f'text/plain;note="a,b;q=0";q=0.1, {OM};q=0.2': OPEN,
    f'text/plain;note="a\\", {OM}': TEXT,  # the quoted string is never closed: all of it is one parameter
    f'{OM};note="\\""': OPEN,
    f'{OM};version="1.0.0': OPEN,
    f" , ;, {OM} ; version = 1.0.0 ; q = 0.5 ,,": OPEN,
    f";{OM}": TEXT,
    f"{OM};;;": OPEN,
    f"{OM};charset=utf-8": OPEN,
    f"{OM}\t;\tq=1": OPEN,
    ",,,": TEXT,
    ";;;": TEXT,
    "\xff\xfe\x00, \xa0": TEXT,
    f"\xe9\xe8, {OM}": OPEN,
    "text/plain\r\nX-Injected: 1": TEXT,
    '"': TEXT,
    "\\": TEXT,
}

GARBAGE: Final = ["a" * 100_000, "," * 100_000, ";" * 100_000, '"' * 99_999, '"' + '\\"' * 50_000, "*/*," * 25_000,
                  "=" * 100_000, "q=0.1;" * 16_000, "\x00" * 100_000, "\xff," * 50_000]  # fmt: skip

OFFERS: Final = (TEXT, OPEN, OPEN_0)


@pytest.fixture(scope="module")
def metrics() -> RedMetrics:
    return RedMetrics(registry=CollectorRegistry())


def content_type(metrics: RedMetrics, accept: str) -> str:
    """Return the format of the answer, which is never a 406 nor a 500 and always says on what it depends."""
    found = answer(metrics, Request(headers={"accept": accept}))
    headers = dict(found.headers)
    assert found.status == 200
    assert headers["Vary"] == "Accept, Accept-Encoding"
    assert found.body.endswith(b"# EOF\n") == headers["Content-Type"].startswith(OM)
    return headers["Content-Type"]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_gets_the_best_format_that_it_reads(metrics: RedMetrics, client: str) -> None:
    """Real headers: Prometheus gets OpenMetrics, a person and everything that takes anything get text."""
    accept, expected = CLIENTS[client]
    assert content_type(metrics, accept) == expected


@pytest.mark.parametrize(("accept", "expected"), {**QUALITIES, **VERSIONS, **WILDCARDS, **LETTERS}.items())
def test_an_accept_header_is_read_to_the_letter(metrics: RedMetrics, accept: str, expected: str) -> None:
    """RFC 9110, 12.5.1: the most specific range gives the quality; what is malformed is as if it were not there."""
    assert content_type(metrics, accept) == expected


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: f"{garbage[:4]!r}")
def test_garbage_is_answered_in_text_and_not_read_to_its_end(metrics: RedMetrics, garbage: str) -> None:
    """100 kB of anything is a 200 in the text format; what stands beyond the bound is not seen."""
    assert content_type(metrics, garbage) == TEXT
    assert content_type(metrics, "," * MAX_HEADER + OM) == TEXT
    assert content_type(metrics, "," * (MAX_HEADER - len(OM)) + OM) == OPEN
    assert not gzipped(metrics, garbage.replace("*", "-"))


@given(accept=st.text() | st.lists(st.sampled_from([OM, "text/plain", "*/*", ";", ",", "q=", "0.5", "version=", "1.0.0",
                                                    '"', "\\", " ", "escaping=x"])).map("".join))  # fmt: skip
def test_no_accept_header_makes_an_offer_that_does_not_exist(accept: str) -> None:
    """Whatever the header, the Content-Type is one of three: nothing of a request is echoed."""
    metrics = RedMetrics(registry=CollectorRegistry(), max_label_sets=1)
    assert content_type(metrics, accept) in OFFERS
    assert gzipped(metrics, accept) in (True, False)


ENCODINGS: Final = {
    "": False,
    "gzip": True,
    "GZIP": True,
    "x-gzip": True,
    "gzip;q=0": False,
    "gzip;q=0.000": False,
    "gzip;q=0.001": True,
    "gzip;q=1.001": False,
    "gzip;q=abc": False,
    "gzip;q=": False,
    "*": True,
    "*;q=0": False,
    "*;q=0, gzip": True,
    "gzip;q=0, *": False,
    "identity": False,
    "identity, gzip": True,
    "identity, gzip;q=0.5": False,
    "identity;q=0.5, gzip;q=0.6": True,
    "identity;q=0": False,  # nothing acceptable is on offer: an answer is better than none
    "gzip, deflate": True,
    "gzip, deflate, br, zstd": True,
    "deflate, br": False,
    "br;q=1.0, gzip;q=0.8, *;q=0.1": True,
    " , ;, gzip ; q = 0.5 ,": True,
    "gzipped": False,
    "\xff\xfe": False,
    "," * 100_000: False,
}


@pytest.mark.parametrize(("accept_encoding", "expected"), ENCODINGS.items(), ids=lambda value: str(value)[:40])
def test_gzip_is_sent_to_those_who_take_it(metrics: RedMetrics, accept_encoding: str, expected: bool) -> None:
    """RFC 9110, 12.5.3: a quality of 0 refuses, `*` stands for what is not named, a preferred identity is kept."""
    assert gzipped(metrics, accept_encoding) is expected


def gzipped(metrics: RedMetrics, accept_encoding: str) -> bool:
    """Tell whether the answer is compressed, having read it; the length is that of what is sent."""
    found = answer(metrics, Request(headers={"accept-encoding": accept_encoding}))
    headers = dict(found.headers)
    encoded = "Content-Encoding" in headers
    text = gzip.decompress(found.body) if encoded else found.body
    assert found.status == 200
    assert headers["Vary"] == "Accept, Accept-Encoding"
    assert headers.get("Content-Encoding", "gzip") == "gzip"
    assert headers["Content-Length"] == str(len(found.body))
    assert text.startswith(b"# HELP http_requests_total ")
    return encoded
