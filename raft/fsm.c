#include "raft/fsm.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"

#define SNAPSHOT_MAGIC 0x53464148u /* "HAFS" */
#define SNAPSHOT_VERSION 1u
#define SNAPSHOT_HEADER_SIZE 48u

struct command {
    uint8_t kind;
    uint32_t size;
    uint64_t index;
    uint64_t term;
    const uint8_t *data;
};

static void fatal(const struct ha_fsm *fsm, int code, const char *what, uint64_t index)
{
    char why[HA_ERR_TEXT_SIZE];

    (void)snprintf(why, sizeof(why), "%s at index %" PRIu64, what, index);
    fsm->hooks->fatal(fsm->hooks->ctx, code, why);
    abort();
}

bool ha_fsm_wrap(enum ha_fsm_kind kind, const void *data, size_t size,
                 const struct ha_fsm_place *place, struct raft_buffer *ret)
{
    size_t padded = (HA_FSM_HEADER_SIZE + size + 7) / 8 * 8;
    struct ha_writer w;
    void *base;

    assert(size <= HA_RAFT_ENTRY_MAX);
    base = raft_calloc(1, padded);
    if (base == NULL)
        return false;
    ha_writer_init(&w, base, padded);
    ha_put_u8(&w, (uint8_t)kind);
    ha_put_bytes(&w, "\0\0\0", 3);
    ha_put_u32(&w, (uint32_t)size);
    ha_put_u64(&w, place->index);
    ha_put_u64(&w, place->term);
    ha_put_bytes(&w, data, size);
    assert(!w.failed);
    *ret = (struct raft_buffer){.base = base, .len = padded};
    assert(ret->len % 8 == 0);
    return true;
}

static bool unwrap(const struct raft_buffer *buf, struct command *ret)
{
    struct ha_reader r;
    uint8_t zero[3];

    ha_reader_init(&r, buf->base, buf->len);
    ret->kind = ha_get_u8(&r);
    ha_get_bytes(&r, zero, sizeof(zero));
    ret->size = ha_get_u32(&r);
    ret->index = ha_get_u64(&r);
    ret->term = ha_get_u64(&r);
    ret->data = (const uint8_t *)buf->base + r.at;
    return !r.failed && ret->size <= ha_reader_left(&r);
}

static void compare_published(struct ha_fsm *fsm, const struct command *command)
{
    struct ha_reader r;
    struct ha_fsm_mark theirs;
    const struct ha_fsm_mark *mine;

    ha_reader_init(&r, command->data, command->size);
    theirs.index = ha_get_u64(&r);
    theirs.hash = ha_get_u64(&r);
    if (!ha_reader_done(&r))
        return;
    mine = &fsm->ring[theirs.index % HA_FSM_RING];
    if (mine->index != theirs.index)
        return; /* came by snapshot, or too old */
    if (mine->hash != theirs.hash)
        fatal(fsm, HA_ECORRUPT, "applied entries differ from the leader's (chain hash)",
              theirs.index);
    fsm->checked++;
}

static int on_apply(struct raft_fsm *raft_fsm, const struct raft_buffer *buf, void **result)
{
    struct ha_fsm *fsm = raft_fsm->data;
    uint64_t index = fsm->raft->last_applied + 1;
    struct command command;

    *result = NULL;
    if (index <= fsm->applied)
        fatal(fsm, HA_ECORRUPT, "an entry would be applied twice", index);
    fsm->chain = ha_hash(fsm->chain, buf->base, buf->len);
    fsm->applied = index;
    fsm->ring[index % HA_FSM_RING] = (struct ha_fsm_mark){.index = index, .hash = fsm->chain};
    fsm->since_publish++;
    if (!unwrap(buf, &command)) {
        fsm->malformed++;
        return 0;
    }
    if (command.index != index)
        fatal(fsm, HA_ECORRUPT, "an entry meant for another index was committed", index);
    if (command.kind == HA_FSM_HASH) {
        compare_published(fsm, &command);
        fsm->since_publish = 0;
        fsm->published = index;
    } else if (command.kind == HA_FSM_APP) {
        const struct ha_raft_entry entry = {
            .index = index, .term = command.term, .data = command.data, .size = command.size};

        fsm->hooks->apply(fsm->hooks->ctx, &entry);
    } else {
        fsm->malformed++; /* of a later version: skipped by all that do not know it */
    }
    return 0;
}

