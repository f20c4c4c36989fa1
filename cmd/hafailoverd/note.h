/* cmd/hafailoverd/note.h - the durable note of the longest promise this watcher may have given.
 *
 * Shell, loop thread; writes run off the loop, one at a time, the last ask wins. What could not be
 * written is tried again each second: until then the core promises no longer. */
#ifndef HA_CMD_HAFAILOVERD_NOTE_H
#define HA_CMD_HAFAILOVERD_NOTE_H

#include <stdbool.h>
#include <stdint.h>

struct ha_daemon;
struct ha_err;
struct ha_promise_note; /* opaque */

/* Read the note in the data directory; blocking. Where there is none, *ret_ms is the longest that
 * any run can have promised, but 0, and noted so, where @is_new: a voter that was made just now has
 * promised nothing. HA_ECORRUPT: it is there and cannot be understood. HA_EIO, HA_ENOMEM. */
int ha_promise_note_open(struct ha_daemon *daemon, bool is_new, struct ha_promise_note **ret,
                         uint32_t *ret_ms, struct ha_err *err);

/* Note in @data_dir, blocking, that nothing was ever promised. HA_EIO and so on. */
int ha_promise_note_make(const char *data_dir, struct ha_err *err);

/* Make @longest_ms durable, then HA_EVENT_PERSISTED_PROMISE. */
void ha_promise_note_write(struct ha_promise_note *note, uint32_t longest_ms);

/* @cb after the write under way has ended; the last touch. */
void ha_promise_note_close(struct ha_promise_note *note, void (*cb)(struct ha_daemon *daemon));

#endif /* HA_CMD_HAFAILOVERD_NOTE_H */
