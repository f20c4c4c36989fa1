#include "cmd/hafailoverctl/print.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"

#define COLUMNS_MAX 10u
#define ROWS_MAX 1024u
#define CELL_SIZE 208u

/* A small table: cells are cut to fit, columns as wide as their widest cell. */
struct table {
    unsigned columns, rows;
    char (*cells)[COLUMNS_MAX][CELL_SIZE];
};

static char cell_memory[ROWS_MAX][COLUMNS_MAX][CELL_SIZE];

static void table_begin(struct table *table, unsigned columns)
{
    *table = (struct table){.columns = columns, .cells = cell_memory};
    memset(cell_memory[0], 0, sizeof(cell_memory[0]));
}

static void cell(struct table *table, unsigned column, const char *text)
{
    if (table->rows < ROWS_MAX && column < COLUMNS_MAX)
        (void)snprintf(table->cells[table->rows][column], CELL_SIZE, "%s", text); /* cut is fine */
}

static void next_row(struct table *table)
{
    if (table->rows + 1 < ROWS_MAX)
        memset(table->cells[++table->rows], 0, sizeof(table->cells[0]));
}

static void table_print(const struct table *table, const char *indent)
{
    size_t widths[COLUMNS_MAX] = {0};

    for (unsigned row = 0; row < table->rows; row++) {
        for (unsigned column = 0; column < table->columns; column++) {
            size_t size = strlen(table->cells[row][column]);

            widths[column] = size > widths[column] ? size : widths[column];
        }
    }
    for (unsigned row = 0; row < table->rows; row++) {
        fputs(indent, stdout);
        for (unsigned column = 0; column < table->columns; column++) {
            bool is_last = column + 1 == table->columns;

            printf("%-*s%s", is_last ? 0 : (int)widths[column], table->cells[row][column],
                   is_last ? "\n" : "  ");
        }
    }
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

static json_int_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static void number_cell(struct table *table, unsigned column, const json_t *object, const char *key,
                        const char *unit)
{
    const json_t *value = json_object_get(object, key);
    char text[CELL_SIZE] = "-";

    if (json_is_integer(value))
        (void)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT "%s", json_integer_value(value),
                       unit);
    cell(table, column, text);
}

static void head(struct table *table, const char *const *names)
{
    for (unsigned column = 0; column < table->columns; column++)
        cell(table, column, names[column]);
    next_row(table);
}

/* Whether it could take over; also where it could, what is worth mending before that day. */
static void could_cell(struct table *table, unsigned column, const json_t *member)
{
    const char *reason = text_of(member, "reason"), *fitness = text_of(member, "fitness");
    char text[CELL_SIZE];

    if (reason[0] == '\0')
        reason = fitness;
    if (!is_true(member, "candidate")) {
        cell(table, column, reason);
        return;
    }
    (void)snprintf(text, sizeof(text), "yes%s%s", strcmp(reason, fitness) != 0 ? "; " : "",
                   strcmp(reason, fitness) != 0 ? reason : "");
    cell(table, column, text);
}

static void print_members(const json_t *service)
{
    static const char *const names[] = {"MEMBER", "ADDRESS", "ROLE", "VERDICT",        "LAG",
                                        "LEASE",  "GATE",    "VIP",  "COULD TAKE OVER"};
    struct table table;
    const json_t *member;
    size_t at;

    table_begin(&table, HA_ARRAY_LEN(names));
    head(&table, names);
    json_array_foreach(json_object_get(service, "members"), at, member)
    {
        char gate[CELL_SIZE];

        cell(&table, 0, text_of(member, "name"));
        cell(&table, 1, text_of(member, "address"));
        cell(&table, 2, text_of(member, "role"));
        cell(&table, 3, text_of(member, "verdict"));
        number_cell(&table, 4, member, "lag_bytes", " B");
        number_cell(&table, 5, member, "lease_ms_left", " ms");
        (void)snprintf(gate, sizeof(gate), "%s %s", text_of(member, "gate"),
                       is_true(member, "gate_open") ? "open" : "closed");
        cell(&table, 6, gate);
        cell(&table, 7, is_true(member, "vip_held") ? "held" : "-");
        could_cell(&table, 8, member);
        next_row(&table);
    }
    table_print(&table, "  ");
}

