#include "lib/wire/notice.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/wire/json.h"

#define DAY_MS UINT64_C(86400000)
#define LAST_MS UINT64_C(253402300799999) /* of the year 9999: later ones are nonsense */

struct date {
    uint32_t year, month, day;
};

static bool is_leap(uint32_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Day 0 is 1 January 1970. By hand, because this room sees no clock and <time.h> is one. */
static struct date date_of(uint64_t days)
{
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct date date = {.year = 1970, .month = 1};
    uint64_t length;

    for (; days >= (length = is_leap(date.year) ? 366 : 365); date.year++)
        days -= length;
    for (;; date.month++) {
        length = lengths[date.month - 1] + (date.month == 2 && is_leap(date.year) ? 1u : 0u);
        if (days < length)
            break;
        days -= length;
    }
    date.day = (uint32_t)days + 1;
    return date;
}

void ha_time_text(uint64_t wall_ms, char ret_text[HA_TIME_TEXT_SIZE])
{
    uint64_t ms = wall_ms > LAST_MS ? LAST_MS : wall_ms;
    struct date date = date_of(ms / DAY_MS);
    uint32_t in_day = (uint32_t)(ms % DAY_MS);

    (void)ha_text_format(ret_text, HA_TIME_TEXT_SIZE,
                         "%04" PRIu32 "-%02" PRIu32 "-%02" PRIu32 "T%02" PRIu32 ":%02" PRIu32
                         ":%02" PRIu32 ".%03" PRIu32 "Z",
                         date.year, date.month, date.day, in_day / 3600000, in_day / 60000 % 60,
                         in_day / 1000 % 60, in_day % 1000); /* 24 characters */
}

/* The setters are no-ops without an object and jansson takes NULL values as failures, so that a
 * builder can run to its end and ask once: `ok` says whether all of it is there. */
struct object {
    json_t *json;
    bool ok;
};

static struct object object_new(void)
{
    struct object object = {.json = json_object()};

    object.ok = object.json != NULL;
    return object;
}

static void put(struct object *object, const char *key, json_t *value)
{
    if (json_object_set_new(object->json, key, value) != 0)
        object->ok = false;
}

static void put_text(struct object *object, const char *key, const char *text)
{
    put(object, key, ha_json_text(text));
}

/* JSON's readers lose digits of integers over 2^53; jansson's end at 2^63. */
static void put_number(struct object *object, const char *key, uint64_t number)
{
    put(object, key, json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number));
}

static void put_optional(struct object *object, const char *key, const char *text)
{
    if (text[0] != '\0')
        put_text(object, key, text);
}

static void put_time(struct object *object, const char *key, uint64_t wall_ms)
{
    char text[HA_TIME_TEXT_SIZE];

    if (wall_ms == 0)
        return; /* a stage that was not reached */
    ha_time_text(wall_ms, text);
    put_text(object, key, text);
}

static json_t *object_end(struct object *object)
{
    if (object->ok)
        return object->json;
    json_decref(object->json);
    return NULL;
}

static json_t *make_stages(const struct ha_stages *stages)
{
    struct object object = object_new();

    put_time(&object, "noticed", stages->noticed_ms);
    put_time(&object, "agreed", stages->agreed_ms);
    put_time(&object, "fenced", stages->fenced_ms);
    put_time(&object, "chosen", stages->chosen_ms);
    put_time(&object, "promoted", stages->promoted_ms);
    put_time(&object, "opened", stages->opened_ms);
    put_time(&object, "done", stages->done_ms);
    return object_end(&object);
}

static json_t *make_candidates(const struct ha_decision *decision)
{
    json_t *array = json_array();

    for (uint32_t i = 0; array != NULL && i < decision->fit_count; i++) {
        const struct ha_fit *fit = &decision->fits[i].fit;
        struct object object = object_new();

        put_text(&object, "member", decision->fits[i].name);
        put_text(&object, "fitness", ha_fitness_text(fit->fitness));
        put_number(&object, "offset", fit->offset);
        put_number(&object, "behind_bytes", fit->behind);
        if (json_array_append_new(array, object_end(&object)) == 0)
            continue;
        json_decref(array);
        return NULL;
    }
    return array;
}

static void put_decision(struct object *data, const struct ha_decision *decision)
{
    put_number(data, "decision", decision->id);
    put_number(data, "epoch_from", decision->epoch_from);
    put_text(data, "reason", ha_reason_text(decision->reason));
    put_text(data, "verdict", ha_verdict_text(decision->verdict));
    put_text(data, "fence", ha_fence_text(decision->fence));
    put_number(data, "agreeing", (uint64_t)__builtin_popcount(decision->agreeing));
    put_number(data, "waited_ms", decision->waited_ms);
    put_number(data, "attempts", decision->attempts);
    put_text(data, "evidence", decision->text);
    put(data, "stages", make_stages(&decision->stages));
    put(data, "candidates", make_candidates(decision));
    if (decision->found.epoch != HA_EPOCH_NONE)
        put_number(data, "found_lost_bytes", decision->found.bytes);
}

static json_t *make_data(const struct ha_notice *notice, const struct ha_decision *decision)
{
    struct object data = object_new();

    put_optional(&data, "service", notice->service_name);
    if (notice->service != 0)
        put_number(&data, "epoch", notice->epoch);
    put_optional(&data, "from", notice->from);
    put_optional(&data, "to", notice->to);
    put_number(&data, "lost_bytes", notice->lost_bytes);
    put_text(&data, "text", notice->text);
    if (decision != NULL)
        put_decision(&data, decision);
    return object_end(&data);
}

static json_t *make_event(const char *cluster, const struct ha_notice *notice,
                          const struct ha_decision *decision)
{
    struct object event = object_new();

    put_text(&event, "specversion", "1.0");
    put(&event, "id", json_sprintf("%s-%" PRIu64, cluster, notice->seq));
    put(&event, "source", json_sprintf("/hafailover/%s", cluster));
    put(&event, "type", json_sprintf("io.hafailover.%s", ha_notice_kind_text(notice->kind)));
    put_optional(&event, "subject", notice->service_name);
    put_time(&event, "time", notice->wall_ms);
    put_text(&event, "datacontenttype", "application/json");
    put(&event, "data", make_data(notice, decision));
    return object_end(&event);
}

int ha_notice_body(const char *cluster, const struct ha_notice *notice,
                   const struct ha_decision *decision, char **ret_body)
{
    json_t *event = make_event(cluster, notice, decision);
    char *body;

    if (event == NULL)
        return HA_ENOMEM;
    body = ha_json_dump(event, JSON_COMPACT);
    json_decref(event);
    if (body == NULL)
        return HA_ENOMEM;
    *ret_body = body;
    return HA_OK;
}

int ha_notice_sign(const void *key, size_t key_size, uint64_t timestamp_s, const char *body,
                   char ret_signature[HA_SIGNATURE_SIZE])
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_size = 0;
    const unsigned char *done;
    char *message = NULL;
    int size;

    if (key_size == 0 || key_size > INT32_MAX)
        return HA_EINVAL;
    size = asprintf(&message, "%" PRIu64 ".%s", timestamp_s, body);
    if (size < 0)
        return HA_ENOMEM;
    done = HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)message, (size_t)size, mac,
                &mac_size);
    free(message);
    if (done == NULL || 2 * (size_t)mac_size + 1 != HA_SIGNATURE_SIZE)
        return HA_EIO;
    ha_text_hex(ret_signature, mac, mac_size);
    return HA_OK;
}
