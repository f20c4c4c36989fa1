#include "raft/node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "lib/base/bytes.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/log.h"
#include "raft/code.h"
#include "raft/message.h"
#include "raft/node_private.h"

/* --- hooks of the seat --------------------------------------------------------------------- */

static void on_apply(void *ctx, const struct ha_raft_entry *entry)
{
    struct ha_raft *raft = ctx;

    raft->hooks.apply(raft->hooks.ctx, entry);
}

static int on_snapshot(void *ctx, void **ret_data, size_t *ret_size)
{
    struct ha_raft *raft = ctx;

    return raft->hooks.snapshot(raft->hooks.ctx, ret_data, ret_size);
}

static int on_restore(void *ctx, const void *data, size_t size, uint64_t index)
{
    struct ha_raft *raft = ctx;

    return raft->hooks.restore(raft->hooks.ctx, data, size, index);
}

static void on_role(void *ctx, bool is_leader, uint64_t term)
{
    struct ha_raft *raft = ctx;

    raft->hooks.role(raft->hooks.ctx, is_leader, term);
}

static void on_outcome(void *ctx, uint64_t request, const struct ha_raft_outcome *outcome)
{
    struct ha_raft *raft = ctx;

    raft->hooks.outcome(raft->hooks.ctx, request, outcome);
}

static void on_fatal(void *ctx, int code, const char *why)
{
    struct ha_raft *raft = ctx;
    char text[2 * HA_ERR_TEXT_SIZE];

    (void)snprintf(text, sizeof(text), "%s%s%s", why, raft->disk.err.code != HA_OK ? ": " : "",
                   raft->disk.err.text);
    /* A hung disk is another matter than a log that is not what it should be. */
    raft->hooks.fatal(raft->hooks.ctx, raft->disk.err.code == HA_ETIMEDOUT ? HA_ETIMEDOUT : code,
                      text);
    abort();
}

static int send_frame(void *ctx, uint32_t peer, enum ha_frame_type type, const void *data,
                      size_t size)
{
    struct ha_raft *raft = ctx;

    return ha_peers_send(&raft->peers, peer, type, data, size);
}

/* --- turns --------------------------------------------------------------------------------- */

static void wake(struct ha_raft *raft);

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* its being active is the message */
}

static void turn(struct ha_raft *raft)
{
    if (raft->is_closing)
        return;
    /* Nobody waits for the watermark, and where nothing else is written nobody would hear of it. */
    if (raft->disk.err.code != HA_OK)
        on_fatal(raft, HA_EIO, "storage failed");
    ha_peers_turn(&raft->peers);
    raft->seat.refusal = raft->disk.has_space ? NULL : "not enough free space for the log";
    ha_seat_turn(&raft->seat);
    if (ha_seat_is_busy(&raft->seat))
        wake(raft);
    else
        (void)uv_idle_stop(&raft->idle); /* cannot fail */
}

static void wake(struct ha_raft *raft)
{
    if (!raft->is_closing)
        (void)uv_idle_start(&raft->idle, on_idle); /* cannot fail with a callback */
}

static void on_prepare(uv_prepare_t *prepare)
{
    turn(prepare->data);
}

static void on_check(uv_check_t *check)
{
    turn(check->data);
}

/* --- peers --------------------------------------------------------------------------------- */

static void on_raft_frame(struct ha_raft *raft, uint32_t from, const void *data, size_t size)
{
    struct raft_message message;

    if (!ha_raft_message_decode(data, size, from, raft->seat.options.peer_ids,
                                raft->seat.options.peer_count, &message)) {
        HA_LOG(HA_LOG_WARN, "raft-message-malformed", "peer=%u size=%zu", from, size);
        return;
    }
    ha_raft_hear(raft, &message);
}

static void on_frame(void *ctx, uint32_t from, enum ha_frame_type type, const void *data,
                     size_t size)
{
    struct ha_raft *raft = ctx;

    if (raft->is_closing || raft->recv == NULL)
        return;
    if (type == HA_FRAME_RAFT) {
        on_raft_frame(raft, from, data, size);
    } else if (type == HA_FRAME_APP) {
        if (raft->hooks.app != NULL)
            raft->hooks.app(raft->hooks.ctx, from, data, size);
    } else if (!ha_seat_frame(&raft->seat, from, type, data, size)) {
        HA_LOG(HA_LOG_WARN, "raft-frame-malformed", "peer=%u type=%d", from, (int)type);
    }
    wake(raft);
}

