/* The seal met by everything that can go wrong around it: who is chosen holds what was
 * acknowledged, or nobody is. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/prng.h"
#include "lib/base/text.h"
#include "lib/core/cluster_parts.h"
#include "lib/core/switchover.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/play.h"

enum { OTHER = 0x999 };

static void assert_holds(const struct play *play, uint64_t acked)
{
    assert_true(play->promoted != HA_MEMBER_NONE);
    assert_true(play->pos[play->promoted] >= acked);
}

static void commit_promote(struct play *play)
{
    assert_int_equal(world_commit(play->world, &play->promote), HA_OK);
    assert_int_equal(world_service(play->world)->state, HA_STATE_PROMOTING);
}

static void test_a_candidate_that_fails_after_the_seal(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);
    uint64_t sealed;
    uint32_t first;

    (void)state;
    play_primary_dies(play);
    assert_holds(play, play->acked);
    first = play->promoted;
    sealed = play->sealed[B + C - first];
    commit_promote(play);
    assert_int_equal(world_outcome(play->world, HA_COMMAND_FAILED), HA_OK);
    /* What was sealed stays sealed: the next one is chosen by the same seals, under a new epoch. */
    play->deaf[B + C - first] = true;
    play_selects(play, 20);
    assert_int_equal(play->promoted, B + C - first);
    assert_int_equal(play->sealed[play->promoted], sealed);
    assert_true(sealed < world_epoch(play->world));
    assert_holds(play, play->acked);
    commit_promote(play);
    /* And when that one fails too, nobody is taken who was not proven. */
    assert_int_equal(world_outcome(play->world, HA_COMMAND_FAILED), HA_OK);
    play_selects(play, 20);
    assert_true(play->refused);
    play_free(play);
}

/* Another watcher leads from here on: it knows the log and nothing else. */
static void leader_dies(struct play *play)
{
    world_lead(play->world, false);
    memset(play->world->w->services, 0, sizeof(play->world->w->services));
    world_lead(play->world, true);
}

static void test_a_leader_that_dies_in_the_seal(void **state)
{
    (void)state;
    for (uint32_t after = 0; after < 6; after++) {
        struct play *play = play_serving(HA_DURABILITY_STRICT);

        play->deaf[C] = true;
        play_primary_ends(play);
        play_rounds(play, after, false);
        assert_int_equal(play->sealed[C], 0);
        assert_int_equal(play->promoted, HA_MEMBER_NONE);
        leader_dies(play);
        play->deaf[C] = false;
        play_selects(play, 20);
        assert_int_equal(play->sealed[C], world_epoch(play->world));
        assert_holds(play, play->acked);
        commit_promote(play);
        play_free(play);
    }
}

static void test_an_unsealed_member_with_more_data(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    /* Of the set, and it has not stopped receiving: what it has proves nothing yet. */
    play->deaf[C] = true;
    play->pos[C] += 500;
    play_primary_dies(play);
    assert_true(play->refused);
    play_free(play);
    /* Not of the set: it may have more of what nobody was told, and less of what somebody was. */
    play = play_serving(HA_DURABILITY_STRICT);
    play->gone[C] = true;
    play_rounds(play, 12, true);
    assert_int_equal(play_sync(play)->sets[0].set.members, 1u << B);
    play->commits = 0;
    play->gone[B] = true;
    play->gone[C] = false;
    play_rounds(play, 2, true);
    play->pos[C] += 500;
    play_primary_dies(play);
    assert_true(play->refused);
    /* Once the one that counts has shown how much that is, more is no fault. */
    play->gone[B] = false;
    play_selects(play, 40);
    assert_int_equal(play->promoted, C);
    assert_holds(play, play->acked);
    play_free(play);
}

static void test_a_seal_of_an_older_epoch(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);
    struct hand *hand = hand_new();

    (void)state;
    for (uint32_t m = B; m <= C; m++) {
        play->deaf[m] = true;
        play->sealed[m] = world_service(play->world)->open_epoch;
    }
    play_primary_dies(play);
    assert_true(play->refused);
    play_free(play);
    /* The agent: told late, after it was told to follow under a newer epoch. */
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_FOLLOW, 7);
    hand_acted(hand, HA_OK, HA_ROLE_REPLICA);
    hand_settle(hand);
    hand_order(hand, HA_ORDER_SEAL, 6);
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    assert_int_equal(hand_asks(hand)->sealed, 0);
    hand_free(hand);
}

/* One that was cut off is told late that its own epoch is over, and only by the seal of a later
 * one: whoever waits for its word waits for ever otherwise (strict with hold). */
