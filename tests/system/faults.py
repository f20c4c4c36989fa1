"""tests/system/faults.py - the faults of a chaos run, and their end.

A fault is drawn with its targets, so that a seed names all of it: (name, function). ChaosLab is a
lab that can have them all: hosts on the user-space switch, data on small disks, watchers whose
clocks are moved.
"""
import os
import random
import shutil
import signal
import struct
import subprocess
import time

import stories
from stories import DATABASES, LabError, WATCHERS, wait_for

# A full disk must be possible, and 30 minutes of writing must fit.
DISK_MB = {"redis": 128, "postgresql": 640}
RATE_PPM = {"w1": 3900, "w2": -3900}  # together nearly the bound of 1/128 between two hosts
HOSTS = (*WATCHERS, *DATABASES, "client")
RULES_LOSS = """
table inet chaos {
    chain in {
        type filter hook input priority -50
        numgen random mod 100 < %d drop
    }
}
"""


class ChaosLab(stories.Cluster):
    def __init__(self, build, engine, seed, durability="async"):
        super().__init__(build)
        self.durability = durability
        self.env.update(HAFO_SWITCH="tap", HAFO_ENGINE=engine, HAFO_DURABILITY=durability,
                        HAFO_SEED=str(seed), HAFO_DISK_MB=str(DISK_MB[engine]))
        self.damaged = {}    # watcher: where its log ended
        self.filled = set()  # databases whose save has failed

    def build_up(self):
        for watcher in WATCHERS:
            (self.run / watcher).mkdir(parents=True, exist_ok=True)
            self.set_clock(watcher)
        super().build_up()
        self.claims = self.run / "client" / "claims.log"
        self.switch("watch", stories.VIP, str(self.claims))

    def switch(self, *words):
        done = subprocess.run([self.program("tests/support/hafailover-switch"), "--ask",
                               str(self.run / "switch.sock"), *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=10)
        if done.returncode != 0:
            raise LabError(f"switch {' '.join(words)}: {(done.stdout + done.stderr).strip()}")
        return done.stdout.strip()

    def link(self, a, b, **settings):
        self.switch("link", a, b, *(f"{key}={value}" for key, value in settings.items()))

    def both_ways(self, a, b, **settings):
        self.link(a, b, **settings)
        self.link(b, a, **settings)

    def set_clock(self, watcher, wall_s=0.0):
        """In place: the daemon has the file mapped."""
        path = self.run / watcher / "clock"
        with open(path, "r+b" if path.exists() else "wb") as file:
            file.write(struct.pack("<qq", int(wall_s * 1e9), RATE_PPM.get(watcher, 0)))

    def heal(self):
        for watcher in WATCHERS:
            self.set_clock(watcher)
        for host in DATABASES:
            if (self.run / host).exists():
                self.on(host, "nft", "delete", "table", "inet", "chaos")
        for watcher in list(self.damaged):
            self.repair(watcher)
        super().heal()
        # Redis refuses writes until a save has worked, and by itself tries again after minutes.
        for host in self.filled:
            self.redis(host, "bgsave")
        self.filled.clear()

    # --- files of Raft ---

    def end_watcher(self, watcher):
        """Held down and gone; its supervisor starts it again at heal, or when let go."""
        pid = self.pid(watcher, "watcher")
        self.hold(watcher, "watcher")
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 5, f"{watcher} has ended")

    def damage(self, watcher, chance):
        """Bytes of its log change, or its end is missing, while it is down. A copy is kept."""
        self.end_watcher(watcher)
        data = (self.run / watcher / "data").resolve()
        kept = self.run / watcher / "data.kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(data, kept)
        files = [data / name for name in ("log.db", "log.db-wal") if (data / name).exists() and
                 (data / name).stat().st_size > 0]
        path = files[int(chance * 1e6) % len(files)]
        size = path.stat().st_size
        at = int(chance * (size - 1))
        with open(path, "r+b") as file:
            if int(chance * 1e9) % 2:
                file.truncate(at)
            else:
                file.seek(at)
                file.write(bytes(b ^ 0xff for b in path.read_bytes()[at:at + 512]))
        log = self.run / watcher / "watcher.log"
        self.damaged[watcher] = log.stat().st_size
        (self.run / watcher / "watcher.pid.hold").unlink()

    def repair(self, watcher):
        """The disk as it was at the end of the watcher, unless it went on with the damaged one:
        that has promised since, and an older copy would be a watcher rolled back."""
        with open(self.run / watcher / "watcher.log", encoding="utf-8", errors="replace") as log:
            log.seek(self.damaged.pop(watcher))
            if " started name=" in log.read() or self.is_started(watcher):
                return
        try:
            self.hold(watcher, "watcher")
        except (LabError, ProcessLookupError):
            pass  # between two starts
        time.sleep(0.2)  # a start under way ends by itself
        data = (self.run / watcher / "data").resolve()
        shutil.rmtree(data)
        shutil.copytree(self.run / watcher / "data.kept", data)

    def is_started(self, watcher):
        try:
            return "served_by" in self.status(watcher=watcher, deadline_s=5)
        except LabError:
            return False


