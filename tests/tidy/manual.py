#!/usr/bin/env python3
"""tests/tidy/manual.py - the manual pages, completion and package say what the code says."""
import os
import re
import shutil
import subprocess
import sys

from tap import ROOT, Tap

PAGES = ROOT / "deploy/manual"
CTL = "cmd/hafailoverctl"
UNITS = {"ms": 1, "s": 1000, "min": 60000, "h": 3600000, "d": 86400000,
         "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
# Every program of argp has these.
GIVEN = {"help", "usage"}


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def page(name):
    return (PAGES / name).read_text(encoding="utf-8")


def sections(source):
    """Of a page about a file: {section: {key: its text}}, the first word of each .Ss and .It."""
    found, section, key = {}, {}, None
    for line in source.splitlines():
        if line.startswith((".Ss ", ".Sh ")):
            word = re.search(r"\[(\w+)", line)
            section, key = found.setdefault(word[1] if word else "", {}), None
        elif line.startswith(".It Cm "):
            key = line.split()[2]
            section[key] = ""
        elif key is not None:
            section[key] += line + "\n"
    return found


def initializers(source):
    """The designated values of a struct of defaults: {field: C expression}."""
    return dict(re.findall(r"^\s+\.(\w+) = (.+?),$", source, re.M))


def number(word):
    """A duration or size as the code counts it; anything else as it is."""
    match = re.fullmatch(r"(\d+)([A-Za-z]+)", word)
    return str(int(match[1]) * UNITS[match[2]]) if match and match[2] in UNITS else word


def value(expression):
    """A C expression of a default in the words of the page."""
    shift = re.fullmatch(r"(\d+)u << (\d+)", expression)
    if shift:
        return str(int(shift[1]) << int(shift[2]))
    return {"true": "yes", "false": "no"}.get(expression, expression.strip('"'))


def own_file(program):
    """Keys and defaults of a daemon's own file: {section: {key: default or None}}."""
    source = text(f"cmd/{program}/settings.c")
    defaults = initializers(source.split("_settings_read(")[1])
    found = {kind: {} for kind in re.findall(r'strcmp\(line->kind, "(\w+)"\)', source)}
    found |= {kind: {} for kind in re.findall(r'\{"(\w+)", \w+_fields,', source)}
    arrays = [(name, body) for name, body in
              re.findall(r"ha_ini_field (\w+)_fields\[\] = \{(.*?)\n\};", source, re.S)]
    arrays += [("tls", text("cmd/common/security.c").split("fields[] = {")[1].split("};")[0])]
    for kind, body in arrays:
        for field, key in re.findall(r'HA_INI_FIELD\(\w+, \w+, (\w+),\s+"(\w+)"\)', body):
            owned = kind not in ("credentials", "secret", "database", "tls")
            found[kind][key] = value(defaults[field]) if owned and field in defaults else None
    for kind, key in re.findall(r'kind, "(\w+)"\) == 0 && strcmp\(line->key, "(\w+)"\)', source):
        found[kind][key] = None
    return found


def services():
    source = text("lib/wire/config_keys.c")
    defaults = initializers(text("lib/core/config.c").split("static", 1)[0])
    defaults["rate"] = f"{defaults['rate_count']}/{defaults['rate_period_ms']}"
    defaults["loss_budget"] = defaults["loss_budget_bytes"]
    found = {"defaults": {}}
    for kind, body in re.findall(r"ha_config_key (\w+)_keys\[\] = \{(.*?)\n\};", source, re.S):
        keys = re.findall(r"SERVICE\(\w+, (\w+)\)", body) + re.findall(r"SERVICE_TIME\((\w+)\)", body)
        keys += re.findall(r'KEY\(\w+, \w+, "(\w+)"', body)
        found[kind] = {key: value(defaults.get(key, defaults.get(f"{key}_ms", ""))) or None
                       for key in keys}
    return found


def said_default(body):
    match = re.search(r"^Default: (.+)$", body, re.M)
    if match is None:
        return None
    count, slash, period = match[1].partition("/")
    return number(match[1]) if not slash or count == "" else f"{count}/{number(period)}"


def compare_keys(name, source, code):
    """Both ways, so that neither lacks what the other has."""
    said = sections(source)
    for kind, keys in code.items():
        if kind not in said:
            yield f"{name}: no section about [{kind}]"
            continue
        for key, default in keys.items():
            if key not in said[kind]:
                yield f"{name}: [{kind}] {key} is missing"
            elif default is not None and said_default(said[kind][key]) != default:
                yield (f"{name}: [{kind}] {key}: the page says "
                       f"{said_default(said[kind][key])}, the code {default}")
        for key in said[kind].keys() - keys.keys():
            yield f"{name}: [{kind}] {key} is not in the code"


def constant(value):
    """What a default that the code gives by name stands for."""
    if not isinstance(value, str) or not re.fullmatch(r"HA_[A-Z_]+", value):
        return value
    match = re.search(rf'^#define {value} "(.*)"', text("agents/host/gate.h"), re.M)
    return match[1] if match else value


def own_files():
    whole = page("hafailover.conf.5")
    watcher, agent = whole.split(".Sh HAFAILOVER-AGENT.CONF")
    for name, source, program in (("hafailoverd.conf", watcher, "hafailoverd"),
                                  ("hafailover-agent.conf", agent, "hafailover-agent")):
        code = own_file(program)
        for free in ("peers", "watchers"):  # their keys are names
            code.pop(free, None)
        code = {kind: {key: constant(value) for key, value in keys.items()}
                for kind, keys in code.items()}
        yield from compare_keys(name, source, code)


def examples():
    """Every key is explained in the example files too."""
    places = [("hafailoverd.conf", own_file("hafailoverd")), ("services.conf", services())]
    for name, code in places:
        example = text(f"deploy/config/{name}")
        for kind, keys in code.items():
            for key in keys:
                if not re.search(rf"^#?{key} =", example, re.M) and (kind, key) != ("tls", "secret_file"):
                    yield f"deploy/config/{name}: [{kind}] {key} is missing"


def options_of(program):
    source = text(f"cmd/{program}/main.c").split("options[] = {")[1].split("};")[0]
    return set(re.findall(r'\{"([\w-]+)"', source))


def said_options(source):
    return set(re.findall(r"Fl -([\w-]+)", source))


def options():
    for program, name in (("hafailoverd", "hafailoverd.8"), ("hafailover-agent", "hafailover-agent.8"),
                          ("hafailoverctl", "hafailoverctl.1")):
        code, said = options_of(program), said_options(page(name))
        for option in sorted(code - said):
            yield f"{name}: --{option} is missing"
        for option in sorted(said - code - GIVEN):
            yield f"{name}: --{option} is not in the code"


def commands():
    """{command: its usage} of hafailoverctl."""
    table = text(f"{CTL}/commands.c").split("ha_ctl_commands[] = {")[1].split("\n};")[0]
    rows = re.findall(r'\{"([\w-]+)",\s*\d+,\s*\w+,\s*((?:"[^"]*"\s*)+),', table)
    return {name: " ".join(re.findall(r'"([^"]*)"', usage)) for name, usage in rows}


def command_pages():
    source = page("hafailoverctl.1")
    said = {}
    for name, rest in re.findall(r"^\.It Cm ([\w-]+)(.*)$", source, re.M):
        said[name] = said.get(name, "") + rest
    code = commands()
    if len(code) < 10:
        yield f"{CTL}/commands.c: its table cannot be read any more"
    for name, usage in code.items():
        if name not in said:
            yield f"hafailoverctl.1: the command {name} is missing"
            continue
        for option in re.findall(r"--([\w-]+)", usage):
            if f"Fl -{option}" not in said[name]:
                yield f"hafailoverctl.1: {name} --{option} is missing"
    for name in sorted(said.keys() - code.keys()):
        yield f"hafailoverctl.1: there is no command {name}"


def exit_codes():
    ctl = re.findall(r"HA_EXIT_\w+ = (\d+)", text(f"{CTL}/call.h"))
    places = [("hafailoverctl.1", ctl)]
    for program in ("hafailoverd", "hafailover-agent"):
        codes = [code for path in (ROOT / "cmd" / program).glob("*.c")
                 for code in re.findall(r"#define EXIT_\w+ (\d+)", path.read_text(encoding="utf-8"))]
        places.append((f"{program}.8", ["0", "1", *codes]))
    for name, codes in places:
        said = re.findall(r"^\.It (\d+)$", page(name).split(".Sh EXIT STATUS")[1], re.M)
        for code in codes:
            if code not in said:
                yield f"{name}: the exit code {code} is missing"


def completion():
    source = text("deploy/completion/hafailoverctl")
    words = set(re.findall(r"[\w-]+", source))
    listed = re.search(r'commands="(.*?)"', source, re.S)[1].split()
    for name, usage in commands().items():
        if name not in listed:
            yield f"completion: the command {name} is missing"
        for option in re.findall(r"--[\w-]+", usage):
            if option not in words:
                yield f"completion: {name} {option} is missing"
    for option in sorted(options_of("hafailoverctl") - {"help"}):
        if f"--{option}" not in words:
            yield f"completion: --{option} is missing"


def build_dependencies():
    """What the quickstart installs to build, the package's build installs too."""
    control = text("deploy/debian/control").split("Build-Depends:")[1].split("\n\n")[0]
    listed = text("deploy/lib/packages.sh").split("PACKAGES_BUILD=(")[1].split(")")[0].split()
    for name in listed:
        # Of every Debian build, or brought by meson.
        if name not in ("gcc", "libc6-dev", "ninja-build") and not re.search(rf"\b{name}\b", control):
            yield f"deploy/debian/control: {name} is missing"


def clean():
    """What the formatters say about the sources; they need not be installed."""
    for path in sorted(PAGES.glob("*.[158]")):
        for command in (["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(path)],
                        ["mandoc", "-Tlint", "-W", "warning", str(path)]):
            if shutil.which(command[0]) is None:
                continue
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  env={**os.environ, "MANROFFSEQ": "", "LC_ALL": "C.UTF-8"})
            told = done.stdout if command[0] == "mandoc" else done.stderr
            for line in told.splitlines():
                if "outdated mandoc.db" not in line:
                    yield f"{path.name}: {line}"


def main():
    tap = Tap()
    tap.case("hafailover.conf(5) has the keys and defaults of both daemons", own_files())
    tap.case("services.conf(5) has every key and default",
             compare_keys("services.conf", page("services.conf.5"), services()))
    tap.case("the example files name every key", examples())
    tap.case("options are in the pages, and no others", options())
    tap.case("hafailoverctl(1) has every command", command_pages())
    tap.case("exit codes are in the pages", exit_codes())
    tap.case("the completion knows commands and options", completion())
    tap.case("the package is built with what the quickstart is", build_dependencies())
    tap.case("the pages format without a warning", clean())
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
