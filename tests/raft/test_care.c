/* One set of watchers ends and the next begins with its state; directories are made, moved and
 * read back whole, or stay what they were. */
#include "raft/care.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "raft/store.h"
#include "tests/raft/cluster.h"
#include "tests/support/cmocka_ha.h"

enum { CLUSTER_ID = 42, NEXT = 99 };

static struct cluster cluster;

static bool are_equal(struct cluster *c, uint64_t count)
{
    const struct cluster_state *first = NULL;

    for (uint32_t i = 1; i <= c->count; i++) {
        if (c->nodes[i].raft == NULL)
            continue;
        if (first == NULL)
            first = &c->nodes[i].state;
        if (c->nodes[i].state.count != count || c->nodes[i].state.hash != first->hash)
            return false;
    }
    return first != NULL;
}

static bool is_over(struct cluster *c, uint64_t id)
{
    return c->nodes[id].overs > 0;
}

/* Node @id has heard of the one that leads now: not of one that was stopped a moment ago. */
static bool knows_leader(struct cluster *c, uint64_t id)
{
    struct ha_raft_status status;
    const struct cluster_node *leader;

    ha_raft_get_status(c->nodes[id].raft, &status);
    leader = &c->nodes[status.leader_id];
    return status.leader_id != 0 && leader->raft != NULL && leader->is_leader;
}

static void propose(uint32_t id, uint64_t first, uint64_t last)
{
    assert_true(cluster_wait(&cluster, knows_leader, id, 10000));
    for (uint64_t i = first; i <= last; i++)
        cluster_propose(&cluster, id, i);
    for (uint64_t i = first; i <= last; i++) {
        assert_true(cluster_wait(&cluster, cluster_has_outcome, i, 10000));
        assert_int_equal(cluster.outcome[i].result, HA_RAFT_COMMITTED);
    }
}

/* A shell command in @where. */
static void run(const char *where, const char *what)
{
    char command[600];

    (void)snprintf(command, sizeof(command), "cd '%s' && %s", where, what);
    assert_int_equal(system(command), 0);
}

/* The state of a node as the first of the next set; names and addresses as they are. */
static struct ha_raft_seed next_seed(uint32_t id)
{
    struct ha_raft_seed seed = {0};
    struct ha_raft_status status;
    struct ha_err err = {0};

    ha_raft_get_status(cluster.nodes[id].raft, &status);
    if (ha_raft_export(cluster.nodes[id].raft, &seed, &err) != HA_OK)
        fail_msg("%s", err.text);
    seed.set.from_set = status.set_id;
    seed.set.from_index = seed.index;
    seed.set.from_term = seed.term;
    seed.set.set_id = NEXT;
    return seed;
}

static void start(uint32_t id)
{
    struct ha_err err = {0};

    if (cluster_start(&cluster, id, false, &err) != HA_OK)
        fail_msg("node %u: %s", id, err.text);
}

static void transplant(uint32_t id, const struct ha_raft_seed *seed)
{
    struct ha_err err = {0};

    if (ha_raft_transplant(cluster.nodes[id].dir, id, seed, &err) != HA_OK)
        fail_msg("%s", err.text);
}

static void begin(uint64_t entries)
{
    cluster_init(&cluster, 3, false);
    cluster.snapshot_threshold = 64;
    cluster_start_all(&cluster, true);
    assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
    propose(1, 1, entries);
    assert_true(cluster_wait(&cluster, are_equal, entries, 10000));
}

