#!/usr/bin/env python3
"""tests/system/seal.py - PostgreSQL `strict`: whoever dies while standbys are sealed, or comes back as
what it was before, nothing that was acknowledged is lost, and never two acknowledge.

A seal is held open by a WAL receiver that is stopped: it can be ended only when it goes on.
"""
import contextlib
import os
import shutil
import subprocess
import sys
import time

import operate
from durability import expect_silence, finish, now, wait_no_candidate
from postgresql import configure, receiver_stopped
from stories import DATABASES, WATCHERS, expect, main, wait_for


def said(lab, host):
    return (lab.run / host / "agent.log").read_text(encoding="utf-8", errors="replace")


def is_asked(lab, host, epoch):
    return f"kind=seal epoch={epoch} " in said(lab, host)


def is_sealed(lab, host, epoch):
    return "result=ok" in said(lab, host).partition(f"kind=seal epoch={epoch} ")[2]


def in_a_seal(lab, harm):
    """The primary dies; while one standby is sealed and the other is about to be, harm is done."""
    service = lab.wait_settled()
    old, epoch = service["primary"], service["epoch"] + 1
    slow, quick = lab.others(old)
    leader = lab.leader()
    clients = [lab.writing(), *lab.direct(*DATABASES)]
    with receiver_stopped(lab, slow):
        lab.hold(old, "agent")
        killed = lab.kill(old, "database")
        wait_for(lambda: is_sealed(lab, quick, epoch) and is_asked(lab, slow, epoch), 20,
                 "one is sealed, and the other is to be", 0.005)
        harm(slow, quick, leader)
        expect_silence(clients[0], 1, "although only one is sealed")
    lab.wait_acks(clients[0], killed, but=old, deadline_s=30)
    lab.tell(f"{lab.service()['primary']} took over from {old}")
    finish(lab, clients)


def agent_of_the_slow(lab):
    """The agent whose standby is being sealed dies: the next one seals it."""
    in_a_seal(lab, lambda slow, quick, leader: lab.kill(slow, "agent"))


def agent_of_the_sealed(lab):
    """The agent whose standby was sealed dies: it stays sealed."""
    in_a_seal(lab, lambda slow, quick, leader: lab.kill(quick, "agent"))


def sealed_one(lab):
    """The sealed standby itself dies, with its agent."""
    def harm(slow, quick, leader):
        lab.kill(quick, "database")
        lab.kill(quick, "agent")
    in_a_seal(lab, harm)


def leader(lab):
    """The watchers' leader dies between the two seals: the next one knows of the first."""
    in_a_seal(lab, lambda slow, quick, leader: lab.kill(leader, "watcher"))


def all_watchers(lab):
    """All watchers die between the two seals."""
    def harm(slow, quick, leader):
        for watcher in WATCHERS:
            lab.kill(watcher, "watcher")
    in_a_seal(lab, harm)


def resumed(lab):
    """The old primary was only stopped, with its agent, and goes on between the two seals."""
    service = lab.wait_settled()
    old, epoch = service["primary"], service["epoch"] + 1
    slow, _ = lab.others(old)
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    with receiver_stopped(lab, slow):
        for unit in ("agent", "database"):
            lab.stop(old, unit)
        wait_for(lambda: is_asked(lab, slow, epoch), 20, "a seal", 0.005)
        for unit in ("database", "agent"):
            lab.go_on(old, unit)
        time.sleep(1)
    finish(lab, clients)


def copy_host(source, to):
    """What a backup of a whole host holds: the data, and what the agent knows."""
    for name in ("data", "data-hafailover", "agent"):
        shutil.rmtree(to / name, ignore_errors=True)
        subprocess.run(["cp", "-a", str(source / name), str(to / name)], check=True)


@contextlib.contextmanager
def down(lab, host):
    """A host without its agent and its database."""
    lab.hold(host, "agent")
    pid = lab.pid(host, "database")
    lab.kill(host, "database")
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 10, f"{host} is down")
    yield
    (lab.run / host / "agent.pid.hold").unlink()


def restored(lab):
    """A standby that counts comes back from a backup of its host: it proves nothing by its name."""
    try:
        configure(lab, "sync_grace = 1min")
        old = lab.wait_settled()["primary"]
        back, other = lab.others(old)
        kept = lab.run / "backup"
        kept.mkdir(exist_ok=True)
        with down(lab, back):
            copy_host(lab.run / back, kept)
        lab.wait_settled(60)
        done, _ = operate.switch(lab, other)
        expect(done.returncode == 0, done.stderr)
        lab.wait_settled(60)
        writer = lab.writing(500)
        with down(lab, back):
            lab.call("cut", back, "from", other)
            lab.call("cut", back, "to", other)
            copy_host(kept, lab.run / back)
        wait_for(lambda: lab.member(back)["verdict"] == "up", 40, f"{back} is up", 0.1)
        lab.hold(other, "agent")
        lab.kill(other, "database")
        wait_no_candidate(lab)
        expect_silence(writer, 4, "without a proof")
        for member in lab.service()["members"]:
            lab.tell(f"{member['name']}: {member['reason']}")
        for host in (old, back):
            expect(lab.sql(host, "SELECT pg_is_in_recovery()") == "t", f"{host} was promoted")
        after = now()
        lab.heal()
        lab.wait_acks(writer, after, deadline_s=40)
        finish(lab, [writer])
    finally:
        lab.apply(lab.services)


if __name__ == "__main__":
    sys.exit(main({
        "agent-of-the-slow": agent_of_the_slow,
        "agent-of-the-sealed": agent_of_the_sealed,
        "sealed-one": sealed_one,
        "leader": leader,
        "all-watchers": all_watchers,
        "resumed": resumed,
        "restored": restored,
    }))
