/* Commands that only look, once or for as long as somebody watches. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/hafailoverctl/care.h"
#include "cmd/hafailoverctl/parts.h"
#include "cmd/hafailoverctl/print.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/limits.h"
#include "lib/io/clock.h"

#define WATCH_MS 1000u
#define FOLLOW_MS 300u
#define FOLLOW_PATIENCE_MS 60000u /* without an answer */

static void wait_ms(uint32_t ms)
{
    const struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

    (void)nanosleep(&ts, NULL); /* a signal only shortens it */
}

/* The path with "?service=WORD" where a service is named. */
static bool path_of(const struct ha_ctl *ctl, const char *base, char path[HA_CTL_PATH_SIZE])
{
    if (ctl->word_count > 0 && !ha_ctl_is_name(ctl->words[0]))
        return false;
    (void)ha_text_format(path, HA_CTL_PATH_SIZE, "%s%s%s", base,
                         ctl->word_count > 0 ? "?service=" : "",
                         ctl->word_count > 0 ? ctl->words[0] : "");
    return true;
}

/* Until interrupted; what cannot be asked now is said and tried again. */
static enum ha_exit watch(const struct ha_ctl *ctl, const char *path)
{
    bool is_terminal = !ctl->json && isatty(STDOUT_FILENO) != 0;
    struct ha_ask ask = {.method = "GET", .path = path};
    enum ha_exit result;
    json_t *json;

    for (;;) {
        result = ha_call(&ctl->target, &ask, &json);
        if (result == HA_EXIT_USAGE || result == HA_EXIT_REFUSED)
            return result;
        if (is_terminal && result == HA_EXIT_OK)
            fputs("\033[H\033[2J", stdout); /* home, clear */
        if (result == HA_EXIT_OK && ctl->json) {
            (void)json_dumpf(json, stdout, JSON_COMPACT);
            printf("\n");
        } else if (result == HA_EXIT_OK) {
            ha_print_status(json);
        }
        json_decref(json);
        if (fflush(stdout) != 0)
            return HA_EXIT_OK; /* nobody reads on */
        wait_ms(WATCH_MS);
    }
}

enum ha_exit ha_ctl_status(const struct ha_ctl *ctl)
{
    char path[HA_CTL_PATH_SIZE];

    if (!path_of(ctl, "/v1/status", path))
        return HA_EXIT_USAGE;
    return ctl->watch ? watch(ctl, path) : ha_ctl_get(ctl, path, ha_print_status);
}

static void print_watchers(const json_t *answer)
{
    ha_print_watchers(json_object_get(answer, "watchers"));
    if (json_is_true(json_object_get(answer, "settling")))
        printf("settling: promises given before the last replacement still count; the next "
               "replacement has to wait\n");
}

enum ha_exit ha_ctl_watchers(const struct ha_ctl *ctl)
{
    if (ctl->word_count > 0 || ctl->with != NULL)
        return ha_care_replace(ctl);
    return ha_ctl_get(ctl, "/v1/watchers", print_watchers);
}

enum ha_exit ha_ctl_history(const struct ha_ctl *ctl)
{
    char path[HA_CTL_PATH_SIZE];
    uint64_t count = 20;

    if (ctl->count != NULL && !ha_ctl_is_number("--count", ctl->count, HA_HISTORY_MAX, &count))
        return HA_EXIT_USAGE;
    if (ctl->word_count == 1 && !ha_ctl_is_name(ctl->words[0]))
        return HA_EXIT_USAGE;
    (void)ha_text_format(path, sizeof(path), "/v1/history?count=%" PRIu64 "%s%s", count,
                         ctl->word_count == 1 ? "&service=" : "",
                         ctl->word_count == 1 ? ctl->words[0] : "");
    return ha_ctl_get(ctl, path, ha_print_history);
}

enum ha_exit ha_ctl_explain(const struct ha_ctl *ctl)
{
    char path[HA_CTL_PATH_SIZE];
    uint64_t id;

    if (!ha_ctl_is_number("ID, of a decision in `history`,", ctl->words[0], INT64_MAX, &id))
        return HA_EXIT_USAGE;
    (void)ha_text_format(path, sizeof(path), "/v1/decisions/%" PRIu64, id);
    return ha_ctl_get(ctl, path, ha_print_decision);
}

enum ha_exit ha_ctl_why_not(const struct ha_ctl *ctl)
{
    char path[HA_CTL_PATH_SIZE];