/* Two live on, the third is another machine with an empty directory. */
static void test_the_next_set_begins_with_the_state_of_the_last(void **state)
{
    struct ha_raft_seed seed;
    struct ha_err err = {0};

    (void)state;
    begin(200);
    cluster_stop(&cluster, 3);
    seed = next_seed(1);
    run(cluster.nodes[3].dir, "rm -f *");
    assert_int_equal(ha_raft_sow(cluster.nodes[3].dir, 3, &seed, &err), HA_OK);
    assert_int_equal(ha_raft_sow(cluster.nodes[3].dir, 3, &seed, &err), HA_EEXIST);
    cluster_stop(&cluster, 1);
    transplant(1, &seed);
    assert_int_equal(ha_raft_transplant(cluster.nodes[1].dir, 1, &seed, &err), HA_EEXIST);
    assert_int_equal(cluster_start(&cluster, 1, false, &err), HA_EDENIED); /* in the old set */
    cluster.set_id = NEXT;
    start(1);
    start(3);
    /* The one that has not moved is of another log: it neither helps nor disturbs. */
    propose(1, 201, 260);
    assert_int_equal(cluster.nodes[2].state.count, 200);
    assert_int_equal(cluster.nodes[2].overs, 0); /* it had the entry, and goes on by it */
    cluster_stop(&cluster, 2);
    transplant(2, &seed);
    start(2);
    assert_true(cluster_wait(&cluster, are_equal, 260, 10000));
    assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
    propose(2, 261, 400);
    assert_true(cluster_wait(&cluster, are_equal, 400, 10000));
    ha_raft_seed_fini(&seed);
    cluster_fini(&cluster);
}

/* A node that stored the last entry of its set and was not told that it is committed. */
static void test_who_missed_the_end_is_told(void **state)
{
    struct ha_raft_seed seed;

    (void)state;
    begin(20);
    cluster_stop(&cluster, 3);
    propose(1, 21, 21);
    assert_true(cluster_wait(&cluster, are_equal, 21, 10000));
    seed = next_seed(1);
    cluster_stop(&cluster, 1);
    cluster_stop(&cluster, 2);
    transplant(1, &seed);
    /* Node 2 starts again in the old set: alone it can commit nothing, and applies nothing yet. */
    start(2);
    assert_true(cluster.nodes[2].state.count < 21);
    cluster.set_id = NEXT;
    start(1);
    assert_true(cluster_wait(&cluster, are_equal, 21, 10000));
    assert_int_equal(cluster.nodes[2].overs, 0);
    ha_raft_seed_fini(&seed);
    cluster_fini(&cluster);
}

/* One that never got it has no part in the log any more, and its votes none. */
static void test_who_lacks_the_end_is_out(void **state)
{
    struct ha_raft_seed seed;

    (void)state;
    begin(20);
    cluster_stop(&cluster, 3);
    propose(1, 21, 40);
    assert_true(cluster_wait(&cluster, are_equal, 40, 10000));
    seed = next_seed(1);
    cluster_stop(&cluster, 1);
    cluster_stop(&cluster, 2);
    transplant(1, &seed);
    transplant(2, &seed);
    start(3);
    cluster.set_id = NEXT;
    start(1);
    assert_true(cluster_wait(&cluster, is_over, 3, 10000));
    assert_int_equal(cluster.nodes[3].state.count, 0);
    start(2);
    propose(2, 41, 60);
    assert_false(cluster.nodes[3].is_leader);
    ha_raft_seed_fini(&seed);
    cluster_fini(&cluster);
}

/* Killed anywhere between the last entry of the set and its move, a node meets that entry again:
 * no snapshot covers it, however many entries follow. */
static void test_the_end_is_met_again_until_the_move_is_done(void **state)
{
    static const uint64_t after[] = {0, 8, 40};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(after); i++) {
        const uint64_t end = 40, last = end + after[i];
        struct ha_raft_seed seed;
        struct ha_err err = {0};

        cluster_init(&cluster, 3, false);
        cluster.snapshot_threshold = 8;
        cluster.ends_at = end;
        cluster_start_all(&cluster, true);
        assert_int_not_equal(cluster_leader(&cluster, 10000), 0);
        for (uint64_t first = 1; first <= last; first += 8) /* in as many steps as there can be */
            propose(1, first, first + 7 < last ? first + 7 : last);
        assert_true(cluster_wait(&cluster, are_equal, last, 10000));
        assert_int_equal(ha_raft_export(cluster.nodes[1].raft, &seed, &err), HA_EBUSY);
        cluster_stop(&cluster, 3);
        start(3);
        assert_true(cluster_wait(&cluster, are_equal, last, 10000));
        assert_true(cluster.nodes[3].restores > 0);
        assert_true(cluster.nodes[3].applied_ns[end] != 0);
        cluster_fini(&cluster);
    }
}

