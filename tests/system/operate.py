#!/usr/bin/env python3
"""tests/system/operate.py - what an operator does on a quiet day and on a bad night."""
import contextlib
import json
import subprocess
import sys
import threading
import time

from stories import (DATABASES, LabError, WATCHERS, address, expect, holes, main, median,
                     never_two, reigns, wait_for)
from verdict import is_subsequence

SWITCHOVERS = 20
STOPPED_HOLE_MS = 10000
# Below what a lease takes, or a deadline. How fast it is the benchmarks tell, on an idle machine.
HOLE_MEDIAN_MS = {"redis": 1200, "postgresql": 4000}


def missing(lab, writer, host):
    """The acknowledged writes that `host` does not have."""
    numbers = [ack.number for ack in writer.acks()]
    prefix = writer.path.stem.removeprefix("writer-")
    gone = []
    if lab.engine == "postgresql":
        have = set(lab.sql(host, f"SELECT number FROM writes WHERE prefix = '{prefix}'").split())
        return [number for number in numbers if str(number) not in have], len(numbers)
    for at in range(0, len(numbers), 500):
        some = numbers[at:at + 500]
        said = lab.redis(host, "mget", *[f"{prefix}:{number}" for number in some]).splitlines()
        gone += [number for number, value in zip(some, said) if value != str(number)]
    return gone, len(numbers)


def switch(lab, target, **options):
    done = lab.ctl("switchover", "cache", "--to", target, "--json", deadline_s=90, **options)
    try:
        return done, json.loads(done.stdout)
    except ValueError:
        return done, None


def can_switch(lab, target):
    """The service is ready once anybody could take over; this one may be a moment later."""
    wait_for(lambda: lab.ctl("switchover", "cache", "--to", target, "--dry-run").returncode == 0, 20,
             "a dry run says that it can")


def switchovers(lab, count=SWITCHOVERS, hole_ms=None):
    """Back and forth under writers that count: nothing acknowledged is lost, nobody is two."""
    service = lab.wait_settled()
    first = service["primary"]
    pair = [first, lab.others(first)[0]]
    before = service["epoch"]
    client = lab.writing()
    lab.direct(*DATABASES)
    seen, order, late = [], [first], 0
    for number in range(count):
        target = pair[(number + 1) % 2]
        can_switch(lab, target)
        asked = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        done, decision = switch(lab, target)
        expect(done.returncode == 0, f"switchover {number + 1} to {target}: {done.stderr}")
        expect(decision["outcome"] == "done" and decision["to"] == target, f"told {decision}")
        expect(decision["lost_bytes"] == 0, f"loses {decision['lost_bytes']} bytes")
        lab.wait_acks(client, time.clock_gettime_ns(time.CLOCK_BOOTTIME), but=None)
        seen.append(holes(client, asked))
        order.append(target)
        late += decision["fence"] != "report"
        lab.wait_settled(90)
    lab.stop_writers()
    got = [reign[0] for reign in reigns(client)]
    expect(got == order, f"writes were acknowledged by {' then '.join(got)}")
    gone, writes = missing(lab, client, order[-1])
    lab.tell(f"{count} switchovers, {writes} acknowledged writes, {len(gone)} lost; without an "
             f"acknowledgement median {median(seen):.1f} ms, {min(seen):.1f} to {max(seen):.1f} ms; "
             f"{late} primaries did not end in time")
    expect(not gone, f"lost {gone[:10]}")
    expect(median(seen) < (hole_ms or HOLE_MEDIAN_MS[lab.engine]), f"median hole {median(seen):.0f} ms")
    expect(lab.service()["epoch"] == before + count, "an epoch for something else")


def undone(lab, process, decision, old, target, alone):
    """The target stopped before it opened: the old primary again, or another that lacks nothing."""
    third = next(host for host in lab.others(old) if host != target)
    if lab.engine == "postgresql" and not alone and decision["to"] == third:
        # The old one has shut down for the hand-over and would have to be started again.
        fitness = {one["member"]: one["fitness"] for one in decision["candidates"]}
        expect(fitness[old] == "its database does not run", f"{third}, but {old}: {fitness[old]}")
        expect((decision["outcome"], decision["lost_bytes"]) == ("done", 0), f"told {decision}")
        expect(f"not {target} but {third} became primary" in process.stderr, process.stderr)
        return
    expect(decision["outcome"] == "undone" and decision["to"] == old, f"told {decision}")
    expect("primary again" in process.stderr, process.stderr)


