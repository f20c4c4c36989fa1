/* Durability: the sets a primary waits for, the proof a successor needs, the seal. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/core/cluster_parts.h"
#include "lib/core/sync.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

enum { ROUND_MS = 200, GRACE_MS = 500 };

/* A primary that writes and standbys that replicate, around a leader whose proposals commit. */
struct play {
    struct world *world;
    uint64_t pos[4];
    bool gone[4];
    uint64_t instance[4];
    struct ha_sync_set names; /* in effect on the primary */
    uint64_t index, epoch;
    uint64_t acked;
    uint64_t sealed[4], reported[4];
    bool deaf[4];      /* does not do what it is told */
    uint32_t promoted; /* what the leader chose */
    bool refused;      /* it chose nobody */
};

static struct play *play_new(enum ha_durability durability)
{
    struct play *play = calloc(1, sizeof(*play));

    assert_non_null(play);
    play->world = world_bare(3, 0);
    play->world->config->services[0].engine = HA_ENGINE_POSTGRESQL;
    play->world->config->services[0].durability = durability;
    play->world->config->services[0].sync_grace_ms = GRACE_MS;
    play->world = world_start(play->world, 3);
    for (uint32_t m = A; m <= C; m++) {
        play->pos[m] = HEAD;
        play->instance[m] = INSTANCE(m);
    }
    return play;
}

static void play_free(struct play *play)
{
    world_free(play->world);
    free(play);
}

static void take_effects(struct play *play);

static void commit(struct play *play, const struct ha_command *command)
{
    struct ha_command copy = *command;

    assert_int_equal(world_commit(play->world, &copy), HA_OK);
    take_effects(play);
}

static void take_order(struct play *play, uint32_t member, const struct ha_order *order)
{
    if (play->gone[member] || play->deaf[member])
        return;
    if (order->kind == HA_ORDER_SERVE && member == A) {
        play->names = order->sync;
        play->index = order->sync_index;
        play->epoch = order->epoch;
    }
    if (order->kind == HA_ORDER_SEAL)
        play->sealed[member] = order->epoch;
    if (order->kind == HA_ORDER_REPORT)
        play->reported[member] = order->epoch;
}

/* At most one entry comes out of a step here, and its commit clears the list. */
static void take_effects(struct play *play)
{
    static struct ha_effects now;

    memcpy(&now, play->world->out, sizeof(now));
    for (uint32_t i = 0; i < now.count; i++) {
        const struct ha_effect *effect = &now.items[i];

        if (effect->kind == HA_EFFECT_ORDER)
            take_order(play, (uint32_t)(effect->u.order.agent[3] - 'a' + 1),
                       &effect->u.order.order);
        if (effect->kind != HA_EFFECT_PROPOSE)
            continue;
        if (effect->u.command.kind == HA_COMMAND_PROMOTE)
            play->promoted = effect->u.command.u.promote.member;
        play->refused = play->refused || effect->u.command.kind == HA_COMMAND_NONE;
    }
    for (uint32_t i = 0; i < now.count; i++)
        if (now.items[i].kind == HA_EFFECT_PROPOSE &&
            (now.items[i].u.command.kind == HA_COMMAND_SYNC_INTEND ||
             now.items[i].u.command.kind == HA_COMMAND_SYNC_FORCE ||
             now.items[i].u.command.kind == HA_COMMAND_NONE)) {
            const struct ha_command command = now.items[i].u.command;

            commit(play, &command);
            return;
        }
}

static void hear(struct play *play, uint32_t member)
{
    struct ha_heartbeat beat = world_beat(play->world, member);
    struct ha_status *status = &beat.status;
    char names[4][HA_NAME_SIZE] = {"", "a", "b", "c"}, text[HA_SYNC_NAMES_SIZE];

    beat.instance = play->instance[member];
    status->sample.position.offset = play->pos[member];
    status->sealed = play->sealed[member];
    if (play->reported[member] != 0) {
        status->order = HA_ORDER_REPORT;
        status->order_epoch = play->reported[member];
        status->result = HA_RESULT_DONE;
    }
    if (status->epoch != 0) {
        ha_sync_names(text, &play->names, (const char(*)[HA_NAME_SIZE])names, play->epoch);
        status->sample.sync_id = ha_sync_id(text);
        status->order = HA_ORDER_SERVE;
        status->order_epoch = status->epoch;
        status->result = HA_RESULT_DONE;
        status->sync_index = play->index;
        status->settled = play->index != 0;
    }
    world_hear(play->world, member, &beat);
    take_effects(play);
}

/* Replicates, acknowledges, is heard. */
static void rounds(struct play *play, uint32_t count, bool primary)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t having = 0;

        if (primary)
            play->pos[A] += 10;
        for (uint32_t m = B; m <= C; m++) {
            if (!primary || play->gone[m])
                continue;
            play->pos[m] = play->pos[A];
            having += (play->names.members >> m & 1u) != 0;
        }
        if (primary && play->names.need > 0 && having >= play->names.need)
            play->acked = play->pos[A];
        world_tick(play->world, ROUND_MS);
        take_effects(play);
        for (uint32_t m = A; m <= C; m++)
            if (m == A ? primary : !play->gone[m])
                hear(play, m);
    }
}

static const struct ha_sync *sync_of(const struct play *play)
{
    return &world_service(play->world)->sync;
}

/* The first primary serves and a set is in force. */
static struct play *play_serving(enum ha_durability durability)
{
    struct play *play = play_new(durability);

