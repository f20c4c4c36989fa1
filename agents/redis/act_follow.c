/* FOLLOW: become a replica of the named upstream, and lose nothing on the way that can be kept.
 *
 * A primary that becomes a replica may hold writes that nobody else has, and the full copy it then
 * gets replaces both its memory and its snapshot file. So a primary with keys takes a snapshot
 * (BGSAVE, unless the last one is complete) and keeps it under a second name, before it follows.
 * The copy of the new primary would kill a snapshot under way, so it is waited for: within this
 * act, and where the act's time is not enough, over the next orders of the same epoch (HA_EBUSY),
 * but never longer than HA_REDIS_SAVE_MAX_MS in all. Meanwhile the new primary serves; only this
 * replica is late. When it fails or takes too long, the older snapshot is kept and the text says
 * so. A primary that was drained to the last byte needs none. */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "agents/redis/act.h"
#include "lib/base/text.h"
#include "lib/core/address.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"

static bool follows(const struct ha_redis_act *act)
{
    const struct ha_sample *sample = &act->facts.sample;

    return sample->role == HA_ROLE_REPLICA &&
           sample->upstream_port == act->acts.ask.upstream_port &&
           ha_address_equal(sample->upstream_host, act->acts.ask.upstream_host);
}

static void on_followed(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    act->acts.doing = "REPLICAOF";
    if (!ha_redis_act_check(act, outcome, 1) ||
        !ha_redis_act_look(act, outcome, outcome->count - HA_REDIS_FACTS_COMMANDS))
        return;
    if (!follows(act)) {
        ha_redis_act_fail(act, HA_EIO, "it does not follow after REPLICAOF");
        return;
    }
    /* CONFIG SET may be forbidden: what counts is what the server says it is. */
    if (!act->facts.sample.read_only) {
        act->acts.doing = "CONFIG SET replica-read-only";
        if (ha_redis_act_check(act, outcome, 0))
            ha_redis_act_fail(act, HA_EIO, "it is a replica that takes writes");
        return;
    }
    act->changed = true;
    ha_redis_act_done(act);
}

static void repoint(struct ha_redis_act *act)
{
    struct ha_redis_batch *batch = ha_redis_act_batch(act);
    char port[8];

    (void)ha_text_format(port, sizeof(port), "%" PRIu16, act->acts.ask.upstream_port);
    act->acts.doing = "REPLICAOF";
    HA_REDIS_ADD(batch, "CONFIG", "SET", "replica-read-only", "yes");
    HA_REDIS_ADD(batch, "REPLICAOF", act->acts.ask.upstream_host, port);
    if (act->facts.sample.role == HA_ROLE_PRIMARY) {
        /* Not us: the server spares who asks. Writes that a pause held back fail, then. */
        HA_REDIS_ADD(batch, "CLIENT", "KILL", "TYPE", "normal");
        HA_REDIS_ADD(batch, "CLIENT", "KILL", "TYPE", "pubsub");
        HA_REDIS_ADD(batch, "CLIENT", "UNPAUSE");
    }
    ha_redis_facts_ask(batch);
    ha_redis_act_send(act, batch, on_followed);
}

/* --- the snapshot before --- */

static void on_kept(void *data, const struct ha_err *err)
{
    struct ha_redis_act *act = data;

    act->save = NULL;
    act->save_done = true;
    if (err->code == HA_OK)
        HA_LOG(HA_LOG_INFO, "redis-data-saved", "epoch=%" PRIu64 " file=%s", act->acts.ask.epoch,
               HA_QUOTE(err->text));
    else
        HA_LOG(HA_LOG_WARN, "redis-data-not-saved", "epoch=%" PRIu64 " why=%s", act->acts.ask.epoch,
               HA_QUOTE(err->text));
    (void)ha_text_append(
        act->acts.acted.text, sizeof(act->acts.acted.text), "%s%s",
        err->code == HA_OK ? "its data before is in " : "its data before is lost: ", err->text);
    repoint(act);
}

/* Keep what is in the snapshot file now; @note says what is wrong with it, or nothing. */
static void keep(struct ha_redis_act *act, const char *note)
{
    const struct ha_redis_save_ask ask = {
        .dir = act->data_dir[0] != '\0' ? act->data_dir : act->save_dir,
        .file = act->save_file,
        .epoch = act->acts.ask.epoch,
    };
    int rc;

    (void)ha_text_format(act->acts.acted.text, sizeof(act->acts.acted.text), "%s", note);
    if (note[0] != '\0')
        HA_LOG(HA_LOG_WARN, "redis-snapshot", "epoch=%" PRIu64 " why=%s", act->acts.ask.epoch,
               HA_QUOTE(note));
    act->acts.doing = "keeping the snapshot";
    rc = ha_redis_save_start(&act->save, act->link->loop, &ask, on_kept, act);
    if (rc != HA_OK) {
        struct ha_err err = {0};

        (void)ha_err_set(&err, rc, "%s", ha_code_text(rc));
        on_kept(act, &err);
    }
}

