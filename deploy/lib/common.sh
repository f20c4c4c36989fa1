# deploy/lib/common.sh - what every script of the lab shares: names, paths, messages.
#
# Sourced, never run. A lab is one whole cluster in network namespaces; several may run side by
# side, told apart by HAFO_LAB. Everything a lab leaves on the machine carries that name: the
# namespaces $LAB-HOST, the directory $RUN, the control group $LAB.
# shellcheck shell=bash disable=SC2034

LAB=${HAFO_LAB:-hafailover-quickstart}
RUN=/run/$LAB
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${HAFO_BUILD:-$ROOT/build-quickstart}
LIB=$ROOT/deploy/lib

read -ra WATCHERS <<<"${HAFO_WATCHERS:-w1 w2 w3}" # tests replace one
DATABASES=(db1 db2 db3)
CLIENTS=(client)
HOSTS=("${WATCHERS[@]}" "${DATABASES[@]}" "${CLIENTS[@]}")

export PYTHONDONTWRITEBYTECODE=1 # nothing is left in the clone

NET4=10.77.0
NET6=fd77:
VIP=$NET4.100
WATCHER_PORT=7400
HOOK_PORT=8080
SERVICE=cache

# The database of the lab: what it was made with, once it is there.
ENGINE=$(cat "$RUN/engine" 2>/dev/null || echo "${HAFO_ENGINE:-redis}")
engine_set() {
    ENGINE=$1
    case $ENGINE in
        redis) DB_PORT=6379 ;;
        postgresql) DB_PORT=5432 ;;
        *) die "no engine '$ENGINE' (there are: redis postgresql)" ;;
    esac
}

# What the service of the lab asks of an acknowledged write; strict is PostgreSQL's.
DURABILITY=$(cat "$RUN/durability" 2>/dev/null || echo "${HAFO_DURABILITY:-async}")
durability_set() {
    DURABILITY=$1
    case $ENGINE.$DURABILITY in
        *.async | *.sync | postgresql.strict) ;;
        redis.strict) die "Redis replication cannot give durability strict: see --engine postgresql" ;;
        *) die "no durability '$DURABILITY' (there are: async sync strict)" ;;
    esac
}

say() { printf '%s\n' "$*"; }
note() { printf '  %s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" -eq 0 ] || die "this needs root: it makes network namespaces and control groups"
}

# The last part of every address of a host.
host_number() {
    case $1 in
        w[1-9]) echo $((10 + ${1#w})) ;;
        db[1-9]) echo $((20 + ${1#db})) ;;
        client) echo 31 ;;
        *) die "no host '$1' (there are: ${HOSTS[*]})" ;;
    esac
}
host_kind() {
    case $1 in
        w[1-9]) echo watcher ;;
        db[1-9]) echo database ;;
        client) echo client ;;
        *) die "no host '$1' (there are: ${HOSTS[*]})" ;;
    esac
}
address4() { echo "$NET4.$(host_number "$1")"; }
address6() { echo "$NET6:$(host_number "$1")"; }

need_database() { [ "$(host_kind "$1")" = database ] || die "$1 has no database: ${DATABASES[*]} have"; }

# Targets of the build directory that a lab runs.
PROGRAMS=(cmd/hafailoverd/hafailoverd cmd/hafailover-agent/hafailover-agent
    cmd/hafailoverctl/hafailoverctl tests/support/hafailover-writer)

binary() {
    case $1 in
        writer | switch) echo "$BUILD/tests/support/hafailover-$1" ;;
        *) echo "$BUILD/cmd/$1/$1" ;;
    esac
}

engine_set "$ENGINE"
durability_set "$DURABILITY"