def pair_stopped(lab, one, other):
    for host, unit in (one, other):
        lab.stop(host, unit)


def partial(lab, hidden):
    """Each watcher sees another half: {watcher: hosts it does not see}."""
    for watcher, hosts in hidden.items():
        for host in hosts:
            lab.both_ways(watcher, host, cut=1)


def upgraded(lab, host, unit):
    """The file is another one, and the daemon ends and starts as a service manager would do it."""
    lab.signal(host, unit, signal.SIGTERM)


def disk_full(lab, host):
    lab.call("disk_fill", host)
    if host in DATABASES and lab.engine == "redis":
        lab.filled.add(host)
        lab.redis(host, "bgsave")


def lossy_rules(lab, host, percent):
    subprocess.run([*lab.enter(host), "nft", "-f", "-"], input=RULES_LOSS % percent, text=True,
                   capture_output=True, timeout=10, check=False)


def restart(lab, host):
    lab.call("host_down", host)
    lab.call("host_start", host)


def processes(lab, primary, chance):
    """Kills and stops, of one and of pairs."""
    replica = chance.choice(lab.others(primary))
    watcher = chance.choice(WATCHERS)
    leader = lab.leader()
    units = [(primary, "database"), (primary, "agent"), (replica, "database"), (replica, "agent"),
             (leader, "watcher"), (watcher, "watcher")]
    one, other = chance.sample(units, 2)
    found = []
    for host, unit in units:
        found.append((f"kill {unit} {host}", lambda h=host, u=unit: lab.kill(h, u)))
        found.append((f"stop {unit} {host}", lambda h=host, u=unit: lab.stop(h, u)))
    found += [
        (f"stop {one[1]} {one[0]} with {other[1]} {other[0]}",
         lambda: pair_stopped(lab, one, other)),
        (f"kill {one[1]} {one[0]} with {other[1]} {other[0]}",
         lambda: (lab.kill(*one), lab.kill(*other))),
        (f"hold agent {primary}", lambda: lab.hold(primary, "agent")),
        (f"hold watcher {watcher}", lambda: lab.hold(watcher, "watcher")),
        (f"upgrade agent {primary}", lambda: upgraded(lab, primary, "agent")),
        (f"upgrade agent {replica}", lambda: upgraded(lab, replica, "agent")),
        (f"upgrade watcher {watcher}", lambda: upgraded(lab, watcher, "watcher")),
    ]
    return found