/* --- replay ----------------------------------------------------------------------------------- */

static void replay_apply(void *ctx, const struct ha_raft_entry *entry)
{
    struct cluster_state *state = ctx;

    state->count++;
    state->hash = ha_hash(state->hash, entry->data, entry->size);
    state->hash = ha_hash(state->hash, &entry->index, sizeof(entry->index));
    state->last_index = entry->index;
}

static int replay_restore(void *ctx, const void *data, size_t size, uint64_t index)
{
    (void)index;
    memcpy(ctx, data, size);
    return HA_OK;
}

static int replay_snapshot(void *ctx, void **ret_data, size_t *ret_size)
{
    *ret_size = sizeof(struct cluster_state);
    *ret_data = malloc(*ret_size);
    memcpy(*ret_data, ctx, *ret_size);
    return HA_OK;
}

static void replay_fatal(void *ctx, int code, const char *why)
{
    (void)ctx;
    fail_msg("%d: %s", code, why);
}

static void test_replay_gives_all_that_a_log_has(void **state)
{
    struct cluster_state replayed = {.hash = HA_HASH_START};
    const struct ha_raft_hooks hooks = {.ctx = &replayed,
                                        .apply = replay_apply,
                                        .restore = replay_restore,
                                        .snapshot = replay_snapshot,
                                        .fatal = replay_fatal};
    struct ha_raft_seed seed = {0};
    struct ha_raft_set set;
    struct ha_err err = {0};
    const void *data;
    uint32_t own_id;
    size_t size;

    (void)state;
    begin(150); /* snapshots and entries */
    assert_int_equal(ha_raft_inspect(cluster.nodes[2].dir, CLUSTER_ID, &set, &own_id, &err),
                     HA_EDENIED); /* in use */
    cluster_stop(&cluster, 2);
    assert_int_equal(ha_raft_replay(cluster.nodes[2].dir, CLUSTER_ID, &hooks, &seed, &err), HA_OK);
    assert_memory_equal(&replayed, &cluster.nodes[1].state, sizeof(replayed));
    assert_int_equal(ha_raft_seed_state(&seed, &data, &size, &err), HA_OK);
    assert_int_equal(size, sizeof(replayed));
    assert_memory_equal(data, &replayed, size);
    ha_raft_seed_fini(&seed);
    assert_int_equal(ha_raft_replay(cluster.nodes[2].dir, 43, &hooks, &seed, &err), HA_EDENIED);
    cluster_fini(&cluster);
}

/* --- bytes ------------------------------------------------------------------------------------ */

static struct ha_raft_seed small_seed(uint64_t index, size_t size)
{
    struct ha_raft_seed seed = {.cluster_id = 5, .index = index, .term = 7};
    uint8_t *state = calloc(1, size);

    seed.set = (struct ha_raft_set){
        .set_id = NEXT, .from_set = 77, .from_index = index, .from_term = 7, .count = 3};
    for (uint32_t i = 0; i < 3; i++) {
        seed.set.peers[i].id = i + 1;
        (void)snprintf(seed.set.peers[i].name, HA_RAFT_NAME_SIZE, "watcher/w%u", i + 1);
        (void)snprintf(seed.set.peers[i].address, HA_RAFT_ADDRESS_SIZE, "h%u:7400", i + 1);
    }
    seed.data = state; /* not wrapped: the store does not look inside */
    seed.size = size;
    return seed;
}

