/* Durability: the sets a primary waits for, the proof a successor needs, the seal. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/core/cluster_parts.h"
#include "lib/core/sync.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"
#include "tests/unit/core/play.h"

static void test_names_carry_the_epoch(void **state)
{
    const char names[8][HA_NAME_SIZE] = {"", "a", "b", "c"};
    const struct ha_sync_set set = {.need = 1, .members = 1u << B | 1u << C}, none = {0};
    char text[HA_SYNC_NAMES_SIZE], later[HA_SYNC_NAMES_SIZE];

    (void)state;
    ha_sync_names(text, &set, names, 17);
    assert_string_equal(text, "ANY 1 (\"b_e17\", \"c_e17\")");
    ha_sync_names(later, &set, names, 18);
    assert_true(ha_sync_id(text) != ha_sync_id(later));
    ha_sync_names(text, &none, names, 17);
    assert_string_equal(text, "");
    assert_int_equal(ha_sync_id(text), 0);
}

static int try_intend(struct play *play, uint32_t need, uint32_t members, uint32_t entering)
{
    struct ha_command command = {.kind = HA_COMMAND_SYNC_INTEND};

    command.u.sync.ref = (struct ha_ref){world_service(play->world)->id, world_epoch(play->world)};
    command.u.sync.set = (struct ha_sync_set){need, members};
    command.u.sync.entering = entering;
    return ha_cluster_apply(&play->world->w->cluster, play->world->w->cluster.index + 1, &command,
                            &play->world->err);
}

static int try_force(struct play *play, uint32_t need, uint32_t members, uint32_t holding)
{
    struct ha_command command = {.kind = HA_COMMAND_SYNC_FORCE};

    command.u.sync.ref = (struct ha_ref){world_service(play->world)->id, world_epoch(play->world)};
    command.u.sync.set = (struct ha_sync_set){need, members};
    command.u.sync.holding = holding;
    return ha_cluster_apply(&play->world->w->cluster, play->world->w->cluster.index + 1, &command,
                            &play->world->err);
}

static void test_sets_that_are_refused(void **state)
{
    static const struct {
        uint32_t need, members, entering;
        int want;
    } rows[] = {
        {1, 1u << A | 1u << B, 0, HA_EINVAL}, /* waits for itself */
        {1, 1u << 5, 0, HA_EINVAL},           /* no such member */
        {2, 1u << B, 0, HA_EINVAL},           /* more than there are */
        {0, 1u << B, 0, HA_EINVAL},           /* nobody of somebody */
        {1, 1u << B, 1u << C, HA_EINVAL},     /* one enters that is not in it */
        {0, 0, 0, HA_EDENIED},                /* strict never goes on alone */
        {1, 1u << B | 1u << C, 0, HA_EEXIST}, /* it is so already */
        {1, 1u << B, 0, HA_OK},
    };
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(rows); i++)
        assert_int_equal(try_intend(play, rows[i].need, rows[i].members, rows[i].entering),
                         rows[i].want);
    /* It is not in force before somebody holds what went before, nor another than the last. */
    assert_int_equal(try_force(play, 1, 1u << B, 0), HA_EDENIED);
    assert_int_equal(try_force(play, 1, 1u << B, 1u << C), HA_EDENIED);
    assert_int_equal(try_force(play, 1, 1u << C, 1u << C), HA_ESTALE);
    assert_int_equal(play_sync(play)->count, 2);
    assert_int_equal(try_force(play, 1, 1u << B, 1u << B), HA_OK);
    assert_int_equal(try_force(play, 1, 1u << B, 1u << B), HA_ESTALE);
    assert_int_equal(play_sync(play)->count, 1);
    /* Beyond what is remembered one by one, only the primary can show what was acknowledged. */
    for (uint32_t i = 1; i < HA_SYNC_SETS; i++)
        assert_int_equal(try_intend(play, 1, 1u << (i % 2 == 0 ? B : C), 0), HA_OK);
    assert_int_equal(try_intend(play, 1, 1u << B | 1u << C, 0), HA_OK);
    assert_int_equal(play_sync(play)->count, HA_SYNC_SETS);
    assert_int_equal(
        ha_cluster_sync_check(world_service(play->world), 1u << B | 1u << C, &play->world->err),
        HA_EDENIED);
    play_free(play);
}

static int try_seal(struct play *play, uint32_t sealed)
{
    struct ha_command command = {.kind = HA_COMMAND_FENCED};

    command.u.fenced.ref =
        (struct ha_ref){world_service(play->world)->id, world_epoch(play->world)};
    command.u.fenced.how = HA_FENCE_SEALED;
    command.u.fenced.sealed = sealed;
    return ha_cluster_apply(&play->world->w->cluster, play->world->w->cluster.index + 1, &command,
                            &play->world->err);
}

