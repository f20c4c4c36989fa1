/* raft/guard_private.h - shared by the parts of the guard: storage, network, leadership. */
#ifndef HA_RAFT_GUARD_PRIVATE_H
#define HA_RAFT_GUARD_PRIVATE_H

#include "raft/guard.h"

struct ha_guard_send {
    struct raft_io_send *req;
    raft_io_send_cb cb;
    int status;
    struct ha_guard_send *next;
};

/* Is this rule in force? */
bool ha_guard_on(const struct ha_guard *guard, uint32_t bit);

/* End the process; @number goes into the sentence. */
void ha_guard_fatal(struct ha_guard *guard, int code, const char *what, uint64_t number)
    __attribute__((noreturn));

struct ha_guard *ha_guard_of(struct raft_io *io);
struct raft *ha_guard_raft(const struct ha_guard *guard);

/* Complete what libraft has sent. */
void ha_guard_finish_sends(struct ha_guard *guard, bool is_canceled);

/* Rows of the table: raft/guard_disk.c. */
int ha_guard_append(struct raft_io *io, struct raft_io_append *req,
                    const struct raft_entry entries[], unsigned n, raft_io_append_cb cb);
int ha_guard_truncate(struct raft_io *io, raft_index index);
int ha_guard_set_term(struct raft_io *io, raft_term term);
int ha_guard_set_vote(struct raft_io *io, raft_id id);
int ha_guard_load(struct raft_io *io, raft_term *term, raft_id *vote,
                  struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                  size_t *n);
int ha_guard_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                          const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
int ha_guard_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                          raft_io_snapshot_get_cb cb);

/* Rows of the table: raft/guard_net.c. */
int ha_guard_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                  raft_io_send_cb cb);
void ha_guard_recv(struct raft_io *inner, struct raft_message *message);

#endif /* HA_RAFT_GUARD_PRIVATE_H */
