"""How a regular expression reads as a template."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from red_middleware.routes.regex import readable


@pytest.mark.parametrize(
    ("regex", "template"),
    [
        (r"^re/(?P<year>[0-9]{4})/$", "re/<year>/"),
        (r"re/(?P<year>[0-9]{4})/(?:page-(\d+)/)?$", "re/<year>/<opt>"),
        (r"api/things\.(?P<format>[a-z0-9]+)/?$", "api/things.<format>/"),
        (r"^((?:[\w\-]+/)*)$", "<arg>"),
        (r"documents/(\d+)/(.*)$", "documents/<arg>/<arg>"),
        (r"\Aa(?i)(?=b)(?!c)(?<=d)(?#no)\b/\d+/.\Z", "a/<char>/<char>"),
        (r"v{1,2}/b{x}/c{,3}", "v/b{x}/c"),
        (r"(?:de|en)/(?:v1)/(?i:x)", "<arg>/v1/x"),
        (r"(?P<a>x(?P<b>y)\))/(?P=a)", "<a>/<a>"),
        (r"[]a]/[^]\]]/[a-z]+", "<char>/<char>/<char>"),
        (r"x\|y|z\\", "x|y|z\\"),
        ("", ""),
    ],
)
def test_a_regular_expression_reads_as_a_template(regex: str, template: str) -> None:
    """Its groups are parameters, and what says only how often or where is left out."""
    re.compile(regex.replace("(?i)", ""))
    assert readable(regex) == template


@given(st.text(alphabet="()[]{}?:P<>=a/\\^$|*+.,1"))
def test_what_is_no_regular_expression_is_some_text(text: str) -> None:
    """And never an exception."""
    assert isinstance(readable(text), str)
