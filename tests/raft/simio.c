#include "tests/raft/simio.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "raft/members.h"
#include "tests/raft/simheap.h"
#include "tests/raft/simstore.h"

#define DISK_BASE_US 100u
#define DISK_JITTER_US 1500u

struct sim_packet {
    struct sim_packet *next;
    struct sim_world *world;
    uint32_t from;
    uint32_t to;
    uint32_t to_life;
    bool is_raft;
    struct raft_message message; /* entries in copies, bytes of a snapshot in data */
    struct sim_entry *entries;
    enum ha_frame_type type;
    void *data;
    size_t size;
};

struct event {
    struct sim_voter *node;
    uint32_t life;
    void *what;
};

uint64_t sim_below(struct sim_world *world, uint64_t bound)
{
    return ha_prng_below(&world->prng, bound);
}

bool sim_chance(struct sim_world *world, uint32_t per_million)
{
    return ha_prng_chance(&world->prng, per_million);
}

/* --- running a node's code
 * ---------------------------------------------------------------- */

bool sim_run(struct sim_voter *node, void (*fn)(void *arg), void *arg)
{
    struct sim_world *world = node->world;

    assert(world->running == NULL);
    world->running = node;
    sim_heap_enter(&node->heap);
    if (setjmp(world->escape) == 0) {
        fn(arg);
        if (node->is_up)
            world->hooks.turn(node);
    }
    sim_heap_leave();
    world->running = NULL;
    return node->is_up;
}

void sim_die(struct sim_voter *node, int code, const char *why)
{
    struct sim_world *world = node->world;

    assert(world->running == node);
    world->hooks.died(node, code, why);
    sim_node_crash(node);
    longjmp(world->escape, 1);
}

/* An event for a node: forgotten when its life has ended, put off while it is
 * paused. */
static bool is_for_now(struct event *event)
{
    return event->node->is_up && event->node->life == event->life;
}

static struct event *event_new(struct sim_voter *node, void *what)
{
    struct event *event = malloc(sizeof(*event));

    assert(event != NULL);
    *event = (struct event){.node = node, .life = node->life, .what = what};
    return event;
}

/* --- disk
 * ---------------------------------------------------------------------------------
 */

enum op_kind {
    OP_APPEND,
    OP_TRUNCATE,
    OP_PUT,
    OP_GET,
};

struct sim_op {
    struct sim_op *next;
    enum op_kind kind;
    raft_index index;
    struct sim_entry *entries;
    size_t count;
    struct sim_snapshot snapshot;
    unsigned trailing;
    int status;
    struct raft_io_append *append;
    struct raft_io_snapshot_put *put;
    struct raft_io_snapshot_get *get;
    raft_io_append_cb append_cb;
    raft_io_snapshot_put_cb put_cb;
    raft_io_snapshot_get_cb get_cb;
};

static void op_free(struct sim_op *op)
{
    for (size_t i = 0; i < op->count; i++)
        free(op->entries[i].data);
    free(op->entries);
    free(op->snapshot.data);
    free(op);
}

static bool disk_fails(struct sim_voter *node)
{
    bool fails = node->disk_full || sim_chance(node->world, node->disk_errors_per_million);

    if (fails)
        node->had_disk_error = true;
    return fails;
}

/* What an operation leaves on the disk; @part < count only for a torn append.
 */
static void op_apply(struct sim_voter *node, struct sim_op *op, size_t part)
{
    switch (op->kind) {
    case OP_APPEND:
        for (size_t i = 0; i < part; i++)
            sim_store_append(&node->disk, op->index + i, &op->entries[i]);
        break;
    case OP_TRUNCATE:
        sim_store_truncate(&node->disk, op->index);
        break;
    case OP_PUT:
        sim_store_put(&node->disk, &op->snapshot, op->trailing);
        break;
    case OP_GET:
        break;
    }
}

