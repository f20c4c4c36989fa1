/* Reading a directory back: every record must be whole, linked to the one before it, and the end
 * where the head says it is. Anything else must not vote. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/text.h"
#include "lib/io/file.h"
#include "raft/guard.h"
#include "raft/members.h"
#include "raft/store_private.h"

#define HASH_UNKNOWN 0u

static int damaged(const struct ha_store *store, struct ha_err *err, const char *what,
                   uint64_t index)
{
    return ha_err_set(err, HA_ECORRUPT, "%s: %s %" PRIu64 "; %s", store->dir, what, index,
                      HA_STORE_REPLACE);
}

/* A row of the snapshots; HA_ECORRUPT when its checksum is wrong. */
static int take_snapshot(struct ha_store *store, sqlite3_stmt *stmt, struct raft_snapshot **ret,
                         struct ha_err *err)
{
    const uint64_t words[3] = {(uint64_t)sqlite3_column_int64(stmt, 0),
                               (uint64_t)sqlite3_column_int64(stmt, 1),
                               (uint64_t)sqlite3_column_int64(stmt, 2)};
    uint32_t crc = (uint32_t)sqlite3_column_int64(stmt, 3);
    const void *data = sqlite3_column_blob(stmt, 4);
    size_t size = (size_t)sqlite3_column_bytes(stmt, 4);
    struct raft_snapshot *snapshot;