static void print_service(const json_t *service)
{
    const char *primary = text_of(service, "primary");
    const char *vip = text_of(service, "vip");
    const char *why = text_of(service, "why");
    const char *sync = text_of(json_object_get(service, "sync"), "text");
    const char *hold = text_of(json_object_get(service, "hold"), "text");

    printf("\nservice %s (%s, %s)\n", text_of(service, "name"), text_of(service, "engine"),
           text_of(service, "durability"));
    printf("  state %s, epoch %" JSON_INTEGER_FORMAT ", primary %s, vip %s, fence %s%s\n",
           text_of(service, "state"), number_of(service, "epoch"),
           primary[0] != '\0' ? primary : "none", vip[0] != '\0' ? vip : "none",
           text_of(service, "fence"), is_true(service, "paused") ? ", PAUSED" : "");
    if (is_true(service, "paused"))
        printf("  paused by %s%s%s, until %s\n", text_of(service, "paused_by"),
               text_of(service, "paused_why")[0] != '\0' ? ": " : "",
               text_of(service, "paused_why"),
               text_of(service, "paused_until")[0] != '\0' ? text_of(service, "paused_until")
                                                           : "resumed");
    if (sync[0] != '\0' && strcmp(sync, why) != 0)
        printf("  %s\n", sync);
    if (hold[0] != '\0' && strcmp(hold, why) != 0)
        printf("  %s\n", hold);
    if (why[0] != '\0')
        printf("  %s\n", why);
    if (is_true(service, "ready"))
        printf("  ready: yes%s\n", is_true(service, "paused")
                                       ? ", but nothing is done by itself while paused"
                                   : !is_true(service, "automatic") ? ", but automatic is set to no"
                                                                    : "");
    else
        printf("  ready: no, because %s\n", text_of(service, "ready_reason"));
    print_members(service);
}

void ha_print_watchers(const json_t *watchers)
{
    static const char *const names[] = {"WATCHER", "ROLE", "TERM", "REACHABLE"};
    struct table table;
    const json_t *watcher;
    size_t at;

    table_begin(&table, HA_ARRAY_LEN(names));
    head(&table, names);
    json_array_foreach(watchers, at, watcher)
    {
        cell(&table, 0, text_of(watcher, "name"));
        cell(&table, 1, text_of(watcher, "role"));
        number_cell(&table, 2, watcher, "term", "");
        cell(&table, 3, is_true(watcher, "reachable") ? "yes" : "no");
        next_row(&table);
    }
    table_print(&table, "");
}

void ha_print_status(const json_t *status)
{
    const json_t *stale = json_object_get(status, "staleness_ms");
    const char *leader = text_of(status, "leader");
    const json_t *service, *webhook;
    size_t at;

    printf("configuration %" JSON_INTEGER_FORMAT ", as %s has it",
           number_of(status, "config_version"), text_of(status, "served_by"));
    if (leader[0] == '\0')
        printf("; NO LEADER IS KNOWN");
    else if (json_integer_value(stale) > 0)
        printf("; the leader %s was heard %" JSON_INTEGER_FORMAT " ms ago", leader,
               json_integer_value(stale));
    printf("\n");
    json_array_foreach(json_object_get(status, "webhooks_in_the_clear"), at, webhook) printf(
        "webhook %s is told in the clear, as insecure = yes allows\n", json_string_value(webhook));
    ha_print_watchers(json_object_get(status, "watchers"));
    json_array_foreach(json_object_get(status, "services"), at, service)
    {
        print_service(service);
    }
}

/* What the old primary really had, once it came back; until then what was known of it. */
static void lost_cell(struct table *table, unsigned column, const json_t *decision)
{
    const json_t *found = json_object_get(decision, "found");

    if (json_is_object(found))
        number_cell(table, column, found, "lost_bytes", " B");
    else
        number_cell(table, column, decision, "lost_bytes", " B known");
}

