"""Exclusion: which requests a mounting does not record, by what the option `exclude=` says, and by marks of views.

The option is checked at construction; marks are known when routes are learned. It knows neither protocol. A mounting
asks it for the paths of its set `special`, and where templates are excluded, for each route that is found. Another one
says whose sizes are not counted (`exclude_sizes=`).
"""

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from typing import Any, Final, NamedTuple

from . import options
from .counting.labels import WEBSOCKET, method_label, route_label

ExcludedBy = Callable[[Any], object]
"""A user's function of the environ or scope. Any type: users annotate theirs as they like."""

Exclude = Collection[str | ExcludedBy] | ExcludedBy
"""What `exclude=` accepts."""

Fault = Callable[[str, BaseException], None]


class _Rule(NamedTuple):
    """One path, prefix or template, and the method that it holds for."""

    method: str
    """Empty: for all."""
    text: str
    """As the option has it, a prefix without its `*`."""
    spelled: str
    """As requests have it; of a template the label of the route."""

    def is_for(self, method: object) -> bool:
        return not self.method or self.method == method


class _Everything(Container[str]):
    """Contains every path."""

    def __contains__(self, path: object) -> bool:
        return True


EVERYTHING: Final = _Everything()


class Exclusion:
    """What `exclude=` says.

    Args:
        owner: The middleware, for messages.
        exclude: A function, or a collection of texts and functions. A text is an exact path, a prefix that ends in
            `*`, or a template, which holds `<` or `{`; each may stand behind a method and a space.
        spelled: How a path is spelled in the protocol's requests.
        option: What the option is called. Only `exclude` takes functions.
    """

    def __init__(self, owner: str, exclude: object, spelled: Callable[[str], str], option: str = "exclude") -> None:
        self.owner = owner
        self.option = option
        self.paths: list[_Rule] = []
        self.prefixes: list[_Rule] = []
        self.templates: list[_Rule] = []
        self.functions: list[ExcludedBy] = []
        self.views: dict[str, dict[frozenset[str] | None, bool]] = {}
        """Whether the views of a route are marked, by its label and by the methods that they answer; `None`: any."""
        for given in self._several(owner, exclude):
            if callable(given) and option == "exclude":
                options.check_plain_callable(owner, option, given)
                self.functions.append(given)
            else:
                options.check_type(owner, option, given, str)
                self._take(owner, str(given), spelled)
        is_exact = not (self.prefixes or self.functions)
        self.special: Container[str] = frozenset(rule.spelled for rule in self.paths) if is_exact else EVERYTHING
        """The paths that `holds` may be true of."""

    def _take(self, owner: str, given: str, spelled: Callable[[str], str]) -> None:
        method, text = options.split_method(given)
        if options.is_template(text):
            options.check_begins(owner, self.option, text)
            self.templates.append(_Rule(method, text, route_label(text)))
        elif text.endswith("*"):
            text = text[:-1]
            options.check_path(owner, self.option, text)
            self.prefixes.append(_Rule(method, text, "" if text == "/" else spelled(text)))  # a server may leave out /
        else:
            options.check_path(owner, self.option, text)
            self.paths.append(_Rule(method, text, spelled(text)))

    def holds(self, path: str, method: object, source: Any, fault: Fault) -> bool:
        """Tell whether a request is excluded by its path, or by a function. A function that raises excludes nothing."""
        try:
            return (
                any(rule.spelled == path and rule.is_for(method) for rule in self.paths)
                or any(path.startswith(rule.spelled) and rule.is_for(method) for rule in self.prefixes)
                or any(function(source) for function in self.functions)
            )
        except Exception as error:
            fault("exclude", error)
            return False

    def mark(self, route: str, methods: Iterable[str] | None, is_marked: bool) -> None:
        """Take a declared view, marked or not. What is not counts too: it may share its template with one that is.

        Args:
            route: The template.
            methods: Those that the view answers; `None` where it names none.
            is_marked: Whether requests to it are excluded.
        """
        labels = (
            None if methods is None else frozenset(one if one == WEBSOCKET else method_label(one) for one in methods)
        )
        views = self.views.setdefault(route_label(route), {})
        views[labels] = is_marked and views.get(labels, True)

    def holds_route(self, route: str, method: str, is_socket: bool = False) -> bool:
        """Tell whether a request is excluded by the template, or by the view, that serves it.

        Args:
            route: The template.
            method: The label of the method.
            is_socket: Whether it is a WebSocket.
        """
        label = route_label(route)
        if any(rule.spelled == label and rule.is_for(method) for rule in self.templates):
            return True
        views = self.views.get(label, {})
        asked = (WEBSOCKET,) if is_socket else (method, "GET") if method == "HEAD" else (method,)
        for one in asked:  # what answers GET answers HEAD, unless there is a view for that
            found = [is_marked for labels, is_marked in views.items() if labels is None or one in labels]
            if found:
                return all(found)
        return False

    def doubts(self, declared: Collection[str]) -> Iterator[tuple[str, str]]:
        """Yield what will exclude nothing that is declared, each with what may have been meant.

        Args:
            declared: The templates of the app.
        """
        for rule in self.templates:
            if rule.text not in declared:
                yield rule.text, "no route is declared so"
        for rule in self.paths:
            below = [template for template in declared if template.startswith(rule.text)]
            if rule.text.endswith("/") and below and rule.text not in declared:
                yield rule.text, f"it is one path only; what lies below it is {rule.text}*"

    def _several(self, owner: str, given: object) -> Iterable[object]:
        takes_functions = self.option == "exclude"
        if callable(given) and takes_functions:
            return (given,)
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            rule = "must be a collection of paths" + (", or a function" if takes_functions else "")
            raise options.refusal(TypeError, owner, self.option, given, rule)
        return given
