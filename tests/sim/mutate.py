#!/usr/bin/env python3
"""tests/sim/mutate.py - rules broken on purpose, each of which a simulator must find.

For each row a copy of the tree gets one change (where another rule covers the same ground, both are
broken), is built, and runs seeds until one fails. The tree itself is never touched. Rows of the core
run tests/sim, rows of the guard around libraft run tests/raft's simulator, and some of them tests/sim
over libraft. `--case NAME` runs one
row (and may be given again), `--seeds N` bounds the search, `--list` tells the rows. What no run can
show is broken too, and the unit test that holds it must fail.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = ["-DHA_SERVICES_MAX=4", "-DHA_HISTORY_MAX=16", "-DHA_OUTBOX_MAX=32", "-DHA_EVENTS_MAX=32",
         "-DHA_ARCHIVE_SIZE=4096u"]
WIRE = ("codec", "command", "message", "parts", "settings", "snapshot")
SEAT = ("code", "frame", "fsm", "guard", "guard_check", "guard_disk", "guard_net", "members",
        "propose", "read", "seat", "set")
IO = ("simclock", "simguard", "simheap", "simio", "simstore")
CC = ["cc", "-std=gnu11", "-O2", "-w", "-D_GNU_SOURCE", '-DHA_VERSION="0"', "-iquote", "."]
DEADLINE_S = 3000

# Name, then (file in lib/core or its path, what is there once, what stands there instead) one or more times.
CORE = (
    # The lease, at its holder
    ("lease-of-one-promise",
     ("agent_lease.c", "count < set_size / 2 + 1 ? 0 : ends[set_size / 2]", "count < 1 ? 0 : ends[0]")),
    ("lease-from-receipt",
     ("agent_lease.c", "uint64_t until_ms = promise->stamp + promise->length_ms;",
      "uint64_t until_ms = now_ms + promise->length_ms;")),
    ("lease-longer-than-promised",
     ("agent_lease.c", "held->lease_until_ms = end_ms;\n    if (end_ms > now_ms) {",
      "if (end_ms != 0)\n        end_ms += 3000;\n    held->lease_until_ms = end_ms;\n"
      "    if (end_ms > now_ms) {")),
    ("gate-stays-open",
     ("agent_lease.c", "    ha_held_persist(held, out);\n    ha_held_close_gate(held, out);\n"
      "    ha_held_release_vip(held, out);\n", "    ha_held_persist(held, out);\n    held->gate_closed = true;\n")),
    ("address-stays",
     ("agent_lease.c", "    ha_held_persist(held, out);\n    ha_held_close_gate(held, out);\n"
      "    ha_held_release_vip(held, out);\n", "    ha_held_persist(held, out);\n    ha_held_close_gate(held, out);\n")),
    # Of the model: in agents/host/gate_nft.c the kernel holds this.
    ("ticket-not-enforced",
     ("tests/sim/gate.c", "opens ? now_ms + TICKET_MS : gate->until_ms;",
      "opens ? UINT64_MAX : gate->until_ms;")),
    # Promises
    ("promise-without-end",
     ("promise.c", "until_ms = now_ms + length_ms + ha_drift_ms(length_ms);", "until_ms = now_ms;")),
    ("promise-outlives-drift", ("cluster.c", "return length_ms / 128 + 5;", "return 0;")),
    ("promise-forgotten-at-a-restart",
     ("watcher.c", "if (options->promise_max_ms > 0)",
      "if (options->promise_max_ms > UINT32_MAX - 1)")),
    ("promise-not-durable-first", ("promise.c", "        length_ms = w->promise_durable_ms;\n", "")),
    ("promise-names-no-remainder",
     ("promise.c", "return until_ms > now_ms ? (uint32_t)(until_ms - now_ms) : 0;",
      "return until_ms > now_ms ? 0 : 0;")),
    ("promise-over-another",
     ("promise.c", "    return watched->promise_epoch == service->prev_epoch && "
      "service->prev_fence == HA_FENCE_REPORT;", "    return true;")),
    ("promise-right-after-a-start",
     ("promise.c", "    if (now_ms < w->blind_until_ms)\n        return false;\n", "")),
    # Without the epoch alone nothing happens: the member and the instance must fit as well.
    ("promise-to-anyone",
     ("cluster.c", "service->epoch == epoch && service->primary == member && service->instance == instance &&",
      "epoch <= service->epoch && member != HA_MEMBER_NONE &&")),
    # A claimed epoch belongs to nobody: while one is fenced nothing fits, whatever the state.
    ("promise-while-fencing",
     ("cluster.c", "service->used && ha_state_is_open(service->state) && epoch != HA_EPOCH_NONE &&\n"
      "           service->epoch == epoch && service->primary == member && service->instance == instance &&",
      "service->used && service->fence == HA_FENCE_NONE && epoch == service->open_epoch &&\n"
      "           service->open_member == member && service->open_instance == instance &&"),
     ("promise.c", ".epoch = service->epoch,\n        .instance = claim->instance",
      ".epoch = status->epoch,\n        .instance = claim->instance")),
    # What is said again in a word
    ("repeat-earns-no-promise",
     ("watcher.c", "    claim.status = &watch->status;\n    ha_promise_answer(w, service, &claim, now_ms, out);\n",
      "    claim.status = &watch->status;\n")),
    ("repeat-is-not-heard",
     ("watcher.c", "    ha_watch_repeated(watch, &service->config, now_ms);\n", "")),
    # Fences
    ("majority-miscounted",
     ("cluster.c", "return cluster->watcher_count / 2 + 1;", "return cluster->watcher_count / 2;")),
    ("one-stop-is-enough",
     ("cluster_set.c", "return count_bits(mask & all) >= ha_cluster_majority(cluster) &&",
      "return count_bits(mask & all) >= 1 &&")),
    ("fence-waits-for-nothing",
     ("decide.c", "    if (now_ms < at_ms + ha_service_gate_slack_ms(service))\n        return false;\n", "")),
    ("fence-skipped-on-a-change-of-leader",
     ("watcher.c", "        memset(watched->stopped, 0, sizeof(watched->stopped));\n"
      "        memset(&watched->fence,",
      "        for (uint32_t k = 0; k < HA_WATCHERS_MAX; k++) {\n"
      "            watched->stopped[k].epoch = w->cluster.services[i].epoch;\n"
      "            watched->stopped[k].until_ms = now_ms;\n        }\n        memset(&watched->fence,")),
    ("fence-of-a-late-gate",
     ("cluster.c", "    return service->open_lease_ms + ha_drift_ms(service->open_lease_ms);",
      "    return 0;")),
    ("fence-without-a-gate",
     ("cluster.c", "service->open_gate == HA_GATE_BOTH || service->config.accept_process_fence;",
      "service->open_gate == HA_GATE_BOTH || true;")),
    ("fence-by-a-failed-command",
     ("fence.c", "if (!run->running && run->code == HA_OK)", "if (!run->running)")),
    ("fence-by-anybodys-report", ("decide.c", "watch->instance != instance || ", "")),
    ("fence-forgets-the-old-set",
     ("cluster_set.c", "return count_bits(mask & cluster->old_seats) >= cluster->old_majority;",
      "return true;")),
    ("promote-unfenced",
     ("cluster_failover.c", "    move_to(service, HA_MOVE_BEGIN);\n"
      "    ha_cluster_notify(cluster, service, HA_NOTICE_FAILOVER_BEGIN, c->text);\n    return HA_OK;",
      "    move_to(service, HA_MOVE_BEGIN);\n    service->fence = HA_FENCE_EXPIRED;\n"
      "    service->state = HA_STATE_SELECTING;\n    return HA_OK;")),
    # Epochs
    ("stale-epoch-accepted",
     ("cluster_failover.c", "    if (c->ref.epoch != service->epoch)\n"
      "        return stale_epoch(service, c->ref.epoch, err);\n    switch (c->how) {",
      "    switch (c->how) {")),
    ("one-epoch-for-two",
     ("cluster_failover.c", "service->failed_members |= 1u << service->primary;\n    claim_next(service);",
      "service->failed_members |= 1u << service->primary;")),
    ("epochs-begin-anew",
     ("cluster_failover.c", "service->epoch = cluster->epoch_floor + 1;", "service->epoch = 1;")),
    # Candidates
    ("candidate-behind",
     ("candidate.c", "if (!rules->first && most - fits[i].offset > rules->slack_bytes) {", "if (false) {"),
     ("candidate.c", "return fit_a->offset > fit_b->offset;", "return fit_a->offset < fit_b->offset;")),
    ("candidate-over-the-budget",
     ("candidate.c", "return fit->behind > rules->loss_budget_bytes ? HA_FIT_BEHIND : HA_FIT_OK;",
      "return HA_FIT_OK;")),
    ("candidate-of-another-history",
     ("candidate.c", "    case HA_KIN_STRANGE:\n        return HA_FIT_STRAY;",
      "    case HA_KIN_STRANGE:\n        return HA_FIT_OK;")),
    ("candidate-with-a-disk-of-before",
     ("candidate.c", " && fit->behind == 0 &&\n"
      "            have->lineage.steps[0].id == rules->known->lineage.steps[0].id &&\n"
      "            offset >= rules->proof.seen)", " && fit->behind == 0)")),
    # The leader does not propose one, apply takes none, nor does the end of an epoch.
    ("old-position-wins",
     ("position.c", "    if (position->offset < service->position.offset)\n        return;\n", ""),
     ("cluster.c", "if (item->position.lineage.count > 0 && item->position.offset >= service->position.offset)",
      "if (item->position.lineage.count > 0)"),
     ("cluster_failover.c", "if (position->lineage.count == 0 || position->offset < known->offset)",
      "if (position->lineage.count == 0)")),
    # Seals
    ("seal-not-noted",
     ("agent_order.c", "    held->seal_done = false;\n    ha_held_persist(held, out);\n    act(a,",
      "    held->seal_done = false;\n    held->sealed_durable = order->epoch;\n"
      "    held->epoch_seen_durable = order->epoch;\n    act(a,")),
    ("follows-an-older-epoch",
     ("agent_order.c", "    if (order->epoch < held->epoch_seen ||\n"
      "        (held->epoch != HA_EPOCH_NONE && held->epoch >= order->epoch))",
      "    if (held->epoch != HA_EPOCH_NONE && held->epoch >= order->epoch)")),
    ("names-for-another-run",
     ("agent_order.c", ".run_id = order->kind == HA_ORDER_SERVE ? held->verified_run : 0,",
      ".run_id = 0,")),
    ("proof-of-one-too-few",
     ("proof.c", "set->members) - set->need + 1;", "set->members) - set->need;"),
     ("cluster_sync.c", "count_bits(set->members) - set->need + 1;", "count_bits(set->members) - set->need;")),
    ("sets-begin-empty-for-the-same-primary",
     ("cluster_sync.c", "    if (managed && service->open_epoch != HA_EPOCH_NONE &&\n"
      "        service->open_member == service->primary) {", "    if (false) {")),
    # A lease that agents keep
    ("hold-of-one-agent",
     ("agent_hold.c", "    uint64_t end_ms = UINT64_MAX;\n", "    uint64_t end_ms = 0;\n"),
     ("agent_hold.c", "held->hold.given_ms[id] < end_ms)", "held->hold.given_ms[id] > end_ms)")),
    ("hold-fenced-without-an-end",
     ("cluster_hold.c", "        if (members == 0 || (members & released) != 0)\n", "        if (true)\n")),
    ("hold-promise-not-durable",
     ("hold.c", "    if (before_ms > awake_ms && before_ms - awake_ms > left_ms)", "    if (false)"),
     ("agent_hold.c", "return order->hold_ms != 0 && before_ms > until_ms ? before_ms : until_ms;",
      "return until_ms;")),
    ("hold-rests-on-a-longer-promise",
     ("agent_hold.c", " || before->lease_ms > order->hold.lease_ms ||\n", " ||\n")),
    ("hold-remainder-not-told",
     ("agent_hold.c", "(uint32_t)left_of(held->hold.until_ms, now_ms)", "0"),
     ("agent_hold.c", "return order->hold_ms != 0 && before_ms > until_ms ? before_ms : until_ms;",
      "return 0;")),
    ("hold-after-the-end", ("agent_hold.c", "ask->epoch < held->epoch_seen ||\n", "\n")),
    # The log, and what is told
    ("apply-reads-local-state",
     ("watcher.c", "int rv = ha_cluster_apply(",
      "w->cluster.wall_ms += w->leader ? 1 : 0;\n    int rv = ha_cluster_apply(")),
    ("notice-lost",
     ("cluster.c", "    if (owed == 0)\n        return;\n",
      "    if (owed == 0 || kind == HA_NOTICE_FENCED)\n        return;\n")),
    ("refused-and-proposed-again",
     ("watcher.c", "ha_decide_logged(ha_watched_of(w, service, now_ms), rv != HA_OK, now_ms);",
      "ha_decide_logged(ha_watched_of(w, service, now_ms), false, now_ms);"),
     ("decide.c", "    if (service->paused || !service->config.automatic ||",
      "    if (!service->config.automatic ||")),
    ("standby-enters-again-and-again",
     ("standby.c", "if (!is_logged(&service->members[i].sync, &entries[id]))", "if (true)")),
    # The end of it
    ("never-done",
     ("decide.c", "        if (service->state == HA_STATE_REPOINTING)\n",
      "        if (service->state == HA_STATE_PROMOTING)\n")),
    ("replica-counts-as-primary",
     ("detect.c", "bool serves = !suspect->lease_ran_out &&", "bool serves = !suspect->lease_ran_out || true ||")),
)

# What no run meets, a unit test holds: name, the test, and what is broken. In the runs no machine is
# given the number of another one.
UNIT = (
    ("last-number-for-another-agent", "test_seal.c",
     "test_a_new_member_is_not_the_last_primary",
     ("cluster_config.c", "        strcmp(service->config.members[at].agent, after->agent) != 0)\n"
      "        return HA_MEMBER_NONE;\n",
      "        strcmp(service->config.members[at].agent, after->agent) != 0)\n"
      "        return id;\n")),
    ("last-number-for-a-new-member", "test_seal.c",
     "test_a_new_member_is_not_the_last_primary",
     ("cluster_config.c", "return ha_cluster_hold_members(service) | last;",
      "return ha_cluster_hold_members(service);")),
    ("numbers-not-counted", "test_config.c", "test_the_id_of_the_last_primary_is_not_given",
     ("cluster_config.c", "        rv = check_ids(old, config, err);", "        rv = HA_OK;")),
)

# Rules that no run shows when they are broken: the test that holds each, and why.
HELD = (
    ("guard-G7", "tests/raft/test_guard.c", "test_g7_one_vote_per_term",
     "it checks what libraft asks of the disk, which was right in all runs"),
    ("promise-by-whoever-is-new", "tests/unit/core/test_set.c",
     "test_whoever_is_new_promises_nothing_until_the_old_set_is_over",
     "two leases by it take a primary that only the replaced watcher and one that does not know of "
     "it hear, for as long as a failover by seals takes; not in 9,000 seeds"),
)

# Rows that only runs of a kind can show pass over the other seeds.
ONLY = {
    "fence-forgets-the-old-set": ("changes",),
    "fence-by-a-failed-command": ("fence",),
    "candidate-over-the-budget": ("budget",),
    "old-position-wins": ("budget",),
    "candidate-with-a-disk-of-before": ("sync",),
    "seal-not-noted": ("strict",),
    "follows-an-older-epoch": ("strict",),
    "names-for-another-run": ("strict",),
    "proof-of-one-too-few": ("sync",),
    "sets-begin-empty-for-the-same-primary": ("again",),
    "standby-enters-again-and-again": ("sync",),
    "hold-of-one-agent": ("hold",),
    "hold-fenced-without-an-end": ("hold",),
    "hold-promise-not-durable": ("hold",),
    "hold-rests-on-a-longer-promise": ("hold", "changes"),
    "hold-remainder-not-told": ("hold",),
    "hold-after-the-end": ("hold",),
}

# Name, what is switched off in the guard, and what the simulator of the log is told.
GUARD = (
    ("guard-G1", "G1", ("--profile", "chaos")),
    ("guard-G2", "G2", ("--profile", "chaos")),
    ("guard-G4", "G4", ("--profile", "chaos")),
    ("guard-G5", "G5", ("--profile", "disk")),
    ("guard-G6", "G6", ("--profile", "slow")),
    ("guard-TimeoutNow", "timeoutnow", ("--profile", "transfer")),
    ("guard-G10", "G10", ("--profile", "chaos")),
)

# The same switched off under whole clusters; G10 takes logs that are cut more often than theirs.
CLUSTER = ("G1", "G2", "G4", "G5", "G6")


def run(args, directory, timeout=600):
    return subprocess.run(args, cwd=directory, capture_output=True, text=True, timeout=timeout,
                          check=False)


def object_of(directory, source):
    return directory / (str(source).replace("/", "_") + ".o")


def compile_all(directory, sources, flags):
    """Objects of @sources, made where they are older than what they are made of."""
    objects = []
    for source in sources:
        target = object_of(directory, source)
        objects.append(target.name)
        path = directory / source
        if target.exists() and target.stat().st_mtime_ns > path.stat().st_mtime_ns:
            continue
        done = run([*CC, *flags, "-c", "-o", target.name, str(source)], directory)
        if done.returncode != 0:
            raise RuntimeError(f"does not build: {done.stderr.strip()[-300:]}")
    return objects


def link(directory, objects, name, libraries=()):
    done = run(["cc", "-o", name, *objects, *libraries], directory)
    if done.returncode != 0:
        raise RuntimeError(f"does not link: {done.stderr.strip()[-300:]}")


def sources_in(directory, *patterns):
    return [path.relative_to(directory) for pattern in patterns
            for path in sorted(directory.glob(pattern))]


def build_core(directory, name="sim"):
    sources = [*sources_in(directory, "lib/core/*.c", "lib/base/*.c", "tests/sim/*.c"),
               *(pathlib.Path(f"lib/wire/{name}.c") for name in WIRE),
               pathlib.Path("cmd/common/said.c"),
               *(pathlib.Path(f"raft/{name}.c") for name in SEAT),
               *(pathlib.Path(f"tests/raft/{name}.c") for name in IO)]
    link(directory, compile_all(directory, sources, SMALL), name, ["-lraft"])


def build_log(directory):
    sources = [*(pathlib.Path(f"raft/{name}.c") for name in SEAT),
               *sources_in(directory, "lib/base/*.c", "tests/raft/sim*.c")]
    link(directory, compile_all(directory, sources, ["-DNDEBUG=0"]), "sim_raft", ["-lraft"])


def build_unit(directory, test):
    sources = [*sources_in(directory, "lib/core/*.c", "lib/base/*.c", "tests/unit/core/kit_*.c"),
               pathlib.Path("tests/unit/core/play.c"), pathlib.Path("tests/unit/core") / test]
    link(directory, compile_all(directory, sources, []), "unit", ["-lcmocka"])


def break_rules(directory, edits, before):
    """Break @edits in @directory; @before gets what was there, text and object, by path."""
    for name, old, new in edits:
        path = directory / (name if "/" in name else f"lib/core/{name}")
        text = path.read_text(encoding="utf-8")
        built = object_of(directory, path.relative_to(directory))
        before.setdefault(path, (text, built, built.read_bytes()))
        if text.count(old) != 1:
            raise RuntimeError(f"{name} has {text.count(old)} of the text to change: {old[:60]}")
        path.write_text(text.replace(old, new), encoding="utf-8")


def mend_rules(before):
    for path, (text, built, compiled) in before.items():
        path.write_text(text, encoding="utf-8")
        built.write_bytes(compiled)  # now newer than what it is made of


def hunt_core(directory, edits, seeds, told=()):
    """What the simulator found, None if nothing."""
    before = {}
    try:
        break_rules(directory, edits, before)
        build_core(directory)
        done = run(["./sim", *told, "--seeds", str(seeds)], directory, DEADLINE_S)
    finally:
        mend_rules(before)
    if done.returncode == 0:
        return None
    found = re.search(r"^(seed (\d+): (?:SAFETY|LIVENESS|CRASH).*)$", done.stdout, re.M)
    if not found:
        raise RuntimeError(f"exit {done.returncode}: {done.stdout[-200:]}")
    if edits and run(["./sim-whole", "--seed", found[2]], directory, DEADLINE_S).returncode != 0:
        raise RuntimeError(f"fails without it too: {found[1]}")
    return f"exit {done.returncode}: {found[1]}"


def hunt_unit(directory, source, test, edits):
    """How the test failed, None if it did not."""
    before = {}
    build_unit(directory, source)
    if run(["./unit", test], directory).returncode != 0:
        raise RuntimeError(f"fails without it too: {test}")
    try:
        break_rules(directory, edits, before)
        build_unit(directory, source)
        done = run(["./unit", test], directory)
    finally:
        mend_rules(before)
    return None if done.returncode == 0 else f"exit {done.returncode}: {test} in unit/core/{source}"


def hunt_log(directory, off, told, seeds):
    args = ["./sim_raft", *told, "--seeds", f"1..{seeds}", "--max-bad", "1"]
    done = run([*args, *(("--guard-off", off) if off else ())], directory, DEADLINE_S)
    if done.returncode == 0:
        return None
    found = re.search(r"^# (seed \d+ (?:BAD|CRASHED).*)$", done.stdout, re.M)
    return f"exit {done.returncode}: {found[1] if found else done.stdout[-200:]}"


def rows_of(directory, seeds):
    """Name, whether something must be found, and how to look."""
    yield "core as it is", False, lambda: hunt_core(directory, (), 200)
    for name, *edits in CORE:
        told = [word for kind in ONLY.get(name, ()) for word in ("--only", kind)]
        yield name, True, lambda edits=edits, told=told: hunt_core(directory, edits, seeds, told)
    for name, source, test, *edits in UNIT:
        yield name, True, lambda source=source, test=test, edits=edits: hunt_unit(
            directory / "unit", source, test, edits)
    yield "cluster over libraft as it is", False, lambda: hunt_core(directory, (), 200, ("--raft",))
    for off in CLUSTER:
        told = ("--raft", "--guard-off", off)
        yield f"cluster-without-{off}", True, lambda told=told: hunt_core(directory, (), seeds, told)
    yield "guard as it is", False, lambda: hunt_log(directory, "", ("--profile", "chaos"), 40)
    for name, off, told in GUARD:
        yield name, True, lambda off=off, told=told: hunt_log(directory, off, told, seeds)


def tell_table(rows):
    """What was found of what was broken, for people."""
    print(f"# {'broken':40} {'seed':>6}  {'in s':>5}  found")
    for name, found, took_s in rows:
        seed = re.search(r"seed (\d+)", found or "")
        what = re.sub(r"^.*?seed \d+:? ", "", found or "not found").split("\n")[0]
        print(f"# {name:40} {seed[1] if seed else '-':>6}  {took_s:5.0f}  {what[:110]}")
    for name, _, test, why in HELD:
        print(f"# {name:40}      -      -  held by {test}: {why}")


def is_held(path, test):
    """Whether the test is there, and is run."""
    return f"cmocka_unit_test({test})" in (ROOT / path).read_text(encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seeds", type=int, default=20000)
    args = parser.parse_args()
    bad, table = 0, []
    with tempfile.TemporaryDirectory(prefix="hafo-mutate-") as name:
        directory = pathlib.Path(name)
        rows = [row for row in rows_of(directory, args.seeds) if args.case is None or row[0] in args.case]
        if args.list:
            print("\n".join(row[0] for row in rows))
            return 0
        for room in ("lib", "raft", "tests/sim", "tests/raft", "cmd/common"):
            shutil.copytree(ROOT / room, directory / room)
        for room in ("lib", "tests/unit/core", "tests/support"):
            shutil.copytree(ROOT / room, directory / "unit" / room)
        build_core(directory, "sim-whole")
        print(f"1..{len(rows)}")
        if any(row[0].startswith("guard") for row in rows):
            build_log(directory)
        for number, (row, is_bug, look) in enumerate(rows, 1):
            began = time.monotonic()
            try:
                found = look()
                good = (found is not None) == is_bug
            except (RuntimeError, subprocess.SubprocessError) as error:
                found, good = str(error), False
            bad += not good
            print(f"{'ok' if good else 'not ok'} {number} - {row}")
            print("# " + (found or "nothing found").replace("\n", "\n# "), flush=True)
            if is_bug:
                table.append((row, found if good else None, time.monotonic() - began))
    tell_table(table)
    found = sum(found is not None for _, found, _ in table)
    print(f"# {len(table)} rules broken, {found} found", flush=True)
    missing = [test for _, path, test, _ in HELD if not is_held(path, test)]
    if missing:
        print(f"# no such test: {', '.join(missing)}", flush=True)
    return 1 if bad or missing or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
