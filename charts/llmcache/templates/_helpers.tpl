{{- define "llmcache.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The start of every name. 50 characters leave room for the longest suffix within a label's 63. */}}
{{- define "llmcache.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "llmcache.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "llmcache.operatorName" -}}
{{- printf "%s-operator" (include "llmcache.fullname" .) -}}
{{- end -}}

{{- define "llmcache.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* What finds the operator's pod. A Deployment's selector cannot be changed, so nothing here may ever depend on a version. */}}
{{- define "llmcache.selectorLabels" -}}
app.kubernetes.io/name: {{ include "llmcache.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The metadata that all objects share, after their name and namespace: labels, and annotations where there are any.
     Takes {root, labels?, annotations?, pod?}; an object's own win over the common ones, and the selector's win over all.
     A pod's say nothing of the chart, or a release that changes the chart alone would restart the operator. */}}
{{- define "llmcache.metadata" -}}
{{- $root := .root -}}
{{- $chart := dict "app.kubernetes.io/version" $root.Chart.AppVersion "app.kubernetes.io/part-of" "llmcache" -}}
{{- if not .pod -}}
{{- $_ := set $chart "app.kubernetes.io/managed-by" $root.Release.Service -}}
{{- $_ := set $chart "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63) -}}
{{- end -}}
labels:
  {{- mergeOverwrite $chart $root.Values.commonLabels (default dict .labels) (include "llmcache.selectorLabels" $root | fromYaml) | toYaml | nindent 2 }}
{{- with mergeOverwrite dict $root.Values.commonAnnotations (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "llmcache.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "llmcache.operatorName" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The reference of an image: {image: {registry, repository, tag, digest}, defaultTag}. A digest needs no default tag. */}}
{{- define "llmcache.image" -}}
{{- with .image.registry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- with (.image.tag | default (ternary "" $.defaultTag (ne .image.digest ""))) }}:{{ . }}{{ end -}}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* Whether to render a kind of the Prometheus operator: {root, settings, kind} → "true" or nothing. */}}
{{- define "llmcache.monitoringWanted" -}}
{{- if .settings.enabled -}}
{{- $known := .root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind) -}}
{{- if and (eq .settings.renderMode "failIfMissing") (not $known) -}}
{{- fail (printf "metrics: the cluster has no %s (monitoring.coreos.com/v1). Install the Prometheus operator, or set renderMode to skipIfMissing" .kind) -}}
{{- end -}}
{{- if or $known (eq .settings.renderMode "alwaysRender") -}}true{{- end -}}
{{- end -}}
{{- end -}}