def stopped_in_the_middle(lab, delay_s, alone=False):
    """One switchover whose target stops `delay_s` after it was asked for; what became of it."""
    old = lab.wait_settled()["primary"]
    target, third = lab.others(old)
    can_switch(lab, target)
    client = lab.writing()
    lab.direct(*DATABASES)
    done = []
    thread = threading.Thread(target=lambda: done.append(switch(lab, target)))
    if alone:
        lab.hold(third, "database")
        wait_for(lambda: not lab.member(third)["candidate"], 15, f"{third} is known to be gone")
    if delay_s == 0:
        # Not noticed yet: the checks pass, and the hand-over begins.
        lab.stop(target, "database")
        thread.start()
    else:
        thread.start()
        time.sleep(delay_s)
        lab.stop(target, "database")
    asked = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    thread.join(90)
    process, decision = done[0]
    service = lab.service()
    lab.go_on(target, "database")
    deposed = process.returncode == 6 and decision["stages_ms"]["opened"] is not None and \
        decision["outcome"] == "superseded"
    if deposed:
        # It stopped as a primary already: a failover of its own, before the others followed.
        expect(service["primary"] != target, "a primary that has stopped")
    elif process.returncode == 6:
        undone(lab, process, decision, old, target, alone)
        expect(service["primary"] == decision["to"], "another primary")
    if alone:
        lab.heal()
        lab.call("database_start", third, check=False)
    settled = lab.wait_settled(60)
    primary = settled["primary"]
    if process.returncode == 0 and settled["epoch"] > decision["epoch"]:
        # It stood still for long enough after it had opened.
        later = next(d for d in lab.history() if d["epoch"] == settled["epoch"])
        expect((later["from"], later["verdict"]) == (target, "hung"), f"another failover: {later}")
        deposed = True
    lab.wait_acks(client, asked)
    lab.stop_writers()
    gone, count = missing(lab, client, primary)
    lab.tell(f"stopped after {delay_s * 1000:.0f} ms: exit {process.returncode}, {old} to {primary}, "
             f"{count} acknowledged writes, {len(gone)} lost; {holes(client):.0f} ms without one")
    expect(holes(client) < STOPPED_HOLE_MS, "waited for who does not come")
    if deposed:
        order = [reign[0] for reign in reigns(client)]
        expect(is_subsequence(order, [old, target, primary]), f"writes at {order}")
        # What it acknowledged itself before its replicas had it is lost, as with any async primary.
        own = {ack.number for ack in client.acks() if ack.server == target}
        gone = [number for number in gone
                if service["durability"] != "async" or number not in own]
    else:
        never_two(client)
    expect(not gone, f"lost {gone[:10]}")
    return process


def target_stops(lab):
    """The target stops in the middle: it is not waited for, and nothing is lost."""
    process = stopped_in_the_middle(lab, 0)
    expect(process.returncode == 6, f"exit {process.returncode}: {process.stderr}")


def target_stops_alone(lab):
    """Where no third could take over, the old primary is primary again, also if it has to start."""
    process = stopped_in_the_middle(lab, 0, alone=True)
    expect(process.returncode == 6, f"exit {process.returncode}: {process.stderr}")


def target_stops_at_each_step(lab):
    """Wherever it stops, nobody is two; what was acknowledged before it opened is not lost."""
    for delay_s in (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.09):
        stopped_in_the_middle(lab, delay_s)


def target_hangs_before(lab):
    """A target that hangs already when it is asked for is refused, and nothing happens."""
    before = lab.wait_settled()
    target = lab.others(before["primary"])[0]
    lab.stop(target, "database")
    wait_for(lambda: not next(m for m in lab.service()["members"] if m["name"] == target)["candidate"],
             15, "it is known")
    done, plan = switch(lab, target)
    expect(done.returncode == 1 and not plan["ok"], f"exit {done.returncode}: {done.stderr}")
    expect(target in done.stderr, done.stderr)
    dry = lab.ctl("switchover", "cache", "--to", target, "--dry-run", "--json")
    expect(json.loads(dry.stdout)["checks"] is not None and dry.returncode == 1, "the dry run differs")
    lab.go_on(target, "database")
    lab.wait_settled()
    expect(lab.service()["epoch"] == before["epoch"], "an epoch for nothing")


