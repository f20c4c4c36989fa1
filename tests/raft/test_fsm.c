/* G9: a node whose applied entries differ from the leader's stops, whatever
 * brought it there. */
#include "raft/fsm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "tests/support/cmocka_ha.h"

struct fixture {
    struct raft raft;
    struct ha_fsm fsm;
    struct ha_raft_hooks hooks;
    uint64_t applied;
    uint64_t last_index;
    size_t last_size;
    size_t snapshot_size;
    void *snapshot; /* the last one given */
    jmp_buf escape;
    char why[256];
};

static struct fixture a;
static struct fixture b;

static void on_apply(void *ctx, const struct ha_raft_entry *entry)
{
    struct fixture *f = ctx;

    f->applied++;
    f->last_index = entry->index;
    f->last_size = entry->size;
}

static int on_snapshot(void *ctx, void **ret_data, size_t *ret_size)
{
    struct fixture *f = ctx;

    *ret_size = f->snapshot_size;
    *ret_data = calloc(1, *ret_size);
    f->snapshot = *ret_data;
    return HA_OK;
}

static int on_restore(void *ctx, const void *data, size_t size, uint64_t index)
{
    struct fixture *f = ctx;

    (void)data;
    f->last_size = size;
    f->last_index = index;
    return HA_OK;
}

static void on_fatal(void *ctx, int code, const char *why)
{
    struct fixture *f = ctx;

    (void)code;
    (void)snprintf(f->why, sizeof(f->why), "%s", why);
    longjmp(f->escape, 1);
}

static void set_up(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->hooks = (struct ha_raft_hooks){.ctx = f,
                                      .apply = on_apply,
                                      .snapshot = on_snapshot,
                                      .restore = on_restore,
                                      .fatal = on_fatal};
    f->snapshot_size = 100;
    ha_fsm_init(&f->fsm, &f->raft, &f->hooks);
}

/* Apply at @index what was meant for @place; 1: it lived. */
static int apply(struct fixture *f, uint64_t index, enum ha_fsm_kind kind, uint64_t place,
                 const void *data, size_t size)
{
    const struct ha_fsm_place where = {.index = place, .term = 1};
    struct raft_buffer buf;
    void *result;

    assert_true(ha_fsm_wrap(kind, data, size, &where, &buf));
    assert_int_equal(buf.len % 8, 0);
    f->raft.last_applied = index - 1;
    if (setjmp(f->escape) != 0) {
        raft_free(buf.base);
        return 0;
    }
    assert_int_equal(f->fsm.fsm.apply(&f->fsm.fsm, &buf, &result), 0);
    raft_free(buf.base);
    return 1;
}

static int publish(struct fixture *to, uint64_t at, const struct ha_fsm *from)
{
    const uint64_t mark[2] = {from->applied, from->chain};

    return apply(to, at, HA_FSM_HASH, at, mark, sizeof(mark));
}

static void test_equal_nodes_pass_and_diverged_ones_stop(void **state)
{
    (void)state;
    set_up(&a);
    set_up(&b);
    for (uint64_t i = 2; i < 10; i++) {
        assert_int_equal(apply(&a, i, HA_FSM_APP, i, "same", 4), 1);
        assert_int_equal(apply(&b, i, HA_FSM_APP, i, "same", 4), 1);
    }
    assert_int_equal(publish(&b, 10, &a.fsm), 1);
    assert_int_equal(publish(&a, 10, &a.fsm), 1);
    assert_int_equal(b.fsm.checked, 1);
    assert_int_equal(a.fsm.chain == b.fsm.chain, 1);
    assert_int_equal(apply(&a, 11, HA_FSM_APP, 11, "one", 3), 1);
    assert_int_equal(apply(&b, 11, HA_FSM_APP, 11, "two", 3), 1);
    assert_int_equal(publish(&b, 12, &a.fsm), 0);
    print_message("# %s\n", b.why);
    assert_int_equal(b.applied, 9); /* what was applied before was applied */
}

