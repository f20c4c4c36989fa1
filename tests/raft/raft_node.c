/* tests/raft/raft_node.c - one watcher's log as a process, for tests that kill
 * it.
 *
 *   raft_node DIR RECORDS ID FREE_MIN bootstrap|start ADDRESS1 ADDRESS2
 * ADDRESS3
 *
 * Proposes as fast as outcomes come, four at a time; each is given up after
 * HA_PROPOSE_MS (default 1000). Appends to RECORDS, one
 * write(2) each, so that what was told stays told: {1 acknowledged, request,
 * index}, {2 applied, request, index} and {3 state, hash, index} on SIGTERM.
 * Exit 0 after SIGTERM, 3 fatal, 4 does not start. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/listener.h"
#include "raft/node.h"

enum {
    ACKNOWLEDGED = 1,
    APPLIED = 2,
    STATE = 3,
};

struct state {
    uint64_t count;
    uint64_t hash;
    uint64_t last_index;
};

static struct {
    uv_loop_t loop;
    uv_signal_t signal;
    uv_timer_t timer;
    struct ha_listener *listener;
    struct ha_raft *raft;
    struct state state;
    uint64_t next_request;
    unsigned open;
    bool is_closing;
    bool is_quiet;
    int records;
} node;

static void record(uint64_t kind, uint64_t what, uint64_t index)
{
    const uint64_t words[3] = {kind, what, index};

    if (write(node.records, words, sizeof(words)) != (ssize_t)sizeof(words))
        _exit(5);
}

static void on_apply(void *ctx, const struct ha_raft_entry *entry)
{
    uint64_t request;

    (void)ctx;
    memcpy(&request, entry->data, sizeof(request));
    node.state.count++;
    node.state.hash = ha_hash(node.state.hash, entry->data, entry->size);
    node.state.hash = ha_hash(node.state.hash, &entry->index, sizeof(entry->index));
    node.state.last_index = entry->index;
    record(APPLIED, request, entry->index);
}

static int on_snapshot(void *ctx, void **ret_data, size_t *ret_size)
{
    (void)ctx;
    *ret_size = sizeof(node.state);
    *ret_data = malloc(*ret_size);
    memcpy(*ret_data, &node.state, *ret_size);
    return HA_OK;
}

static int on_restore(void *ctx, const void *data, size_t size, uint64_t index)
{
    (void)ctx;
    (void)index;
    if (size != sizeof(node.state))
        return HA_ECORRUPT;
    memcpy(&node.state, data, size);
    return HA_OK;
}

static void on_role(void *ctx, bool is_leader, uint64_t term)
{
    (void)ctx;
    (void)is_leader;
    (void)term;
}

static void propose(void)
{
    while (!node.is_closing && !node.is_quiet && node.open < 4) {
        uint64_t data[3] = {node.next_request, node.next_request, 7};

        if (ha_raft_propose(node.raft, data, 8 + node.next_request % 16, node.next_request) !=
            HA_OK)
            return;
        node.next_request++;
        node.open++;
    }
}

static void on_outcome(void *ctx, uint64_t request, const struct ha_raft_outcome *outcome)
{
    (void)ctx;
    node.open--;
    if (outcome->result == HA_RAFT_COMMITTED)
        record(ACKNOWLEDGED, request, outcome->index);
    propose();
}

static void on_fatal(void *ctx, int code, const char *why)
{
    (void)ctx;
    (void)code;
    fprintf(stderr, "# fatal: %s\n", why);
    _exit(3);
}

static void on_stream(void *ctx, struct ha_stream *stream)
{
    (void)ctx;
    if (node.raft == NULL || node.is_closing)
        ha_stream_close(stream, 0, NULL, NULL);
    else
        ha_raft_adopt(node.raft, stream);
}

static void on_closed(void *arg)
{
    (void)arg;
    record(STATE, node.state.hash, node.state.last_index);
    _exit(0);
}

/* SIGUSR1: propose no more, so that all can come to rest, and say what you have as it changes;
 * SIGTERM: say it again, and end. */
