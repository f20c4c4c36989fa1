/* raft/store_private.h - shared by the parts of the store: open, load, write. */
#ifndef HA_RAFT_STORE_PRIVATE_H
#define HA_RAFT_STORE_PRIVATE_H

#include <sqlite3.h>

#include "raft/store.h"

#define HA_STORE_FORMAT 1u
#define HA_STORE_PATH_SIZE 4200
#define HA_STORE_MARK_SIZE 12u
#define HA_STORE_REPLACE                                                                     \
    "this watcher must not vote with it: replace the watcher under a new id, with an empty " \
    "directory"

enum ha_store_statement {
    STORE_BEGIN,
    STORE_COMMIT,
    STORE_META,
    STORE_HEAD,
    STORE_INSERT,
    STORE_CUT_TAIL,
    STORE_CUT_FRONT,
    STORE_CHAIN_AT,
    STORE_PUT,
    STORE_PREVIOUS,
    STORE_DROP_SNAPSHOTS,
    STORE_SNAPSHOTS,
    STORE_ENTRIES,
    STORE_READ_META,
    STORE_READ_HEAD,
    STORE_PUT_SET,
    STORE_READ_SET,
    STORE_STATEMENTS, /* how many */
};

struct ha_store {
    sqlite3 *db;
    sqlite3_stmt *stmts[STORE_STATEMENTS];
    char dir[4096];
    uint64_t cluster_id;
    uint32_t own_id;
    uint64_t set_id;
    uint32_t ids[8];
    uint32_t id_count;
    uint64_t free_min_bytes;
    raft_term term;
    raft_id vote;
    raft_index last; /* of the log, or of the snapshot that replaced it */
    uint64_t chain;  /* up to last */
};

/* Fill *err from the database's last error. */
int ha_store_fail(struct ha_store *store, struct ha_err *err, const char *what);
extern const char ha_store_schema[];
int ha_store_run(struct ha_store *store, enum ha_store_statement which, struct ha_err *err);
int ha_store_write_meta(struct ha_store *store, struct ha_err *err);
int ha_store_open_db(struct ha_store *store, uint32_t page_max, struct ha_err *err);
int ha_store_write_identity(const struct ha_store *store, struct ha_err *err);
bool ha_store_has_file(const struct ha_store *store, const char *name);
bool ha_store_is_blank(struct ha_store *store);
int ha_store_prepare(struct ha_store *store, struct ha_err *err);
int ha_store_bootstrap(struct ha_store *store, const struct raft_buffer *conf, struct ha_err *err);
uint64_t ha_store_chain(uint64_t before, raft_index index, const struct raft_entry *entry);
uint32_t ha_store_crc(const uint64_t *words, size_t count, const void *data, size_t size);

#endif /* HA_RAFT_STORE_PRIVATE_H */
