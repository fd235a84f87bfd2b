{{/* At most one pod of a role away by choice: (dict "root" $ "component" "crm" "replicas" 2). */}}
{{- define "notification-bridge.disruption" -}}
{{- if gt (int .replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "notification-bridge.fullname" .root }}-{{ .component }}
  labels: {{- include "notification-bridge.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "notification-bridge.selector" . | nindent 6 }}
{{- end }}
{{- end -}}
