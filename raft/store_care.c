/* Directories made and moved as a whole: the set of watchers they remember, a seed as their only
 * content. Each is one transaction; the small files beside it follow, and an open finishes them. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "raft/set.h"
#include "raft/store_private.h"

int ha_store_read_set(struct ha_store *store, struct ha_raft_set *ret, struct ha_err *err)
{
    sqlite3_stmt *stmt = store->stmts[STORE_READ_SET];
    int rv = sqlite3_step(stmt);
    bool is_good = true;

    memset(ret, 0, sizeof(*ret));
    if (rv == SQLITE_ROW) {
        uint32_t crc = (uint32_t)sqlite3_column_int64(stmt, 0);
        const void *data = sqlite3_column_blob(stmt, 1);
        size_t size = (size_t)sqlite3_column_bytes(stmt, 1);
        struct ha_reader r;

        ha_reader_init(&r, data, size);
        is_good = data != NULL && crc == ha_crc32c(0, data, size) && ha_set_get(&r, ret) &&
                  ha_reader_done(&r);
    }
    (void)sqlite3_reset(stmt);
    if (rv != SQLITE_ROW && rv != SQLITE_DONE)
        return ha_store_fail(store, err, "read the set of watchers");
    if (!is_good)
        return ha_err_set(err, HA_ECORRUPT, "the set of watchers in %s/log.db is damaged; %s",
                          store->dir, HA_STORE_REPLACE);
    return HA_OK;
}

static int put_set(struct ha_store *store, const struct ha_raft_set *set, struct ha_err *err)
{
    sqlite3_stmt *stmt = store->stmts[STORE_PUT_SET];
    uint8_t bytes[HA_SET_SIZE_MAX];
    struct ha_writer w;
    int rv;

    ha_writer_init(&w, bytes, sizeof(bytes));
    ha_set_put(&w, set);
    assert(!w.failed);
    rv = sqlite3_bind_int64(stmt, 1, ha_crc32c(0, bytes, w.size));
    rv |= sqlite3_bind_blob64(stmt, 2, bytes, w.size, SQLITE_TRANSIENT);
    assert(rv == SQLITE_OK);
    return ha_store_run(store, STORE_PUT_SET, err);
}

/* Inside a transaction: the seed is all there is. */
static int plant(struct ha_store *store, uint32_t own_id, const struct ha_raft_seed *seed,
                 struct ha_err *err)
{
    struct raft_buffer buf = {.base = seed->data, .len = seed->size};
    const struct raft_snapshot snapshot = {.index = seed->index,
                                           .term = seed->term,
                                           .configuration_index = seed->index,
                                           .bufs = &buf,
                                           .n_bufs = 1};
    int code;

    if (sqlite3_exec(store->db, "DELETE FROM snapshots", NULL, NULL, NULL) != SQLITE_OK)
        return ha_store_fail(store, err, "plant");
    store->own_id = own_id;
    store->set_id = seed->set.set_id;
    /* No vote of another set means anything in this one, and none was given in it yet. */
    store->vote = 0;
    if (store->term < seed->term)
        store->term = seed->term;
    code = ha_store_write_meta(store, err);
    if (code == HA_OK)
        code = put_set(store, &seed->set, err);
    if (code == HA_OK)
        code = ha_store_put(store, &snapshot, 0, err);
    return code;
}

static int check_seed(uint32_t own_id, const struct ha_raft_seed *seed, struct ha_err *err)
{
    if (own_id < 1 || own_id > seed->set.count || seed->index == 0 || seed->term == 0)
        return ha_err_set(err, HA_EINVAL, "the seed is not of a set that this watcher is in");
    return HA_OK;
}

int ha_store_transplant(struct ha_store *store, uint32_t own_id, const struct ha_raft_seed *seed,
                        struct ha_err *err)
{
    int code = check_seed(own_id, seed, err);

    /* What is known to be committed may end behind the seed: it was never to count. */
    if (code == HA_OK)
        code = ha_store_mark(store, 1, err);
    if (code == HA_OK)
        code = ha_store_begin(store, err);
    if (code == HA_OK)
        code = plant(store, own_id, seed, err);
    if (code == HA_OK)
        code = ha_store_commit(store, err);
    if (code == HA_OK)
        code = ha_store_mark(store, seed->index, err);
    return code == HA_OK ? ha_store_write_identity(store, err) : code;
}

static struct ha_store *new_store(const char *dir, struct ha_err *err)
{
    struct ha_store *store = calloc(1, sizeof(*store));

