#include "cmd/hafailoverd/pace.h"

#include <stddef.h>

#define REST_DOUBLED_MAX 4u
#define REST_MAX_MS 5000u

static void append(struct ha_pace_line *line, struct ha_pace_place *place)
{
    place->prev = line->last;
    place->next = NULL;
    if (line->last != NULL)
        line->last->next = place;
    else
        line->first = place;
    line->last = place;
}

static void detach(struct ha_pace_line *line, struct ha_pace_place *place)
{
    if (place->prev != NULL)
        place->prev->next = place->next;
    else
        line->first = place->next;
    if (place->next != NULL)
        place->next->prev = place->prev;
    else
        line->last = place->prev;
    place->prev = place->next = NULL;
}

void ha_pace_leave(struct ha_pace *pace, struct ha_pace_place *place)
{
    if (place->state == HA_PACE_INSIDE) {
        detach(&pace->inside, place);
        pace->inside_count--;
    } else if (place->state == HA_PACE_WAITING) {
        detach(&pace->waiting, place);
    }
    place->state = HA_PACE_OUT;
}

static bool has_room(struct ha_pace *pace, uint64_t now_ms)
{
    while (pace->inside.first != NULL && now_ms - pace->inside.first->since_ms >= pace->hold_ms)
        ha_pace_leave(pace, pace->inside.first);
    return pace->inside_count < pace->max;
}

static void go_inside(struct ha_pace *pace, struct ha_pace_place *place, uint64_t now_ms)
{
    append(&pace->inside, place);
    pace->inside_count++;
    place->state = HA_PACE_INSIDE;
    place->since_ms = now_ms;
}

bool ha_pace_enter(struct ha_pace *pace, struct ha_pace_place *place, uint64_t now_ms)
{
    if (place->state == HA_PACE_WAITING)
        return false;
    ha_pace_leave(pace, place);
    if (pace->waiting.first == NULL && has_room(pace, now_ms)) {
        go_inside(pace, place, now_ms);
        return true;
    }
    append(&pace->waiting, place);
    place->state = HA_PACE_WAITING;
    return false;
}

struct ha_pace_place *ha_pace_next(struct ha_pace *pace, uint64_t now_ms)
{
    struct ha_pace_place *place = pace->waiting.first;

    if (place == NULL || !has_room(pace, now_ms))
        return NULL;
    ha_pace_leave(pace, place);
    go_inside(pace, place, now_ms);
    return place;
}

uint64_t ha_pace_rest_ms(uint32_t unanswered, uint32_t probe_ms)
{
    uint64_t rest_ms;

    if (unanswered == 0)
        return 0;
    rest_ms = (uint64_t)probe_ms << (unanswered < REST_DOUBLED_MAX ? unanswered : REST_DOUBLED_MAX);
    return rest_ms < REST_MAX_MS ? rest_ms : REST_MAX_MS;
}
