#include "raft/io_disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MARK_EVERY_MS 1000u
#define LOOK_EVERY_MS 2000u
#define BATCH_MAX 256u
#define SLOW_AFTER_MS 300u
#define STALLED_AFTER_MS 2000u
#define WAIT_MAX_MS 10000u
#define NS_PER_MS 1000000u

enum kind {
    APPEND,
    TRUNCATE,
    PUT,
    GET,
    MARK,
};

struct ha_disk_job {
    STAILQ_ENTRY(ha_disk_job) link;
    enum kind kind;
    raft_index index;
    struct raft_entry *entries; /* one allocation with their bytes */
    unsigned count;
    unsigned trailing;
    struct raft_snapshot snapshot; /* configuration left out; buf is copied */
    struct raft_buffer buf;
    struct raft_snapshot *found;
    struct raft_io_append *append;
    struct raft_io_snapshot_put *put;
    struct raft_io_snapshot_get *get;
    raft_io_append_cb append_cb;
    raft_io_snapshot_put_cb put_cb;
    raft_io_snapshot_get_cb get_cb;
};

void ha_disk_init(struct ha_disk *disk, uv_loop_t *loop, struct ha_store *store)
{
    int rv;

    *disk = (struct ha_disk){
        .loop = loop, .store = store, .has_space = true, .wait_max_ms = WAIT_MAX_MS};
    STAILQ_INIT(&disk->queued);
    STAILQ_INIT(&disk->doing);
    disk->work.data = disk;
    disk->size_bytes = ha_store_size(store);
    rv = uv_mutex_init(&disk->lock);
    assert(rv == 0);
}

void ha_disk_fini(struct ha_disk *disk)
{
    assert(ha_disk_is_idle(disk));
    ha_store_close(disk->store);
    uv_mutex_destroy(&disk->lock);
    disk->store = NULL;
}

static int note_error(struct ha_disk *disk, const struct ha_err *err)
{
    if (disk->err.code == HA_OK)
        disk->err = *err;
    return err->code == HA_EFULL ? RAFT_NOSPACE : RAFT_IOERR;
}

int ha_disk_load(struct ha_disk *disk, struct ha_store_state *ret)
{
    struct ha_err err = {0};

    if (ha_store_load(disk->store, ret, &err) != HA_OK) {
        (void)note_error(disk, &err);
        return RAFT_CORRUPT;
    }
    disk->next_index = ret->start + ret->count;
    return 0;
}

/* --- term and vote: done by a thread that the loop waits for, not for ever ------------------- */

struct meta {
    struct ha_disk *disk;
    bool is_vote;
    uint64_t value;
    uv_mutex_t lock; /* around the rest */
    uv_cond_t done;
    bool is_done, is_left; /* whoever comes second frees it */
    int code;
    struct ha_err err;
};

static void meta_free(struct meta *meta)
{
    uv_cond_destroy(&meta->done);
    uv_mutex_destroy(&meta->lock);
    free(meta);
}

static void on_meta(void *arg)
{
    struct meta *meta = arg;
    struct ha_disk *disk = meta->disk;
    bool is_left;

    uv_mutex_lock(&disk->lock);
    meta->code = meta->is_vote ? ha_store_set_vote(disk->store, meta->value, &meta->err)
                               : ha_store_set_term(disk->store, meta->value, &meta->err);
    uv_mutex_unlock(&disk->lock);
    uv_mutex_lock(&meta->lock);
    meta->is_done = true;
    is_left = meta->is_left;
    uv_cond_signal(&meta->done);
    uv_mutex_unlock(&meta->lock);
    if (is_left)
        meta_free(meta);
}

static int wait_for_meta(struct ha_disk *disk, struct meta *meta)
{
    const uint64_t end_ns = uv_hrtime() + (uint64_t)disk->wait_max_ms * NS_PER_MS;
    struct ha_err err = {0};
    bool is_done;

    uv_mutex_lock(&meta->lock);
    while (!meta->is_done && uv_hrtime() < end_ns)
        (void)uv_cond_timedwait(&meta->done, &meta->lock, end_ns - uv_hrtime()); /* looked at */
    is_done = meta->is_done;
    meta->is_left = !is_done;
    if (is_done) /* else it is the thread's */
        err = meta->err;
    else
        (void)ha_err_set(&err, HA_ETIMEDOUT, "the disk has not stored the %s in %u ms",
                         meta->is_vote ? "vote" : "term", disk->wait_max_ms);
    uv_mutex_unlock(&meta->lock);
    return err.code == HA_OK ? 0 : note_error(disk, &err);
}

