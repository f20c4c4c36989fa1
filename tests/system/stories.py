"""tests/system/stories.py - what every story needs: a whole cluster, clients, and a judge.

A group of stories shares one lab (real daemons, real Redis, network namespaces named after this
process). Each story starts from a cluster that is settled; one that a story has ruined is thrown
away and built anew, so that one failure does not become ten. A story passes by returning; what it
measured it tells through lab.tell(), as `# ` lines of TAP.
"""
import argparse
import contextlib
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "deploy" / "lib"))

import hafolab  # noqa: E402
from hafolab import DATABASES, LabError, SERVICE, VIP, WATCHERS, address, wait_for  # noqa: E402,F401

MS = 1_000_000
START_DEADLINE_S = 40
SAID_LINES_MAX = 60
CALM_MS = 1200   # of a client that should not notice: a lease that is lost takes longer
ELECTION_MS = 500 # of one for whom the watchers only elect, or a replica dies


class Failed(AssertionError):
    """An expectation that did not hold; the text says what was seen."""


def expect(condition, text):
    if not condition:
        raise Failed(text)


# --- the judge ----------------------------------------------------------------------------------

def reigns(*writers):
    """Who acknowledged, in order of time: [[server, first sent, last answered, count], ...].

    A write took place at some time between its sending and its answer: one that waited at a closed
    gate, or whose answer came late, says no more. A server that acknowledges a write that was sent
    after another one's first answer comes again, as a reign of its own, so two servers that take
    writes at the same time give many reigns, and a clean change gives two.
    """
    found = []
    begun = 0 # the first answer of the last reign
    for ack in sorted((a for writer in writers for a in writer.acks()), key=lambda a: a.answered):
        at = len(found) - 1
        if found and found[at][0] != ack.server and ack.sent <= begun:
            if at == 0 or found[at - 1][0] != ack.server:
                found.insert(at, [ack.server, ack.sent, ack.answered, 0])
            else:
                at -= 1
        elif not found or found[at][0] != ack.server:
            found.append([ack.server, ack.sent, ack.answered, 0])
            begun, at = ack.answered, at + 1
        found[at][2] = max(found[at][2], ack.answered)
        found[at][3] += 1
    return found


def expect_reigns(wanted, *writers):
    seen = reigns(*writers)
    expect([reign[0] for reign in seen] == list(wanted),
           f"wanted writes acknowledged by {' then '.join(wanted)}, saw " +
           "; ".join(f"{r[0]} {r[3]} writes in {(r[2] - r[1]) / MS:.0f} ms" for r in seen[:12]))
    return seen


def never_two(*writers):
    """No server acknowledged a write after another one had taken over from it."""
    order = [reign[0] for reign in reigns(*writers)]
    expect(len(order) == len(set(order)), f"two took writes: {' then '.join(order[:12])}")


def holes(writer, after=0):
    """The longest time in ms without an acknowledgement, of those that ended after `after`."""
    answered = [ack.answered for ack in writer.acks()]
    pairs = zip(answered, answered[1:])
    return max(((b - a) / MS for a, b in pairs if b > after), default=0.0)


# --- the lab of a group -------------------------------------------------------------------------