static void on_term(uv_signal_t *signal, int number)
{
    (void)signal;
    (void)number;
    if (node.is_closing)
        return;
    node.is_closing = true;
    ha_raft_close(node.raft, on_closed, NULL);
}

static void on_quiet(uv_signal_t *signal, int number)
{
    (void)signal;
    (void)number;
    node.is_quiet = true;
}

static void on_timer(uv_timer_t *timer)
{
    static uint64_t told;

    (void)timer;
    propose();
    if (node.is_quiet && node.state.last_index != told) {
        told = node.state.last_index;
        record(STATE, node.state.hash, told);
    }
}

static bool set_options(struct ha_raft_options *options, char *argv[])
{
    const char *propose_ms = getenv("HA_PROPOSE_MS");
    uint64_t id, timeout_ms = 1000;

    ha_raft_options_init(options);
    if (ha_text_u64(argv[3], 3, &id) != HA_OK ||
        (propose_ms != NULL && ha_text_u64(propose_ms, UINT32_MAX, &timeout_ms) != HA_OK) ||
        ha_text_u64(argv[4], UINT64_MAX, &options->free_min_bytes) != HA_OK)
        return false;
    options->cluster_id = 9;
    options->own_id = (uint32_t)id;
    options->dir = argv[1];
    options->bootstrap = strcmp(argv[5], "bootstrap") == 0;
    options->plain = true;
    options->snapshot_threshold = 500;
    options->snapshot_trailing = 50;
    options->propose_timeout_ms = (uint32_t)timeout_ms;
    options->peer_count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        options->peers[i].id = i + 1;
        (void)snprintf(options->peers[i].name, HA_RAFT_NAME_SIZE, "watcher/w%u", i + 1);
        (void)snprintf(options->peers[i].address, HA_RAFT_ADDRESS_SIZE, "%s", argv[6 + i]);
    }
    return true;
}

int main(int argc, char *argv[])
{
    const struct ha_raft_hooks hooks = {.apply = on_apply,
                                        .snapshot = on_snapshot,
                                        .restore = on_restore,
                                        .role = on_role,
                                        .outcome = on_outcome,
                                        .fatal = on_fatal};
    const struct ha_listener_options listener = {.on_stream = on_stream};
    static uv_signal_t quiet;
    struct ha_raft_options options;
    struct ha_addr addr;
    struct ha_err err = {0};

    if (argc != 9 || !set_options(&options, argv))
        return 64;
    (void)signal(SIGPIPE, SIG_IGN);
    node.records = STDOUT_FILENO;
    node.state.hash = HA_HASH_START;
    node.next_request = ((uint64_t)options.own_id << 56) | (ha_clock_wall_ms() << 16);
    (void)uv_loop_init(&node.loop);
    (void)uv_signal_init(&node.loop, &node.signal);
    (void)uv_signal_start(&node.signal, on_term, SIGTERM);
    (void)uv_signal_init(&node.loop, &quiet);
    (void)uv_signal_start(&quiet, on_quiet, SIGUSR1);
    (void)uv_timer_init(&node.loop, &node.timer);
    if (ha_listener_open(&node.listener, &node.loop, &listener) != HA_OK ||
        ha_addr_parse(options.peers[options.own_id - 1].address, 0, &addr) != HA_OK ||
        ha_listener_bind(node.listener, &addr, 0, NULL, &err) != HA_OK ||
        ha_raft_open(&node.loop, &options, &hooks, &node.raft, &err) != HA_OK ||
        ha_raft_start(node.raft, &err) != HA_OK) {
        fprintf(stderr, "# node %u: %s\n", options.own_id, err.text);
        return 4;
    }
    (void)uv_timer_start(&node.timer, on_timer, 1, 10);
    (void)uv_run(&node.loop, UV_RUN_DEFAULT);
    return 5;
}
