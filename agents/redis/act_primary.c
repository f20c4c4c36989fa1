/* Acts of a primary: become one, serve, stop writes. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agents/redis/act.h"
#include "lib/base/text.h"
#include "lib/io/addr.h"

/* --- PROMOTE --- */

static void on_promoted(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    act->acts.doing = "REPLICAOF NO ONE";
    if (!ha_redis_act_check(act, outcome, 0) || !ha_redis_act_look(act, outcome, 2))
        return;
    if (act->facts.sample.role != HA_ROLE_PRIMARY) {
        ha_redis_act_fail(act, HA_EIO, "it is still a replica after REPLICAOF NO ONE");
        return;
    }
    act->changed = true;
    ha_redis_act_done(act);
}

void ha_redis_act_promote(struct ha_redis_act *act)
{
    struct ha_redis_batch *batch = ha_redis_act_batch(act);

    act->acts.doing = "REPLICAOF NO ONE";
    act->drained_run = 0;
    /* Nothing to look at first: on a primary the command does nothing. */
    HA_REDIS_ADD(batch, "REPLICAOF", "NO", "ONE");
    HA_REDIS_ADD(batch, "CLIENT", "UNPAUSE");
    ha_redis_facts_ask(batch);
    ha_redis_act_send(act, batch, on_promoted);
}

/* --- SERVE --- */

/* The value in the answer to CONFIG GET of one name; NULL: none. */
static const char *config_value(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_STRING)
        return NULL;
    return reply->element[1]->str;
}

static bool is_value(const redisReply *reply, const char *want)
{
    const char *value = config_value(reply);

    return value != NULL && strcmp(value, want) == 0;
}

static void on_served(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    for (uint32_t i = 0; i + HA_REDIS_FACTS_COMMANDS < outcome->count; i++) {
        if (!ha_redis_act_check(act, outcome, i))
            return;
    }
    if (ha_redis_act_look(act, outcome, outcome->count - HA_REDIS_FACTS_COMMANDS))
        ha_redis_act_done(act);
}

/* What min-replicas-to-write should be; NULL: as it is. */
static const char *wanted_min(const struct ha_redis_act *act, const redisReply *now, char *to,
                              size_t size)
{
    if (act->acts.ask.min_replicas != UINT32_MAX) {
        (void)ha_text_format(to, size, "%" PRIu32, act->acts.ask.min_replicas);
        return to;
    }
    /* A drain that lost its agent half-way left it closed. */
    return is_value(now, HA_REDIS_CLOSED) ? "0" : NULL;
}

static void on_serve_seen(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    const redisReply *min_now = outcome->replies[HA_REDIS_FACTS_COMMANDS];
    const redisReply *lag_now = outcome->replies[HA_REDIS_FACTS_COMMANDS + 1];
    struct ha_redis_batch *batch;
    const char *min;
    char text[16];

    if (!ha_redis_act_look(act, outcome, 0))
        return;
    if (act->facts.sample.role != HA_ROLE_PRIMARY) {
        ha_redis_act_fail(act, HA_ESTALE, "it is not a primary");
        return;
    }
    if (act->acts.ask.run_id != 0 && act->facts.sample.run_id != act->acts.ask.run_id) {
        ha_redis_act_fail(act, HA_ESTALE, "it was started anew since it was promoted");
        return;
    }
    act->acts.doing = "settings of a primary";
    batch = ha_redis_act_batch(act);
    HA_REDIS_ADD(batch, "CLIENT", "UNPAUSE");
    min = wanted_min(act, min_now, text, sizeof(text));
    if (min != NULL && !is_value(min_now, min)) {
        HA_REDIS_ADD(batch, "CONFIG", "SET", "min-replicas-to-write", min);
        act->changed = true;
    }
    if (act->acts.ask.min_replicas != UINT32_MAX && !is_value(lag_now, HA_REDIS_MAX_LAG_S)) {
        HA_REDIS_ADD(batch, "CONFIG", "SET", "min-replicas-max-lag", HA_REDIS_MAX_LAG_S);
        act->changed = true;
    }
    ha_redis_facts_ask(batch);
    ha_redis_act_send(act, batch, on_served);
}

