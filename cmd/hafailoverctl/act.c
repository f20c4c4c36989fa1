/* Commands that change what the cluster does, and wait to say how it went. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/hafailoverctl/parts.h"
#include "cmd/hafailoverctl/print.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/limits.h"
#include "lib/io/clock.h"

#define WAIT_DEFAULT_MS 60000u
#define CHECKPOINT_DEFAULT_MS 60000u /* the watchers' own */
#define CHECKPOINT_SPARE_MS 2000u    /* until they have said that it took too long */
#define POLL_MS 50u
#define POLL_DEADLINE_MS 2000u

static void pause_ms(uint32_t ms)
{
    const struct timespec ts = {0, (long)ms * 1000000};

    (void)nanosleep(&ts, NULL); /* a signal only shortens it */
}

static void print_done(const struct ha_ctl *ctl, const json_t *json)
{
    const char *text = json_string_value(json_object_get(json, "text"));

    if (ctl->json_asked)
        ha_ctl_show_json(json);
    else
        printf("%s\n", text != NULL && text[0] != '\0' ? text : "done");
}

/* --wait as milliseconds; false: told already. */
static bool wait_of(const struct ha_ctl *ctl, uint64_t *ret)
{
    *ret = WAIT_DEFAULT_MS;
    if (ctl->wait == NULL || ha_text_duration(ctl->wait, 3600000, ret) == HA_OK)
        return true;
    fprintf(stderr, "hafailoverctl: --wait %s is not a duration such as 60s, 0 or at most 1h\n",
            ctl->wait);
    return false;
}

static bool is_outcome(const json_t *decision, const char *outcome)
{
    const char *text = json_string_value(json_object_get(decision, "outcome"));

    return text != NULL && strcmp(text, outcome) == 0;
}

/* The decision once it has ended, or as it was last seen; NULL: never seen. */
static json_t *await(const struct ha_ctl *ctl, json_int_t id, uint64_t wait_ms)
{
    uint64_t until_ms = ha_clock_mono_ms() + wait_ms, now_ms;
    char path[HA_CTL_PATH_SIZE];
    struct ha_target target = ctl->target;
    struct ha_ask ask = {.method = "GET", .path = path, .quiet = true};
    json_t *last = NULL, *json;

    (void)ha_text_format(path, sizeof(path), "/v1/decisions/%" JSON_INTEGER_FORMAT, id);
    target.deadline_ms = POLL_DEADLINE_MS;
    do {
        /* A watcher that does not answer now may again in a moment. */
        if (ha_call(&target, &ask, &json) == HA_EXIT_OK) {
            json_decref(last);
            last = json;
            if (!is_outcome(last, "under-way") && !is_outcome(last, "no-candidate"))
                return last;
        }
        pause_ms(POLL_MS);
        now_ms = ha_clock_mono_ms();
    } while (now_ms < until_ms);
    return last;
}

/* What the end of a decision means to who asked for @to (NULL: anybody). */
static enum ha_exit judge(const json_t *decision, const char *to)
{
    const char *now = json_string_value(json_object_get(decision, "to"));
    json_int_t id = json_integer_value(json_object_get(decision, "id"));

    if (is_outcome(decision, "undone")) {
        fprintf(stderr, "hafailoverctl: undone: %s is primary again, nothing was lost by it\n",
                now != NULL ? now : "the old one");
        return HA_EXIT_UNDONE;
    }
    if (is_outcome(decision, "superseded")) {
        fprintf(stderr,
                "hafailoverctl: decision %" JSON_INTEGER_FORMAT
                " was overtaken by a later one; `hafailoverctl history` tells\n",
                id);
        return HA_EXIT_UNDONE;
    }
    if (is_outcome(decision, "done") && to != NULL && now != NULL && strcmp(to, now) != 0) {
        fprintf(stderr, "hafailoverctl: not %s but %s became primary\n", to, now);
        return HA_EXIT_UNDONE;
    }
    if (is_outcome(decision, "done"))
        return HA_EXIT_OK;
    fprintf(stderr,
            "hafailoverctl: not finished yet: %s; the watchers go on, `hafailoverctl explain "
            "%" JSON_INTEGER_FORMAT "` tells how far\n",
            is_outcome(decision, "no-candidate") ? "nobody can be promoted" : "under way", id);
    return HA_EXIT_UNKNOWN;
}

/* The command was taken as the decision that @answer names: wait for its end and tell it. */
static enum ha_exit follow(const struct ha_ctl *ctl, const json_t *answer)
{
    json_int_t id = json_integer_value(json_object_get(answer, "decision"));
    uint64_t wait_ms;
    enum ha_exit result;
    json_t *decision;

