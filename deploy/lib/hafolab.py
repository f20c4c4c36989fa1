"""deploy/lib/hafolab.py - a lab from Python: what the demo and the system tests share.

The lab itself is the shell functions beside this file (`lab FUNCTION`); here are the questions one
asks of a running one: its state as JSON, its processes, what a writing client noted. Times are
nanoseconds of CLOCK_BOOTTIME unless the name says otherwise; all namespaces share one kernel, so
there is one clock.
"""
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SERVICE = "cache"
VIP = "10.77.0.100"
WATCHERS = ("w1", "w2", "w3")
DATABASES = ("db1", "db2", "db3")


class LabError(Exception):
    """Something that should have happened did not; the text says what."""


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def address(host):
    number = int(host[-1]) + (10 if host[0] == "w" else 20) if host != "client" else 31
    return f"10.77.0.{number}"


def wait_for(question, deadline_s, what, every_s=0.02):
    """The first true answer of question(); LabError after deadline_s. Its LabErrors are 'not yet'."""
    end = time.monotonic() + deadline_s
    last = ""
    while True:
        try:
            answer = question()
            if answer:
                return answer
        except LabError as error:
            last = f" ({error})"
        if time.monotonic() > end:
            raise LabError(f"not within {deadline_s} s: {what}{last}")
        time.sleep(every_s)


@dataclasses.dataclass
class Ack:
    sent: int
    answered: int
    number: int
    server: str


class Writer:
    """A client that writes unique keys from HOST to ADDRESS and notes who acknowledged them."""

    def __init__(self, lab, name, host, to=VIP, interval_us=1000, extra=()):
        self.name = name
        self.path = lab.run / "client" / f"writer-{name}.log"
        self.path.unlink(missing_ok=True)
        self._at, self._acks, self._server = 0, [], "?"
        self.process = lab.popen(host, [lab.program("tests/support/hafailover-writer"),
                                        "--engine", lab.engine, "--host", to, "--interval", str(interval_us),
                                        "--prefix", name, "--log", str(self.path), *extra])

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def acks(self):
        """All acknowledgements so far, oldest first; `server` is the host that gave it."""
        if self.path.exists():
            with open(self.path, encoding="utf-8") as log:
                log.seek(self._at)
                for line in log:
                    if not line.endswith("\n"):
                        break  # the writer is in the middle of it
                    self._at += len(line.encode())
                    self._take(line.split())
        return self._acks

    def _take(self, words):
        if len(words) == 4 and words[0] == "A":
            self._acks.append(Ack(int(words[1]), int(words[2]), int(words[3]), self._server))
        elif len(words) == 3 and words[0] == "C":
            parts = words[2].split("/")
            self._server = parts[-2] if len(parts) > 1 else "?"

    def errors(self):
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [line[2:] for line in lines if line.startswith("E ")]


