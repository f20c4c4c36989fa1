/* A disk that hangs or is full: who stores what, and that the loop, where agents are answered, goes
 * on. */
#include "raft/io_disk.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "raft/node_private.h"
#include "raft/store_private.h"
#include "tests/raft/cluster.h"
#include "tests/support/cmocka_ha.h"

static struct cluster cluster;

static bool has_stored(struct cluster *c, uint64_t count)
{
    return c->nodes[1].state.count == count && c->nodes[2].state.count == count &&
           c->nodes[3].state.count == count;
}

static bool is_slow(struct cluster *c, uint64_t id)
{
    return ha_disk_is_slow(&c->nodes[id].raft->disk);
}

static bool never(struct cluster *c, uint64_t arg)
{
    (void)c;
    (void)arg;
    return false;
}

static bool leads_anew(struct cluster *c, uint64_t gone)
{
    for (uint32_t i = 1; i <= 3; i++)
        if (i != gone && c->nodes[i].is_leader)
            return true;
    return false;
}

static uint32_t begin(void)
{
    uint32_t leader;

    cluster_init(&cluster, 3, false);
    cluster_start_all(&cluster, true);
    leader = cluster_leader(&cluster, 10000);
    assert_int_not_equal(leader, 0);
    cluster_propose(&cluster, leader, 1);
    assert_true(cluster_wait(&cluster, has_stored, 1, 10000));
    return leader;
}

/* Who holds the lock holds every write back, as a disk does that does not answer. */
static void test_a_follower_with_a_hung_disk_does_not_stand_still(void **state)
{
    uint32_t leader = begin(), hung = leader % 3 + 1;
    struct ha_disk *disk = &cluster.nodes[hung].raft->disk;
    raft_term term;

    (void)state;
    uv_mutex_lock(&disk->lock);
    assert_true(cluster_wait(&cluster, is_slow, hung, 10000)); /* its look at the free space */
    term = cluster.nodes[hung].raft->seat.raft.current_term;
    cluster_stop(&cluster, leader);
    /* The third asks for its vote again and again; it answers nobody, and turns. */
    assert_false(cluster_wait(&cluster, never, 0, 2500));
    assert_true(cluster.nodes[hung].raft->seat.raft.current_term == term);
    assert_true(disk->err.code == HA_OK && disk->wait_max_ms <= 10000);
    uv_mutex_unlock(&disk->lock);
    assert_true(cluster_wait(&cluster, leads_anew, leader, 10000));
    cluster_fini(&cluster);
}

static bool is_stalled(struct cluster *c, uint64_t id)
{
    return ha_disk_is_stalled(&c->nodes[id].raft->disk);
}

static bool two_have(struct cluster *c, uint64_t count)
{
    uint32_t have = 0;

    for (uint32_t i = 1; i <= 3; i++)
        have += c->nodes[i].state.count >= count ? 1 : 0;
    return have >= 2;
}

/* However long it hangs and whatever the others write: it gets it afterwards. */
static void test_a_hung_disk_gathers_nothing(void **state)
{
    uint32_t leader = begin(), hung = leader % 3 + 1;
    struct ha_disk *disk = &cluster.nodes[hung].raft->disk;
    raft_index next;

    (void)state;
    uv_mutex_lock(&disk->lock);
    assert_true(cluster_wait(&cluster, is_stalled, hung, 10000));
    next = disk->next_index;
    for (uint64_t i = 2; i <= 20; i++) {
        cluster_propose(&cluster, leader, i);
        assert_true(cluster_wait(&cluster, two_have, i, 10000));
    }
    assert_int_equal(disk->next_index, next);
    uv_mutex_unlock(&disk->lock);
    assert_true(cluster_wait(&cluster, has_stored, 20, 10000));
    cluster_fini(&cluster);
}

/* Where it hangs just then, the wait has a bound: the error that follows ends the process (G5). */
static void test_a_term_is_not_waited_for_for_ever(void **state)
{
    static struct ha_disk disk; /* for ever held: the thread that stores never comes back */
    const uint64_t from_ms = ha_clock_mono_ms();

    (void)state;
    disk.wait_max_ms = 200;
    assert_int_equal(uv_mutex_init(&disk.lock), 0);
    uv_mutex_lock(&disk.lock);
    assert_int_equal(ha_disk_set_term(&disk, 7), RAFT_IOERR);
    assert_true(ha_clock_mono_ms() - from_ms >= 200);
    assert_int_equal(disk.err.code, HA_ETIMEDOUT);
    print_message("# %s\n", disk.err.text);
    assert_int_equal(ha_disk_set_vote(&disk, 1), RAFT_IOERR); /* after an error, nothing */
}

/* While it led it would refuse everything, and no primary could be replaced. */
static void test_a_leader_without_room_gives_way(void **state)
{
    uint32_t leader = begin();
    struct ha_disk *disk = &cluster.nodes[leader].raft->disk;

    (void)state;
    uv_mutex_lock(&disk->lock);
    disk->store->free_min_bytes = UINT64_MAX;
    uv_mutex_unlock(&disk->lock);
    assert_true(cluster_wait(&cluster, leads_anew, leader, 10000));
    cluster_propose(&cluster, leader, 2); /* what it sees counts all the same */
    assert_true(cluster_wait(&cluster, has_stored, 2, 10000));
    assert_false(cluster.nodes[leader].is_leader);
    cluster_fini(&cluster);
}

/* Where nothing else is written nobody hears of it, and its look at the free space has ended. */
static void test_a_watermark_that_fails_ends_the_process(void **state)
{
    char(*dir)[sizeof(cluster.nodes[1].dir)] =
        mmap(NULL, sizeof(*dir), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char command[400];
    pid_t pid = fork();
    int status;

    (void)state;
    assert_true(dir != MAP_FAILED && pid >= 0);
    if (pid == 0) {
        (void)alarm(60);
        (void)begin();
        memcpy(*dir, cluster.nodes[1].dir, sizeof(*dir));
        (void)snprintf(command, sizeof(command), "rm -f '%s/watermark' && mkdir '%s/watermark'",
                       *dir, *dir);
        if (system(command) != 0)
            _exit(2);
        (void)cluster_wait(&cluster, never, 0, 10000);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true((*dir)[0] == '/');
    (void)snprintf(command, sizeof(command), "rm -rf \"$(dirname '%s')\"", *dir);
    assert_int_equal(system(command), 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_follower_with_a_hung_disk_does_not_stand_still),
    cmocka_unit_test(test_a_hung_disk_gathers_nothing),
    cmocka_unit_test(test_a_leader_without_room_gives_way),
    cmocka_unit_test(test_a_watermark_that_fails_ends_the_process),
    cmocka_unit_test(test_a_term_is_not_waited_for_for_ever),
};

HA_TEST_MAIN("raft/disk", tests)
