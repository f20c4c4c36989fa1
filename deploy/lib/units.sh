# deploy/lib/units.sh - daemons of the lab: started, watched and ended as a service manager would.
#
# A unit is HOST/NAME. Its files are $RUN/HOST/NAME.{pid,supervisor,log}. Agents and watchers are
# restarted after they end; a database is not, because a service with an agent has no second
# starter. Each unit has a control group of its own below the group of its host.
# shellcheck shell=bash

cgroup_root() {
    local at
    at=$(findmnt -t cgroup2 -n -o TARGET | head -n 1)
    if [ -z "$at" ]; then
        at=$RUN/cgroup
        mkdir -p "$at"
        mount -t cgroup2 cgroup2 "$at"
    fi
    echo "$at"
}
cgroup_of() { echo "$(cgroup_root)/$LAB${1:+/$1}"; } # of the lab itself without HOST

# Remove a group and all below it, with the processes in them.
cgroup_drop() {
    local tries
    [ -d "$1" ] || return 0
    for ((tries = 0; tries < 100; tries++)); do
        [ ! -e "$1/cgroup.freeze" ] || echo 0 >"$1/cgroup.freeze"
        [ ! -e "$1/cgroup.kill" ] || echo 1 >"$1/cgroup.kill"
        find "$1" -depth -type d -exec rmdir {} + 2>/dev/null && return
        sleep 0.02
    done
    die "cannot remove the control group $1: $(cat "$1"/*/cgroup.procs 2>/dev/null | tr '\n' ' ')"
}

unit_pid() {
    if [ "$ENGINE.$2" = postgresql.database ]; then
        head -n 1 "$RUN/$1/data/postmaster.pid" 2>/dev/null || true
    else
        cat "$RUN/$1/$2.pid" 2>/dev/null || true
    fi
}

# With its children, where a fault hits them together.
unit_pids() {
    if [ "$ENGINE.$2" = postgresql.database ]; then
        pg_pids "$1"
    else
        unit_pid "$1" "$2"
    fi
}

# A process that has ended counts as gone even while its parent has not yet asked for its status.
pid_alive() { [ -n "$1" ] && grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"; }

# True while the unit's process, or the supervisor that will start it again, is there.
unit_alive() {
    pid_alive "$(cat "$RUN/$1/$2.supervisor" 2>/dev/null || true)" || pid_alive "$(unit_pid "$1" "$2")"
}

# unit_start HOST NAME always|never COMMAND...
unit_start() {
    local host=$1 name=$2 restart=$3 group
    shift 3
    unit_alive "$host" "$name" && return
    group=$(cgroup_of "$host")/$name
    mkdir -p "$group"
    rm -f "$RUN/$host/$name.pid"
    setsid nsenter --net="/run/netns/$(netns "$host")" -- "$LIB/supervise" "$restart" \
        "$RUN/$host/$name.pid" "$group" "$@" >>"$RUN/$host/$name.log" 2>&1 </dev/null 9>&- &
    echo $! >"$RUN/$host/$name.supervisor"
}

# Signal 0..n: the process itself, as a fault does; its supervisor stays.
unit_signal() {
    local pid
    if [ "$ENGINE.$2" = postgresql.database ]; then
        pg_signal "$1" "$3"
        return
    fi
    pid=$(unit_pid "$1" "$2")
    [ -n "$pid" ] || die "$1: its $2 does not run"
    kill "-$3" "$pid" 2>/dev/null || die "$1: its $2 (process $pid) does not run"
}

# unit_stop HOST NAME [SIGNAL]: end the unit, its supervisor first; KILL after five seconds.
unit_stop() {
    local host=$1 name=$2 signal=${3:-TERM} pid tries
    pid=$(cat "$RUN/$host/$name.supervisor" 2>/dev/null || true)
    [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
    pid=$(unit_pid "$host" "$name")
    rm -f "$RUN/$host/$name.supervisor" "$RUN/$host/$name.pid"
    [ -n "$pid" ] || return 0
    kill -CONT "$pid" 2>/dev/null || true
    kill "-$signal" "$pid" 2>/dev/null || return 0
    for ((tries = 0; tries < 250; tries++)); do
        pid_alive "$pid" || return 0
        sleep 0.02
    done
    kill -KILL "$pid" 2>/dev/null || true
}