static void ask_with_min(struct ha_redis_act *act, ha_redis_act_step step)
{
    struct ha_redis_batch *batch = ha_redis_act_batch(act);

    act->drained_run = 0;
    ha_redis_facts_ask(batch);
    HA_REDIS_ADD(batch, "CONFIG", "GET", "min-replicas-to-write");
    HA_REDIS_ADD(batch, "CONFIG", "GET", "min-replicas-max-lag");
    ha_redis_act_send(act, batch, step);
}

void ha_redis_act_serve(struct ha_redis_act *act)
{
    ask_with_min(act, on_serve_seen);
}

/* --- DRAIN --- */

/* The value of "key=" in a line of CLIENT LIST. */
static int client_address(const char *line, size_t size, const char *key,
                          struct sockaddr_storage *ret)
{
    const char *at = memmem(line, size, key, strlen(key));
    char text[HA_ADDR_TEXT_SIZE];
    struct ha_addr addr;
    size_t length;

    if (at == NULL)
        return HA_ENOENT;
    at += strlen(key);
    length = strcspn(at, " \n");
    if (length >= sizeof(text))
        return HA_EPROTO;
    memcpy(text, at, length);
    text[length] = '\0';
    if (ha_addr_parse(text, 0, &addr) != HA_OK || ha_addr_is_unix(&addr) ||
        addr.size > sizeof(*ret))
        return HA_EPROTO;
    memset(ret, 0, sizeof(*ret));
    memcpy(ret, &addr.sa, addr.size);
    return HA_OK;
}

/* Replication connections as the server names them; one that cannot be read is left out, so that
 * it is not let through a closed gate. */
static void read_clients(struct ha_redis_act *act, const redisReply *reply)
{
    const char *line = reply->str;

    if (reply->type != REDIS_REPLY_STRING)
        return;
    while (*line != '\0' && act->acts.acted.replication_count < HA_MEMBERS_MAX) {
        size_t size = strcspn(line, "\n");
        struct ha_replication *to =
            &act->acts.acted.replications[act->acts.acted.replication_count];

        if (client_address(line, size, " laddr=", &to->local) == HA_OK &&
            client_address(line, size, " addr=", &to->remote) == HA_OK)
            act->acts.acted.replication_count++;
        line += size + (line[size] == '\n' ? 1 : 0);
    }
}

static uint32_t caught_up(const struct ha_redis_act *act)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < act->facts.info.online; i++) {
        if (act->facts.info.acked[i] >= act->drain_offset)
            count++;
    }
    return count;
}

static void on_drain_seen(struct ha_redis_act *act, const struct ha_redis_outcome *outcome);

static void ask_drain(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    struct ha_redis_batch *batch = ha_redis_act_batch(act);

    (void)outcome;
    ha_redis_facts_ask(batch);
    ha_redis_act_send(act, batch, on_drain_seen);
}

/* Never an error: which replica has every byte is seen in its own sample, and the last position of
 * this one is in ours. */
static void drained(struct ha_redis_act *act)
{
    uint32_t online = act->facts.info.online;
    uint32_t whole = caught_up(act);

    if (online > 0 && whole == online)
        act->drained_run = act->facts.sample.run_id;
    (void)ha_text_format(act->acts.acted.text, sizeof(act->acts.acted.text),
                         "%" PRIu32 " of %" PRIu32 " replicas have every byte", whole, online);
    ha_redis_act_done(act);
}

static void go_on_draining(struct ha_redis_act *act)
{
    if (caught_up(act) == act->facts.info.online ||
        ha_acts_age_ms(&act->acts) >= act->acts.ask.deadline_ms / 4 * 3)
        drained(act);
    else
        ha_redis_act_poll(act, ask_drain);
}

static void on_drain_seen(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    if (ha_redis_act_look(act, outcome, 0))
        go_on_draining(act);
}

/* The answers to stop_writes, by place. */
enum { CLOSE, AT_CLOSE, WAIT, PAUSE, REOPEN, CLIENTS, LOOK };