static void on_save_look(struct ha_redis_act *act, const struct ha_redis_outcome *outcome);

static void ask_save(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    struct ha_redis_batch *batch = ha_redis_act_batch(act);

    (void)outcome;
    ha_redis_facts_ask(batch);
    ha_redis_act_send(act, batch, on_save_look);
}

static void on_save_begun(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    if (outcome->replies[0]->type == REDIS_REPLY_ERROR &&
        ha_redis_error_code(outcome->replies[0]->str) == HA_EDENIED) {
        keep(act, "BGSAVE is not permitted, only an older snapshot is kept; ");
        return;
    }
    /* Another error: a child of the server is at work; ask again when it has gone. */
    act->save_begun = outcome->replies[0]->type != REDIS_REPLY_ERROR;
    ha_redis_act_poll(act, ask_save);
}

static void begin_save(struct ha_redis_act *act)
{
    struct ha_redis_batch *batch = ha_redis_act_batch(act);

    act->acts.doing = "BGSAVE";
    HA_REDIS_ADD(batch, "BGSAVE");
    ha_redis_act_send(act, batch, on_save_begun);
}

/* One look while a snapshot is wanted. */
static void go_on_saving(struct ha_redis_act *act)
{
    const struct ha_redis_info *info = &act->facts.info;
    bool late = ha_clock_mono_ms() - act->save_start_ms >= HA_REDIS_SAVE_MAX_MS;

    act->acts.doing = "waiting for a snapshot of its data";
    if (!info->bgsave_running && act->save_begun)
        keep(act, strcmp(info->bgsave_status, "ok") == 0
                      ? ""
                      : "its BGSAVE failed, only an older snapshot is kept; ");
    else if (!info->bgsave_running && info->changes == 0 && info->last_save_s > 0)
        keep(act, "");
    else if (late)
        keep(act, "its BGSAVE took too long, only an older snapshot is kept; ");
    else if (ha_acts_age_ms(&act->acts) >= act->acts.ask.deadline_ms / 4 * 3)
        ha_redis_act_fail(act, HA_EBUSY, "its data is being saved before it follows");
    else if (!info->bgsave_running)
        begin_save(act);
    else
        ha_redis_act_poll(act, ask_save);
}

static void on_save_look(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    if (ha_redis_act_look(act, outcome, 0))
        go_on_saving(act);
}

static bool read_path(const redisReply *reply, char *to, size_t size)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
           reply->element[1]->type == REDIS_REPLY_STRING &&
           ha_text_copy(to, size, reply->element[1]->str) == HA_OK;
}

static void on_where(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    if (!read_path(outcome->replies[0], act->save_dir, sizeof(act->save_dir)) ||
        !read_path(outcome->replies[1], act->save_file, sizeof(act->save_file))) {
        struct ha_err err = {0};

        (void)ha_err_set(&err, HA_EIO, "the server does not say where its snapshot is");
        on_kept(act, &err);
        return;
    }
    go_on_saving(act);
}

static void save_first(struct ha_redis_act *act)
{
    struct ha_redis_batch *batch = ha_redis_act_batch(act);

    if (act->save_epoch != act->acts.ask.epoch) {
        act->save_epoch = act->acts.ask.epoch;
        act->save_start_ms = ha_clock_mono_ms();
        act->save_begun = false;
        act->save_done = false;
    }
    act->acts.doing = "asking where the snapshot is";
    HA_REDIS_ADD(batch, "CONFIG", "GET", "dir");
    HA_REDIS_ADD(batch, "CONFIG", "GET", "dbfilename");
    ha_redis_act_send(act, batch, on_where);
}

/* --- the beginning --- */

static void on_follow_seen(struct ha_redis_act *act, const struct ha_redis_outcome *outcome)
{
    bool drained, saved;

    if (!ha_redis_act_look(act, outcome, 0))
        return;
    if (follows(act) && act->facts.sample.read_only) {
        ha_redis_act_done(act); /* nothing is left to do */
        return;
    }
    drained = act->drained_run != 0 && act->drained_run == act->facts.sample.run_id;
    saved = act->save_epoch == act->acts.ask.epoch && act->save_done;
    if (act->facts.sample.role == HA_ROLE_PRIMARY && act->facts.info.has_keys &&
        act->acts.ask.full_copy && !drained && !saved)
        save_first(act);
    else
        repoint(act);
}

void ha_redis_act_follow(struct ha_redis_act *act)
{
    struct ha_redis_batch *batch = ha_redis_act_batch(act);

    ha_redis_facts_ask(batch);
    ha_redis_act_send(act, batch, on_follow_seen);
}