    if (!ha_ctl_is_name(ctl->words[0]))
        return HA_EXIT_USAGE;
    (void)ha_text_format(path, sizeof(path), "/v1/services/%s/why-not", ctl->words[0]);
    return ha_ctl_get(ctl, path, ha_print_why_not);
}

/* Events */

/* Where to go on is known only after the first answer, unless somebody says it. */
static void events_path(const struct ha_ctl *ctl, const char *after, uint64_t count,
                        char path[HA_CTL_PATH_SIZE])
{
    (void)ha_text_format(path, HA_CTL_PATH_SIZE, "/v1/events?count=%" PRIu64 "%s%s%s%s", count,
                         after != NULL ? "&after=" : "", after != NULL ? after : "",
                         ctl->word_count > 0 ? "&service=" : "",
                         ctl->word_count > 0 ? ctl->words[0] : "");
}

static void show_events(const struct ha_ctl *ctl, const json_t *answer)
{
    json_int_t missed = json_integer_value(json_object_get(answer, "missed"));
    const json_t *event;
    size_t at;

    if (missed > 0)
        fprintf(stderr, "hafailoverctl: %" JSON_INTEGER_FORMAT " events are not kept any more\n",
                missed);
    json_array_foreach(json_object_get(answer, "events"), at, event)
    {
        if (ctl->json) {
            (void)json_dumpf(event, stdout, JSON_COMPACT);
            printf("\n");
        } else {
            ha_print_event(event);
        }
    }
}

/* Whether the asked watcher knows fewer than @after; said once. */
static bool is_behind(const json_t *answer, const char *after, bool told)
{
    json_int_t last = json_integer_value(json_object_get(answer, "last"));
    uint64_t seen;

    if (ha_text_u64(after, INT64_MAX, &seen) != HA_OK || (json_int_t)seen <= last)
        return false;
    if (!told)
        fprintf(stderr,
                "hafailoverctl: this watcher knows only %" JSON_INTEGER_FORMAT
                " events: it has just started, or is of another cluster\n",
                last);
    return true;
}

static enum ha_exit follow_events(const struct ha_ctl *ctl, uint64_t count)
{
    char path[HA_CTL_PATH_SIZE], after[24] = "";
    struct ha_ask ask = {.method = "GET", .path = path};
    uint64_t heard_ms = ha_clock_mono_ms();
    enum ha_exit result;
    bool behind = false;
    json_t *json;

    if (ctl->after != NULL)
        (void)ha_text_copy(after, sizeof(after), ctl->after);
    for (;;) {
        events_path(ctl, after[0] != '\0' ? after : NULL, count, path);
        result = ha_call(&ctl->target, &ask, &json);
        if (result == HA_EXIT_USAGE || result == HA_EXIT_REFUSED)
            return result;
        if (result == HA_EXIT_OK) {
            show_events(ctl, json);
            behind = is_behind(json, after, behind);
            (void)ha_text_format(after, sizeof(after), "%" JSON_INTEGER_FORMAT,
                                 json_integer_value(json_object_get(json, "next_after")));
            heard_ms = ha_clock_mono_ms();
            ask.quiet = false;
            count = HA_EVENTS_MAX;
        } else {
            ask.quiet = true; /* said once */
        }
        json_decref(json);
        if (fflush(stdout) != 0)
            return HA_EXIT_OK;
        if (ha_clock_mono_ms() - heard_ms >= FOLLOW_PATIENCE_MS) {
            fprintf(stderr, "hafailoverctl: no answer for a minute; go on with --after %s\n",
                    after[0] != '\0' ? after : "0");
            return result;
        }
        wait_ms(FOLLOW_MS);
    }
}

static void print_events(const json_t *answer)
{
    const struct ha_ctl plain = {0};

    show_events(&plain, answer);
}

enum ha_exit ha_ctl_events(const struct ha_ctl *ctl)
{
    uint64_t count = 20, after;
    char path[HA_CTL_PATH_SIZE];

    if (ctl->word_count > 0 && !ha_ctl_is_name(ctl->words[0]))
        return HA_EXIT_USAGE;
    if (ctl->count != NULL && !ha_ctl_is_number("--count", ctl->count, HA_EVENTS_MAX, &count))
        return HA_EXIT_USAGE;
    if (ctl->after != NULL && !ha_ctl_is_number("--after", ctl->after, INT64_MAX, &after))
        return HA_EXIT_USAGE;
    if (ctl->after != NULL && ctl->count == NULL)
        count = HA_EVENTS_MAX;
    if (ctl->follow)
        return follow_events(ctl, count);
    events_path(ctl, ctl->after, count, path);
    return ha_ctl_get(ctl, path, print_events);
}