    if (!wait_of(ctl, &wait_ms))
        return HA_EXIT_USAGE;
    if (wait_ms == 0 || id == 0) { /* 0: the service is gone meanwhile */
        print_done(ctl, answer);
        return HA_EXIT_OK;
    }
    decision = await(ctl, id, wait_ms);
    if (decision == NULL) {
        fprintf(stderr,
                "hafailoverctl: taken as decision %" JSON_INTEGER_FORMAT
                ", but this watcher does not answer any more: ask another one for it\n",
                id);
        return HA_EXIT_UNKNOWN;
    }
    if (ctl->json)
        ha_ctl_show_json(decision);
    else
        ha_print_decision(decision);
    result = judge(decision, ctl->to);
    json_decref(decision);
    return result;
}

enum ha_exit ha_ctl_failover(const struct ha_ctl *ctl)
{
    json_t *body, *answer;
    enum ha_exit result;
    uint64_t wait_ms;

    if (!wait_of(ctl, &wait_ms))
        return HA_EXIT_USAGE;
    body = json_object();
    if (ctl->accept_loss)
        (void)json_object_set_new(body, "accept_loss", json_true());
    if (ctl->to != NULL)
        (void)json_object_set_new(body, "to", json_string(ctl->to));
    result = ha_ctl_post_service(ctl, "failover", body, &answer);
    if (result == HA_EXIT_OK)
        result = follow(ctl, answer);
    json_decref(answer);
    return result;
}

/* --checkpoint-timeout as milliseconds; false: told already. */
static bool checkpoint_of(const struct ha_ctl *ctl, uint64_t *ret)
{
    *ret = CHECKPOINT_DEFAULT_MS;
    if (ctl->checkpoint == NULL || ha_text_duration(ctl->checkpoint, 3600000, ret) == HA_OK)
        return true;
    fprintf(stderr,
            "hafailoverctl: --checkpoint-timeout %s is not a duration such as 60s, 0 or at most "
            "1h\n",
            ctl->checkpoint);
    return false;
}

enum ha_exit ha_ctl_switchover(const struct ha_ctl *ctl)
{
    struct ha_ctl slow = *ctl; /* its primary makes ready first */
    uint64_t wait_ms, checkpoint_ms;
    json_t *body, *answer;
    enum ha_exit result;
    bool is_plan;

    if (!wait_of(ctl, &wait_ms) || !checkpoint_of(ctl, &checkpoint_ms))
        return HA_EXIT_USAGE;
    body = json_object();
    if (ctl->dry_run)
        (void)json_object_set_new(body, "dry_run", json_true());
    if (ctl->to != NULL)
        (void)json_object_set_new(body, "to", json_string(ctl->to));
    if (ctl->checkpoint != NULL)
        (void)json_object_set_new(body, "checkpoint_timeout_ms",
                                  json_integer((json_int_t)checkpoint_ms));
    if (!ctl->dry_run && checkpoint_ms > 0) {
        slow.target.slow_ms = (uint32_t)checkpoint_ms + CHECKPOINT_SPARE_MS;
        slow.target.slow = "the primary makes ready, with a checkpoint where it is PostgreSQL; "
                           "nothing has begun yet";
    }
    result = ha_ctl_post_service(&slow, "switchover", body, &answer);
    is_plan = json_object_get(answer, "checks") != NULL;
    if (is_plan && ctl->json)
        ha_ctl_show_json(answer);
    else if (is_plan)
        ha_print_plan(answer);
    else if (result == HA_EXIT_OK)
        result = follow(ctl, answer);
    json_decref(answer);
    return result;
}

/* Say what the answer to a write says, and take it. */
static enum ha_exit finish(const struct ha_ctl *ctl, enum ha_exit result, json_t *answer)
{
    if (result == HA_EXIT_OK)
        print_done(ctl, answer);
    json_decref(answer);
    return result;
}

enum ha_exit ha_ctl_pause(const struct ha_ctl *ctl)
{
    json_t *body = json_object(), *answer;
    enum ha_exit result;
    uint64_t ms;

    if (ctl->during != NULL) {
        if (ha_text_duration(ctl->during, (uint64_t)HA_DURATION_MAX_MS * 366, &ms) != HA_OK) {
            fprintf(stderr, "hafailoverctl: --for %s is not a duration such as 30min\n",
                    ctl->during);
            json_decref(body);
            return HA_EXIT_USAGE;
        }
        (void)json_object_set_new(body, "for_ms", json_integer((json_int_t)ms));
    }
    result = ha_ctl_post_service(ctl, "pause", body, &answer);
    return finish(ctl, result, answer);
}

enum ha_exit ha_ctl_resume(const struct ha_ctl *ctl)
{
    json_t *answer;
    enum ha_exit result = ha_ctl_post_service(ctl, "resume", json_object(), &answer);

    return finish(ctl, result, answer);
}

enum ha_exit ha_ctl_lift(const struct ha_ctl *ctl)
{
    json_t *answer;
    enum ha_exit result = ha_ctl_post_service(ctl, "lift", json_object(), &answer);

    return finish(ctl, result, answer);
}

/* Webhooks */

