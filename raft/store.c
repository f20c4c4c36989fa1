#include "raft/store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "lib/base/bytes.h"
#include "lib/base/text.h"
#include "lib/io/file.h"
#include "raft/members.h"
#include "raft/store_private.h"

const char ha_store_schema[] =
    "CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK(id=1), format INTEGER NOT NULL,"
    " cluster_id INTEGER NOT NULL, own_id INTEGER NOT NULL, set_id INTEGER NOT NULL,"
    " term INTEGER NOT NULL, vote INTEGER NOT NULL, crc INTEGER NOT NULL);"
    "CREATE TABLE head(id INTEGER PRIMARY KEY CHECK(id=1), last INTEGER NOT NULL,"
    " chain INTEGER NOT NULL);"
    "CREATE TABLE entries(idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, type INTEGER NOT NULL,"
    " chain INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE snapshots(idx INTEGER PRIMARY KEY, term INTEGER NOT NULL,"
    " conf INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL);"
    "CREATE TABLE sets(id INTEGER PRIMARY KEY CHECK(id=1), crc INTEGER NOT NULL,"
    " data BLOB NOT NULL);";

static const char *const statements[STORE_STATEMENTS] = {
    [STORE_BEGIN] = "BEGIN IMMEDIATE",
    [STORE_COMMIT] = "COMMIT",
    [STORE_META] = "INSERT OR REPLACE INTO meta VALUES(1,?1,?2,?3,?4,?5,?6,?7)",
    [STORE_HEAD] = "INSERT OR REPLACE INTO head VALUES(1,?1,?2)",
    [STORE_INSERT] = "INSERT INTO entries VALUES(?1,?2,?3,?4,?5,?6)",
    [STORE_CUT_TAIL] = "DELETE FROM entries WHERE idx>=?1",
    [STORE_CUT_FRONT] = "DELETE FROM entries WHERE idx<=?1",
    [STORE_CHAIN_AT] = "SELECT chain FROM entries WHERE idx=?1",
    [STORE_PUT] = "INSERT OR REPLACE INTO snapshots VALUES(?1,?2,?3,?4,?5)",
    [STORE_PREVIOUS] = "SELECT max(idx) FROM snapshots WHERE idx<?1",
    [STORE_DROP_SNAPSHOTS] = "DELETE FROM snapshots WHERE idx<?1",
    [STORE_SNAPSHOTS] = "SELECT idx,term,conf,crc,data FROM snapshots ORDER BY idx DESC",
    [STORE_ENTRIES] = "SELECT idx,term,type,chain,crc,data FROM entries ORDER BY idx",
    [STORE_READ_META] = "SELECT format,cluster_id,own_id,set_id,term,vote,crc FROM meta",
    [STORE_READ_HEAD] = "SELECT last,chain FROM head",
    [STORE_PUT_SET] = "INSERT OR REPLACE INTO sets VALUES(1,?1,?2)",
    [STORE_READ_SET] = "SELECT crc,data FROM sets",
};

int ha_store_fail(struct ha_store *store, struct ha_err *err, const char *what)
{
    int code = sqlite3_errcode(store->db);

    if (code == SQLITE_FULL)
        return ha_err_set(err, HA_EFULL, "%s: no space left in %s", what, store->dir);
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return ha_err_set(err, HA_ECORRUPT, "%s: %s/log.db is damaged (%s); %s", what, store->dir,
                          sqlite3_errmsg(store->db), HA_STORE_REPLACE);
    return ha_err_set(err, HA_EIO, "%s: %s/log.db: %s", what, store->dir,
                      sqlite3_errmsg(store->db));
}

/* Run a statement that gives no row. */
int ha_store_run(struct ha_store *store, enum ha_store_statement which, struct ha_err *err)
{
    sqlite3_stmt *stmt = store->stmts[which];
    int rv = sqlite3_step(stmt);

    if (rv != SQLITE_DONE)
        (void)ha_store_fail(store, err, statements[which]);
    (void)sqlite3_reset(stmt); /* repeats the error already told */
    (void)sqlite3_clear_bindings(stmt);
    return rv == SQLITE_DONE ? HA_OK : (err != NULL ? err->code : HA_EIO);
}

static void bind(struct ha_store *store, enum ha_store_statement which, int at, uint64_t value)
{
    int rv = sqlite3_bind_int64(store->stmts[which], at, (sqlite3_int64)value);

    assert(rv == SQLITE_OK);
}

static void bind_blob(struct ha_store *store, enum ha_store_statement which, int at,
                      const void *data, size_t size)
{
    int rv = sqlite3_bind_blob64(store->stmts[which], at, data, size, SQLITE_STATIC);

    assert(rv == SQLITE_OK);
}

uint64_t ha_store_chain(uint64_t before, raft_index index, const struct raft_entry *entry)
{
    uint8_t head[18];
    struct ha_writer w;

    ha_writer_init(&w, head, sizeof(head));
    ha_put_u64(&w, index);
    ha_put_u64(&w, entry->term);
    ha_put_u16(&w, entry->type);
    return ha_hash(ha_hash(before, head, w.size), entry->buf.base, entry->buf.len);
}

