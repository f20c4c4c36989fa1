/* What a PostgreSQL server and its tools say: always a sound sample, never more than is there. The
 * first byte chooses the reader; the rest is its text, or the columns of a row, one a line. */
#include <libpq-fe.h>
#include <string.h>

#include "agents/postgresql/facts.h"
#include "agents/postgresql/parse.h"
#include "agents/postgresql/server.h"
#include "lib/base/err.h"
#include "lib/core/sync.h"
#include "tests/fuzz/fuzz.h"

/* A row of @text's lines; an empty line is NULL. */
static PGresult *row_of(char *text)
{
    PGresult *rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc columns[HA_PG_FACTS_COLUMNS];

    FUZZ_CHECK(rows != NULL);
    memset(columns, 0, sizeof(columns));
    for (int i = 0; i < HA_PG_FACTS_COLUMNS; i++)
        columns[i].name = text;
    FUZZ_CHECK(PQsetResultAttrs(rows, HA_PG_FACTS_COLUMNS, columns) != 0);
    for (int i = 0; i < HA_PG_FACTS_COLUMNS; i++) {
        size_t size = strcspn(text, "\n");
        char *next = text + size + (text[size] == '\n' ? 1 : 0);

        text[size] = '\0';
        FUZZ_CHECK(PQsetvalue(rows, 0, i, size > 0 ? text : NULL, size > 0 ? (int)size : -1) != 0);
        text = next;
    }
    return rows;
}

static void check_sample(const struct ha_sample *sample)
{
    FUZZ_CHECK(sample->answer == HA_ANSWER_OK || sample->answer == HA_ANSWER_STARTING);
    FUZZ_CHECK(sample->role == HA_ROLE_PRIMARY || sample->role == HA_ROLE_REPLICA);
    FUZZ_CHECK(memchr(sample->upstream_host, '\0', sizeof(sample->upstream_host)) != NULL);
    FUZZ_CHECK(memchr(sample->text, '\0', sizeof(sample->text)) != NULL);
}

static void read_row(char *text)
{
    PGresult *rows = row_of(text);
    const struct ha_pg_answer answer = {.code = HA_OK, .text = "", .rows = rows};
    struct ha_pg_facts facts;

    ha_pg_facts_read(&answer, &facts);
    check_sample(&facts.sample);
    FUZZ_CHECK(facts.sample.role != HA_ROLE_REPLICA || facts.lsn >= facts.replayed);
    FUZZ_CHECK(facts.sample.position.offset == facts.lsn);
    PQclear(rows);
}

static void read_error(const char *text)
{
    struct ha_pg_answer answer = {.code = HA_EIO, .text = text};
    struct ha_pg_facts facts;

    for (size_t i = 0; i + 1 < sizeof(answer.state) && text[i] != '\0'; i++)
        answer.state[i] = text[i];
    ha_pg_facts_read(&answer, &facts);
    FUZZ_CHECK(ha_answer_valid(facts.sample.answer) && facts.sample.answer != HA_ANSWER_OK);
    FUZZ_CHECK(ha_pg_code_of(&answer) != HA_OK);
}

/* Two readers of one history agree on where a timeline forked off. */
static void read_history(const char *text)
{
    struct ha_lineage lineage = {0};
    uint32_t newest = 9;
    uint64_t fork;

    if (ha_pg_lineage_parse(77, newest, text, &lineage) != HA_OK)
        return;
    FUZZ_CHECK(lineage.count >= 1 && lineage.count <= HA_LINEAGE_MAX);
    FUZZ_CHECK(lineage.steps[0].end == UINT64_MAX);
    for (uint32_t i = 0; i < lineage.count; i++)
        FUZZ_CHECK(lineage.steps[i].id != 0);
    FUZZ_CHECK(ha_pg_history_fork(newest, text, newest, &fork) == HA_OK && fork == UINT64_MAX);
    for (uint32_t timeline = newest - 1; timeline > 0; timeline--) {
        bool found = ha_pg_history_fork(newest, text, timeline, &fork) == HA_OK;

        if (!found)
            continue;
        FUZZ_CHECK(lineage.count > 1 && lineage.steps[1].end == fork);
        break;
    }
}

static void read_control(const char *text)
{
    struct ha_pg_control control = {0};

    if (ha_pg_control_parse(text, &control) == HA_OK)
        FUZZ_CHECK(control.exists && (!control.clean || control.was_primary));
    else
        FUZZ_CHECK(!control.exists);
}

/* Between quotes it is read as @text: every quote in it is there twice. */
static void check_quoted(const char *quoted, const char *text)
{
    for (; *text != '\0'; text++) {
        FUZZ_CHECK(*quoted++ == *text);
        if (*text == '\'')
            FUZZ_CHECK(*quoted++ == '\'');
    }
    FUZZ_CHECK(*quoted == '\0');
}

static void read_name(const char *text)
{
    char quoted[256], lsn[40];
    uint64_t at, again;

    (void)ha_sync_id(text);
    if (ha_pg_quote(text, quoted, sizeof(quoted)) == HA_OK)
        check_quoted(quoted, text);
    if (!ha_pg_lsn(text, &at))
        return;
    (void)snprintf(lsn, sizeof(lsn), "%X/%X", (unsigned)(at >> 32), (unsigned)at);
    FUZZ_CHECK(ha_pg_lsn(lsn, &again) && again == at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size < 1 || memchr(data + 1, '\0', size - 1) != NULL)
        return 0;
    text = malloc(size);
    FUZZ_CHECK(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 5) {
    case 0:
        read_row(text);
        break;
    case 1:
        read_error(text);
        break;
    case 2:
        read_history(text);
        break;
    case 3:
        read_control(text);
        break;
    default:
        read_name(text);
        break;
    }
    free(text);
    return 0;
}
