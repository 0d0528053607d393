{{/* What the operator may do, the same list for the whole cluster and for a namespace. docs/operator.md says what each is for. */}}
{{- define "llmcache.operatorRules" -}}
# The resource itself. Its spec is never written: patch is for kopf's annotations and the finalizer.
- apiGroups: [llmcache.dev]
  resources: [llmcaches]
  verbs: [get, list, watch, patch]
- apiGroups: [llmcache.dev]
  resources: [llmcaches/status]
  verbs: [get, patch, update]
# Clusters that enforce it let only those who may change an owner's finalizers set a blocking owner reference.
- apiGroups: [llmcache.dev]
  resources: [llmcaches/finalizers]
  verbs: [update]
# What an LLMCache is made of: gateways, a managed Redis, and what keeps them up.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
# Its own (the admin token, a managed Redis' password) and, by name, those that a resource refers to. Listing is left
# out: whoever takes the operator over should not be handed every Secret at one call.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
# Which gateways are ready, and on which configuration.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
