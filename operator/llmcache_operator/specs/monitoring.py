"""What watches the gateways: ServiceMonitor, PrometheusRule, dashboard."""

import json
from typing import Final

from llmcache_gateway.config import Gateway, Monitoring
from llmcache_operator.specs.identity import COMPONENT_GATEWAY, Identity, Object

API_VERSION: Final = "monitoring.coreos.com/v1"
DASHBOARD_LABEL: Final = {"grafana_dashboard": "1"}
"""What Grafana's sidecar looks for."""


def watchers(identity: Identity, asked: Monitoring | None, gateway: Gateway) -> list[Object]:
    """Return the objects that are asked for."""
    if asked is None:
        return []
    found = []
    if asked.service_monitor:
        found.append(_service_monitor(identity, asked.labels))
    if asked.alerts:
        found.append(_prometheus_rule(identity, asked.labels, gateway))
    if asked.dashboards:
        found.append(_dashboard(identity, asked.labels))
    return found


def dashboard_name(identity: Identity) -> str:
    """Return the name of the ConfigMap with the dashboard."""
    return f"{identity.name}-dashboard"


def _service_monitor(identity: Identity, labels: dict[str, str]) -> Object:
    # The admin port is in no Service. Prometheus finds it all the same: it takes the ports of a Service's pods too.
    endpoint = {"targetPort": "admin", "path": "/metrics", "interval": "30s", "scrapeTimeout": "10s"}
    return {
        "apiVersion": API_VERSION,
        "kind": "ServiceMonitor",
        "metadata": _labelled(identity, identity.name, labels),
        "spec": {"selector": {"matchLabels": identity.selector(COMPONENT_GATEWAY)}, "endpoints": [endpoint]},
    }


def _prometheus_rule(identity: Identity, labels: dict[str, str], gateway: Gateway) -> Object:
    where = _where(identity)
    rules = [
        _alert(
            "LLMCacheStoreUnavailable",
            f"max by (store) (llmcache_store_circuit_open{{{where}}}) > 0",
            "5m",
            "warning",
            "Gateways can't use their store",
            "Requests go upstream uncached. The gateways' log and kubectl describe llmcache say why.",
        ),
        _alert(
            "LLMCacheConfigurationRefused",
            f'increase(llmcache_config_reloads_total{{result="refused", {where}}}[15m]) > 0',
            "5m",
            "warning",
            "A gateway can't use its configuration",
            "It goes on with its last one. kubectl describe llmcache has the error.",
        ),
        _alert(
            "LLMCacheHooksPassedOver",
            f"sum by (hook, reason) (rate(llmcache_hook_errors_total{{{where}}}[5m])) > 0",
            "10m",
            "warning",
            "A hook fails or takes too long",
            "Its part of the request path is left out. The gateways' log has what it raised.",
        ),
    ]
    if gateway.replicas > 0:
        down = _alert(
            "LLMCacheDown",
            f"absent(up{{{where}}} == 1)",
            "5m",
            "critical",
            "No gateway answers",
            "No gateway has answered Prometheus for 5 minutes: clients get no answers, cached or not.",
        )
        rules.insert(0, down)
    return {
        "apiVersion": API_VERSION,
        "kind": "PrometheusRule",
        "metadata": _labelled(identity, identity.name, labels),
        "spec": {"groups": [{"name": f"llmcache.{identity.namespace}.{identity.name}", "rules": rules}]},
    }


def _alert(name: str, expression: str, lasting: str, severity: str, summary: str, description: str) -> Object:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }


def _dashboard(identity: Identity, labels: dict[str, str]) -> Object:
    where = _where(identity)
    rate = f"{{{where}}}[$__rate_interval]"
    served = f'{{outcome=~"HIT|STALE|COALESCED", {where}}}[$__rate_interval]'
    panels = [
        _panel("Requests by outcome", "reqps", f"sum by (outcome) (rate(llmcache_requests_total{rate}))", "outcome"),
        _panel(
            "Share answered without a call upstream",
            "percentunit",
            f"sum(rate(llmcache_requests_total{served})) / sum(rate(llmcache_requests_total{rate}))",
        ),
        _panel("Requests by version", "reqps", f"sum by (version) (rate(llmcache_requests_total{rate}))", "version"),
        _panel("Hits by tier", "reqps", f"sum by (tier) (rate(llmcache_hits_total{rate}))", "tier"),
        _panel("Misses by reason", "reqps", f"sum by (reason) (rate(llmcache_misses_total{rate}))", "reason"),
        _panel("Time of a request, 95th percentile", "s", _quantile("llmcache_request_seconds", rate)),
        _panel("Until upstream begins, 95th percentile", "s", _quantile("llmcache_upstream_seconds", rate)),
        _panel("Time of a lookup, 95th percentile", "s", _quantile("llmcache_lookup_seconds", rate)),
        _panel("Errors of the store", "ops", f"sum by (op) (rate(llmcache_store_errors_total{rate}))", "op"),
        _panel("Saved in an hour", "currencyUSD", f"sum(increase(llmcache_saved_usd_total{{{where}}}[1h]))"),
        _panel(
            "Providers' tokens by kind",
            "short",
            f"sum by (kind) (rate(llmcache_provider_tokens_total{rate}))",
            "kind",
        ),
        _panel("Entries by tier", "short", f"sum by (tier) (llmcache_entries{{{where}}})", "tier"),
    ]
    board = {
        "title": f"LLMCache {identity.namespace}/{identity.name}",
        "uid": f"llmcache-{identity.uid or identity.name}"[:40],
        "tags": ["llmcache"],
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [panel | _placed(number) for number, panel in enumerate(panels)],
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _labelled(identity, dashboard_name(identity), DASHBOARD_LABEL | labels),
        "data": {f"llmcache-{identity.namespace}-{identity.name}.json": json.dumps(board, indent=1)},
    }


def _quantile(metric: str, rate: str) -> str:
    return f"histogram_quantile(0.95, sum by (le) (rate({metric}_bucket{rate})))"


def _panel(title: str, unit: str, expression: str, label: str = "") -> Object:
    legend = f"{{{{{label}}}}}" if label else title
    return {
        "title": title,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": "A", "expr": expression, "legendFormat": legend}],
    }


def _placed(number: int) -> Object:
    return {"id": number + 1, "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8}}


def _where(identity: Identity) -> str:
    return f'namespace="{identity.namespace}", service="{identity.name}"'


def _labelled(identity: Identity, name: str, labels: dict[str, str]) -> Object:
    metadata = identity.metadata(name, COMPONENT_GATEWAY)
    return metadata | {"labels": labels | metadata["labels"]}