bool ha_fsm_pack(const struct ha_fsm *fsm, const void *state, size_t size, struct raft_buffer *ret)
{
    uint8_t *base = raft_malloc(SNAPSHOT_HEADER_SIZE + size);
    struct ha_writer w;

    if (base == NULL)
        return false;
    ha_writer_init(&w, base, SNAPSHOT_HEADER_SIZE + size);
    ha_put_u32(&w, SNAPSHOT_MAGIC);
    ha_put_u32(&w, SNAPSHOT_VERSION);
    ha_put_u64(&w, fsm->applied);
    ha_put_u64(&w, fsm->chain);
    ha_put_u64(&w, fsm->since_publish);
    ha_put_u64(&w, size);
    ha_put_u32(&w, ha_crc32c(0, state, size));
    ha_put_u32(&w, ha_crc32c(0, base, w.size));
    ha_put_bytes(&w, state, size);
    assert(!w.failed && w.size == SNAPSHOT_HEADER_SIZE + size);
    *ret = (struct raft_buffer){.base = base, .len = w.size};
    return true;
}

static int on_snapshot(struct raft_fsm *raft_fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct ha_fsm *fsm = raft_fsm->data;
    uint64_t index = fsm->raft->last_applied;
    void *state = NULL;
    size_t size = 0;
    int code = fsm->hooks->snapshot(fsm->hooks->ctx, &state, &size);

    if (code == HA_EBUSY)
        return RAFT_BUSY; /* libraft asks again after the next entry */
    if (code != HA_OK)
        fatal(fsm, code, "the application could not give a snapshot", index);
    if (size > HA_RAFT_SNAPSHOT_MAX)
        fatal(fsm, HA_EFULL, "the snapshot is too large", index);
    *bufs = raft_malloc(sizeof(**bufs));
    if (*bufs == NULL || !ha_fsm_pack(fsm, state, size, &(*bufs)[0]))
        fatal(fsm, HA_ENOMEM, "no memory for a snapshot", index);
    free(state);
    *n_bufs = 1;
    fsm->snapshots++;
    return 0;
}

int ha_fsm_export(struct ha_fsm *fsm, void **ret_data, size_t *ret_size, struct ha_err *err)
{
    struct raft_buffer *bufs = NULL;
    unsigned count = 0;

    /* Any other failure is fatal inside. */
    if (on_snapshot(&fsm->fsm, &bufs, &count) == RAFT_BUSY)
        return ha_err_set(err, HA_EBUSY, "the set of watchers is changing: try again");
    assert(count == 1);
    *ret_size = bufs[0].len;
    *ret_data = malloc(*ret_size);
    if (*ret_data != NULL)
        memcpy(*ret_data, bufs[0].base, *ret_size);
    raft_free(bufs[0].base);
    raft_free(bufs);
    return *ret_data != NULL ? HA_OK : ha_err_set(err, HA_ENOMEM, "no memory for the state");
}

/* The snapshot may say less than a later command: its index is the last *command* covered. */
bool ha_fsm_unpack(const void *data, size_t data_size, struct ha_fsm *into, const void **ret_state,
                   size_t *ret_size)
{
    struct ha_reader r;
    uint32_t magic, version, crc, own_crc;
    uint64_t size;

    ha_reader_init(&r, data, data_size);
    magic = ha_get_u32(&r);
    version = ha_get_u32(&r);
    into->applied = ha_get_u64(&r);
    into->chain = ha_get_u64(&r);
    into->since_publish = ha_get_u64(&r);
    size = ha_get_u64(&r);
    crc = ha_get_u32(&r);
    own_crc = ha_crc32c(0, r.data, r.at);
    if (ha_get_u32(&r) != own_crc || r.failed || magic != SNAPSHOT_MAGIC ||
        version != SNAPSHOT_VERSION || size != ha_reader_left(&r) ||
        crc != ha_crc32c(0, r.data + r.at, ha_reader_left(&r)))
        return false;
    *ret_state = r.data + r.at;
    *ret_size = (size_t)size;
    return true;
}

static int on_restore(struct raft_fsm *raft_fsm, struct raft_buffer *buf)
{
    struct ha_fsm *fsm = raft_fsm->data;
    const void *state;
    size_t size;

    if (!ha_fsm_unpack(buf->base, buf->len, fsm, &state, &size))
        fatal(fsm, HA_ECORRUPT, "a snapshot is damaged", fsm->applied);
    memset(fsm->ring, 0, sizeof(fsm->ring));
    if (fsm->hooks->restore(fsm->hooks->ctx, state, size, fsm->applied) != HA_OK)
        fatal(fsm, HA_ECORRUPT, "the application refused a snapshot", fsm->applied);
    raft_free(buf->base);
    return 0;
}

void ha_fsm_init(struct ha_fsm *fsm, const struct raft *raft, const struct ha_raft_hooks *hooks)
{
    memset(fsm, 0, sizeof(*fsm));
    fsm->fsm = (struct raft_fsm){.version = 1,
                                 .data = fsm,
                                 .apply = on_apply,
                                 .snapshot = on_snapshot,
                                 .restore = on_restore};
    fsm->raft = raft;
    fsm->hooks = hooks;
    fsm->chain = HA_HASH_START;
}