def network(lab, primary, chance):
    watcher = chance.choice(WATCHERS)
    any_host = chance.choice(HOSTS[:-1])
    leader = lab.leader()
    hidden = {w: chance.sample(DATABASES, chance.choice((1, 2))) for w in WATCHERS}
    percent = chance.choice((5, 20, 50))
    one, other = chance.sample(WATCHERS, 2)
    return [
        (f"cut {primary}", lambda: lab.call("cut", primary)),
        (f"cut {any_host}", lambda: lab.call("cut", any_host)),
        (f"cut leader {leader}", lambda: lab.call("cut", leader)),
        (f"cut {primary} one way, from it", lambda: lab.call("cut", primary, "from")),
        (f"cut {primary} one way, to it", lambda: lab.call("cut", primary, "to")),
        (f"cut {any_host} one way, from it", lambda: lab.call("cut", any_host, "from")),
        (f"cut {primary} from watchers", lambda: lab.call("cut", primary, "from", *WATCHERS)),
        (f"cut {primary} from {watcher}", lambda: lab.both_ways(primary, watcher, cut=1)),
        (f"cut {one} and {other} from each other", lambda: lab.both_ways(one, other, cut=1)),
        ("partial: " + ", ".join(f"{w} not {'+'.join(h)}" for w, h in hidden.items()),
         lambda: partial(lab, hidden)),
        (f"{percent} % loss by rules of {primary}", lambda: lossy_rules(lab, primary, percent)),
        (f"{percent} % loss at {any_host}",
         lambda: lab.both_ways(any_host, "*", loss=percent * 10000)),
        (f"slow {primary}", lambda: lab.both_ways(primary, "*", delay=40000, jitter=40000,
                                                  reorder=200000)),
    ]


def hosts(lab, primary, chance):
    replica = chance.choice(lab.others(primary))
    watcher = chance.choice(WATCHERS)
    seconds = chance.choice((-86400, -60, -1.5, 1.5, 60, 86400, 40000000))
    where = chance.random()
    return [
        (f"disk full {primary}", lambda: disk_full(lab, primary)),
        (f"disk full {replica}", lambda: disk_full(lab, replica)),
        (f"disk full {watcher}", lambda: disk_full(lab, watcher)),
        (f"flush rules of {primary}", lambda: lab.on(primary, "nft", "flush", "ruleset")),
        (f"flush rules of {replica}", lambda: lab.on(replica, "nft", "flush", "ruleset")),
        (f"wall clock of {watcher} by {seconds} s", lambda: lab.set_clock(watcher, seconds)),
        (f"restart {primary}", lambda: restart(lab, primary)),
        (f"restart {replica}", lambda: restart(lab, replica)),
        (f"restart {watcher}", lambda: restart(lab, watcher)),
        (f"raft files of {watcher} damaged at {where:.6f}", lambda: lab.damage(watcher, where)),
    ]


def weather(lab, chance):
    """What all links are like during a round: (name, function)."""
    kind = chance.choice(("calm", "calm", "worn", "rough"))
    if kind == "calm":
        return "", lambda: None
    settings = {
        "loss": chance.choice((0, 1000, 10000)), "dup": chance.choice((0, 10000, 50000)),
        "reorder": chance.choice((0, 20000, 100000)),
        "delay": chance.choice((0, 500, 3000)), "jitter": chance.choice((200, 2000)),
    }
    if kind == "rough":
        settings.update(loss=30000, delay=8000, jitter=8000)
    text = " ".join(f"{key}={value}" for key, value in settings.items())
    return f"weather {text}", lambda: lab.link("*", "*", **settings)


def draw(lab, seed):
    """(weather, [(name, function, pause after it)], how long it lasts) of a round."""
    chance = random.Random(seed)
    primary = lab.primary()
    sky = weather(lab, chance)
    groups = [processes(lab, primary, chance), network(lab, primary, chance),
              hosts(lab, primary, chance)]
    drawn = [chance.choice(chance.choice(groups)) for _ in range(chance.choice((1, 1, 2, 3)))]
    if sum("raft files" in name or "disk full w" in name for name, _ in drawn) > 1:
        drawn = drawn[:1]  # more would be the loss of a majority for good
    faults = [(name, run, chance.uniform(0, 1.5)) for name, run in drawn]
    return sky, faults, chance.uniform(0.5, 6)
