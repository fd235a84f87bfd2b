"""What the chart renders from which values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from bridge.cli.application import application
from bridge.settings import Settings
from tests.deploy.chart import Manifest, Refused, container, environment, pods
from tests.deploy.repository import CHART, PLAIN, SECRET, known

if TYPE_CHECKING:
    from tests.deploy.chart import Chart

SECRETS = {
    "tokens": "production=0123456789abcdef",
    "broker_url": "kafka://kafka:9092",
    "database_url": "postgresql://user:password@db/bridge",
}
LOYALTY = {"name": "loyalty", "consumer": "loyalty:consumer", "replicas": 2}
EMBEDDED: Manifest = {"embedded": {"enabled": True}}
ACCEPTED: dict[str, Manifest] = {
    "kafka": {"secrets": SECRETS},
    "rabbitmq": {
        "secrets": SECRETS
        | {"broker_url": "amqp://u:p@mq/", "rabbitmq_management_url": "http://u:p@mq:15672"}
    },
    "existing secret": {"existingSecret": "mine"},
    "mixed": {"existingSecret": "mine", "secrets": {"tokens": SECRETS["tokens"]}},
    "own consumer": {"secrets": SECRETS, "ownConsumers": [LOYALTY]},
    "no setup": {"secrets": SECRETS, "setup": {"topology": False, "database": False}},
    "route": {
        "secrets": SECRETS,
        "ingress": {"route": {"enabled": True, "host": "hooks.example.com", "tlsSecret": "tls"}},
    },
    "everything": {
        "secrets": SECRETS | {"crm_token": "crm", "alert_webhook_url": "https://alerts.example"},
        "image": {"digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "registry"}],
        "settings": {"crm_url": "https://crm.example", "in_flight_bytes": 67108864},
        "consumers": {"crm": {"replicas": 0}, "alerts": {"replicas": 3}},
        "serviceAccountName": "bridge",
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "x", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "extraVolumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    },
    "embedded": EMBEDDED,
    "embedded with secrets": EMBEDDED
    | {"secrets": {"tokens": SECRETS["tokens"], "broker_url": "sqlite:///var/bridge.db"}},
}
REFUSED: dict[str, tuple[Manifest, str]] = {
    "nothing set": ({}, "secrets.broker_url is not set"),
    "no token": ({"secrets": SECRETS | {"tokens": ""}}, "to make a token: python3 -c"),
    "no database": ({"secrets": SECRETS | {"database_url": ""}}, "secrets.database_url is not set"),
    "sqlite broker": (
        {"secrets": SECRETS | {"broker_url": "sqlite:///var/bridge.db"}},
        "cannot be shared by several pods: set embedded.enabled=true",
    ),
    "sqlite database": (
        {"secrets": SECRETS | {"database_url": "sqlite:///var/consumers.db"}},
        "cannot be shared by several pods: name a PostgreSQL",
    ),
    "embedded with a broker": (
        EMBEDDED | {"secrets": {"broker_url": SECRETS["broker_url"]}},
        "names another broker",
    ),
    "embedded with an own consumer": (EMBEDDED | {"ownConsumers": [LOYALTY]}, "only the built-in"),
    "killed while it drains": (
        {"secrets": SECRETS, "ingress": {"stopDelaySeconds": 20}},
        "terminationGracePeriodSeconds must be greater",
    ),
    "killed while it drains for longer": (
        {"secrets": SECRETS, "settings": {"drain_timeout": 25.0}},
        "terminationGracePeriodSeconds must be greater than 30",
    ),
    "consumer killed while it drains": (
        {"secrets": SECRETS, "settings": {"consume_drain_timeout": 30}},
        "settings.consume_drain_timeout",
    ),
    "route without a host": (
        {"secrets": SECRETS, "ingress": {"route": {"enabled": True}}},
        "needs ingress.route.host",
    ),
    "misspelt value": ({"secrets": SECRETS, "ingres": {}}, "ingres"),
    "misspelt setting": ({"secrets": SECRETS, "settings": {"crm_ulr": "x"}}, "crm_ulr"),
    "secret among the settings": (
        {"secrets": SECRETS, "settings": {"crm_token": "x"}},
        "crm_token",
    ),
    "text that YAML takes for a truth": (
        {"secrets": SECRETS, "settings": {"topic_prefix": False}},
        "topic_prefix",
    ),
    "port": ({"secrets": SECRETS, "settings": {"port": 80}}, "port"),
    "two of a name": (
        {"secrets": SECRETS, "ownConsumers": [LOYALTY | {"name": "crm"}]},
        "ownConsumers",
    ),
    "not a consumer": (
        {"secrets": SECRETS, "ownConsumers": [LOYALTY | {"consumer": "loyalty"}]},
        "ownConsumers",
    ),
}

accepted = pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED)


@accepted
def test_lint_accepts(chart: Chart, values: Manifest) -> None:
    assert "0 chart(s) failed" in chart.lint(values)


@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused_in_a_sentence(
    chart: Chart, values: Manifest, sentence: str
) -> None:
    with pytest.raises(Refused) as refusal:
        chart.render(values)

    assert sentence in str(refusal.value)


@accepted
def test_every_pod_is_restricted(chart: Chart, values: Manifest) -> None:
    """Kubernetes' pod security standard of that name, and a root file system nobody writes."""
    for name, template in pods(chart.render(values)).items():
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container(template)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert {"name": "tmp", "mountPath": "/tmp"} in container(template)["volumeMounts"], name
        assert container(template)["resources"]["limits"]["memory"], name


