"""tests/bench/postgresql.py - the adapters for PostgreSQL: hafailover and Patroni with etcd."""
import json
import os
import re
import shutil

from redis import Hafailover
from system import DATABASES, LabError, System, WATCHERS, address, hafolab, now_ns, wait_for

PORT = 5432
BIN = "/usr/lib/postgresql/15/bin"
TABLE = ("CREATE TABLE IF NOT EXISTS writes "
         "(prefix text, number bigint, PRIMARY KEY (prefix, number))")


def descendants(pid):
    """A process and all below it, the process itself first."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as children:
                    found += [int(child) for child in children.read().split()]
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


class PostgresqlSystem(System):
    engine = "postgresql"
    login = "user=postgres dbname=postgres"

    def sql(self, host, text, deadline_s=30):
        done = self.on(host, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1",
                       f"host={address(host)} port={PORT} connect_timeout=3 {self.login}",
                       "-c", text, deadline_s=deadline_s)
        if "ERROR" in done or "error:" in done:
            raise LabError(f"{host}: {done}")
        return done

    def database_pids(self, host):
        path = self.run / host / "data" / "postmaster.pid"
        try:
            return descendants(int(path.read_text(encoding="utf-8").split("\n", 1)[0]))
        except (FileNotFoundError, ValueError) as error:
            raise LabError(f"{host}: no postmaster") from error

    def written(self, host, prefix):
        return {int(number) for number in
                self.sql(host, f"SELECT number FROM writes WHERE prefix = '{prefix}'", 60).split()}

    def forget(self, primary):
        self.sql(primary, f"{TABLE}; TRUNCATE writes")

    def writer(self, interval_us, hosts, *more):
        return [self.program("tests/bench/hafailover-pgwriter"), "--interval", str(interval_us),
                "--connect", "100", "--extra", self.login, "--host", hosts, *more]

    def direct_client(self, host, interval_us):
        return self.writer(interval_us, address(host), "--any", "--stay")


class HafailoverPostgresql(PostgresqlSystem, Hafailover):
    """hafailover, with the quickstart's lab for PostgreSQL."""
    short = "hp"
    login = "user=app dbname=postgres"  # the lab's clients; the table is made by it too

    def __init__(self, build):
        super().__init__(build)
        self.env["HAFO_ENGINE"] = "postgresql"

    @staticmethod
    def available():
        """Whether this tree has the engine."""
        return (hafolab.ROOT / "agents" / "postgresql" / "engine.c").exists()

    def main_client(self):
        return self.writer(1000, hafolab.VIP)

    def database_start(self, host):
        self.call("database_start", host)


