#!/usr/bin/env python3
"""tests/system/watchers.py - watchers die and stop, alone and at every step of a failover."""
import os
import signal
import sys
import time

from stories import (DATABASES, ELECTION_MS, MS, WATCHERS, expect, expect_reigns, holes, main,
                     never_two, wait_for)

# After the kill of the primary; a failover takes some tens of milliseconds.
LEADER_DELAYS_MS = (0, 1, 2, 4, 8, 16, 32, 64)
FAST = """[defaults]
heartbeat = 50ms
probe = 100ms
down_after = 300ms
lease = 400ms

"""
STANDSTILLS_S = (0.26, 0.28, 0.29, 0.3, 0.35, 0.5) # with FAST silence takes no longer


def kill_leader(lab):
    """No client notices an election; the dead watcher comes back with equal state."""
    before = lab.wait_settled()
    client = lab.writing()
    leader = lab.leader()
    killed = lab.kill(leader, "watcher")
    time.sleep(3)
    lab.stop_writers()
    expect_reigns([before["primary"]], client)
    lab.tell(f"longest time without an acknowledgement: {holes(client, killed):.0f} ms")
    expect(holes(client, killed) < ELECTION_MS, f"{holes(client, killed):.0f} ms without an answer")
    expect(lab.service()["epoch"] == before["epoch"], "a failover for a watcher")
    wait_for(lambda: all(w["reachable"] for w in lab.status()["watchers"]), 10, "all are back")


def stop_leader(lab):
    """A frozen leader wakes up as a follower and orders nothing."""
    before = lab.wait_settled()
    client = lab.writing()
    leader = lab.leader()
    stopped = lab.stop(leader, "watcher")
    wait_for(lambda: lab.leader() != leader, 10, "another leader")
    time.sleep(2)
    lab.go_on(leader, "watcher")
    time.sleep(1)
    lab.stop_writers()
    expect_reigns([before["primary"]], client)
    lab.tell(f"longest time without an acknowledgement: {holes(client, stopped):.0f} ms")
    expect(holes(client, stopped) < ELECTION_MS, f"{holes(client, stopped):.0f} ms without an answer")
    expect(lab.service()["epoch"] == before["epoch"], "a failover for a watcher")


def stand_still(lab, seconds):
    """All watchers, for so long; all go on whatever happens."""
    pids = [lab.pid(watcher, "watcher") for watcher in WATCHERS]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def all_stand_still(lab):
    """All watchers stand still at once, as machines do that are backed up: what they missed is no
    silence of a primary."""
    path = lab.run / "fast.conf"
    path.write_text(FAST + lab.services.read_text(encoding="utf-8"), encoding="utf-8")
    lab.apply(path)
    before = lab.wait_settled()
    client = lab.writing()
    try:
        for still_s in STANDSTILLS_S:
            stand_still(lab, still_s)
            wait_for(lab.leader, 10, "a leader")
            time.sleep(1) # a false failover has its time to come
            service = lab.wait_settled()
            expect(service["epoch"] == before["epoch"], f"a failover for {still_s} s of standstill")
    finally:
        lab.apply(lab.services)
    lab.stop_writers()
    expect_reigns([before["primary"]], client)


def kill_leader_and_primary(lab):
    """Both at once."""
    old = lab.primary()
    client = lab.writing()
    leader = lab.leader()
    killed = lab.kill(old, "database")
    lab.kill(leader, "watcher")
    lab.wait_acks(client, killed, but=old)
    lab.tell(f"without an acknowledgement: {holes(client, killed):.0f} ms")
    lab.stop_writers()
    never_two(client)


def kill_leader_at_each_step(lab):
    """Whatever the leader has begun, the next one goes on with; nothing is done twice."""
    for delay_ms in LEADER_DELAYS_MS:
        lab.heal()
        before = lab.wait_settled()
        old = before["primary"]
        client = lab.writing()
        leader = lab.leader()
        killed = lab.kill(old, "database")
        while time.clock_gettime_ns(time.CLOCK_BOOTTIME) < killed + delay_ms * MS:
            pass
        lab.kill(leader, "watcher")
        lab.wait_acks(client, killed, but=old)
        new = lab.wait_other(old)
        lab.stop_writers()
        expect_reigns([old, new["primary"]], client)
        lab.tell(f"leader killed {delay_ms} ms later: {holes(client, killed):.0f} ms without an "
                 f"acknowledgement, epoch {before['epoch']} to {new['epoch']}")
    lab.call("heal_all")


def all_watchers_restart(lab):
    """After a restart of all at once the same configuration and primary are there."""
    before = lab.status()
    for watcher in WATCHERS:
        lab.kill(watcher, "watcher")
    wait_for(lambda: lab.leader(), 15, "a leader")
    lab.wait_settled()
    after = lab.status()
    expect(after["config_version"] == before["config_version"], "another configuration")
    expect(after["services"][0]["epoch"] >= before["services"][0]["epoch"], "the epoch went back")


def equal_state(lab):
    """All watchers tell the same at the same index."""
    def same():
        seen = [lab.status(watcher=w) for w in WATCHERS]
        keys = [(s["config_version"], s["services"][0]["epoch"], s["services"][0]["primary"],
                 s["services"][0]["state"]) for s in seen]
        return len(set(keys)) == 1
    wait_for(same, 10, "equal state on all watchers")


def each_database_in_turn(lab):
    """Three failovers in a row end where every member is whole."""
    for _ in DATABASES:
        lab.heal()
        old = lab.wait_settled()["primary"]
        lab.kill(old, "database")
        lab.wait_other(old)
    lab.heal()
    lab.wait_settled()


if __name__ == "__main__":
    sys.exit(main({
        "kill-leader": kill_leader,
        "stop-leader": stop_leader,
        "all-stand-still": all_stand_still,
        "kill-leader-and-primary": kill_leader_and_primary,
        "kill-leader-at-each-step": kill_leader_at_each_step,
        "all-watchers-restart": all_watchers_restart,
        "equal-state": equal_state,
        "each-database-in-turn": each_database_in_turn,
    }))
