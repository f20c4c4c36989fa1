#include "cmd/hafailoverctl/prepare.h"

#include <stdio.h>
#include <string.h>

/* The lab makes its roles with it too, so it is what the tests have seen to suffice. */
static const char postgresql[] =
    "-- PostgreSQL 15 or later, as a superuser, once on the primary: hafailoverctl member prepare "
    "|\n"
    "-- psql -X -v ON_ERROR_STOP=1 -d postgres -f -, or by hand. None of these is a superuser.\n"
    "\n"
    "-- The watchers: they only look.\n"
    "CREATE ROLE hafailover LOGIN IN ROLE pg_monitor;\n"
    "\n"
    "-- The agents, by the UNIX socket: promote, repoint, replication slots, standby names.\n"
    "CREATE ROLE hafailover_agent LOGIN REPLICATION\n"
    "    IN ROLE pg_monitor, pg_checkpoint, pg_signal_backend;\n"
    "GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_reload_conf() TO "
    "hafailover_agent;\n"
    "GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name, "
    "synchronous_standby_names,\n"
    "    synchronous_commit, wal_retrieve_retry_interval TO hafailover_agent;\n"
    "\n"
    "-- What replicas follow their upstream as, and a rewind reads its files as.\n"
    "CREATE ROLE hafailover_replica LOGIN REPLICATION IN ROLE pg_checkpoint;\n"
    "GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean),\n"
    "    pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean)\n"
    "    TO hafailover_replica;\n"
    "\n"
    "-- Their passwords, in psql, on a terminal (the agent's is not used on the UNIX socket with "
    "peer\n"
    "-- or trust): \\password hafailover   \\password hafailover_replica   \\password "
    "hafailover_agent\n"
    "-- pg_hba.conf of each member, for the hosts of watchers and members:\n"
    "--   local   all           hafailover_agent                          scram-sha-256 | peer "
    "map=...\n"
    "--   hostssl postgres      hafailover,hafailover_replica  NETWORK    scram-sha-256\n"
    "--   hostssl replication   hafailover_replica             NETWORK    scram-sha-256\n"
    "-- postgresql.conf of each member: wal_log_hints = on unless initdb was given "
    "--data-checksums\n"
    "-- (a rewind needs one of them), max_slot_wal_keep_size (how much WAL is kept for a member "
    "that\n"
    "-- is away; without it, all), max_wal_senders and max_replication_slots at least one per "
    "member.\n";

enum ha_exit ha_ctl_member(const struct ha_ctl *ctl)
{
    if (strcmp(ctl->words[0], "prepare") != 0) {
        fprintf(stderr, "hafailoverctl: member prepare [postgresql]\n");
        return HA_EXIT_USAGE;
    }
    if (ctl->word_count == 2 && strcmp(ctl->words[1], "postgresql") != 0) {
        fprintf(stderr, "hafailoverctl: member prepare knows postgresql; Redis' ACL is in "
                        "hafailover.conf(5)\n");
        return HA_EXIT_USAGE;
    }
    fputs(postgresql, stdout);
    return HA_EXIT_OK;
}