static void on_link(void *ctx, uint32_t peer, bool is_up)
{
    struct ha_raft *raft = ctx;

    if (!is_up)
        ha_seat_link_down(&raft->seat, peer);
    if (raft->hooks.link != NULL)
        raft->hooks.link(raft->hooks.ctx, peer, is_up);
}

/* The entry that ended our set is committed, whoever leads. */
static void on_over(void *ctx, uint32_t peer, const struct ha_raft_set *next)
{
    struct ha_raft *raft = ctx;

    if (raft->is_closing || raft->recv == NULL)
        return;
    if (ha_seat_over(&raft->seat, peer, next->from_index, next->from_term))
        wake(raft);
    else if (raft->hooks.over != NULL)
        raft->hooks.over(raft->hooks.ctx, next);
}

/* --- open and close --------------------------------------------------------------------------- */

void ha_raft_options_init(struct ha_raft_options *options)
{
    *options = (struct ha_raft_options){.election_ms = 300,
                                        .heartbeat_ms = 50,
                                        .snapshot_threshold = 1024,
                                        .snapshot_trailing = 256,
                                        .propose_timeout_ms = 2000,
                                        .free_min_bytes = 64ull << 20};
}

uint64_t ha_raft_set_id(const struct ha_raft_options *options)
{
    uint64_t hash = ha_hash(HA_HASH_START, &options->cluster_id, sizeof(options->cluster_id));

    if (options->set_id != 0)
        return options->set_id;
    for (uint32_t i = 0; i < options->peer_count; i++) {
        const struct ha_raft_peer *peer = &options->peers[i];
        uint8_t id = (uint8_t)peer->id;

        hash = ha_hash(hash, &id, 1);
        hash = ha_hash(hash, peer->name, strlen(peer->name) + 1);
    }
    return hash;
}

static int check_peers(const struct ha_raft_options *options, struct ha_err *err)
{
    bool has_self = false;

    if (options->peer_count < 1 || options->peer_count > HA_RAFT_PEERS_MAX)
        return ha_err_set(err, HA_EINVAL, "1 to %u watchers, not %u", HA_RAFT_PEERS_MAX,
                          options->peer_count);
    for (uint32_t i = 0; i < options->peer_count; i++) {
        uint32_t id = options->peers[i].id;

        if (id < 1 || id > HA_RAFT_PEERS_MAX || (i > 0 && id <= options->peers[i - 1].id))
            return ha_err_set(err, HA_EINVAL, "watcher ids must ascend within 1 to %u",
                              HA_RAFT_PEERS_MAX);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(options->peers[i].name, options->peers[j].name) == 0)
                return ha_err_set(err, HA_EINVAL, "two watchers are named %s",
                                  options->peers[i].name);
        has_self = has_self || id == options->own_id;
    }
    if (!has_self)
        return ha_err_set(err, HA_EINVAL, "id %u is not among the watchers", options->own_id);
    return HA_OK;
}

static int check_options(const struct ha_raft_options *options, struct ha_err *err)
{
    if (options->dir == NULL || options->dir[0] == '\0')
        return ha_err_set(err, HA_EINVAL, "no data directory");
    if (options->heartbeat_ms < 1 || options->election_ms < 3 * options->heartbeat_ms)
        return ha_err_set(err, HA_EINVAL,
                          "election (%u ms) must be at least three heartbeats (%u ms)",
                          options->election_ms, options->heartbeat_ms);
    if (options->snapshot_threshold < 1 || options->snapshot_trailing < 1)
        return ha_err_set(err, HA_EINVAL, "snapshot threshold and trailing must be at least 1");
    if (!options->plain && options->tls == NULL && options->peer_count > 1)
        return ha_err_set(err, HA_EINVAL, "no keys to speak to the other watchers with");
    return check_peers(options, err);
}

