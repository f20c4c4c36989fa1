#include "tests/raft/cluster.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"

static void on_apply(void *ctx, const struct ha_raft_entry *entry)
{
    struct cluster_node *node = ctx;
    uint64_t request = 0; /* of somebody else, where it is too short */

    if (entry->size >= sizeof(request))
        memcpy(&request, entry->data, sizeof(request));
    node->state.count++;
    node->state.hash = ha_hash(node->state.hash, entry->data, entry->size);
    node->state.hash = ha_hash(node->state.hash, &entry->index, sizeof(entry->index));
    node->state.last_index = entry->index;
    if (request < CLUSTER_REQUESTS)
        node->applied_ns[request] = ha_clock_mono_ns();
}

static int on_snapshot(void *ctx, void **ret_data, size_t *ret_size)
{
    struct cluster_node *node = ctx;

    if (node->cluster->ends_at != 0 && node->state.count >= node->cluster->ends_at)
        return HA_EBUSY;
    *ret_size = sizeof(node->state);
    *ret_data = malloc(*ret_size);
    memcpy(*ret_data, &node->state, *ret_size);
    return HA_OK;
}

static int on_restore(void *ctx, const void *data, size_t size, uint64_t index)
{
    struct cluster_node *node = ctx;

    assert(size == sizeof(node->state));
    memcpy(&node->state, data, size);
    assert(node->state.last_index <= index);
    node->restores++;
    return HA_OK;
}

static void on_role(void *ctx, bool is_leader, uint64_t term)
{
    struct cluster_node *node = ctx;

    (void)term;
    assert(node->is_leader != is_leader);
    node->is_leader = is_leader;
}

static void on_outcome(void *ctx, uint64_t request, const struct ha_raft_outcome *outcome)
{
    struct cluster *cluster = ((struct cluster_node *)ctx)->cluster;

    assert(request < CLUSTER_REQUESTS);
    cluster->outcome[request] = *outcome;
    cluster->outcome[request].why = NULL;
    cluster->outcomes[request]++;
    cluster->outcome_ns[request] = ha_clock_mono_ns();
}

static void on_app(void *ctx, uint32_t peer, const void *data, size_t size)
{
    struct cluster_node *node = ctx;

    (void)peer;
    assert(size == 5 && memcmp(data, "hello", 5) == 0);
    node->apps++;
}

static void on_over(void *ctx, const struct ha_raft_set *next)
{
    struct cluster_node *node = ctx;

    (void)next;
    node->overs++;
}

static void on_fatal(void *ctx, int code, const char *why)
{
    fprintf(stderr, "# fatal node %u: %s: %s\n", ((struct cluster_node *)ctx)->id,
            ha_code_text(code), why);
}

static void on_stream(void *ctx, struct ha_stream *stream)
{
    struct cluster_node *node = ctx;

    if (node->raft == NULL)
        ha_stream_close(stream, 0, NULL, NULL);
    else
        ha_raft_adopt(node->raft, stream);
}

static void on_beat(uv_timer_t *timer)
{
    (void)timer;
}

static void make_keys(struct cluster_node *node)
{
    static const uint8_t secret[HA_TLS_KEY_SIZE] = {1, 2, 3};
    char name[32];
    struct ha_tls_psk psk = {.name = name, .key = secret, .key_is_secret = true};
    struct ha_err err = {0};

    (void)snprintf(name, sizeof(name), "watcher/w%u", node->id);
    if (ha_tls_psk_new(&node->tls, &psk, &err) != HA_OK)
        abort();
}

static void listen_on(struct cluster *cluster, struct cluster_node *node)
{
    const struct ha_listener_options options = {
        .tls = node->tls, .on_stream = on_stream, .ctx = node};
    struct ha_addr addr;
    struct ha_err err = {0};

    if (ha_listener_open(&node->listener, &cluster->loop, &options) != HA_OK ||
        ha_addr_from_ip("127.0.0.1", 0, &addr) != HA_OK ||
        ha_listener_bind(node->listener, &addr, 0, &node->bound, &err) != HA_OK)
        abort();
    (void)ha_addr_text(&node->bound, node->address);
}

void cluster_init(struct cluster *cluster, uint32_t count, bool with_tls)
{
    char base[] = "/tmp/ha-raft-XXXXXX";

    (void)signal(SIGPIPE, SIG_IGN);
    memset(cluster, 0, sizeof(*cluster));
    cluster->count = count;
    cluster->with_tls = with_tls;
    cluster->snapshot_threshold = 1024;
    if (uv_loop_init(&cluster->loop) != 0 || mkdtemp(base) == NULL)
        abort();
    (void)uv_timer_init(&cluster->loop, &cluster->beat);
    (void)uv_timer_start(&cluster->beat, on_beat, 1, 1);
    for (uint32_t i = 1; i <= count; i++) {
        struct cluster_node *node = &cluster->nodes[i];

        node->cluster = cluster;
        node->id = i;
        node->is_closed = true;
        (void)snprintf(node->dir, sizeof(node->dir), "%s/w%u", base, i);
        if (mkdir(node->dir, 0700) != 0)
            abort();
        if (with_tls)
            make_keys(node);
        listen_on(cluster, node);
    }
}

