#!/usr/bin/env python3
"""tests/system/security.py - who may speak, with certificates; and those who may not, or mean harm."""
import json
import os
import pathlib
import subprocess
import sys
import time

from stories import WATCHERS, address, expect, expect_reigns, holes, main, wait_for

os.environ["HAFO_TLS"] = "certificates"  # of this group's lab

HERE = pathlib.Path(__file__).resolve().parent
TOOL = HERE.parent.parent / "deploy" / "config" / "certificates"
HOLE_MS = 4000
LOG_WINDOW_S = 5.5
RSS_MORE_MAX_KIB = 48 << 10
FDS_MORE_MAX = 16


def hostile(lab, what, host, *more, source="client", background=False):
    at = "127.0.0.1" if source == host else address(host)
    command = [sys.executable, str(HERE / "hostile.py"), what, at, *more]
    process = lab.popen(source, ["prlimit", "--nofile=8192", *command], stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, text=True)
    return process if background else told(process)


def told(process):
    out, err = process.communicate(timeout=120)
    expect(process.returncode == 0, f"hostile: {err.strip()[-300:]}")
    return json.loads(out.splitlines()[-1])


def cert(lab, who):
    """Options of hostile.py: to have the key of `who` ("db1", "w3", "client/ctl")."""
    path = lab.run / who if "/" in who else lab.run / who / "own"
    return ["--ca", str(lab.run / "ca" / "ca.pem"), "--cert", str(path)]


