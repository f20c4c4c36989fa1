#!/usr/bin/env python3
"""tests/system/postgresql.py - PostgreSQL as the database.

The first three belong to each change: the same as those of Redis, shorter. All of crash, isolation,
operate and degrade run with it too: HAFO_ENGINE=postgresql tests/system/crash.py --build DIR.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

os.environ["HAFO_ENGINE"] = "postgresql"

import crash  # noqa: E402
import isolation  # noqa: E402
import operate  # noqa: E402
from stories import address, expect, holes, main, never_two, wait_for  # noqa: E402

TRIES_S = 25  # the waits between tries are 0.5, 1, 2, 4, 8, 15 s
TRIES_MAX = 9
SLOW_CHECKPOINT_S = 12 # longer than anything else that waits for an answer
SLOW_STOP_S = 10


def configure(lab, *lines):
    """services.conf with these lines added to the service."""
    path = lab.run / "changed.conf"
    text = lab.services.read_text(encoding="utf-8")
    text = text.replace("engine = postgresql\n", "engine = postgresql\n" + "".join(
        f"{line}\n" for line in lines), 1)
    path.write_text(text, encoding="utf-8")
    lab.apply(path)


@contextlib.contextmanager
def broken(lab, host):
    """A server that cannot start: nonsense in a file of its configuration."""
    path = lab.run / host / "data" / "host.conf"
    good = path.read_text(encoding="utf-8")
    path.write_text(good + "nonsense = 1\n", encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(good, encoding="utf-8")


def starts(lab, host):
    text = (lab.run / host / "agent.log").read_text(encoding="utf-8", errors="replace")
    return len(re.findall(r" act service=\S+ ticket=\d+ kind=follow", text))


def cannot_start(lab):
    """A database that cannot start is tried with pauses, and status says why it is down."""
    before = lab.wait_settled()
    victim = lab.others(before["primary"])[0]
    with broken(lab, victim):
        count = starts(lab, victim)
        lab.kill(victim, "database")
        member = wait_for(lambda: "again after" in lab.member(victim)["reason"] and
                          lab.member(victim), 20, "told")
        time.sleep(TRIES_S)
        count = starts(lab, victim) - count
        member = wait_for(lambda: lab.member(victim), 10, "status")
    lab.tell(f"{count} tries in {TRIES_S} s; {member['reason']}")
    expect(count <= TRIES_MAX, f"{count} tries in {TRIES_S} s")
    expect("does not start" in member["reason"] or "ended" in member["reason"], member["reason"])
    lab.wait_settled(40)
    expect(lab.service()["epoch"] == before["epoch"], "a failover for a replica")


def restart_in_place(lab):
    """crash_policy = restart: the crashed primary is started and goes on; if it cannot, another."""
    try:
        configure(lab, "crash_policy = restart", "restart_max = 8s")
        before = lab.wait_settled()
        old = before["primary"]
        client = lab.writing()
        killed = lab.kill(old, "database")
        wait_for(lambda: lab.service()["epoch"] > before["epoch"] and lab.settled(), 30, "settled")
        expect(lab.service()["primary"] == old, f"{lab.service()['primary']} in place of {old}")
        lab.wait_acks(client, killed)
        lab.tell(f"restarted in place: {holes(client, killed):.0f} ms without an acknowledgement; "
                 f"{lab.history()[0]['text']}")
        expect("started again in place" in lab.history()[0]["text"], lab.history()[0]["text"])
        with broken(lab, old):
            killed = lab.kill(old, "database")
            lab.wait_other(old)
            lab.wait_acks(client, killed, but=old)
        text = lab.history()[0]["text"]
        lab.tell(f"could not start: {holes(client, killed):.0f} ms without one; {text}")
        expect("another one was quicker" in text, text)
        lab.stop_writers()
        gone, count = operate.missing(lab, client, lab.service()["primary"])
        lab.tell(f"{count} acknowledged, {len(gone)} lost by the second")
    finally:
        lab.apply(lab.services)
    lab.wait_settled(60)


def cascade(lab):
    """A replica of a replica is repointed when that one goes."""
    primary = lab.primary()
    middle, last = lab.others(primary)
    path = lab.run / "changed.conf"
    text = lab.services.read_text(encoding="utf-8")
    path.write_text(text.replace(f"[member cache/{last}]\n",
                                 f"[member cache/{last}]\nfollow = {middle}\n"), encoding="utf-8")

    def upstream():
        with contextlib.suppress(Exception):
            return lab.sql(last, "SELECT sender_host FROM pg_stat_wal_receiver")
        return ""
    with contextlib.ExitStack() as stack:
        stack.callback(lab.apply, lab.services)
        lab.apply(path)
        wait_for(lambda: upstream() == address(middle), 20, f"{last} follows {middle}")
        client = lab.writing()
        stack.enter_context(broken(lab, middle))
        lab.kill(middle, "database")
        began = time.monotonic()
        wait_for(lambda: upstream() == address(primary), 20, f"{last} follows {primary}")
        lab.tell(f"repointed {time.monotonic() - began:.1f} s after {middle} had gone")
        wait_for(lambda: lab.sql(last, "SELECT max(number) FROM writes WHERE prefix = "
                                 f"'{client.path.stem.removeprefix('writer-')}'") != "", 10, "gets WAL")
        lab.stop_writers()
    lab.wait_settled(40)


def on_own_disk(lab, host, free_mb=80):
    """The data of a stopped database on a small file system of its own."""
    data = lab.run / host / "data"
    used = subprocess.run(["du", "-sm", str(data)], check=True, capture_output=True, text=True)
    size = f"{int(used.stdout.split()[0]) + free_mb}m"
    kept = data.with_name("data.kept")
    data.rename(kept)
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(data)],
                   check=True)
    subprocess.run(["cp", "-a", f"{kept}/.", f"{data}/"], check=True)
    shutil.chown(data, "postgres", "postgres")
    shutil.rmtree(kept)


@contextlib.contextmanager
def small_disk(lab):
    """The primary's data on a small disk; gives the host. It is a replica again afterwards."""
    primary = lab.primary()
    host = lab.others(primary)[0]
    data = lab.run / host / "data"
    with broken(lab, host):
        lab.kill(host, "database")
        wait_for(lambda: lab.member(host)["verdict"] != "up", 10, "down")
        time.sleep(0.5)
        shutil.copy(data / "host.conf", data / "host.conf.bad")
        on_own_disk(lab, host)
    lab.wait_settled(60)
    operate.can_switch(lab, host)
    done, _ = operate.switch(lab, host)
    expect(done.returncode == 0, done.stderr)
    lab.wait_settled(60)
    try:
        yield host, data
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(data)], check=False)
        (data / "fill").unlink(missing_ok=True)
        with contextlib.suppress(Exception):
            lab.kill(host, "database")
        # A lab with such a mount cannot be healed: the next story builds its own.
        for _ in range(2):  # one may be bound over the other
            subprocess.run(["umount", "-l", str(data)], check=False, stderr=subprocess.DEVNULL)
        lab.tear_down()


