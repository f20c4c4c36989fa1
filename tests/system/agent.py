#!/usr/bin/env python3
"""tests/system/agent.py - the agent dies or freezes, the fence is tampered with, the host restarts."""
import sys
import time

from stories import (DATABASES, MS, address, expect, expect_reigns, holes, main, never_two,
                     reigns, wait_for)

FREEZE_HOLE_MS = 6000
STRAY_MS = 1000


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def kill_agent(lab):
    """A restarted agent finds its gate and goes on as the same instance."""
    before = lab.wait_settled()
    clients = [lab.writing(), *lab.inside(before["primary"])]
    killed = lab.kill(before["primary"], "agent")
    time.sleep(3)
    lab.wait_settled()
    lab.stop_writers()
    never_two(*clients)
    lab.tell(f"without an acknowledgement: {holes(clients[0], killed):.0f} ms, primary "
             f"{before['primary']} to {lab.service()['primary']}")
    expect(holes(clients[0], killed) < FREEZE_HOLE_MS, "too long without a primary")


def freeze_agent(lab):
    """Stopped or dead, it cannot prolong the lease: the kernel ends it."""
    for down in (lab.stop, lab.hold):
        lab.heal()
        old = lab.wait_settled()["primary"]
        clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
        fault = down(old, "agent")
        lab.wait_acks(clients[0], fault, but=old, deadline_s=20)
        new = lab.wait_other(old)["primary"]
        time.sleep(1)
        seen = expect_reigns([old, new], *clients)
        lab.tell(f"{down.__name__}: {holes(clients[0], fault):.0f} ms without an acknowledgement; "
                 f"the last one of {old} {(seen[0][2] - fault) / MS:.0f} ms after the fault")
        lab.heal()
        lab.wait_settled()
        lab.stop_writers()
        never_two(*clients)
        expect(holes(clients[0], fault) < FREEZE_HOLE_MS, "too long without a primary")


def flush_ruleset(lab):
    """A flushed ruleset is put back, and does not open a fence."""
    old = lab.primary()
    clients = [lab.writing(), *lab.inside(old)]
    rules = lab.on(old, "nft", "list", "tables")
    lab.on(old, "nft", "flush", "ruleset")
    if "hafailover" in rules:
        wait_for(lambda: "hafailover" in lab.on(old, "nft", "list", "tables"), 3, "rules are back")
    cut = now()
    lab.call("cut", old)
    lab.on(old, "nft", "flush", "ruleset")
    lab.wait_acks(clients[0], cut, but=old)
    lab.wait_other(old)
    time.sleep(1)
    lab.heal()
    lab.wait_settled()
    lab.stop_writers()
    never_two(*clients)


def promoted_by_hand(lab):
    """REPLICAOF NO ONE behind the agent's back: the order is restored.

    A replica's gate is open for reads until its short deadline, which is renewed only for a process
    seen as a replica: a client that writes to the member itself may be answered until then, not
    longer. Clients of the virtual IP notice nothing.
    """
    before = lab.wait_settled()
    victim = lab.others(before["primary"])[0]
    client = lab.writing()
    strays = [*lab.inside(victim), *lab.direct(victim)]
    wait_for(lambda: all(stray.errors() for stray in strays), 5, "the strays are refused")
    done = now()
    lab.redis(victim, "replicaof", "no", "one")
    time.sleep(2)
    lab.wait_settled()
    lab.stop_writers()
    expect_reigns([before["primary"]], client)
    last = max((ack.answered for stray in strays for ack in stray.acks()), default=done)
    lab.tell(f"{sum(len(stray.acks()) for stray in strays)} writes acknowledged by {victim}, the last "
             f"{(last - done) / MS:.0f} ms after the promotion by hand")
    expect(last - done < STRAY_MS * MS, "the gate of a replica stayed open")
    expect(lab.service()["epoch"] == before["epoch"], "a failover for a replica")


def demoted_by_hand(lab):
    """REPLICAOF on the primary behind the agent's back ends in one primary."""
    before = lab.wait_settled()
    old, other = before["primary"], lab.others(before["primary"])[0]
    clients = [lab.writing(), *lab.direct(*DATABASES)]
    lab.redis(old, "replicaof", address(other), "6379")
    time.sleep(2)
    lab.wait_settled()
    lab.stop_writers()
    never_two(*clients)


def host_restart(lab):
    """The host of the primary loses power and comes back: closed from boot, a new instance."""
    old = lab.primary()
    clients = [lab.writing(), *lab.direct(*DATABASES)]
    fell = now()
    lab.call("host_down", old)
    lab.wait_acks(clients[0], fell, but=old)
    new = lab.wait_other(old)["primary"]
    lab.call("host_start", old)
    lab.wait_settled()
    lab.stop_writers()
    expect_reigns([old, new], *clients)
    lab.tell(f"without an acknowledgement: {holes(clients[0], fell):.0f} ms")


def host_restart_fast(lab):
    """Back before anybody gave it up: still no write without a new right to take it."""
    old = lab.primary()
    clients = [lab.writing(), *lab.direct(*DATABASES)]
    lab.call("host_down", old)
    lab.call("host_start", old)
    time.sleep(3)
    lab.wait_settled()
    lab.stop_writers()
    never_two(*clients)


def two_agents(lab):
    """A second agent with the same name and gate (a clone) does not make two primaries."""
    old = lab.primary()
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    clone = lab.popen(old, [lab.program("cmd/hafailover-agent/hafailover-agent"), "-c",
                            str(lab.run / old / "hafailover-agent.conf")])
    time.sleep(3)
    clone.kill()
    clone.wait()
    time.sleep(2)
    lab.wait_settled()
    lab.stop_writers()
    never_two(*clients)


def closed_from_boot(lab):
    """A gate that nobody opened answers nobody, also not on loopback."""
    victim = lab.others(lab.primary())[0]
    lab.call("host_down", victim)
    lab.call("host_up", victim)
    lab.call("gate_load", victim)
    lab.call("database_start", victim)
    wait_for(lambda: lab.redis(victim, "ping") == "PONG", 5, "its Redis runs")
    clients = [*lab.inside(victim), *lab.direct(victim)]
    time.sleep(1)
    lab.stop_writers()
    expect(not reigns(*clients), f"acknowledged by a closed host: {reigns(*clients)}")
    expect(all(client.errors() for client in clients), "the clients did not try")


if __name__ == "__main__":
    sys.exit(main({
        "closed-from-boot": closed_from_boot,
        "kill-agent": kill_agent,
        "freeze-agent": freeze_agent,
        "flush-ruleset": flush_ruleset,
        "promoted-by-hand": promoted_by_hand,
        "demoted-by-hand": demoted_by_hand,
        "host-restart": host_restart,
        "host-restart-fast": host_restart_fast,
        "two-agents": two_agents,
    }))
