{{/* The only place of the controller: admission knows its ServiceAccount by this namespace. */}}
{{- define "anchorhold.checked" -}}
{{- if ne .Release.Namespace "anchorhold-system" -}}
{{- fail (printf "the release must be installed into the namespace 'anchorhold-system', not '%s': add `--namespace anchorhold-system --create-namespace`" .Release.Namespace) -}}
{{- end -}}
{{- end -}}

{{- define "anchorhold.podSecurity" -}}
pod-security.kubernetes.io/enforce: restricted
pod-security.kubernetes.io/enforce-version: {{ .Values.podSecurityVersion }}
pod-security.kubernetes.io/audit: restricted
pod-security.kubernetes.io/audit-version: {{ .Values.podSecurityVersion }}
pod-security.kubernetes.io/warn: restricted
pod-security.kubernetes.io/warn-version: {{ .Values.podSecurityVersion }}
{{- end -}}

{{/* The seccomp profile of cells, as the kubelet finds it: its name says what is in it. */}}
{{- define "anchorhold.profile" -}}
anchorhold/agent-{{ .Files.Get "files/agent.json" | sha256sum | trunc 16 }}.json
{{- end -}}

{{/* Subjects of a binding, from the values' short form. */}}
{{- define "anchorhold.subjects" -}}
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

{{/* What every container of the gateway may use and do. */}}
{{- define "anchorhold.gatewayContainer" -}}
resources:
  limits:
    cpu: {{ .Values.gateway.resources.cpu }}
    memory: {{ .Values.gateway.resources.memory }}
    ephemeral-storage: 64Mi
  requests:
    cpu: {{ .Values.gateway.resources.cpu }}
    memory: {{ .Values.gateway.resources.memory }}
    ephemeral-storage: 64Mi
securityContext:
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The egress rule that leads to the API server. Where its addresses are not given: to any but those of
the node itself and of a cloud's metadata. */}}
{{- define "anchorhold.apiServer" -}}
ports:
{{- range .Values.apiServer.ports }}
- protocol: TCP
  port: {{ . }}
{{- end }}
to:
{{- range .Values.apiServer.cidrs }}
- ipBlock:
    cidr: {{ . }}
{{- else }}
- ipBlock:
    cidr: 0.0.0.0/0
    except: [127.0.0.0/8, 169.254.0.0/16]
- ipBlock:
    cidr: ::/0
    except: ["fd00:ec2::/32", "fe80::/10"]
{{- end }}
{{- end -}}