static void op_call_back(void *arg)
{
    struct event *event = arg;
    struct sim_op *op = event->what;
    struct raft_snapshot *snapshot = NULL;

    switch (op->kind) {
    case OP_APPEND:
        op->append_cb(op->append, op->status);
        break;
    case OP_TRUNCATE:
        break;
    case OP_PUT:
        op->put_cb(op->put, op->status);
        break;
    case OP_GET:
        if (op->status == 0)
            snapshot = sim_store_snapshot(event->node);
        op->get_cb(op->get, snapshot, op->status);
        break;
    }
}

static void on_op_done(void *arg, void *event_arg)
{
    struct event *event = event_arg;
    struct sim_voter *node = event->node;
    struct sim_op *op = event->what;

    (void)arg;
    if (!is_for_now(event)) {
        free(event); /* the crash has settled the operation */
        return;
    }
    assert(node->ops == op);
    node->ops = op->next;
    if (node->ops == NULL)
        node->ops_tail = NULL;
    if (op->status == 0)
        op_apply(node, op, op->count);
    else
        node->is_disk_stuck = true; /* what follows has no ground to stand on */
    (void)sim_run(node, op_call_back, event);
    op_free(op);
    free(event);
}

/* Operations queued together share the wait, as a group commit does; order is
 * kept. */
static void op_queue(struct sim_voter *node, struct sim_op *op)
{
    struct simclock *clock = &node->world->clock;
    uint64_t done = clock->now_us + DISK_BASE_US + sim_below(node->world, DISK_JITTER_US);

    if (node->disk_slow_us > 0)
        done += sim_below(node->world, node->disk_slow_us);
    if (done < node->disk_free_us)
        done = node->disk_free_us;
    node->disk_free_us = done;
    if (node->ops_tail == NULL)
        node->ops = op;
    else
        node->ops_tail->next = op;
    node->ops_tail = op;
    simclock_after(clock, done - clock->now_us, on_op_done, event_new(node, op));
}

static struct sim_op *op_new(enum op_kind kind)
{
    struct sim_op *op = calloc(1, sizeof(*op));

    assert(op != NULL);
    op->kind = kind;
    return op;
}

static struct sim_entry *copy_entries(const struct raft_entry *entries, size_t n)
{
    struct sim_entry *copies = calloc(n == 0 ? 1 : n, sizeof(*copies));

    assert(copies != NULL);
    for (size_t i = 0; i < n; i++) {
        copies[i] = (struct sim_entry){
            .term = entries[i].term, .type = entries[i].type, .size = entries[i].buf.len};
        copies[i].data = malloc(copies[i].size);
        memcpy(copies[i].data, entries[i].buf.base, copies[i].size);
    }
    return copies;
}

/* The index of the next append: after all that is stored or queued. */
static raft_index end_of_queue(const struct sim_voter *node)
{
    raft_index next = node->disk.start + node->disk.count;

    for (const struct sim_op *op = node->ops; op != NULL; op = op->next) {
        if (op->kind == OP_APPEND)
            next = op->index + op->count;
        else if (op->kind == OP_TRUNCATE)
            next = op->index;
        else if (op->kind == OP_PUT && op->trailing == 0)
            next = op->snapshot.index + 1;
    }
    return next;
}

static int sim_append(struct raft_io *io, struct raft_io_append *req,
                      const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct sim_voter *node = io->impl;
    struct sim_op *op = op_new(OP_APPEND);

    op->index = end_of_queue(node);
    op->entries = copy_entries(entries, n);
    op->count = n;
    op->append = req;
    op->append_cb = cb;
    op->status = disk_fails(node) ? RAFT_NOSPACE : 0;
    op_queue(node, op);
    return 0;
}

static int sim_truncate(struct raft_io *io, raft_index index)
{
    struct sim_voter *node = io->impl;
    struct sim_op *op;

    if (index <= node->applied_ever)
        node->world->hooks.violation(node->world, "R6: an applied entry is truncated", index);
    if (disk_fails(node))
        return RAFT_IOERR;
    op = op_new(OP_TRUNCATE);
    op->index = index;
    op_queue(node, op);
    return 0;
}

static int sim_set_term(struct raft_io *io, raft_term term)
{
    struct sim_voter *node = io->impl;

    if (term < node->disk.term)
        node->world->hooks.violation(node->world, "R4: the term went back", term);
    if (disk_fails(node))
        return RAFT_IOERR;
    if (term != node->disk.term)
        node->disk.vote = 0;
    node->disk.term = term;
    return 0;
}