static int open_disk(struct ha_raft *raft, struct ha_err *err)
{
    struct ha_store_options options = {.dir = raft->options.dir,
                                       .cluster_id = raft->options.cluster_id,
                                       .own_id = raft->options.own_id,
                                       .set_id = ha_raft_set_id(&raft->options),
                                       .id_count = raft->options.peer_count,
                                       .free_min_bytes = raft->options.free_min_bytes,
                                       .bootstrap = raft->options.bootstrap};
    uint32_t ids[HA_RAFT_PEERS_MAX];
    struct ha_store *store;
    int code;

    for (uint32_t i = 0; i < raft->options.peer_count; i++)
        ids[i] = raft->options.peers[i].id;
    options.ids = ids;
    code = ha_store_open(&store, &options, err);
    if (code != HA_OK)
        return code;
    ha_disk_init(&raft->disk, raft->loop, store);
    code = ha_store_read_set(store, &raft->set, err);
    if (code != HA_OK)
        ha_disk_fini(&raft->disk);
    else if (ha_disk_load(&raft->disk, &raft->loaded) != 0) {
        code = ha_err_set(err, raft->disk.err.code, "%s", raft->disk.err.text);
        ha_disk_fini(&raft->disk);
    }
    return code;
}

static void open_handles(struct ha_raft *raft)
{
    int rv = uv_timer_init(raft->loop, &raft->timer);

    rv |= uv_prepare_init(raft->loop, &raft->prepare);
    rv |= uv_check_init(raft->loop, &raft->check);
    rv |= uv_idle_init(raft->loop, &raft->idle);
    assert(rv == 0); /* none of them can fail */
    raft->timer.data = raft;
    raft->prepare.data = raft;
    raft->check.data = raft;
    raft->idle.data = raft;
    raft->handles = 4;
}

static void init_seat(struct ha_raft *raft)
{
    const struct ha_raft_options *from = &raft->options;
    struct ha_seat_options options = {.own_id = from->own_id,
                                      .peer_count = from->peer_count,
                                      .election_ms = from->election_ms,
                                      .heartbeat_ms = from->heartbeat_ms,
                                      .snapshot_threshold = from->snapshot_threshold,
                                      .snapshot_trailing = from->snapshot_trailing,
                                      .propose_timeout_ms = from->propose_timeout_ms,
                                      .seed = ha_random_u64()};
    const struct ha_raft_hooks hooks = {.ctx = raft,
                                        .apply = on_apply,
                                        .snapshot = on_snapshot,
                                        .restore = on_restore,
                                        .role = on_role,
                                        .outcome = on_outcome,
                                        .fatal = on_fatal};
    int code;

    for (uint32_t i = 0; i < from->peer_count; i++)
        options.peer_ids[i] = from->peers[i].id;
    ha_raft_set_up_io(raft);
    code = ha_seat_init(&raft->seat, &raft->io, &options, &hooks, send_frame);
    assert(code == HA_OK); /* only memory could be missing, a few bytes at start-up */
}

int ha_raft_open(struct uv_loop_s *loop, const struct ha_raft_options *options,
                 const struct ha_raft_hooks *hooks, struct ha_raft **ret, struct ha_err *err)
{
    struct ha_peers_hooks peers_hooks = {
        .on_frame = on_frame, .on_link = on_link, .on_over = on_over};
    struct ha_raft *raft;
    int code = check_options(options, err);

    if (code != HA_OK)
        return code;
    raft = calloc(1, sizeof(*raft));
    if (raft == NULL)
        return ha_err_set(err, HA_ENOMEM, "no memory");
    raft->loop = loop;
    raft->options = *options;
    raft->hooks = *hooks;
    if (raft->options.seed == 0)
        raft->options.seed = ha_random_u64();
    ha_prng_seed(&raft->prng, raft->options.seed);
    code = open_disk(raft, err);
    if (code != HA_OK) {
        free(raft);
        return code;
    }
    peers_hooks.ctx = raft;
    code = ha_peers_init(&raft->peers, loop, &raft->options, &peers_hooks, err);
    if (code != HA_OK) {
        ha_store_state_fini(&raft->loaded);
        ha_disk_fini(&raft->disk);
        free(raft);
        return code;
    }
    ha_peers_remember(&raft->peers, &raft->set);
    open_handles(raft);
    init_seat(raft);
    *ret = raft;
    return HA_OK;
}

