/* agents/acts.h - acts of one link: one under way, under its deadline, with exactly one callback.
 *
 * Shell, loop thread only; embedded by what an engine does an act with. How an act is done, and
 * what is to be put away when it ends, the engine says with three functions. */
#ifndef HA_AGENTS_ACTS_H
#define HA_AGENTS_ACTS_H

#include <stdarg.h>

#include "agents/engine.h"

#define HA_ACTS_MAX 4 /* one under way, those before it canceled and not yet told */

/* @owner is that of ha_acts_init. */
struct ha_acts_ops {
    void (*begin)(void *owner);                            /* acts->ask */
    void (*put_away)(void *owner);                         /* nothing of it is waited for now */
    void (*fill)(void *owner, struct ha_acted *ret_acted); /* it ended well: sample and pid */
};

struct ha_acts {
    const struct ha_acts_ops *ops;
    void *owner;
    void *data; /* of the callbacks */
    bool stopped;
    struct {
        struct ha_act act;
        ha_link_act_cb cb;
        bool canceled;
    } asked[HA_ACTS_MAX]; /* the first one is under way or about to begin */
    uint32_t count;
    bool running;
    struct ha_act ask; /* the one that runs */
    uint64_t start_ms;
    uv_timer_t deadline;
    bool last_look;    /* the deadline passed; one more turn of the loop */
    const char *doing; /* for the text of a missed deadline */
    int end_code;      /* set by cancel and by what fails inside a call: told from the loop */
    struct ha_acted acted;
};

/* @ops is borrowed. The timer is the owner's to close. */
void ha_acts_init(struct ha_acts *acts, uv_loop_t *loop, const struct ha_acts_ops *ops, void *owner,
                  void *data);

/* HA_OK: one callback, from the loop; HA_EBUSY: one is under way. */
int ha_acts_start(struct ha_acts *acts, const struct ha_act *ask, ha_link_act_cb cb);
void ha_acts_cancel(struct ha_acts *acts);
/* From now on it has so long. */
void ha_acts_prolong(struct ha_acts *acts, uint32_t ms);
uint32_t ha_acts_age_ms(const struct ha_acts *acts);

/* The only way out of an act; its callback may start or cancel others and close the link. */
void ha_acts_end(struct ha_acts *acts, int code);
/* The same with a text; a cut sentence is good enough. */
void ha_acts_fail(struct ha_acts *acts, int code, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
/* The same from the loop, for what failed inside a call. */
void ha_acts_end_later(struct ha_acts *acts, int code);

/* The link is closing: nothing is begun any more. */
void ha_acts_stop(struct ha_acts *acts);
/* The link and the timer have closed: end what is under way with HA_ECANCELED. */
void ha_acts_closed(struct ha_acts *acts);

#endif /* HA_AGENTS_ACTS_H */