int cluster_start(struct cluster *cluster, uint32_t id, bool bootstrap, struct ha_err *err)
{
    struct cluster_node *node = &cluster->nodes[id];
    const struct ha_raft_hooks hooks = {.ctx = node,
                                        .apply = on_apply,
                                        .snapshot = on_snapshot,
                                        .restore = on_restore,
                                        .role = on_role,
                                        .outcome = on_outcome,
                                        .app = on_app,
                                        .over = on_over,
                                        .fatal = on_fatal};
    struct ha_raft_options options;
    int code;

    ha_raft_options_init(&options);
    options.cluster_id = 42;
    options.own_id = id;
    options.set_id = cluster->set_id;
    options.peer_count = cluster->count;
    options.dir = node->dir;
    options.bootstrap = bootstrap;
    options.plain = !cluster->with_tls;
    options.tls = node->tls;
    options.free_min_bytes = 1 << 20;
    options.snapshot_threshold = cluster->snapshot_threshold;
    options.snapshot_trailing = 1 + cluster->snapshot_threshold / 4;
    options.election_ms = cluster->is_patient ? 3000 : 1000; /* one loop turns for all of them */
    if (cluster->is_patient)
        options.propose_timeout_ms = 20000;
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct ha_raft_peer *peer = &options.peers[i];

        peer->id = i + 1;
        (void)snprintf(peer->name, sizeof(peer->name), "watcher/w%u", i + 1);
        (void)snprintf(peer->address, sizeof(peer->address), "%s", cluster->nodes[i + 1].address);
    }
    node->state = (struct cluster_state){.hash = HA_HASH_START};
    memset(node->applied_ns, 0, sizeof(node->applied_ns));
    node->is_leader = false;
    node->is_closed = false;
    code = ha_raft_open(&cluster->loop, &options, &hooks, &node->raft, err);
    if (code != HA_OK) {
        node->raft = NULL;
        node->is_closed = true;
        return code;
    }
    return ha_raft_start(node->raft, err);
}

void cluster_start_all(struct cluster *cluster, bool bootstrap)
{
    for (uint32_t i = 1; i <= cluster->count; i++) {
        struct ha_err err = {0};

        if (cluster_start(cluster, i, bootstrap, &err) != HA_OK) {
            fprintf(stderr, "# node %u: %s\n", i, err.text);
            abort();
        }
    }
}

static void on_closed(void *arg)
{
    struct cluster_node *node = arg;

    node->is_closed = true;
}

static bool is_closed(struct cluster *cluster, uint64_t id)
{
    return cluster->nodes[id].is_closed;
}

void cluster_stop(struct cluster *cluster, uint32_t id)
{
    struct cluster_node *node = &cluster->nodes[id];

    if (node->raft == NULL)
        return;
    ha_raft_close(node->raft, on_closed, node);
    node->raft = NULL;
    if (!cluster_wait(cluster, is_closed, id, 5000))
        abort();
}

void cluster_fini(struct cluster *cluster)
{
    char command[400];

    for (uint32_t i = 1; i <= cluster->count; i++) {
        struct cluster_node *node = &cluster->nodes[i];

        cluster_stop(cluster, i);
        ha_listener_close(node->listener, NULL, NULL);
        ha_tls_unref(node->tls);
    }
    uv_close((uv_handle_t *)&cluster->beat, NULL);
    (void)uv_run(&cluster->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&cluster->loop) != 0)
        abort(); /* a handle was left behind */
    (void)snprintf(command, sizeof(command), "rm -rf '%.*s'",
                   (int)(strrchr(cluster->nodes[1].dir, '/') - cluster->nodes[1].dir),
                   cluster->nodes[1].dir);
    if (system(command) != 0)
        abort();
}

bool cluster_wait(struct cluster *cluster, bool (*cond)(struct cluster *cluster, uint64_t arg),
                  uint64_t arg, uint32_t deadline_ms)
{
    uint64_t end_ms = ha_clock_mono_ms() + deadline_ms;

    while (!cond(cluster, arg)) {
        if (ha_clock_mono_ms() >= end_ms)
            return false;
        (void)uv_run(&cluster->loop, UV_RUN_ONCE);
    }
    return true;
}

static bool has_leader(struct cluster *cluster, uint64_t arg)
{
    (void)arg;
    for (uint32_t i = 1; i <= cluster->count; i++)
        if (cluster->nodes[i].raft != NULL && cluster->nodes[i].is_leader)
            return true;
    return false;
}

uint32_t cluster_leader(struct cluster *cluster, uint32_t deadline_ms)
{
    (void)cluster_wait(cluster, has_leader, 0, deadline_ms);
    for (uint32_t i = 1; i <= cluster->count; i++)
        if (cluster->nodes[i].raft != NULL && cluster->nodes[i].is_leader)
            return i;
    return 0;
}

void cluster_propose(struct cluster *cluster, uint32_t id, uint64_t request)
{
    uint64_t data[4] = {request, request, request, request};
    size_t size = 8 + request % 24;

    if (ha_raft_propose(cluster->nodes[id].raft, data, size, request) != HA_OK)
        abort();
}

bool cluster_has_outcome(struct cluster *cluster, uint64_t request)
{
    return cluster->outcomes[request] > 0;
}

bool cluster_all_outcomes(struct cluster *cluster, uint64_t upto)
{
    for (uint64_t i = 1; i <= upto; i++)
        if (cluster->outcomes[i] == 0)
            return false;
    return true;
}

bool cluster_all_applied(struct cluster *cluster, uint64_t request)
{
    for (uint32_t i = 1; i <= cluster->count; i++)
        if (cluster->nodes[i].raft != NULL && cluster->nodes[i].applied_ns[request] == 0)
            return false;
    return true;
}