static void test_seal_is_a_fence_when_it_satisfies_each_set(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    assert_int_equal(try_intend(play, 1, 1u << B, 0), HA_OK);
    assert_int_equal(world_begin(play->world, HA_REASON_OPERATOR, B), HA_OK);
    assert_int_equal(try_seal(play, 0), HA_EDENIED);
    assert_int_equal(try_seal(play, 1u << B), HA_EDENIED); /* enough of the new set only */
    assert_int_equal(try_seal(play, 1u << C), HA_EDENIED);
    assert_int_equal(try_seal(play, 1u << B | 1u << C), HA_OK);
    assert_int_equal(world_service(play->world)->fence, HA_FENCE_SEALED);
    play_free(play);
    play = play_serving(HA_DURABILITY_SYNC);
    assert_int_equal(world_begin(play->world, HA_REASON_OPERATOR, B), HA_OK);
    assert_int_equal(try_seal(play, 1u << B | 1u << C), HA_EDENIED);
    play_free(play);
}

/* Every order in which replicas are lost and come back, with the primary lost at its end. */
static void walk(enum ha_durability durability, uint32_t code, uint32_t depth)
{
    struct play *play = play_serving(durability);
    uint64_t acked;

    for (uint32_t i = 0; i < depth; i++, code /= 4) {
        if (code % 4 < 2)
            play->gone[B + code % 4] = !play->gone[B + code % 4];
        play_rounds(play, code % 4 == 3 ? 6 : 1, true); /* shorter and longer than the grace */
    }
    acked = play_sync(play)->alone ? 0 : play->acked;
    play_primary_dies(play);
    if (play->promoted != HA_MEMBER_NONE)
        assert_true(play->pos[play->promoted] >= acked);
    else {
        /* Nobody is lost for good: then somebody can be proven. */
        play->gone[B] = play->gone[C] = false;
        play->refused = false;
        for (uint32_t i = 0; i < 40 && play->promoted == HA_MEMBER_NONE; i++)
            play_rounds(play, 1, false);
        assert_true(play->promoted != HA_MEMBER_NONE);
        assert_true(play->pos[play->promoted] >= acked);
    }
    play_free(play);
}

static void test_every_order_of_loss_and_return(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 256; code++) {
        walk(HA_DURABILITY_STRICT, code, 4);
        walk(HA_DURABILITY_SYNC, code, 4);
    }
}

static void test_replicas_leave_and_come_back(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_SYNC);

    (void)state;
    play->gone[C] = true;
    play_rounds(play, 12, true);
    assert_int_equal(play_sync(play)->sets[0].set.members, 1u << B);
    play->gone[B] = true;
    play_rounds(play, 12, true);
    assert_true(play_sync(play)->alone && play_sync(play)->in_force);
    assert_int_equal(play->names.need, 0);
    play->gone[B] = play->gone[C] = false;
    play_rounds(play, 12, true);
    assert_false(play_sync(play)->alone);
    assert_int_equal(play_sync(play)->count, 1);
    assert_int_equal(play->names.members, 1u << B | 1u << C);
    play_free(play);
    play = play_serving(HA_DURABILITY_STRICT);
    play->gone[B] = play->gone[C] = true;
    play_rounds(play, 20, true);
    assert_false(play_sync(play)->alone);
    assert_int_equal(play->names.need, 1);
    play_free(play);
}

/* A primary that was promoted anew: its standbys come back as what they were told to be before. */
static void test_one_with_the_name_of_another_epoch_does_not_count(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    play->named[C] = 99;
    play->deaf[C] = true;
    play_rounds(play, 12, true);
    assert_int_equal(play->names.members, 1u << B);
    play->deaf[C] = false;
    play_rounds(play, 12, true);
    assert_int_equal(play->named[C], world_epoch(play->world));
    assert_int_equal(play->names.members, 1u << B | 1u << C);
    play_free(play);
}

static void test_one_that_started_anew_proves_nothing_until_it_enters(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    play->instance[C] = 0x999; /* and the primary is lost before the leader took it in */
    play_primary_dies(play);
    assert_int_equal(play->promoted, HA_MEMBER_NONE);
    assert_true(play->refused);
    play_free(play);
    play = play_serving(HA_DURABILITY_STRICT);
    play->instance[C] = 0x999;
    play_rounds(play, 12, true);
    play_primary_dies(play);
    assert_true(play->promoted != HA_MEMBER_NONE);
    play_free(play);
}

/* It follows what the primary's restart without data began: no entry makes it known. */
static void test_one_with_a_strange_history_enters_once(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    play->lineage[C] = LINEAGE + 900;
    play->commits = 20;
    play_rounds(play, 12, true);
    assert_in_range(play->commits, 18, 19);
    play_free(play);
}

