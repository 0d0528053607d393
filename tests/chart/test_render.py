"""Every switch of the chart, rendered offline: are the objects valid, and are they the ones that were asked for?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import helm_python
import kubernetes_validate
import pytest

from tests.chart.conftest import CHART, Manifest, Render, Values

OLDEST = "1.29.0"  # the chart's kubeVersion
NEWEST = kubernetes_validate.latest_version()

DIGEST = "sha256:" + "ab" * 32

# name → (values, kinds that these values add to the default ones, kinds that they take away)
SWITCHES: dict[str, tuple[Values, set[str], set[str]]] = {
    "defaults": ({}, set(), set()),
    "names": ({"nameOverride": "cache", "fullnameOverride": "ai-cache", "namespaceOverride": "ai"}, set(), set()),
    "common metadata": ({"commonLabels": {"team": "ml"}, "commonAnnotations": {"owner": "ml@corp"}}, set(), set()),
    "no CRD": ({"crds": {"enabled": False}}, set(), {"CustomResourceDefinition"}),
    "CRD deleted with the release": ({"crds": {"keep": False}}, set(), set()),
    "CRD annotated": ({"crds": {"annotations": {"argocd.argoproj.io/sync-wave": "-1"}}}, set(), set()),
    "namespaced": ({"watchNamespaces": ["ai", "chat"]}, set(), {"ClusterRoleBinding"}),
    "paused": ({"replicaCount": 0}, set(), set()),
    "one that stands by": ({"replicaCount": 2}, set(), set()),
    "image by digest": ({"image": {"digest": DIGEST}, "imagePullSecrets": [{"name": "pull"}]}, set(), set()),
    "other images": (
        {"defaults": {"gatewayImage": {"tag": "1"}, "redisImage": {"digest": DIGEST}, "imagePullPolicy": "Never"}},
        set(),
        set(),
    ),
    "debug log": ({"logLevel": "debug", "extraArgs": ["--verbose"]}, set(), set()),
    "extra environment": (
        {
            "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca", "readOnly": True}],
        },
        set(),
        set(),
    ),
    "own service account": ({"serviceAccount": {"create": False, "name": "mine"}}, set(), {"ServiceAccount"}),
    "annotated service account": ({"serviceAccount": {"annotations": {"role": "arn"}}}, set(), set()),
    "no operator roles": ({"rbac": {"create": False}}, set(), {"ClusterRoleBinding", "Role", "RoleBinding"}),
    "no aggregate roles": ({"rbac": {"aggregateRoles": False}}, set(), set()),
    "pod settings": (
        {
            "resources": {"limits": {"cpu": "1"}},
            "podLabels": {"sidecar.istio.io/inject": "false"},
            "podAnnotations": {"note": "x"},
            "terminationGracePeriodSeconds": 5,
            "revisionHistoryLimit": 0,
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "infra", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
            ],
        },
        set(),
        set(),
    ),
    "OpenShift": ({"podSecurityContext": {"runAsUser": None}}, set(), set()),
    "disruption budget": ({"podDisruptionBudget": {"enabled": True}}, {"PodDisruptionBudget"}, set()),
    "disruption budget by minimum": (
        {"podDisruptionBudget": {"enabled": True, "minAvailable": "50%"}},
        {"PodDisruptionBudget"},
        set(),
    ),
    "network policy": ({"networkPolicy": {"enabled": True}}, {"NetworkPolicy"}, set()),
    "network policy for one namespace": (
        {"networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]}},
        {"NetworkPolicy"},
        set(),
    ),
    "service monitor": (
        {"metrics": {"serviceMonitor": {"enabled": True, "renderMode": "alwaysRender", "labels": {"release": "prom"}}}},
        {"ServiceMonitor"},
        set(),
    ),
    "service monitor where the kind is missing": ({"metrics": {"serviceMonitor": {"enabled": True}}}, set(), set()),
    "alerts": (
        {
            "metrics": {
                "prometheusRule": {
                    "enabled": True,
                    "renderMode": "alwaysRender",
                    "additionalRules": [{"record": "a:b", "expr": "1"}],
                }
            }
        },
        {"PrometheusRule"},
        set(),
    ),
    "extra objects": (
        {
            "extraObjects": [
                {
                    "apiVersion": "v1",
                    "kind": "LimitRange",
                    "metadata": {"name": "{{ .Release.Name }}-limits"},
                    "spec": {"limits": []},
                },
                "apiVersion: v1\nkind: ResourceQuota\nmetadata:\n  name: {{ .Release.Name }}\n",
            ]
        },
        {"LimitRange", "ResourceQuota"},
        set(),
    ),
}

# Kinds that come from other projects' CRDs, so that Kubernetes' own schemas say nothing of them.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def operator(manifests: list[Manifest]) -> Manifest:
    (deployment,) = of_kind(manifests, "Deployment")
    return deployment


def arguments(manifests: list[Manifest]) -> list[str]:
    args: list[str] = operator(manifests)["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


def pod_specs(manifests: list[Manifest]) -> Iterator[Manifest]:
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["spec"]
        elif manifest["kind"] == "Deployment":
            yield manifest["spec"]["template"]["spec"]


@pytest.fixture(params=SWITCHES)
def switched(request: pytest.FixtureRequest, render: Render) -> list[Manifest]:
    return render(SWITCHES[request.param][0])


@pytest.mark.parametrize("switch", SWITCHES)
def test_the_linter_has_nothing_to_say(switch: str) -> None:
    report = helm_python.lint(CHART, SWITCHES[switch][0], strict=True, kube_version=f"v{NEWEST}")
    assert (report["total_charts_linted"], report["messages"], report["errors"]) == (1, [], [])


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_adds_and_removes_the_kinds_that_it_names(switch: str, render: Render) -> None:
    values, added, removed = SWITCHES[switch]
    default = {manifest["kind"] for manifest in render()}
    assert {manifest["kind"] for manifest in render(values)} == (default | added) - removed


def test_every_object_fits_kubernetes_own_schema(switched: list[Manifest]) -> None:
    for manifest in switched:
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, OLDEST, strict=True)
            kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_no_two_objects_share_a_name(switched: list[Manifest]) -> None:
    names = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in switched]
    assert len(names) == len(set(names))


def test_a_namespaced_object_says_its_namespace_and_a_cluster_wide_one_has_none(render: Render) -> None:
    manifests = render({"namespaceOverride": "ai", "networkPolicy": {"enabled": True}})
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    for manifest in manifests:
        assert manifest["metadata"].get("namespace") == (None if manifest["kind"] in cluster_wide else "ai")


def test_the_selector_finds_the_pod_and_no_version_is_in_it(switched: list[Manifest]) -> None:
    deployment = operator(switched)
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert set(selector) == {f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")}
    for service in of_kind(switched, "Service"):
        assert service["spec"]["selector"] == selector


def test_a_common_label_cannot_take_the_selectors_place(render: Render) -> None:
    deployment = operator(render({"commonLabels": {"app.kubernetes.io/name": "other", "team": "ml"}}))
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert (labels["app.kubernetes.io/name"], labels["team"]) == ("llmcache", "ml")


def test_an_upgrade_of_the_chart_alone_does_not_restart_the_operator(render: Render) -> None:
    assert "helm.sh/chart" not in operator(render())["spec"]["template"]["metadata"]["labels"]


def test_every_pod_meets_the_restricted_pod_security_standard(switched: list[Manifest]) -> None:
    for spec in pod_specs(switched):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_only_the_operator_gets_a_token(render: Render) -> None:
    manifests = render()
    (pod,), (account,) = of_kind(manifests, "Pod"), of_kind(manifests, "ServiceAccount")
    assert operator(manifests)["spec"]["template"]["spec"]["automountServiceAccountToken"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert account["automountServiceAccountToken"] is False


def test_no_rule_has_a_wildcard_and_none_may_escalate(switched: list[Manifest]) -> None:
    for role in of_kind(switched, "ClusterRole") + of_kind(switched, "Role"):
        for rule in role["rules"]:
            assert not any("*" in entry for key in ("apiGroups", "resources", "verbs") for entry in rule[key])
            assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
            assert "rbac.authorization.k8s.io" not in rule["apiGroups"]


def test_by_default_it_watches_every_namespace(render: Render) -> None:
    manifests = render()
    assert "--all-namespaces" in arguments(manifests)
    assert {role["metadata"]["name"] for role in of_kind(manifests, "ClusterRole")} == {
        "llmcache-operator",
        "llmcache-view",
        "llmcache-edit",
    }


def test_watched_namespaces_get_a_role_each_with_the_rules_of_the_cluster_role(render: Render) -> None:
    (cluster_wide,) = [r for r in of_kind(render(), "ClusterRole") if r["metadata"]["name"] == "llmcache-operator"]
    manifests = render({"watchNamespaces": ["ai", "chat"]})
    roles, bindings = (
        [manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == "llmcache-operator"]
        for kind in ("Role", "RoleBinding")
    )
    assert [role["metadata"]["namespace"] for role in roles] == ["ai", "chat"]
    assert [binding["metadata"]["namespace"] for binding in bindings] == ["ai", "chat"]
    assert all(role["rules"] == cluster_wide["rules"] for role in roles)
    assert all(binding["subjects"][0]["namespace"] == "llmcache-system" for binding in bindings)
    assert "--all-namespaces" not in arguments(manifests)
    assert [a for a in arguments(manifests) if a.startswith("--namespace")] == ["--namespace=ai", "--namespace=chat"]


def test_watched_namespaces_leave_no_cluster_role_but_the_aggregate_ones_and_those_can_go(render: Render) -> None:
    namespaced: Values = {"watchNamespaces": ["ai"]}
    left = {role["metadata"]["name"] for role in of_kind(render(namespaced), "ClusterRole")}
    assert left == {"llmcache-view", "llmcache-edit"}
    assert not of_kind(render({**namespaced, "rbac": {"aggregateRoles": False}}), "ClusterRole")


def test_the_cluster_s_own_roles_learn_of_the_resource(render: Render) -> None:
    roles = {role["metadata"]["name"]: role for role in of_kind(render(), "ClusterRole")}
    view, edit = roles["llmcache-view"], roles["llmcache-edit"]
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"] == "true"
    assert all(set(rule["verbs"]) <= {"get", "list", "watch"} for rule in view["rules"])


IMAGES: list[tuple[Values, str]] = [
    ({}, "ghcr.io/llmcache/operator:0.1.0"),
    ({"tag": "0.2.0-rc.1"}, "ghcr.io/llmcache/operator:0.2.0-rc.1"),
    ({"registry": "registry.corp:5000"}, "registry.corp:5000/llmcache/operator:0.1.0"),
    ({"registry": "", "repository": "localhost/operator", "tag": "dev"}, "localhost/operator:dev"),
    ({"digest": DIGEST}, f"ghcr.io/llmcache/operator@{DIGEST}"),
    ({"tag": "0.2.0", "digest": DIGEST}, f"ghcr.io/llmcache/operator:0.2.0@{DIGEST}"),
]


@pytest.mark.parametrize(("image", "reference"), IMAGES)
def test_an_image_reference_is_put_together_and_a_digest_wins(image: Values, reference: str, render: Render) -> None:
    manifests = render({"image": image})
    assert [spec["containers"][0]["image"] for spec in pod_specs(manifests)] == [reference, reference]


def test_the_images_of_the_workloads_reach_the_operator(render: Render) -> None:
    images = {"gatewayImage": {"digest": DIGEST}, "redisImage": {"registry": "mirror.corp", "tag": "7"}}
    args = arguments(render({"defaults": {**images, "imagePullPolicy": "Always"}}))
    assert f"--gateway-image=ghcr.io/llmcache/gateway@{DIGEST}" in args
    assert "--redis-image=mirror.corp/library/redis:7" in args
    assert "--image-pull-policy=Always" in args


def test_of_several_operators_the_one_that_holds_the_lease_works(render: Render) -> None:
    manifests = render({"replicaCount": 2, "namespaceOverride": "ai"}, name="prod")
    assert "--lease=ai/prod-llmcache-operator" in arguments(manifests)
    assert operator(manifests)["spec"]["replicas"] == 2
    (spread,) = operator(manifests)["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == operator(manifests)["spec"]["selector"]["matchLabels"]
    # The new one has to stand by before the old one goes: the Lease, and not the Deployment, keeps them apart.
    assert operator(manifests)["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": 0}, {"maxUnavailable": 0}),
        ({"minAvailable": 0}, {"minAvailable": 0}),
        ({"minAvailable": "50%"}, {"minAvailable": "50%"}),
    ],
)
def test_a_disruption_budget_has_one_bound(budget: Values, expected: dict[str, Any], render: Render) -> None:
    (pdb,) = of_kind(render({"podDisruptionBudget": {"enabled": True, **budget}}), "PodDisruptionBudget")
    bounds = {key: value for key, value in pdb["spec"].items() if key in ("minAvailable", "maxUnavailable")}
    assert bounds == expected


def test_two_bounds_of_a_disruption_budget_are_refused(render: Render) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="set minAvailable or maxUnavailable, not both"):
        render({"podDisruptionBudget": {"enabled": True, "minAvailable": 1, "maxUnavailable": 1}})


def test_monitoring_that_must_be_there_fails_where_the_kind_is_missing(render: Render) -> None:
    with pytest.raises(helm_python.HelmRenderError, match="the cluster has no ServiceMonitor"):
        render({"metrics": {"serviceMonitor": {"enabled": True, "renderMode": "failIfMissing"}}})


def test_the_alert_asks_for_the_service_that_prometheus_scrapes(render: Render) -> None:
    settings = {"enabled": True, "renderMode": "alwaysRender"}
    manifests = render({"metrics": {"serviceMonitor": settings, "prometheusRule": settings}})
    (service,), (monitor,), (rule,) = (of_kind(manifests, k) for k in ("Service", "ServiceMonitor", "PrometheusRule"))
    expression = rule["spec"]["groups"][0]["rules"][0]["expr"]
    assert f'service="{service["metadata"]["name"]}"' in expression
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]


def test_a_network_policy_that_admits_few_still_admits_helm_test(render: Render) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
    manifests = render({"networkPolicy": {"enabled": True, "from": [peer]}})
    (policy,), (pod,) = of_kind(manifests, "NetworkPolicy"), of_kind(manifests, "Pod")
    admitted = policy["spec"]["ingress"][0]["from"]
    assert admitted[0] == peer
    assert admitted[1]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_extra_objects_are_templates(render: Render) -> None:
    manifests = render(SWITCHES["extra objects"][0], name="prod")
    assert of_kind(manifests, "LimitRange")[0]["metadata"]["name"] == "prod-limits"
    assert of_kind(manifests, "ResourceQuota")[0]["metadata"]["name"] == "prod"


@pytest.mark.parametrize("release", ["llmcache", "a", "x" * 53])
def test_names_fit_whatever_the_release_is_called(release: str, render: Render) -> None:
    for manifest in render({"podDisruptionBudget": {"enabled": True}}, name=release):
        assert len(manifest["metadata"]["name"]) <= 63


def test_the_notes_end_in_a_cache_to_paste_and_the_command_that_shows_it(notes: Callable[[Values], str]) -> None:
    text = notes({"watchNamespaces": ["ai", "chat"]})
    assert "The operator manages the namespaces ai, chat" in text
    assert "kind: LLMCache" in text
    assert text.strip().splitlines()[-1] == "kubectl get llmc --namespace ai quickstart"


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"replicaCount": 0}, "the operator is paused"),
        ({"crds": {"enabled": False}}, "apply the CRD yourself"),
        ({"rbac": {"create": False}}, "needs the rules"),
    ],
)
def test_the_notes_begin_with_what_is_missing(values: Values, warning: str, notes: Callable[[Values], str]) -> None:
    assert warning in notes(values).lstrip().splitlines()[0]
    assert "⚠️" not in notes({})