def fill(data):
    subprocess.run(["dd", "if=/dev/zero", f"of={data}/fill", "bs=64k"], check=False,
                   stderr=subprocess.DEVNULL)


def disk_full(lab):
    """Disk full under data and WAL: told as unwritable; a server that gives up is failed over."""
    with small_disk(lab) as (host, data):
        client = lab.writing()
        fill(data)
        seen = wait_for(lambda: lab.service()["primary"] != host and "failed over" or
                        lab.member(host)["verdict"] == "unwritable" and "unwritable", 20,
                        "a verdict")
        lab.tell(f"first: {seen}; {lab.member(host)['reason']}")
        # By default it stays, whatever comes of it; a server that ends by itself is a crash.
        at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        configure(lab, "failover_unwritable = yes")
        lab.wait_acks(client, at, but=host, deadline_s=30)
        lab.tell(f"{holes(client, at):.0f} ms without an acknowledgement, primary "
                 f"{lab.service()['primary']}")
        lab.stop_writers()
        never_two(client)


def read_only(lab):
    """The data directory read-only: unwritable; failover_unwritable = yes replaces it."""
    with small_disk(lab) as (host, data):
        subprocess.run(["mount", "-o", "remount,ro", str(data)], check=False)
        if "ro" not in pathlib.Path("/proc/mounts").read_text(encoding="utf-8").split(
                str(data))[1].split()[1].split(","):
            lab.tell("busy with open files: the file system cannot be made read-only here")
            subprocess.run(["mount", "--bind", str(data), str(data)], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", str(data)], check=True)
        wait_for(lambda: lab.member(host)["verdict"] == "unwritable" or
                 lab.service()["primary"] != host, 20, "unwritable")
        lab.tell(f"{lab.member(host)['verdict']}: {lab.member(host)['reason']}")
        expect(lab.service()["primary"] == host, "failed over although the service says no")
        configure(lab, "failover_unwritable = yes")
        lab.wait_other(host)
        lab.apply(lab.services)


def backends_stopped(lab):
    """All backends stand still, the postmaster does not: who connects anew is served, who was
    connected hangs. That is told, and ended where the service says so."""
    old = lab.primary()
    client = lab.writing()
    postmaster = lab.pid(old, "database")
    children = pathlib.Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    for pid in children:
        os.kill(int(pid), signal.SIGSTOP)
    member = wait_for(lambda: lab.member(old)["verdict"] == "unwritable" and lab.member(old), 20,
                      "told")
    expect("sessions are stopped" in member["reason"], member["reason"])
    expect(lab.service()["primary"] == old, "failed over although the service says no")
    at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    try:
        configure(lab, "failover_unwritable = yes")
        lab.wait_acks(client, at, but=old, deadline_s=20)
        lab.tell(f"{holes(client, at):.0f} ms without an acknowledgement")
    finally:
        lab.apply(lab.services)
    lab.wait_settled(60)
    lab.stop_writers()
    never_two(client)


def postmaster_stopped(lab):
    """The postmaster alone stands still: unwritable for who is new; the service says what then."""
    old = lab.primary()
    client = lab.writing()
    os.kill(lab.pid(old, "database"), signal.SIGSTOP)
    member = wait_for(lambda: lab.member(old)["verdict"] == "unwritable" and lab.member(old), 10,
                      "told")
    expect("postmaster is stopped" in member["reason"], member["reason"])
    expect(lab.service()["primary"] == old, "failed over although the service says no")
    at = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    try:
        configure(lab, "failover_unwritable = yes")
        lab.wait_acks(client, at, but=old, deadline_s=20)
        lab.tell(f"{holes(client, at):.0f} ms without an acknowledgement")
    finally:
        lab.apply(lab.services)
    lab.wait_settled(60)
    lab.stop_writers()
    never_two(client)


@contextlib.contextmanager
def slow_checkpointer(lab, host, seconds=None):
    """Its checkpoints, also one that is under way, end after `seconds` at the earliest, or not while
    this lasts."""
    pid = int(lab.sql(host, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))

    def go_on():
        with contextlib.suppress(ProcessLookupError): # ended with its server
            os.kill(pid, signal.SIGCONT)

    os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(seconds or 0, go_on)
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        go_on()


@contextlib.contextmanager
def receiver_stopped(lab, host):
    """The WAL receiver of a standby stands still meanwhile."""
    pid = int(lab.sql(host, "SELECT pid FROM pg_stat_wal_receiver"))
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def third_lags(lab):
    """The target stops in a hand-over, and the third lacks what was acknowledged: the old primary,
    which has shut down for it, is started rather than anything lost."""
    old = lab.wait_settled()["primary"]
    target, third = lab.others(old)
    client = lab.writing()
    with receiver_stopped(lab, third):
        lab.wait_acks(client, time.clock_gettime_ns(time.CLOCK_BOOTTIME), count=50)
        asked = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        drains, answer = operate.drained(lab, old), []
        thread = threading.Thread(target=lambda: answer.append(operate.switch(lab, target)))
        thread.start()
        # Earlier, a busy machine might notice it before the checks, and refuse.
        wait_for(lambda: operate.drained(lab, old) > drains, 30, "the hand-over begins", 0.005)
        lab.stop(target, "database")
        thread.join(90)
        done, decision = answer[0]
        lab.wait_acks(client, asked, deadline_s=30)
    lab.go_on(target, "database")
    expect(done.returncode == 6, f"exit {done.returncode}: {done.stderr}")
    expect((decision["outcome"], decision["to"], decision["lost_bytes"]) == ("undone", old, 0),
           f"told {decision}")
    lab.wait_settled(60)
    lab.stop_writers()
    gone, count = operate.missing(lab, client, lab.service()["primary"])
    lab.tell(f"{count} acknowledged writes, {len(gone)} lost; {holes(client, asked):.0f} ms without one")
    expect(not gone, f"lost {gone[:10]}")
    never_two(client)


def rewinds(lab, host):
    text = (lab.run / host / "agent.log").read_text(encoding="utf-8", errors="replace")
    return text.count("postgresql-job-begun")


def switch_under_writers(lab, target, *options):
    """A switchover that must succeed: its hole in ms, and the decision."""
    old = lab.wait_settled()["primary"]
    operate.can_switch(lab, target)
    before = rewinds(lab, old)
    client = lab.writing()
    asked = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    done = lab.ctl("switchover", "cache", "--to", target, "--json", *options, deadline_s=90)
    expect(done.returncode == 0, f"exit {done.returncode}: {done.stderr}")
    lab.wait_acks(client, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    lab.wait_settled(60)
    lab.stop_writers()
    gone, count = operate.missing(lab, client, target)
    hole, decision = holes(client, asked), json.loads(done.stdout)
    lab.tell(f"{old} to {target} {' '.join(options)}: {hole:.0f} ms without an acknowledgement, "
             f"{count} acknowledged, {len(gone)} lost, {rewinds(lab, old) - before} rewinds, "
             f"fence {decision['fence']}")
    expect(not gone, f"lost {gone[:10]}")
    never_two(client)
    return hole, rewinds(lab, old) - before


def slow_checkpoint(lab):
    """A checkpoint that takes long comes before the switchover begins: no client waits for it."""
    old = lab.wait_settled()["primary"]
    target = lab.others(old)[0]
    plain, _ = switch_under_writers(lab, target)
    with slow_checkpointer(lab, target, SLOW_CHECKPOINT_S):
        slow, rewound = switch_under_writers(lab, old)
    expect(rewound == 0, "the primary was ended and rewound")
    expect(slow < 2 * plain + 1000, f"{slow:.0f} ms, without a checkpoint to wait for {plain:.0f} ms")


def slow_stop(lab):
    """A switchover that is told not to wait: its primary cannot stop in order, since its checkpoint
    takes too long, and is ended when the other one has all."""
    old = lab.wait_settled()["primary"]
    with slow_checkpointer(lab, old, SLOW_STOP_S):
        hole, rewound = switch_under_writers(lab, lab.others(old)[0], "--checkpoint-timeout", "0")
    expect(rewound > 0, "it stopped in order: this shows nothing of what the checkpoint is for")
    expect(hole < SLOW_STOP_S * 1000, "clients waited for the checkpoint")


def unready(lab):
    """Where the checkpoint does not end in time, or nobody waits for it any more, nothing has begun;
    meanwhile there is no second switchover, whichever watcher is asked."""
    before = lab.wait_settled()
    old, target = before["primary"], lab.others(before["primary"])[0]
    client = lab.writing()

    def ctl(watcher, *options):
        return [lab.program("cmd/hafailoverctl/hafailoverctl"), "--socket",
                str(lab.run / watcher / "hafailoverd.sock"), "switchover", "cache", "--to", target,
                *options]

    def prepared():
        text = (lab.run / old / "agent.log").read_text(encoding="utf-8", errors="replace")
        return text.count(" preparing ")

    def asking(watcher, *options):
        """A switchover whose primary has been asked to make ready."""
        count = prepared()
        process = subprocess.Popen(ctl(watcher, *options), stderr=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, text=True)
        wait_for(lambda: prepared() > count, 20, "its agent is asked")
        return process

    with slow_checkpointer(lab, old):
        process = asking("w1", "--checkpoint-timeout", "4s")
        for watcher in ("w1", "w2"):
            other = subprocess.run(ctl(watcher), check=False, capture_output=True, text=True)
            expect(other.returncode == 1 and "another switchover" in other.stderr, other.stderr)
        dry = subprocess.run(ctl("w1", "--dry-run"), check=False, capture_output=True, text=True)
        expect(dry.returncode == 0, f"a dry run waits: {dry.stderr}")
        said = process.communicate(timeout=60)[1]
        lab.tell(said.strip().replace("\n", " | "))
        expect(process.returncode == 1 and "makes ready" in said and "nothing was begun" in said and
               "CHECKPOINT" in said, f"exit {process.returncode}: {said}")
        process = asking("w2")
        process.send_signal(signal.SIGINT)
        process.communicate()
        leader = lab.leader()
        process = asking(leader)
        lab.kill(leader, "watcher")
        said = process.communicate(timeout=60)[1]
        expect(process.returncode != 0, f"exit {process.returncode}: {said}")
        wait_for(lab.leader, 20, "a leader")
        process = asking(next(w for w in ("w1", "w2", "w3") if w != leader))
        lab.kill(old, "agent")
        said = process.communicate(timeout=60)[1]
        lab.tell(said.strip().replace("\n", " | "))
        expect(process.returncode == 1 and "its agent went away" in said,
               f"exit {process.returncode}: {said}")
    between = lab.wait_settled(40)
    if between["primary"] == old: # else its agent came back too late for its lease
        expect(between["epoch"] == before["epoch"], "an epoch for nothing")
        # Not all watchers hear the agents again at once; a refusal has begun nothing.
        wait_for(lambda: subprocess.run(ctl("w1"), check=False, capture_output=True).returncode == 0,
                 30, "it can be done after all that")
    service = lab.wait_settled(60)
    lab.stop_writers()
    expect(service["epoch"] == between["epoch"] + (between["primary"] == old), f"{service}")
    never_two(client)


def healed(lab):
    """Of the tests themselves: a server that was stopped goes on with all its processes."""
    host = lab.others(lab.primary())[0]
    lab.stop(host, "database")
    lab.heal()
    pid = lab.pid(host, "database")
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    for one in [str(pid), *children.split()]:
        with contextlib.suppress(FileNotFoundError):
            status = pathlib.Path(f"/proc/{one}/status").read_text(encoding="utf-8")
            expect("\nState:\tT" not in status, f"process {one} of {host} is stopped still")
    lab.wait_settled(40)


def shutting_down(lab):
    """A primary that shuts down and does not get to its end is told from a dead one, and has a
    bound: then it counts as down."""
    try:
        configure(lab, "starting_max = 4s")
        before = lab.wait_settled()
        old = before["primary"]
        client = lab.writing()
        checkpointer = int(lab.sql(old, "SELECT pid FROM pg_stat_activity WHERE backend_type = "
                                        "'checkpointer'"))
        os.kill(checkpointer, signal.SIGSTOP)
        began = isolation.now()
        os.kill(lab.pid(old, "database"), signal.SIGINT)
        member = wait_for(lambda: lab.member(old)["verdict"] == "starting" and lab.member(old), 10,
                          "told")
        expect("shutting down" in member["reason"], member["reason"])
        expect(lab.service()["epoch"] == before["epoch"], "failed over before its time")
        first = lab.wait_acks(client, began, but=old, deadline_s=30)[0]
        lab.tell(f"{(first.answered - began) / 1e9:.1f} s until another one acknowledged; "
                 f"{lab.history()[0]['text']}")
        expect(first.answered - began >= 4e9, "failed over before its time")
        expect("shutting down" in lab.history()[0]["text"], lab.history()[0]["text"])
    finally:
        lab.apply(lab.services)
    lab.wait_settled(60)
    lab.stop_writers()
    never_two(client)


def smart_shutdown(lab):
    """A primary that somebody shuts down in the smart way serves who is connected, the watchers
    too: it is told, and has the same bound as any other that shuts down."""
    try:
        configure(lab, "starting_max = 4s")
        before = lab.wait_settled()
        old = before["primary"]
        client = lab.writing()
        lab.wait_acks(client, isolation.now())
        began = isolation.now()
        os.kill(lab.pid(old, "database"), signal.SIGTERM)
        member = wait_for(lambda: lab.member(old)["verdict"] == "starting" and lab.member(old), 10,
                          "told")
        expect("shutting down" in member["reason"], member["reason"])
        expect(lab.service()["epoch"] == before["epoch"], "failed over before its time")
        first = lab.wait_acks(client, began, but=old, deadline_s=30)[0]
        lab.tell(f"{(first.answered - began) / 1e9:.1f} s until another one acknowledged, "
                 f"{holes(client, began):.0f} ms without; {lab.history()[0]['text']}")
        expect(first.answered - began >= 4e9, "failed over before its time")
        expect("shutting down" in lab.history()[0]["text"], lab.history()[0]["text"])
        expect(holes(client, began) < 3000, "who was connected was not served")
    finally:
        lab.apply(lab.services)
    lab.wait_settled(60)
    lab.stop_writers()
    never_two(client)


def wal_removed(lab):
    """A replica that was away for longer than its slot keeps WAL: told, and copied where that is
    allowed."""
    old = lab.primary()
    victim = lab.others(old)[0]

    def pressed():
        lab.sql(old, "SELECT pg_switch_wal(); CHECKPOINT")
        return lab.sql(old, "SELECT wal_status FROM pg_replication_slots WHERE slot_name = "
                            f"'ha_{victim}'") == "lost"
    lab.sql(old, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    lab.sql(old, "ALTER SYSTEM SET wal_keep_size = 0")
    lab.sql(old, "SELECT pg_reload_conf()")
    try:
        client = lab.writing()
        with broken(lab, victim):
            lab.kill(victim, "database")
            wait_for(lambda: lab.member(victim)["verdict"] != "up", 20, "down")
            wait_for(pressed, 60, "the slot is lost")
        wait_for(lambda: "removed WAL" in lab.member(victim)["reason"], 60, "told")
        time.sleep(3)
        member = lab.member(victim)
        lab.tell(f"{member['verdict']}: {member['reason']}")
        expect("removed WAL" in member["reason"], member["reason"])
        lab.stop_writers()
        configure(lab, "rejoin_copy = yes")
        wait_for(lambda: not operate.missing(lab, client, victim)[0], 90, "copied")
        lab.wait_settled(60)
        lab.tell(f"copied: {lab.member(victim)['reason']}")
        expect(lab.service()["primary"] == old, "failed over")
    finally:
        lab.apply(lab.services)
        lab.sql(old, "ALTER SYSTEM RESET max_slot_wal_keep_size")
        lab.sql(old, "ALTER SYSTEM RESET wal_keep_size")
        lab.sql(old, "SELECT pg_reload_conf()")


def slots_exhausted(lab):
    """No connection is left: alive, told, and no failover."""
    before = lab.wait_settled()
    old = before["primary"]
    limit = int(lab.sql(old, "SHOW max_connections"))
    sleepers = [subprocess.Popen(
        ["psql", "-X", "-q", "-h", str(lab.run / old / "pg"), "-U", "app", "-d", "postgres", "-c",
         "SELECT pg_sleep(60)"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL) for _ in range(limit)]
    try:
        wait_for(lambda: int(lab.sql(old, "SELECT count(*) FROM pg_stat_activity WHERE usename = "
                                     "'app'")) >= limit - 20, 30, "exhausted")
        time.sleep(3)
        service = lab.service()
        lab.tell(f"meanwhile: {[m['verdict'] for m in service['members']]}")
        expect(service["epoch"] == before["epoch"], f"failed over: {service['why']}")
    finally:
        for one in sleepers:
            one.kill()
            one.wait()
    lab.wait_settled(40)


def wal_of_its_own(lab, old, new):
    """Bytes of WAL that a dead primary has after the fork to another one's timeline."""
    history = lab.sql(new, "SELECT pg_read_file('pg_wal/' || left(pg_walfile_name("
                           "pg_current_wal_lsn()), 8) || '.history')").split("\n")
    timeline, fork = [line for line in history if line.strip()][-1].split("\t")[:2]
    said = subprocess.run(
        ["/usr/lib/postgresql/15/bin/pg_waldump", "-p", lab.run / old / "data" / "pg_wal",
         "-t", timeline, "-s", fork], check=False, capture_output=True, text=True)
    ends = re.findall(r" at ([0-9A-F]+)/([0-9A-F]+)", said.stderr)
    expect(ends, f"timeline {timeline} from {fork}: {said.stderr}")
    end = ends[-1]
    low = [int(part, 16) for part in fork.split("/")]
    high = [int(part, 16) for part in end]
    return (high[0] - low[0] << 32) + high[1] - low[1]


def has_ended(data):
    """No process of its server is left: backends outlive a postmaster that was killed, and may
    still write what they were about to commit."""
    for cwd in pathlib.Path("/proc").glob("[0-9]*/cwd"):
        try:
            if cwd.readlink() == data:
                return False
        except OSError:
            continue  # gone, or about to be
    return True


def diverged(lab):
    """What was acknowledged inside the cut is lost, and how much is told when it is over: the
    watchers cannot know before."""
    old = lab.primary()
    client = lab.writing()
    inside = lab.writing(host=old, to=address(old), interval_us=2000)
    data = lab.run / old / "data"
    expect(not has_ended(data), f"{old} has no server in {data}")
    cut = isolation.now()
    lab.call("cut", old)
    lab.wait_acks(client, cut, but=old)
    new = lab.wait_other(old)["primary"]
    wait_for(lambda: has_ended(data), 10, f"{old} has ended")
    known = lab.history()[0]
    expect(known["found"] is None, f"found before it came back: {known['found']}")
    written = wal_of_its_own(lab, old, new)
    acked = [ack for ack in inside.acks() if ack.sent > cut]
    lab.stop_writers()
    lab.heal()
    lab.wait_settled(60)
    found = wait_for(lambda: lab.history()[0]["found"], 20, "found")
    lab.tell(f"{len(acked)} writes were acknowledged inside the cut: {written} bytes; known at the "
             f"failover {known['lost_bytes']}, found {found}")
    expect(acked and written > 0, "nothing was written inside the cut")
    expect(found["lost_bytes"] == written, f"{found['lost_bytes']} found, {written} written")
    tail = lab.run / old / f"data-hafailover/tail-{found['epoch']}"
    expect(found["kept"] == "kept" and list(tail.glob("0*")), f"{tail}: {found['kept']}")
    events = json.loads(lab.ctl("events", "--json").stdout)["events"]
    told = [one for one in events if one["kind"] == "diverged"]
    expect(told and told[-1]["lost_bytes"] == written and
           told[-1]["decision"] == known["id"], f"told: {told}")
    lab.tell(told[-1]["text"])
    said = lab.ctl("explain", str(known["id"]), "--table").stdout
    expect(f"{written} found when {old} came back" in said, said)


if __name__ == "__main__":
    sys.exit(main({
        "kill": lambda lab: crash.kill(lab, 2),
        "switchovers": lambda lab: operate.switchovers(lab, 2),
        "cut-primary": isolation.cut_primary,
        "diverged": diverged,
        "cannot-start": cannot_start,
        "restart-in-place": restart_in_place,
        "cascade": cascade,
        "backends-stopped": backends_stopped,
        "postmaster-stopped": postmaster_stopped,
        "healed": healed,
        "slow-checkpoint": slow_checkpoint,
        "slow-stop": slow_stop,
        "unready": unready,
        "third-lags": third_lags,
        "shutting-down": shutting_down,
        "smart-shutdown": smart_shutdown,
        "wal-removed": wal_removed,
        "slots-exhausted": slots_exhausted,
        "disk-full": disk_full,
        "read-only": read_only,
    }))
