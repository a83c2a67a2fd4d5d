"""The order in which `route_of` and the readers are asked, and how often."""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from red_middleware.routes import ASGI_READERS, WSGI_READERS, Reader, Report, Routes, Source


class Stub:
    """A reader of a framework that does not exist.

    Args:
        answer: What it returns for a path; a string is the answer to all. An exception is raised.
        finds: Whether `learn` finds an app of it. An exception is raised.
    """

    module = "sys"  # which is imported

    def __init__(
        self, answer: str | dict[str, str] | Exception | None = None, *, finds: bool | Exception = False
    ) -> None:
        self.answer = answer
        self.finds = finds
        self.asked: list[str] = []
        self.errors: list[BaseException | None] = []

    def learn(self, app: object, source: Source) -> bool:
        if isinstance(self.finds, Exception):
            raise self.finds
        return self.finds

    def route(self, source: Source, path: str, error: BaseException | None = None) -> str | None:
        self.asked.append(path)
        self.errors.append(error)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer.get(path) if isinstance(self.answer, dict) else self.answer


REPORT = Report(
    lambda routes: None, lambda source, error: None, lambda source, error: None, lambda source: None, lambda: None
)
"""To nobody."""

Faults = list[tuple[str, BaseException]]


def made(readers: Sequence[Any], route_of: Callable[[Source], str | None] | None = None) -> tuple[Routes, Faults]:
    """Return routes that have learned, and the list of their faults."""
    faults: Faults = []
    kinds = [functools.partial(lambda report, reader: reader, reader=reader) for reader in readers]
    routes = Routes(kinds, REPORT, lambda kind, error: faults.append((kind, error)), route_of=route_of)
    routes.learn(object(), {})
    return routes, faults


def as_adapters_do(routes: Routes, path: str, source: Source | None = None) -> str | None:
    """Ask as an adapter does when a response begins."""
    source = {} if source is None else source
    try:
        route = routes.ask(source, path)
    except Exception as error:
        route = None
        routes.fault("route", error)
    asks_on = route is None and len(sys.modules) != routes.modules
    return routes.ask_others(source, path) if asks_on else route


WAYS = [as_adapters_do, lambda routes, path: routes.find({}, path)]


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("route_of", [None, lambda source: None])
@pytest.mark.parametrize(
    ("answers", "route"),
    [
        ((None, "/b", "/c"), "/b"),
        (("/a", "/b"), "/a"),
        (("", "/b"), ""),
        ((None, None), None),
        ((ValueError(), "/b"), "/b"),
    ],
)
def test_the_first_reader_that_knows_answers(
    ask: Callable[[Routes, str], str | None], route_of: Any, answers: tuple[Any, ...], route: str | None
) -> None:
    """An empty template is an answer. Both ways to ask agree."""
    routes, _ = made([Stub(answer) for answer in answers], route_of)
    assert ask(routes, "/any") == route


@pytest.mark.parametrize("route_of", [None, lambda source: None])
def test_a_reader_that_found_its_app_is_asked_alone(route_of: Any) -> None:
    """Eleven others are not asked for what it knows, and all are asked for what it does not know."""
    others = [Stub() for _ in range(11)]
    finder = Stub({"/a": "/a"}, finds=True)
    routes, faults = made([*others[:5], finder, *others[5:]], route_of)
    assert [as_adapters_do(routes, path) for path in ("/a", "/a", "/b")] == ["/a", "/a", None]
    assert [other.asked for other in others] == [["/b"]] * 11
    assert finder.asked == ["/a", "/a", "/b"]
    assert faults == []


def test_nothing_stands_between_an_adapter_and_the_reader_that_found_its_app() -> None:
    """`ask` is the reader's own method."""
    finder = Stub("/a", finds=True)
    routes, _ = made([Stub(), finder, Stub()])
    assert routes.ask == finder.route


def test_the_first_of_two_readers_that_found_an_app_stays_the_first() -> None:
    """What came before says nothing of what a request counts as."""
    first, second = Stub({"/a": "/first/a"}, finds=True), Stub({"/a": "/second/a", "/b": "/b"}, finds=True)
    routes, _ = made([Stub(), first, second])
    assert [as_adapters_do(routes, path) for path in ("/b", "/a", "/b", "/a")] == ["/b", "/first/a", "/b", "/first/a"]


def test_a_reader_whose_app_is_made_later_takes_over() -> None:
    """As soon as it knows a route, if none has found its app before."""
    early, late = Stub(), Stub()
    routes, _ = made([early, late])
    assert as_adapters_do(routes, "/a") is None
    late.answer = {"/a": "/a"}
    assert [as_adapters_do(routes, "/a") for _ in range(3)] == ["/a"] * 3
    assert early.asked == ["/a"] * 2  # where nobody knew, and before the other took over
    assert late.asked == ["/a"] * 4