static void test_a_holder_of_an_older_epoch(void **state)
{
    struct hand *hand = hand_new();

    (void)state;
    hand_as_holder(hand, 5);
    hand_order(hand, HA_ORDER_SEAL, 5); /* not of a later one */
    assert_true(hand_gate_is_open(hand));
    hand_order(hand, HA_ORDER_SEAL, 7);
    assert_false(hand_gate_is_open(hand));
    hand_settle(hand);
    assert_int_equal(hand_asks(hand)->given_up, 5);
    assert_int_equal(hand_held(hand)->order.kind, HA_ORDER_SEAL);
    assert_int_not_equal(hand_held(hand)->ticket, 0);
    assert_int_equal(hand_asks(hand)->epoch_seen, 7);
    hand_free(hand);
}

/* The agent ends between the seal and the promotion, and a watcher that led once speaks first. */
static void test_a_sealed_agent_that_starts_anew(void **state)
{
    struct hand *hand = hand_new();
    struct ha_sample sealed = hand_sample_of(HA_ROLE_REPLICA);
    struct ha_event event = {.kind = HA_EVENT_ACTED};

    (void)state;
    sealed.link_up = false;
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_SEAL, 6);
    event.u.acted = (struct ha_event_acted){.service = HAND_SERVICE,
                                            .ticket = hand_held(hand)->ticket,
                                            .code = HA_OK,
                                            .text = "",
                                            .sample = &sealed};
    hand_step(hand, &event);
    assert_int_equal(hand_asks(hand)->sealed, 0); /* not on disk: it does not count */
    hand_restart(hand);                           /* and it is not there after a restart */
    hand_as_replica(hand);
    assert_int_equal(hand_held(hand)->sealed, 0);
    hand_order(hand, HA_ORDER_SEAL, 6);
    hand_noted(hand);
    hand_restart(hand);
    hand_as_replica(hand);
    hand_order(hand, HA_ORDER_FOLLOW, 5);
    assert_null(effects_find(hand->out, HA_EFFECT_ACT));
    assert_int_equal(hand_held(hand)->sealed, 6);
    /* The database may not have been told before the agent ended: it counts when it is told again.
     */
    hand_sampled(hand, PID, &sealed);
    assert_int_equal(hand_asks(hand)->sealed, 0);
    hand_order(hand, HA_ORDER_SEAL, 6);
    hand_noted(hand);
    event.u.acted.ticket = hand_held(hand)->ticket;
    hand_step(hand, &event);
    assert_int_equal(hand_asks(hand)->sealed, 6);
    /* Somebody made the database receive again behind the agent's back. */
    sealed.link_up = true;
    hand_sampled(hand, PID, &sealed);
    assert_int_equal(hand_asks(hand)->sealed, 0);
    hand_free(hand);
}

/* It was chosen by what it showed when it was sealed, and its database came back empty while nobody
 * looked: a promotion, also a late one, is not for that. */
static void test_promotion_is_for_the_run_that_was_sealed(void **state)
{
    static const enum ha_order_kind orders[] = {HA_ORDER_SEAL, HA_ORDER_PROMOTE};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct hand *hand = hand_new();
        struct ha_sample sample = hand_sample_of(HA_ROLE_REPLICA);
        const uint64_t other = i % 2;

        hand_as_replica(hand);
        hand_order(hand, orders[i / 2], 6);
        hand_noted(hand);
        hand_restart(hand);
        hand_settings(hand);
        hand_process(hand, HA_PROCESS_RUNNING, PID + other);
        hand_order(hand, HA_ORDER_PROMOTE, 6); /* it has not said anything yet */
        assert_null(effects_find(hand->out, HA_EFFECT_ACT));
        sample.run_id = RUN + other;
        hand_sampled(hand, PID + other, &sample);
        hand_order(hand, HA_ORDER_PROMOTE, 6);
        if (other != 0) {
            assert_null(effects_find(hand->out, HA_EFFECT_ACT));
            hand_settle(hand);
            assert_int_equal(hand_asks(hand)->given_up, 6);
            hand_order(hand, HA_ORDER_PROMOTE, 7); /* chosen by what it shows now */
        }
        assert_non_null(effects_find(hand->out, HA_EFFECT_ACT));
        hand_free(hand);
    }
}