void ha_print_history(const json_t *history)
{
    static const char *const names[] = {"ID",   "TIME", "SERVICE", "EPOCH", "REASON",
                                        "FROM", "TO",   "FENCE",   "TOOK",  "LOST"};
    struct table table;
    const json_t *decision;
    size_t at;

    table_begin(&table, HA_ARRAY_LEN(names));
    head(&table, names);
    json_array_foreach(json_object_get(history, "decisions"), at, decision)
    {
        const json_t *stages = json_object_get(decision, "stages_ms");

        number_cell(&table, 0, decision, "id", "");
        cell(&table, 1, text_of(decision, "noticed"));
        cell(&table, 2, text_of(decision, "service"));
        number_cell(&table, 3, decision, "epoch", "");
        cell(&table, 4, text_of(decision, "reason"));
        cell(&table, 5, text_of(decision, "from")[0] != '\0' ? text_of(decision, "from") : "-");
        cell(&table, 6, text_of(decision, "to")[0] != '\0' ? text_of(decision, "to") : "-");
        cell(&table, 7, text_of(decision, "fence"));
        number_cell(&table, 8, stages, "opened", " ms");
        lost_cell(&table, 9, decision);
        next_row(&table);
    }
    table_print(&table, "");
}

static void print_lost(const json_t *decision)
{
    const json_t *found = json_object_get(decision, "found");
    const char *from = text_of(decision, "from"), *kept = text_of(found, "kept");

    printf("  lost: %" JSON_INTEGER_FORMAT " bytes known at the failover",
           number_of(decision, "lost_bytes"));
    if (json_is_object(found))
        printf("; %" JSON_INTEGER_FORMAT " found when %s came back", number_of(found, "lost_bytes"),
               from);
    else if (from[0] != '\0')
        printf("; %s has told nothing since", from); /* nor does one of Redis */
    if (number_of(found, "lost_bytes") > 0)
        printf(", kept there: %s", kept);
    if (number_of(found, "lost_bytes") > 0 && strcmp(kept, "not kept") != 0)
        printf(" (tail-%" JSON_INTEGER_FORMAT ")", number_of(found, "epoch"));
    printf("\n\n");
}

void ha_print_decision(const json_t *decision)
{
    static const char *const stages[][2] = {
        {"agreed", "a quorum agreed"},
        {"fenced", "the old epoch was fenced"},
        {"chosen", "a member was chosen"},
        {"promoted", "it was promoted"},
        {"opened", "it holds lease, gate and address"},
        {"done", "the others follow it"},
    };
    const json_t *times = json_object_get(decision, "stages_ms");
    const json_t *one;
    struct table table;
    size_t at;

    printf("decision %" JSON_INTEGER_FORMAT ": service %s, epoch %" JSON_INTEGER_FORMAT
           " -> %" JSON_INTEGER_FORMAT ", %s -> %s\n",
           number_of(decision, "id"), text_of(decision, "service"),
           number_of(decision, "epoch_from"), number_of(decision, "epoch"),
           text_of(decision, "from")[0] != '\0' ? text_of(decision, "from") : "nobody",
           text_of(decision, "to")[0] != '\0' ? text_of(decision, "to") : "nobody");
    printf("  why: %s, verdict %s; %s\n", text_of(decision, "reason"), text_of(decision, "verdict"),
           text_of(decision, "text"));
    printf("  watchers that agreed:");
    json_array_foreach(json_object_get(decision, "agreeing"), at, one)
        printf(" %s", json_string_value(one));
    printf("\n  fence: %s, waited %" JSON_INTEGER_FORMAT
           " ms; promotions tried: %" JSON_INTEGER_FORMAT "\n",
           text_of(decision, "fence"), number_of(decision, "waited_ms"),
           number_of(decision, "attempts"));
    print_lost(decision);
    printf("  %s  noticed\n", text_of(decision, "noticed"));
    for (size_t i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
        const json_t *value = json_object_get(times, stages[i][0]);

        if (json_is_integer(value))
            printf("  %+8" JSON_INTEGER_FORMAT " ms  %s\n", json_integer_value(value),
                   stages[i][1]);
    }
    printf("  outcome: %s%s%s\n\n", text_of(decision, "outcome"),
           text_of(decision, "state")[0] != '\0' ? ", now " : "", text_of(decision, "state"));
    table_begin(&table, 4);
    head(&table, (const char *const[]){"MEMBER", "OFFSET", "BEHIND", "JUDGED"});
    json_array_foreach(json_object_get(decision, "candidates"), at, one)
    {
        cell(&table, 0, text_of(one, "member"));
        number_cell(&table, 1, one, "offset", "");
        number_cell(&table, 2, one, "behind_bytes", " B");
        cell(&table, 3, text_of(one, "fitness"));
        next_row(&table);
    }
    table_print(&table, "  ");
    if (json_array_size(json_object_get(decision, "notices")) > 0)
        printf("\n");
    json_array_foreach(json_object_get(decision, "notices"), at, one) ha_print_event(one);
}