static int sim_set_vote(struct raft_io *io, raft_id id)
{
    struct sim_voter *node = io->impl;

    if (node->disk.vote != 0 && node->disk.vote != id)
        node->world->hooks.violation(node->world, "R4: two votes in term", node->disk.term);
    if (disk_fails(node))
        return RAFT_IOERR;
    node->disk.vote = id;
    return 0;
}

static int sim_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                            const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct sim_voter *node = io->impl;
    struct sim_op *op = op_new(OP_PUT);

    assert(snapshot->n_bufs == 1);
    op->snapshot = (struct sim_snapshot){.index = snapshot->index,
                                         .term = snapshot->term,
                                         .conf_index = snapshot->configuration_index,
                                         .size = snapshot->bufs[0].len};
    op->snapshot.data = malloc(op->snapshot.size);
    memcpy(op->snapshot.data, snapshot->bufs[0].base, op->snapshot.size);
    op->trailing = trailing;
    op->put = req;
    op->put_cb = cb;
    op->status = disk_fails(node) ? RAFT_NOSPACE : 0;
    op_queue(node, op);
    return 0;
}

static int sim_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                            raft_io_snapshot_get_cb cb)
{
    struct sim_voter *node = io->impl;
    struct sim_op *op = op_new(OP_GET);

    op->get = req;
    op->get_cb = cb;
    op_queue(node, op);
    return 0;
}

static int sim_load(struct raft_io *io, raft_term *term, raft_id *vote,
                    struct raft_snapshot **snapshot, raft_index *start,
                    struct raft_entry *entries[], size_t *n)
{
    return sim_store_load(io->impl, term, vote, snapshot, start, entries, n);
}

/* A prefix of what was under way has reached the disk; the next append perhaps
 * in part. */
static void settle_ops(struct sim_voter *node)
{
    size_t count = 0;
    size_t kept;
    bool is_torn = node->world->has_torn_writes;

    for (const struct sim_op *op = node->ops; op != NULL; op = op->next)
        count++;
    kept = node->is_disk_stuck ? 0 : sim_below(node->world, count + 1);
    is_torn = is_torn && !node->is_disk_stuck;
    for (size_t i = 0; node->ops != NULL; i++) {
        struct sim_op *op = node->ops;

        node->ops = op->next;
        if (op->status != 0 && kept > i)
            kept = i; /* nothing gets past an error */
        if (i < kept)
            op_apply(node, op, op->count);
        else if (i == kept && op->kind == OP_APPEND && is_torn)
            op_apply(node, op, sim_below(node->world, op->count + 1));
        op_free(op);
    }
    node->ops_tail = NULL;
}

/* --- network
 * ------------------------------------------------------------------------------
 */

static void packet_free(struct sim_packet *packet)
{
    if (packet->is_raft && packet->message.type == RAFT_IO_APPEND_ENTRIES)
        for (unsigned i = 0; i < packet->message.append_entries.n_entries; i++)
            free(packet->entries[i].data);
    free(packet->entries);
    free(packet->data);
    free(packet);
}

/* Entries of one message share one batch, as libraft's own transport has it. */
static void unpack_entries(const struct sim_packet *packet, struct raft_append_entries *args)
{
    size_t size = 8;
    uint8_t *batch;

    args->entries = NULL;
    if (args->n_entries == 0)
        return;
    for (unsigned i = 0; i < args->n_entries; i++)
        size += packet->entries[i].size;
    batch = raft_malloc(size);
    args->entries = raft_calloc(args->n_entries, sizeof(*args->entries));
    size = 0;
    for (unsigned i = 0; i < args->n_entries; i++) {
        const struct sim_entry *from = &packet->entries[i];
        struct raft_entry *entry = &args->entries[i];

        *entry = (struct raft_entry){.term = from->term, .type = from->type, .batch = batch};
        entry->buf.base = batch + size;
        entry->buf.len = from->size;
        memcpy(entry->buf.base, from->data, from->size);
        size += from->size;
    }
}