static void test_a_member_that_is_not_what_it_was(void **state)
{
    (void)state;
    for (uint32_t row = 0; row < 3; row++) {
        struct play *play = play_serving(HA_DURABILITY_STRICT);

        if (row == 0)
            play->instance[C] = OTHER; /* the host started anew: its disk may have been put back */
        else if (row == 1)
            play->lineage[C] = OTHER; /* other data under the old instance */
        else
            play->pos[C] = HEAD - 500; /* less than it had when it was counted on */
        play->commits = 0;
        play_primary_dies(play);
        assert_true(play->refused);
        assert_int_equal(play->promoted, HA_MEMBER_NONE);
        play_free(play);
    }
}

/* Under writes whoever was heard a moment earlier seems to have less: a switchover can go to it. */
static void test_a_target_that_was_heard_earlier(void **state)
{
    (void)state;
    for (uint32_t row = 0; row < 3; row++) {
        struct play *play = play_serving(row == 0 ? HA_DURABILITY_SYNC : HA_DURABILITY_STRICT);
        struct ha_plan plan;

        play->pos[C] += row < 2 ? 60 : HA_SWITCHOVER_LAG_MAX + 1;
        play_hear(play, C);
        ha_plan_switchover(play->world->w, world_service(play->world), B, play->world->now_ms,
                           &plan);
        assert_int_equal(plan.fits[B - A].fitness, row < 2 ? HA_FIT_CHOSEN : HA_FIT_UNPROVEN);
        /* When the primary has ended, what it has is all it will get. */
        play->lags[B] = true;
        play_primary_dies(play);
        assert_int_equal(play->promoted, C);
        play_free(play);
    }
}

/* Durability is lowered, and the primary is lost before the log has it that it waits for nobody. */
static void test_a_lower_durability_binds_until_it_is_in_the_log(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    play->commits = 0;
    play->unheard[C] = play->lags[B] = true;
    play_rounds(play, 2, true);
    play->world->config->services[0].durability = HA_DURABILITY_ASYNC;
    assert_int_equal(world_apply_config(play->world), HA_OK);
    play_primary_dies(play);
    assert_true(play->refused);
    assert_int_equal(play->promoted, HA_MEMBER_NONE);
    play->unheard[C] = false;
    play_selects(play, 20);
    assert_holds(play, play->acked);
    play_free(play);
    /* Once it is, whoever is there may go on. */
    play = play_serving(HA_DURABILITY_STRICT);
    play->unheard[C] = play->lags[B] = true;
    play->world->config->services[0].durability = HA_DURABILITY_ASYNC;
    assert_int_equal(world_apply_config(play->world), HA_OK);
    play_rounds(play, 4, true);
    assert_true(play_sync(play)->alone);
    play_primary_dies(play);
    assert_int_equal(play->promoted, B);
    play_free(play);
}

/* The last primary is to succeed itself, as the leader would say it. */
static void choose_again(struct play *play, struct ha_fit fit)
{
    fit.member = A;
    fit.fitness = HA_FIT_CHOSEN;
    play_primary_ends(play);
    play->promote = (struct ha_command){.kind = HA_COMMAND_PROMOTE};
    play->promote.u.promote = (struct ha_command_promote){
        .ref = {world_service(play->world)->id, world_epoch(play->world)},
        .member = A,
        .instance = INSTANCE(A),
        .gate = HA_GATE_BPF,
        .fit_count = 1,
        .fits = {fit}};
}

/* The last primary holds what it acknowledged, while it lacks nothing that it was seen with. */
static void test_the_last_primary_proves_itself_by_its_position(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    choose_again(play, (struct ha_fit){.behind = 10});
    assert_int_equal(world_commit(play->world, &play->promote), HA_EDENIED);
    play->promote.u.promote.fits[0].behind = 0;
    commit_promote(play);
    play_free(play);
}

static void primary_again(struct play *play, uint64_t offset)
{
    choose_again(play, (struct ha_fit){.offset = offset});
    commit_promote(play);
    assert_int_equal(world_outcome(play->world, HA_COMMAND_PROMOTED), HA_OK);
}

/* It may have gone on by the names of its last epoch until it serves the next: whom they wait for
 * counts until a set of the new epoch is in force, and so does what it had when it was chosen. */
static void test_the_same_primary_again_keeps_its_sets(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);
    struct ha_sync before = *play_sync(play);

    (void)state;
    primary_again(play, HEAD);
    assert_false(play_sync(play)->in_force);
    assert_int_equal(play_sync(play)->floor, HEAD);
    assert_int_equal(play_sync(play)->count, 1);
    assert_memory_equal(&play_sync(play)->sets[0].set, &before.sets[0].set,
                        sizeof(before.sets[0].set));
    for (uint32_t i = 1; i < 3; i++)
        assert_int_not_equal(world_service(play->world)->members[i].sync.since, 0);
    play_free(play);
}

