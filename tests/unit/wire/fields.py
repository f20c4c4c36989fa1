"""tests/unit/wire/fields.py - every field of what is encoded is named by its walk and its generator.

A field that someone adds to lib/core and forgets here would be lost by a restart or on the wire,
and no round trip could tell. Structs without a row below must be listed as not encoded."""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tidy"))
import tap  # noqa: E402

HEADERS = ["types", "config", "command", "cluster", "message"]
PARTS, COMMAND = "lib/wire/parts.c", "lib/wire/command.c"
SNAPSHOT, MESSAGE = "lib/wire/snapshot.c", "lib/wire/message.c"

# struct: (file, functions that walk it), fields that are not its walk's business
WALKS = {
    "ha_lineage": (PARTS, ["walk_lineage"], []),
    "ha_lineage_step": (PARTS, ["walk_lineage"], []),
    "ha_position": (PARTS, ["ha_walk_position"], []),
    "ha_diverged": (PARTS, ["ha_walk_diverged"], []),
    "ha_sample": (PARTS, ["ha_walk_sample"], []),
    "ha_sync_set": (PARTS, ["ha_walk_sync_set"], []),
    "ha_sync_entry": (PARTS, ["ha_walk_sync_entry"], []),
    "ha_hold_set": (PARTS, ["ha_walk_hold_set"], []),
    "ha_fit": (PARTS, ["ha_walk_fit"], []),
    "ha_member_config": (PARTS, ["walk_member_config"], []),
    "ha_service_config": (PARTS, ["ha_walk_service_config"], []),
    "ha_webhook_config": (PARTS, ["ha_walk_webhook_config"], []),
    "ha_ref": (COMMAND, ["walk_ref"], []),
    "ha_command_watchers": (COMMAND, ["walk_watchers"], []),
    "ha_command_replace": (COMMAND, ["walk_replace"], []),
    "ha_command_settled": (COMMAND, ["walk_settled"], []),
    "ha_config": (COMMAND, ["walk_config"], []),
    "ha_command_config": (COMMAND, ["walk_config"], ["config"]),  # a parameter of the walk
    "ha_observation": (COMMAND, ["walk_observe"], []),
    "ha_command_observe": (COMMAND, ["walk_observe"], []),
    "ha_command_give_up": (COMMAND, ["walk_give_up"], []),
    "ha_command_begin": (COMMAND, ["walk_begin"], []),
    "ha_command_fenced": (COMMAND, ["walk_fenced"], []),
    "ha_command_promote": (COMMAND, ["walk_promote"], []),
    "ha_command_outcome": (COMMAND, ["walk_outcome"], []),
    "ha_command_position": (COMMAND, ["walk_positions"], []),
    "ha_command_positions": (COMMAND, ["walk_positions"], []),
    "ha_command_gate": (COMMAND, ["walk_gate"], []),
    "ha_command_pause": (COMMAND, ["walk_pause"], []),
    "ha_command_notice": (COMMAND, ["walk_notice"], []),
    "ha_command_ready": (COMMAND, ["walk_ready"], []),
    "ha_command_unheard": (COMMAND, ["walk_unheard"], []),
    "ha_command_sync": (COMMAND, ["walk_sync"], []),
    "ha_command_hold": (COMMAND, ["walk_hold"], []),
    "ha_command_diverged": (COMMAND, ["walk_diverged"], []),
    "ha_command": (COMMAND, ["walk", "walk_body", "walk_data"], []),
    "ha_member_state": (SNAPSHOT, ["walk_member_state"], []),
    "ha_sync": (SNAPSHOT, ["walk_sync"], []),
    "ha_hold": (SNAPSHOT, ["walk_hold"], []),
    "ha_stages": (SNAPSHOT, ["walk_stages"], []),
    "ha_decision": (SNAPSHOT, ["walk_decision", "walk_decisions"], []),
    "ha_service": (SNAPSHOT, ["walk_service", "walk_members", "walk_epochs", "walk_failover",
                              "next_slot"], []),
    "ha_notice": (SNAPSHOT, ["walk_notice"], []),
    "ha_archived": (SNAPSHOT, ["walk_archive"], []),
    "ha_cluster": (SNAPSHOT, ["walk", "walk_webhooks", "walk_services", "walk_decisions",
                              "walk_notices", "walk_events", "walk_archive"], []),
    "ha_status": (MESSAGE, ["walk_status", "walk_hold"], []),
    "ha_hold_ask": (MESSAGE, ["walk_hold_ask"], []),
    "ha_hold_word": (MESSAGE, ["walk_hold_word"], []),
    "ha_promise": (MESSAGE, ["walk_promise"], []),
    "ha_order": (MESSAGE, ["walk_order"], []),
    "ha_settings": (MESSAGE, ["walk_settings"], []),
    "ha_stopped": (MESSAGE, ["walk_stopped"], []),
    "ha_heartbeat": (MESSAGE, ["ha_batch_next_heartbeat"], []),
}
NOT_ENCODED = {"ha_config_fault", "ha_err"}
# What the generator fills in by other means than its name.
NOT_GENERATED = {("ha_command", "kind"), ("ha_heartbeat", None)}


def block(text, at):
    """The text between the brace at or after @at and its partner."""
    at = text.index("{", at)
    depth = 0
    for end in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[at + 1:end]
    raise ValueError("no partner of a brace")


def structs():
    found = {}
    for header in HEADERS:
        text = tap.code_of(f"lib/core/{header}.h")
        for match in re.finditer(r"^struct (\w+) \{", text, re.M):
            found[match[1]] = block(text, match.start())
    return found


def fields(body):
    """Names of all members; those of nested anonymous structs and unions too."""
    body = re.sub(r"\b(struct|union|enum)(\s+\w+)?\s*\{", "", body).replace("}", "")
    names = []
    for declaration in body.split(";"):
        declaration = re.sub(r"\[[^\]]*\]", "", declaration).strip()
        for part in declaration.split(","):
            match = re.search(r"(\w+)\s*$", part)
            if match:
                names.append(match[1])
    return names


def functions(path, names):
    text = tap.code_of(path)
    out = ""
    for name in names:
        match = re.search(rf"^[\w *]*\b{name}\([^;{{]*\)\n\{{", text, re.M)
        if match is None:
            raise ValueError(f"{path} has no function {name}")
        out += block(text, match.start())
    return out


def names_field(text, name):
    return re.search(rf"(->|\.){name}\b", text) is not None


def check_struct(name, body, generator):
    path, walks, elsewhere = WALKS[name]
    text = functions(path, walks)
    for field in fields(body):
        if field not in elsewhere and not names_field(text, field):
            yield f"struct {name}: {path} does not walk {field}"
        if {(name, field), (name, None)} & NOT_GENERATED:
            continue
        if not names_field(generator, field) and f".{field} =" not in generator:
            yield f"struct {name}: generate.c does not fill in {field}"


def main():
    checks = tap.Tap()
    found = structs()
    generator = tap.code_of("tests/unit/wire/generate.c")
    checks.case("every struct is encoded or known not to be",
                [f"struct {name} has no row" for name in found
                 if name not in WALKS and name not in NOT_ENCODED]
                + [f"struct {name} is gone" for name in WALKS if name not in found])
    for name in sorted(set(WALKS) & set(found)):
        checks.case(f"every field of {name}", check_struct(name, found[name], generator))
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
