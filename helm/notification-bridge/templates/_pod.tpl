{{/*
The environment of one role: the settings, and the secrets that this role needs.
(dict "root" $ "secrets" (list "tokens") "secretName" "name of the chart's own Secret")
*/}}
{{- define "notification-bridge.environment" -}}
{{- $root := .root -}}
{{- $secretName := .secretName -}}
{{- range $name, $value := $root.Values.settings }}
- name: BRIDGE_{{ upper $name }}
  {{- /* Helm reads numbers as floats, and would print 67108864 as 6.7108864e+07. */}}
  value: {{ if and (kindIs "float64" $value) (eq (floor $value) $value) }}{{ int64 $value | toString | quote }}{{ else }}{{ toString $value | quote }}{{ end }}
{{- end }}
{{- range $name := .secrets }}
{{- if get $root.Values.secrets $name }}
- name: BRIDGE_{{ upper $name }}
  valueFrom: {secretKeyRef: {name: {{ $secretName }}, key: {{ $name }}}}
{{- else if $root.Values.existingSecret }}
- name: BRIDGE_{{ upper $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $root.Values.existingSecret }}
      key: {{ $name }}
      optional: {{ or $root.Values.embedded.enabled (not (has $name (list "tokens" "broker_url" "database_url"))) }}
{{- end }}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
The pod of one role.
(dict "root" $ "component" "crm" "args" (list "consume" "crm") "secrets" (list …) "resources" …)
and, where they differ: "secretName", "long" false for a command that ends, "stopDelay" seconds,
"public" true for the ingress's port, "data" true for a volume `data`.
*/}}
{{- define "notification-bridge.pod" -}}
{{- $root := .root -}}
{{- $long := ne (toString .long) "false" -}}
metadata:
  labels:
    {{- include "notification-bridge.labels" . | nindent 4 }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # New secrets are new pods.
    checksum/secrets: {{ toJson $root.Values.secrets | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- if not $long }}
  restartPolicy: OnFailure
  {{- end }}
  automountServiceAccountToken: false
  # Kubernetes would set BRIDGE_PORT and the like for a Service whose name is "bridge".
  enableServiceLinks: false
  {{- with $root.Values.serviceAccountName }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- if $long }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "notification-bridge.selector" . | nindent 10 }}
  {{- end }}
  {{- with $root.Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: bridge
      image: {{ include "notification-bridge.image" $root }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      env:
        - {name: BRIDGE_PORT, value: "8080"}
        - {name: BRIDGE_ADMIN_PORT, value: "8081"}
        {{- $secretName := default (include "notification-bridge.fullname" $root) .secretName }}
        {{- include "notification-bridge.environment" (dict "root" $root "secrets" .secrets "secretName" $secretName) | nindent 8 }}
      {{- if $long }}
      ports:
        {{- if .public }}
        - {name: public, containerPort: 8080}
        {{- end }}
        - {name: admin, containerPort: 8081}
      # Alive is not ready: a pod that lost its broker, or found its store corrupt, is not restarted.
      startupProbe:
        httpGet: {path: /health/live, port: admin}
        periodSeconds: 2
        timeoutSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /health/ready, port: admin}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 2
      livenessProbe:
        httpGet: {path: /health/live, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      {{- end }}
      {{- if .stopDelay }}
      lifecycle:
        preStop: {exec: {command: [sleep, {{ .stopDelay | toString | quote }}]}}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      resources: {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if .data }}
        - {name: data, mountPath: /var/lib/notification-bridge}
        {{- end }}
        {{- with $root.Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
    {{- with $root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
