"""A cluster on loopback from the files of `deploy/`: etcd, three PostgreSQL nodes under Patroni, HAProxy, PgBouncer.

Programs are looked for on PATH, or where an environment variable says: FAILOVER_ETCD, FAILOVER_PATRONI,
FAILOVER_PGBOUNCER, FAILOVER_HAPROXY, FAILOVER_POSTGRES_BIN (the folder of `postgres`). Started by root they run as
`nobody`, who must be able to run them. Files are taken as they are; what differs on one machine (addresses, ports,
folders) is said by environment variables, and for PgBouncer put into its copy.
"""

import asyncio
import configparser
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from tests.databases import Unavailable, _binaries, _unprivileged, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = ("a", "b", "c")
START_SECONDS_MAX = 180
STOP_SECONDS_MAX = 30
LOOK_SECONDS = 0.1
PROGRAMS: Mapping[str, str] = {
    "etcd": "apt-get install etcd-server",
    "pgbouncer": "apt-get install pgbouncer",
    "haproxy": "apt-get install haproxy",
    "patroni": "pip install 'patroni[etcd3]' psycopg2-binary",
}


def find_programs() -> dict[str, str]:
    """Where each program is, and `postgres` as the folder of its binaries. Raises `Unavailable`: all that lacks."""
    found, missing = {}, []
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    for name, install in PROGRAMS.items():
        variable = f"FAILOVER_{name.upper()}"
        path = shutil.which(os.environ.get(variable, name), path=places)
        if path is None:
            missing.append(f"{name}: neither on PATH nor where {variable} says; {install}")
        else:
            found[name] = path
    try:
        found["postgres"] = os.environ.get("FAILOVER_POSTGRES_BIN") or str(_binaries())
        if not (Path(found["postgres"]) / "pg_rewind").exists():
            missing.append(f"pg_rewind: not in {found['postgres']}; apt-get install postgresql")
    except Unavailable as reason:
        missing.append(f"{reason}; apt-get install postgresql, or FAILOVER_POSTGRES_BIN")
    if missing:
        raise Unavailable("\n".join(missing))
    return found


@dataclass
class Node:
    """One machine: Patroni, and the PostgreSQL it keeps."""

    name: str
    data: Path
    port: int = field(default_factory=free_port)
    rest: int = field(default_factory=free_port)
    patroni: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def postgres_pids(self) -> list[int]:
        """The postmaster and every process it began."""
        try:
            postmaster = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            started_in = os.readlink(f"/proc/{postmaster}/cwd")
        except (OSError, ValueError):
            return []
        # the file outlives a postmaster that was killed, and its number may be another's by now
        return [postmaster, *children_of(postmaster)] if Path(started_in) == self.data else []