/* Started anew it shows commits that nobody was told of: they count, and the same set is in force
 * once it holds them too. */
static void test_the_same_primary_again_waits_for_what_it_shows(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    play->lags[B] = play->lags[C] = true;
    play->pos[A] += 500;
    primary_again(play, play->pos[A]);
    play_rounds(play, 2, true);
    assert_int_equal(world_outcome(play->world, HA_COMMAND_OPENED), HA_OK);
    assert_int_equal(world_outcome(play->world, HA_COMMAND_REPOINTED), HA_OK);
    play_rounds(play, 8, true);
    assert_int_equal(play_sync(play)->count, 1);
    assert_false(play_sync(play)->in_force);
    play->lags[C] = false;
    play_rounds(play, 8, true);
    assert_true(play_sync(play)->in_force);
    play_free(play);
}

/* Fenced, the last primary may leave the configuration, or get another agent: who comes instead
 * does not speak for what it had. */
static void test_a_new_member_is_not_the_last_primary(void **state)
{
    (void)state;
    for (uint32_t row = 0; row < 4; row++) {
        struct play *play = play_serving(row < 2 ? HA_DURABILITY_STRICT : HA_DURABILITY_SYNC);
        struct ha_member_config *member = &play->world->config->services[0].members[0];

        play_rounds(play, 3, true);
        play->unheard[B] = play->unheard[C] = true;
        play_primary_dies(play);
        assert_true(play->refused);
        assert_int_equal(world_service(play->world)->state, HA_STATE_NO_CANDIDATE);
        (void)ha_text_copy(row % 2 == 0 ? member->name : member->agent, HA_NAME_SIZE, "dbd");
        assert_int_equal(world_apply_config(play->world), HA_OK);
        assert_int_not_equal(world_service(play->world)->members[0].id, A);
        /* An old copy, as far as the log was told: less than was acknowledged. */
        play->instance[A] = OTHER;
        play->pos[A] = world_service(play->world)->position.offset;
        assert_true(play->pos[A] < play->acked);
        for (uint32_t i = 0; i < 20 && play->promoted == HA_MEMBER_NONE; i++) {
            play_rounds(play, 1, false);
            play_hear(play, A);
        }
        assert_int_equal(play->promoted, HA_MEMBER_NONE);
        play_free(play);
    }
}

static void test_durability_does_not_change_under_a_failover(void **state)
{
    struct play *play = play_serving(HA_DURABILITY_STRICT);

    (void)state;
    play->gone[B] = play->gone[C] = true;
    play_primary_dies(play);
    assert_true(play->refused);
    play->world->config->services[0].durability = HA_DURABILITY_SYNC;
    assert_int_equal(world_apply_config(play->world), HA_EBUSY);
    play->world->config->services[0].durability = HA_DURABILITY_STRICT;
    assert_int_equal(world_apply_config(play->world), HA_OK);
    play_free(play);
}

static void test_strict_of_one_is_refused(void **state)
{
    struct play *play = play_new(HA_DURABILITY_STRICT);

    (void)state;
    play->world->config->services[0].member_count = 1;
    assert_int_equal(world_apply_config(play->world), HA_EDENIED);
    assert_non_null(strstr(play->world->err.text, "strict needs a replica"));
    play->world->config->services[0].durability = HA_DURABILITY_SYNC;
    assert_int_equal(world_apply_config(play->world), HA_OK);
    play_free(play);
}

/* Changes of a set, each stopped after every number of entries, with the server told, told and
 * silent about it, or not told at all. */

enum change { LEAVES, BOTH_LEAVE, RETURNS, IS_UNHEARD, IS_REPLACED, CHANGES };
enum server { OBEYS, MUMBLES, IS_DEAF, SERVERS };

static void make_change(struct play *play, enum change change)
{
    if (change == RETURNS) {
        play->gone[C] = true;
        play_rounds(play, 12, true);
        assert_int_equal(play_sync(play)->sets[0].set.members, 1u << B);
        play->gone[C] = false;
    }
    play->gone[C] = play->gone[C] || change == LEAVES || change == BOTH_LEAVE;
    play->gone[B] = change == BOTH_LEAVE;
    /* The watchers lose the one that acknowledges; the one they hear has nothing of it. */
    play->unheard[C] = play->lags[B] = change == IS_UNHEARD;
    if (change == IS_REPLACED)
        play->instance[C] = OTHER;
}

static void walk_change(enum ha_durability durability, enum change change, uint32_t entries,
                        enum server server)
{
    struct play *play = play_serving(durability);
    uint64_t acked;

