"""How new metrics are met: prometheus_client's dictionaries of children and collectors tell what comes and goes."""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry


class Children(dict[Any, Any]):
    """The children of a metric by their label values.

    Args:
        children: Those that there are.
        made: Told of each that comes. It raises nothing.
        gone: Told of each that goes. It raises nothing.
    """

    def __init__(self, children: dict[Any, Any], made: Callable[[Any], None], gone: Callable[[Any], None]) -> None:
        super().__init__(children)
        self.made = made
        self.gone = gone

    def __setitem__(self, key: Any, child: Any) -> None:
        super().__setitem__(key, child)
        self.made(child)

    def __delitem__(self, key: Any) -> None:
        self.gone(self[key])
        super().__delitem__(key)

    def pop(self, key: Any, *default: Any) -> Any:
        if key in self:
            self.gone(self[key])
        return super().pop(key, *default)

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)


class Collectors(Children):
    """The collectors of a registry, with the names of their families."""

    def __setitem__(self, collector: Any, names: Any) -> None:
        dict.__setitem__(self, collector, names)
        self.made(collector)

    def __delitem__(self, collector: Any) -> None:
        dict.__delitem__(self, collector)
        self.gone(collector)


def meet_children(metric: Any, made: Callable[[Any], None], gone: Callable[[Any], None]) -> None:
    """Be told of the children that a metric with labels gets and loses from now on."""
    with metric._lock:
        if type(metric._metrics) is dict:
            metric._metrics = Children(metric._metrics, made, gone)

    def clear() -> None:
        with metric._lock:
            for key in list(metric._metrics):
                del metric._metrics[key]

    metric.clear = clear


def meet_collectors(registry: Any, made: Callable[[Any], None], gone: Callable[[Any], None]) -> None:
    """Be told of the collectors that a registry gets and loses from now on."""
    with registry._lock:
        if type(registry._collector_to_names) is dict:
            registry._collector_to_names = Collectors(registry._collector_to_names, made, gone)


def is_plain(registry: Any) -> bool:
    """Tell whether a registry keeps what it has as prometheus_client's own do, and is asked for one after the other."""
    kept = getattr(registry, "_collector_to_names", None)
    return type(registry).collect is CollectorRegistry.collect and type(kept) in (dict, Collectors)