/* Whether the notice @seq has been taken by who was owed it. */
static bool is_taken(const struct ha_ctl *ctl, json_int_t seq)
{
    char path[HA_CTL_PATH_SIZE];
    struct ha_ask ask = {.method = "GET", .path = path, .quiet = true};
    const json_t *event;
    json_t *json;
    bool taken;

    (void)ha_text_format(path, sizeof(path), "/v1/events?count=1&after=%" JSON_INTEGER_FORMAT,
                         seq - 1);
    if (ha_call(&ctl->target, &ask, &json) != HA_EXIT_OK)
        return false;
    event = json_array_get(json_object_get(json, "events"), 0);
    taken = event != NULL && json_integer_value(json_object_get(event, "seq")) == seq &&
            json_array_size(json_object_get(event, "owed_to")) == 0;
    json_decref(json);
    return taken;
}

/* One webhook's part of the answer of `webhook test`, into @list; NULL: none. */
static void tell_taken(const struct ha_ctl *ctl, json_t *list, const char *name, json_int_t seq,
                       bool taken)
{
    if (list != NULL)
        (void)json_array_append_new(
            list, json_pack("{s:s,s:I,s:b}", "name", name, "seq", seq, "taken", taken));
    if (taken && !ctl->json_asked)
        printf("%s took notice %" JSON_INTEGER_FORMAT "\n", name, seq);
    if (!taken)
        fprintf(stderr,
                "hafailoverctl: %s has not taken notice %" JSON_INTEGER_FORMAT
                " yet; it is tried again, the log of the leading watcher says why\n",
                name, seq);
}

static enum ha_exit test_webhook(const struct ha_ctl *ctl, const char *name, uint64_t wait_ms,
                                 json_t *list)
{
    uint64_t until_ms = ha_clock_mono_ms() + wait_ms;
    char path[HA_CTL_PATH_SIZE];
    enum ha_exit result;
    json_int_t seq;
    json_t *answer;
    bool taken;

    (void)ha_text_format(path, sizeof(path), "/v1/webhooks/%s/test", name);
    result = ha_ctl_post(ctl, path, json_object(), &answer);
    if (result != HA_EXIT_OK)
        return result;
    seq = json_integer_value(json_object_get(answer, "seq"));
    json_decref(answer);
    while (!(taken = is_taken(ctl, seq)) && ha_clock_mono_ms() < until_ms)
        pause_ms(POLL_MS);
    tell_taken(ctl, list, name, seq, taken);
    return taken ? HA_EXIT_OK : HA_EXIT_UNKNOWN;
}

static enum ha_exit test_all_webhooks(const struct ha_ctl *ctl, uint64_t wait_ms, json_t *list)
{
    struct ha_ask ask = {.method = "GET", .path = "/v1/webhooks"};
    enum ha_exit result, one;
    json_t *json;
    size_t at;
    const json_t *webhook;

    result = ha_call(&ctl->target, &ask, &json);
    if (result == HA_EXIT_OK && json_array_size(json_object_get(json, "webhooks")) == 0) {
        fprintf(stderr, "hafailoverctl: the configuration has no [webhook]\n");
        result = HA_EXIT_REFUSED;
    }
    json_array_foreach(json_object_get(json, "webhooks"), at, webhook)
    {
        one = test_webhook(ctl, json_string_value(json_object_get(webhook, "name")), wait_ms, list);
        if (one != HA_EXIT_OK)
            result = one;
    }
    json_decref(json);
    return result;
}

/* One, or each where no name was said. */
static enum ha_exit test_webhooks(const struct ha_ctl *ctl, uint64_t wait_ms)
{
    json_t *list = ctl->json_asked ? json_array() : NULL;
    enum ha_exit result = ctl->word_count == 1 ? test_all_webhooks(ctl, wait_ms, list)
                                               : test_webhook(ctl, ctl->words[1], wait_ms, list);

    if (list != NULL && (result == HA_EXIT_OK || json_array_size(list) > 0)) {
        json_t *answer = json_pack("{s:O}", "webhooks", list);

        ha_ctl_show_json(answer);
        json_decref(answer);
    }
    json_decref(list);
    return result;
}

enum ha_exit ha_ctl_webhook(const struct ha_ctl *ctl)
{
    uint64_t wait_ms;

    if (ctl->word_count == 0)
        return ha_ctl_get(ctl, "/v1/webhooks", ha_print_webhooks);
    if (strcmp(ctl->words[0], "test") != 0) {
        fprintf(stderr, "hafailoverctl: webhook, or webhook test [NAME]\n");
        return HA_EXIT_USAGE;
    }
    if (!wait_of(ctl, &wait_ms))
        return HA_EXIT_USAGE;
    if (ctl->wait == NULL)
        wait_ms = WAIT_DEFAULT_MS / 4;
    if (ctl->word_count > 1 && !ha_ctl_is_name(ctl->words[1]))
        return HA_EXIT_USAGE;
    return test_webhooks(ctl, wait_ms);
}