static void test_a_changed_backup_is_refused(void **state)
{
    struct ha_raft_seed seed = small_seed(60, 100), got;
    struct ha_err err = {0};
    void *bytes;
    size_t size;

    (void)state;
    assert_int_equal(ha_raft_seed_encode(&seed, &bytes, &size, &err), HA_OK);
    assert_int_equal(ha_raft_seed_decode(bytes, size, &got, &err), HA_OK);
    assert_int_equal(got.index, 60);
    assert_int_equal(got.set.set_id, NEXT);
    assert_string_equal(got.set.peers[2].address, "h3:7400");
    assert_memory_equal(got.data, seed.data, 100);
    ha_raft_seed_fini(&got);
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)bytes)[i] ^= 4;
        assert_int_not_equal(ha_raft_seed_decode(bytes, size, &got, &err), HA_OK);
        ((uint8_t *)bytes)[i] ^= 4;
        assert_int_not_equal(ha_raft_seed_decode(bytes, i, &got, &err), HA_OK);
    }
    free(bytes);
    ha_raft_seed_fini(&seed);
}

/* --- a directory ------------------------------------------------------------------------------ */

static char dir[64];
static const uint32_t ids[3] = {1, 2, 3};

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/ha-care-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    run(dir, "rm -f *");
    return rmdir(dir);
}

static int open_as(uint64_t set_id, uint32_t own_id, bool bootstrap, uint32_t page_max,
                   struct ha_store **ret)
{
    const struct ha_store_options options = {.dir = dir,
                                             .cluster_id = 5,
                                             .own_id = own_id,
                                             .set_id = set_id,
                                             .ids = ids,
                                             .id_count = 3,
                                             .free_min_bytes = 1,
                                             .bootstrap = bootstrap,
                                             .page_max = page_max};
    struct ha_err err = {0};
    int code = ha_store_open(ret, &options, &err);

    if (code != HA_OK && code != HA_EDENIED)
        print_message("# %s\n", err.text);
    return code;
}

/* Entries to 100, a vote, a watermark behind what the seed will say. */
static void make_log(void)
{
    struct ha_store *store = NULL;
    struct ha_err err = {0};
    uint64_t data[2] = {1, 2};
    struct raft_entry entry = {
        .term = 9, .type = RAFT_COMMAND, .buf = {.base = data, .len = sizeof(data)}};

    assert_int_equal(open_as(77, 1, true, 0, &store), HA_OK);
    assert_int_equal(ha_store_set_term(store, 9, &err), HA_OK);
    assert_int_equal(ha_store_set_vote(store, 3, &err), HA_OK);
    assert_int_equal(ha_store_begin(store, &err), HA_OK);
    for (raft_index i = 2; i <= 100; i++)
        assert_int_equal(ha_store_append(store, i, &entry, 1, &err), HA_OK);
    assert_int_equal(ha_store_commit(store, &err), HA_OK);
    assert_int_equal(ha_store_mark(store, 95, &err), HA_OK);
    ha_store_close(store);
}

static void must_be_moved(uint32_t own_id)
{
    struct ha_store *store = NULL;
    struct ha_store_state loaded;
    struct ha_err err = {0};

    assert_int_equal(open_as(NEXT, own_id, false, 0, &store), HA_OK);
    if (ha_store_load(store, &loaded, &err) != HA_OK)
        fail_msg("%s", err.text);
    assert_int_equal(loaded.snapshot->index, 60);
    assert_int_equal(loaded.start, 61);
    assert_int_equal(loaded.count, 0);
    assert_int_equal(loaded.vote, 0);
    assert_true(loaded.term >= 7);
    ha_store_state_fini(&loaded);
    ha_store_close(store);
    assert_int_equal(open_as(77, 1, false, 0, &store), HA_EDENIED);
}

static void must_be_unmoved(void)
{
    struct ha_store *store = NULL;
    struct ha_store_state loaded;
    struct ha_err err = {0};

    assert_int_equal(open_as(77, 1, false, 0, &store), HA_OK);
    if (ha_store_load(store, &loaded, &err) != HA_OK)
        fail_msg("%s", err.text);
    assert_int_equal(loaded.count, 100);
    assert_int_equal(loaded.vote, 3);
    ha_store_state_fini(&loaded);
    ha_store_close(store);
    assert_int_equal(open_as(NEXT, 1, false, 0, &store), HA_EDENIED);
}