    if (store == NULL || ha_text_copy(store->dir, sizeof(store->dir), dir) != HA_OK) {
        (void)ha_err_set(err, store == NULL ? HA_ENOMEM : HA_EINVAL, "data directory %s: %s", dir,
                         store == NULL ? "no memory" : "path too long");
        free(store);
        return NULL;
    }
    return store;
}

static int sow(struct ha_store *store, uint32_t own_id, const struct ha_raft_seed *seed,
               struct ha_err *err)
{
    int code = ha_store_open_db(store, 0, err);

    if (code == HA_OK && !ha_store_is_blank(store))
        code =
            ha_err_set(err, HA_EEXIST,
                       "%s holds a log already: give the watcher an empty directory", store->dir);
    if (code != HA_OK)
        return code;
    store->cluster_id = seed->cluster_id;
    if (sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(store->db, ha_store_schema, NULL, NULL, NULL) != SQLITE_OK)
        return ha_store_fail(store, err, "make the log");
    code = ha_store_prepare(store, err);
    if (code == HA_OK)
        code = plant(store, own_id, seed, err);
    if (code == HA_OK)
        code = ha_store_commit(store, err);
    if (code == HA_OK)
        code = ha_store_mark(store, seed->index, err);
    return code == HA_OK ? ha_store_write_identity(store, err) : code;
}

int ha_store_sow(const char *dir, uint32_t own_id, const struct ha_raft_seed *seed,
                 struct ha_err *err)
{
    struct ha_store *store = new_store(dir, err);
    int code;

    if (store == NULL)
        return err->code;
    code = check_seed(own_id, seed, err);
    if (code == HA_OK && access(dir, W_OK | X_OK) != 0)
        code = ha_err_set(err, errno == ENOENT ? HA_ENOENT : HA_EDENIED, "%s: %s", dir,
                          strerror(errno));
    if (code == HA_OK &&
        (ha_store_has_file(store, "identity") || ha_store_has_file(store, "watermark") ||
         ha_store_has_file(store, "promise")))
        code = ha_err_set(err, HA_EEXIST,
                          "%s belongs to a watcher already: give this one an empty directory", dir);
    if (code == HA_OK)
        code = sow(store, own_id, seed, err);
    ha_store_close(store);
    return code;
}

static int peek(struct ha_store *store, struct ha_store_owner *ret, struct ha_err *err)
{
    sqlite3_stmt *stmt;
    uint64_t words[4] = {0};
    int code = ha_store_open_db(store, 0, err);
    int rv;

    if (code == HA_OK && ha_store_is_blank(store))
        code = ha_err_set(err, HA_ENOENT, "%s is empty", store->dir);
    if (code == HA_OK)
        code = ha_store_prepare(store, err);
    if (code != HA_OK)
        return code;
    stmt = store->stmts[STORE_READ_META];
    rv = sqlite3_step(stmt);
    for (int i = 0; rv == SQLITE_ROW && i < 4; i++)
        words[i] = (uint64_t)sqlite3_column_int64(stmt, i);
    (void)sqlite3_reset(stmt);
    if (rv != SQLITE_ROW && rv != SQLITE_DONE)
        return ha_store_fail(store, err, "read whose it is");
    ret->cluster_id = words[1];
    ret->own_id = (uint32_t)words[2];
    code = ha_store_read_set(store, &ret->set, err);
    if (code == HA_OK && ret->set.count > 0 && ret->set.set_id != words[3])
        return ha_err_set(err, HA_ECORRUPT, "%s/log.db names two sets of watchers; %s", store->dir,
                          HA_STORE_REPLACE);
    ret->set.set_id = words[3];
    return code;
}

int ha_store_peek(const char *dir, struct ha_store_owner *ret, struct ha_err *err)
{
    struct ha_store *store = new_store(dir, err);
    int code;

    if (store == NULL)
        return err->code;
    memset(ret, 0, sizeof(*ret));
    code = ha_store_has_file(store, "log.db") ? peek(store, ret, err)
                                              : ha_err_set(err, HA_ENOENT, "%s is empty", dir);
    ha_store_close(store);
    return code;
}

int ha_store_set_waited(struct ha_store *store, struct ha_err *err)
{
    struct ha_raft_set set;
    int code = ha_store_read_set(store, &set, err);

    if (code != HA_OK || set.count == 0)
        return code;
    set.must_wait = false;
    return put_set(store, &set, err);
}
