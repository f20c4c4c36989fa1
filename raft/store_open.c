/* Opening a directory: whose is it, was it ever ours, may it vote. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/bytes.h"
#include "lib/base/text.h"
#include "lib/io/file.h"
#include "raft/members.h"
#include "raft/store_private.h"

#define IDENTITY_SIZE 32u
#define IDENTITY_MAGIC 0x44494148u /* "HAID" */

bool ha_store_has_file(const struct ha_store *store, const char *name)
{
    char path[HA_STORE_PATH_SIZE];
    struct stat info;

    (void)ha_text_format(path, sizeof(path), "%s/%s", store->dir, name);
    return stat(path, &info) == 0;
}

int ha_store_write_identity(const struct ha_store *store, struct ha_err *err)
{
    uint8_t bytes[IDENTITY_SIZE];
    char path[HA_STORE_PATH_SIZE];
    struct ha_writer w;

    ha_writer_init(&w, bytes, sizeof(bytes));
    ha_put_u32(&w, IDENTITY_MAGIC);
    ha_put_u32(&w, store->own_id);
    ha_put_u64(&w, store->cluster_id);
    ha_put_u64(&w, store->set_id);
    ha_put_u32(&w, 0);
    ha_put_u32(&w, ha_crc32c(0, bytes, w.size));
    assert(!w.failed && w.size == sizeof(bytes));
    (void)ha_text_format(path, sizeof(path), "%s/identity", store->dir);
    return ha_file_write(path, bytes, sizeof(bytes), 0600, err);
}

static int compare_identity(const struct ha_store *store, uint64_t cluster_id, uint64_t own_id,
                            uint64_t set_id, struct ha_err *err)
{
    if (cluster_id != store->cluster_id)
        return ha_err_set(err, HA_EDENIED,
                          "%s belongs to another cluster: give this watcher its own directory",
                          store->dir);
    if (own_id != store->own_id)
        return ha_err_set(err, HA_EDENIED,
                          "%s belongs to watcher id %" PRIu64
                          ", this is id %u: give this watcher its own directory",
                          store->dir, own_id, store->own_id);
    if (set_id != store->set_id)
        return ha_err_set(err, HA_EDENIED,
                          "%s was made for another set of watchers: restore the names and ids of "
                          "the settings, or rebuild the set offline",
                          store->dir);
    return HA_OK;
}

struct identity {
    uint64_t cluster_id, own_id, set_id;
};

static int read_identity(const struct ha_store *store, struct identity *ret, struct ha_err *err)
{
    char path[HA_STORE_PATH_SIZE];
    struct ha_reader r;
    uint8_t *bytes;
    size_t size;
    bool is_good;
    int code;

    (void)ha_text_format(path, sizeof(path), "%s/identity", store->dir);
    code = ha_file_read(path, IDENTITY_SIZE, &bytes, &size, err);
    if (code != HA_OK)
        return code;
    ha_reader_init(&r, bytes, size);
    is_good = ha_get_u32(&r) == IDENTITY_MAGIC;
    ret->own_id = ha_get_u32(&r);
    ret->cluster_id = ha_get_u64(&r);
    ret->set_id = ha_get_u64(&r);
    (void)ha_get_u32(&r);
    is_good = is_good && size == IDENTITY_SIZE &&
              ha_crc32c(0, bytes, IDENTITY_SIZE - 4) == ha_get_u32(&r) && ha_reader_done(&r);
    free(bytes);
    if (!is_good)
        return ha_err_set(err, HA_ECORRUPT, "%s is damaged; %s", path, HA_STORE_REPLACE);
    return HA_OK;
}

/* The database says that this is us. The file beside it may be of before the last move, which was
 * then cut short behind its transaction: finish it. */
