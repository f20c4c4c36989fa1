#include "cmd/common/said.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/core/limits.h"

enum {
    ROOM_FIRST = 16,
    ROOM_MAX = 16 * HA_SERVICES_MAX, /* ids never come again: a connection may see many */
};

static uint32_t bucket_of(const struct ha_said *said, uint32_t service)
{
    uint32_t mask = 2 * said->room - 1;
    uint32_t at = (service * 2654435761u) & mask;

    while (said->buckets[at] != 0 && said->entries[said->buckets[at] - 1].service != service)
        at = (at + 1) & mask;
    return at;
}

struct ha_said_entry *ha_said_find(const struct ha_said *said, uint32_t service)
{
    uint32_t at;

    if (said->count == 0)
        return NULL;
    at = said->buckets[bucket_of(said, service)];
    return at == 0 ? NULL : &said->entries[at - 1];
}

static bool grow(struct ha_said *said)
{
    uint32_t room = said->room == 0 ? ROOM_FIRST : 2 * said->room;
    struct ha_said_entry *entries;
    uint32_t *buckets;

    if (room > ROOM_MAX)
        return false;
    buckets = calloc(2 * (size_t)room, sizeof(*buckets));
    entries = reallocarray(said->entries, room, sizeof(*entries));
    if (entries != NULL)
        said->entries = entries;
    if (entries == NULL || buckets == NULL) {
        free(buckets);
        return false;
    }
    free(said->buckets);
    said->buckets = buckets;
    said->room = room;
    for (uint32_t i = 0; i < said->count; i++)
        said->buckets[bucket_of(said, said->entries[i].service)] = i + 1;
    return true;
}

struct ha_said_entry *ha_said_make(struct ha_said *said, uint32_t service)
{
    struct ha_said_entry *entry = ha_said_find(said, service);

    if (entry != NULL)
        return entry;
    if (said->count == said->room && !grow(said))
        return NULL;
    said->buckets[bucket_of(said, service)] = said->count + 1;
    entry = &said->entries[said->count++];
    *entry = (struct ha_said_entry){.service = service};
    return entry;
}

void ha_said_free(struct ha_said *said)
{
    free(said->entries);
    free(said->buckets);
    *said = (struct ha_said){0};
}

uint32_t ha_said_place(const struct ha_said *said, const struct ha_said_entry *entry)
{
    return (uint32_t)(entry - said->entries);
}

bool ha_said_matches(const struct ha_said *said, const struct ha_repeat *repeat)
{
    uint32_t left = said->count; /* nothing is named twice */
    uint64_t sum = 0;

    for (uint32_t i = 0; i < repeat->count; i++) {
        const struct ha_range *range = &repeat->ranges[i];

        if (range->first > said->count || range->count > said->count - range->first ||
            range->count > left)
            return false;
        left -= range->count;
        for (uint32_t k = 0; k < range->count; k++) {
            uint64_t mark = said->entries[range->first + k].mark;

            if (mark == 0)
                return false;
            sum += mark;
        }
    }
    return sum == repeat->sum;
}

bool ha_said_may_repeat(const struct ha_status *status, const struct ha_settings *settings)
{
    return status->sample.answer == HA_ANSWER_OK &&
           status->answer_age_ms < 2 * (uint64_t)settings->probe_ms &&
           2 * (uint64_t)status->answer_age_ms < settings->hang_after_ms &&
           (status->lease_left_ms == 0 ||
            status->lease_left_ms > 2 * (uint64_t)settings->heartbeat_ms);
}

uint64_t ha_said_promise_mark(const struct ha_promise *promise)
{
    const uint64_t words[] = {promise->service, promise->epoch,    promise->instance,
                              promise->set_id,  promise->set_size, promise->length_ms};
    uint64_t mark = ha_hash(HA_HASH_START, words, sizeof(words));

    return mark == 0 ? 1 : mark;
}

bool ha_repeat_add(struct ha_repeat *repeat, uint32_t place, uint64_t mark)
{
    struct ha_range *last = repeat->count == 0 ? NULL : &repeat->ranges[repeat->count - 1];

    if (last != NULL && last->first + last->count == place) {
        last->count++;
    } else {
        if (repeat->count == HA_RANGES_MAX)
            return false;
        repeat->ranges[repeat->count++] = (struct ha_range){.first = place, .count = 1};
    }
    repeat->sum += mark;
    return true;
}
