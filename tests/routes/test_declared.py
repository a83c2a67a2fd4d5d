"""The declared route that a path seems to ask for, whichever framework wrote the template."""

import pytest

from red_middleware.counting.labels import WEBSOCKET
from red_middleware.routes import DeclaredRoutes

FITTING = {
    "/": ["/"],
    "/items/<int:id>": ["/items/1"],
    "/items/{id:int}/": ["/items/1/"],
    "/lots/{id:int(min=1)}": ["/lots/1"],
    "/p/{name:[a-z]{2,3}}": ["/p/abc"],
    "/years/<re:[0-9/]+:year>": ["/years/1"],
    "/v{major}.{minor}/x": ["/v1.2/x"],
    "/files/<path:name>": ["/files/a", "/files/a/b"],
    "/rest/{rest:.*}": ["/rest/a/b"],
    "/all/<path:a>/<path:b>/end": ["/all/1/2/3/end"],
    "/beside-<path:a>": ["/beside-1/2"],
    "/traverse/*rest": ["/traverse/a/b"],
    "/static/*": ["/static", "/static/", "/static/a", "/static/a/b"],
    "/santé/<x>": ["/santé/1", "/santÃ©/1"],
}


def routes_of(*templates: str, methods: list[str] | None = None) -> DeclaredRoutes:
    """Return these."""
    routes = DeclaredRoutes()
    routes.add((template, methods) for template in templates)
    return routes


@pytest.mark.parametrize("template", [name for name in FITTING if not name.startswith("/beside")])
def test_a_path_leads_to_the_template_that_it_fits(template: str) -> None:
    """Alone, and among all others."""
    for path in FITTING[template]:
        assert routes_of(template).find("GET", path) == template
        assert routes_of(*(one for one in FITTING if not one.startswith("/beside"))).find("GET", path) == template


def test_a_parameter_of_several_segments_takes_its_whole_segment() -> None:
    """What stands beside it is not looked at: an approximation."""
    assert routes_of("/beside-<path:a>").find("GET", "/anything/2") == "/beside-<path:a>"


def test_a_template_without_a_slash_begins_at_the_root() -> None:
    """As its label does."""
    assert routes_of("items/<x>").find("GET", "/items/1") == "items/<x>"


def test_of_templates_that_look_alike_the_first_one_is_found() -> None:
    """Which kind a parameter has is not looked at."""
    assert routes_of("/a/<int:b>", "/a/<c>").find("GET", "/a/x") == "/a/<int:b>"


def test_a_method_leads_to_the_template_that_serves_it() -> None:
    """Two methods on one path may be two templates; a method that nobody names is one of the others."""
    routes = routes_of("/a/<read>", methods=["GET"])
    routes.add([("/a/<write>", ["PUT"]), ("/b", None), ("/socket", [WEBSOCKET])])
    assert [routes.find(method, "/a/1") for method in ("GET", "PUT", "POST")] == ["/a/<read>", "/a/<write>", None]
    assert routes.find("TRACE", "/b") == "/b"
    assert routes.find("GET", "/socket") is None


def test_what_is_declared_late_is_found_too() -> None:
    """After a search already."""
    routes = routes_of("/a")
    assert routes.find("GET", "/b") is None
    routes.add([("/b", ["GET"])])
    assert routes.find("GET", "/b") == "/b"


def test_what_is_declared_while_another_thread_asks_is_found_next() -> None:
    """The trees that the other thread plants at that moment lack it, and are not kept for complete."""
    routes = DeclaredRoutes()

    class Read(str):
        """A template that says when the trees are planted."""

        def isascii(self) -> bool:
            routes.add([("/late", ["GET"])])
            return True

    routes.add([(Read("/early"), ["GET"])])
    assert routes.find("GET", "/early") == "/early"
    assert routes.find("GET", "/late") == "/late"


def test_what_is_no_path_fits_nothing() -> None:
    """As an empty one."""
    assert DeclaredRoutes().find("GET", "/") is None
    assert routes_of("/").find("GET", "") is None
