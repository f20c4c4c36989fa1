# deploy/lib/hosts.sh - what runs on each host of the lab, and its configuration files.
#
# Everything of a host is in $RUN/HOST. Files are written once; a lab that is up keeps them.
#
# For tests: with HAFO_DISK_MB the data of each daemon is on a file system of that size, which can
# be filled; and where a file $RUN/HOST/clock is, the watcher reads its clocks through
# tests/support/clock.c, which takes its settings from there.
# shellcheck shell=bash

host_up() {
    host_net_up "$1"
    mkdir -p "$RUN/$1" "$(cgroup_of "$1")"
    case $(host_kind "$1") in
        watcher) [ -e "$RUN/$1/hafailoverd.conf" ] || watcher_configure "$1" ;;
        database) [ -e "$RUN/$1/hafailover-agent.conf" ] || database_configure "$1" ;;
        client) ;;
    esac
}

# As if the power had failed: processes, network and kernel gate are gone, files stay.
host_down() {
    local unit
    for unit in "$RUN/$1"/*.supervisor; do
        [ -e "$unit" ] && unit_stop "$1" "$(basename "$unit" .supervisor)" KILL
    done
    netns_drop "$1"
    cgroup_drop "$(cgroup_of "$1")"
    rm -rf "$RUN/bpf/$1"
}

host_start() {
    host_up "$1"
    case $(host_kind "$1") in
        watcher) watcher_start "$1" ;;
        database)
            gate_load "$1"
            database_start "$1"
            agent_start "$1"
            ;;
        client) ;;
    esac
}

# --- disks ----------------------------------------------------------------------------------

data_of() { echo "$RUN${HAFO_DISK_MB:+/disk}/$1/data"; }

# The directory of its data exists after this, empty.
disk_make() {
    local host=$1
    if [ -n "${HAFO_DISK_MB:-}" ]; then
        mkdir -p "$RUN/disk/$host"
        mountpoint -q "$RUN/disk/$host" ||
            mount -t tmpfs -o "size=${HAFO_DISK_MB}m,mode=755" hafo-disk "$RUN/disk/$host"
        ln -sfn "$(data_of "$host")" "$RUN/$host/data"
        ln -sfn "$(data_of "$host")-hafailover" "$RUN/$host/data-hafailover"
    fi
    mkdir -p "$(data_of "$host")"
}

# Not a byte is free any more, until disk_free.
disk_fill() {
    dd if=/dev/zero of="$RUN/disk/$1/filler" bs=1M 2>/dev/null || true
    dd if=/dev/zero of="$RUN/disk/$1/filler" bs=1 oflag=append conv=notrunc 2>/dev/null || true
}
disk_free() { rm -f "$RUN/disk/$1/filler"; }

disks_drop() {
    local disk
    for disk in "$RUN"/disk/*; do
        if mountpoint -q "$disk"; then umount "$disk"; fi
    done
}

# --- keys -----------------------------------------------------------------------------------

# HAFO_TLS=certificates: certificates in place of keys, for the watchers, agents and two operators.
TLS=${HAFO_TLS:-psk}

certificates_make() {
    local host tool=$ROOT/deploy/config/certificates
    [ ! -e "$RUN/ca/ca.pem" ] || return 0
    "$tool" ca "$RUN/ca"
    for host in "${WATCHERS[@]}"; do "$tool" issue "$RUN/ca" "watcher/$host" "$RUN/$host/own"; done
    for host in "${DATABASES[@]}"; do "$tool" issue "$RUN/ca" "agent/$host" "$RUN/$host/own"; done
    for host in ctl/ops view/board; do "$tool" issue "$RUN/ca" "$host" "$RUN/client/${host%/*}"; done
}

# certificate ROLE/NAME FILE: one more, as $RUN/FILE.pem and .key.
certificate() { "$ROOT/deploy/config/certificates" issue "$RUN/ca" "$1" "$RUN/$2"; }

# The [tls] section of HOST, with the lines of its key when there are no certificates.
tls_section() {
    printf '[tls]\nmode = %s\n' "$TLS"
    if [ "$TLS" = certificates ]; then
        printf '%s\n' "ca_file = $RUN/ca/ca.pem" "cert_file = $RUN/$1/own.pem" \
            "key_file = $RUN/$1/own.key"
    else
        printf '%s\n' "$2"
    fi
}

secrets_make() {
    local host
    [ "$TLS" != certificates ] || certificates_make
    if [ ! -e "$RUN/secret" ]; then
        "$(binary hafailoverctl)" keygen secret "$RUN/secret"
        (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$RUN/database.password" &&
            od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RUN/webhook.key")
    fi
    for host in "${DATABASES[@]}"; do
        [ -e "$RUN/$host/agent.key" ] || "$(binary hafailoverctl)" keygen "agent/$host" \
            --secret "$RUN/secret" --out "$RUN/$host/agent.key"
    done
}

# --- watchers -------------------------------------------------------------------------------

peers() {
    local w
    for w in "${WATCHERS[@]}"; do echo "$w = $(address4 "$w"):$WATCHER_PORT"; done
}

watcher_configure() {
    disk_make "$1"
    cat >"$RUN/$1/hafailoverd.conf" <<EOF
[watcher]
name = $1
listen = $(address4 "$1"):$WATCHER_PORT
listen = [$(address6 "$1")]:$WATCHER_PORT
api_socket = $RUN/$1/hafailoverd.sock
data_dir = $(data_of "$1")

[peers]
$(peers)

$(tls_section "$1" "secret_file = $RUN/secret")

[credentials database]
user = hafailover
password_file = $RUN/database.password

[secret quickstart]
key_file = $RUN/webhook.key
EOF
}

# An empty directory becomes a voter only when told to, and only the first start ever says so.
watcher_start() {
    local command=("$(binary hafailoverd)" -c "$RUN/$1/hafailoverd.conf")
    [ ! -e "$RUN/$1/clock" ] || command=(env "LD_PRELOAD=$BUILD/tests/support/libhafailover-clock.so"
        "HAFO_CLOCK=$RUN/$1/clock" "${command[@]}")
    # A resolver of its own, where a test has put one.
    [ ! -e "$RUN/$1/resolv.conf" ] || command=("$LIB/with_resolver" "$RUN/$1/resolv.conf" "${command[@]}")
    if [ ! -e "$RUN/$1/bootstrapped" ]; then
        touch "$RUN/$1/bootstrapped"
        unit_start "$1" watcher always "$LIB/first" "$(data_of "$1")" "${command[@]}"
    else
        unit_start "$1" watcher always "${command[@]}"
    fi
}

# --- databases ------------------------------------------------------------------------------

database_configure() {
    mkdir -p "$RUN/$1/agent"
    case $ENGINE in
        redis) redis_configure "$1" ;;
        postgresql) pg_configure "$1" ;;
    esac
    agent_configure "$1"
}

redis_configure() {
    local host=$1
    disk_make "$host"
    cat >"$RUN/$host/redis.conf" <<EOF
# The quickstart's clients need no password; hafailover has a user of its own.
bind * -::*
protected-mode no
port $DB_PORT
unixsocket $RUN/$host/redis.sock
unixsocketperm 700
dir $(data_of "$host")
save 3600 1 300 100
repl-diskless-sync-delay 0
repl-backlog-size 64mb
user default on nopass ~* &* +@all
user hafailover on >$(cat "$RUN/database.password") -@all $REDIS_RIGHTS
EOF
    # As it was before hafailover came. Three servers that each believe to be the primary are not
    # taken over by itself: choosing one would wipe the others.
    [ "$host" = "${DATABASES[0]}" ] ||
        echo "replicaof $(address4 "${DATABASES[0]}") $DB_PORT" >>"$RUN/$host/redis.conf"
    chmod 600 "$RUN/$host/redis.conf"
}

agent_configure() {
    local host=$1
    cat >"$RUN/$host/hafailover-agent.conf" <<EOF
[agent]
name = $host
state_dir = $RUN/$host/agent
api_socket = $RUN/$host/agent.sock

[watchers]
$(peers)

$(tls_section "$host" "key_file = $RUN/$host/agent.key")

[gate]
class = ${HAFO_GATE:-auto}
pin_dir = $RUN/bpf/$host
cgroup = $(cgroup_of "$host")

[vip]
interface = eth0

$("${ENGINE/postgresql/pg}_agent_section" "$host")
EOF
}

redis_agent_section() {
    cat <<EOF
[database $SERVICE]
socket = $RUN/$1/redis.sock
port = $DB_PORT
user = hafailover
password_file = $RUN/database.password
config_file = $RUN/$1/redis.conf
data_dir = $(data_of "$1")
EOF
}

# What hafailover's user must be allowed on Redis: to look, to repoint, to pause, to tell clients.
REDIS_RIGHTS='+ping +info +role +replicaof +config|get +config|set +config|rewrite +client|id
 +client|kill +client|pause +client|unpause +client|list +client|setname +bgsave +wait'
REDIS_RIGHTS=${REDIS_RIGHTS//$'\n'/}

# PostgreSQL is started by its agent.
database_start() {
    [ "$ENGINE" = postgresql ] || redis_start "$1"
}

database_empty() {
    case $ENGINE in
        redis) redis_empty "$1" ;;
        postgresql) pg_empty "$1" ;;
    esac
}

redis_start() {
    unit_start "$1" database never redis-server "$RUN/$1/redis.conf"
}

# Kill it, take its data away and start it, as someone would who does not know of the agent.
redis_empty() {
    unit_stop "$1" database KILL
    rm -rf "$(data_of "$1")"
    mkdir "$(data_of "$1")"
    redis_start "$1"
}

redis_cli() {
    local host=$1
    shift
    redis-cli -s "$RUN/$host/redis.sock" "$@"
}

# --- agents ---------------------------------------------------------------------------------

gate_load() {
    in_host "$1" "$(binary hafailover-agent)" gate load -c "$RUN/$1/hafailover-agent.conf" \
        >>"$RUN/$1/agent.log" 2>&1 || die "$1: the gate cannot be loaded: $(tail -n 2 "$RUN/$1/agent.log")"
}

agent_start() {
    unit_start "$1" agent always "$(binary hafailover-agent)" -c "$RUN/$1/hafailover-agent.conf"
}

# --- client ---------------------------------------------------------------------------------

receiver_start() {
    unit_start client webhook always python3 "$LIB/webhook_receiver.py" \
        --listen "$(address4 client):$HOOK_PORT" --log "$RUN/client/webhooks.jsonl" \
        --fail-while "$RUN/client/webhooks.fail" --modes "$RUN/client/webhooks.modes"
}

services_conf() {
    local host
    cat <<EOF
[service $SERVICE]
engine = $ENGINE
durability = $DURABILITY
vip = $VIP/24
credentials = database
# A playground: as many failovers as you like. The default is 5/10min.
rate = any

EOF
    for host in "${DATABASES[@]}"; do
        cat <<EOF
[member $SERVICE/$host]
agent = $host
host = $(address4 "$host")
port = $DB_PORT

EOF
    done
    cat <<EOF
[webhook quickstart]
url = http://$(address4 client):$HOOK_PORT/
secret = quickstart
service = $SERVICE
# In the clear, to another host: only because all hosts of a lab are on this machine.
insecure = yes
EOF
}

# --- the whole ------------------------------------------------------------------------------

# hafailoverctl at the first watcher that runs; a stopped one would not answer.
ctl() {
    local w pid
    for w in "${WATCHERS[@]}"; do
        pid=$(unit_pid "$w" watcher)
        grep -qs '^State:[[:space:]]*[RSD]' "/proc/${pid:-none}/status" || continue
        [ -S "$RUN/$w/hafailoverd.sock" ] || continue
        "$(binary hafailoverctl)" --socket "$RUN/$w/hafailoverd.sock" "$@"
        return
    done
    printf 'error: no watcher runs\n' >&2
    return 3 # as hafailoverctl says it
}

lab_up() {
    local host
    mkdir -p "$RUN/bpf"
    echo "$ENGINE" >"$RUN/engine"
    echo "$DURABILITY" >"$RUN/durability"
    mountpoint -q "$RUN/bpf" || mount -t bpf bpffs "$RUN/bpf" ||
        note "no bpffs can be mounted here: the gate will be nft alone"
    switch_up
    for host in "${HOSTS[@]}"; do
        mkdir -p "$RUN/$host"
    done
    secrets_make
    for host in "${HOSTS[@]}"; do
        host_up "$host"
    done
    receiver_start
    for host in "${WATCHERS[@]}" "${DATABASES[@]}"; do
        host_start "$host"
    done
}

lab_down() {
    local ns
    for ns in /run/netns/"$LAB"-*; do # of watchers that were replaced too
        [ "${ns##*-}" = switch ] || [ ! -e "$ns" ] || netns_drop "${ns##*-}"
    done
    netns_drop switch
    if [ -d "$RUN" ]; then
        cgroup_drop "$(cgroup_of)"
        mountpoint -q "$RUN/cgroup" && umount "$RUN/cgroup"
        disks_drop
        mountpoint -q "$RUN/bpf" && umount "$RUN/bpf"
        rm -rf "$RUN"
    fi
    for ns in /run/netns/"$LAB"-*; do
        [ ! -e "$ns" ] || die "left behind: $ns"
    done
}

# End every fault: cables in, stopped processes go on, what is missing is started.
heal_all() {
    local host unit pid
    uncut_all
    rm -f "$RUN"/*/*.pid.hold "$RUN"/disk/*/filler
    for host in "${WATCHERS[@]}" "${DATABASES[@]}"; do
        for unit in watcher agent database; do
            for pid in $(unit_pids "$host" "$unit"); do
                if pid_alive "$pid"; then kill -CONT "$pid" 2>/dev/null || true; fi
            done
        done
        host_start "$host"
    done
}
