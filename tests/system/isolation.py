#!/usr/bin/env python3
"""tests/system/isolation.py - cables are pulled; writers on both sides of the cut count.

The claim of all of them: whatever is cut, no write is acknowledged by two members at once, also
not on the cut-off host itself, over loopback or by its own address.
"""
import sys
import time

from stories import (DATABASES, ELECTION_MS, MS, WATCHERS, expect, expect_reigns, holes, main,
                     never_two, reigns, wait_for)

CUT_HOLE_MS = 4000  # the goal is 2500 on an otherwise idle machine


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def everywhere(lab, old):
    """Writers outside through the address and to every member, and inside the host to be cut."""
    return [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]


def finish(lab, clients, old):
    """Heal; the old primary must come back as a replica, and nobody acknowledged beside it."""
    lab.heal()
    lab.wait_settled()
    expect(lab.service()["primary"] != old, f"{old} is primary again")
    lab.stop_writers()
    never_two(*clients)


def cut_primary(lab):
    """The whole host of the primary is cut off: the lease decides."""
    old = lab.primary()
    clients = everywhere(lab, old)
    cut = now()
    lab.call("cut", old)
    lab.wait_acks(clients[0], cut, but=old)
    new = lab.wait_other(old)["primary"]
    time.sleep(1)
    seen = expect_reigns([old, new], *clients)
    hole = holes(clients[0], cut)
    lab.tell(f"without an acknowledgement outside: {hole:.0f} ms; the last one inside "
             f"{(seen[0][2] - cut) / MS:.0f} ms after the cut, the first of {new} "
             f"{(seen[1][1] - cut) / MS:.0f} ms after it")
    finish(lab, clients, old)
    expect(hole < CUT_HOLE_MS, f"{hole:.0f} ms without a primary")


def cut_one_way(direction):
    def story(lab):
        old = lab.primary()
        clients = everywhere(lab, old)
        cut = now()
        lab.call("cut", old, direction)
        lab.wait_acks(clients[0], cut, but=old, deadline_s=20)
        lab.wait_other(old)
        time.sleep(1)
        lab.tell(f"without an acknowledgement: {holes(clients[0], cut):.0f} ms")
        finish(lab, clients, old)
    story.__doc__ = f"Only what goes {direction} the primary's host is lost."
    return story


def cut_from_watchers(lab):
    """Clients still reach the primary, the watchers do not: it must stop before another starts."""
    old = lab.primary()
    clients = everywhere(lab, old)
    lab.call("cut", old, "from", *WATCHERS)
    lab.call("cut", old, "to", *WATCHERS)
    lab.wait_other(old, 20)
    time.sleep(1)
    finish(lab, clients, old)


def cut_from_replicas(lab):
    """Only replication is cut: no reason to move."""
    before = lab.wait_settled()
    old = before["primary"]
    client = lab.writing()
    lab.call("cut", old, "from", *lab.others(old))
    time.sleep(3)
    expect(lab.service()["epoch"] == before["epoch"], "failed over although clients were served")
    lab.heal()
    lab.wait_settled()
    lab.stop_writers()
    expect_reigns([old], client)


def cut_one_watcher(lab):
    """One watcher without the primary is a rumour."""
    before = lab.wait_settled()
    client = lab.writing()
    leader = lab.leader()
    cut = now()
    lab.call("cut", before["primary"], "from", leader)
    lab.call("cut", before["primary"], "to", leader)
    time.sleep(4)
    lab.stop_writers()
    expect_reigns([before["primary"]], client)
    expect(holes(client, cut) < 1000, f"{holes(client, cut):.0f} ms without an acknowledgement")
    expect(lab.service()["epoch"] == before["epoch"], "failed over on one watcher's word")


def cut_leader(lab):
    """The leader of the watchers is cut off: leases outlive elections."""
    before = lab.wait_settled()
    client = lab.writing()
    leader = lab.leader()
    cut = now()
    lab.call("cut", leader)
    others = [w for w in WATCHERS if w != leader]

    def new_leader():
        for row in lab.status(watcher=others[0])["watchers"]:
            if row["role"] == "leader" and row["name"] != leader:
                return row["name"]
        return None

    wait_for(new_leader, 10, "another leader")
    lab.tell(f"another leader after {(now() - cut) / MS:.0f} ms")
    time.sleep(2)
    lab.stop_writers()
    expect_reigns([before["primary"]], client)
    expect(holes(client, cut) < ELECTION_MS, f"{holes(client, cut):.0f} ms without an acknowledgement")


def cut_leader_and_primary(lab):
    """Both at once: the others elect, agree and fence."""
    old = lab.primary()
    clients = everywhere(lab, old)
    leader = lab.leader()
    cut = now()
    lab.call("cut", leader)
    lab.call("cut", old)
    lab.wait_acks(clients[0], cut, but=old, deadline_s=20)
    lab.tell(f"without an acknowledgement: {holes(clients[0], cut):.0f} ms")
    time.sleep(1)
    finish(lab, clients, old)


def split_with_primary(lab):
    """The primary is left with one watcher, the rest is on the other side."""
    old = lab.primary()
    clients = everywhere(lab, old)
    side = {old, "w1"}
    for host in side:
        for way in ("from", "to"):
            lab.call("cut", host, way, *[h for h in (*WATCHERS, *DATABASES, "client")
                                         if h not in side])
    wait_for(lambda: lab.service(watcher="w2")["primary"] not in (None, old), 20, "another primary")
    time.sleep(1)
    finish(lab, clients, old)


def no_quorum(lab):
    """Two watchers are gone: nobody may promote, and after the lease the primary is fenced."""
    before = lab.wait_settled()
    clients = [lab.writing(), *lab.inside(before["primary"])]
    for watcher in WATCHERS[1:]:
        lab.hold(watcher, "watcher")
    lost = now()
    time.sleep(4)
    late = [a for writer in clients for a in writer.acks() if a.answered > lost + 3000 * MS]
    expect(not late, f"{len(late)} writes acknowledged three seconds after the quorum was lost")
    lab.heal()
    lab.wait_settled()
    lab.wait_acks(clients[0], lost + 4000 * MS)
    lab.stop_writers()
    expect([reign[0] for reign in reigns(*clients)][0] == before["primary"], "another primary")


def flapping(lab):
    """The cable comes and goes: at most one takes writes at any time."""
    old = lab.primary()
    clients = everywhere(lab, old)
    for _ in range(6):
        lab.call("cut", old)
        time.sleep(0.7)
        lab.call("uncut_all")
        time.sleep(0.4)
    time.sleep(2)
    lab.wait_settled()
    lab.stop_writers()
    never_two(*clients)


if __name__ == "__main__":
    sys.exit(main({
        "cut-primary": cut_primary,
        "cut-from-primary": cut_one_way("from"),
        "cut-to-primary": cut_one_way("to"),
        "cut-from-watchers": cut_from_watchers,
        "cut-from-replicas": cut_from_replicas,
        "cut-one-watcher": cut_one_watcher,
        "cut-leader": cut_leader,
        "cut-leader-and-primary": cut_leader_and_primary,
        "split-with-primary": split_with_primary,
        "no-quorum": no_quorum,
        "flapping": flapping,
    }))