static void on_stopped(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    struct ha_redis_info at_close = {0};
    const redisReply *info = outcome->replies[AT_CLOSE];

    if (!ha_redis_act_check(act, outcome, PAUSE) || !ha_redis_act_look(act, outcome, LOOK))
        return;
    read_clients(act, outcome->replies[CLIENTS]);
    act->acts.doing = "waiting for the replicas";
    act->drain_offset = act->facts.info.master_offset;
    /* What came after the close is WAIT's own question to the replicas, no write. */
    if (act->drain_closes && outcome->replies[CLOSE]->type == REDIS_REPLY_STATUS &&
        info->type == REDIS_REPLY_STRING &&
        ha_redis_info_parse(&at_close, info->str, (size_t)info->len, NULL) == HA_OK)
        act->drain_offset = at_close.master_offset;
    go_on_draining(act);
}

/* A paused server does not ask its replicas what they have, and they tell unasked only every second
 * or two. So writes are first refused, by a min-replicas-to-write that no service can reach; then
 * WAIT asks the replicas, which takes a round trip; then the pause takes over from the refusal. All
 * in one batch, so that the refusal lasts a moment. @min_after ends it; NULL: nothing to end. */
static void stop_writes(struct ha_redis_act *act, const char *min_after)
{
    struct ha_redis_batch *batch = ha_redis_act_batch(act);
    uint64_t pause_ms = (uint64_t)act->acts.ask.deadline_ms * 2;
    char online[16], pause[16], wait[16];

    /* Longer than the act, so that writes stay out until the gate is closed; bounded, so that
     * nobody has to remember to end it. */
    if (pause_ms > HA_REDIS_PAUSE_MAX_MS)
        pause_ms = HA_REDIS_PAUSE_MAX_MS;
    (void)ha_text_format(pause, sizeof(pause), "%" PRIu64, pause_ms);
    (void)ha_text_format(online, sizeof(online), "%" PRIu32, act->facts.info.online);
    (void)ha_text_format(wait, sizeof(wait), "%" PRIu32, HA_REDIS_WAIT_MS);
    act->acts.doing = "stopping writes";
    if (act->drain_closes) {
        HA_REDIS_ADD(batch, "CONFIG", "SET", "min-replicas-to-write", HA_REDIS_CLOSED);
        HA_REDIS_ADD(batch, "INFO", "replication");
        HA_REDIS_ADD(batch, "WAIT", online, wait);
    } else {
        for (int i = CLOSE; i <= WAIT; i++)
            HA_REDIS_ADD(batch, "PING"); /* keeps the places */
    }
    HA_REDIS_ADD(batch, "CLIENT", "PAUSE", pause, "WRITE");
    if (min_after != NULL)
        HA_REDIS_ADD(batch, "CONFIG", "SET", "min-replicas-to-write", min_after);
    else
        HA_REDIS_ADD(batch, "PING");
    HA_REDIS_ADD(batch, "CLIENT", "LIST", "TYPE", "replica");
    ha_redis_facts_ask(batch);
    ha_redis_act_send(act, batch, on_stopped);
}

static void on_drain_seen_first(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    const redisReply *lag = outcome->replies[HA_REDIS_FACTS_COMMANDS + 1];
    const char *min_now = config_value(outcome->replies[HA_REDIS_FACTS_COMMANDS]);

    if (!ha_redis_act_look(act, outcome, 0))
        return;
    if (act->facts.sample.role != HA_ROLE_PRIMARY) {
        ha_redis_act_fail(act, HA_ESTALE, "it is not a primary");
        return;
    }
    /* With a lag of 0 Redis does not look at the number at all. */
    act->drain_closes = act->facts.info.online > 0 && min_now != NULL &&
                        config_value(lag) != NULL && !is_value(lag, "0");
    if (min_now != NULL && strcmp(min_now, HA_REDIS_CLOSED) == 0)
        stop_writes(act, "0"); /* left by a drain that lost its agent */
    else
        stop_writes(act, act->drain_closes ? min_now : NULL);
}

void ha_redis_act_drain(struct ha_redis_act *act)
{
    ask_with_min(act, on_drain_seen_first);
}