def test_a_request_that_is_under_way_while_another_reader_takes_over_is_known_too() -> None:
    """In another thread, the reader that was the first until then has just been asked."""
    late = Stub("/a")
    routes, _ = made([Stub(), late])
    assert routes.ask({}, "/a") is None
    assert as_adapters_do(routes, "/a") == "/a"
    assert routes.ask_others({}, "/a") == "/a"


def test_a_reader_is_not_asked_before_its_framework_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a dozen frameworks supported, a request pays for those that are there."""
    absent = Stub("/a")
    absent.module = "a_framework_that_is_absent"
    routes, _ = made([Stub(), absent])
    assert as_adapters_do(routes, "/a") is None
    assert absent.asked == []
    monkeypatch.setitem(sys.modules, absent.module, sys)
    assert as_adapters_do(routes, "/a") == "/a"


@pytest.mark.parametrize("finds", [False, True])
@pytest.mark.parametrize("answer", ["/mine", None, ValueError("mine")])
@pytest.mark.parametrize("known", [{"/a": "/a"}, {}, LookupError("reader")])
@pytest.mark.parametrize("ask", WAYS)
def test_route_of_is_asked_first_and_once(
    ask: Callable[[Routes, str], str | None], known: Any, answer: str | Exception | None, finds: bool
) -> None:
    """Whatever the readers know. A fault of it is told, and leaves the question to them."""
    asked: list[Source] = []

    def route_of(source: Source) -> str | None:
        asked.append(source)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reader = Stub(known, finds=finds)
    routes, faults = made([Stub(), reader], route_of)
    is_mine = answer == "/mine"
    assert ask(routes, "/a") == ("/mine" if is_mine else "/a" if known == {"/a": "/a"} else None)
    assert asked == [{}]
    assert bool(reader.asked) is not is_mine
    expected = [("route_of", answer)] if isinstance(answer, Exception) else []
    if isinstance(known, Exception) and not is_mine:
        expected.append(("route", known))
    assert faults == expected


@pytest.mark.parametrize("answer", [7, 0, b"/a", False, ["/a"], object()], ids=repr)
@pytest.mark.parametrize("ask", WAYS)
def test_an_answer_of_route_of_that_is_no_text_is_a_fault(
    ask: Callable[[Routes, str], str | None], answer: Any
) -> None:
    """It says what came, and leaves the question to the readers."""
    routes, faults = made([Stub({"/a": "/a"}, finds=True)], lambda source: answer)
    assert ask(routes, "/a") == "/a"
    assert [(kind, str(error)) for kind, error in faults] == [
        ("route_of", f"route_of returned {type(answer).__name__}, not str or None")
    ]


def test_route_of_is_given_the_request_itself() -> None:
    """The environ or scope, and no copy."""
    seen: list[Source] = []
    routes, _ = made([Stub()], lambda source: seen.append(source))
    source: Source = {"key": 1}
    as_adapters_do(routes, "/any", source)
    assert seen[0] is source


def test_the_readers_are_given_the_exception_that_ended_a_request() -> None:
    """Its traceback may know the route."""
    error, reader = ValueError(), Stub("/a")
    routes, _ = made([reader])
    assert routes.find({}, "/a", error) == "/a"
    assert reader.errors == [error]


def test_a_reader_that_fails_to_learn_keeps_no_other_from_it() -> None:
    """Each fault is told."""
    error = LookupError()
    failing, finder = Stub("/failing", finds=error), Stub("/a", finds=True)
    routes, faults = made([failing, finder])
    assert faults == [("declared routes", error)]
    assert as_adapters_do(routes, "/any") == "/a"


@pytest.mark.parametrize("reader", [*WSGI_READERS, *ASGI_READERS])
def test_no_reader_needs_its_framework(reader: type[Reader], monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds nothing and knows nothing where nobody has imported it. It imports nothing."""
    for name in [name for name in sys.modules if name.split(".")[0] in FRAMEWORKS]:
        monkeypatch.delitem(sys.modules, name)
    declared: list[Any] = []
    made = reader(REPORT._replace(declare=declared.append))
    assert made.learn(lambda: None, {}) is False
    assert made.route({}, "/") is None
    assert declared == []
    assert FRAMEWORKS.isdisjoint(sys.modules)


FRAMEWORKS = {
    "blacksheep", "bottle", "cherrypy", "connexion", "django", "falcon", "fastapi", "flask", "litestar", "pyramid",
    "quart", "sanic", "starlette", "werkzeug",
}  # fmt: skip