static int set_meta(struct ha_disk *disk, bool is_vote, uint64_t value)
{
    struct meta *meta;
    uv_thread_t thread;
    int rv;

    if (disk->err.code != HA_OK)
        return RAFT_IOERR;
    meta = calloc(1, sizeof(*meta));
    if (meta == NULL)
        return RAFT_NOMEM;
    *meta = (struct meta){.disk = disk, .is_vote = is_vote, .value = value};
    if (uv_mutex_init(&meta->lock) != 0 || uv_cond_init(&meta->done) != 0 ||
        uv_thread_create(&thread, on_meta, meta) != 0)
        return RAFT_NOMEM; /* ends the process (G5) */
    rv = wait_for_meta(disk, meta);
    if (disk->err.code == HA_ETIMEDOUT)
        return rv;                 /* the thread has it now, and may never come back */
    (void)uv_thread_join(&thread); /* it is past its last word */
    meta_free(meta);
    return rv;
}

int ha_disk_set_term(struct ha_disk *disk, raft_term term)
{
    return set_meta(disk, false, term);
}

int ha_disk_set_vote(struct ha_disk *disk, raft_id vote)
{
    return set_meta(disk, true, vote);
}

/* --- on the worker ------------------------------------------------------------------------ */

static int do_one(struct ha_disk *disk, struct ha_disk_job *job, struct ha_err *err)
{
    switch (job->kind) {
    case APPEND:
        return ha_store_append(disk->store, job->index, job->entries, job->count, err);
    case TRUNCATE:
        return ha_store_truncate(disk->store, job->index, err);
    case PUT:
        return ha_store_put(disk->store, &job->snapshot, job->trailing, err);
    case GET:
        return ha_store_get(disk->store, &job->found, err);
    case MARK:
        return HA_OK; /* after the commit; 0: only a look at the free space */
    }
    return HA_EINVAL;
}

static bool is_write(const struct ha_disk_job *job)
{
    return job->kind != GET && job->kind != MARK;
}

static int do_batch(struct ha_disk *disk, struct ha_err *err)
{
    struct ha_disk_job *job;
    bool has_begun = false;
    int code = HA_OK;

    STAILQ_FOREACH(job, &disk->doing, link)
    {
        if (is_write(job) && !has_begun) {
            code = ha_store_begin(disk->store, err);
            has_begun = code == HA_OK;
        }
        if (code == HA_OK)
            code = do_one(disk, job, err);
        if (code != HA_OK)
            return code;
    }
    if (has_begun)
        code = ha_store_commit(disk->store, err);
    STAILQ_FOREACH(job, &disk->doing, link)
    if (code == HA_OK && job->kind == MARK && job->index > 0)
        code = ha_store_mark(disk->store, job->index, err);
    return code;
}

static void on_work(uv_work_t *work)
{
    struct ha_disk *disk = work->data;

    uv_mutex_lock(&disk->lock);
    disk->work_code = do_batch(disk, &disk->work_err);
    disk->work_size_bytes = ha_store_size(disk->store);
    disk->work_has_space = ha_store_has_space(disk->store);
    uv_mutex_unlock(&disk->lock);
}

/* --- on the loop -------------------------------------------------------------------------- */

static void job_free(struct ha_disk_job *job)
{
    free(job->entries);
    free(job->buf.base);
    free(job);
}

static void call_back(struct ha_disk_job *job, int status)
{
    switch (job->kind) {
    case APPEND:
        job->append_cb(job->append, status);
        break;
    case PUT:
        job->put_cb(job->put, status);
        break;
    case GET:
        job->get_cb(job->get, job->found, status);
        break;
    case TRUNCATE:
    case MARK:
        break;
    }
}

static void kick(struct ha_disk *disk);

static void on_worked(uv_work_t *work, int uv_status)
{
    struct ha_disk *disk = work->data;
    struct ha_disk_jobs done;
    int status = 0;

    assert(uv_status == 0); /* never cancelled */
    disk->size_bytes = disk->work_size_bytes;
    disk->has_space = disk->work_has_space;
    if (disk->work_code != HA_OK)
        status = note_error(disk, &disk->work_err);
    else if (disk->err.code != HA_OK)
        status = RAFT_IOERR; /* what was queued before an error that has no completion of its own */
    STAILQ_INIT(&done);
    STAILQ_CONCAT(&done, &disk->doing);
    while (!STAILQ_EMPTY(&done)) {
        struct ha_disk_job *job = STAILQ_FIRST(&done);

        STAILQ_REMOVE_HEAD(&done, link);
        call_back(job, status);
        job_free(job);
    }
    disk->is_working = false;
    kick(disk);
    if (ha_disk_is_idle(disk) && disk->idle_cb != NULL) {
        void (*cb)(void *arg) = disk->idle_cb;

        disk->idle_cb = NULL;
        cb(disk->idle_arg);
    }
}

bool ha_disk_is_slow(const struct ha_disk *disk)
{
    return disk->is_working && uv_now(disk->loop) - disk->working_ms >= SLOW_AFTER_MS;
}

bool ha_disk_is_stalled(const struct ha_disk *disk)
{
    return disk->is_working && uv_now(disk->loop) - disk->working_ms >= STALLED_AFTER_MS;
}