class Lab:
    def __init__(self, name, build):
        self.name = name
        self.run = pathlib.Path("/run") / name
        self.build = pathlib.Path(build).resolve()
        self.env = dict(os.environ, HAFO_LAB=name, HAFO_BUILD=str(self.build))

    @property
    def engine(self):
        path = self.run / "engine"
        return path.read_text().strip() if path.exists() else self.env.get("HAFO_ENGINE", "redis")

    def program(self, path):
        return str(self.build / path)

    def call(self, *args, deadline_s=60, check=True):
        """Run one function of the lab; its standard output."""
        done = subprocess.run([str(HERE / "lab"), *args], env=self.env, timeout=deadline_s,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(args)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def enter(self, host):
        return ["nsenter", f"--net=/run/netns/{self.name}-{host}", "--"]

    def popen(self, host, command, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL,
                   "stderr": subprocess.DEVNULL, **options}
        return subprocess.Popen(self.enter(host) + list(command), **options)

    def on(self, host, *command, deadline_s=10):
        done = subprocess.run(self.enter(host) + list(command), timeout=deadline_s,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return (done.stdout + done.stderr).strip()

    def redis(self, host, *command, deadline_s=5):
        """redis-cli on the UNIX socket of the host's own database."""
        done = subprocess.run(["redis-cli", "-s", str(self.run / host / "redis.sock"), *command],
                              timeout=deadline_s, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True)
        return (done.stdout + done.stderr).strip()

    def sql(self, host, text, deadline_s=10):
        """psql as the superuser on the UNIX socket of the host's own database; its rows."""
        done = subprocess.run(["psql", "-X", "-A", "-t", "-q", "-h", str(self.run / host / "pg"),
                               "-U", "postgres", "-d", "postgres", "-c", text], timeout=deadline_s,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise LabError(f"{host}: {done.stderr.strip()}")
        return done.stdout.strip()

    # --- processes ---

    def pid(self, host, unit):
        path = self.run / host / f"{unit}.pid"
        if unit == "database" and self.engine == "postgresql":
            path = self.run / host / "data" / "postmaster.pid"
        try:
            return int(path.read_text().split("\n")[0])
        except (FileNotFoundError, ValueError) as error:
            raise LabError(f"{host}: its {unit} does not run") from error

    def signal(self, host, unit, number):
        """Send a signal to the process itself; the moment just before."""
        pids = [self.pid(host, unit)]
        if unit == "database" and number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
            # All of PostgreSQL at once; Redis is one process, but for what saves its data.
            children = pathlib.Path(f"/proc/{pids[0]}/task/{pids[0]}/children")
            if self.engine == "postgresql" and children.exists():
                pids += [int(pid) for pid in children.read_text().split()]
        at = now_ns()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return at

    def kill(self, host, unit):
        return self.signal(host, unit, signal.SIGKILL)

    def stop(self, host, unit):
        return self.signal(host, unit, signal.SIGSTOP)

    def go_on(self, host, unit):
        return self.signal(host, unit, signal.SIGCONT)

    # --- hafailoverctl ---

    def ctl(self, *args, watcher=None, deadline_s=15):
        """hafailoverctl at `watcher`, or at one that runs; the finished process."""
        if watcher is None:
            command = [str(HERE / "lab"), "ctl", *args]
        else:
            command = [self.program("cmd/hafailoverctl/hafailoverctl"), "--socket",
                       str(self.run / watcher / "hafailoverd.sock"), *args]
        try:
            return subprocess.run(command, env=self.env, timeout=deadline_s,
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"hafailoverctl {' '.join(args)}: no end after {deadline_s} s") from error

    def ctl_json(self, *args, **options):
        done = self.ctl(*args, "--json", **options)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise LabError(f"hafailoverctl {' '.join(args)}: {done.stderr.strip()}") from error

    def http(self, host, path, unit="hafailoverd"):
        """(status, body) of GET over the UNIX socket of a daemon."""
        client = http.client.HTTPConnection("localhost", timeout=5)
        client.sock = socket.socket(socket.AF_UNIX)
        try:
            client.sock.settimeout(5)
            client.sock.connect(str(self.run / host / f"{unit}.sock"))
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise LabError(f"{host}: {path}: {error}") from error
        finally:
            client.close()

    def http_code(self, host, path):
        """The status of an answer of a host's agent."""
        return self.http(host, path, "agent")[0]

    def agent_status(self, host, deadline_s=10):
        """What the agent of a host says of its service, as a sentence."""
        done = subprocess.run([self.program("cmd/hafailover-agent/hafailover-agent"), "-c",
                               str(self.run / host / "hafailover-agent.conf"), "--json", "status"],
                              timeout=deadline_s, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True)
        if done.returncode != 0:
            raise LabError(done.stderr.strip())
        return "; ".join(one["text"] for one in json.loads(done.stdout)["services"])

    def status(self, **options):
        return self.ctl_json("status", **options)

    def service(self, name=SERVICE, **options):
        for service in self.status(**options).get("services", []):
            if service["name"] == name:
                return service
        raise LabError(f"no service {name}")

    def member(self, host, **options):
        for member in self.service(**options)["members"]:
            if member["name"] == host:
                return member
        raise LabError(f"no member {host}")

    def leader(self):
        """The watchers' leader; waits while an election is on."""
        return wait_for(self.one_leader, 15, "one leader", 0.1)

    def one_leader(self):
        leaders = [w["name"] for w in self.status()["watchers"] if w["role"] == "leader"]
        if len(leaders) != 1:
            raise LabError(f"leaders: {leaders}")
        return leaders[0]

    def history(self):
        return self.ctl_json("history")["decisions"]

    def settled(self):
        """The service once it is STEADY, whole, and somebody could take over; else LabError."""
        service = self.service()
        wrong = []
        if service["state"] != "STEADY" or service["primary"] is None:
            wrong.append(f"state {service['state']}, primary {service['primary']}")
        for member in service["members"]:
            wanted = "primary" if member["name"] == service["primary"] else "replica"
            if member["role"] != wanted or member["verdict"] != "up" or not member["gate_open"]:
                wrong.append(f"{member['name']} is {member['role']}, {member['verdict']}, gate "
                             f"{'open' if member['gate_open'] else 'closed'}")
        if not wrong and not service["ready"]:
            wrong.append(f"not ready: {service['ready_reason']}")
        if wrong:
            raise LabError("; ".join(wrong))
        return service

    def wait_settled(self, deadline_s=30):
        return wait_for(self.settled, deadline_s, "service steady", 0.1)

    def webhooks(self):
        """What the receiver wrote down, oldest first, the body parsed as well."""
        path = self.run / "client" / "webhooks.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(True) if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]  # else half written
        for one in found:
            one["json"] = json.loads(one["body"])
        return found

    def apply(self, path, deadline_s=30):
        """Apply a services.conf as soon as the watchers have a leader."""
        def once():
            done = self.ctl("apply", "-f", str(path))
            if done.returncode not in (0, 3, 4, 5) and "try again" not in done.stderr:
                raise SystemExit(f"error: {done.stderr.strip()}")
            if done.returncode != 0:
                raise LabError(done.stderr.strip())
            return True
        wait_for(once, deadline_s, "configuration applied", 0.2)
