{{/* The run namespace: named like the release, unless the values say otherwise. */}}
{{- define "tenant.namespace" -}}
{{- .Values.namespace.name | default .Release.Name -}}
{{- end -}}

{{/* What must be given, each with a sentence. `helm lint` passes without. */}}
{{- define "tenant.checked" -}}
{{- if ne .Release.Namespace "anchorhold-system" -}}
{{- fail (printf "the release must be installed into the namespace 'anchorhold-system', not '%s': add `--namespace anchorhold-system`, and name the run namespace in `namespace.name`" .Release.Namespace) -}}
{{- end -}}
{{- if regexMatch "^(default$|kube-|anchorhold-)" (include "tenant.namespace" .) -}}
{{- fail (printf "`namespace.name` '%s' must not be 'default', and must not begin with 'kube-' or 'anchorhold-'" (include "tenant.namespace" .)) -}}
{{- end -}}
{{- if not .Values.policies -}}
{{- fail "`policies` must name at least one AgentPolicy" -}}
{{- end -}}
{{- end -}}

{{- define "tenant.labels" -}}
anchorhold.dev/tenant: {{ .Release.Name }}
pod-security.kubernetes.io/enforce: restricted
pod-security.kubernetes.io/enforce-version: {{ .Values.podSecurityVersion }}
pod-security.kubernetes.io/audit: restricted
pod-security.kubernetes.io/audit-version: {{ .Values.podSecurityVersion }}
pod-security.kubernetes.io/warn: restricted
pod-security.kubernetes.io/warn-version: {{ .Values.podSecurityVersion }}
{{- end -}}

{{/* Subjects of a binding, from the values' short form. */}}
{{- define "tenant.subjects" -}}
{{- range . }}
- kind: {{ .kind }}
  {{- if eq .kind "ServiceAccount" }}
  namespace: {{ .namespace }}
  {{- else }}
  apiGroup: rbac.authorization.k8s.io
  {{- end }}
  name: {{ .name | quote }}
{{- end }}
{{- end -}}