static void kick(struct ha_disk *disk)
{
    unsigned count = 0;
    int rv;

    if (disk->is_working || STAILQ_EMPTY(&disk->queued))
        return;
    while (!STAILQ_EMPTY(&disk->queued) && count++ < BATCH_MAX) {
        struct ha_disk_job *job = STAILQ_FIRST(&disk->queued);

        STAILQ_REMOVE_HEAD(&disk->queued, link);
        STAILQ_INSERT_TAIL(&disk->doing, job, link);
    }
    disk->is_working = true;
    disk->working_ms = uv_now(disk->loop);
    disk->work_err = (struct ha_err){0};
    rv = uv_queue_work(disk->loop, &disk->work, on_work, on_worked);
    assert(rv == 0);
}

static struct ha_disk_job *queue(struct ha_disk *disk, enum kind kind)
{
    struct ha_disk_job *job = calloc(1, sizeof(*job));

    if (job == NULL)
        return NULL;
    job->kind = kind;
    STAILQ_INSERT_TAIL(&disk->queued, job, link);
    return job;
}

/* Copies: the worker never reads memory that libraft may touch. */
static struct raft_entry *copy_entries(const struct raft_entry *entries, unsigned n)
{
    size_t size = n * sizeof(*entries);
    struct raft_entry *copies;
    uint8_t *at;

    for (unsigned i = 0; i < n; i++)
        size += entries[i].buf.len;
    copies = malloc(size);
    if (copies == NULL)
        return NULL;
    at = (uint8_t *)(copies + n);
    for (unsigned i = 0; i < n; i++) {
        copies[i] = entries[i];
        copies[i].batch = NULL;
        copies[i].buf.base = at;
        memcpy(at, entries[i].buf.base, entries[i].buf.len);
        at += entries[i].buf.len;
    }
    return copies;
}

int ha_disk_append(struct ha_disk *disk, struct raft_io_append *req,
                   const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct raft_entry *copies;
    struct ha_disk_job *job;

    if (disk->err.code != HA_OK)
        return RAFT_IOERR;
    copies = copy_entries(entries, n);
    job = copies == NULL ? NULL : queue(disk, APPEND);
    if (job == NULL) {
        free(copies);
        return RAFT_NOMEM;
    }
    job->entries = copies;
    job->count = n;
    job->index = disk->next_index;
    job->append = req;
    job->append_cb = cb;
    disk->next_index += n;
    kick(disk);
    return 0;
}

int ha_disk_truncate(struct ha_disk *disk, raft_index index)
{
    struct ha_disk_job *job = disk->err.code == HA_OK ? queue(disk, TRUNCATE) : NULL;

    if (job == NULL)
        return RAFT_IOERR;
    job->index = index;
    disk->next_index = index;
    kick(disk);
    return 0;
}

int ha_disk_put(struct ha_disk *disk, unsigned trailing, struct raft_io_snapshot_put *req,
                const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct ha_disk_job *job = disk->err.code == HA_OK ? queue(disk, PUT) : NULL;

    assert(snapshot->n_bufs == 1);
    if (job == NULL)
        return RAFT_IOERR;
    job->buf.len = snapshot->bufs[0].len;
    job->buf.base = malloc(job->buf.len);
    if (job->buf.base == NULL)
        abort(); /* the job is queued; G5 would end the process all the same */
    memcpy(job->buf.base, snapshot->bufs[0].base, job->buf.len);
    job->snapshot.index = snapshot->index;
    job->snapshot.term = snapshot->term;
    job->snapshot.configuration_index = snapshot->configuration_index;
    job->snapshot.bufs = &job->buf;
    job->snapshot.n_bufs = 1;
    job->trailing = trailing;
    job->put = req;
    job->put_cb = cb;
    if (trailing == 0)
        disk->next_index = snapshot->index + 1;
    kick(disk);
    return 0;
}

int ha_disk_get(struct ha_disk *disk, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    struct ha_disk_job *job = disk->err.code == HA_OK ? queue(disk, GET) : NULL;

    if (job == NULL)
        return RAFT_IOERR;
    job->get = req;
    job->get_cb = cb;
    kick(disk);
    return 0;
}

void ha_disk_tend(struct ha_disk *disk, raft_index committed, uint64_t now_ms)
{
    struct ha_disk_job *job;
    bool must_mark = committed > disk->marked && now_ms >= disk->marked_ms + MARK_EVERY_MS;
    bool must_look = now_ms >= disk->looked_ms + LOOK_EVERY_MS;

    if (disk->err.code != HA_OK || (!must_mark && !must_look) || ha_disk_is_slow(disk))
        return;
    disk->looked_ms = now_ms;
    job = queue(disk, MARK);
    if (job == NULL)
        return;
    if (must_mark) {
        job->index = committed;
        disk->marked = committed;
        disk->marked_ms = now_ms;
    }
    kick(disk);
}

bool ha_disk_is_idle(const struct ha_disk *disk)
{
    return !disk->is_working && STAILQ_EMPTY(&disk->queued);
}

void ha_disk_when_idle(struct ha_disk *disk, void (*cb)(void *arg), void *arg)
{
    disk->idle_cb = cb;
    disk->idle_arg = arg;
}
