"""The files of `deploy/` can be read, and name only what there is. `make failover` shows that they do their work."""

import configparser
import ipaddress
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]

from backend.cli.main import app
from backend.config import PREFIX, Settings, read_settings
from backend.errors import Code, Problem
from tests.failover.cluster import DEPLOY

FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
INSTALLED = "/opt/selvedge/.venv/bin/selvedge"
NAMED = re.compile(rf"\b{PREFIX}([A-Z0-9_]+)")
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


def loaded(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def test_every_setting_that_is_named_exists() -> None:
    named = {name.lower() for path in FILES for name in NAMED.findall(path.read_text())}
    assert {"database_url", "pooler_url", "trusted_proxies", "root_secret"} <= named <= set(Settings.model_fields)


def test_the_environment_of_the_unit_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DEPLOY / "systemd" / "selvedge.env").read_text().splitlines()
    for name, _, value in (line.partition("=") for line in lines if line and not line.startswith("#")):
        monkeypatch.setenv(name, value or "ab" * 32)
    settings = read_settings()
    assert settings.trusted_proxies == ("127.0.0.1",)
    assert settings.pooler_url not in (None, settings.database_url)


def test_the_unit_waits_longer_than_requests_are_given_to_end() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "systemd" / "selvedge.service")
    assert unit["Service"]["ExecStart"].endswith("/selvedge serve")
    assert int(unit["Service"]["TimeoutStopSec"]) > 20