static int check_identity(struct ha_store *store, struct ha_err *err)
{
    struct identity identity = {0};
    struct ha_raft_set set;
    int code = read_identity(store, &identity, err);

    if (code != HA_OK || (identity.cluster_id == store->cluster_id &&
                          identity.own_id == store->own_id && identity.set_id == store->set_id))
        return code;
    code = ha_store_read_set(store, &set, err);
    if (code != HA_OK)
        return code;
    if (identity.cluster_id != store->cluster_id || set.count == 0 || set.set_id != store->set_id ||
        identity.set_id == store->set_id)
        return compare_identity(store, identity.cluster_id, identity.own_id, identity.set_id, err);
    code = ha_store_mark(store, 1, err);
    return code == HA_OK ? ha_store_write_identity(store, err) : code;
}

/* Decide from the files alone. */
static int check_presence(const struct ha_store *store, bool bootstrap, bool *ret_is_new,
                          struct ha_err *err)
{
    bool has_db = ha_store_has_file(store, "log.db");
    bool has_identity = ha_store_has_file(store, "identity");
    bool has_mark = ha_store_has_file(store, "watermark");

    *ret_is_new = false;
    /* Not "empty": its disk may not be mounted, or it may not be a folder. */
    if (!ha_store_has_file(store, "."))
        return ha_err_set(
            err, HA_ENOENT, "the folder %s cannot be used: %s%s", store->dir, strerror(errno),
            bootstrap && errno == ENOENT ? "; make it for the user of hafailoverd" : "");
    if (!has_db && (has_identity || has_mark))
        return ha_err_set(err, HA_ENOENT, "%s has lost its log.db; %s", store->dir,
                          HA_STORE_REPLACE);
    if (!has_db && !bootstrap)
        return ha_err_set(err, HA_ENOENT,
                          "%s is empty: start once with bootstrap on every watcher of a new "
                          "cluster; a watcher that lost its directory needs a new id",
                          store->dir);
    if (has_db && !has_identity && has_mark)
        return ha_err_set(err, HA_ENOENT, "%s has lost its identity file; %s", store->dir,
                          HA_STORE_REPLACE);
    *ret_is_new = !has_db;
    return HA_OK;
}