class Cluster(hafolab.Lab):
    def __init__(self, build):
        super().__init__(f"hat{os.getpid()}", build)
        self.writers = []

    def told(self, *args, **options):
        """hafailoverctl, again while no leader takes it: exit code 5 says that nothing was done."""
        def once():
            done = self.ctl(*args, **options)
            return done if done.returncode != 5 else None
        return wait_for(once, 20, f"a leader takes {args[0]}")

    @staticmethod
    def tell(text):
        print(f"# {text}", flush=True)

    def build_up(self):
        self.call("lab_up", deadline_s=180)
        self.services = self.run / "services.conf"
        self.services.write_text(self.call("services_conf"), encoding="utf-8")
        self.apply(self.services)
        self.wait_settled(START_DEADLINE_S)

    def tear_down(self):
        self.stop_writers()
        self.call("lab_down")

    def stop_writers(self):
        for writer in self.writers:
            writer.stop()
        self.writers = []

    def heal(self):
        """End every fault, as `quickstart heal` does."""
        self.call("heal_all")
        for hold in self.run.glob("*/*.pid.hold"):
            hold.unlink()

    def writer(self, host="client", to=VIP, interval_us=1000, extra=()):
        """A writing client; named so that its keys are its own."""
        name = f"s{time.monotonic_ns() // 1000}"
        writer = hafolab.Writer(self, name, host, to, interval_us, extra)
        self.writers.append(writer)
        return writer

    def writing(self, count=200, **options):
        """A writing client that has been acknowledged `count` times."""
        writer = self.writer(**options)
        wait_for(lambda: len(writer.acks()) >= count, 10, f"{count} writes acknowledged")
        return writer

    def inside(self, host):
        """Clients on the host itself: to its own address and over loopback."""
        return [self.writer(host, to, 2000) for to in (address(host), "127.0.0.1")]

    def direct(self, *hosts):
        """Clients of the outside that know members by their own addresses."""
        return [self.writer("client", address(host), 5000) for host in hosts]

    def primary(self):
        return self.wait_settled()["primary"]

    def others(self, host):
        return [other for other in DATABASES if other != host]

    def wait_other(self, old, deadline_s=15):
        """The service once another primary is open; the old one may be beyond reach."""
        def asked():
            service = self.service()
            return service if service["state"] in ("STEADY", "REPOINTING") and \
                service["primary"] not in (None, old) else None
        return wait_for(asked, deadline_s, f"another primary than {old}")

    def hold(self, host, unit):
        """Kill a daemon and keep it from being started again, until heal."""
        (self.run / host / f"{unit}.pid.hold").touch()
        return self.kill(host, unit)

    def wait_acks(self, writer, after, deadline_s=15, but=None, count=1):
        """Acknowledgements of writes sent after a moment, by another server than `but`."""
        def asked():
            found = [a for a in writer.acks() if a.sent > after and a.server != but]
            return found if len(found) >= count else None
        return wait_for(asked, deadline_s, "acknowledged again")


# --- the runner ---------------------------------------------------------------------------------

def end_orphans(build):
    """What is left of runs that were killed: a lab is named by the process that made it."""
    for run in pathlib.Path("/run").glob("hat[0-9]*"):
        if not pathlib.Path("/proc", run.name[3:]).exists():
            hafolab.Lab(run.name, build).call("lab_down", check=False)


@contextlib.contextmanager
def lab_of(build):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    end_orphans(build)
    cluster = Cluster(build)
    try:
        yield cluster
    finally:
        cluster.tear_down()


def show_logs(cluster):
    for log in sorted([*cluster.run.glob("*/*.log"), *cluster.run.glob("*/*/server.log")]):
        if "writer" in log.name or not log.stat().st_size:
            continue
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in lines if "system is starting up" not in line]
        for line in lines[-15:]:
            print(f"# {log.parent.name}/{log.stem}: {line[:200]}")


def show_why(cluster):
    """What the cluster itself says of its last decisions, and of why there is no other."""
    for words in (("status", "--table"), ("why-not", "cache"), ("history", "--json")):
        try:
            said = cluster.ctl(*words)
        except (LabError, OSError, subprocess.SubprocessError) as error:
            print(f"# {' '.join(words)}: {error}")
            continue
        for line in (said.stdout + said.stderr).splitlines()[:SAID_LINES_MAX]:
            print(f"# {words[0]}: {line[:200]}")


def ready(cluster):
    """The cluster is settled before a story; built anew where it cannot be healed."""
    if cluster.run.exists():
        try:
            cluster.heal()
            cluster.wait_settled(20)
            return
        except LabError as error:
            cluster.tell(f"built anew: {error}")
            show_logs(cluster)
            cluster.tear_down()
    cluster.build_up()


def tell_story(cluster, number, name, story):
    began = time.monotonic()
    try:
        ready(cluster)
        story(cluster)
        verdict, why = "ok", ""
    except (Failed, LabError, OSError, subprocess.SubprocessError) as error:
        verdict, why = "not ok", str(error)
    except Exception:  # a bug in the story; told like any failure, the rest still runs
        verdict, why = "not ok", traceback.format_exc()
    cluster.stop_writers()
    print(f"{verdict} {number} - {name}")
    for line in why.splitlines():
        print(f"# {line}")
    if why:
        show_why(cluster)
        show_logs(cluster)
    cluster.tell(f"{name}: {time.monotonic() - began:.1f} s")
    return verdict == "ok"


def main(stories):
    """Run the stories named on the command line, or all: {name: function}."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("stories", nargs="*")
    args = parser.parse_args()
    chosen = {name: story for name, story in stories.items()
              if not args.stories or name in args.stories}
    print(f"1..{len(chosen)}", flush=True)
    good = True
    with lab_of(args.build) as cluster:
        for number, (name, story) in enumerate(chosen.items(), 1):
            good = tell_story(cluster, number, name, story) and good
            sys.stdout.flush()
    return 0 if good else 1


def median(values):
    return statistics.median(values)
