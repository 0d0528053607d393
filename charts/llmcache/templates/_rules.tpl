{{/* What the operator may do, the same list for the whole cluster and for one namespace. docs/operator.md has it too; a test compares them. */}}
{{- define "llmcache.operatorRules" -}}
# The resource itself: its spec is never written.
- apiGroups: [llmcache.dev]
  resources: [llmcaches]
  verbs: [get, list, watch]
- apiGroups: [llmcache.dev]
  resources: [llmcaches/status]
  verbs: [patch]
# Some clusters let only those who may change an owner's finalizers set the owner reference that its objects have.
- apiGroups: [llmcache.dev]
  resources: [llmcaches/finalizers]
  verbs: [update]
# What an LLMCache is made of: gateways, a managed Redis, and what keeps them up. Server-side apply is a patch, and a
# creation where nothing is there yet.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
# What warms a new prefix version before its first client.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, create, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, delete]
# Kinds that a cluster may lack. They are not watched, as a watch of what is not there never begins.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [get, create, patch, delete]
# Its own (the admin token, a managed Redis' password) and, by name, those that a resource refers to. Never a list or a
# watch: whoever takes the operator over is not handed every Secret at one call.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
# Which gateways are ready, and why others are not.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
