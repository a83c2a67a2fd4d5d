"""Reads from an app what it exposes, without serving it: `--app module:app`, or `module:create_app()` for a factory.

The module is imported as gunicorn does it, with the working directory on the path. The `RedMetrics` is that of our
middleware around the app; where that cannot be seen, the one that came to be while the app was imported. No request is
made, no port is opened, and nothing is written.
"""

import ast
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, Final, NamedTuple

from ..exposition.collectors import family_of
from ..metrics import RedMetrics, recorder_of, registered_recorders
from ..monitoring.installation import OwnMetric
from ..recorder import Recorder
from ..routes.wrapped import of_class, wrapped
from ..settings import ENABLED, is_enabled
from . import FailureError

OWN_TYPES: Final = ("counter", "gauge", "histogram", "summary")
"""The types of the app's own metrics that a dashboard can show; `Info` and `Enum` are of no such type."""

MIDDLEWARES: Final = (("red_middleware.wsgi", "RedWSGIMiddleware"), ("red_middleware.asgi", "RedASGIMiddleware"))


class Application(NamedTuple):
    """An app that has been imported."""

    recorder: Recorder
    middlewares: Sequence[Any]
    """Ours around the app, as far as they can be seen. The recorder's routes are known while they live."""

    @property
    def metrics_path(self) -> str | None:
        """Where the endpoint answers; `None` where that cannot be seen."""
        paths = [one.mounting.metrics_path for one in self.middlewares if one.recorder is self.recorder]
        return next(filter(None, paths), None)

    @property
    def own(self) -> list[OwnMetric]:
        """The app's own metrics in the registry of its `RedMetrics`, named as prometheus_client shows them."""
        found = []
        for collector in getattr(self.recorder.registry(), "_collector_to_names", ()):
            name, kind = family_of(collector)
            if kind in OWN_TYPES:
                shown = re.sub("^[0-9]|[^a-zA-Z0-9_:]", "_", f"{name}_total" if kind == "counter" else name)
                found.append(OwnMetric(shown, kind, collector._documentation))
        return found


def read(target: str, namespace: str | None, with_traceback: bool) -> Application:
    """Import an app and return what it feeds.

    Args:
        target: As `--app` has it.
        namespace: Which `RedMetrics` is meant, if there are several.
        with_traceback: Whether an error of the app is shown with where it comes from.

    Raises:
        FailureError: The app cannot be imported, or does not say which `RedMetrics` it feeds.
    """
    if not is_enabled():
        raise FailureError(f"{ENABLED.variable} is false here, so the app exposes nothing; unset it")
    before = set(map(id, registered_recorders()))
    with _quietly(target, with_traceback):
        app = _load(target)
        if isinstance(app, RedMetrics):
            return Application(recorder_of(app), ())
        middlewares = list(_middlewares(app))
        found = list(dict.fromkeys(one.recorder for one in middlewares))
        found = found or [one for one in registered_recorders() if id(one) not in before]
        recorder = _chosen(target, app, found, namespace)
        recorder.learn()
        return Application(recorder, middlewares)


def _chosen(target: str, app: object, found: Sequence[Recorder], namespace: str | None) -> Recorder:
    """Return the recorder that is meant."""
    module = target.partition(":")[0]
    if not found:
        hint = f"; if {target} makes the app, write {target}()" if inspect.isfunction(app) else ""
        rule = f"no middleware of red_middleware is seen{hint}; else name the RedMetrics: --app {module}:metrics"
        raise FailureError(f"{target}: {rule}")
    meant = [one for one in found if namespace is None or one.options.namespace == namespace]
    names = ", ".join(repr(one.options.namespace) for one in found)
    if not meant:
        raise FailureError(f"{target}: no RedMetrics has the namespace {namespace!r}; found: {names}")
    if len(meant) > 1:
        rule = "--namespace says which is meant" if namespace is None else f"name the one: --app {module}:metrics"
        raise FailureError(f"{target}: there are several RedMetrics, of the namespaces {names}; {rule}")
    return meant[0]


def _middlewares(app: object) -> Iterator[Any]:
    """Yield our middlewares around an app, the outermost first.

    Starlette and FastAPI construct theirs when they serve: these are constructed here, around the app as a whole.
    """
    for module, name in MIDDLEWARES:
        for found, _ in wrapped(app, of_class(module, name)):
            yield found
    for found, _ in wrapped(app, of_class("starlette.applications", "Starlette")):
        held: Any = found
        for entry in held.user_middleware:
            if any(entry.cls is getattr(sys.modules.get(module), name, None) for module, name in MIDDLEWARES):
                yield entry.cls(held, *entry.args, **entry.kwargs)


def _load(target: str) -> object:
    """Import a module and return what is named in it."""
    name, _, text = target.partition(":")
    try:
        expression = ast.parse(text, mode="eval").body
        call = expression if isinstance(expression, ast.Call) else None
        attributes = _attributes(call.func if call else expression)
        positional = [ast.literal_eval(each) for each in call.args] if call else []
        named = {each.arg or "": ast.literal_eval(each.value) for each in call.keywords} if call else {}
    except (SyntaxError, ValueError):
        name = ""
    if not name:
        raise FailureError(f"{target}: write module:app, or module:create_app() where a factory makes the app")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a module that the app imports
        rule = f"is in neither {os.getcwd()} nor the packages of {sys.executable}"
        raise FailureError(f"{target}: the module {error.name} {rule}") from error
    for attribute in attributes:
        if not hasattr(found, attribute):
            raise FailureError(f"{target}: {getattr(found, '__name__', type(found).__name__)} has no {attribute}")
        found = getattr(found, attribute)
    return found(*positional, **named) if call else found


def _attributes(expression: ast.expr) -> list[str]:
    """Return the names in `a.b.c`; `ValueError` of anything else."""
    if isinstance(expression, ast.Attribute):
        return [*_attributes(expression.value), expression.attr]
    if isinstance(expression, ast.Name):
        return [expression.id]
    raise ValueError(ast.dump(expression))


@contextmanager
def _quietly(target: str, with_traceback: bool) -> Iterator[None]:
    """Run what is the app's: it writes no bytecode, it prints to stderr, and an error of it is one of the command."""
    is_writing, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        with redirect_stdout(sys.stderr), _in_this_directory():
            yield
    except (FailureError, KeyboardInterrupt):
        raise
    except BaseException as error:  # such as SystemExit, or asyncio's CancelledError
        if with_traceback:
            traceback.print_exc()
        frames = [one for one in traceback.extract_tb(error.__traceback__) if not _is_of_import(one.filename)]
        place = f", raised at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        said = (str(error).splitlines() or [""])[0]
        more = "" if with_traceback else " (--traceback shows all)"
        raise FailureError(f"{target}: {type(error).__name__}: {said}{place}{more}") from error
    finally:
        sys.dont_write_bytecode = is_writing


@contextmanager
def _in_this_directory() -> Iterator[None]:
    """Come back if the app goes elsewhere: the paths of other arguments are meant from here."""
    here = os.getcwd()
    try:
        yield
    finally:
        os.chdir(here)


def _is_of_import(file: str) -> bool:
    """Tell whether a file is of those that import the app, and not of the app."""
    return file == __file__ or file == importlib.__file__ or file.startswith("<frozen importlib")
