#include "agents/postgresql/facts.h"

#include <inttypes.h>
#include <string.h>

#include "agents/postgresql/parse.h"
#include "lib/base/text.h"
#include "lib/core/sync.h"

enum {
    RECOVERY,
    STARTED,
    SYSTEM,
    LSN,
    REPLAYED,
    TIMELINE,
    RECEIVER,
    RECEIVED_TIMELINE,
    RECEIVED_AGO,
    CONNINFO,
    REPLICAS,
    STARTUP_WAITS,
    SYNC_NAMES,
    SEGMENT_SIZE,
    CAN_REWIND,
    SLOT,
    RETRIES_SLOWLY,
    LACKS,
};
_Static_assert(LACKS + 1 == HA_PG_FACTS_COLUMNS, "the enum names all columns");

/* OFFSET 0 keeps the planner from asking twice: the answer may change in between. */
#define FACTS(lacks)                                                                             \
    "SELECT r.rec,"                                                                              \
    " (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,"                       \
    " s.system_identifier,"                                                                      \
    " CASE WHEN r.rec THEN pg_last_wal_receive_lsn() - '0/0'"                                    \
    " ELSE pg_current_wal_flush_lsn() - '0/0' END,"                                              \
    " CASE WHEN r.rec THEN pg_last_wal_replay_lsn() - '0/0' END,"                                \
    " CASE WHEN NOT r.rec THEN left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) END,"        \
    " w.status, w.received_tli,"                                                                 \
    " (extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time) * 1000)::bigint,"         \
    " current_setting('primary_conninfo'),"                                                      \
    " CASE WHEN NOT r.rec THEN"                                                                  \
    " (SELECT count(*) FROM pg_stat_get_wal_senders() WHERE state = 'streaming') END,"           \
    " CASE WHEN r.rec THEN (SELECT wait_event IN ('RecoveryRetrieveRetryInterval',"              \
    " 'RecoveryWalStream') FROM pg_stat_get_activity(NULL) a WHERE a.backend_type = 'startup') " \
    "END,"                                                                                       \
    " current_setting('synchronous_standby_names'),"                                             \
    " pg_size_bytes(current_setting('wal_segment_size')),"                                       \
    " current_setting('data_checksums')::bool OR current_setting('wal_log_hints')::bool,"        \
    " current_setting('primary_slot_name'),"                                                     \
    " current_setting('wal_retrieve_retry_interval')::interval > '" HA_PG_RETRY                  \
    "'::interval," lacks                                                                         \
    " FROM (SELECT pg_is_in_recovery() AS rec OFFSET 0) r, pg_control_system() s"                \
    " LEFT JOIN pg_stat_get_wal_receiver() w ON w.pid IS NOT NULL"

/* What an agent will need one day, and is missed on that day otherwise. */
#define LACKING                                                                                  \
    " concat_ws(', ',"                                                                           \
    " (SELECT string_agg('EXECUTE on ' || f, ', ') FROM unnest(ARRAY["                           \
    "'pg_promote(boolean, integer)', 'pg_reload_conf()']) f"                                     \
    " WHERE NOT has_function_privilege(f, 'execute')),"                                          \
    " (SELECT string_agg('ALTER SYSTEM on ' || p, ', ') FROM unnest(ARRAY["                      \
    "'primary_conninfo', 'primary_slot_name', 'synchronous_standby_names', "                     \
    "'synchronous_commit']) p"                                                                   \
    " WHERE NOT has_parameter_privilege(p, 'alter system')),"                                    \
    " (SELECT string_agg(g, ', ') FROM unnest(ARRAY["                                            \
    "'pg_monitor', 'pg_checkpoint', 'pg_signal_backend']) g"                                     \
    " WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = g AND pg_has_role(oid, 'usage')))," \
    " (SELECT 'REPLICATION' FROM pg_roles WHERE rolname = current_user"                          \
    " AND NOT rolreplication AND NOT rolsuper))"

const char ha_pg_facts_sql[] = FACTS(" ''");
const char ha_pg_facts_local_sql[] = FACTS(LACKING);

static const char *value(const PGresult *rows, int column)
{
    return PQgetisnull(rows, 0, column) != 0 ? "" : PQgetvalue(rows, 0, column);
}

static uint64_t number(const PGresult *rows, int column)
{
    uint64_t found = 0;

    return ha_text_u64(value(rows, column), UINT64_MAX, &found) == HA_OK ? found : 0;
}

static bool is_true(const PGresult *rows, int column)
{
    return strcmp(value(rows, column), "t") == 0;
}