def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    if (verifier := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    unit = tmp_path / "selvedge.service"
    # what is not installed here cannot be found; everything else is judged as it is
    unit.write_text((DEPLOY / "systemd" / "selvedge.service").read_text().replace(INSTALLED, "/bin/true"))
    done = subprocess.run([verifier, "verify", str(unit)], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr, done.stderr.decode()


def test_the_unit_gives_the_server_no_more_than_it_needs() -> None:
    """systemd's own judgement, of ten, the less the better: what is let go of later is noticed here."""
    if (analyzer := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    unit = DEPLOY / "systemd" / "selvedge.service"
    command = [analyzer, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_every_command_is_a_verb_and_every_setting_has_a_value_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    verbs = set(vars(typer.main.get_command(app))["commands"])
    assert {"serve", "migrate"} <= verbs
    for path in FILES:
        for verb in re.findall(r"(?:\bselvedge\", \"|bin/selvedge )([a-z]+)", path.read_text()):
            assert verb in verbs, (path, verb)
    container = (DEPLOY / "Containerfile").read_text()
    assert json.loads(container.rpartition("CMD ")[2]) == ["selvedge", "serve"]
    services = loaded("compose.yaml")["services"]
    said = dict(pair.split("=", 1) for pair in re.findall(r"SELVEDGE_\w+=\S+", container))
    secret = {"${ROOT_SECRET:?}": "ab" * 32}
    for name, value in (said | services["app-1"]["environment"]).items():
        monkeypatch.setenv(name, secret.get(value, value))
    settings = read_settings()
    assert settings.host == "0.0.0.0", "within the container"
    assert (settings.pooler_url, settings.database_url) == (
        "postgres://selvedge:${DATABASE_PASSWORD:?}@pgbouncer:6432/selvedge",
        "postgres://selvedge:${DATABASE_PASSWORD:?}@postgres:5432/selvedge",
    )


def port_of(text: str) -> int:
    return int(text.rpartition(":")[2].partition("/")[0])


def test_every_address_leads_to_a_port_somebody_listens_at() -> None:
    """What each file says of the others: servers, pooler, leader, nodes and etcd, on machines and in containers."""
    env = dict(
        line.split("=", 1) for line in (DEPLOY / "systemd" / "selvedge.env").read_text().splitlines() if "=" in line
    )
    pooler = configparser.ConfigParser(interpolation=None)
    pooler.read(DEPLOY / "pgbouncer" / "pgbouncer.ini")
    edge, leader = (
        dict(
            re.findall(r"^\s+presetenv (\w+) \"?([^\"\n]+)\"?$", (DEPLOY / "haproxy" / name).read_text(), re.MULTILINE)
        )
        for name in ("edge.cfg", "postgres.cfg")
    )
    nodes = loaded("patroni/patroni.yaml")
    stored = dict(
        line.split("=", 1) for line in (DEPLOY / "etcd" / "etcd.env").read_text().splitlines() if line[:1] == "E"
    )
    assert port_of(env["SELVEDGE_POOLER_URL"]) == int(pooler["pgbouncer"]["listen_port"])
    to_leader = dict(part.split("=") for part in pooler["databases"]["selvedge"].split())
    assert port_of(env["SELVEDGE_DATABASE_URL"]) == port_of(leader["LEADER_BIND"]) == int(to_leader["port"])
    assert int(env["SELVEDGE_PORT"]) in {port_of(edge["APP_1"]), port_of(edge["APP_2"])}
    for name in "ABC":
        assert port_of(leader[f"NODE_{name}"]) == port_of(nodes["postgresql"]["listen"])
        assert int(leader[f"NODE_{name}_REST"]) == port_of(nodes["restapi"]["listen"])
    assert port_of(nodes["etcd3"]["hosts"]) == port_of(stored["ETCD_ADVERTISE_CLIENT_URLS"])

    services = loaded("compose.yaml")["services"]
    container = (DEPLOY / "Containerfile").read_text()
    listens = int(re.findall(r"SELVEDGE_PORT=(\d+)", container)[0])
    assert int(re.findall(r"EXPOSE (\d+)", container)[0]) == listens
    asked = services["edge"]["environment"]
    assert {asked["APP_1"], asked["APP_2"]} == {f"app-1:{listens}", f"app-2:{listens}"}
    assert set(asked) <= set(edge)
    (published,) = services["edge"]["ports"]
    assert port_of(published) == port_of(asked["EDGE_BIND"])
    assert port_of(services["app-1"]["environment"]["SELVEDGE_POOLER_URL"]) == int(pooler["pgbouncer"]["listen_port"])
    changed = "\n".join(services["pgbouncer"]["command"])
    for found in re.findall(r"s[/#]([^/#]+)[/#][^/#]+[/#]?", changed):
        assert re.search(found, (DEPLOY / "pgbouncer" / "pgbouncer.ini").read_text(), re.MULTILINE), found
    network = loaded("compose.yaml")["networks"]["default"]["ipam"]["config"][0]["subnet"]
    assert services["app-1"]["environment"]["SELVEDGE_TRUSTED_PROXIES"] == network


def test_while_no_server_is_ready_the_proxy_answers_as_one_would() -> None:
    told = re.findall(r"^\s+http-error status (\d+) content-type (\S+) string '(.*)' hdr Retry-After (\d+)$",
                      (DEPLOY / "haproxy" / "edge.cfg").read_text(), re.MULTILINE)  # fmt: skip
    assert {status for status, *_ in told} == {"502", "503", "504"}
    for _, kind, body, seconds in told:
        assert (kind, int(seconds) > 0) == ("application/json", True)
        (error,) = json.loads(body)["errors"]
        assert error["extensions"] == {"code": Code.UNAVAILABLE.value, "retry": Problem(Code.UNAVAILABLE).retry.value}


def test_pgbouncer_hands_out_connections_by_transaction_and_makes_nobody_wait_for_long() -> None:
    told = configparser.ConfigParser(interpolation=None)
    told.read(DEPLOY / "pgbouncer" / "pgbouncer.ini")
    assert told["pgbouncer"]["pool_mode"] == "transaction"
    assert int(told["pgbouncer"]["query_wait_timeout"]) <= Settings().statement_seconds_max
    assert re.search(r"port=(\d+)", told["databases"]["selvedge"])


def test_what_is_answered_is_on_two_machines() -> None:
    shared = loaded("patroni/patroni.yaml")["bootstrap"]["dcs"]
    assert shared["synchronous_mode"] is shared["synchronous_mode_strict"] is True
    assert shared["postgresql"]["parameters"]["synchronous_commit"] == "on"
    # Patroni's own condition
    assert shared["loop_wait"] + 2 * shared["retry_timeout"] <= shared["ttl"]


def test_compose_names_files_there_are_and_services_it_has() -> None:
    compose = loaded("compose.yaml")
    services = compose["services"]
    assert {"app-1", "app-2", "pgbouncer", "postgres", "edge"} == set(services)
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith("./") else source in compose["volumes"]
    for name in ("app-1", "pgbouncer"):
        build = services[name]["build"]
        root = (DEPLOY / build["context"]).resolve()
        text = (root / build["dockerfile"]).read_text()
        copied = re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)
        assert copied or name == "pgbouncer"
        assert all((root / part).exists() for line in copied for part in line.split())
    # the proxy asks for an address once: a server that is made anew must have the one it had
    fixed = {services[name]["networks"]["default"]["ipv4_address"] for name in ("app-1", "app-2", "postgres")}
    (addresses,) = compose["networks"]["default"]["ipam"]["config"]
    whole, others = ipaddress.ip_network(addresses["subnet"]), ipaddress.ip_network(addresses["ip_range"])
    assert len(fixed) == 3
    assert all(ipaddress.ip_address(each) in whole and ipaddress.ip_address(each) not in others for each in fixed)
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}


def compose_program() -> list[str] | None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is not None:
            asked = subprocess.run([*command, "version"], capture_output=True, check=False, timeout=60)
            if asked.returncode == 0:
                return command
    return None


def test_compose_reads_its_file() -> None:
    if (program := compose_program()) is None:
        pytest.skip("no Docker Compose here: apt-get install docker-compose")
    command = [*program, "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(
        command,
        env=os.environ | {"DATABASE_PASSWORD": "p", "ROOT_SECRET": "ab" * 32},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_compose_takes_no_empty_password() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert {"DATABASE_PASSWORD", "ROOT_SECRET"} <= set(re.findall(r"\$\{(\w+):\?\}", text))
    assert not re.search(r"\$\{\w+\}", text), "compose takes one that is not given for an empty one"


@pytest.mark.parametrize("file", ["edge.cfg", "postgres.cfg"])
def test_haproxy_reads_its_files(file: str) -> None:
    if HAPROXY is None:
        pytest.skip("no haproxy here: apt-get install haproxy")
    done = subprocess.run(
        [HAPROXY, "-c", "-f", str(DEPLOY / "haproxy" / file)], capture_output=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_hook_is_a_program() -> None:
    hook = Path(DEPLOY / "patroni" / "post_bootstrap.sh")
    assert hook.read_text().startswith("#!/bin/sh")
    subprocess.run(["/bin/sh", "-n", str(hook)], check=True, timeout=10)