def dry_run(lab):
    """It says what would be done, and does nothing."""
    before = lab.wait_settled()
    done = lab.ctl("switchover", "cache", "--dry-run", "--table")
    expect(done.returncode == 0 and "replication" in done.stdout, done.stdout + done.stderr)
    time.sleep(0.5)
    after = lab.service()
    expect((after["epoch"], after["state"]) == (before["epoch"], "STEADY"), f"it did: {after}")


def drained(lab, host):
    """How often its agent has begun a hand-over."""
    text = (lab.run / host / "agent.log").read_text(encoding="utf-8", errors="replace")
    return text.count("kind=drain ")


def killed_while_it_drains(lab):
    """The old primary dies in the middle of its hand-over: somebody is primary, nothing is two."""
    old = lab.wait_settled()["primary"]
    target = lab.others(old)[0]
    can_switch(lab, target)
    client = lab.writing()
    drains, done = drained(lab, old), []
    thread = threading.Thread(target=lambda: done.append(switch(lab, target)))
    thread.start()
    wait_for(lambda: drained(lab, old) > drains, 10, "the hand-over begins", 0.001)
    asked = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    with contextlib.suppress(LabError): # PostgreSQL may have stopped in order by now
        asked = lab.kill(old, "database")
    thread.join(90)
    expect(done[0][0].returncode in (0, 6), f"{done[0][0].returncode}: {done[0][0].stderr}")
    lab.call("redis_start", old)
    lab.wait_settled()
    lab.wait_acks(client, asked)
    lab.stop_writers()
    never_two(client)


def readiness(lab):
    """Nobody to take over is told before it is needed, with a reason each, once; so is its end."""
    service = lab.wait_settled()
    replicas = lab.others(service["primary"])
    seq = lab.ctl_json("events", "--count", "1")["last"]
    for host in replicas:
        lab.hold(host, "database")

    def told(kind):
        return [e for e in lab.ctl_json("events", "--after", str(seq))["events"] if e["kind"] == kind]

    wait_for(lambda: told("not-ready"), 20, "told")
    service = lab.service()
    expect(not service["ready"] and all(host in service["ready_reason"] for host in replicas),
           f"ready_reason: {service['ready_reason']}")
    text = lab.ctl("status", "--table").stdout
    expect("ready: no, because" in text, text)
    why = lab.ctl_json("why-not", "cache")
    expect(why["would_promote"] is None and len(why["members"]) == 3, f"why-not: {why}")
    metrics = lab.http(WATCHERS[0], "/metrics")[1]
    expect('hafailover_service_ready{service="cache"} 0' in metrics, "the metric says something else")
    expect('hafailover_candidates_ready{service="cache"} 0' in metrics, "candidates")
    refused = lab.ctl("failover", "cache", watcher=lab.leader())
    expect(refused.returncode == 1 and replicas[0] in refused.stderr, f"failover: {refused.stderr}")
    lab.heal()
    for host in replicas:
        lab.call("redis_start", host, check=False)
    lab.wait_settled()
    wait_for(lambda: told("ready"), 20, "told that it is over")
    expect(len(told("not-ready")) == 1 and len(told("ready")) == 1, "told more than once")