uint32_t ha_store_crc(const uint64_t *words, size_t count, const void *data, size_t size)
{
    uint8_t bytes[64];
    struct ha_writer w;

    ha_writer_init(&w, bytes, sizeof(bytes));
    for (size_t i = 0; i < count; i++)
        ha_put_u64(&w, words[i]);
    assert(!w.failed);
    return ha_crc32c(ha_crc32c(0, bytes, w.size), data, size);
}

int ha_store_write_meta(struct ha_store *store, struct ha_err *err)
{
    const uint64_t words[6] = {HA_STORE_FORMAT, store->cluster_id, store->own_id,
                               store->set_id,   store->term,       store->vote};

    for (int i = 0; i < 6; i++)
        bind(store, STORE_META, i + 1, words[i]);
    bind(store, STORE_META, 7, ha_store_crc(words, 6, NULL, 0));
    return ha_store_run(store, STORE_META, err);
}

static int write_head(struct ha_store *store, struct ha_err *err)
{
    bind(store, STORE_HEAD, 1, store->last);
    bind(store, STORE_HEAD, 2, store->chain);
    return ha_store_run(store, STORE_HEAD, err);
}

int ha_store_begin(struct ha_store *store, struct ha_err *err)
{
    return ha_store_run(store, STORE_BEGIN, err);
}

int ha_store_commit(struct ha_store *store, struct ha_err *err)
{
    int code = write_head(store, err);

    if (code != HA_OK)
        return code;
    return ha_store_run(store, STORE_COMMIT, err);
}

int ha_store_set_term(struct ha_store *store, raft_term term, struct ha_err *err)
{
    assert(term >= store->term);
    if (term != store->term)
        store->vote = 0;
    store->term = term;
    return ha_store_write_meta(store, err); /* a statement of its own is a transaction of its own */
}

int ha_store_set_vote(struct ha_store *store, raft_id vote, struct ha_err *err)
{
    store->vote = vote;
    return ha_store_write_meta(store, err);
}

int ha_store_append(struct ha_store *store, raft_index index, const struct raft_entry *entries,
                    size_t count, struct ha_err *err)
{
    for (size_t i = 0; i < count; i++) {
        const struct raft_entry *entry = &entries[i];
        uint64_t chain = ha_store_chain(store->chain, index + i, entry);
        const uint64_t words[4] = {index + i, entry->term, entry->type, chain};
        int code;

        if (index + i != store->last + 1)
            return ha_err_set(err, HA_ECORRUPT, "entry %llu would follow %llu",
                              (unsigned long long)(index + i), (unsigned long long)store->last);
        for (int j = 0; j < 4; j++)
            bind(store, STORE_INSERT, j + 1, words[j]);
        bind(store, STORE_INSERT, 5, ha_store_crc(words, 4, entry->buf.base, entry->buf.len));
        bind_blob(store, STORE_INSERT, 6, entry->buf.base, entry->buf.len);
        code = ha_store_run(store, STORE_INSERT, err);
        if (code != HA_OK)
            return code;
        store->last = index + i;
        store->chain = chain;
    }
    return HA_OK;
}

/* The chain hash that the entry after @index continues. */
static int chain_at(struct ha_store *store, raft_index index, uint64_t *ret, struct ha_err *err)
{
    sqlite3_stmt *stmt = store->stmts[STORE_CHAIN_AT];
    int rv;

    bind(store, STORE_CHAIN_AT, 1, index);
    rv = sqlite3_step(stmt);
    if (rv == SQLITE_ROW)
        *ret = (uint64_t)sqlite3_column_int64(stmt, 0);
    else if (rv == SQLITE_DONE)
        *ret = HA_HASH_START; /* compacted: a new chain begins after a snapshot */
    (void)sqlite3_reset(stmt);
    return rv == SQLITE_ROW || rv == SQLITE_DONE ? HA_OK : ha_store_fail(store, err, "read chain");
}

int ha_store_truncate(struct ha_store *store, raft_index index, struct ha_err *err)
{
    int code;

    if (index > store->last)
        return HA_OK;
    bind(store, STORE_CUT_TAIL, 1, index);
    code = ha_store_run(store, STORE_CUT_TAIL, err);
    if (code != HA_OK)
        return code;
    store->last = index - 1;
    return chain_at(store, store->last, &store->chain, err);
}

static int previous_snapshot(struct ha_store *store, raft_index index, raft_index *ret,
                             struct ha_err *err)
{
    sqlite3_stmt *stmt = store->stmts[STORE_PREVIOUS];
    int rv;

    bind(store, STORE_PREVIOUS, 1, index);
    rv = sqlite3_step(stmt);
    *ret = rv == SQLITE_ROW ? (raft_index)sqlite3_column_int64(stmt, 0) : 0;
    (void)sqlite3_reset(stmt);
    return rv == SQLITE_ROW || rv == SQLITE_DONE ? HA_OK
                                                 : ha_store_fail(store, err, "find snapshot");
}

