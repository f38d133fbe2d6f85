"""The files of `deploy/` can be read, and name only what there is. `make failover` shows that they do their work."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from backend.config import PREFIX, Settings, read_settings
from tests.failover.cluster import DEPLOY

FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
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
    build = services["app-1"]["build"]
    root = (DEPLOY / build["context"]).resolve()
    copied = re.findall(r"^COPY (.+) \S+$", (root / build["dockerfile"]).read_text(), re.MULTILINE)
    assert copied
    assert all((root / part).exists() for line in copied for part in line.split())


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
