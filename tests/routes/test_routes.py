"""The order in which readers are asked."""

from typing import Any

import pytest

from red_middleware.routes import Routes, Source


class Knows:
    """A reader that always gives the same answer."""

    def __init__(self, answer: str | None, name: str, asked: list[str]) -> None:
        self.answer = answer
        self.name = name
        self.asked = asked

    def learn(self, app: object, source: Source) -> None:
        self.asked.append(f"learn {self.name}")
        if self.answer is None:
            raise LookupError(self.name)

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        self.asked.append(self.name)
        return self.answer


def refuse(kind: str, error: BaseException) -> None:
    raise AssertionError(kind) from error


@pytest.mark.parametrize(
    ("answers", "route", "asked"),
    [
        ((None, "/b", "/c"), "/b", ["0", "1"]),
        (("/a", "/b"), "/a", ["0"]),
        (("", "/b"), "", ["0"]),
        ((None, None), None, ["0", "1"]),
        ((), None, []),
    ],
)
def test_the_first_reader_that_knows_answers(
    answers: tuple[str | None, ...], route: str | None, asked: list[str]
) -> None:
    """Those after it are not asked; an empty template is an answer."""
    seen: list[str] = []
    routes = Routes([Knows(answer, str(n), seen) for n, answer in enumerate(answers)], None, refuse)
    assert routes.find({}, "/any") == route
    assert seen == asked


def test_route_of_goes_first_and_is_given_the_source() -> None:
    """The readers are asked where it answers `None`."""
    seen: list[Any] = []
    answers: dict[str, str | None] = {"route": "/mine"}

    def route_of(source: Source) -> str | None:
        seen.append(source)
        return answers["route"]

    routes = Routes([Knows("/a", "a", seen)], route_of, refuse)
    source: Source = {"key": 1}
    assert routes.find(source, "/any") == "/mine"
    answers["route"] = None
    assert routes.find(source, "/any") == "/a"
    assert seen == [source, source, "a"]


def test_a_reader_that_fails_to_learn_keeps_no_other_from_it() -> None:
    """Each fault is told."""
    faults: list[str] = []
    seen: list[str] = []
    readers = [Knows(None, "a", seen), Knows("/b", "b", seen)]
    Routes(readers, None, lambda kind, error: faults.append(f"{kind}: {error}")).learn(object(), {})
    assert seen == ["learn a", "learn b"]
    assert faults == ["declared routes: a"]