static void hand_over(void *arg)
{
    struct sim_packet *packet = arg;
    struct sim_voter *node = &packet->world->nodes[packet->to];
    struct raft_message message = packet->message;

    if (!packet->is_raft) {
        node->world->hooks.frame(node, packet->from, packet->type, packet->data, packet->size);
        return;
    }
    message.server_id = packet->from;
    message.server_address = "?";
    if (message.type == RAFT_IO_APPEND_ENTRIES)
        unpack_entries(packet, &message.append_entries);
    if (message.type == RAFT_IO_INSTALL_SNAPSHOT) {
        uint32_t ids[SIM_NODES_MAX];
        struct raft_install_snapshot *args = &message.install_snapshot;

        for (uint32_t i = 0; i < node->world->node_count; i++)
            ids[i] = i + 1;
        if (ha_members_build(&args->conf, ids, node->world->node_count) != 0)
            abort();
        args->data.base = raft_malloc(packet->size);
        args->data.len = packet->size;
        memcpy(args->data.base, packet->data, packet->size);
    }
    node->recv(&node->io, &message);
}

static void on_deliver(void *world_arg, void *arg)
{
    struct sim_packet *packet = arg;
    struct sim_world *world = world_arg;
    struct sim_voter *node = &world->nodes[packet->to];

    if (node->is_up && node->life == packet->to_life && node->recv != NULL) {
        world->links[packet->from][packet->to].heard_us = world->clock.now_us;
        (void)sim_run(node, hand_over, packet);
    }
    packet_free(packet);
}

static bool find_way(const struct sim_packet *packet, uint64_t *ret_at_us)
{
    struct sim_world *world = packet->world;
    const struct sim_link *link = &world->links[packet->from][packet->to];

    if (world->hooks.route != NULL)
        return world->hooks.route(world, packet->from, packet->to, ret_at_us);
    *ret_at_us = world->clock.now_us + link->delay_us + sim_below(world, link->delay_us + 1);
    return !link->is_cut && !sim_chance(world, link->drop_per_million);
}

static void transmit(struct sim_packet *packet)
{
    struct sim_world *world = packet->world;
    struct sim_link *link = &world->links[packet->from][packet->to];
    uint64_t at = 0;

    if (!find_way(packet, &at)) {
        packet_free(packet);
        return;
    }
    packet->to_life = world->nodes[packet->to].life;
    if (link->is_held) {
        packet->next = NULL;
        if (link->held_tail == NULL)
            link->held = packet;
        else
            link->held_tail->next = packet;
        link->held_tail = packet;
        return;
    }
    if (at < link->last_us)
        at = link->last_us;
    link->last_us = at;
    simclock_after(&world->clock, at - world->clock.now_us, on_deliver, packet);
}

void sim_heal(struct sim_world *world, uint32_t from, uint32_t to)
{
    struct sim_link *link = &world->links[from][to];

    link->is_cut = false;
    link->is_held = false;
    link->drop_per_million = 0;
    while (link->held != NULL) {
        struct sim_packet *packet = link->held;

        link->held = packet->next;
        if (world->nodes[to].life == packet->to_life && world->nodes[to].is_up)
            transmit(packet);
        else
            packet_free(packet);
    }
    link->held_tail = NULL;
}

static struct sim_packet *packet_new(struct sim_voter *from, uint32_t to)
{
    struct sim_packet *packet = calloc(1, sizeof(*packet));

    assert(packet != NULL);
    packet->world = from->world;
    packet->from = from->id;
    packet->to = to;
    return packet;
}

static void send_copy(struct sim_voter *node, const struct raft_message *message)
{
    struct sim_packet *packet = packet_new(node, (uint32_t)message->server_id);

    packet->is_raft = true;
    packet->message = *message;
    if (message->type == RAFT_IO_APPEND_ENTRIES)
        packet->entries =
            copy_entries(message->append_entries.entries, message->append_entries.n_entries);
    if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        packet->size = message->install_snapshot.data.len;
        packet->data = malloc(packet->size);
        memcpy(packet->data, message->install_snapshot.data.base, packet->size);
    }
    transmit(packet);
}

