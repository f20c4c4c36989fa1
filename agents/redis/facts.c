#include "agents/redis/facts.h"

#include <assert.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"

/* Formatted once for all: thousands of servers are asked five times a second. One section each:
 * Redis before 7.0 takes only one. */
#define INFO(size, section) "*2\r\n$4\r\nINFO\r\n$" size "\r\n" section "\r\n"
static const char questions[] = "*1\r\n$4\r\nPING\r\n" INFO("6", "server") INFO("11", "replication")
    INFO("11", "persistence") INFO("8", "keyspace");
#undef INFO

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

enum ha_answer ha_redis_answer(int code, const char *text)
{
    switch (code) {
    case HA_EREFUSED:
        return HA_ANSWER_REFUSED;
    case HA_EUNREACH:
        return HA_ANSWER_UNREACHABLE;
    case HA_ECLOSED:
        return HA_ANSWER_CLOSED;
    case HA_EFULL:
        return HA_ANSWER_FULL;
    case HA_EAUTH:
    case HA_EDENIED:
        return HA_ANSWER_DENIED;
    case HA_EBUSY:
        return has_prefix(text, "LOADING") ? HA_ANSWER_STARTING : HA_ANSWER_BUSY;
    default: /* deadline passed, or nothing that a database would say: no answer of one */
        return HA_ANSWER_NONE;
    }
}

void ha_redis_facts_ask(struct ha_redis_batch *batch)
{
    ha_redis_batch_add_formatted(batch, questions, sizeof(questions) - 1, HA_REDIS_FACTS_COMMANDS);
}

static void set_trouble(struct ha_sample *sample, int code, const char *text)
{
    sample->answer = ha_redis_answer(code, text);
    sample->writable = true; /* not known to be false */
    (void)ha_text_format(sample->text, sizeof(sample->text), "%s", text);
}

static int read_info(const struct ha_redis_outcome *outcome, uint32_t at,
                     struct ha_redis_facts *facts, struct ha_err *err)
{
    int rc;

    for (uint32_t i = at + 1; i < at + HA_REDIS_FACTS_COMMANDS; i++) {
        const redisReply *reply = outcome->replies[i];

        if (reply->type == REDIS_REPLY_ERROR) {
            rc = ha_redis_error_code(reply->str);
            /* A renamed or unknown INFO: alive, and we may not look. */
            return ha_err_set(err, rc == HA_EIO ? HA_EDENIED : rc, "%s", reply->str);
        }
        if (reply->type != REDIS_REPLY_STRING)
            return ha_err_set(err, HA_EPROTO, "INFO was not answered with a text");
        rc = ha_redis_info_parse(&facts->info, reply->str, (size_t)reply->len, err);
        if (rc != HA_OK)
            return rc;
    }
    return ha_redis_info_sample(&facts->info, &facts->sample, err);
}

/* PING is answered with an error by a server that is alive but not well. */
static void read_ping(const redisReply *reply, struct ha_sample *sample)
{
    int code;

    if (reply->type != REDIS_REPLY_ERROR)
        return;
    if (has_prefix(reply->str, "MISCONF")) {
        sample->writable = false;
        (void)ha_text_format(sample->text, sizeof(sample->text), "%s", reply->str);
        return;
    }
    code = ha_redis_error_code(reply->str);
    if (code == HA_EIO)
        return; /* MASTERDOWN, or PING renamed: it answered, and INFO told the rest */
    sample->answer = ha_redis_answer(code, reply->str);
    (void)ha_text_format(sample->text, sizeof(sample->text), "%s", reply->str);
}

void ha_redis_facts_read(const struct ha_redis_outcome *outcome, uint32_t at,
                         struct ha_redis_facts *facts)
{
    struct ha_err err = {0};
    int rc = outcome->code;

    memset(facts, 0, sizeof(*facts));
    if (rc != HA_OK) {
        set_trouble(&facts->sample, rc, outcome->text);
        return;
    }
    assert(at + HA_REDIS_FACTS_COMMANDS <= outcome->count);
    rc = read_info(outcome, at, facts, &err);
    if (rc != HA_OK) {
        set_trouble(&facts->sample, rc, err.text);
        return;
    }
    read_ping(outcome->replies[at], &facts->sample);
    if (facts->info.process_id <= INT32_MAX)
        facts->pid = (int32_t)facts->info.process_id;
}