static void read_upstream(const char *conninfo, struct ha_sample *sample)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    const char *host = "", *name = "";

    for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        uint64_t port;

        if (o->val == NULL)
            continue;
        if (strcmp(o->keyword, "hostaddr") == 0 ||
            (strcmp(o->keyword, "host") == 0 && host[0] == '\0'))
            host = o->val;
        else if (strcmp(o->keyword, "port") == 0 && ha_text_u64(o->val, UINT16_MAX, &port) == HA_OK)
            sample->upstream_port = (uint16_t)port;
        else if (strcmp(o->keyword, "application_name") == 0)
            name = o->val;
    }
    sample->sync_id = ha_sync_id(name);
    if (ha_text_copy(sample->upstream_host, sizeof(sample->upstream_host), host) != HA_OK)
        sample->upstream_host[0] = '\0';
    PQconninfoFree(options);
}

static void read_standby(const PGresult *rows, struct ha_pg_facts *facts)
{
    struct ha_sample *sample = &facts->sample;
    uint64_t ago_ms = number(rows, RECEIVED_AGO);

    sample->role = HA_ROLE_REPLICA;
    sample->read_only = true; /* PostgreSQL knows no other */
    facts->replayed = number(rows, REPLAYED);
    facts->receiver = PQgetisnull(rows, 0, RECEIVER) == 0;
    facts->retries_slowly = is_true(rows, RETRIES_SLOWLY);
    sample->link_up = strcmp(value(rows, RECEIVER), "streaming") == 0;
    sample->link_idle_ms = ago_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ago_ms;
    if (facts->replayed > facts->lsn)
        facts->lsn = facts->replayed;
    else if (sample->link_up)
        facts->timeline = (uint32_t)number(rows, RECEIVED_TIMELINE);
    facts->replaying = PQgetisnull(rows, 0, LSN) != 0 && !is_true(rows, STARTUP_WAITS);
    if (ha_text_copy(facts->conninfo, sizeof(facts->conninfo), value(rows, CONNINFO)) != HA_OK)
        facts->conninfo[0] = '\0';
    if (ha_text_copy(facts->slot, sizeof(facts->slot), value(rows, SLOT)) != HA_OK)
        facts->slot[0] = '\0';
    read_upstream(facts->conninfo, sample);
}

static void read_primary(const PGresult *rows, struct ha_pg_facts *facts)
{
    facts->sample.role = HA_ROLE_PRIMARY;
    facts->sample.replicas = (uint32_t)number(rows, REPLICAS);
    facts->timeline = (uint32_t)ha_pg_hex(value(rows, TIMELINE), 8, NULL);
}

void ha_pg_facts_read(const struct ha_pg_answer *answer, struct ha_pg_facts *facts)
{
    struct ha_sample *sample = &facts->sample;
    const PGresult *rows = answer->rows;

    memset(facts, 0, sizeof(*facts));
    sample->writable = true; /* not known to be false */
    sample->answer = ha_pg_answer_of(answer);
    if (sample->answer != HA_ANSWER_OK) {
        (void)ha_text_format(sample->text, sizeof(sample->text), "%s", answer->text);
        return;
    }
    if (rows == NULL || PQntuples(rows) != 1 || PQnfields(rows) != HA_PG_FACTS_COLUMNS) {
        sample->answer = HA_ANSWER_NONE;
        (void)ha_text_copy(sample->text, sizeof(sample->text), "its answer cannot be understood");
        return;
    }
    sample->run_id = number(rows, STARTED);
    /* A bigint, negative from 2038 on. */
    facts->system = ha_pg_number(value(rows, SYSTEM) + (value(rows, SYSTEM)[0] == '-' ? 1 : 0));
    if (value(rows, SYSTEM)[0] == '-')
        facts->system = 0 - facts->system;
    facts->lsn = number(rows, LSN);
    facts->segment_size = (uint32_t)number(rows, SEGMENT_SIZE);
    facts->can_rewind = is_true(rows, CAN_REWIND);
    if (ha_text_copy(facts->sync_names, sizeof(facts->sync_names), value(rows, SYNC_NAMES)) !=
        HA_OK)
        facts->sync_names[0] = '\0';
    sample->sync_id = ha_sync_id(value(rows, SYNC_NAMES));
    if (is_true(rows, RECOVERY)) /* another name, of its own */
        read_standby(rows, facts);
    else
        read_primary(rows, facts);
    sample->position.offset = facts->lsn;
    if (facts->replaying) {
        sample->answer = HA_ANSWER_STARTING;
        (void)ha_text_copy(sample->text, sizeof(sample->text), "replaying its own WAL");
        return;
    }
    sample->lacks_rights = value(rows, LACKS)[0] != '\0';
    if (sample->lacks_rights) /* a cut sentence is good enough */
        (void)ha_text_format(sample->text, sizeof(sample->text), "the agent's role lacks %.150s",
                             value(rows, LACKS));
    if (!facts->can_rewind)
        (void)ha_text_append(sample->text, sizeof(sample->text),
                             "%sno data checksums and no wal_log_hints: it cannot be rewound",
                             sample->text[0] != '\0' ? "; " : "");
}