/* Without rule G6: the message is read, and the send completed, when the peer's
 * socket drains. */
struct slow_send {
    struct raft_io_send *req;
    raft_io_send_cb cb;
    struct raft_message message;
};

static void complete_slow_send(void *arg)
{
    struct event *event = arg;
    struct slow_send *send = event->what;

    send_copy(event->node, &send->message);
    send->cb(send->req, 0);
}

static void on_slow_send(void *world, void *arg)
{
    struct event *event = arg;

    (void)world;
    if (is_for_now(event))
        (void)sim_run(event->node, complete_slow_send, event);
    free(event->what);
    free(event);
}

static int sim_send(struct raft_io *io, struct raft_io_send *req,
                    const struct raft_message *message, raft_io_send_cb cb)
{
    struct sim_voter *node = io->impl;
    struct sim_world *world = node->world;
    struct slow_send *send;

    if (!world->nodes[message->server_id].is_up)
        return RAFT_NOCONNECTION;
    if (cb == NULL) {
        send_copy(node, message);
        return 0;
    }
    send = malloc(sizeof(*send));
    *send = (struct slow_send){.req = req, .cb = cb, .message = *message};
    simclock_after(&world->clock, sim_below(world, world->send_slow_us + 1), on_slow_send,
                   event_new(node, send));
    return 0;
}

int sim_send_frame(struct sim_voter *from, uint32_t to, enum ha_frame_type type, const void *data,
                   size_t size)
{
    struct sim_packet *packet;

    if (!from->world->nodes[to].is_up || to == from->id)
        return RAFT_NOCONNECTION;
    packet = packet_new(from, to);
    packet->type = type;
    packet->data = malloc(size);
    memcpy(packet->data, data, size);
    packet->size = size;
    transmit(packet);
    return 0;
}

/* --- the rest of the table
 * ---------------------------------------------------------------- */

static int sim_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

static void run_tick(void *arg)
{
    struct sim_voter *node = arg;

    node->tick(&node->io);
}

static void on_tick(void *world_arg, void *arg)
{
    struct event *event = arg;
    struct sim_voter *node = event->node;
    struct sim_world *world = world_arg;

    if (!is_for_now(event) || node->close_pending) {
        free(event);
        return;
    }
    (void)sim_run(node, run_tick, node);
    simclock_after(&world->clock, node->tick_ms * 1000ull + sim_below(world, 500), on_tick, event);
}

static int sim_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct sim_voter *node = io->impl;

    node->tick = tick;
    node->recv = recv;
    node->tick_ms = msecs;
    simclock_after(&node->world->clock, sim_below(node->world, msecs * 1000ull), on_tick,
                   event_new(node, NULL));
    return 0;
}

static int sim_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
    (void)conf;
    sim_disk_bootstrap(io->impl);
    return 0;
}

static void run_closed(void *arg)
{
    struct sim_voter *node = arg;

    node->close_cb(&node->io);
}

static void on_closed(void *world_arg, void *arg)
{
    struct event *event = arg;

    (void)world_arg;
    if (is_for_now(event))
        (void)sim_run(event->node, run_closed, event->node);
    free(event);
}

static void sim_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct sim_voter *node = io->impl;
    uint64_t now = node->world->clock.now_us;

    node->close_pending = true;
    node->close_cb = cb;
    simclock_after(&node->world->clock, node->disk_free_us > now ? node->disk_free_us - now + 1 : 1,
                   on_closed, event_new(node, NULL));
}

static raft_time sim_time(struct raft_io *io)
{
    const struct sim_voter *node = io->impl;

    int64_t us = (int64_t)node->world->clock.now_us;

    return (raft_time)((us + us * node->rate_ppm / 1000000) / 1000);
}

static int sim_random(struct raft_io *io, int min, int max)
{
    const struct sim_voter *node = io->impl;

    return min + (int)sim_below(node->world, (uint64_t)(max - min));
}