static int cut_front(struct ha_store *store, raft_index upto, struct ha_err *err)
{
    bind(store, STORE_CUT_FRONT, 1, upto);
    return ha_store_run(store, STORE_CUT_FRONT, err);
}

/* Two snapshots are kept, and the entries that follow the older one, so that it can be used. */
static int keep_two(struct ha_store *store, raft_index index, unsigned trailing, struct ha_err *err)
{
    raft_index previous;
    raft_index upto = index > trailing ? index - trailing : 0;
    int code = previous_snapshot(store, index, &previous, err);

    if (code != HA_OK)
        return code;
    bind(store, STORE_DROP_SNAPSHOTS, 1, previous);
    code = ha_store_run(store, STORE_DROP_SNAPSHOTS, err);
    if (code != HA_OK)
        return code;
    return cut_front(store, previous < upto ? previous : upto, err);
}

int ha_store_put(struct ha_store *store, const struct raft_snapshot *snapshot, unsigned trailing,
                 struct ha_err *err)
{
    const struct raft_buffer *buf = &snapshot->bufs[0];
    const uint64_t words[3] = {snapshot->index, snapshot->term, snapshot->configuration_index};
    int code;

    assert(snapshot->n_bufs == 1);
    for (int i = 0; i < 3; i++)
        bind(store, STORE_PUT, i + 1, words[i]);
    bind(store, STORE_PUT, 4, ha_store_crc(words, 3, buf->base, buf->len));
    bind_blob(store, STORE_PUT, 5, buf->base, buf->len);
    code = ha_store_run(store, STORE_PUT, err);
    if (code != HA_OK)
        return code;
    if (trailing > 0)
        return keep_two(store, snapshot->index, trailing, err);
    code = cut_front(store, INT64_MAX, err);
    store->last = snapshot->index;
    store->chain = HA_HASH_START;
    return code;
}

int ha_store_mark(struct ha_store *store, raft_index committed, struct ha_err *err)
{
    uint8_t bytes[HA_STORE_MARK_SIZE];
    char path[HA_STORE_PATH_SIZE];
    struct ha_writer w;

    ha_writer_init(&w, bytes, sizeof(bytes));
    ha_put_u64(&w, committed);
    ha_put_u32(&w, ha_crc32c(0, bytes, 8));
    assert(!w.failed && w.size == sizeof(bytes));
    (void)ha_text_format(path, sizeof(path), "%s/watermark", store->dir);
    return ha_file_write(path, bytes, sizeof(bytes), 0600, err);
}

uint64_t ha_store_size(const struct ha_store *store)
{
    static const char *const names[] = {"log.db", "log.db-wal"};
    uint64_t total = 0;

    for (size_t i = 0; i < HA_ARRAY_LEN(names); i++) {
        char path[HA_STORE_PATH_SIZE];
        struct stat info;

        (void)ha_text_format(path, sizeof(path), "%s/%s", store->dir, names[i]);
        if (stat(path, &info) == 0)
            total += (uint64_t)info.st_size;
    }
    return total;
}

bool ha_store_has_space(const struct ha_store *store)
{
    struct statvfs info;

    if (statvfs(store->dir, &info) != 0)
        return false;
    return (uint64_t)info.f_bavail * info.f_frsize >= store->free_min_bytes;
}

void ha_store_close(struct ha_store *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < STORE_STATEMENTS; i++)
        (void)sqlite3_finalize(store->stmts[i]);
    (void)sqlite3_close(store->db); /* every write was durable before */
    free(store);
}

/* A directory of the first version has no table for it. */
#define ADD_SETS                                                                                \
    "CREATE TABLE IF NOT EXISTS sets(id INTEGER PRIMARY KEY CHECK(id=1), crc INTEGER NOT NULL," \
    " data BLOB NOT NULL)"

int ha_store_prepare(struct ha_store *store, struct ha_err *err)
{
    if (sqlite3_exec(store->db, ADD_SETS, NULL, NULL, NULL) != SQLITE_OK)
        return ha_store_fail(store, err, "prepare");
    for (size_t i = 0; i < STORE_STATEMENTS; i++)
        if (sqlite3_prepare_v2(store->db, statements[i], -1, &store->stmts[i], NULL) != SQLITE_OK)
            return ha_store_fail(store, err, "prepare");
    return HA_OK;
}

/* One transaction: schema, identity, the first entry; only then the marker files. */
int ha_store_bootstrap(struct ha_store *store, const struct raft_buffer *conf, struct ha_err *err)
{
    const struct raft_entry entry = {.term = 1, .type = RAFT_CHANGE, .buf = *conf};
    int code;

    if (sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(store->db, ha_store_schema, NULL, NULL, NULL) != SQLITE_OK)
        return ha_store_fail(store, err, "bootstrap");
    code = ha_store_prepare(store, err);
    if (code != HA_OK)
        return code;
    store->term = 1;
    store->chain = HA_HASH_START;
    code = ha_store_write_meta(store, err);
    if (code == HA_OK)
        code = ha_store_append(store, 1, &entry, 1, err);
    if (code == HA_OK)
        code = ha_store_commit(store, err);
    return code;
}
