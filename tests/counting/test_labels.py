"""Closed label sets: whatever comes in, one of finitely many values comes out."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from red_middleware.counting.labels import (
    MAX_VALUE_BYTES,
    METHODS,
    OTHER,
    OVERFLOW,
    UNDECLARED_METHODS,
    UNMATCHED,
    exception_label,
    method_label,
    route_label,
    status_code,
    status_label,
)

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers()), st.tuples()
)


@pytest.mark.parametrize("method", METHODS)
def test_a_known_method_is_its_own_label(method: str) -> None:
    """RFC 9110, PATCH and QUERY are told apart."""
    assert method_label(method) == method


@pytest.mark.parametrize("method", ["get", "GET ", "", "BREW", "PROPFIND", b"GET", None, 7, ["GET"]])
def test_any_other_method_is_other(method: object) -> None:
    """Methods are case-sensitive, and a client cannot make up a label."""
    assert method_label(method) == OTHER


@given(ANYTHING)
def test_the_method_label_is_closed(method: object) -> None:
    """Every value is one of `METHODS`."""
    assert method_label(method) in METHODS


def test_what_undeclared_routes_reserve_is_closed() -> None:
    """The methods of a route that declares none are values of the label."""
    assert set(UNDECLARED_METHODS) < set(METHODS)


@pytest.mark.parametrize(
    ("status", "code"),
    [(100, 100), (200, 200), (599, 599), (HTTPStatus.NOT_FOUND, 404), ("200 ", 200), ("404", 404), ("101 ", 101)],
)
def test_a_status_of_100_to_599_is_its_code(status: object, code: int) -> None:
    """Integers, and the beginnings of WSGI status lines."""
    assert status_code(status) == code
    assert status_label(status_code(status)) == str(code)


@pytest.mark.parametrize(
    "status", [0, 1, 99, 600, 999, -200, 200.5, "", "2", "20", "2000", "abc ", "٢٠٠ ", b"200 ", None, True, [200]]
)
def test_any_other_status_is_other(status: object) -> None:
    """Out of range, no integer, not hashable: one value."""
    assert status_label(status_code(status)) == OTHER


@given(ANYTHING)
def test_the_status_label_is_closed(status: object) -> None:
    """501 values, whatever an application sends."""
    code = status_code(status)
    assert code == 0 or 100 <= code <= 599


@pytest.mark.parametrize(
    ("route", "label"),
    [
        (None, UNMATCHED),
        ("/hello", "/hello"),
        ("hello", "/hello"),
        ("", "/"),
        ("_unmatched", "/_unmatched"),
        ("/" + "a" * (MAX_VALUE_BYTES - 1), "/" + "a" * (MAX_VALUE_BYTES - 1)),
        ("/" + "a" * MAX_VALUE_BYTES, OVERFLOW),
        ("/" + "é" * 128, OVERFLOW),
        ("/\udce9", "/?"),
        (b"/hello", OVERFLOW),
        (7, OVERFLOW),
    ],
)
def test_a_route_becomes_a_path_or_a_sentinel(route: object, label: str) -> None:
    """It starts with a slash, so that no route can be taken for a sentinel; what is too long folds."""
    assert route_label(route) == label


@given(ANYTHING)
def test_a_route_label_is_short_utf_8(route: object) -> None:
    """Any value makes a label that every format can carry."""
    assert len(route_label(route).encode("utf-8")) <= MAX_VALUE_BYTES


def test_an_exception_is_named_by_its_class() -> None:
    """The class, without its module; a made-up endless name folds."""
    assert exception_label(KeyError("x")) == "KeyError"
    assert exception_label(type("E" * 300, (Exception,), {})()) == OTHER
