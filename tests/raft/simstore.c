#include "tests/raft/simstore.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "raft/members.h"
#include "tests/raft/simheap.h"

void sim_store_append(struct sim_disk *disk, raft_index index, struct sim_entry *entry)
{
    if (disk->count == 0)
        disk->start = index;
    assert(index == disk->start + disk->count);
    if (disk->count == disk->capacity) {
        disk->capacity = disk->capacity == 0 ? 64 : disk->capacity * 2;
        disk->entries = realloc(disk->entries, disk->capacity * sizeof(*disk->entries));
        assert(disk->entries != NULL);
    }
    disk->entries[disk->count++] = *entry;
    entry->data = NULL;
}

void sim_store_truncate(struct sim_disk *disk, raft_index index)
{
    while (disk->count > 0 && disk->start + disk->count - 1 >= index)
        free(disk->entries[--disk->count].data);
}

static void drop_front(struct sim_disk *disk, raft_index upto)
{
    size_t n = 0;

    while (n < disk->count && disk->start + n <= upto)
        free(disk->entries[n++].data);
    memmove(disk->entries, disk->entries + n, (disk->count - n) * sizeof(*disk->entries));
    disk->count -= n;
    disk->start += n;
}

void sim_store_put(struct sim_disk *disk, struct sim_snapshot *snapshot, unsigned trailing)
{
    if (disk->has_snapshot)
        free(disk->snapshot.data);
    disk->snapshot = *snapshot;
    disk->has_snapshot = true;
    snapshot->data = NULL;
    if (trailing == 0) {
        sim_store_truncate(disk, 0);
        disk->start = disk->snapshot.index + 1;
    } else if (disk->snapshot.index > trailing && disk->count > 0) {
        drop_front(disk, disk->snapshot.index - trailing);
    }
}

struct raft_snapshot *sim_store_snapshot(struct sim_voter *node)
{
    const struct sim_disk *disk = &node->disk;
    struct raft_snapshot *snapshot;
    uint32_t ids[SIM_NODES_MAX];

    if (!disk->has_snapshot)
        return NULL;
    for (uint32_t i = 0; i < node->world->node_count; i++)
        ids[i] = i + 1;
    snapshot = raft_calloc(1, sizeof(*snapshot));
    snapshot->index = disk->snapshot.index;
    snapshot->term = disk->snapshot.term;
    snapshot->configuration_index = disk->snapshot.conf_index;
    if (ha_members_build(&snapshot->configuration, ids, node->world->node_count) != 0)
        abort();
    snapshot->bufs = raft_calloc(1, sizeof(*snapshot->bufs));
    snapshot->n_bufs = 1;
    snapshot->bufs[0].base = raft_malloc(disk->snapshot.size);
    snapshot->bufs[0].len = disk->snapshot.size;
    memcpy(snapshot->bufs[0].base, disk->snapshot.data, disk->snapshot.size);
    return snapshot;
}

static struct raft_entry *load_entries(const struct sim_disk *disk)
{
    struct raft_entry *entries = raft_calloc(disk->count, sizeof(*entries));
    size_t size = 0;
    uint8_t *batch;

    for (size_t i = 0; i < disk->count; i++)
        size += disk->entries[i].size;
    batch = raft_malloc(size);
    size = 0;
    for (size_t i = 0; i < disk->count; i++) {
        const struct sim_entry *from = &disk->entries[i];

        entries[i] = (struct raft_entry){.term = from->term, .type = from->type, .batch = batch};
        entries[i].buf.base = batch + size;
        entries[i].buf.len = from->size;
        memcpy(entries[i].buf.base, from->data, from->size);
        size += from->size;
    }
    return entries;
}

int sim_store_load(struct sim_voter *node, raft_term *term, raft_id *vote,
                   struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                   size_t *n)
{
    const struct sim_disk *disk = &node->disk;

    *term = disk->term;
    *vote = disk->vote;
    *snapshot = sim_store_snapshot(node);
    *n = disk->count;
    *entries = disk->count > 0 ? load_entries(disk) : NULL;
    *start = disk->start;
    if (disk->count == 0)
        *start = disk->has_snapshot ? disk->snapshot.index + 1 : 1;
    return 0;
}

void sim_store_fini(struct sim_disk *disk)
{
    sim_store_truncate(disk, 0);
    free(disk->entries);
    if (disk->has_snapshot)
        free(disk->snapshot.data);
    *disk = (struct sim_disk){.start = 1};
}

void sim_disk_bootstrap(struct sim_voter *node)
{
    struct raft_configuration conf;
    struct raft_buffer buf;
    uint32_t ids[SIM_NODES_MAX];
    struct sim_entry entry = {.term = 1, .type = RAFT_CHANGE};

    assert(!node->disk.is_bootstrapped);
    for (uint32_t i = 0; i < node->world->node_count; i++)
        ids[i] = i + 1;
    sim_heap_enter(&node->heap);
    if (ha_members_build(&conf, ids, node->world->node_count) != 0 ||
        raft_configuration_encode(&conf, &buf) != 0)
        abort();
    entry.size = buf.len;
    entry.data = malloc(buf.len);
    memcpy(entry.data, buf.base, buf.len);
    raft_free(buf.base);
    raft_configuration_close(&conf);
    sim_heap_leave();
    node->disk.term = 1;
    node->disk.is_bootstrapped = true;
    sim_store_append(&node->disk, 1, &entry);
}

void sim_disk_sow(struct sim_voter *voter, const struct sim_snapshot *state)
{
    struct sim_snapshot copy = *state;

    assert(!voter->disk.is_bootstrapped && voter->disk.count == 0);
    copy.data = malloc(copy.size);
    assert(copy.data != NULL);
    memcpy(copy.data, state->data, copy.size);
    sim_store_put(&voter->disk, &copy, 0);
    voter->disk.term = state->term;
    voter->disk.is_bootstrapped = true;
}

void sim_disk_wipe(struct sim_voter *voter)
{
    assert(!voter->is_up);
    sim_store_fini(&voter->disk);
}
