"""tests/bench/models.py - labs with many services: model servers, real watchers, agents, sentinels."""
import os
import re
import resource
import signal
import subprocess

from system import DATABASES, LabError, System, WATCHERS, address, hafolab, wait_for

FIRST_PORT = 10000
FILES = 65536


def allow_files():
    """Three connections to each of thousands of servers; the labs' daemons inherit this."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))


class ModelLab(System):
    """A lab whose databases are models: `count` services of three members each."""
    engine = "redis"

    def __init__(self, build, count, own=0, again_ms=0):
        """`own` of the services have a process for each member, to be killed, and started anew
        `again_ms` later; the others share one."""
        super().__init__(build)
        self.count, self.own, self.again_ms = count, own, again_ms

    def start_models(self):
        for number, host in enumerate(DATABASES):
            folder = self.run / host / "models"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "dump.rdb").write_text("what an old primary saves before it follows\n",
                                             encoding="ascii")
            self.unit(host, "database", self.program("tests/bench/hafailover-models"),
                      "--dir", folder, "--shared", self.run / "models", "--host", number,
                      "--count", self.count, "--own", self.own, "--again", self.again_ms,
                      "--port", FIRST_PORT, *map(address, DATABASES), restart="never")
        wait_for(lambda: all(len(list((self.run / host / "models").glob("*.pid"))) == self.count
                             for host in DATABASES), 60, "models run", 0.1)

    def model_pid(self, host, number):
        return int((self.run / host / "models" / f"{number}.pid").read_text(encoding="utf-8"))

    def kill_models(self, pairs):
        """Kill the servers of [(host, number)] as nearly at once as can be; the moment before."""
        pids = [self.model_pid(host, number) for host, number in pairs]
        at = hafolab.now_ns()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return at

    def model_writer(self, host, number, interval_us):
        return [self.program("tests/support/hafailover-writer"), "--host", address(host), "--port",
                str(FIRST_PORT + number), "--interval", str(interval_us), "--stay"]

    def watching(self):
        """{what: [(host, pid)]} of the processes whose cost is measured."""
        raise NotImplementedError


class HafailoverModels(ModelLab):
    title, short = "hafailover", "hm"

    def start_all(self):
        (self.run / "bpf").mkdir(parents=True, exist_ok=True)
        if not os.path.ismount(self.run / "bpf"):
            subprocess.run(["mount", "-t", "bpf", "bpffs", str(self.run / "bpf")], check=False)
        self.make_hosts()
        self.call("secrets_make")
        for host in (*WATCHERS, *DATABASES):
            self.call("host_up", host)
        for host in WATCHERS:
            self.configure_watcher(host)
            self.call("watcher_start", host)
        self.start_models()
        for host in DATABASES:
            self.configure_agent(host)
            self.call("gate_load", host)
            self.call("agent_start", host)
        path = self.run / "services.conf"
        path.write_text(self.services_text(), encoding="utf-8")
        self.apply(path, 60 + self.count // 5)
        wait_for(self.all_ready, 60 + self.count // 5, f"{self.count} services ready",
                 0.5 + self.count / 200)

    def configure_watcher(self, host):
        """Nine daemons, thousands of servers and their clients share this machine's cores: a leader
        that waits for one is not dead."""
        self.call("watcher_configure", host)
        with open(self.run / host / "hafailoverd.conf", "a", encoding="utf-8") as file:
            file.write("\n[raft]\nelection = 1s\n")

    def configure_agent(self, host):
        path = self.run / host / "hafailover-agent.conf"
        text = re.sub(r"\n\[database .*", "\n", path.read_text(encoding="utf-8"), flags=re.S)
        for number in range(self.count):
            text += (f"\n[database s{number}]\nsocket = {self.run}/{host}/models/{number}.sock\n"
                     f"port = {FIRST_PORT + number}\n")
        path.write_text(text, encoding="utf-8")

    def services_text(self):
        text = "[defaults]\nrate = any\n"
        for number in range(self.count):
            text += f"\n[service s{number}]\nengine = redis\n"
            for host in DATABASES:
                text += (f"[member s{number}/{host}]\nagent = {host}\nhost = {address(host)}\n"
                         f"port = {FIRST_PORT + number}\n")
        return text

    def services(self):
        return self.status(deadline_s=30).get("services", [])

    def all_ready(self):
        services = self.services()
        wrong = [service for service in services
                 if service["state"] != "STEADY" or not service["ready"]]
        if len(services) != self.count or wrong:
            raise LabError(f"{len(services)} services, {len(wrong)} not ready; one: "
                           f"{wrong[0]['name'] if wrong else ''} "
                           f"{wrong[0]['state'] + ' ' + str(wrong[0]['ready_reason']) if wrong else ''}")
        return services

    def watching(self):
        return {"watcher": [(host, self.pid(host, "watcher")) for host in WATCHERS],
                "agent": [(host, self.pid(host, "agent")) for host in DATABASES]}

    def log_index(self):
        return self.status(deadline_s=30)["index"]


class SentinelModels(ModelLab):
    title, short = "Sentinel", "sm"
    PORT = 26379

    def start_all(self):
        self.make_hosts()
        self.start_models()
        for host in WATCHERS:
            folder = self.run / host
            text = f"port {self.PORT}\nprotected-mode no\ndir {folder}\n"
            for number in range(self.count):
                primary = address(DATABASES[number % len(DATABASES)])
                text += f"sentinel monitor s{number} {primary} {FIRST_PORT + number} 2\n"
            (folder / "sentinel.conf").write_text(text, encoding="utf-8")
            self.unit(host, "sentinel", "redis-sentinel", folder / "sentinel.conf")
        wait_for(self.all_known, 60 + self.count // 5, f"{self.count} services known", 0.5)

    def all_known(self):
        for host in WATCHERS:
            info = self.on(host, "redis-cli", "-h", address(host), "-p", str(self.PORT), "info",
                           "sentinel", deadline_s=30)
            good = len(re.findall(r"status=ok,.*slaves=2,sentinels=3", info))
            if good != self.count:
                raise LabError(f"{host} knows {good}")
        return True

    def watching(self):
        return {"sentinel": [(host, self.pid(host, "sentinel")) for host in WATCHERS]}
