"""tests/bench/system.py - what the driver asks of each system, and what all systems share.

A system is a lab of its own (deploy/lib): three database hosts, three hosts for whoever watches,
one client, in network namespaces. An adapter says how to start it, what its profiles are, and how a
client of it is run; the faults, the clients' notes and the judge are the same for all.
"""
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "deploy" / "lib"))

import hafolab  # noqa: E402
from hafolab import DATABASES, LabError, WATCHERS, address, now_ns, wait_for  # noqa: E402,F401

LAB_NAME = re.compile(r"^hab(\d+)([a-z]+)$")
MS = 1_000_000


@dataclasses.dataclass
class Ack(hafolab.Ack):
    connected: int = 0  # when the connection was made that it came on


class Client(hafolab.Writer):
    """A writing client; each acknowledgement knows its connection."""
    _connected = 0

    def __init__(self, lab, name, host, command):
        self.path = lab.run / "client" / f"writer-{name}.log"
        self.path.unlink(missing_ok=True)
        self.name = name
        self._at, self._acks, self._server = 0, [], "?"
        self.process = lab.popen(host, [*command, "--prefix", name, "--log", str(self.path)])

    def _take(self, words):
        if len(words) == 3 and words[0] == "C":
            self._connected = int(words[1])
        if len(words) == 4 and words[0] == "A":
            self._acks.append(Ack(int(words[1]), int(words[2]), int(words[3]), self._server,
                                  self._connected))
        else:
            super()._take(words)


def started(pid):
    """When a process began; its pid and this name it. None: it does not run, or has ended."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rsplit(")", 1)[1].split()
    return None if fields[0] in "ZX" else fields[19]


def sweep(build):
    """Remove the labs of benches that were killed before they could."""
    for run in pathlib.Path("/run").glob("hab*"):
        match = LAB_NAME.match(run.name)
        if not match:
            continue
        owner = run / "owner"
        if owner.exists() and owner.read_text(encoding="utf-8") == started(match[1]):
            continue
        print(f"  removing what a killed bench left: {run.name}", flush=True)
        hafolab.Lab(run.name, build).call("lab_down")


class System(hafolab.Lab):
    title = ""      # as in tables
    short = ""      # in the name of the lab: letters
    engine = ""     # redis, postgresql
    profiles = {}   # name: what the tables say of it
    recover_s = 60  # how long a fault may take until it counts as not recovered

    def __init__(self, build):
        super().__init__(f"hab{os.getpid()}{self.short}", build)
        self.profile = None
        self.clients = []
        self.isolated = None  # the host under a fault

    # --- what an adapter says ---

    def start_all(self):
        raise NotImplementedError

    def set_profile(self, profile):
        raise NotImplementedError

    def settled_primary(self):
        """The primary's host once everything works and somebody could take over; else LabError."""
        raise NotImplementedError

    def failovers(self):
        """A count that grows by one with each change of primary."""
        raise NotImplementedError

    def switchover(self, primary):
        """Ask for a planned change; returns when it was asked."""
        raise NotImplementedError

    def main_client(self):
        """The command of a client as people use one."""
        raise NotImplementedError

    def direct_client(self, host, interval_us):
        """The command of a client that writes to this very host, and stays with it."""
        raise NotImplementedError

    def database_pids(self, host):
        """Its processes, the main one first."""
        raise NotImplementedError

    def database_start(self, host):
        """Start a database that was killed, if nothing of the system does."""

    def written(self, host, prefix):
        """The numbers of a client's writes that this host has."""
        raise NotImplementedError

    def forget(self, primary):
        """Remove what clients have written."""

    def leading_watcher(self):
        """The host whose watcher leads the others, where one does."""
        return WATCHERS[0]

    # --- shared ---

    def up(self):
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "owner").write_text(started(os.getpid()), encoding="utf-8")
        self.start_all()
        self.profile = None

    def down(self):
        self.stop_clients()
        self.call("lab_down")
        shutil.rmtree(self.run, ignore_errors=True)

    def make_hosts(self):
        """The network of a peer's lab; hafailover's own comes with lab_up."""
        self.call("switch_up")
        for host in (*WATCHERS, *DATABASES, "client"):
            self.call("host_net_up", host)
            (self.run / host).mkdir(parents=True, exist_ok=True)

    def unit(self, host, name, *command, restart="always"):
        self.call("unit_start", host, name, restart, *map(str, command))

    def use(self, profile):
        if self.profile != profile:
            self.set_profile(profile)
            self.profile = profile

    def client(self, host, command):
        name = f"c{time.monotonic_ns() // 1000}"
        client = Client(self, name, host, command)
        self.clients.append(client)
        return client

    def stop_clients(self):
        for client in self.clients:
            client.stop()
        self.clients = []

    def wait_primary(self, deadline_s=90):
        return wait_for(self.settled_primary, deadline_s, f"{self.title} settled", 0.1)

    # --- faults; each returns the moment just before it ---

    def fault(self, kind, primary):
        self.isolated = primary
        return getattr(self, f"fault_{kind}")(primary)

    def signal_all(self, host, number):
        pids = self.database_pids(host)
        at = now_ns()
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        return at

    def fault_kill(self, primary):
        pid = self.database_pids(primary)[0]
        at = now_ns()
        os.kill(pid, signal.SIGKILL)
        return at

    def fault_stop(self, primary):
        return self.signal_all(primary, signal.SIGSTOP)

    def fault_cut(self, primary):
        at = now_ns()
        self.call("cut", primary)
        return at

    def fault_drop(self, primary):
        """Frames vanish in the switch, both ways; the carrier stays."""
        at = now_ns()
        self.call("cut", primary, "from")
        self.call("cut", primary, "to")
        return at

    def fault_leader(self, primary):
        """Primary and leader are lost together, as if on one host."""
        leader = self.leading_watcher()
        at = now_ns()
        self.call("cut", primary)
        self.call("cut", leader)
        return at

    def fault_switchover(self, primary):
        return self.switchover(primary)

    def heal(self):
        self.call("uncut_all")
        if self.isolated is None:
            return
        try:
            self.signal_all(self.isolated, signal.SIGCONT)
        except LabError:
            pass  # it was killed
        self.database_start(self.isolated)
        self.isolated = None