static void print_judged(const json_t *members)
{
    struct table table;
    const json_t *one;
    size_t at;

    table_begin(&table, 4);
    head(&table, (const char *const[]){"MEMBER", "COULD", "OFFSET", "JUDGED"});
    json_array_foreach(members, at, one)
    {
        cell(&table, 0, text_of(one, "member"));
        cell(&table, 1, is_true(one, "could") ? "yes" : "no");
        number_cell(&table, 2, one, "offset", "");
        cell(&table, 3, text_of(one, "reason"));
        next_row(&table);
    }
    table_print(&table, "  ");
}

void ha_print_plan(const json_t *plan)
{
    struct table table;
    const json_t *one;
    size_t at;

    printf("switchover of %s, %s -> %s, as %s sees it\n", text_of(plan, "service"),
           text_of(plan, "from")[0] != '\0' ? text_of(plan, "from") : "nobody",
           text_of(plan, "to")[0] != '\0' ? text_of(plan, "to") : "nobody",
           text_of(plan, "served_by"));
    table_begin(&table, 3);
    head(&table, (const char *const[]){"CHECK", "OK", "FOUND"});
    json_array_foreach(json_object_get(plan, "checks"), at, one)
    {
        cell(&table, 0, text_of(one, "check"));
        cell(&table, 1, is_true(one, "ok") ? "yes" : "NO");
        cell(&table, 2, text_of(one, "text"));
        next_row(&table);
    }
    table_print(&table, "  ");
    if (is_true(plan, "ok"))
        printf("%s\n", text_of(plan, "text"));
}

void ha_print_why_not(const json_t *answer)
{
    const char *would = text_of(answer, "would_promote");
    const char *primary = text_of(answer, "primary");
    const json_t *one;
    size_t at;

    printf("service %s is %s, primary %s, as %s sees it\n", text_of(answer, "service"),
           text_of(answer, "state"), primary[0] != '\0' ? primary : "none",
           text_of(answer, "served_by"));
    if (is_true(answer, "due"))
        printf("a failover is due: nothing speaks against it\n");
    else
        printf("no failover now, because\n");
    json_array_foreach(json_object_get(answer, "reasons"), at, one)
        printf("  %s\n", json_string_value(one));
    if (would[0] != '\0')
        printf("if there were one, %s would be promoted\n", would);
    else
        printf("if there were one, nobody could be promoted\n");
    print_judged(json_object_get(answer, "members"));
}

void ha_print_event(const json_t *event)
{
    printf("%8" JSON_INTEGER_FORMAT "  %s  %-16s  %-12s  %s\n", number_of(event, "seq"),
           text_of(event, "time"), text_of(event, "kind"),
           text_of(event, "service")[0] != '\0' ? text_of(event, "service") : "-",
           text_of(event, "text"));
}

void ha_print_webhooks(const json_t *answer)
{
    struct table table;
    const json_t *one;
    size_t at;

    table_begin(&table, 3);
    head(&table, (const char *const[]){"WEBHOOK", "SERVICE", "WAITING"});
    json_array_foreach(json_object_get(answer, "webhooks"), at, one)
    {
        cell(&table, 0, text_of(one, "name"));
        cell(&table, 1, text_of(one, "service")[0] != '\0' ? text_of(one, "service") : "all");
        number_cell(&table, 2, one, "waiting", "");
        next_row(&table);
    }
    table_print(&table, "");
}

void ha_print_archive(const json_t *archive)
{
    static const char *const names[] = {"VERSION", "TIME", "AUTHOR", "SIZE"};
    struct table table;
    const json_t *version;
    size_t at;

    table_begin(&table, HA_ARRAY_LEN(names));
    head(&table, names);
    json_array_foreach(json_object_get(archive, "versions"), at, version)
    {
        number_cell(&table, 0, version, "version", "");
        cell(&table, 1, text_of(version, "time"));
        cell(&table, 2, text_of(version, "author"));
        number_cell(&table, 3, version, "size", " B");
        next_row(&table);
    }
    table_print(&table, "");
}
