/* The guard between libraft and storage: G5, G7, the loading half of G6. */
#include <assert.h>

#include "lib/base/err.h"
#include "raft/guard_check.h"
#include "raft/guard_private.h"

/* An append of libraft on its way through the inner io. */
struct guard_append {
    struct raft_io_append inner;
    struct ha_guard *guard;
    struct raft_io_append *req;
    raft_io_append_cb cb;
    raft_term last_term;
};

struct guard_put {
    struct raft_io_snapshot_put inner;
    struct ha_guard *guard;
    struct raft_io_snapshot_put *req;
    raft_io_snapshot_put_cb cb;
    bool is_install;
    raft_term term;
    raft_index index;
};

struct guard_get {
    struct raft_io_snapshot_get inner;
    struct ha_guard *guard;
    struct raft_io_snapshot_get *req;
    raft_io_snapshot_get_cb cb;
};

/* G5 for calls that answer at once. */
static int checked(struct ha_guard *guard, int rv, const char *what)
{
    if (rv != 0 && ha_guard_on(guard, HA_GUARD_G(5)) && !guard->is_closing)
        ha_guard_fatal(guard, HA_EIO, what, (uint64_t)rv);
    return rv;
}

/* G5 for completions: libraft must not see a failure, except our own cancel while closing. */
static void checked_status(struct ha_guard *guard, int status, const char *what)
{
    if (status == 0 || !ha_guard_on(guard, HA_GUARD_G(5)))
        return;
    if (guard->is_closing && status == RAFT_CANCELED)
        return;
    ha_guard_fatal(guard, HA_EIO, what, (uint64_t)status);
}

static void on_appended(struct raft_io_append *inner, int status)
{
    struct guard_append *append = inner->data;
    struct ha_guard *guard = append->guard;
    const struct raft *raft = ha_guard_raft(guard);

    assert(guard->appends_pending > 0);
    guard->appends_pending--;
    checked_status(guard, status, "append to the log failed");
    if (status == 0 && raft->state == RAFT_LEADER && append->last_term == raft->current_term)
        guard->has_own_stored = true;
    append->cb(append->req, status);
    raft_free(append);
    ha_guard_check(guard);
}

int ha_guard_append(struct raft_io *io, struct raft_io_append *req,
                    const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct ha_guard *guard = ha_guard_of(io);
    struct guard_append *append = raft_malloc(sizeof(*append));
    int rv;

    assert(n > 0);
    if (append == NULL)
        return checked(guard, RAFT_NOMEM, "no memory to append");
    *append = (struct guard_append){
        .guard = guard, .req = req, .cb = cb, .last_term = entries[n - 1].term};
    append->inner.data = append;
    append->inner.cb = on_appended;
    rv = guard->inner->append(guard->inner, &append->inner, entries, n, on_appended);
    if (rv != 0) {
        raft_free(append);
        return checked(guard, rv, "append to the log refused");
    }
    guard->appends_pending++;
    guard->cause.has_appended = true;
    return 0;
}

int ha_guard_truncate(struct raft_io *io, raft_index index)
{
    struct ha_guard *guard = ha_guard_of(io);

    if (index <= ha_guard_raft(guard)->commit_index)
        ha_guard_fatal(guard, HA_ECORRUPT, "a committed entry would be cut from the log", index);
    return checked(guard, guard->inner->truncate(guard->inner, index), "truncate failed");
}

int ha_guard_set_term(struct raft_io *io, raft_term term)
{
    struct ha_guard *guard = ha_guard_of(io);
    int rv;

    if (ha_guard_on(guard, HA_GUARD_G(7)) && term < guard->term)
        ha_guard_fatal(guard, HA_ECORRUPT, "the term would go back", term);
    rv = guard->inner->set_term(guard->inner, term);
    if (rv != 0)
        return checked(guard, rv, "storing the term failed");
    if (term != guard->term) {
        guard->vote = 0;
        guard->verified = 0;
    }
    guard->term = term;
    return 0;
}

int ha_guard_set_vote(struct raft_io *io, raft_id id)
{
    struct ha_guard *guard = ha_guard_of(io);
    int rv;

    if (ha_guard_on(guard, HA_GUARD_G(7)) && guard->vote != 0 && guard->vote != id)
        ha_guard_fatal(guard, HA_ECORRUPT, "a second vote in one term", guard->term);
    rv = guard->inner->set_vote(guard->inner, id);
    if (rv != 0)
        return checked(guard, rv, "storing the vote failed");
    guard->vote = id;
    return 0;
}

int ha_guard_load(struct raft_io *io, raft_term *term, raft_id *vote,
                  struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                  size_t *n)
{
    struct ha_guard *guard = ha_guard_of(io);
    int rv;

    rv = guard->inner->load(guard->inner, term, vote, snapshot, start, entries, n);
    if (rv != 0)
        return rv;
    guard->term = *term;
    guard->vote = *vote;
    if (ha_guard_on(guard, HA_GUARD_G(6)) && !ha_guard_repack(*entries, *n))
        return RAFT_NOMEM;
    return 0;
}

static void on_put(struct raft_io_snapshot_put *inner, int status)
{
    struct guard_put *put = inner->data;
    struct ha_guard *guard = put->guard;

    checked_status(guard, status, "writing a snapshot failed");
    if (put->is_install) {
        guard->is_installing = false;
        if (status == 0 && put->term == guard->term && put->index > guard->verified)
            guard->verified = put->index;
    }
    guard->in_snapshot_cb = true;
    put->cb(put->req, status);
    guard->in_snapshot_cb = false;
    raft_free(put);
    ha_guard_check(guard);
}

int ha_guard_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                          const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct ha_guard *guard = ha_guard_of(io);
    struct guard_put *put = raft_malloc(sizeof(*put));
    int rv;

    if (put == NULL)
        return checked(guard, RAFT_NOMEM, "no memory for a snapshot");
    *put = (struct guard_put){.guard = guard,
                              .req = req,
                              .cb = cb,
                              .is_install = trailing == 0,
                              .term = guard->term,
                              .index = snapshot->index};
    put->inner.data = put;
    rv = guard->inner->snapshot_put(guard->inner, trailing, &put->inner, snapshot, on_put);
    if (rv != 0) {
        raft_free(put);
        return checked(guard, rv, "writing a snapshot refused");
    }
    if (put->is_install)
        guard->is_installing = true;
    return 0;
}

static void on_get(struct raft_io_snapshot_get *inner, struct raft_snapshot *snapshot, int status)
{
    struct guard_get *get = inner->data;
    struct ha_guard *guard = get->guard;

    checked_status(guard, status, "reading a snapshot failed");
    get->cb(get->req, snapshot, status);
    raft_free(get);
    ha_guard_check(guard);
}

int ha_guard_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                          raft_io_snapshot_get_cb cb)
{
    struct ha_guard *guard = ha_guard_of(io);
    struct guard_get *get = raft_malloc(sizeof(*get));
    int rv;

    if (get == NULL)
        return RAFT_NOMEM;
    *get = (struct guard_get){.guard = guard, .req = req, .cb = cb};
    get->inner.data = get;
    rv = guard->inner->snapshot_get(guard->inner, &get->inner, on_get);
    if (rv != 0)
        raft_free(get);
    return rv;
}