static void test_a_move_cut_short_behind_its_transaction_is_finished(void **state)
{
    struct ha_raft_seed seed = small_seed(60, 100);
    struct ha_err err = {0};

    (void)state;
    make_log();
    run(dir, "cp identity saved");
    assert_int_equal(ha_raft_transplant(dir, 2, &seed, &err), HA_OK);
    /* As the power would have left it: the file of before, the weakest watermark. */
    run(dir, "mv saved identity");
    must_be_moved(2);
    must_be_moved(2);
    ha_raft_seed_fini(&seed);
}

/* A disk that is full in the middle of the transaction. */
static void test_a_move_that_fails_leaves_what_was(void **state)
{
    struct ha_raft_seed seed = small_seed(60, 900000);
    struct ha_store *store = NULL;
    struct ha_err err = {0};

    (void)state;
    make_log();
    assert_int_equal(open_as(77, 1, false, 20, &store), HA_OK);
    assert_int_equal(ha_store_transplant(store, 1, &seed, &err), HA_EFULL);
    ha_store_close(store);
    must_be_unmoved();
    ha_raft_seed_fini(&seed);
}

/* kill -9 at many moments of the move: before or after, never between. */
static void test_a_move_killed_anywhere_is_before_or_after(void **state)
{
    struct ha_raft_seed seed = small_seed(60, 400000);
    unsigned moved = 0;

    for (unsigned i = 0; i < 40; i++) {
        struct ha_store_owner owner;
        struct ha_err err = {0};
        int status;
        pid_t pid;

        assert_int_equal(set_up(state), 0);
        make_log();
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            (void)ha_raft_transplant(dir, 1, &seed, &err);
            _exit(0);
        }
        (void)usleep(i * 500);
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
        assert_int_equal(ha_store_peek(dir, &owner, &err), HA_OK);
        moved += owner.set.set_id == NEXT;
        if (owner.set.set_id == NEXT)
            must_be_moved(1);
        else
            must_be_unmoved();
        assert_int_equal(tear_down(state), 0);
    }
    print_message("# %u of 40 had moved\n", moved);
    ha_raft_seed_fini(&seed);
}

static void test_a_directory_is_sown_once(void **state)
{
    struct ha_raft_seed seed = small_seed(60, 100);
    struct ha_err err = {0};

    (void)state;
    assert_int_equal(ha_raft_sow(dir, 4, &seed, &err), HA_EINVAL);
    assert_int_equal(ha_raft_sow(dir, 3, &seed, &err), HA_OK);
    assert_int_equal(ha_raft_sow(dir, 3, &seed, &err), HA_EEXIST);
    print_message("# %s\n", err.text);
    must_be_moved(3);
    run(dir, "rm identity watermark"); /* cut short behind its transaction */
    must_be_moved(3);
    run(dir, "rm log.db*");
    assert_int_equal(ha_raft_sow(dir, 3, &seed, &err), HA_EEXIST); /* it was a voter once */
    run(dir, "rm *");
    run(dir, "touch promise");
    assert_int_equal(ha_raft_sow(dir, 3, &seed, &err), HA_EEXIST);
    assert_int_equal(ha_raft_sow("/nowhere", 3, &seed, &err), HA_ENOENT);
    ha_raft_seed_fini(&seed);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_the_next_set_begins_with_the_state_of_the_last),
    cmocka_unit_test(test_who_missed_the_end_is_told),
    cmocka_unit_test(test_who_lacks_the_end_is_out),
    cmocka_unit_test(test_the_end_is_met_again_until_the_move_is_done),
    cmocka_unit_test(test_replay_gives_all_that_a_log_has),
    cmocka_unit_test(test_a_changed_backup_is_refused),
    CASE(test_a_move_cut_short_behind_its_transaction_is_finished),
    CASE(test_a_move_that_fails_leaves_what_was),
    cmocka_unit_test(test_a_move_killed_anywhere_is_before_or_after),
    CASE(test_a_directory_is_sown_once),
};

HA_TEST_MAIN("raft/care", tests)
