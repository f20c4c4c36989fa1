#!/usr/bin/env python3
"""tests/system/degrade.py - what hangs slows nothing else: a disk, a name server; and an upgrade.

A disk that hangs is a file system of its own, frozen: who writes to it sleeps in the kernel, and
cannot even be killed, until it is thawed.
"""
import contextlib
import shutil
import subprocess
import sys
import time

from stories import (CALM_MS, DATABASES, MS, WATCHERS, address, expect, expect_reigns, holes, main,
                     never_two, wait_for)
from webhooks import PORT, apply_webhooks, hooks, now, restore

HOLE_MS = 4000   # of a failover while a disk hangs: an election may be part of it
NAME_SERVER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 53))
while True:
    s.recv(4096)
    print("asked", flush=True)
"""


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=20, check=False)
    expect(done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}")


def restart(lab, host, unit):
    """As an upgrade does: ended in order, started again."""
    lab.call("unit_stop", host, unit)
    lab.call(f"{unit}_start", host)


@contextlib.contextmanager
def disk(lab, host, unit, folder):
    """The folder of a daemon on a file system of its own; gives freeze() and thaw()."""
    path, image = lab.run / host / folder, lab.run / host / "disk.img"
    kept = path.with_name(folder + ".kept")
    state = {"frozen": False}

    def freeze():
        state["frozen"] = True
        run("fsfreeze", "-f", str(path))

    def thaw():
        if state["frozen"]:
            run("fsfreeze", "-u", str(path))
        state["frozen"] = False

    lab.call("unit_stop", host, unit)
    run("truncate", "-s", "96M", str(image))
    run("mkfs.ext4", "-q", "-O", "^has_journal", str(image))
    path.rename(kept)
    path.mkdir()
    run("mount", "-o", "loop", str(image), str(path))
    try:
        run("cp", "-a", f"{kept}/.", f"{path}/")
        (path / "lost+found").rmdir()
        lab.call(f"{unit}_start", host)
        yield freeze, thaw
    finally:
        thaw()
        lab.call("unit_stop", host, unit)
        new = path.with_name(folder + ".new")
        run("cp", "-a", str(path), str(new))
        run("umount", str(path))
        path.rmdir()
        new.rename(path)
        shutil.rmtree(kept)
        image.unlink()
        lab.call(f"{unit}_start", host)
        wait_for(lambda: all(w["reachable"] for w in lab.status()["watchers"]), 15, "all are back")


def fail_over(lab, what, hole_ms, ask=None):
    """By the word of the watcher @ask: one whose disk hangs knows only what it had."""
    before = lab.service(watcher=ask)
    client = lab.writing()
    killed = lab.kill(before["primary"], "database")
    lab.wait_acks(client, killed, but=before["primary"], deadline_s=20)
    new = wait_for(lambda: lab.service(watcher=ask)["primary"] not in (None, before["primary"]) and
                   lab.service(watcher=ask)["primary"], 10, "another primary")
    lab.stop_writers()
    expect_reigns([before["primary"], new], client)
    lab.tell(f"{what}: {holes(client, killed):.0f} ms without an acknowledgement")
    expect(holes(client, killed) < hole_ms, f"{what} slows a failover")


def disk_of_a_watcher(lab):
    """The disk of the leader hangs, then that of a follower: leases hold, and a failover works."""
    for role in ("follower", "leader"):
        lab.heal()
        before = lab.wait_settled()
        leader = lab.leader()
        host = leader if role == "leader" else next(w for w in WATCHERS if w != leader)
        with disk(lab, host, "watcher", "data") as (freeze, thaw):
            if role == "leader":  # it has lost its place by the restart
                wait_for(lambda: all(w["reachable"] for w in lab.status()["watchers"]), 15, "whole")
                while lab.leader() != host:
                    lab.kill(lab.leader(), "watcher")
                    time.sleep(2)
                wait_for(lambda: all(w["reachable"] for w in lab.status()["watchers"]), 15, "whole")
            lab.wait_settled()
            client = lab.writing()
            frozen = now()
            freeze()
            time.sleep(3)
            lab.stop_writers()
            expect_reigns([before["primary"]], client)
            lab.tell(f"disk of the {role} hangs: {holes(client, frozen):.0f} ms without an "
                     "acknowledgement")
            expect(holes(client, frozen) < CALM_MS, "a client noticed a watcher's disk")
            try:
                fail_over(lab, f"disk of the {role} hangs", HOLE_MS,
                          ask=next(w for w in WATCHERS if w != host))
            finally:
                thaw()


def disk_of_an_agent(lab):
    """The disk of the primary's agent hangs: its lease goes on; it cannot give up without a note."""
    host = lab.wait_settled()["primary"]
    with disk(lab, host, "agent", "agent") as (freeze, thaw):
        before = lab.wait_settled()
        if before["primary"] != host: # its agent was away for longer than a lease
            expect(lab.told("switchover", "cache", "--to", host).returncode == 0, "not moved back")
            before = lab.wait_settled()
        client = lab.writing()
        frozen = now()
        freeze()
        time.sleep(3)
        expect(lab.service()["epoch"] == before["epoch"], "a failover for an agent's disk")
        lab.tell(f"{holes(client, frozen):.0f} ms without an acknowledgement")
        expect(holes(client, frozen) < CALM_MS, "a client noticed an agent's disk")
        killed = lab.kill(before["primary"], "database")
        lab.wait_acks(client, killed, but=before["primary"], deadline_s=20)
        lab.stop_writers()
        lab.tell(f"its database dies too: {holes(client, killed):.0f} ms")
        never_two(client)
        thaw()


