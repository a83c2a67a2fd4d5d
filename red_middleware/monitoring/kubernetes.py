"""The same things as objects of Kubernetes, for those whose Prometheus is run by the Prometheus Operator.

Rules become a `PrometheusRule`, a scrape job a `PodMonitor` or a `ServiceMonitor` (monitoring.coreos.com/v1), and a
dashboard a `ConfigMap` with the label that Grafana's sidecar looks for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .scrape import Scrape

API: Final = "monitoring.coreos.com/v1"
DASHBOARD_LABEL: Final = "grafana_dashboard"
"""What the sidecar of Grafana's Helm chart looks for if nothing else is said."""


NAMESPACE: Final = "namespace"

BY_OPERATOR: Final = frozenset((NAMESPACE, "pod", "container", "endpoint"))
"""The labels that the operator gives a target by where it has found it, beside `service` if that led there.

Nothing may say otherwise.
"""


@dataclass(frozen=True)
class Metadata:
    """What an object is called.

    Args:
        name: Its name.
        namespace: The namespace of Kubernetes; `None`: that of whoever applies it.
        labels: By which operators and people find it.
    """

    name: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def object(self, api: str, kind: str, **body: Any) -> dict[str, Any]:
        """Return an object of this name."""
        metadata: dict[str, Any] = {"name": self.name}
        if self.namespace is not None:
            metadata["namespace"] = self.namespace
        if self.labels:
            metadata["labels"] = dict(self.labels)
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}


def prometheus_rule(metadata: Metadata, groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return groups of rules as an object."""
    return metadata.object(API, "PrometheusRule", spec={"groups": groups})


def config_map(metadata: Metadata, dashboard: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dashboard as an object. It has Grafana's label, unless the metadata says otherwise."""
    labelled = Metadata(metadata.name, metadata.namespace, {DASHBOARD_LABEL: "1", **metadata.labels})
    text = json.dumps(dashboard, indent=1) + "\n"
    return labelled.object("v1", "ConfigMap", data={f"{metadata.name}.json": text})


def monitor(
    metadata: Metadata,
    scrape: Scrape,
    selector: Mapping[str, str],
    port: str,
    *,
    by_service: bool = False,
    token_secret: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return a scrape job as an object.

    Args:
        metadata: Its name.
        scrape: How it is scraped. The series have its job, whatever the pods are called, and its target labels.
            A target label `namespace` says where it looks for them.
        selector: Labels of the pods, or of the service.
        port: The name of the port.
        by_service: Whether a service leads to the pods: a `ServiceMonitor`.
        token_secret: The name and the key of the secret that holds the bearer token.
    """
    by_operator = {*BY_OPERATOR, "service"} if by_service else BY_OPERATOR
    endpoint: dict[str, Any] = {
        "port": port,
        "path": scrape.path,
        "scheme": scrape.scheme,
        "interval": scrape.interval,
        "scrapeTimeout": scrape.timeout,
        "relabelings": [
            # A single $ would begin the name of a group, as in $1.
            {"action": "replace", "targetLabel": name, "replacement": value.replace("$", "$$")}
            for name, value in scrape.service.items()
            if name not in by_operator
        ],
    }
    if token_secret is not None:
        name, key = token_secret
        endpoint["authorization"] = {"type": "Bearer", "credentials": {"name": name, "key": key}}
    spec: dict[str, Any] = {"selector": {"matchLabels": dict(selector)}, "sampleLimit": scrape.sample_limit}
    if NAMESPACE in scrape.service:  # without this it finds only what is in its own namespace
        spec["namespaceSelector"] = {"matchNames": [scrape.service[NAMESPACE]]}
    endpoints = "endpoints" if by_service else "podMetricsEndpoints"
    kind = "ServiceMonitor" if by_service else "PodMonitor"
    return metadata.object(API, kind, spec={**spec, endpoints: [endpoint]})