    for (uint32_t m = A; m <= C; m++)
        hear(play, m);
    world_reach(play->world, A, HA_GATE_BPF, HA_STATE_OPENING);
    rounds(play, 2, true);
    assert_int_equal(sync_of(play)->count, 1);
    assert_int_equal(world_outcome(play->world, HA_COMMAND_OPENED), HA_OK);
    take_effects(play);
    assert_int_equal(world_outcome(play->world, HA_COMMAND_REPOINTED), HA_OK);
    take_effects(play);
    rounds(play, 8, true);
    assert_true(sync_of(play)->in_force);
    assert_int_equal(sync_of(play)->count, 1);
    assert_int_equal(sync_of(play)->sets[0].set.need, 1);
    assert_int_equal(sync_of(play)->sets[0].set.members, 1u << B | 1u << C);
    return play;
}

static void primary_dies(struct play *play)
{
    struct ha_heartbeat beat = world_beat(play->world, A);

    beat.status.process = HA_PROCESS_GONE;
    world_hear(play->world, A, &beat);
    play->promoted = HA_MEMBER_NONE;
    play->refused = false;
    assert_int_equal(world_give_up(play->world, world_epoch(play->world), A, INSTANCE(A)), HA_OK);
    take_effects(play);
    for (uint32_t i = 0; i < 20 && play->promoted == HA_MEMBER_NONE && !play->refused; i++)
        rounds(play, 1, false);
}

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
    assert_int_equal(sync_of(play)->count, 2);
    assert_int_equal(try_force(play, 1, 1u << B, 1u << B), HA_OK);
    assert_int_equal(try_force(play, 1, 1u << B, 1u << B), HA_ESTALE);
    assert_int_equal(sync_of(play)->count, 1);
    /* Beyond what is remembered one by one, only the primary can show what was acknowledged. */
    for (uint32_t i = 1; i < HA_SYNC_SETS; i++)
        assert_int_equal(try_intend(play, 1, 1u << (i % 2 == 0 ? B : C), 0), HA_OK);
    assert_int_equal(try_intend(play, 1, 1u << B | 1u << C, 0), HA_OK);
    assert_int_equal(sync_of(play)->count, HA_SYNC_SETS);
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
        rounds(play, code % 4 == 3 ? 6 : 1, true); /* shorter and longer than the grace */
    }
    acked = sync_of(play)->alone ? 0 : play->acked;
    primary_dies(play);
    if (play->promoted != HA_MEMBER_NONE)
        assert_true(play->pos[play->promoted] >= acked);
    else {
        /* Nobody is lost for good: then somebody can be proven. */
        play->gone[B] = play->gone[C] = false;
        play->refused = false;
        for (uint32_t i = 0; i < 40 && play->promoted == HA_MEMBER_NONE; i++)
            rounds(play, 1, false);
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
    rounds(play, 12, true);
    assert_int_equal(sync_of(play)->sets[0].set.members, 1u << B);
    play->gone[B] = true;
    rounds(play, 12, true);
    assert_true(sync_of(play)->alone && sync_of(play)->in_force);
    assert_int_equal(play->names.need, 0);
    play->gone[B] = play->gone[C] = false;
    rounds(play, 12, true);
    assert_false(sync_of(play)->alone);
    assert_int_equal(sync_of(play)->count, 1);
    assert_int_equal(play->names.members, 1u << B | 1u << C);
    play_free(play);
    play = play_serving(HA_DURABILITY_STRICT);
    play->gone[B] = play->gone[C] = true;
    rounds(play, 20, true);
    assert_false(sync_of(play)->alone);
    assert_int_equal(play->names.need, 1);
    play_free(play);
}

static void test_one_that_started_anew_proves_nothing_until_it_enters(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    play->instance[C] = 0x999; /* and the primary is lost before the leader took it in */
    primary_dies(play);
    assert_int_equal(play->promoted, HA_MEMBER_NONE);
    assert_true(play->refused);
    play_free(play);
    play = play_serving(HA_DURABILITY_STRICT);
    play->instance[C] = 0x999;
    rounds(play, 12, true);
    primary_dies(play);
    assert_true(play->promoted != HA_MEMBER_NONE);
    play_free(play);
}

static void test_strict_needs_the_seal_and_sync_a_fresh_word(void **state)
{
    static const enum ha_durability both[] = {HA_DURABILITY_STRICT, HA_DURABILITY_SYNC};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(both); i++) {
        struct play *play = play_serving(both[i]);

        play->deaf[C] = true;
        primary_dies(play);
        assert_int_equal(play->promoted, HA_MEMBER_NONE);
        assert_true(play->refused);
        play->deaf[C] = false;
        rounds(play, 10, false);
        assert_true(play->promoted != HA_MEMBER_NONE);
        play_free(play);
    }
}

static void test_a_set_is_in_the_log_before_the_server_is_told(void **state)
{
    struct play *play = play_new(HA_DURABILITY_STRICT);

    (void)state;
    for (uint32_t m = A; m <= C; m++)
        hear(play, m);
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
    cmocka_unit_test(test_one_that_started_anew_proves_nothing_until_it_enters),
    cmocka_unit_test(test_strict_needs_the_seal_and_sync_a_fresh_word),
    cmocka_unit_test(test_a_set_is_in_the_log_before_the_server_is_told),
    cmocka_unit_test(test_seal_is_told_once_durable_and_done),
    cmocka_unit_test(test_a_start_without_upstream_keeps_the_seal),
};

HA_TEST_MAIN("core/sync", tests)
