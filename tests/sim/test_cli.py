#!/usr/bin/env python3
"""The simulator as a program: what it says, the same twice, and how it ends."""
import re
import subprocess
import sys

SIM = sys.argv[1]
CASES = []


def case(function):
    CASES.append(function)
    return function


def sim(*args):
    done = subprocess.run([SIM, *args], capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


def expect(what, is_true):
    if not is_true:
        raise AssertionError(what)


@case
def the_same_seed_twice_is_the_same_run():
    first, second = sim("--seed", "7"), sim("--seed", "7")
    expect("exit 0", first[0] == 0)
    expect("a digest", re.search(r"digest [0-9a-f]{16}\b", first[1]))
    expect("nothing differs", first == second)
    expect("another seed differs", sim("--seed", "8")[1] != first[1])


@case
def a_story_begins_with_its_profile_and_can_be_read():
    story = sim("--seed", "7")[1].splitlines()
    expect("what may go wrong, and how often", re.search(r"^seed 7: .*ppm.*fault each \d+ ms", story[0]))
    expect("a fault", any(" fault: " in line for line in story))
    expect("times in front", all(re.match(r" *\d+\.\d{3} {2,4}\S", line) for line in story
                                 if not line.startswith("seed ")))


@case
def exploring_begins_with_the_probabilities():
    code, out, _ = sim("--seeds", "2", "--first", "7", "--seconds", "10")
    expect("exit 0", code == 0)
    expect("probabilities first", out.startswith("each run: "))
    expect("both seeds are good", re.search(r"^2 seeds good, ", out, re.M))


@case
def each_kind_of_bug_has_its_exit():
    for kind, code, word in (("crash", 1, "CRASH"), ("safety", 2, "SAFETY"),
                             ("liveness", 3, "LIVENESS")):
        got, out, _ = sim("--seeds", "40", "--plant", kind)
        expect(f"{kind} exits with {code}, not {got}", got == code)
        found = re.search(rf"^seed (\d+): {word}", out, re.M)
        expect(f"{kind} names its seed", found)
        prefix = re.search(r"^the shortest prefix that fails: --seed (\d+) --faults (\d+)$", out, re.M)
        expect(f"{kind} has a prefix", prefix and prefix[1] == found[1])
        expect("planted with the third fault", int(prefix[2]) >= 3)
        again = sim("--seed", prefix[1], "--faults", prefix[2], "--plant", kind)
        expect(f"the prefix of {kind} fails by itself", again[0] == code)
        shorter = sim("--seed", prefix[1], "--faults", str(int(prefix[2]) - 1), "--plant", kind)
        expect(f"one fault less of {kind} does not", shorter[0] != code)
        expect("the time of it", word == "CRASH" or re.search(rf"seed {found[1]}: {word} at [\d.]+ s, event \d+", out))


@case
def only_runs_of_a_kind():
    def good(*kinds):
        told = [word for kind in kinds for word in ("--only", kind)]
        code, out, _ = sim("--seeds", "12", "--seconds", "10", *told)
        expect("exit 0", code == 0)
        return int(re.search(r"^(\d+) seeds good, ", out, re.M)[1])

    expect("of each third", good("hold") == 4)
    expect("of either engine", good("redis") + good("sync") == 12)
    expect("both at once", good("hold", "redis") + good("hold", "sync") == 4)


@case
def libraft_for_a_log_is_as_repeatable():
    first, second = sim("--raft", "--seed", "7"), sim("--raft", "--seed", "7")
    expect("exit 0", first[0] == 0)
    expect("a digest", re.search(r"digest [0-9a-f]{16}\b", first[1]))
    expect("nothing differs", first == second)
    expect("the model is another run", sim("--seed", "7")[1] != first[1])


@case
def a_rule_of_the_guard_that_is_off_is_found_in_whole_clusters():
    # libraft's own ways after a storage error: it crashes, commits two entries, or stands still.
    for off, seeds, ends in (("G1", "5", (2,)), ("G5", "60", (1, 2, 3))):
        got, out, _ = sim("--raft", "--guard-off", off, "--seeds", seeds)
        expect(f"{off}: exit {ends}, not {got}", got in ends)
        prefix = re.search(r"^the shortest prefix that fails: --raft (.*)$", out, re.M)
        expect(f"{off} has a prefix", prefix)
        again = sim("--raft", "--guard-off", off, *prefix[1].split())
        expect(f"the prefix of {off} fails by itself", again[0] == got)
        expect(f"and not with {off} on", sim("--raft", *prefix[1].split())[0] == 0)


@case
def a_command_that_ends_a_host_ends_its_clone_too():
    code, out, _ = sim("--seed", "40009452")  # there the clone is the primary
    expect(f"exit 0, not {code}: {out[-300:]}", code == 0)


@case
def a_watcher_that_joins_again_waits_for_what_it_forgot():
    code, out, _ = sim("--raft", "--seed", "70011406")  # its set has settled without it by then
    expect(f"exit 0, not {code}: {out[-300:]}", code == 0)


@case
def a_restored_host_stays_off_while_what_it_sealed_holds_its_lease():
    code, out, _ = sim("--seed", "210018836")  # of 20 s, and a database is started under it
    expect(f"exit 0, not {code}: {out[-300:]}", code == 0)


@case
def an_agent_that_wakes_up_serves_no_other_run():
    code, out, _ = sim("--seed", "210018775")  # emptied meanwhile, and its gate lets all out
    expect(f"exit 0, not {code}: {out[-300:]}", code == 0)


@case
def a_shorter_lease_rests_on_no_longer_promise():
    code, out, _ = sim("--seed", "3528")  # whose agent started anew, and counts as free sooner
    expect(f"exit 0, not {code}: {out[-300:]}", code == 0)


@case
def a_promotion_is_for_the_run_that_was_sealed():
    code, out, _ = sim("--seed", "601000886")  # sealed and chosen, its agent ends, its data is gone
    expect(f"exit 0, not {code}: {out[-300:]}", code == 0)


@case
def the_same_primary_again_keeps_its_sets():
    code, out, _ = sim("--seed", "1155005121")  # it acknowledged by its old names until it served
    expect(f"exit 0, not {code}: {out[-300:]}", code == 0)


@case
def a_service_that_is_gone_opens_no_gate():
    code, out, _ = sim("--seed", "751005233")  # its last answer came while the next one promoted
    expect(f"exit 0, not {code}: {out[-300:]}", code == 0)


@case
def what_is_no_option_is_refused():
    for args in (("--seed",), ("--seed", "x"), ("--seeds", "-1"), ("--what", "1"), ("7",),
                 ("--seed", "1", "--seeds", "2"), ("--minutes", "1", "--seeds", "2"),
                 ("--plant", "flowers"), ("--only", "flowers"), ("--raft", "--guard-off", "G0"), ("--guard-off", "G1")):
        code, out, err = sim(*args)
        expect(f"{args}: 64, not {code}", code == 64)
        expect("usage on stderr only", out == "" and err.startswith("usage: sim "))


def main():
    bad = 0
    print(f"1..{len(CASES)}")
    for number, function in enumerate(CASES, 1):
        name = function.__name__.replace("_", " ")
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except (AssertionError, StopIteration, subprocess.SubprocessError) as error:
            bad += 1
            print(f"not ok {number} - {name}\n# {error}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