def children_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def kill_now(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Cluster:
    """Everything below the servers. Used as `async with`; what it began is stopped by its process ids at the end."""

    def __init__(self, folder: Path, programs: Mapping[str, str]) -> None:
        self.folder, self.programs = folder, programs
        self.nodes = {name: Node(name, folder / f"node-{name}") for name in NAMES}
        self.leader_port, self.pooler_port, self._etcd_port = free_port(), free_port(), free_port()
        self._passwords = {who: secrets.token_hex(16) for who in ("superuser", "replication", "application")}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._http = httpx.AsyncClient(timeout=3)

    @property
    def server_url(self) -> str:
        """The leader, past the pooler."""
        return self._url(self.leader_port)

    @property
    def pooler_url(self) -> str:
        return self._url(self.pooler_port)

    def _url(self, port: int) -> str:
        return f"postgres://selvedge:{self._passwords['application']}@127.0.0.1:{port}/selvedge"

    async def __aenter__(self) -> "Cluster":
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        account = _unprivileged()
        if account is not None:
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.folder.chmod(0o700)
        self._start_etcd()
        await self._until("etcd answers", self._etcd_answers)
        first, *others = self.nodes.values()
        self.start_node(first)
        await self._until("there is a leader", self._has_leader)
        for node in others:
            self.start_node(node)
        self._start_haproxy("postgres.cfg", self._haproxy_settings())
        self._start_pgbouncer()
        await self.until_whole()

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes.values():
            if node.patroni is not None and node.patroni.poll() is None:
                node.patroni.terminate()
        for node in self.nodes.values():
            if node.patroni is not None:
                await self._ended(node.patroni)
            kill_now(node.postgres_pids())
        for process in reversed(self._processes):
            process.terminate()
            await self._ended(process)
        await self._http.aclose()

    async def _ended(self, process: subprocess.Popen[bytes]) -> None:
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # -- programs

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{free_port()}"
        settings = {
            "ETCD_NAME": "a",
            "ETCD_DATA_DIR": str(self.folder / "etcd"),
            "ETCD_LISTEN_CLIENT_URLS": client,
            "ETCD_ADVERTISE_CLIENT_URLS": client,
            "ETCD_LISTEN_PEER_URLS": peer,
            "ETCD_INITIAL_ADVERTISE_PEER_URLS": peer,
            "ETCD_INITIAL_CLUSTER": f"a={peer}",
        }
        self._processes.append(self.run("etcd", [self.programs["etcd"]], settings))

    def start_node(self, node: Node) -> None:
        """Start Patroni of a node, which starts PostgreSQL; after a kill, on what the kill left on the disk."""
        settings = {
            "PATRONI_NAME": node.name,
            "PATRONI_RESTAPI_LISTEN": f"127.0.0.1:{node.rest}",
            "PATRONI_RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{node.rest}",
            "PATRONI_POSTGRESQL_LISTEN": node.address,
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": node.address,
            "PATRONI_POSTGRESQL_DATA_DIR": str(node.data),
            "PATRONI_POSTGRESQL_BIN_DIR": self.programs["postgres"],
            "PATRONI_POSTGRESQL_PGPASS": str(self.folder / f"pgpass-{node.name}"),
            "PATRONI_ETCD3_HOSTS": f"127.0.0.1:{self._etcd_port}",
            "PATRONI_SUPERUSER_PASSWORD": self._passwords["superuser"],
            "PATRONI_REPLICATION_PASSWORD": self._passwords["replication"],
            "APPLICATION_PASSWORD": self._passwords["application"],
        }
        copy = self.folder / "patroni.yaml"
        if not copy.exists():
            hook = self.folder / "post_bootstrap.sh"
            shutil.copy(DEPLOY / "patroni" / "post_bootstrap.sh", hook)
            hook.chmod(0o755)
            text = (DEPLOY / "patroni" / "patroni.yaml").read_text()
            copy.write_text(text.replace("/etc/patroni/post_bootstrap.sh", str(hook)))
            copy.chmod(0o644)
        node.patroni = self.run(f"patroni-{node.name}", [self.programs["patroni"], str(copy)], settings)

    def _haproxy_settings(self) -> dict[str, str]:
        settings = {"LEADER_BIND": f"127.0.0.1:{self.leader_port}"}
        for name, node in self.nodes.items():
            settings |= {f"NODE_{name.upper()}": node.address, f"NODE_{name.upper()}_REST": str(node.rest)}
        return settings

    def _start_haproxy(self, file: str, settings: Mapping[str, str]) -> None:
        copy = self.folder / file
        shutil.copy(DEPLOY / "haproxy" / file, copy)
        copy.chmod(0o644)
        self._processes.append(self.run(f"haproxy-{file}", [self.programs["haproxy"], "-f", str(copy)], settings))

    def start_edge(self, ports: Sequence[int]) -> int:
        """The reverse proxy in front of two servers; its port."""
        edge = free_port()
        addresses = {f"APP_{number}": f"127.0.0.1:{port}" for number, port in enumerate(ports, 1)}
        self._start_haproxy("edge.cfg", {"EDGE_BIND": f"127.0.0.1:{edge}", **addresses})
        return edge

    def _start_pgbouncer(self) -> None:
        users = self.folder / "userlist.txt"
        users.write_text(f'"selvedge" "{self._passwords["application"]}"\n')
        written = configparser.ConfigParser(interpolation=None)
        written.read(DEPLOY / "pgbouncer" / "pgbouncer.ini")
        written["databases"]["selvedge"] = f"host=127.0.0.1 port={self.leader_port} dbname=selvedge"
        written["pgbouncer"].update({"listen_port": str(self.pooler_port), "auth_file": str(users)})
        copy = self.folder / "pgbouncer.ini"
        with copy.open("w") as handle:
            written.write(handle)
        for file in (users, copy):
            file.chmod(0o644)  # the folder is closed to everybody else
        self._processes.append(self.run("pgbouncer", [self.programs["pgbouncer"], str(copy)], {}))

    def run(self, name: str, command: Sequence[str], settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """A program as somebody who is not root; what it says is in `NAME.log`."""
        account = _unprivileged()
        path = f"{self.programs['postgres']}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env={"PATH": path, "LC_ALL": "C", "HOME": str(self.folder), **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )

    def said(self) -> str:
        """The last words of everything here, for whoever looks for a cause."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-1_500:]}" for log in logs)

    # -- who leads

    async def members(self) -> dict[str, dict[str, Any]]:
        """What the nodes say of each other: name → role, state, timeline. Empty when none answers."""
        for node in self.nodes.values():
            try:
                answer = await self._http.get(f"http://127.0.0.1:{node.rest}/cluster")
                return {member["name"]: member for member in answer.json()["members"]}
            except (httpx.HTTPError, ValueError, KeyError):
                continue
        return {}

    async def leader(self) -> Node | None:
        """The node that says of itself that it is the primary."""
        for node in self.nodes.values():
            with suppress(httpx.HTTPError):
                if (await self._http.get(f"http://127.0.0.1:{node.rest}/primary")).status_code == 200:
                    return node
        return None

    async def synchronous(self) -> Node | None:
        """The standby that holds whatever was answered."""
        for node in self.nodes.values():
            with suppress(httpx.HTTPError):
                if (await self._http.get(f"http://127.0.0.1:{node.rest}/synchronous")).status_code == 200:
                    return node
        return None

    async def until_whole(self) -> None:
        """Until every node runs: a leader, a synchronous standby, and the others streaming."""
        await self._until("every node runs", self._is_whole)

    async def until_led(self, *, but: Node) -> Node:
        """Until somebody else leads; who."""
        while True:
            if (leader := await self.leader()) not in (None, but):
                return leader
            await asyncio.sleep(LOOK_SECONDS)

    async def until_safe(self) -> None:
        """Until there is a leader and a standby that holds what is answered; other nodes may still be away."""
        await self._until("there are a leader and a synchronous standby", self._is_safe)

    async def _is_safe(self) -> bool:
        return await self.leader() is not None and await self.synchronous() is not None

    async def _is_whole(self) -> bool:
        members = await self.members()
        states = [member.get("state") for member in members.values()]
        running = len(states) == len(self.nodes) and set(states) <= {"running", "streaming"}
        return running and await self.leader() is not None and await self.synchronous() is not None

    async def _has_leader(self) -> bool:
        return await self.leader() is not None

    async def _etcd_answers(self) -> bool:
        with suppress(httpx.HTTPError):
            health = await self._http.get(f"http://127.0.0.1:{self._etcd_port}/health")
            return bool(json.loads(health.text).get("health") == "true")
        return False

    async def _until(self, what: str, holds: Any) -> None:
        began = monotonic()
        while not await holds():
            if monotonic() - began > START_SECONDS_MAX:
                raise RuntimeError(f"waited {START_SECONDS_MAX} s until {what}\n{self.said()}")
            await asyncio.sleep(LOOK_SECONDS)

    # -- what befalls it

    def kill(self, node: Node) -> None:
        """The whole machine at once: Patroni, the postmaster and all its processes, by SIGKILL."""
        assert node.patroni is not None
        kill_now([node.patroni.pid, *node.postgres_pids()])
        node.patroni.wait()

    async def switch_over(self, leader: Node, candidate: Node) -> bool:
        """Ask for a planned change of leader; true when it was done."""
        wish = {"leader": leader.name, "candidate": candidate.name}
        async with httpx.AsyncClient(timeout=90) as client:
            answer = await client.post(f"http://127.0.0.1:{leader.rest}/switchover", json=wish)
        return answer.status_code == 200