static void test_strict_needs_the_seal_and_sync_a_fresh_word(void **state)
{
    static const enum ha_durability both[] = {HA_DURABILITY_STRICT, HA_DURABILITY_SYNC};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(both); i++) {
        struct play *play = play_serving(both[i]);

        play->deaf[C] = true;
        play_primary_dies(play);
        assert_int_equal(play->promoted, HA_MEMBER_NONE);
        assert_true(play->refused);
        play->deaf[C] = false;
        play_rounds(play, 10, false);
        assert_true(play->promoted != HA_MEMBER_NONE);
        play_free(play);
    }
}

static void test_a_set_is_in_the_log_before_the_server_is_told(void **state)
{
    struct play *play = play_new(HA_DURABILITY_STRICT);

    (void)state;
    for (uint32_t m = A; m <= C; m++)
        play_hear(play, m);
    world_reach(play->world, A, HA_GATE_BPF, HA_STATE_OPENING);
    play->deaf[A] = true;
    for (uint32_t m = A; m <= C; m++) {
        const struct ha_heartbeat beat = world_beat(play->world, m);
        const struct ha_order *order;

        world_hear(play->world, m, &beat); /* and nothing that is proposed commits */
        order = effects_order(play->world->out, "ag-a");
        assert_true(order == NULL || order->kind != HA_ORDER_SERVE);
    }
    play_free(play);
}

/* The agent's side */

static void test_seal_is_told_once_durable_and_done(void **state)
{
    struct hand *hand = hand_new();
    struct ha_effect_epochs note;

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_SEAL, 6);
    assert_non_null(effects_find(hand->out, HA_EFFECT_ACT));
    assert_int_equal(effects_find(hand->out, HA_EFFECT_ACT)->u.act.kind, HA_ORDER_SEAL);
    note = effects_find(hand->out, HA_EFFECT_PERSIST_EPOCHS)->u.epochs;
    assert_int_equal(note.sealed, 6);
    assert_int_equal(note.epoch_seen, 6);
    hand_noted(hand);
    assert_int_equal(hand_asks(hand)->sealed, 0); /* the database has not said so */
    hand_restart(hand);
    hand_as_replica(hand);
    assert_int_equal(hand_asks(hand)->sealed, 0); /* nor to this run of the agent */
    hand_order(hand, HA_ORDER_FOLLOW, 5);
    assert_null(effects_find(hand->out, HA_EFFECT_ACT)); /* nothing of an older epoch again */
    hand_free(hand);
}

/* Where nobody runs who could be promoted, a database is started as a replica of nobody: it
 * receives nothing, so what its seal proved stays proven; only an upstream undoes it. */
static void test_a_start_without_upstream_keeps_the_seal(void **state)
{
    struct ha_order order = {.service = HAND_SERVICE, .member = B, .kind = HA_ORDER_FOLLOW};
    struct ha_event event = {.kind = HA_EVENT_ORDER, .u.order = &order};
    struct hand *hand = hand_new();

    (void)state;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_SEAL, 6);
    hand_acted(hand, HA_OK, HA_ROLE_REPLICA);
    hand_settle(hand);
    assert_true(hand_held(hand)->seal_done);
    order.epoch = 7;
    order.index = ++hand->index;
    hand_step(hand, &event);
    assert_int_equal(effects_find(hand->out, HA_EFFECT_ACT)->u.act.kind, HA_ORDER_FOLLOW);
    assert_int_equal(effects_find(hand->out, HA_EFFECT_PERSIST_EPOCHS)->u.epochs.sealed, 6);
    assert_true(hand_held(hand)->seal_done);
    hand_acted(hand, HA_OK, HA_ROLE_REPLICA);
    hand_settle(hand);
    hand_order(hand, HA_ORDER_FOLLOW, 7);
    assert_int_equal(effects_find(hand->out, HA_EFFECT_PERSIST_EPOCHS)->u.epochs.sealed, 0);
    hand_free(hand);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_names_carry_the_epoch),
    cmocka_unit_test(test_sets_that_are_refused),
    cmocka_unit_test(test_seal_is_a_fence_when_it_satisfies_each_set),
    cmocka_unit_test(test_every_order_of_loss_and_return),
    cmocka_unit_test(test_replicas_leave_and_come_back),
    cmocka_unit_test(test_one_with_the_name_of_another_epoch_does_not_count),
    cmocka_unit_test(test_one_that_started_anew_proves_nothing_until_it_enters),
    cmocka_unit_test(test_one_with_a_strange_history_enters_once),
    cmocka_unit_test(test_strict_needs_the_seal_and_sync_a_fresh_word),
    cmocka_unit_test(test_a_set_is_in_the_log_before_the_server_is_told),
    cmocka_unit_test(test_seal_is_told_once_durable_and_done),
    cmocka_unit_test(test_a_start_without_upstream_keeps_the_seal),
};

HA_TEST_MAIN("core/sync", tests)