static void test_an_entry_belongs_to_its_index(void **state)
{
    (void)state;
    set_up(&a);
    assert_int_equal(apply(&a, 5, HA_FSM_APP, 5, "five", 4), 1);
    assert_int_equal(a.last_index, 5);
    assert_int_equal(a.last_size, 4);
    assert_int_equal(apply(&a, 7, HA_FSM_APP, 6, "six", 3), 0);
    print_message("# %s\n", a.why);
    assert_int_equal(apply(&a, 5, HA_FSM_APP, 5, "five", 4), 0);
    print_message("# %s\n", a.why);
}

static void test_unknown_content_is_skipped_by_all(void **state)
{
    struct raft_buffer buf = {.base = calloc(1, 8), .len = 8};
    void *result = &buf;

    (void)state;
    set_up(&a);
    a.raft.last_applied = 1;
    assert_int_equal(a.fsm.fsm.apply(&a.fsm.fsm, &buf, &result), 0);
    assert_null(result);
    assert_int_equal(apply(&a, 3, (enum ha_fsm_kind)77, 3, "later", 5), 1);
    assert_int_equal(a.fsm.malformed, 2);
    assert_int_equal(a.applied, 0);
    free(buf.base);
}

static int restore(struct fixture *f, struct raft_buffer buf)
{
    if (setjmp(f->escape) != 0) {
        raft_free(buf.base);
        return 0;
    }
    assert_int_equal(f->fsm.fsm.restore(&f->fsm.fsm, &buf), 0);
    return 1;
}

static void test_snapshots_carry_the_chain_and_notice_damage(void **state)
{
    struct raft_buffer *bufs;
    struct raft_buffer copy;
    unsigned n;

    (void)state;
    set_up(&a);
    assert_int_equal(apply(&a, 2, HA_FSM_APP, 2, "x", 1), 1);
    a.raft.last_applied = 2;
    assert_int_equal(a.fsm.fsm.snapshot(&a.fsm.fsm, &bufs, &n), 0);
    assert_int_equal(n, 1);
    copy.len = bufs[0].len;
    copy.base = raft_malloc(copy.len);
    memcpy(copy.base, bufs[0].base, copy.len);
    set_up(&b);
    assert_int_equal(restore(&b, copy), 1);
    assert_int_equal(b.last_size, 100);
    assert_int_equal(b.last_index, 2);
    assert_true(b.fsm.chain == a.fsm.chain && b.fsm.applied == 2);
    for (size_t i = 0; i < bufs[0].len; i++) {
        copy.base = raft_malloc(copy.len);
        memcpy(copy.base, bufs[0].base, copy.len);
        ((uint8_t *)copy.base)[i] ^= 0x10;
        set_up(&b);
        assert_int_equal(restore(&b, copy), 0);
    }
    raft_free(bufs[0].base);
    raft_free(bufs);
}

static void test_a_snapshot_too_large_is_fatal(void **state)
{
    struct raft_buffer *bufs;
    unsigned n;

    (void)state;
    set_up(&a);
    a.snapshot_size = HA_RAFT_SNAPSHOT_MAX + 1;
    if (setjmp(a.escape) == 0) {
        (void)a.fsm.fsm.snapshot(&a.fsm.fsm, &bufs, &n);
        fail();
    }
    free(a.snapshot); /* nobody took it */
    print_message("# %s\n", a.why);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_equal_nodes_pass_and_diverged_ones_stop),
    cmocka_unit_test(test_an_entry_belongs_to_its_index),
    cmocka_unit_test(test_unknown_content_is_skipped_by_all),
    cmocka_unit_test(test_snapshots_carry_the_chain_and_notice_damage),
    cmocka_unit_test(test_a_snapshot_too_large_is_fatal),
};

HA_TEST_MAIN("raft/fsm", tests)