int ha_store_open_db(struct ha_store *store, uint32_t page_max, struct ha_err *err)
{
    char path[HA_STORE_PATH_SIZE];
    char pragma[64];

    (void)ha_text_format(path, sizeof(path), "%s/log.db", store->dir);
    if (sqlite3_open_v2(path, &store->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return ha_store_fail(store, err, "open");
    /* An exclusive lock from the first read on: a second process is told at once. */
    if (sqlite3_exec(store->db,
                     "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                     "PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
                     "BEGIN IMMEDIATE; COMMIT;",
                     NULL, NULL, NULL) != SQLITE_OK) {
        if (sqlite3_errcode(store->db) == SQLITE_BUSY)
            return ha_err_set(err, HA_EDENIED, "%s is in use by another process", store->dir);
        return ha_store_fail(store, err, "open");
    }
    if (page_max > 0) {
        (void)ha_text_format(pragma, sizeof(pragma), "PRAGMA max_page_count=%u", page_max);
        if (sqlite3_exec(store->db, pragma, NULL, NULL, NULL) != SQLITE_OK)
            return ha_store_fail(store, err, "limit");
    }
    return HA_OK;
}

static int bootstrap(struct ha_store *store, struct ha_err *err)
{
    struct raft_configuration conf;
    struct raft_buffer buf;
    int code;

    if (ha_members_build(&conf, store->ids, store->id_count) != 0)
        return ha_err_set(err, HA_ENOMEM, "bootstrap: no memory");
    if (raft_configuration_encode(&conf, &buf) != 0) {
        raft_configuration_close(&conf);
        return ha_err_set(err, HA_ENOMEM, "bootstrap: no memory");
    }
    code = ha_store_bootstrap(store, &buf, err);
    raft_free(buf.base);
    raft_configuration_close(&conf);
    return code;
}

/* What the tables hold is the last word; files written after them may be missing. */
bool ha_store_is_blank(struct ha_store *store)
{
    sqlite3_stmt *stmt = NULL;
    bool blank = false;

    if (sqlite3_prepare_v2(store->db, "SELECT count(*) FROM sqlite_master", -1, &stmt, NULL) ==
            SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        blank = sqlite3_column_int64(stmt, 0) == 0;
    (void)sqlite3_finalize(stmt);
    return blank;
}

static int read_meta(struct ha_store *store, struct ha_err *err)
{
    sqlite3_stmt *stmt = store->stmts[STORE_READ_META];
    uint64_t words[6] = {0};
    uint32_t crc = 0;
    int rv = sqlite3_step(stmt);

    for (int i = 0; rv == SQLITE_ROW && i < 6; i++)
        words[i] = (uint64_t)sqlite3_column_int64(stmt, i);
    if (rv == SQLITE_ROW)
        crc = (uint32_t)sqlite3_column_int64(stmt, 6);
    (void)sqlite3_reset(stmt);
    if (rv != SQLITE_ROW && rv != SQLITE_DONE)
        return ha_store_fail(store, err, "read the term");
    if (rv == SQLITE_DONE || crc != ha_store_crc(words, 6, NULL, 0))
        return ha_err_set(err, HA_ECORRUPT, "term and vote in %s/log.db are damaged or gone; %s",
                          store->dir, HA_STORE_REPLACE);
    if (words[0] != HA_STORE_FORMAT)
        return ha_err_set(err, HA_EDENIED, "%s/log.db has format %" PRIu64 ", known is %u",
                          store->dir, words[0], HA_STORE_FORMAT);
    store->term = words[4];
    store->vote = words[5];
    return compare_identity(store, words[1], words[2], words[3], err);
}

static int set_up(struct ha_store *store, const struct ha_store_options *options,
                  struct ha_err *err)
{
    bool is_new;
    int code = check_presence(store, options->bootstrap, &is_new, err);

    if (code != HA_OK)
        return code;
    if (!ha_store_has_space(store))
        return ha_err_set(err, HA_EFULL, "less than %" PRIu64 " MiB free in %s: free some space",
                          store->free_min_bytes >> 20, store->dir);
    code = ha_store_open_db(store, options->page_max, err);
    if (code != HA_OK)
        return code;
    if (!is_new && ha_store_is_blank(store) && !ha_store_has_file(store, "identity"))
        is_new = options->bootstrap; /* an earlier bootstrap was cut short before it did anything */
    if (options->bootstrap && !is_new)
        return ha_err_set(err, HA_EEXIST,
                          "%s was bootstrapped before: start without the bootstrap option",
                          store->dir);
    code = is_new ? bootstrap(store, err) : ha_store_prepare(store, err);
    if (code == HA_OK)
        code = read_meta(store, err);
    if (code == HA_OK && ha_store_has_file(store, "identity"))
        code = check_identity(store, err);
    /* A bootstrap may have been cut short between the tables and the files. */
    if (code == HA_OK && !ha_store_has_file(store, "watermark")) {
        if (ha_store_has_file(store, "identity"))
            return ha_err_set(err, HA_ENOENT, "%s has lost its watermark file; %s", store->dir,
                              HA_STORE_REPLACE);
        code = ha_store_mark(store, 1, err);
    }
    if (code == HA_OK && !ha_store_has_file(store, "identity"))
        code = ha_store_write_identity(store, err);
    return code;
}

int ha_store_open(struct ha_store **ret, const struct ha_store_options *options, struct ha_err *err)
{
    struct ha_store *store = calloc(1, sizeof(*store));
    int code;

    if (store == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the log");
    if (ha_text_copy(store->dir, sizeof(store->dir), options->dir) != HA_OK) {
        free(store);
        return ha_err_set(err, HA_EINVAL, "data directory: path too long");
    }
    store->cluster_id = options->cluster_id;
    store->own_id = options->own_id;
    store->set_id = options->set_id;
    store->free_min_bytes = options->free_min_bytes;
    store->id_count = options->id_count;
    memcpy(store->ids, options->ids, options->id_count * sizeof(store->ids[0]));
    code = set_up(store, options, err);
    if (code != HA_OK) {
        ha_store_close(store);
        return code;
    }
    *ret = store;
    return HA_OK;
}
