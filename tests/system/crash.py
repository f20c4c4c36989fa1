#!/usr/bin/env python3
"""tests/system/crash.py - the database dies, hangs, or comes back empty."""
import re
import signal
import subprocess
import sys
import time

from stories import (DATABASES, ELECTION_MS, MS, address, expect, expect_reigns, holes, main, median,
                     never_two, wait_for)

KILLS = 5
# Below what a lease takes, or a deadline. How fast it is the benchmarks tell, on an idle machine.
KILL_HOLE_MEDIAN_MS = {"redis": 1200, "postgresql": 4000}
HANG_HOLE_MS = 5000
STALL_MAX_MS = 700 # less than hang_after, and the age of a look
REFUSED_S = 3
REFUSED_MAX = 120  # in a second, by three watchers and an agent: each asks again after 50 ms


def promoted_notices(lab, after_ns):
    return [hook for hook in lab.webhooks() if hook["boottime_ns"] > after_ns and
            hook["status"] == 204 and "promoted" in str(hook["json"].get("type"))]


def kill(lab, kills=KILLS):
    """kill -9 of the primary: proof, not silence; each time the old one comes back as a replica."""
    seen = []
    for _ in range(kills):
        old = lab.wait_settled()["primary"]
        clients = [lab.writing(), *lab.direct(*DATABASES)]
        killed = lab.kill(old, "database")
        first = lab.wait_acks(clients[0], killed, but=old)[0]
        new = lab.wait_other(old)["primary"]
        wait_for(lambda: promoted_notices(lab, killed), 5, "webhook of the promotion")
        lab.stop_writers()
        expect_reigns([old, new], *clients)
        fence = lab.history()[0]["fence"]
        expect(fence == "report", f"a crash that the agent sees needs no timer: fenced by {fence}")
        seen.append(holes(clients[0], killed))
        lab.tell(f"{old} to {new}: first write {(first.answered - killed) / MS:.1f} ms after the "
                 f"kill, {seen[-1]:.1f} ms without an acknowledgement")
        lab.call("database_start", old)
    lab.wait_settled()
    lab.tell(f"without an acknowledgement, median of {kills}: {median(seen):.1f} ms")
    expect(median(seen) < KILL_HOLE_MEDIAN_MS[lab.engine], f"median hole {median(seen):.0f} ms")


def hang(lab):
    """SIGSTOP of the primary: it is given up, and its late answers do not reach a client."""
    old = lab.primary()
    clients = [lab.writing(), *lab.inside(old), *lab.direct(old)]
    stopped = lab.stop(old, "database")
    lab.wait_acks(clients[0], stopped, but=old)
    lab.wait_other(old)
    if lab.engine == "redis":  # a stopped PostgreSQL has been ended by its agent
        lab.go_on(old, "database")
    time.sleep(1)
    lab.wait_settled()
    lab.stop_writers()
    never_two(*clients)
    lab.tell(f"without an acknowledgement: {holes(clients[0], stopped):.0f} ms")
    expect(holes(clients[0], stopped) < HANG_HOLE_MS, "too long without a primary")