    if (data == NULL || crc != ha_store_crc(words, 3, data, size))
        return damaged(store, err, "damaged snapshot", words[0]);
    snapshot = raft_calloc(1, sizeof(*snapshot));
    if (snapshot == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for a snapshot");
    snapshot->index = words[0];
    snapshot->term = words[1];
    snapshot->configuration_index = words[2];
    snapshot->bufs = raft_calloc(1, sizeof(*snapshot->bufs));
    if (snapshot->bufs != NULL)
        snapshot->bufs[0].base = raft_malloc(size);
    if (snapshot->bufs == NULL || snapshot->bufs[0].base == NULL ||
        ha_members_build(&snapshot->configuration, store->ids, store->id_count) != 0)
        return ha_err_set(err, HA_ENOMEM, "no memory for a snapshot");
    snapshot->n_bufs = 1;
    snapshot->bufs[0].len = size;
    memcpy(snapshot->bufs[0].base, data, size);
    *ret = snapshot;
    return HA_OK;
}

/* The newest snapshot that is whole; *ret_skipped counts damaged newer ones. */
static int newest_snapshot(struct ha_store *store, struct raft_snapshot **ret,
                           unsigned *ret_skipped, struct ha_err *err)
{
    sqlite3_stmt *stmt = store->stmts[STORE_SNAPSHOTS];
    int code = HA_OK;
    int rv;

    *ret = NULL;
    *ret_skipped = 0;
    while ((rv = sqlite3_step(stmt)) == SQLITE_ROW) {
        code = take_snapshot(store, stmt, ret, err);
        if (code != HA_ECORRUPT)
            break;
        (*ret_skipped)++;
    }
    (void)sqlite3_reset(stmt);
    if (rv != SQLITE_ROW && rv != SQLITE_DONE)
        return ha_store_fail(store, err, "read snapshots");
    return code;
}

int ha_store_get(struct ha_store *store, struct raft_snapshot **ret, struct ha_err *err)
{
    unsigned skipped;

    return newest_snapshot(store, ret, &skipped, err);
}

/* One row into *entry, checked against its place and, where known, its predecessor. */
static int take_entry(struct ha_store *store, sqlite3_stmt *stmt, raft_index expected,
                      uint64_t before, struct raft_entry *entry, struct ha_err *err)
{
    const uint64_t words[4] = {
        (uint64_t)sqlite3_column_int64(stmt, 0), (uint64_t)sqlite3_column_int64(stmt, 1),
        (uint64_t)sqlite3_column_int64(stmt, 2), (uint64_t)sqlite3_column_int64(stmt, 3)};
    uint32_t crc = (uint32_t)sqlite3_column_int64(stmt, 4);
    const void *data = sqlite3_column_blob(stmt, 5);
    size_t size = (size_t)sqlite3_column_bytes(stmt, 5);

    if (words[0] != expected)
        return damaged(store, err, "the log has a gap before entry", words[0]);
    if (data == NULL || size == 0 || size % 8 != 0 || size > HA_GUARD_ENTRY_MAX ||
        crc != ha_store_crc(words, 4, data, size))
        return damaged(store, err, "damaged entry", words[0]);
    entry->term = words[1];
    entry->type = (unsigned short)words[2];
    entry->buf.len = size;
    entry->buf.base = raft_malloc(size);
    if (entry->buf.base == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the log");
    entry->batch = entry->buf.base;
    memcpy(entry->buf.base, data, size);
    if (before != HASH_UNKNOWN && words[3] != ha_store_chain(before, expected, entry))
        return damaged(store, err, "the log was replaced before entry", expected);
    store->chain = words[3];
    store->last = expected;
    return HA_OK;
}

static bool grow(struct ha_store_state *state, size_t *size)
{
    struct raft_entry *entries;

    if (state->count < *size)
        return true;
    *size = *size == 0 ? 1024 : *size * 2;
    entries = raft_realloc(state->entries, *size * sizeof(*entries));
    if (entries == NULL)
        return false;
    state->entries = entries;
    return true;
}

static int load_entries(struct ha_store *store, struct ha_store_state *state, struct ha_err *err)
{
    sqlite3_stmt *stmt = store->stmts[STORE_ENTRIES];
    uint64_t before = HASH_UNKNOWN;
    size_t size = 0;
    int code = HA_OK;
    int rv;

    while ((rv = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (state->count == 0)
            state->start = (raft_index)sqlite3_column_int64(stmt, 0);
        if (state->start == 1 && state->count == 0)
            before = HA_HASH_START;
        if (!grow(state, &size)) {
            code = ha_err_set(err, HA_ENOMEM, "no memory for the log");
            break;
        }
        code = take_entry(store, stmt, state->start + state->count, before,
                          &state->entries[state->count], err);
        if (code != HA_OK)
            break;
        before = store->chain;
        state->count++;
    }
    (void)sqlite3_reset(stmt);
    if (code != HA_OK)
        return code;
    return rv == SQLITE_DONE ? HA_OK : ha_store_fail(store, err, "read the log");
}

static int check_head(struct ha_store *store, struct ha_err *err)
{
    sqlite3_stmt *stmt = store->stmts[STORE_READ_HEAD];
    uint64_t last = 0;
    uint64_t chain = 0;
    int rv = sqlite3_step(stmt);

    if (rv == SQLITE_ROW) {
        last = (uint64_t)sqlite3_column_int64(stmt, 0);
        chain = (uint64_t)sqlite3_column_int64(stmt, 1);
    }
    (void)sqlite3_reset(stmt);
    if (rv != SQLITE_ROW || last != store->last || chain != store->chain)
        return damaged(store, err, "the log does not end where it must, at entry", last);
    return HA_OK;
}

static int check_watermark(struct ha_store *store, struct ha_err *err)
{
    char path[HA_STORE_PATH_SIZE];
    struct ha_reader r;
    uint8_t *bytes;
    size_t size;
    uint64_t mark;
    bool is_good;
    int code;

    (void)ha_text_format(path, sizeof(path), "%s/watermark", store->dir);
    code = ha_file_read(path, HA_STORE_MARK_SIZE, &bytes, &size, err);
    if (code != HA_OK)
        return code;
    ha_reader_init(&r, bytes, size);
    mark = ha_get_u64(&r);
    is_good = size == HA_STORE_MARK_SIZE && ha_get_u32(&r) == ha_crc32c(0, bytes, 8);
    free(bytes);
    if (!is_good)
        return ha_err_set(err, HA_ECORRUPT, "%s is damaged; %s", path, HA_STORE_REPLACE);
    if (mark > store->last)
        return damaged(store, err, "the log was cut or rolled back: it lacks committed entry",
                       mark);
    return HA_OK;
}

static int check_whole(struct ha_store *store, struct ha_err *err)
{
    sqlite3_stmt *stmt = NULL;
    bool is_good = false;

    if (sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        is_good = strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0;
    (void)sqlite3_finalize(stmt);
    if (!is_good)
        return ha_err_set(err, HA_ECORRUPT, "%s/log.db fails SQLite's check; %s", store->dir,
                          HA_STORE_REPLACE);
    return HA_OK;
}

static int check_ends_meet(struct ha_store *store, struct ha_store_state *state, unsigned skipped,
                           struct ha_err *err)
{
    raft_index covered = state->snapshot == NULL ? 0 : state->snapshot->index;

    if (state->count == 0) {
        if (covered == 0 || skipped > 0)
            return damaged(store, err, "the log is empty after index", covered);
        state->start = covered + 1;
        store->last = covered;
        store->chain = HA_HASH_START;
    }
    if (state->start > covered + 1)
        return damaged(store, err, "entries are missing after the snapshot at", covered);
    if (store->last < covered)
        return damaged(store, err, "the log ends before its snapshot at", covered);
    return HA_OK;
}

int ha_store_load(struct ha_store *store, struct ha_store_state *ret, struct ha_err *err)
{
    unsigned skipped = 0;
    int code;

    memset(ret, 0, sizeof(*ret));
    store->last = 0;
    store->chain = HA_HASH_START;
    code = check_whole(store, err);
    if (code == HA_OK)
        code = newest_snapshot(store, &ret->snapshot, &skipped, err);
    if (code == HA_ECORRUPT && ret->snapshot == NULL && skipped > 0)
        return code;
    if (code == HA_OK)
        code = load_entries(store, ret, err);
    if (code == HA_OK)
        code = check_ends_meet(store, ret, skipped, err);
    if (code == HA_OK)
        code = check_head(store, err);
    if (code == HA_OK)
        code = check_watermark(store, err);
    if (code != HA_OK) {
        ha_store_state_fini(ret);
        return code;
    }
    ret->term = store->term;
    ret->vote = store->vote;
    return HA_OK;
}

void ha_store_state_fini(struct ha_store_state *state)
{
    for (size_t i = 0; i < state->count; i++)
        raft_free(state->entries[i].buf.base);
    raft_free(state->entries);
    if (state->snapshot != NULL) {
        raft_configuration_close(&state->snapshot->configuration);
        raft_free(state->snapshot->bufs[0].base);
        raft_free(state->snapshot->bufs);
        raft_free(state->snapshot);
    }
    *state = (struct ha_store_state){0};
}