    make_change(play, change);
    play->commits = entries;
    play->mumbles = server == MUMBLES;
    play->deaf[A] = server == IS_DEAF;
    play_rounds(play, 8, true);
    acked = play_sync(play)->alone ? 0 : play->acked;
    /* Alone is in the log before the server acknowledges alone. */
    assert_true(play->names.need > 0 || play_sync(play)->alone);
    play_primary_dies(play);
    if (play->promoted == HA_MEMBER_NONE) {
        play->gone[B] = play->gone[C] = play->unheard[C] = false;
        play_selects(play, 40);
    }
    if (play->promoted != HA_MEMBER_NONE)
        assert_true(play->pos[play->promoted] >= acked);
    else
        assert_int_equal(change, IS_REPLACED); /* only what is not there any more is missed */
    play_free(play);
}

static void test_a_change_of_set_met_by_a_failover_at_every_step(void **state)
{
    (void)state;
    for (uint32_t entries = 0; entries <= 4; entries++)
        for (uint32_t change = 0; change < CHANGES; change++)
            for (uint32_t server = 0; server < SERVERS; server++) {
                walk_change(HA_DURABILITY_STRICT, (enum change)change, entries,
                            (enum server)server);
                walk_change(HA_DURABILITY_SYNC, (enum change)change, entries, (enum server)server);
            }
}

/* Losses and returns, also as another instance, in orders drawn from a seed. */
static void walk_drawn(enum ha_durability durability, uint64_t seed)
{
    struct play *play = play_serving(durability);
    struct ha_prng prng;
    uint64_t acked;

    ha_prng_seed(&prng, seed);
    for (uint32_t i = 0; i < 10; i++) {
        uint32_t member = ha_prng_chance(&prng, 500000) ? B : C;

        play->gone[member] = ha_prng_chance(&prng, 500000);
        if (!play->gone[member] && ha_prng_chance(&prng, 200000))
            play->instance[member] += 0x10;
        play->unheard[member] = ha_prng_chance(&prng, 200000);
        play->lags[B + C - member] = ha_prng_chance(&prng, 200000);
        play->commits =
            ha_prng_chance(&prng, 300000) ? (uint32_t)ha_prng_below(&prng, 3) : UINT32_MAX;
        play->mumbles = ha_prng_chance(&prng, 200000);
        play->deaf[A] = ha_prng_chance(&prng, 200000);
        play_rounds(play, 1 + (uint32_t)ha_prng_below(&prng, 7), true);
    }
    acked = play_sync(play)->alone ? 0 : play->acked;
    play_primary_dies(play);
    if (play->promoted == HA_MEMBER_NONE) {
        play->gone[B] = play->gone[C] = play->unheard[B] = play->unheard[C] = false;
        play_selects(play, 40);
    }
    if (play->promoted != HA_MEMBER_NONE)
        assert_true(play->pos[play->promoted] >= acked);
    play_free(play);
}

static void test_losses_and_returns_in_drawn_orders(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        walk_drawn(HA_DURABILITY_STRICT, seed);
        walk_drawn(HA_DURABILITY_SYNC, seed);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_candidate_that_fails_after_the_seal),
    cmocka_unit_test(test_a_leader_that_dies_in_the_seal),
    cmocka_unit_test(test_an_unsealed_member_with_more_data),
    cmocka_unit_test(test_a_seal_of_an_older_epoch),
    cmocka_unit_test(test_a_holder_of_an_older_epoch),
    cmocka_unit_test(test_a_sealed_agent_that_starts_anew),
    cmocka_unit_test(test_promotion_is_for_the_run_that_was_sealed),
    cmocka_unit_test(test_a_member_that_is_not_what_it_was),
    cmocka_unit_test(test_a_target_that_was_heard_earlier),
    cmocka_unit_test(test_a_lower_durability_binds_until_it_is_in_the_log),
    cmocka_unit_test(test_the_last_primary_proves_itself_by_its_position),
    cmocka_unit_test(test_the_same_primary_again_keeps_its_sets),
    cmocka_unit_test(test_the_same_primary_again_waits_for_what_it_shows),
    cmocka_unit_test(test_a_new_member_is_not_the_last_primary),
    cmocka_unit_test(test_durability_does_not_change_under_a_failover),
    cmocka_unit_test(test_strict_of_one_is_refused),
    cmocka_unit_test(test_a_change_of_set_met_by_a_failover_at_every_step),
    cmocka_unit_test(test_losses_and_returns_in_drawn_orders),
};

HA_TEST_MAIN("core/seal", tests)
