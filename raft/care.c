#include "raft/care.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "raft/node_private.h"
#include "raft/set.h"

#define SEED_MAGIC 0x4b424148u /* "HABK" */
#define SEED_VERSION 1u

void ha_raft_seed_fini(struct ha_raft_seed *seed)
{
    free(seed->data);
    memset(seed, 0, sizeof(*seed));
}

/* --- bytes ------------------------------------------------------------------------------------ */

int ha_raft_seed_encode(const struct ha_raft_seed *seed, void **ret_data, size_t *ret_size,
                        struct ha_err *err)
{
    size_t size_max = 128 + HA_SET_SIZE_MAX + seed->size;
    uint8_t *data = malloc(size_max);
    struct ha_writer w;

    if (data == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the backup");
    ha_writer_init(&w, data, size_max);
    ha_put_u32(&w, SEED_MAGIC);
    ha_put_u32(&w, SEED_VERSION);
    ha_put_u64(&w, seed->index);
    ha_put_u64(&w, seed->term);
    ha_put_u64(&w, seed->wall_ms);
    ha_put_u64(&w, seed->staleness_ms);
    ha_put_u64(&w, seed->cluster_id);
    ha_set_put(&w, &seed->set);
    ha_put_u64(&w, seed->size);
    ha_put_bytes(&w, seed->data, seed->size);
    ha_put_u32(&w, ha_crc32c(0, data, w.size));
    assert(!w.failed);
    *ret_data = data;
    *ret_size = w.size;
    return HA_OK;
}

static bool get_seed(struct ha_reader *r, struct ha_raft_seed *seed, size_t *ret_size)
{
    uint64_t size;

    seed->index = ha_get_u64(r);
    seed->term = ha_get_u64(r);
    seed->wall_ms = ha_get_u64(r);
    seed->staleness_ms = ha_get_u64(r);
    seed->cluster_id = ha_get_u64(r);
    if (!ha_set_get(r, &seed->set))
        return false;
    size = ha_get_u64(r);
    if (r->failed || size == 0 || ha_reader_left(r) < 4 || size != ha_reader_left(r) - 4)
        return false;
    *ret_size = (size_t)size;
    return true;
}

int ha_raft_seed_decode(const void *data, size_t size, struct ha_raft_seed *ret, struct ha_err *err)
{
    struct ha_raft_seed seed = {0};
    const uint8_t *bytes = data;
    struct ha_reader r, end;
    uint32_t version;

    ha_reader_init(&r, data, size);
    if (ha_get_u32(&r) != SEED_MAGIC)
        return ha_err_set(err, HA_EINVAL, "this is no backup of hafailover");
    version = ha_get_u32(&r);
    if (!r.failed && version != SEED_VERSION)
        return ha_err_set(err, HA_ENOTSUP,
                          "the backup has format %u, this program knows %u: use the version of "
                          "hafailover that wrote it, or a later one",
                          version, SEED_VERSION);
    ha_reader_init(&end, bytes + (size < 4 ? 0 : size - 4), size < 4 ? 0 : 4);
    if (size < 16 || ha_get_u32(&end) != ha_crc32c(0, bytes, size - 4) ||
        !get_seed(&r, &seed, &seed.size))
        return ha_err_set(err, HA_ECORRUPT,
                          "the backup is damaged or cut short: copy it again, or take another");
    seed.data = malloc(seed.size);
    if (seed.data == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory for the backup");
    ha_get_bytes(&r, seed.data, seed.size);
    *ret = seed;
    return HA_OK;
}

int ha_raft_seed_state(const struct ha_raft_seed *seed, const void **ret_state, size_t *ret_size,
                       struct ha_err *err)
{
    struct ha_fsm *header = calloc(1, sizeof(*header)); /* too large for a stack */
    bool is_good =
        header != NULL && ha_fsm_unpack(seed->data, seed->size, header, ret_state, ret_size);

    free(header);
    return is_good ? HA_OK : ha_err_set(err, HA_ECORRUPT, "the state in the backup is damaged");
}

int ha_raft_seed_replace(struct ha_raft_seed *seed, const void *state, size_t size, uint64_t index,
                         struct ha_err *err)
{
    struct ha_fsm *header = calloc(1, sizeof(*header));
    struct raft_buffer buf = {0};
    const void *old_state;
    size_t old_size;
    bool is_good =
        header != NULL && ha_fsm_unpack(seed->data, seed->size, header, &old_state, &old_size);
    void *data = NULL;

    if (is_good) {
        header->applied = index;
        is_good = ha_fsm_pack(header, state, size, &buf);
    }
    if (is_good)
        data = malloc(buf.len);
    if (data != NULL)
        memcpy(data, buf.base, buf.len);
    raft_free(buf.base);
    free(header);
    if (data == NULL)
        return ha_err_set(err, HA_ENOMEM, "the state cannot be replaced");
    free(seed->data);
    seed->data = data;
    seed->size = buf.len;
    seed->index = index;
    return HA_OK;
}

/* --- a running node --------------------------------------------------------------------------- */

static void fill_set(const struct ha_raft_options *options, struct ha_raft_set *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->set_id = ha_raft_set_id(options);
    ret->count = options->peer_count;
    memcpy(ret->peers, options->peers, sizeof(ret->peers));
}

int ha_raft_export(const struct ha_raft *raft, struct ha_raft_seed *ret, struct ha_err *err)
{
    struct ha_seat_state state;
    int code = ha_seat_export(&raft->seat, &state, err);

    if (code != HA_OK)
        return code;
    *ret = (struct ha_raft_seed){.cluster_id = raft->options.cluster_id,
                                 .index = state.index,
                                 .term = state.term,
                                 .staleness_ms = UINT64_MAX,
                                 .data = state.data,
                                 .size = state.size};
    fill_set(&raft->options, &ret->set);
    return HA_OK;
}

int ha_raft_waited(struct ha_raft *raft, struct ha_err *err)
{
    int code;

    uv_mutex_lock(&raft->disk.lock);
    code = ha_store_set_waited(raft->disk.store, err);
    uv_mutex_unlock(&raft->disk.lock);
    return code;
}

/* --- directories ------------------------------------------------------------------------------ */

static int peek(const char *dir, uint64_t cluster_id, struct ha_store_owner *ret,
                struct ha_err *err)
{
    int code = ha_store_peek(dir, ret, err);

    if (code == HA_OK && ret->cluster_id != cluster_id)
        return ha_err_set(err, HA_EDENIED,
                          "%s belongs to another cluster: give this watcher its own directory",
                          dir);
    return code;
}

int ha_raft_inspect(const char *dir, uint64_t cluster_id, struct ha_raft_set *ret_set,
                    uint32_t *ret_own_id, struct ha_err *err)
{
    struct ha_store_owner owner;
    int code = peek(dir, cluster_id, &owner, err);

    if (code != HA_OK)
        return code;
    *ret_set = owner.set;
    *ret_own_id = owner.own_id;
    return HA_OK;
}

int ha_raft_sow(const char *dir, uint32_t own_id, const struct ha_raft_seed *seed,
                struct ha_err *err)
{
    return ha_store_sow(dir, own_id, seed, err);
}

/* Open @dir as whoever it belongs to. */
static int open_as_owner(const char *dir, const struct ha_store_owner *owner, struct ha_store **ret,
                         struct ha_err *err)
{
    uint32_t ids[HA_RAFT_PEERS_MAX];
    struct ha_store_options options = {.dir = dir,
                                       .cluster_id = owner->cluster_id,
                                       .own_id = owner->own_id,
                                       .set_id = owner->set.set_id,
                                       .ids = ids,
                                       .id_count = HA_RAFT_PEERS_MAX};

    for (uint32_t i = 0; i < HA_RAFT_PEERS_MAX; i++)
        ids[i] = i + 1;
    return ha_store_open(ret, &options, err);
}

int ha_raft_transplant(const char *dir, uint32_t own_id, const struct ha_raft_seed *seed,
                       struct ha_err *err)
{
    struct ha_store_owner owner;
    struct ha_store *store = NULL;
    int code = peek(dir, seed->cluster_id, &owner, err);

    if (code == HA_OK && owner.set.set_id == seed->set.set_id)
        return ha_err_set(err, HA_EEXIST, "%s is of that set of watchers already", dir);
    if (code == HA_OK)
        code = open_as_owner(dir, &owner, &store, err);
    if (code != HA_OK)
        return code;
    code = ha_store_transplant(store, own_id, seed, err);
    ha_store_close(store);
    return code;
}

/* Snapshot and entries, as libraft would apply them if all of it were committed. */
static void apply_all(struct ha_fsm *fsm, struct raft *raft, struct ha_store_state *state,
                      struct ha_raft_seed *seed)
{
    raft_index covered = state->snapshot == NULL ? 0 : state->snapshot->index;

    if (state->snapshot != NULL) {
        seed->index = covered;
        seed->term = state->snapshot->term;
        (void)fsm->fsm.restore(&fsm->fsm, &state->snapshot->bufs[0]); /* fatal inside */
        state->snapshot->bufs[0].base = NULL;                         /* it freed that */
    }
    for (size_t i = 0; i < state->count; i++) {
        void *result;

        if (state->start + i <= covered)
            continue;
        seed->index = state->start + i;
        seed->term = state->entries[i].term;
        raft->last_applied = seed->index - 1;
        if (state->entries[i].type == RAFT_COMMAND)
            (void)fsm->fsm.apply(&fsm->fsm, &state->entries[i].buf, &result); /* the same */
    }
}

int ha_raft_replay(const char *dir, uint64_t cluster_id, const struct ha_raft_hooks *hooks,
                   struct ha_raft_seed *ret, struct ha_err *err)
{
    struct ha_raft_seed seed = {.cluster_id = cluster_id, .staleness_ms = UINT64_MAX};
    struct ha_fsm *fsm = calloc(1, sizeof(*fsm));
    struct raft *raft = calloc(1, sizeof(*raft));
    struct ha_store *store = NULL;
    struct ha_store_state state;
    struct ha_store_owner owner;
    int code = fsm == NULL || raft == NULL ? ha_err_set(err, HA_ENOMEM, "no memory for the log")
                                           : peek(dir, cluster_id, &owner, err);

    if (code == HA_OK)
        code = open_as_owner(dir, &owner, &store, err);
    if (code == HA_OK)
        code = ha_store_load(store, &state, err);
    if (code != HA_OK)
        goto out;
    ha_fsm_init(fsm, raft, hooks);
    seed.set = owner.set;
    apply_all(fsm, raft, &state, &seed);
    ha_store_state_fini(&state);
    code = ha_fsm_export(fsm, &seed.data, &seed.size, err);
    if (code == HA_OK)
        *ret = seed;
out:
    ha_store_close(store);
    free(raft);
    free(fsm);
    return code;
}