@accepted
def test_commands_are_verbs_and_variables_are_settings_of_the_bridge(
    chart: Chart, values: Manifest
) -> None:
    for name, template in pods(chart.render(values)).items():
        verbs = getattr(get_command(application), "commands")  # noqa: B009 - typed as Command
        assert container(template)["args"][0] in verbs, name
        ours = [variable for variable in environment(template) if variable.startswith("BRIDGE_")]
        assert len(ours) == len(set(ours)), name
        assert [variable for variable in ours if not known(variable)] == [], name


def test_kubernetes_adds_no_variables_of_its_own(chart: Chart) -> None:
    """A Service named bridge would set BRIDGE_PORT=tcp://…, and the bridge would not start."""
    for name, template in pods(chart.render({"secrets": SECRETS})).items():
        assert template["spec"]["enableServiceLinks"] is False, name


def test_each_role_is_a_deployment_with_probes_on_its_admin_port(chart: Chart) -> None:
    manifests = chart.render({"secrets": SECRETS, "ownConsumers": [LOYALTY]}, release="b")

    deployments = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "Deployment"}
    roles = {"ingress": ["ingress"], "loyalty": ["consume", "loyalty:consumer"]}
    roles |= {consumer: ["consume", consumer] for consumer in ("crm", "suppression", "alerts")}
    assert set(deployments) == {f"b-notification-bridge-{role}" for role in roles}
    for role, args in roles.items():
        deployment = deployments[f"b-notification-bridge-{role}"]
        only = container(deployment["spec"]["template"])
        assert only["args"] == args
        for probe, path in {
            "startupProbe": "/health/live",
            "livenessProbe": "/health/live",
            "readinessProbe": "/health/ready",
        }.items():
            assert only[probe]["httpGet"] == {"path": path, "port": "admin"}, (role, probe)
        selector = deployment["spec"]["selector"]["matchLabels"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert selector.items() <= labels.items()
        assert selector["app.kubernetes.io/component"] == role


def test_a_role_knows_only_the_secrets_that_it_needs(chart: Chart) -> None:
    secrets = {name: SECRETS.get(name, "x") for name in SECRET}
    manifests = chart.render({"secrets": secrets, "ownConsumers": [LOYALTY]}, release="b")

    broker = {"broker_url", "kafka_sasl_password", "rabbitmq_management_url"}
    assert {
        name.removeprefix("b-notification-bridge-"): {
            source["secretKeyRef"]["key"]
            for source in environment(template).values()
            if isinstance(source, dict)
        }
        for name, template in pods(manifests).items()
    } == {
        "ingress": broker | {"tokens"},
        "crm": broker | {"database_url", "crm_token"},
        "suppression": broker | {"database_url"},
        "alerts": broker | {"database_url", "alert_webhook_url"},
        "loyalty": broker | {"database_url"},
        "setup-topology": broker,
        "setup-database": {"database_url"},
    }


def test_no_secret_stands_in_a_pod_as_text(chart: Chart) -> None:
    secrets = {name: SECRETS.get(name, f"secret-{name}") for name in SECRET}

    rendered = chart.render({"secrets": secrets, "ownConsumers": [LOYALTY]})
    text = json.dumps([manifest for manifest in rendered if manifest["kind"] != "Secret"])

    assert [name for name, value in secrets.items() if value in text] == []


def test_numbers_reach_the_bridge_as_they_were_written(chart: Chart) -> None:
    written = {
        "in_flight_bytes": 67108864,
        "retry_delay": 0.5,
        "kafka_partitions": 12,
        "topic_prefix": "n",
    }
    manifests = chart.render({"secrets": SECRETS, "settings": written}, release="b")

    found = environment(pods(manifests)["b-notification-bridge-ingress"])
    assert {name: found[f"BRIDGE_{name.upper()}"] for name in written} == {
        "in_flight_bytes": "67108864",
        "retry_delay": "0.5",
        "kafka_partitions": "12",
        "topic_prefix": "n",
    }
    assert Settings.model_validate(written | SECRETS).in_flight_bytes == 67108864


def test_the_schema_lists_every_setting_where_it_belongs() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    listed = {
        part: set(schema["properties"][part]["properties"]) for part in ("settings", "secrets")
    }
    assert listed["settings"] == PLAIN, "add it to `settings` in values.schema.json"
    assert listed["secrets"] == SECRET, "add it to `secrets` in values.schema.json and values.yaml"


def test_setup_runs_before_the_roles_with_secrets_of_its_own(chart: Chart) -> None:
    """Hooks run before the chart's own Secret exists."""
    manifests = chart.render({"secrets": SECRETS, "ownConsumers": [LOYALTY]}, release="b")

    hooks = [m for m in manifests if "helm.sh/hook" in m["metadata"].get("annotations", {})]
    order = sorted(
        (int(m["metadata"]["annotations"]["helm.sh/hook-weight"]), m["kind"]) for m in hooks
    )
    assert order == [(-5, "Secret"), (0, "Job"), (0, "Job")]
    for hook in hooks:
        assert hook["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    jobs = pods(hooks)
    topology = jobs["b-notification-bridge-setup-topology"]
    assert container(topology)["args"] == ["topology", "apply", "loyalty:consumer"]
    assert container(jobs["b-notification-bridge-setup-database"])["args"] == ["db", "upgrade"]
    (secret,) = [m["metadata"]["name"] for m in hooks if m["kind"] == "Secret"]
    for template in jobs.values():
        assert template["spec"]["restartPolicy"] == "OnFailure"
        references = [
            v["secretKeyRef"] for v in environment(template).values() if isinstance(v, dict)
        ]
        assert {reference["name"] for reference in references} == {secret}


def test_the_public_and_the_admin_port_have_services_of_their_own(chart: Chart) -> None:
    manifests = chart.render(ACCEPTED["route"], release="b")

    ports = {
        m["metadata"]["name"]: [port["targetPort"] for port in m["spec"]["ports"]]
        for m in manifests
        if m["kind"] == "Service"
    }
    assert ports == {
        "b-notification-bridge-ingress": ["public"],
        "b-notification-bridge-ingress-admin": ["admin"],
    }
    (route,) = [m for m in manifests if m["kind"] == "Ingress"]
    (rule,) = route["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["path"] == "/hooks"
    assert path["backend"]["service"]["name"] == "b-notification-bridge-ingress"


def test_several_replicas_are_never_all_drained_at_once(chart: Chart) -> None:
    values = {"secrets": SECRETS, "consumers": {"alerts": {"replicas": 3}, "crm": {"replicas": 0}}}
    manifests = chart.render(values, release="b")

    budgets = {
        m["metadata"]["name"]: m["spec"]["maxUnavailable"]
        for m in manifests
        if m["kind"] == "PodDisruptionBudget"
    }
    replicas: dict[str, Any] = {
        m["metadata"]["name"]: m["spec"]["replicas"] for m in manifests if m["kind"] == "Deployment"
    }
    assert budgets == {"b-notification-bridge-ingress": 1, "b-notification-bridge-alerts": 1}
    assert replicas["b-notification-bridge-crm"] == 0
    assert replicas["b-notification-bridge-alerts"] == 3


def test_embedded_is_one_pod_that_keeps_its_volume(chart: Chart) -> None:
    manifests = chart.render(EMBEDDED, release="b")

    assert {m["kind"] for m in manifests} == {"StatefulSet", "Service"}
    (stateful,) = [m for m in manifests if m["kind"] == "StatefulSet"]
    only = container(stateful["spec"]["template"])
    assert stateful["spec"]["replicas"] == 1
    assert only["args"] == ["up"]
    assert {"name": "data", "mountPath": "/var/lib/notification-bridge"} in only["volumeMounts"]
    assert [claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]] == [
        "data"
    ]
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    for service in (m for m in manifests if m["kind"] == "Service"):
        assert service["spec"]["selector"].items() <= labels.items()


def test_new_secrets_make_new_pods(chart: Chart) -> None:
    def annotations(values: Manifest) -> Any:
        return pods(chart.render(values))["bridge-notification-bridge-ingress"]["metadata"][
            "annotations"
        ]

    rotated = SECRETS | {"tokens": "production=fedcba9876543210"}
    assert annotations({"secrets": SECRETS}) != annotations({"secrets": rotated})
