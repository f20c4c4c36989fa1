# deploy/lib/postgresql.sh - PostgreSQL of the lab: one cluster is made and copied to every host.
#
# The agents start the servers; nothing here does. They run as the user postgres.
# shellcheck shell=bash

PG_BIN=/usr/lib/postgresql/15/bin
PG_TEMPLATE=$RUN/template

as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups -- "$@"; }

# The roles of hafailover, as its own command makes them, and one of the clients.
pg_roles() {
    local secret
    secret=$(cat "$RUN/database.password")
    "$(binary hafailoverctl)" member prepare postgresql
    cat <<EOF
ALTER ROLE hafailover PASSWORD '$secret';
ALTER ROLE hafailover_agent PASSWORD '$secret';
ALTER ROLE hafailover_replica PASSWORD '$secret';
CREATE ROLE app LOGIN IN ROLE pg_read_all_settings;
CREATE TABLE writes (prefix text, number bigint, PRIMARY KEY (prefix, number));
ALTER TABLE writes OWNER TO app;
GRANT CREATE ON SCHEMA public TO app;
EOF
}

pg_template_settings() {
    as_postgres tee -a "$PG_TEMPLATE/data/postgresql.conf" >/dev/null <<EOF
listen_addresses = '*'
port = $DB_PORT
include_if_exists 'host.conf'
shared_buffers = 32MB
max_wal_senders = 10
max_replication_slots = 10
wal_keep_size = 64MB
max_slot_wal_keep_size = 1GB
log_line_prefix = '%m [%p] %a '
EOF
    # The playground's clients need no password; hafailover's roles have one.
    as_postgres tee "$PG_TEMPLATE/data/pg_hba.conf" >/dev/null <<EOF
local all all trust
host all app 0.0.0.0/0 trust
host all app ::0/0 trust
host all hafailover,hafailover_replica all scram-sha-256
host replication hafailover_replica all scram-sha-256
EOF
}

pg_template() {
    local log=$RUN/template.log
    [ -e "$PG_TEMPLATE/ready" ] && return
    rm -rf "$PG_TEMPLATE"
    install -d -o postgres -g postgres -m 700 "$PG_TEMPLATE"
    as_postgres "$PG_BIN/initdb" -D "$PG_TEMPLATE/data" -U postgres -A trust -k -N \
        --locale=C --encoding=UTF8 >"$log" 2>&1 || die "initdb: $(tail -n 3 "$log")"
    pg_template_settings
    {
        as_postgres "$PG_BIN/pg_ctl" start -w -s -D "$PG_TEMPLATE/data" -l "$PG_TEMPLATE/log" \
            -o "-c listen_addresses='' -c fsync=off -k $PG_TEMPLATE" 9>&- &&
            pg_roles | as_postgres psql -q -v ON_ERROR_STOP=1 -h "$PG_TEMPLATE" -p "$DB_PORT" \
                -U postgres -d postgres &&
            as_postgres "$PG_BIN/pg_ctl" stop -w -s -m fast -D "$PG_TEMPLATE/data"
    } >>"$log" 2>&1 || die "the template: $(tail -n 3 "$log")"
    touch "$PG_TEMPLATE/ready"
}

pg_configure() {
    local host=$1
    pg_template
    install -d -o postgres -g postgres -m 755 "$RUN/$host/pg"
    disk_make "$host"
    rmdir "$(data_of "$host")"
    cp -a "$PG_TEMPLATE/data" "$(data_of "$host")"
    echo "unix_socket_directories = '$RUN/$host/pg'" |
        as_postgres tee "$RUN/$host/data/host.conf" >/dev/null
}

# The lines of the agent's file that are PostgreSQL's.
pg_agent_section() {
    cat <<EOF
[database $SERVICE]
socket = $RUN/$1/pg
port = $DB_PORT
user = hafailover_agent
data_dir = $(data_of "$1")
bin_dir = $PG_BIN
os_user = postgres
replication_user = hafailover_replica
replication_password_file = $RUN/database.password
EOF
}

# A server and all its children, which a fault hits together.
pg_pids() {
    local pid
    pid=$(head -n 1 "$RUN/$1/data/postmaster.pid" 2>/dev/null) || return 0
    pid_alive "$pid" || return 0
    echo "$pid $(cat "/proc/$pid/task/$pid/children" 2>/dev/null)"
}

pg_signal() {
    local pids
    pids=$(pg_pids "$1")
    [ -n "$pids" ] || die "$1: its database does not run"
    # shellcheck disable=SC2086
    kill "-$2" $pids 2>/dev/null || true
}

# The data is lost: what the agent finds is no database.
pg_empty() {
    local pids
    pids=$(pg_pids "$1")
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
    rm -rf "$(data_of "$1")"
    install -d -o postgres -g postgres -m 700 "$(data_of "$1")"
}
