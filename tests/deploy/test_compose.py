"""What `docker compose up` starts, and how."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from typer.main import get_command

from bridge.cli.application import application
from tests.deploy.repository import ROOT, known, variables

if TYPE_CHECKING:
    from tests.deploy.compose import Compose, Service

OURS = "notification-bridge:local"
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
BROKERS = ("kafka", "rabbitmq")
ROLES = ("ingress", "crm", "suppression", "alerts")


@pytest.fixture(scope="module")
def by_profile(compose: Compose) -> dict[str, dict[str, Service]]:
    return {name: compose.services(name) for name in ("embedded", *BROKERS)}


def every(by_profile: dict[str, dict[str, Service]]) -> list[tuple[str, Service]]:
    return [pair for services in by_profile.values() for pair in services.items()]


def long_running(service: Service) -> bool:
    return bool(service.get("restart") != "no")


@pytest.mark.parametrize("dotenv", [None, "", EXAMPLE], ids=["no .env", "empty", "the example"])
def test_without_a_profile_only_the_embedded_bridge_starts(
    compose: Compose, dotenv: str | None
) -> None:
    services = compose.services(dotenv=dotenv)

    assert set(services) == {"bridge"}
    assert services["bridge"]["command"] == ["up"]


@pytest.mark.parametrize("dotenv", [None, EXAMPLE], ids=["no .env", "the example"])
@pytest.mark.parametrize("broker", BROKERS)
def test_a_named_profile_starts_its_roles_and_not_the_embedded_bridge(
    compose: Compose, broker: str, dotenv: str | None
) -> None:
    services = compose.services(broker, dotenv=dotenv)

    roles = {f"{broker}-{role}" for role in ROLES}
    assert set(services) == roles | {broker, "postgres", "token", "migrate", f"{broker}-topology"}


@pytest.mark.parametrize("broker", BROKERS)
def test_the_profile_may_be_chosen_in_the_env_file(compose: Compose, broker: str) -> None:
    services = compose.services(dotenv=f"COMPOSE_PROFILES={broker}\n")

    assert f"{broker}-ingress" in services
    assert "bridge" not in services


@pytest.mark.parametrize("broker", BROKERS)
def test_roles_wait_for_what_they_need(compose: Compose, broker: str) -> None:
    services = compose.services(broker)

    def waits(name: str) -> dict[str, str]:
        needs = services[name]["depends_on"]
        return {need: detail["condition"] for need, detail in needs.items()}

    done, healthy = "service_completed_successfully", "service_healthy"
    assert waits(f"{broker}-topology") == {broker: healthy, "token": done}
    assert waits("migrate") == {"postgres": healthy, "token": done}
    assert waits(f"{broker}-ingress") == {f"{broker}-topology": done}
    for consumer in ("crm", "suppression", "alerts"):
        assert waits(f"{broker}-{consumer}") == {f"{broker}-topology": done, "migrate": done}


def test_our_containers_have_no_privilege_and_no_disk_but_their_volume(
    by_profile: dict[str, dict[str, Service]],
) -> None:
    ours = [(name, service) for name, service in every(by_profile) if service["image"] == OURS]
    assert len(ours) == 1 + 2 * 7

    for name, service in ours:
        assert service["read_only"] is True, name
        assert "/tmp" in service["tmpfs"], name
        assert service["pids_limit"], name
        assert service["mem_limit"], name
        assert service["stop_grace_period"] == "30s", name
        # Whatever the image declares as its volume is mounted: no nameless volumes are left behind.
        mounts = {volume["target"] for volume in service.get("volumes", ())}
        assert "/var/lib/notification-bridge" in mounts | set(service["tmpfs"]), name


def test_no_container_may_gain_privileges_and_capabilities_are_named(
    by_profile: dict[str, dict[str, Service]],
) -> None:
    for name, service in every(by_profile):
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        if service["image"] == OURS:
            assert not service.get("cap_add"), name


def test_what_runs_long_comes_back_and_says_whether_it_is_well(
    by_profile: dict[str, dict[str, Service]],
) -> None:
    for name, service in every(by_profile):
        if not long_running(service):
            assert service["healthcheck"]["disable"], name
        else:
            assert service["restart"] == "unless-stopped", name
            # Ours says so in its image.
            assert service["image"] == OURS or service["healthcheck"]["test"], name
    assert re.search(r"^HEALTHCHECK ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_ports_are_published_on_this_machine_only(
    by_profile: dict[str, dict[str, Service]],
) -> None:
    published = [
        (name, port) for name, service in every(by_profile) for port in service.get("ports", ())
    ]
    assert published

    for name, port in published:
        assert port["host_ip"] == "127.0.0.1", name


def test_images_have_a_version(by_profile: dict[str, dict[str, Service]]) -> None:
    for name, service in every(by_profile):
        assert re.search(r":(local|v?\d[\w.-]*)$", service["image"]), (name, service["image"])


def test_commands_are_verbs_of_the_bridge(by_profile: dict[str, dict[str, Service]]) -> None:
    for name, service in every(by_profile):
        if service["image"] != OURS or service.get("entrypoint"):
            continue
        verb: object = get_command(application)
        for word in service["command"]:
            commands = getattr(verb, "commands", None)
            if commands is None:  # an argument of a verb
                break
            assert word in commands, (name, service["command"])
            verb = commands[word]


def test_every_setting_that_the_files_name_exists() -> None:
    named = variables((ROOT / "docker-compose.yml").read_text(encoding="utf-8") + EXAMPLE)
    assert "BRIDGE_TOKENS" in named

    assert [name for name in sorted(named) if not known(name)] == []


def test_a_port_of_the_host_is_not_the_port_in_the_container(compose: Compose) -> None:
    service = compose.services(dotenv="BRIDGE_PORT=9000\n")["bridge"]

    assert service["environment"]["BRIDGE_PORT"] == "8080"
    assert {(port["published"], port["target"]) for port in service["ports"]} == {
        ("9000", 8080),
        ("8081", 8081),
    }
    assert service["environment"]["BRIDGE_PUBLIC_URL"] == "http://127.0.0.1:9000"


@pytest.mark.parametrize("broker", BROKERS)
def test_the_env_file_reaches_every_role_but_does_not_move_it_off_its_broker(
    compose: Compose, broker: str
) -> None:
    services = compose.services(
        broker, dotenv="BRIDGE_BROKER_URL=sqlite:///x.db\nBRIDGE_CRM_URL=https://crm.example\n"
    )

    for role in ROLES:
        environment = services[f"{broker}-{role}"]["environment"]
        assert environment["BRIDGE_BROKER_URL"].startswith(("kafka://", "amqp://"))
        assert environment["BRIDGE_CRM_URL"] == "https://crm.example"


def test_a_variable_of_the_shell_goes_before_the_env_file(compose: Compose) -> None:
    token = "x" * 32
    services = compose.services(
        dotenv="BRIDGE_TOKENS=from-the-file-0123456789\n", environment={"BRIDGE_TOKENS": token}
    )

    assert services["bridge"]["environment"]["BRIDGE_TOKENS"] == token


@pytest.mark.parametrize("broker", BROKERS)
def test_one_password_is_given_to_the_server_and_to_its_clients(
    compose: Compose, broker: str
) -> None:
    services = compose.services(
        broker, dotenv="POSTGRES_PASSWORD=secret1\nRABBITMQ_PASSWORD=secret2\n"
    )

    environment = services[f"{broker}-crm"]["environment"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "secret1"
    assert ":secret1@postgres:" in environment["BRIDGE_DATABASE_URL"]
    if broker == "rabbitmq":
        assert services["rabbitmq"]["environment"]["RABBITMQ_DEFAULT_PASS"] == "secret2"
        assert ":secret2@rabbitmq:" in environment["BRIDGE_BROKER_URL"]
        assert ":secret2@rabbitmq:" in environment["BRIDGE_RABBITMQ_MANAGEMENT_URL"]