def name_server(lab):
    """Nobody answers for the name of a webhook: the others are told, and a failover is as fast."""
    silent = lab.popen("client", [sys.executable, "-c", NAME_SERVER, address("client")],
                       stdout=subprocess.PIPE, text=True)
    try:
        for host in WATCHERS:
            (lab.run / host / "resolv.conf").write_text(f"nameserver {address('client')}\n",
                                                        encoding="utf-8")
            restart(lab, host, "watcher")
        lab.wait_settled()
        apply_webhooks(lab, {f"n{i}": f"http://hook{i}.example.net:{PORT}/n" for i in range(7)} |
                       {"good": f"http://{address('client')}:{PORT}/good"})
        began = now()
        lab.ctl("webhook", "test", "--wait", "1s")
        expect(silent.stdout.readline() == "asked\n", "no name was asked for")
        fail_over(lab, "names hang", HOLE_MS)
        wait_for(lambda: [h for h in hooks(lab, "good", began) if "promoted" in h["json"]["type"]], 5,
                 "the notice")
        for host in WATCHERS:  # and nothing waits for it at the end
            asked = time.monotonic()
            restart(lab, host, "watcher")
            expect(time.monotonic() - asked < 4, f"{host} did not end: a name held it up")
    finally:
        silent.kill()
        silent.wait()
        for host in WATCHERS:
            (lab.run / host / "resolv.conf").unlink(missing_ok=True)
            restart(lab, host, "watcher")
    lab.heal()
    restore(lab)


def whole(lab, host):
    """A watcher that has told the service manager that it is ready, and hears every agent."""
    status = lab.status(watcher=host)  # of the new process, which has logged its start by now
    text = (lab.run / host / "watcher.log").read_text(encoding="utf-8", errors="replace")
    return " ready after_ms=" in text[text.rindex(" started "):] and all(member["agent_heard"] for service in status["services"]
                                       for member in service["members"])


def upgrade(lab):
    """Each watcher and each agent is replaced under a writing client: no role changes."""
    before = lab.wait_settled()
    client = lab.writing(extra=("--timeout", "1000")) # silence is judged below
    began = now()
    order = [(host, "watcher") for host in WATCHERS] + [(host, "agent") for host in DATABASES]
    for host, unit in order:
        restart(lab, host, unit)
        if unit == "watcher":  # as hafailoverd(8) says: the next one when this one is whole again
            wait_for(lambda host=host: whole(lab, host), 15, f"{host} is whole")
        lab.wait_settled()
    time.sleep(1)
    lab.stop_writers()
    after = lab.service()
    expect_reigns([before["primary"]], client)
    expect((after["epoch"], after["primary"]) == (before["epoch"], before["primary"]),
           f"epoch {before['epoch']} became {after['epoch']}")
    acks = [ack.answered for ack in client.acks() if ack.answered > began]
    longest = max((b - a) / MS for a, b in zip(acks, acks[1:]))
    lab.tell(f"6 daemons replaced in {(now() - began) / MS / 1000:.1f} s, {len(acks)} writes, "
             f"{longest:.0f} ms the longest without an acknowledgement")
    expect(not client.errors(), f"a client was refused: {client.errors()[:3]}")
    expect(longest < CALM_MS, f"{longest:.0f} ms without an acknowledgement")


if __name__ == "__main__":
    sys.exit(main({
        "upgrade": upgrade,
        "name-server": name_server,
        "disk-of-a-watcher": disk_of_a_watcher,
        "disk-of-an-agent": disk_of_an_agent,
    }))