def brief_stall(lab):
    """A pause shorter than every limit is not a failure."""
    before = lab.wait_settled()
    client = lab.writing(extra=("--timeout", "1000"))
    begun = time.monotonic()
    lab.stop(before["primary"], "database")
    time.sleep(0.4)
    lab.go_on(before["primary"], "database")
    stalled_ms = (time.monotonic() - begun) * 1000
    lab.wait_acks(client, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    time.sleep(1)
    lab.tell(f"a stall of {stalled_ms:.0f} ms")
    expect(lab.service()["epoch"] == before["epoch"] or stalled_ms > STALL_MAX_MS,
           f"failed over for a stall of {stalled_ms:.0f} ms")


def empty_restart(lab):
    """An empty primary must never be followed by those that have the data."""
    old = lab.primary()
    client = lab.writing(500)
    lab.stop_writers()
    numbers = [ack.number for ack in client.acks()]
    wait_for(lambda: lab.redis(lab.others(old)[0], "dbsize") == lab.redis(old, "dbsize"), 5,
             "replicas have all")
    count = int(lab.redis(old, "dbsize").split()[-1])
    lab.call("database_empty", old)
    new = lab.wait_other(old)["primary"]
    lab.wait_settled()
    for host in DATABASES:
        # A replica is there for all before its copy is whole; whoever became primary had it.
        wait_for(lambda h=host: int(lab.redis(h, "dbsize").split()[-1]) == count,
                 1 if host == new else 20,
                 f"{host} has {count} keys, {len(numbers)} of them new")
    expect(new != old, "the empty one is primary")


def restart_with_data(lab):
    """Killed and started at once by somebody: its gate stays closed until it is known what it is."""
    old = lab.primary()
    clients = [lab.writing(), *lab.inside(old), *lab.direct(*DATABASES)]
    lab.redis(old, "save")
    lab.kill(old, "database")
    time.sleep(0.05)
    lab.call("database_start", old)
    time.sleep(2)
    lab.wait_settled()
    lab.stop_writers()
    never_two(*clients)


def kill_replica(lab):
    """A replica's death is told, and costs the clients nothing."""
    before = lab.wait_settled()
    victim = lab.others(before["primary"])[0]
    client = lab.writing()
    killed = lab.kill(victim, "database")
    wait_for(lambda: lab.member(victim)["verdict"] != "up", 5, "noticed")
    time.sleep(1)
    lab.stop_writers()
    service = lab.service()
    expect(service["epoch"] == before["epoch"], "a failover for a replica")
    expect_reigns([before["primary"]], client)
    lab.tell(f"longest time without an acknowledgement: {holes(client, killed):.0f} ms")
    expect(holes(client, killed) < ELECTION_MS, "the clients felt it")


def best_candidate_dies_too(lab):
    """The next candidate is taken when the first dies under its promotion."""
    before = lab.wait_settled()
    old = before["primary"]
    last = lab.others(old)
    client = lab.writing()
    killed = lab.kill(old, "database")
    lab.kill(last[0], "database")
    wait_for(lambda: lab.service()["primary"] == last[1], 20, f"{last[1]} is primary")
    lab.wait_acks(client, killed, but=old)
    lab.stop_writers()
    never_two(client)
    epochs = lab.service()["epoch"]
    expect(epochs > before["epoch"], "the epoch did not grow")


def all_die(lab):
    """Without a single database nobody is primary; the first that returns with the data is."""
    old = lab.primary()
    client = lab.writing()
    for host in DATABASES:
        lab.redis(host, "save")
    killed = [lab.kill(host, "database") for host in DATABASES][0]
    wait_for(lambda: lab.service()["state"] == "NO_CANDIDATE", 15, "NO_CANDIDATE")
    for host in DATABASES:
        lab.call("database_start", host)
    lab.wait_settled(30)
    lab.wait_acks(client, killed + MS)
    lab.stop_writers()
    expect(lab.service()["primary"] is not None, f"no primary after {old}")


def busy_script(lab):
    """A script that runs for seconds is not death."""
    before = lab.wait_settled()
    primary = before["primary"]
    script = "local t = redis.call('time')[1] while redis.call('time')[1] - t < 4 do end return 1"
    lab.redis(primary, "config", "set", "busy-reply-threshold", "100")
    process = lab.popen("client", ["redis-cli", "-h", address(primary), "eval", script, "0"])
    try:
        time.sleep(3)
        service = lab.service()
        expect(service["epoch"] == before["epoch"], f"failed over for a script: {service['why']}")
    finally:
        process.wait(20)
        lab.redis(primary, "config", "set", "busy-reply-threshold", "5000")
    lab.wait_settled()


def too_many_clients(lab):
    """No room for a probe is not death, and nobody asks without end for being hung up on."""
    before = lab.wait_settled()
    primary = before["primary"]
    # One connection that stays: nobody could raise the limit again from a new one.
    console = subprocess.Popen(["redis-cli", "-s", str(lab.run / primary / "redis.sock")],
                               stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    def say(*lines):
        console.stdin.write("".join(f"{line}\n" for line in lines))
        console.stdin.flush()

    try:
        say("config set maxclients 1", "client kill type normal skipme yes")
        wait_for(lambda: "max number of clients" in lab.redis(primary, "ping"), 5, "no room")
        time.sleep(REFUSED_S)
        service = lab.service()
    finally:
        say("config set maxclients 10000")
        console.stdin.close()
        console.wait(5)
    stats = lab.redis(primary, "info", "stats")
    refused = int(re.search(r"rejected_connections:(\d+)", stats)[1])
    lab.tell(f"{refused} connections refused in {REFUSED_S} s")
    expect(0 < refused < REFUSED_MAX * REFUSED_S, f"{refused} connections in {REFUSED_S} s")
    lab.tell(f"meanwhile: {[m['verdict'] for m in service['members']]}")
    expect(service["epoch"] == before["epoch"], f"failed over for too many clients: {service}")
    lab.wait_settled()


def terminated(lab):
    """A clean shutdown by somebody is an end like any other."""
    old = lab.primary()
    clients = [lab.writing(), *lab.direct(*DATABASES)]
    lab.signal(old, "database", signal.SIGTERM)
    new = lab.wait_other(old)["primary"]
    lab.wait_acks(clients[0], time.clock_gettime_ns(time.CLOCK_BOOTTIME), but=old)
    lab.stop_writers()
    expect_reigns([old, new], *clients)


if __name__ == "__main__":
    sys.exit(main({
        "kill": kill,
        "hang": hang,
        "brief-stall": brief_stall,
        "terminated": terminated,
        "empty-restart": empty_restart,
        "restart-with-data": restart_with_data,
        "kill-replica": kill_replica,
        "best-candidate-dies-too": best_candidate_dies_too,
        "all-die": all_die,
        "busy-script": busy_script,
        "too-many-clients": too_many_clients,
    }))