class Patroni(PostgresqlSystem):
    title, short = "Patroni", "p"
    profiles = {"default": "ttl 30, loop_wait 10, retry_timeout 10",
                "tight": "ttl 20, loop_wait 1, retry_timeout 3, primary_start_timeout 0"}
    recover_s = 120
    DCS = {"default": {"ttl": 30, "loop_wait": 10, "retry_timeout": 10,
                       "primary_start_timeout": 300},
           "tight": {"ttl": 20, "loop_wait": 1, "retry_timeout": 3, "primary_start_timeout": 0}}

    def start_all(self):
        self.make_hosts()
        peers = ",".join(f"{host}=http://{address(host)}:2380" for host in WATCHERS)
        for host in WATCHERS:
            self.unit(host, "etcd", "etcd", "--name", host, "--data-dir", self.run / host / "data",
                      "--initial-cluster", peers, "--initial-cluster-state", "new",
                      "--initial-cluster-token", self.title,
                      "--initial-advertise-peer-urls", f"http://{address(host)}:2380",
                      "--listen-peer-urls", f"http://{address(host)}:2380",
                      "--advertise-client-urls", f"http://{address(host)}:2379",
                      "--listen-client-urls", f"http://{address(host)}:2379")
        wait_for(lambda: '"true"' in self.on("w1", "curl", "-s", "-m", "2",
                                             f"http://{address('w1')}:2379/health"),
                 30, "etcd answers", 0.2)
        for host in DATABASES:
            self.configure(host)
            self.unit(host, "patroni", "setpriv", "--reuid=postgres", "--regid=postgres",
                      "--init-groups", "patroni", self.run / host / "patroni.yml")
            if host == DATABASES[0]:  # the same primary at the start in every bench
                wait_for(lambda: self.cluster("db1"), 60, "the first member", 0.5)
        primary = self.wait_primary(120)
        self.sql(primary, TABLE)

    def configure(self, host):
        folder = self.run / host
        config = {
            "scope": "bench", "name": host,
            "restapi": {"listen": f"{address(host)}:8008",
                        "connect_address": f"{address(host)}:8008"},
            "etcd3": {"hosts": [f"{address(watcher)}:2379" for watcher in WATCHERS]},
            "bootstrap": {"dcs": {"postgresql": {"use_pg_rewind": True}},
                          "initdb": [{"encoding": "UTF8"}, "data-checksums"]},
            "postgresql": {
                "listen": f"0.0.0.0:{PORT}", "connect_address": f"{address(host)}:{PORT}",
                "data_dir": str(folder / "data"), "bin_dir": BIN,
                "pgpass": str(folder / "pgpass"),
                "authentication": {"replication": {"username": "replicator", "password": "r"},
                                   "superuser": {"username": "postgres", "password": "s"}},
                "parameters": {"unix_socket_directories": str(folder)},
                "pg_hba": ["local all all trust", "host all all 10.77.0.0/24 trust",
                           "host all all 127.0.0.1/32 trust",
                           "host replication all 10.77.0.0/24 trust"]},
        }
        # JSON is YAML too.
        (folder / "patroni.yml").write_text(json.dumps(config, indent=1), encoding="utf-8")
        shutil.chown(folder, "postgres", "postgres")
        shutil.chown(folder / "patroni.yml", "postgres", "postgres")

    def rest(self, host, path, *options):
        return self.on(host, "curl", "-s", "-m", "5", *options,
                       f"http://{address(host)}:8008{path}")

    def cluster(self, host):
        try:
            return json.loads(self.rest(host, "/cluster"))["members"]
        except (ValueError, KeyError) as error:
            raise LabError(f"{host}: no answer") from error

    def set_profile(self, profile):
        self.rest("db1", "/config", "-X", "PATCH", "-d", json.dumps(self.DCS[profile]))

        def is_known():
            wanted = self.DCS[profile].items()
            return all(wanted <= json.loads(self.rest(host, "/config") or "{}").items()
                       for host in DATABASES)
        wait_for(is_known, 30, "settings known", 0.2)
        # Each member takes them over at its next turn, at the old pace.
        self.wait_primary()
        for host in DATABASES:
            self.rest(host, "/reload", "-X", "POST")

    def settled_primary(self):
        members = [self.cluster(host) for host in DATABASES]
        for seen in members:
            roles = {member["name"]: (member["role"], member["state"]) for member in seen}
            leaders = [name for name, role in roles.items() if role == ("leader", "running")]
            others = [role for role in roles.values() if role[0] != "leader"]
            if len(leaders) != 1 or len(others) != 2 or \
                    any(role not in (("replica", "running"), ("replica", "streaming"))
                        for role in others):
                raise LabError(f"members are {roles}")
        count = self.sql(leaders[0], "SELECT count(*) FROM pg_stat_replication "
                                     "WHERE state = 'streaming'")
        if count != "2":
            raise LabError(f"{count} replicas stream")
        return leaders[0]

    def failovers(self):
        """Timelines: each promotion begins one."""
        for host in DATABASES:
            try:
                return max(member.get("timeline", 0) for member in self.cluster(host)
                           if member["role"] == "leader")
            except (LabError, KeyError, ValueError):
                continue
        raise LabError("nobody tells the timeline")

    def leading_watcher(self):
        """Of etcd."""
        for host in WATCHERS:
            state = json.loads(self.on(host, "curl", "-s", "-m", "2", "-X", "POST", "-d", "{}",
                                       f"http://{address(host)}:2379/v3/maintenance/status"))
            if state["leader"] == state["header"]["member_id"]:
                return host
        raise LabError("etcd has no leader")

    def switchover(self, primary):
        """What patronictl switchover asks for, without its start."""
        at = now_ns()
        answer = self.rest(primary, "/switchover", "-m", "1", "-X", "POST", "-d",
                           json.dumps({"leader": primary}))
        if answer and not re.search("Successfully|switched", answer):
            raise LabError(f"switchover: {answer}")
        return at

    def main_client(self):
        return self.writer(1000, ",".join(address(host) for host in DATABASES))
