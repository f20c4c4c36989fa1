/* agents/redis/info.h - the text of INFO to facts.
 *
 * Pure, no allocation. The text comes from a peer: every number is parsed strictly, every string is
 * bounded, unknown lines are skipped. Sections may come in one text or in several. */
#ifndef HA_AGENTS_REDIS_INFO_H
#define HA_AGENTS_REDIS_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/core/types.h"

struct ha_err;

#define HA_REDIS_ID_SIZE 41 /* 40 hexadecimal characters */
#define HA_REDIS_PATH_SIZE 512
#define HA_REDIS_ONLINE_MAX 16 /* replicas whose acknowledgements are kept */

/* What a server said, in its own words. Zeroed: nothing was said yet. */
struct ha_redis_info {
    /* server */
    char version[32];
    char run_id[HA_REDIS_ID_SIZE];
    char config_file[HA_REDIS_PATH_SIZE];
    uint64_t process_id;
    /* replication */
    char role[16];
    char master_host[HA_HOST_SIZE];
    uint64_t master_port;
    char master_link_status[8];
    int64_t master_last_io_s; /* -1: the link is down */
    int64_t master_down_s;    /* -1: was never up */
    bool sync_in_progress;
    bool slave_read_only;
    uint64_t slave_offset;
    uint64_t connected_slaves;
    char replid[HA_REDIS_ID_SIZE];
    char replid2[HA_REDIS_ID_SIZE];
    uint64_t master_offset;
    int64_t second_offset;
    uint32_t online; /* replicas in state online, at most HA_REDIS_ONLINE_MAX of them ... */
    uint64_t acked[HA_REDIS_ONLINE_MAX]; /* ... and what each acknowledged */
    bool has_good_slaves;
    uint64_t good_slaves; /* told only while min-replicas-to-write is set */
    /* persistence */
    bool loading;
    bool async_loading;
    uint64_t changes; /* since the last snapshot */
    bool bgsave_running;
    char bgsave_status[8];
    uint64_t last_save_s;
    bool aof_enabled;
    char aof_status[8];
    /* keyspace */
    bool has_keys;
};

/* Take in @text[@size], which need not be terminated; may be called again for another section.
 * HA_EPROTO: a line that is known is malformed; *info is then half filled and must not be used. */
int ha_redis_info_parse(struct ha_redis_info *info, const char *text, size_t size,
                        struct ha_err *err);

/* Facts for the core. `answer` becomes OK or STARTING; `writable` true unless the append-only file
 * cannot be written; the rest as lib/core/types.h says.
 * HA_EPROTO: what a server must tell is missing; *sample is untouched. */
int ha_redis_info_sample(const struct ha_redis_info *info, struct ha_sample *sample,
                         struct ha_err *err);

/* Identity of 40 hexadecimal characters; never 0 but for an empty or all-zero id. */
uint64_t ha_redis_id_hash(const char *id);

#endif /* HA_AGENTS_REDIS_INFO_H */