def watchers_gone(lab):
    """One gone: a notice and nothing else. Two gone: each part that is left says what it does."""
    before = lab.wait_settled()
    client = lab.writing()
    seq = lab.ctl_json("events", "--count", "1")["last"]
    leader = lab.leader()
    rest = [w for w in WATCHERS if w != leader]
    lab.hold(rest[0], "watcher")
    wait_for(lambda: [e for e in lab.ctl_json("events", "--after", str(seq), watcher=leader)["events"]
                      if e["kind"] == "watcher-down" and rest[0] in e["text"]], 20, "told")
    expect(lab.service(watcher=leader)["ready"], "not ready for one watcher")
    expect(lab.service(watcher=leader)["epoch"] == before["epoch"], "a failover for a watcher")
    lab.wait_acks(client, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    lab.hold(rest[1], "watcher")
    service = wait_for(lambda: not lab.service(watcher=leader)["ready"] and
                       lab.service(watcher=leader), 20, "not ready")
    expect("1 of 3 watchers" in service["ready_reason"], service["ready_reason"])
    begun = time.monotonic()
    done = lab.ctl("pause", "cache", watcher=leader)
    expect(done.returncode in (4, 5), f"exit {done.returncode}: {done.stderr}")
    expect("leader" in done.stderr and time.monotonic() - begun < 12, done.stderr)
    done = lab.ctl("switchover", "cache", watcher=leader)
    expect(done.returncode == 1 and "1 of 3 watchers" in done.stderr, f"{done.stderr}")
    # Each agent says what it does and why; the primary's lease has ended.
    primary = before["primary"]
    said = wait_for(lambda: "takes no writes" in (text := lab.agent_status(primary)) and text, 20,
                    "the primary's agent says so")
    expect("0 of 3 watchers promise" in said or "1 of 3 watchers promise" in said, said)
    expect(lab.http_code(primary, "/primary") == 503, "still called primary")
    for host in lab.others(primary):
        expect("serves reads" in lab.agent_status(host), lab.agent_status(host))
        expect(lab.http_code(host, "/replica") == 200, "no replica any more")
    lab.stop_writers()
    lab.heal()
    wait_for(lab.leader, 20, "a leader")
    lab.wait_settled(40)
    primary = lab.service()["primary"]
    expect(lab.http_code(primary, "/primary") == 200, "not called primary again")
    expect("200" in lab.on(primary, sys.executable, "-c", "import urllib.request as u; "
                           "print(u.urlopen('http://127.0.0.1:7401/primary', timeout=5).status)"),
           "nothing on loopback")


def no_candidate(lab):
    """Where nobody may take over it is told beforehand; then replicas go on serving reads."""
    good = lab.services.read_text(encoding="utf-8")
    primary = lab.wait_settled()["primary"]
    rest = lab.others(primary)
    text = good
    for host in rest:
        text = text.replace(f"[member cache/{host}]\n", f"[member cache/{host}]\npriority = never\n")
    path = lab.run / "never.conf"
    path.write_text(text, encoding="utf-8")
    client = lab.writing()
    lab.stop_writers()
    try:
        done = lab.told("apply", "-f", str(path))
        expect(done.returncode == 0, f"apply: {done.stderr}")
        wait_for(lambda: not lab.service()["ready"], 10, "not ready")
        expect("its priority is never" in lab.service()["ready_reason"], lab.service()["ready_reason"])
        lab.hold(primary, "database")
        wait_for(lambda: "its priority is never" in lab.service()["why"], 15, "the reason stands")
        for host in rest:
            wait_for(lambda h=host: lab.http_code(h, "/replica") == 200, 10, f"{host} serves reads")
            count = lab.on("client", "redis-cli", "-h", address(host), "dbsize")
            expect(int(count.split()[-1]) >= len(client.acks()), f"{host} does not read: {count}")
    finally:
        lab.heal()
        lab.call("redis_start", primary, check=False)
        lab.apply(lab.services)
    lab.wait_settled(40)


def wrong_arguments(lab):
    """Each slip of the hand: an exit code, a sentence, no harm, no wait."""
    before = lab.wait_settled()
    cases = [
        (2, [], "Usage"), (2, ["frobnicate"], "unknown command"), (2, ["status", "--nonsense"], ""),
        (2, ["status", "a", "b"], "Usage"), (2, ["status", "a/b"], "not a name"),
        (1, ["status", "nobody"], "no service of that name"), (2, ["explain"], "Usage"),
        (2, ["explain", "x"], "number"), (1, ["explain", "99999"], "no such decision"),
        (1, ["why-not", "nobody"], "no service"), (2, ["why-not"], "Usage"),
        (2, ["history", "--count", "x"], "number"), (2, ["history", "--count", "1000"], "number"),
        (2, ["failover"], "Usage"), (1, ["failover", "nobody"], "no service"),
        (1, ["failover", "cache", "--to", "nobody"], "db1, db2, db3"),
        (2, ["failover", "cache", "--dry-run"], "does not take"),
        (2, ["status", "--accept-loss"], "does not take"),
        (2, ["switchover", "cache", "--wait", "soon"], "duration"),
        (1, ["switchover", "cache", "--to", before["primary"]], "primary already"),
        (2, ["switchover", "cache", "--to", "a/b"], "not a name"),
        (2, ["pause", "cache", "--for", "ever"], "duration"), (1, ["resume", "cache"], "not paused"),
        (2, ["apply"], "-f FILE"), (2, ["apply", "-f", "/nowhere"], "/nowhere"),
        (1, ["config", "9999"], "not kept"), (1, ["rollback", "9999"], "not kept"),
        (2, ["webhook", "tset"], "webhook test"), (1, ["webhook", "test", "nobody"], "nobody"),
        (2, ["events", "--after", "-1"], "number"), (2, ["--timeout", "0", "status"], "duration"),
        (3, ["--socket", "/nowhere.sock", "status"], "no such socket; does hafailoverd run here"),
        (2, ["--url", "https://127.0.0.1:1", "status"], "--key-file"),
        (2, ["--url", "http://127.0.0.1:1", "status"], "https://HOST:PORT"),
        (2, ["--url", "", "status"], "https://HOST:PORT"),
        (2, ["--config", "/nowhere", "status"], "/nowhere"),
        (2, ["member", "prepared"], "member prepare"), (2, ["config", "rollback"], "VERSION"),
        (2, ["apply", "-f", "/dev/null", "--base", "x"], "--base"),
        (1, ["events", "cahce"], "no service"), (1, ["events", "cahce", "--follow"], "no service"),
        (1, ["history", "cahce"], "no service"),
        (2, ["watchers", "--with", "w4=192.0.2.4:7400"], "watchers replace"),
        (2, ["backup", "/nowhere/backup"], "/nowhere"),
    ]
    wrong = []
    for code, words, says in cases:
        begun = time.monotonic()
        done = lab.ctl(*words, watcher=WATCHERS[0])
        took = time.monotonic() - begun
        if done.returncode != code or says not in done.stderr or not done.stderr or took > 5:
            wrong.append(f"{words}: exit {done.returncode}, {took:.1f} s, {done.stderr.strip()}")
        if done.stdout and code != 1:
            wrong.append(f"{words}: on standard output: {done.stdout[:80]}")
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([lab.program("cmd/hafailoverctl/hafailoverctl"), "version"],
                              stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 2 or "standard output" not in done.stderr:
        wrong.append(f"onto a full disk: exit {done.returncode}, {done.stderr.strip()}")
    for line in wrong:
        lab.tell(line)
    expect(not wrong, f"{len(wrong)} of {len(cases)}")
    for command in ("status", "switchover", "events", "keygen", "webhook"):
        done = lab.ctl(command, "--help", watcher=WATCHERS[0])
        expect(done.returncode == 0 and command in done.stdout, f"{command} --help: {done.stderr}")
    expect(lab.service()["epoch"] == before["epoch"], "harm")


def no_terminal(lab):
    """Without a terminal there is JSON, and it is the same on each watcher."""
    lab.wait_settled()
    for words in (["status"], ["watchers"], ["history"], ["why-not", "cache"], ["events"],
                  ["webhook"], ["config", "history"], ["explain", "1"]):
        for watcher in WATCHERS:
            done = lab.ctl(*words, watcher=watcher)
            expect(done.returncode == 0, f"{words}: {done.stderr}")
            json.loads(done.stdout)
        table = lab.ctl(*words, "--table", watcher=WATCHERS[0])
        expect(table.stdout and not table.stdout.startswith("{"), f"{words} --table: {table.stdout}")
        expect("(null)" not in table.stdout, f"{words} --table: {table.stdout}")


def watched(lab):
    """status --watch goes on, an object a line, and ends when it is told to."""
    lab.wait_settled()
    command = [lab.program("cmd/hafailoverctl/hafailoverctl"), "--socket",
               str(lab.run / WATCHERS[0] / "hafailoverd.sock"), "status", "cache", "--watch"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        for _ in range(3):
            expect(json.loads(process.stdout.readline())["services"][0]["name"] == "cache", "what?")
    finally:
        process.terminate()
        process.wait(5)
        process.stdout.close()


def webhook_tested(lab):
    """`webhook test` says whether the receiver took it."""
    lab.wait_settled()
    names = [one["name"] for one in lab.ctl_json("webhook")["webhooks"]]
    expect(names, "the lab has no webhook")
    done = lab.ctl("webhook", "test", names[0])
    expect(done.returncode == 0 and "took notice" in done.stdout, f"{done.stdout}{done.stderr}")
    seq = int(done.stdout.split()[-1])
    wait_for(lambda: any(str(hook["json"]["id"]).endswith(f"-{seq}") and hook["status"] == 204
                         for hook in lab.webhooks()), 5, "the receiver has it")
    told = lab.ctl_json("webhook", "test", names[0])["webhooks"]
    expect([one["taken"] for one in told] == [True] and told[0]["name"] == names[0], f"{told}")
    fail = lab.run / "client" / "webhooks.fail"
    fail.touch()
    try:
        begun = time.monotonic()
        done = lab.ctl("webhook", "test", names[0], "--wait", "1s")
        expect(done.returncode == 4 and time.monotonic() - begun < 6, f"exit {done.returncode}")
        expect("has not taken notice" in done.stderr, done.stderr)
    finally:
        fail.unlink()
    wait_for(lambda: lab.ctl_json("webhook")["webhooks"][0]["waiting"] == 0, 60, "taken after all")


def asked_in_turn(lab):
    """Several watchers are named: who does not answer is passed over, also by a write."""
    service = lab.wait_settled()
    key, own = lab.run / "client" / "ops.key", lab.run / "client" / "ctl.conf"
    program = lab.program("cmd/hafailoverctl/hafailoverctl")
    key.unlink(missing_ok=True)
    subprocess.run([program, "keygen", "ctl/ops", "--secret", str(lab.run / "secret"), "--out",
                    str(key)], check=True)
    urls = ",".join(f"https://{address(watcher)}:7400" for watcher in WATCHERS)
    own.write_text(f"[ctl]\nurl = {urls}\nkey_file = {key}\nname = ops\n", encoding="ascii")
    as_ops = ["--url", urls, "--key-file", str(key), "--name", "ops"]

    def ask(*words):
        return subprocess.run(lab.enter("client") + [program, *words], capture_output=True,
                              text=True, timeout=30, stdin=subprocess.DEVNULL, check=False)

    lab.stop(WATCHERS[0], "watcher")
    try:
        wait_for(lambda: lab.ctl_json("status", watcher=WATCHERS[1])["leader"] not in
                 (None, WATCHERS[0]), 20, "another leads")
        for words in ([*as_ops, "status"], ["--config", str(own), "status"]):
            done = ask("--timeout", "6s", *words)
            expect(done.returncode == 0, f"{words}: exit {done.returncode}: {done.stderr}")
            expect(json.loads(done.stdout)["served_by"] in WATCHERS[1:], done.stdout[:200])
            expect("asking the next watcher" in done.stderr, done.stderr)
        done = ask("--timeout", "6s", *as_ops, "pause", service["name"], "--why", "a bad night")
        expect(done.returncode == 0, f"pause: exit {done.returncode}: {done.stderr}")
        done = ask("--timeout", "6s", *as_ops, "resume", service["name"])
        expect(done.returncode == 0, f"resume: exit {done.returncode}: {done.stderr}")
        # Nobody has answered, the last one neither: it must not do that when it goes on.
        begun = time.monotonic()
        done = ask("--timeout", "2s", "--url", "https://127.0.0.1:1", "--url",
                   f"https://{address(WATCHERS[0])}:7400", *as_ops[2:], "pause", service["name"])
        expect(done.returncode == 3, f"nobody answers: exit {done.returncode}: {done.stderr}")
        expect(time.monotonic() - begun < 4, f"--timeout 2s: {time.monotonic() - begun:.1f} s")
    finally:
        lab.go_on(WATCHERS[0], "watcher")
    done = ask("--url", f"https://{address(WATCHERS[1])}:1", "--url", "https://127.0.0.1:1",
               "--key-file", str(key), "--name", "ops", "status")
    expect(done.returncode == 3 and done.stderr.count("\n") == 2, f"{done.returncode}: {done.stderr}")


def leader_dies_meanwhile(lab):
    """The watchers' leader dies in the middle of a switchover that a follower was asked for."""
    for delay_s in (0.01, 0.02, 0.04):
        lab.heal()
        old = lab.wait_settled()["primary"]
        wait_for(lambda: all(w["reachable"] for w in lab.status()["watchers"]), 20, "all watchers")
        target = lab.others(old)[0]
        leader = lab.leader()
        asked = next(w for w in WATCHERS if w != leader)
        wait_for(lambda: all(m["agent_heard"] for m in lab.service(watcher=asked)["members"]), 20,
                 f"{asked} hears the agents")
        client = lab.writing()
        done = []
        thread = threading.Thread(target=lambda: done.append(switch(lab, target, watcher=asked)))
        thread.start()
        time.sleep(delay_s)
        killed = lab.kill(leader, "watcher")
        thread.join(90)
        process, decision = done[0]
        # 4: its entry may or may not have been taken; 1, 5: it was not.
        expect(process.returncode in (0, 1, 4, 5, 6), f"{process.returncode}: {process.stderr}")
        primary = lab.wait_settled(40)["primary"]
        lab.wait_acks(client, killed)
        lab.stop_writers()
        if process.returncode == 0:
            expect(decision["to"] == target == primary, f"{primary}, told {decision}")
        gone, count = missing(lab, client, primary)
        lab.tell(f"leader killed after {delay_s * 1000:.0f} ms: exit {process.returncode}, {count} "
                 f"writes, {len(gone)} lost, {holes(client, killed):.0f} ms without one")
        expect(not gone, f"lost {gone[:10]}")
        never_two(client)


def followed(lab):
    """Events are followed over the death of a watcher by their numbers: none twice, none missed."""
    lab.wait_settled()
    since = lab.ctl_json("events", "--count", "1")["last"]
    command = [lab.program("cmd/hafailoverctl/hafailoverctl"), "--socket",
               str(lab.run / WATCHERS[0] / "hafailoverd.sock"), "events", "--follow", "--after",
               str(since)]
    path = lab.run / "client" / "events.jsonl"
    with open(path, "w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL,
                                   stdin=subprocess.DEVNULL)
        try:
            for _ in range(3):
                lab.ctl("pause", "cache", "--why", "a test", watcher=WATCHERS[1])
                lab.ctl("resume", "cache", watcher=WATCHERS[1])
            lab.kill(WATCHERS[0], "watcher")
            wait_for(lab.leader, 20, "a leader")

            def paused():
                done = lab.ctl("pause", "cache", watcher=WATCHERS[1])
                return done.returncode == 0
            wait_for(paused, 20, "paused")
            last = lab.ctl_json("events", "--count", "1", watcher=WATCHERS[1])["last"]

            def read():
                lines = path.read_text(encoding="utf-8").splitlines()
                return [json.loads(line)["seq"] for line in lines]
            wait_for(lambda: read() and read()[-1] >= last, 30, "followed to the end")
        finally:
            process.terminate()
            process.wait(5)
            lab.ctl("resume", "cache", watcher=WATCHERS[1])
    seen = read()
    expect(seen == list(range(since + 1, seen[-1] + 1)), f"after {since}: {seen}")


def stopped_watcher(lab):
    """A watcher that is stopped answers nobody: a bounded wait, a code, and advice."""
    lab.wait_settled()
    victim = WATCHERS[2]
    lab.stop(victim, "watcher")
    begun = time.monotonic()
    done = lab.ctl("--timeout", "1s", "status", watcher=victim)
    took = time.monotonic() - begun
    lab.go_on(victim, "watcher")
    expect(done.returncode == 4 and took < 5, f"exit {done.returncode} after {took:.1f} s")
    expect("another watcher" in done.stderr, done.stderr)


if __name__ == "__main__":
    sys.exit(main({
        "switchovers": switchovers,
        "dry-run": dry_run,
        "target-stops": target_stops,
        "target-stops-alone": target_stops_alone,
        "target-stops-at-each-step": target_stops_at_each_step,
        "target-hangs-before": target_hangs_before,
        "killed-while-it-drains": killed_while_it_drains,
        "readiness": readiness,
        "watchers-gone": watchers_gone,
        "no-candidate": no_candidate,
        "wrong-arguments": wrong_arguments,
        "no-terminal": no_terminal,
        "followed": followed,
        "watched": watched,
        "webhook-tested": webhook_tested,
        "asked-in-turn": asked_in_turn,
        "leader-dies-meanwhile": leader_dies_meanwhile,
        "stopped-watcher": stopped_watcher,
    }))