void sim_node_boot(struct sim_voter *node)
{
    assert(!node->is_up);
    node->life++;
    node->is_up = true;
    node->tick = NULL;
    node->recv = NULL;
    node->close_pending = false;
    node->had_disk_error = false;
    node->is_disk_stuck = false;
    node->paused_until_us = 0;
    node->is_paused = false;
    node->disk_free_us = 0;
    node->io = (struct raft_io){.version = 1,
                                .impl = node,
                                .init = sim_init,
                                .close = sim_close,
                                .load = sim_load,
                                .start = sim_start,
                                .bootstrap = sim_bootstrap,
                                .set_term = sim_set_term,
                                .set_vote = sim_set_vote,
                                .send = sim_send,
                                .append = sim_append,
                                .truncate = sim_truncate,
                                .snapshot_put = sim_snapshot_put,
                                .snapshot_get = sim_snapshot_get,
                                .time = sim_time,
                                .random = sim_random};
}

void sim_node_crash(struct sim_voter *node)
{
    assert(node->is_up);
    node->is_up = false;
    sim_voter_resume(node);
    settle_ops(node);
    sim_heap_free_all(&node->heap);
}

/* --- world
 * --------------------------------------------------------------------------------
 */

void sim_world_init(struct sim_world *world, uint64_t seed, uint32_t nodes,
                    const struct sim_hooks *hooks)
{
    memset(world, 0, sizeof(*world));
    simclock_init(&world->clock);
    ha_prng_seed(&world->prng, seed);
    world->hooks = *hooks;
    world->node_count = nodes;
    world->digest = HA_HASH_START;
    for (uint32_t i = 1; i <= nodes; i++) {
        world->nodes[i].world = world;
        world->nodes[i].id = i;
        world->nodes[i].disk.start = 1;
        for (uint32_t j = 1; j <= nodes; j++)
            world->links[i][j].delay_us = 200;
    }
    sim_heap_install();
}

void sim_world_fini(struct sim_world *world)
{
    for (uint32_t i = 1; i <= world->node_count; i++) {
        struct sim_voter *node = &world->nodes[i];

        if (node->is_up)
            sim_node_crash(node);
        sim_store_fini(&node->disk);
        free(node->kept);
        node->kept = NULL;
        for (uint32_t j = 1; j <= world->node_count; j++)
            sim_heal(world, i, j);
    }
    world->is_ending = true;
    /* Nobody is up: what is left in the queue only frees itself. */
    while (sim_step(world, UINT64_MAX))
        continue;
    simclock_fini(&world->clock);
}

/* The node an event belongs to, where a pause of it must put the event off. */
static struct sim_voter *node_of(const struct simclock_event *event, struct sim_world *world)
{
    if (event->cb == on_deliver)
        return &world->nodes[((const struct sim_packet *)event->arg)->to];
    if (event->cb == on_tick || event->cb == on_op_done || event->cb == on_slow_send)
        return ((const struct event *)event->arg)->node;
    return NULL;
}

static void keep(struct sim_voter *node, const struct simclock_event *event)
{
    if (node->kept_count == node->kept_size) {
        node->kept_size = node->kept_size == 0 ? 64 : 2 * node->kept_size;
        node->kept = realloc(node->kept, node->kept_size * sizeof(*node->kept));
        assert(node->kept != NULL);
    }
    node->kept[node->kept_count++] = *event;
}

void sim_voter_resume(struct sim_voter *node)
{
    node->is_paused = false;
    for (size_t i = 0; i < node->kept_count; i++)
        simclock_defer(&node->world->clock, &node->kept[i], node->world->clock.now_us);
    node->kept_count = 0;
}

bool sim_step(struct sim_world *world, uint64_t until_us)
{
    struct simclock_event event;
    struct sim_voter *node;

    if (!simclock_next(&world->clock, until_us, &event))
        return false;
    node = node_of(&event, world);
    if (node != NULL && node->is_up && node->paused_until_us > world->clock.now_us) {
        simclock_defer(&world->clock, &event, node->paused_until_us);
        return true;
    }
    if (node != NULL && node->is_up && node->is_paused)
        keep(node, &event);
    else
        event.cb(world, event.arg);
    return true;
}