def ctl(lab, who, *words, host="w1"):
    """hafailoverctl over the network, as client/ctl, client/view or another; exit code and text."""
    path = lab.run / who
    role = {"client/ctl": "ctl/ops", "client/view": "view/board"}.get(who)
    done = subprocess.run(
        lab.enter("client") + [lab.program("cmd/hafailoverctl/hafailoverctl"), "--url",
                               f"https://{address(host)}:7400", "--ca-file",
                               str(lab.run / "ca" / "ca.pem"), "--cert-file", f"{path}.pem",
                               "--key-file", f"{path}.key", "--name", role or who, *words],
        capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout + done.stderr


def log_of(lab, host, unit="watcher"):
    return (lab.run / host / f"{unit}.log").read_text(encoding="utf-8", errors="replace")


def size_of(lab, host):
    """Memory in KiB and open descriptors of a watcher."""
    pid = lab.pid(host, "watcher")
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        rss = int(file.read().split("VmRSS:")[1].split()[0])
    return rss, len(os.listdir(f"/proc/{pid}/fd"))


def fail_over(lab, what):
    before = lab.wait_settled()
    client = lab.writing()
    killed = lab.kill(before["primary"], "database")
    lab.wait_acks(client, killed, but=before["primary"])
    new = lab.wait_other(before["primary"])["primary"]
    lab.stop_writers()
    expect_reigns([before["primary"], new], client)
    lab.tell(f"{what}: {holes(client, killed):.0f} ms without an acknowledgement")
    expect(holes(client, killed) < HOLE_MS, f"{what}: too long without a primary")
    lab.heal()


class Unharmed:
    """The same processes, as small as before, with as few descriptors."""

    def __init__(self, lab):
        self.lab = lab
        self.pids = {host: lab.pid(host, "watcher") for host in WATCHERS}
        self.sizes = {host: size_of(lab, host) for host in WATCHERS}

    def check(self):
        lab = self.lab
        for host in WATCHERS:
            expect(lab.pid(host, "watcher") == self.pids[host], f"{host} was restarted")
            rss, fds = self.sizes[host]
            wait_for(lambda host=host, fds=fds: size_of(lab, host)[1] <= fds + FDS_MORE_MAX, 20,
                     f"descriptors of {host} are closed")
            more = size_of(lab, host)[0] - rss
            expect(more < RSS_MORE_MAX_KIB, f"{host} grew by {more} KiB")
        lab.tell("memory: " + ", ".join(
            f"{h} {self.sizes[h][0]} to {size_of(lab, h)[0]} KiB" for h in WATCHERS))


def certificates(lab):
    """All of it works with certificates alone: a failover, and each new certificate."""
    fail_over(lab, "certificates")
    lab.wait_settled()
    before = ctl(lab, "client/view", "status")
    expect(before[0] == 0, before[1])
    for host in WATCHERS:
        subprocess.run([str(TOOL), "issue", str(lab.run / "ca"), f"watcher/{host}",
                        str(lab.run / host / "own")], check=True)
        os.kill(lab.pid(host, "watcher"), 1)
        wait_for(lambda host=host: "what=certificates" in log_of(lab, host), 5, "read again")
    lab.wait_settled()
    code, text = ctl(lab, "client/view", "status")
    expect(code == 0, text)


def roles(lab):
    """view reads, ctl writes, an agent's or watcher's key is nobody's there."""
    code, text = ctl(lab, "client/view", "pause", "cache", "--why", "x")
    expect(code == 1 and "paused" not in str(lab.service().get("state")), f"view paused: {text}")
    expect(not lab.service().get("paused"), "a reader paused the service")
    for words in (("pause", "cache", "--why", "x"), ("resume", "cache")):
        code, text = ctl(lab, "client/ctl", *words)
        expect(code == 0, f"{words[0]}: {text}")
    lab.call("certificate", "agent/db1", "client/agent")
    for words in (("status",), ("pause", "cache")):
        code, text = ctl(lab, "client/agent", *words)
        expect(code != 0, f"an agent's key may {words[0]}")


def strangers(lab):
    """Another authority, no certificate, a name that nobody has: refused, and told in the log."""
    foreign = lab.run / "foreign"
    if not foreign.exists():
        subprocess.run([str(TOOL), "ca", str(foreign)], check=True)
        subprocess.run([str(TOOL), "issue", str(foreign), "watcher/w2", str(foreign / "w2")],
                       check=True)
        lab.call("certificate", "watcher/w9", "client/w9")
    trust = ["--ca", str(lab.run / "ca" / "ca.pem")]
    for what, options, wanted in (
            ("another authority", ["--cert", str(foreign / "w2")], "certificate refused"),
            ("no certificate", ["--cert", "none"], "peer did not return a certificate"),
            ("a name nobody has", ["--cert", str(lab.run / "client" / "w9")], "stream-refused")):
        time.sleep(LOG_WINDOW_S)  # an event is held back after so many in so long
        at = len(log_of(lab, "w1"))
        result = hostile(lab, "garbage", "w1", *trust, *options)
        expect(not result["open"], f"{what}: connections stayed open: {result}")
        expect(wanted in log_of(lab, "w1")[at:], f"{what}: not told in the log")
    # Nor does a daemon take a certificate for its own that names another.
    conf = (lab.run / "w1" / "hafailoverd.conf").read_text(encoding="utf-8")
    other = lab.run / "w1" / "other.conf"
    other.write_text(conf.replace(f"{lab.run}/w1/own", f"{lab.run}/w2/own").replace(
        "hafailoverd.sock", "other.sock").replace("/w1/data", "/w1/other"), encoding="utf-8")
    done = subprocess.run([lab.program("cmd/hafailoverd/hafailoverd"), "-c", str(other)],
                          capture_output=True, text=True, timeout=10, check=False)
    expect(done.returncode != 0 and "does not name" in done.stderr, f"started: {done.stderr}")
    plain = lab.run / "w1" / "plain.conf"
    plain.write_text(conf.replace("mode = certificates", "mode = plain"), encoding="utf-8")
    done = subprocess.run([lab.program("cmd/hafailoverd/hafailoverd"), "-c", str(plain), "--check"],
                          capture_output=True, text=True, timeout=10, check=False)
    expect(done.returncode == 2 and "loopback" in done.stderr, f"plain text: {done.stderr}")


def garbage(lab):
    """41 kinds of bytes on each port, before TLS, with every kind of valid key behind it, and
    from an agent that has said hello."""
    unharmed = Unharmed(lab)
    before = lab.wait_settled()
    client = lab.writing()
    leader = lab.leader()
    other = next(m["name"] for m in before["members"] if m["name"] != before["primary"])
    agent = lab.pid(other, "agent")
    watcher = "w2" if leader == "w3" else "w3"
    running = {what: hostile(lab, "garbage", leader, *options, background=True)
               for what, options in {
                   "raw": [], "agent": cert(lab, "db1"), "watcher": cert(lab, watcher),
                   "http": [*cert(lab, "client/ctl"), "--alpn", "http/1.1"],
                   "hello": [*cert(lab, other), "--hello", other]}.items()}
    running["an agent's API"] = hostile(lab, "garbage", other, "--port", "7401", source=other,
                                        background=True)
    for what, process in running.items():
        result = told(process)
        lab.tell(f"{what}: {result['cases']} cases, the last closed after "
                 f"{result['longest_s']:.1f} s, {len(result['unconnected'])} not connected")
        expect(not result["open"], f"{what}: cases {result['open']} were left open")
        expect(not result["unconnected"], f"{what}: {result['unconnected'][:2]}")
    expect(lab.pid(other, "agent") == agent, f"the agent of {other} was restarted")
    lab.stop_writers()
    expect_reigns([before["primary"]], client)
    expect(lab.service()["epoch"] == before["epoch"], "a failover for garbage")
    unharmed.check()
    running = [hostile(lab, "garbage", leader, *cert(lab, who), background=True)
               for who in ("db1", watcher)]
    fail_over(lab, "amid garbage")
    for process in running:
        process.communicate(timeout=120)


def crowds(lab):
    """3,000 that say nothing and 60 that say it slowly: an election and a failover work."""
    unharmed = Unharmed(lab)
    leader = lab.leader()
    crowd = hostile(lab, "idle", leader, "--count", "3000", "--seconds", "15", background=True)
    slow = hostile(lab, "loris", leader, *cert(lab, "client/ctl"), "--count", "60", "--seconds",
                   "25", background=True)
    time.sleep(3)
    fail_over(lab, "amid crowds")
    lab.tell(f"idle: {told(crowd)['opened']} connections")
    result = told(slow)
    lab.tell(f"slow: {result}")
    expect(result["opened"] > 0 and result["closed"] == result["opened"], f"left open: {result}")
    unharmed.check()


if __name__ == "__main__":
    sys.exit(main({
        "certificates": certificates,
        "roles": roles,
        "strangers": strangers,
        "garbage": garbage,
        "crowds": crowds,
    }))