int ha_raft_start(struct ha_raft *raft, struct ha_err *err)
{
    int code = ha_seat_start(&raft->seat);
    int rv;

    if (code != HA_OK)
        return ha_err_set(err, code, "start: %s", raft_errmsg(&raft->seat.raft));
    rv = uv_prepare_start(&raft->prepare, on_prepare);
    rv |= uv_check_start(&raft->check, on_check);
    assert(rv == 0);
    ha_peers_start(&raft->peers);
    return HA_OK;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct ha_raft *raft = handle->data;
    ha_raft_close_cb cb = raft->close_cb;
    void *arg = raft->close_arg;

    assert(raft->handles > 0);
    raft->handles--;
    if (raft->handles > 0)
        return;
    ha_store_state_fini(&raft->loaded);
    ha_disk_fini(&raft->disk);
    free(raft);
    if (cb != NULL)
        cb(arg);
}

static void on_seat_closed(void *arg)
{
    struct ha_raft *raft = arg;

    uv_close((uv_handle_t *)&raft->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&raft->check, on_handle_closed);
    uv_close((uv_handle_t *)&raft->idle, on_handle_closed);
}

void ha_raft_close(struct ha_raft *raft, ha_raft_close_cb cb, void *arg)
{
    assert(!raft->is_closing);
    raft->is_closing = true;
    raft->close_cb = cb;
    raft->close_arg = arg;
    ha_seat_close(&raft->seat, on_seat_closed, raft);
}

/* --- the small rest -----------------------------------------------------------------------------
 */

int ha_raft_propose(struct ha_raft *raft, const void *data, size_t size, uint64_t request)
{
    wake(raft);
    return ha_seat_propose(&raft->seat, data, size, request);
}

int ha_raft_read_index(struct ha_raft *raft, uint32_t deadline_ms, ha_raft_read_cb cb, void *arg)
{
    wake(raft);
    return ha_seat_read_index(&raft->seat, deadline_ms, cb, arg);
}

int ha_raft_send_app(struct ha_raft *raft, uint32_t peer, const void *data, size_t size)
{
    if (size > HA_RAFT_APP_MAX || ha_peers_find(&raft->peers, peer) == NULL)
        return HA_EINVAL;
    return ha_peers_send(&raft->peers, peer, HA_FRAME_APP, data, size);
}

bool ha_raft_is_peer(const struct ha_raft *raft, const char *name)
{
    return ha_peers_find_name(&raft->peers, name) != NULL ||
           (raft->set.gone[0] != '\0' && strcmp(raft->set.gone, name) == 0);
}

void ha_raft_adopt(struct ha_raft *raft, struct ha_stream *stream)
{
    ha_peers_adopt(&raft->peers, stream);
}

static void fill_peer(const struct ha_raft *raft, struct ha_raft_peer_status *ret, uint64_t now_ms)
{
    const struct ha_peer *peer = ha_peers_find(&raft->peers, ret->id);

    ret->connected = true;
    ret->heard_ago_ms = 0;
    if (peer == NULL)
        return; /* ourselves */
    ret->connected = peer->state == HA_PEER_UP;
    ret->heard_ago_ms = peer->has_heard ? now_ms - peer->heard_ms : UINT64_MAX;
    memcpy(ret->last_error, peer->last_error, sizeof(ret->last_error));
}

void ha_raft_get_status(const struct ha_raft *raft, struct ha_raft_status *ret)
{
    uint64_t now_ms = ha_clock_mono_ms();

    ha_seat_get_status(&raft->seat, ret);
    ret->set_id = raft->peers.set_id;
    ret->log_bytes = raft->disk.size_bytes;
    for (uint32_t i = 0; i < ret->peer_count; i++)
        fill_peer(raft, &ret->peers[i], now_ms);
    (void)snprintf(ret->last_error, sizeof(ret->last_error), "%s",
                   raft->seat.refusal != NULL ? raft->seat.refusal : raft->disk.err.text);
}
