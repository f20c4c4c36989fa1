/* What the leader decides, when, and on whose word (design, 5 to 7): begin, fence, select, promote,
 * open, pause, rate limit. */
#include <string.h>

#include "lib/base/check.h"
#include "lib/core/candidate.h"
#include "lib/core/view.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

/* Quorum */

static void test_one_verdict_is_a_rumour_two_are_a_fact(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    world_crashed(world, 1);
    assert_null(world_proposed(world, HA_COMMAND_BEGIN));
    world_crashed(world, 2);
    assert_int_equal(world_proposed(world, HA_COMMAND_BEGIN)->u.begin.agreeing, 6);
    assert_int_equal(world_proposed(world, HA_COMMAND_BEGIN)->u.begin.reason, HA_REASON_DOWN);
    assert_int_equal(world_proposed(world, HA_COMMAND_BEGIN)->u.begin.ref.epoch,
                     world_epoch(world));
    world_free(world);
}

static void test_verdict_of_an_unheard_watcher_does_not_count(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    world_crashed(world, 1);
    world_peer(world, 1, false);
    world_crashed(world, 2);
    assert_null(world_proposed(world, HA_COMMAND_BEGIN));
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 500));
    world_peer(world, 1, true);
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 500));
    world_free(world);
}

static void test_quorum_above_majority(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_command begin;

    (void)state;
    world->config->services[0].quorum = 3;
    assert_int_equal(world_apply_config(world), HA_OK);
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 500));
    assert_int_equal(world_begin(world, HA_REASON_DOWN, HA_MEMBER_NONE), HA_EDENIED);
    world_crashed(world, 0);
    assert_non_null(world_proposed(world, HA_COMMAND_BEGIN));
    begin = *world_proposed(world, HA_COMMAND_BEGIN);
    assert_int_equal(world_commit(world, &begin), HA_OK);
    world_free(world);
}

static void test_only_the_leader_decides(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    world_lead(world, false);
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 500));
    world_free(world);
}

static void test_nobody_to_replace_it_no_fence(void **state)
{
    struct world *world = world_new(3);

    (void)state;
    world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_null(world_proposed(world, HA_COMMAND_BEGIN));
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, NOBODY, 500));
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, ONLY_B, 500));
    world_free(world);
}

static void test_last_position_is_logged_before_the_end(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat beat = world_beat(world, A);
    uint32_t positions = UINT32_MAX, begin = UINT32_MAX;

    (void)state;
    beat.status.sample.position.offset = HEAD + 5;
    world_hear(world, A, &beat);
    world_crashed(world, 1);
    world_crashed(world, 2);
    for (uint32_t i = 0; i < world->out->count; i++) {
        if (world->out->items[i].kind != HA_EFFECT_PROPOSE)
            continue;
        if (world->out->items[i].u.command.kind == HA_COMMAND_POSITIONS)
            positions = i;
        if (world->out->items[i].u.command.kind == HA_COMMAND_BEGIN)
            begin = i;
    }
    assert_true(positions < begin);
    assert_true(begin < world->out->count);
    world_free(world);
}

/* A new leader may have heard less of it than the log has. */
static void test_older_position_is_not_logged(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    beat.status.sample.position.offset = HEAD - 5;
    world_hear(world, A, &beat);
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_non_null(world_proposed(world, HA_COMMAND_BEGIN));
    assert_null(world_proposed(world, HA_COMMAND_POSITIONS));
    world_free(world);
}

/* The process behind the heartbeats has started anew: its position is another one's. */
static void test_position_of_who_claims_nothing_is_not_logged(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    beat.status.epoch = HA_EPOCH_NONE;
    beat.status.sample.position.offset = HEAD + 5;
    beat.status.sample.position.lineage.steps[0].id = LINEAGE + 1;
    world_hear(world, A, &beat);
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_non_null(world_proposed(world, HA_COMMAND_BEGIN));
    assert_null(world_proposed(world, HA_COMMAND_POSITIONS));
    world_free(world);
}

/* "Who" */

/* The verdict of w1 about @member that is on its way into the log; UP where there is none. */
static enum ha_verdict told_of(const struct world *world, uint32_t member)
{
    const struct ha_command *command = world_proposed(world, HA_COMMAND_OBSERVE);

    for (uint32_t i = 0; command != NULL && i < command->u.observe.count; i++)
        if (command->u.observe.items[i].member == member)
            return command->u.observe.items[i].verdict;
    return HA_VERDICT_UP;
}

static void test_who_clone_says_the_database_is_gone(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    for (int i = 0; i < 20; i++) {
        const struct ha_heartbeat own = world_beat(world, A);
        struct ha_heartbeat clone = own;

        clone.instance = 0x999;
        clone.status.process = HA_PROCESS_GONE;
        clone.status.given_up = world_epoch(world);
        world_hear(world, A, &clone);
        assert_int_equal(told_of(world, A), HA_VERDICT_UP);
        assert_null(world_proposed(world, HA_COMMAND_GIVE_UP));
        world_tick(world, 100);
        assert_int_equal(told_of(world, A), HA_VERDICT_UP);
        world_hear(world, A, &own);
        assert_int_equal(told_of(world, A), HA_VERDICT_UP);
    }
    world_free(world);
}

/* The primary's host came back anew: it is heard, its gate is closed, its probes go unanswered. */
static void test_who_rebooted_host_is_no_sign_of_life(void **state)
{
    struct world *world = world_serving(HA_GATE_NFT);
    enum ha_verdict verdict = HA_VERDICT_UP;

    (void)state;
    for (int i = 0; i < 60 && verdict == HA_VERDICT_UP; i++) {
        struct ha_heartbeat beat = world_beat(world, A);

        beat.instance = 0x999;
        beat.status.epoch = HA_EPOCH_NONE;
        world_hear(world, A, &beat);
        world_probed(world, A, HA_ANSWER_NONE);
        world_tick(world, 100);
        verdict = told_of(world, A);
    }
    assert_int_equal(verdict, HA_VERDICT_SILENT);
    world_free(world);
}

/* This watcher stood still for longer than silence takes: what was said meanwhile is read first.
 * What then still is silent, is. */
static void test_own_standstill_is_not_silence(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat beat;
    uint32_t waited_ms = 0;

    (void)state;
    beat = world_beat(world, A);
    world_tick(world, 1500);
    assert_int_equal(told_of(world, A), HA_VERDICT_UP);
    world_hear(world, A, &beat);
    for (int i = 0; i < 20; i++) {
        world_tick(world, 20);
        assert_int_equal(told_of(world, A), HA_VERDICT_UP);
    }
    world_tick(world, 1500);
    while (told_of(world, A) == HA_VERDICT_UP && waited_ms < 1000) {
        world_tick(world, 20);
        waited_ms += 20;
    }
    assert_int_equal(told_of(world, A), HA_VERDICT_SILENT);
    assert_in_range(waited_ms, 60, 200);
    world_free(world);
}

/* One that hardly ever runs still finds out. */
static void test_starved_watcher_tells_silence(void **state)
{
    static const uint32_t gaps_ms[] = {200, 250, 600, 1200, 5000};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(gaps_ms); i++) {
        struct world *world = world_serving(HA_GATE_BPF);
        uint32_t silent_ms = 0;

        while (told_of(world, A) == HA_VERDICT_UP && silent_ms < 20000) {
            world_tick(world, gaps_ms[i]);
            silent_ms += gaps_ms[i];
        }
        assert_int_equal(told_of(world, A), HA_VERDICT_SILENT);
        assert_true(silent_ms <= 1000 + 2 * gaps_ms[i]);
        world_free(world);
    }
}

/* Its instance cannot come back: the end of its epoch waits for nobody, and it may be its own heir.
 */
static void test_who_rebooted_host_is_not_waited_for(void **state)
{
    static const enum ha_process processes[] = {HA_PROCESS_RUNNING, HA_PROCESS_GONE};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(processes); i++) {
        struct world *world = world_new(3);
        struct ha_heartbeat beat;

        world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
        beat = world_beat(world, A);
        beat.instance = 0x999;
        beat.status.epoch = HA_EPOCH_NONE;
        beat.status.process = processes[i];
        world_hear(world, A, &beat);
        (void)world_observe(world, 1, A, HA_VERDICT_SILENT);
        (void)world_observe(world, 2, A, HA_VERDICT_SILENT);
        assert_non_null(world_proposed(world, HA_COMMAND_BEGIN));
        world_free(world);
    }
}

/* Selecting and promoting */

static struct world *world_selecting(void)
{
    struct world *world = world_serving(HA_GATE_BPF);

    world->now_ms += 10;
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    return world;
}

/* Redis gives its history another name when the first replica comes; until the log has it, whoever
 * follows would look like a stray. */
static void test_a_renamed_history_is_logged_at_once(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat beat = world_beat(world, world_service(world)->primary);
    const struct ha_command *command;

    (void)state;
    world_lead(world, true);
    world_tick(world, 200);
    world_hear(world, world_service(world)->primary, &beat);
    assert_null(world_proposed(world, HA_COMMAND_POSITIONS)); /* nothing new in it */
    beat.status.sample.position.lineage.steps[0].id ^= 1;
    world_hear(world, world_service(world)->primary, &beat);
    command = world_proposed(world, HA_COMMAND_POSITIONS);
    assert_non_null(command);
    assert_true(command->u.positions.items[0].position.lineage.steps[0].id ==
                beat.status.sample.position.lineage.steps[0].id);
    world_hear(world, world_service(world)->primary, &beat);
    assert_null(world_proposed(world, HA_COMMAND_POSITIONS)); /* said, and not at every heartbeat */
    world_free(world);
}

/* As after a first epoch of an empty database: the log has no history, the replicas have one. */
static struct world *world_without_history(void)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_cluster *cluster = &world->w->cluster;

    memset(&cluster->services[world_service(world)->id % HA_SERVICES_MAX].position, 0,
           sizeof(struct ha_position));
    world->now_ms += 10;
    return world;
}

/* The primary's last sample is older than the name its history got with its first replica. */
static void stale_beat(const struct world *world, struct ha_heartbeat *beat)
{
    *beat = world_beat(world, A);
    beat->status.sample.position.offset = 0;
    beat->status.sample.position.lineage.steps[0].id = LINEAGE + 1;
}

static void test_a_history_that_only_replicas_tell_is_logged(void **state)
{
    struct world *world = world_without_history();
    const struct ha_command *command;
    struct ha_command positions;
    struct ha_heartbeat beat;
    char why[HA_TEXT_SIZE];

    (void)state;
    assert_false(ha_view_ready(world->w, world_service(world), world->now_ms, why));
    assert_non_null(strstr(why, "not in the log yet"));
    stale_beat(world, &beat);
    world_hear(world, A, &beat);
    command = world_proposed(world, HA_COMMAND_POSITIONS);
    assert_non_null(command);
    positions = *command;
    assert_true(positions.u.positions.items[0].position.lineage.steps[0].id == LINEAGE);
    assert_int_equal(world_commit(world, &positions), HA_OK);
    assert_true(ha_view_ready(world->w, world_service(world), world->now_ms, why));
    world_hear(world, A, &beat);
    assert_null(world_proposed(world, HA_COMMAND_POSITIONS)); /* and not back again */
    world_free(world);
}

/* A give-up that carries such a sample must not make strays of all who have the data. */
static void test_an_old_name_in_a_give_up_makes_no_strays(void **state)
{
    struct world *world = world_without_history();
    uint32_t positions = UINT32_MAX, give_up = UINT32_MAX;
    struct ha_command commands[2];
    struct ha_heartbeat beat;

    (void)state;
    stale_beat(world, &beat);
    beat.status.given_up = world_epoch(world);
    beat.status.epoch = HA_EPOCH_NONE;
    beat.status.process = HA_PROCESS_GONE;
    beat.status.given_up_why = HA_VERDICT_CRASHED;
    world_hear(world, A, &beat);
    for (uint32_t i = 0; i < world->out->count; i++) {
        const struct ha_effect *effect = &world->out->items[i];

        if (effect->kind != HA_EFFECT_PROPOSE)
            continue;
        if (effect->u.command.kind == HA_COMMAND_POSITIONS)
            positions = i;
        if (effect->u.command.kind == HA_COMMAND_GIVE_UP)
            give_up = i;
    }
    assert_true(positions < give_up && give_up < UINT32_MAX);
    commands[0] = world->out->items[positions].u.command;
    commands[1] = world->out->items[give_up].u.command;
    assert_int_equal(world_commit(world, &commands[0]), HA_OK);
    assert_int_equal(world_commit(world, &commands[1]), HA_OK);
    assert_non_null(world_wait_for(world, HA_COMMAND_PROMOTE, REPLICAS, 1000));
    world_free(world);
}

/* The name is worth its entry also when one was logged a moment ago and the end has come. */
static void test_a_renamed_history_is_logged_before_the_end(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat beat = world_beat(world, A);

    (void)state;
    (void)world_observe(world, 1, A, HA_VERDICT_SILENT);
    beat.status.sample.position.lineage.count = 2;
    beat.status.sample.position.lineage.steps[1] = beat.status.sample.position.lineage.steps[0];
    beat.status.sample.position.lineage.steps[0].id ^= 1;
    world_hear(world, A, &beat);
    assert_non_null(world_proposed(world, HA_COMMAND_POSITIONS));
    (void)world_observe(world, 2, A, HA_VERDICT_SILENT);
    assert_non_null(world_proposed(world, HA_COMMAND_BEGIN));
    assert_non_null(world_proposed(world, HA_COMMAND_POSITIONS));
    world_free(world);
}

/* While the others are repointed the new primary serves already: the log follows it. */
static void test_position_is_logged_while_repointing(void **state)
{
    struct world *world = world_new(3);
    struct ha_heartbeat beat;

    (void)state;
    world_reach(world, A, HA_GATE_BPF, HA_STATE_OPENING);
    beat = world_beat(world, B);
    beat.status.sample.link_up = false;
    world_hear(world, B, &beat);
    assert_int_equal(world_outcome(world, HA_COMMAND_OPENED), HA_OK);
    beat = world_beat(world, A);
    beat.status.sample.position.lineage.steps[0].id ^= 1;
    world->now_ms += 200;
    world_hear(world, A, &beat);
    assert_int_equal(world_service(world)->state, HA_STATE_REPOINTING);
    assert_non_null(world_proposed(world, HA_COMMAND_POSITIONS));
    world_free(world);
}

/* All are heard, b without a connection to its primary; its database answered @age_ms ago. True:
 * the end of the failover was proposed. */
static bool hear_unconnected(struct world *world, uint32_t age_ms, struct ha_command *ret_end)
{
    static const uint32_t order[] = {B, C, A};
    bool ended = false;

    for (size_t i = 0; i < HA_ARRAY_LEN(order); i++) {
        struct ha_heartbeat beat = world_beat(world, order[i]);
        const struct ha_command *end;

        if (order[i] == B) {
            beat.status.sample.link_up = false;
            beat.status.answer_age_ms = age_ms;
        }
        world_hear(world, order[i], &beat);
        end = world_proposed(world, HA_COMMAND_REPOINTED);
        if (end != NULL) {
            *ret_end = *end;
            ended = true;
        }
    }
    return ended;
}

/* A replica that does not answer its agent cannot follow: the failover is over without it. */
static void test_a_hung_replica_does_not_hold_up_the_end(void **state)
{
    struct world *world = world_new(3);
    struct ha_command end;

    (void)state;
    world_reach(world, A, HA_GATE_BPF, HA_STATE_REPOINTING);
    assert_false(hear_unconnected(world, 0, &end));
    world->now_ms += 1000; /* what was proposed before anybody was heard is proposed again */
    assert_false(hear_unconnected(world, 0, &end));
    assert_true(hear_unconnected(world, world_service(world)->config.hang_after_ms, &end));
    assert_string_equal(end.u.outcome.text, "");
    world_free(world);
}

/* One that answers and has no connection yet is waited for, by name, and not for ever. */
static void test_the_wait_for_a_replica_ends_and_says_for_whom(void **state)
{
    struct world *world = world_new(3);
    const uint64_t start_ms = world->now_ms;
    char why[HA_TEXT_SIZE];
    struct ha_command end;

    (void)state;
    world_reach(world, A, HA_GATE_BPF, HA_STATE_REPOINTING);
    while (!hear_unconnected(world, 0, &end)) {
        ha_view_why(world->w, world_service(world), world->now_ms, why);
        assert_string_equal(why, "the others are repointed; waiting for b: it has no connection to "
                                 "its primary yet");
        world->now_ms += 200;
        assert_true(world->now_ms - start_ms <= 31000); /* the default deadline, and some */
    }
    assert_true(world->now_ms - start_ms >= 30000);
    assert_int_equal(world_commit(world, &end), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_STEADY);
    assert_non_null(
        strstr(ha_cluster_decision(&world->w->cluster, world->w->cluster.decision_last)->text,
               "not waited for: b: it has no connection to its primary yet"));
    world_free(world);
}

/* While a candidate is promoted nobody serves, whoever else could be promoted. */
static void test_nothing_is_ready_before_somebody_serves(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    char why[HA_TEXT_SIZE];

    (void)state;
    assert_true(ha_view_ready(world->w, world_service(world), world->now_ms, why));
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    assert_int_equal(world_promote(world, B, HA_GATE_BPF), HA_OK);
    assert_false(ha_view_ready(world->w, world_service(world), world->now_ms, why));
    assert_string_equal(why, "a failover is under way: PROMOTING");
    ha_view_why(world->w, world_service(world), world->now_ms, why);
    assert_string_equal(why, "waiting until b is promoted");
    world_free(world);
}

/* Where no byte may be lost, or a proof hangs on it, small progress is told within ten seconds. */
static void test_small_progress_is_told_where_it_decides(void **state)
{
    static const struct {
        uint64_t budget;
        enum ha_durability durability;
        bool soon;
    } rows[] = {{16u << 20, HA_DURABILITY_ASYNC, false},
                {0, HA_DURABILITY_ASYNC, true},
                {16u << 20, HA_DURABILITY_SYNC, true}};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(rows); i++) {
        struct world *world = world_serving(HA_GATE_BPF);
        struct ha_heartbeat beat = world_beat(world, A);
        uint32_t entries = 0;

        world->config->services[0].loss_budget_bytes = rows[i].budget;
        world->config->services[0].durability = rows[i].durability;
        assert_int_equal(world_apply_config(world), HA_OK);
        world->now_ms += 60000 - world->now_ms % 60000 + 1000;
        world_hear(world, A, &beat);
        world->w->services[world_service(world)->id % HA_SERVICES_MAX].position_ms = world->now_ms;
        beat.status.sample.position.offset = HEAD + 14;
        for (uint32_t beats = 0; beats < 52; beats++) {
            world->now_ms += 200;
            world_hear(world, A, &beat);
            entries += world_proposed(world, HA_COMMAND_POSITIONS) != NULL;
        }
        assert_int_equal(entries > 0, rows[i].soon);
        world_free(world);
    }
}

/* An idle primary's stream still grows, by pings: that is worth an entry now and then. */
static void test_an_idle_primary_costs_few_entries(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat beat = world_beat(world, A);
    uint32_t entries = 0, beats = 0;

    (void)state;
    world_lead(world, true);
    for (; beats < 600; beats++) { /* two minutes */
        world->now_ms += 200;
        beat.status.sample.position.offset = HEAD + beats / 50 * 14;
        world_hear(world, A, &beat);
        entries += world_proposed(world, HA_COMMAND_POSITIONS) != NULL;
    }
    assert_in_range(entries, 1, 3);
    beat.status.sample.position.offset =
        HEAD + 100000; /* real writes are told within ten seconds */
    for (beats = 0, entries = 0; beats < 51; beats++) {
        world->now_ms += 200;
        world_hear(world, A, &beat);
        entries += world_proposed(world, HA_COMMAND_POSITIONS) != NULL;
    }
    assert_in_range(entries, 1, 2);
    world_free(world);
}

static void test_positions_of_many_services_share_an_entry(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_cluster *cluster = &world->w->cluster;
    struct ha_heartbeat beat = world_beat(world, A);
    const struct ha_command *command;
    uint32_t first = world_service(world)->id;

    (void)state;
    beat.status.sample.position.offset = HEAD + 100000;
    world_hear(world, A, &beat);
    world->w->services[first % HA_SERVICES_MAX].position_ms = world->now_ms;
    for (uint32_t more = 1; more <= HA_POSITIONS_MAX; more++) {
        uint32_t from = first % HA_SERVICES_MAX, to = (first + more) % HA_SERVICES_MAX;

        cluster->services[to] = cluster->services[from];
        cluster->services[to].id = first + more;
        cluster->service_count++;
        world_watch_like(world, first, first + more);
    }
    world_tick(world, 10000);
    command = world_proposed(world, HA_COMMAND_POSITIONS);
    assert_non_null(command);
    assert_int_equal(command->u.positions.count, HA_POSITIONS_MAX);
    assert_int_equal(command->u.positions.items[1].ref.service, first + 1);
    world_free(world);
}

/* The heartbeat says what the probe would: full pace is for doubt. */
static void test_probes_rest_while_all_is_well(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    uint32_t service = world_service(world)->id;
    struct ha_heartbeat beat;
    uint64_t then_ms;

    (void)state;
    world_tick(world, 20);
    assert_true(ha_watcher_wants_probe(world->w, service, B, world->now_ms - PROBE, world->now_ms));
    world_probed(world, B, HA_ANSWER_OK);
    world_hear_all(world);
    then_ms = world->now_ms - PROBE;
    assert_false(ha_watcher_wants_probe(world->w, service, B, then_ms, world->now_ms));
    assert_true(ha_watcher_wants_probe(world->w, service, B, world->now_ms - HA_PROBE_REST_MS,
                                       world->now_ms));
    /* While the service moves, a little oftener. */
    world->w->cluster.services[service % HA_SERVICES_MAX].state = HA_STATE_REPOINTING;
    assert_false(ha_watcher_wants_probe(world->w, service, B, then_ms, world->now_ms));
    assert_true(ha_watcher_wants_probe(
        world->w, service, B, world->now_ms - (uint64_t)HA_PROBE_REST * PROBE, world->now_ms));
    world->w->cluster.services[service % HA_SERVICES_MAX].state = HA_STATE_STEADY;
    /* The agent falls silent. */
    assert_true(ha_watcher_wants_probe(world->w, service, B, then_ms, world->now_ms + 2 * PROBE));
    /* It has no fresh answer, or says that something is wrong. */
    beat = world_beat(world, B);
    beat.status.answer_age_ms = 2 * PROBE;
    world_hear(world, B, &beat);
    assert_true(ha_watcher_wants_probe(world->w, service, B, then_ms, world->now_ms));
    beat.status.answer_age_ms = 0;
    beat.status.process = HA_PROCESS_GONE;
    world_hear(world, B, &beat);
    assert_true(ha_watcher_wants_probe(world->w, service, B, then_ms, world->now_ms));
    beat = world_beat(world, B);
    world_hear(world, B, &beat);
    assert_false(ha_watcher_wants_probe(world->w, service, B, then_ms, world->now_ms));
    /* Our own look disagreed. */
    world_probed(world, B, HA_ANSWER_REFUSED);
    assert_true(ha_watcher_wants_probe(world->w, service, B, then_ms, world->now_ms));
    world_free(world);
}

static void test_fresh_positions_before_the_choice(void **state)
{
    struct world *world = world_selecting();
    struct ha_heartbeat beat = world_beat(world, B);

    (void)state;
    assert_null(world_proposed(world, HA_COMMAND_PROMOTE)); /* what was said before may be old */
    assert_int_equal(effects_order(world->out, "ag-b")->kind, HA_ORDER_REPORT);
    world->now_ms += 5;
    world_hear(world, B, &beat);
    assert_null(world_proposed(world, HA_COMMAND_PROMOTE));
    beat = world_beat(world, C);
    beat.status.sample.position.offset = HEAD + 1;
    world_hear(world, C, &beat);
    beat = world_beat(world, A);
    beat.status.process = HA_PROCESS_GONE;
    world_hear(world, A, &beat);
    assert_int_equal(world_proposed(world, HA_COMMAND_PROMOTE)->u.promote.member, C);
    assert_int_equal(world_proposed(world, HA_COMMAND_PROMOTE)->u.promote.instance, INSTANCE(C));
    world_free(world);
}

static void test_who_stays_silent_is_not_waited_for(void **state)
{
    struct world *world = world_selecting();

    (void)state;
    assert_non_null(world_wait_for(world, HA_COMMAND_PROMOTE, NOBODY, 140));
    world_free(world);
}

static void test_first_primary_waits_for_all_members(void **state)
{
    struct world *world = world_new(3);

    (void)state;
    assert_null(world_wait_for(world, HA_COMMAND_PROMOTE, REPLICAS, 5000));
    assert_non_null(world_wait_for(world, HA_COMMAND_PROMOTE, ALL, 100));
    world_free(world);
}

/* The leader hears b, but nobody else does, whether they get no answer or are refused: b could
 * never get a lease, and would be down as soon as it were primary. */
static void test_candidate_must_reach_a_majority(void **state)
{
    static const enum ha_verdict ways[] = {HA_VERDICT_SILENT, HA_VERDICT_REFUSED};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct world *world = world_selecting();

        world->now_ms += DOWN_AFTER; /* the old primary is not heard any more */
        (void)world_observe(world, 1, B, ways[i]);
        (void)world_observe(world, 2, B, HA_VERDICT_SILENT);
        world_peer(world, 1, true);
        world_peer(world, 2, true);
        assert_int_equal(
            world_wait_for(world, HA_COMMAND_PROMOTE, REPLICAS, 1000)->u.promote.member, C);
        world_free(world);
        /* The last word of a watcher that is gone does not count. */
        world = world_selecting();
        world->now_ms += DOWN_AFTER; /* the old primary is not heard any more */
        (void)world_observe(world, 1, B, ways[i]);
        (void)world_observe(world, 2, B, HA_VERDICT_SILENT);
        world_peer(world, 1, true);
        world_peer(world, 2, false);
        assert_int_equal(
            world_wait_for(world, HA_COMMAND_PROMOTE, REPLICAS, 1000)->u.promote.member, B);
        world_free(world);
    }
}

/* Watchers that were made anew beside living agents: why nothing goes on is said. */
static void test_agents_that_know_more_are_explained(void **state)
{
    struct world *world = world_new(3);
    const struct ha_command *command;
    struct ha_command none = {.kind = HA_COMMAND_NOTHING};
    char why[HA_TEXT_SIZE];

    (void)state;
    for (int round = 0; round < 8 && none.kind != HA_COMMAND_NONE; round++) {
        for (uint32_t m = A; m <= C; m++) {
            struct ha_heartbeat beat = world_beat(world, m);

            beat.status.epoch_seen = 57;
            world_hear(world, m, &beat);
        }
        command = world_proposed(world, HA_COMMAND_NONE);
        if (command != NULL)
            none = *command;
        world_tick(world, 20);
    }
    assert_int_equal(none.kind, HA_COMMAND_NONE);
    assert_int_equal(none.u.promote.fits[0].fitness, HA_FIT_AHEAD);
    assert_int_equal(world_commit(world, &none), HA_OK);
    ha_view_why(world->w, world_service(world), world->now_ms, why);
    assert_non_null(strstr(why, "they were made anew"));
    world_free(world);
}

static void test_no_candidate_is_retried_each_second(void **state)
{
    struct world *world = world_selecting();
    const struct ha_command *command;
    struct ha_command none;
    uint64_t began_ms;

    (void)state;
    world->now_ms += DOWN_AFTER;
    command = world_wait_for(world, HA_COMMAND_NONE, NOBODY, 1000);
    assert_non_null(command);
    assert_int_equal(command->u.promote.fit_count, 3);
    assert_int_equal(command->u.promote.fits[1].fitness, HA_FIT_UNHEARD);
    none = *command;
    assert_int_equal(world_commit(world, &none), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_NO_CANDIDATE);
    /* The same reasons are not said again, but it looks again. */
    assert_null(world_wait_for(world, HA_COMMAND_NONE, NOBODY, 3000));
    began_ms = world->now_ms;
    assert_int_equal(world_wait_for(world, HA_COMMAND_PROMOTE, ONLY_B, 2000)->u.promote.member, B);
    assert_true(world->now_ms - began_ms <= 1100);
    world_free(world);
}

static struct world *world_promoting(void)
{
    struct world *world = world_selecting();

    assert_int_equal(world_promote(world, B, HA_GATE_BPF), HA_OK);
    return world;
}

static struct ha_heartbeat ended(const struct world *world, enum ha_result result)
{
    struct ha_heartbeat beat = world_beat(world, B);

    beat.status.order = HA_ORDER_PROMOTE;
    beat.status.order_epoch = world_epoch(world);
    beat.status.result = result;
    beat.status.sample.role = result == HA_RESULT_DONE ? HA_ROLE_PRIMARY : HA_ROLE_REPLICA;
    return beat;
}

static void test_opening_needs_the_word_of_the_chosen_instance(void **state)
{
    struct world *world = world_promoting();
    struct ha_heartbeat beat = ended(world, HA_RESULT_DONE);

    (void)state;
    beat.status.order_epoch--;
    world_hear(world, B, &beat);
    assert_null(world_proposed(world, HA_COMMAND_PROMOTED));
    beat = ended(world, HA_RESULT_DONE);
    beat.status.sample.role = HA_ROLE_REPLICA;
    world_hear(world, B, &beat);
    assert_null(world_proposed(world, HA_COMMAND_PROMOTED));
    beat = ended(world, HA_RESULT_DONE);
    world_hear(world, B, &beat);
    assert_non_null(world_proposed(world, HA_COMMAND_PROMOTED));
    world_free(world);
}

static void test_opening_failed_candidate_means_the_next_at_once(void **state)
{
    struct world *world = world_promoting();
    const struct ha_heartbeat beat = ended(world, HA_RESULT_FAILED);
    uint64_t epoch = world_epoch(world), open = world_service(world)->open_epoch;
    struct ha_command command;

    (void)state;
    world->config->services[0].members[1].priority = 500; /* it would be chosen again */
    assert_int_equal(world_apply_config(world), HA_OK);
    world_hear(world, B, &beat);
    assert_non_null(world_proposed(world, HA_COMMAND_FAILED));
    command = *world_proposed(world, HA_COMMAND_FAILED);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_SELECTING);
    assert_int_equal(world_epoch(world), epoch + 1);
    /* The log says that it never opened; the fence is still that of the last that did. */
    assert_int_equal(world_service(world)->members[1].unopened_epoch, epoch);
    assert_int_equal(world_service(world)->open_epoch, open);
    assert_int_equal(world_service(world)->fence, HA_FENCE_REPORT);
    command = *world_wait_for(world, HA_COMMAND_PROMOTE, ALL, 140);
    assert_int_not_equal(command.u.promote.member, B);
    assert_int_equal(command.u.promote.ref.epoch, epoch + 1);
    world_free(world);
}

static void test_candidate_fails(void **state)
{
    static const char *const hows[] = {"unheard", "started anew", "gone", "too slow", "given up"};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(hows); i++) {
        struct world *world = world_promoting();
        const struct ha_command *command = NULL;

        print_message("# %s\n", hows[i]);
        for (int n = 0; n < 300 && command == NULL; n++) {
            struct ha_heartbeat beat = world_beat(world, B);

            world_tick(world, 20);
            command = world_proposed(world, HA_COMMAND_FAILED);
            if (command != NULL || i == 0)
                continue;
            beat.instance += i == 1 ? 1 : 0;
            beat.status.process = i == 2 ? HA_PROCESS_GONE : HA_PROCESS_RUNNING;
            if (i == 4) {
                beat = ended(world, HA_RESULT_DONE); /* it was primary for a moment */
                beat.status.given_up = world_epoch(world);
            }
            world_hear(world, B, &beat);
            assert_null(world_proposed(world, HA_COMMAND_PROMOTED));
            command = world_proposed(world, HA_COMMAND_FAILED);
        }
        assert_non_null(command);
        world_free(world);
    }
}

/* Opening */

static void test_who_cannot_open_is_fenced_and_not_tried_next(void **state)
{
    struct world *world = world_promoting();
    struct ha_command command = {.kind = HA_COMMAND_NOTHING};

    (void)state;
    assert_int_equal(world_outcome(world, HA_COMMAND_PROMOTED), HA_OK);
    for (int i = 0; i < 200 && command.kind == HA_COMMAND_NOTHING; i++) {
        struct ha_heartbeat beat = world_beat(world, B);

        beat.status.settled = false;
        world_hear(world, B, &beat);
        beat = world_beat(world, C);
        world_hear(world, C, &beat);
        world_tick(world, 20);
        if (world_proposed(world, HA_COMMAND_BEGIN) != NULL)
            command = *world_proposed(world, HA_COMMAND_BEGIN);
    }
    assert_int_equal(command.kind, HA_COMMAND_BEGIN);
    assert_int_equal(command.u.begin.reason, HA_REASON_OPEN_FAILED);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->state, HA_STATE_FENCING);
    assert_int_equal(world_give_up(world, world_service(world)->open_epoch, B, INSTANCE(B)), HA_OK);
    command = *world_wait_for(world, HA_COMMAND_PROMOTE, REPLICAS, 500);
    assert_int_equal(command.u.promote.member, C);
    world_free(world);
}

static void test_opened_when_it_holds_all(void **state)
{
    struct world *world = world_promoting();
    struct ha_heartbeat beat;

    (void)state;
    assert_int_equal(world_outcome(world, HA_COMMAND_PROMOTED), HA_OK);
    beat = world_beat(world, B);
    beat.status.settled = false;
    world_hear(world, B, &beat);
    assert_null(world_proposed(world, HA_COMMAND_OPENED));
    beat.status.settled = true;
    world_hear(world, B, &beat);
    assert_non_null(world_proposed(world, HA_COMMAND_OPENED));
    world_free(world);
}

/* Pause, rate limit, automatic */

static void test_paused_service_is_left_alone(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    assert_int_equal(world_pause(world, HA_COMMAND_PAUSE), HA_OK);
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 3000));
    assert_int_equal(world_begin(world, HA_REASON_DOWN, HA_MEMBER_NONE), HA_EDENIED);
    assert_int_equal(world_pause(world, HA_COMMAND_RESUME), HA_OK);
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 1100));
    world_free(world);
}

static void test_pause_ends_by_itself(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_command pause = {.kind = HA_COMMAND_PAUSE};

    (void)state;
    pause.u.pause.service = world_service(world)->id;
    pause.u.pause.until_ms = world->wall_ms + 1000;
    assert_int_equal(world_commit(world, &pause), HA_OK);
    assert_null(world_wait_for(world, HA_COMMAND_RESUME, ALL, 900));
    assert_non_null(world_wait_for(world, HA_COMMAND_RESUME, ALL, 300));
    world_free(world);
}

static void test_rate_limit_counts_what_succeeded_and_can_be_lifted(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    uint32_t other = B;

    (void)state;
    world->config->services[0].rate_count = 2;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(world_service(world)->recent_count, 0); /* the first primary is no failover */
    for (int i = 0; i < 2; i++) {
        const struct ha_service *service = world_service(world);

        assert_int_equal(world_give_up(world, service->epoch, service->primary, service->instance),
                         HA_OK);
        if (i == 0) { /* one that did not succeed */
            assert_int_equal(world_promote(world, C, HA_GATE_BPF), HA_OK);
            assert_int_equal(world_outcome(world, HA_COMMAND_FAILED), HA_OK);
        }
        world_reach(world, other, HA_GATE_BPF, HA_STATE_STEADY);
        other = A;
    }
    assert_int_equal(world_service(world)->recent_count, 2);
    world_hear_all(world);
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 3000));
    assert_int_equal(world_pause(world, HA_COMMAND_LIFT), HA_OK);
    assert_int_equal(world_service(world)->recent_count, 0);
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 1100));
    world_free(world);
}

static void test_rate_limit_forgets(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    world->config->services[0].rate_count = 1;
    world->config->services[0].rate_period_ms = 5000;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 4000));
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 2000));
    world_free(world);
}

static void test_not_automatic_only_on_request(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    world->config->services[0].automatic = false;
    assert_int_equal(world_apply_config(world), HA_OK);
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 2000));
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    world_free(world);
}

static void test_unwritable_is_a_matter_of_policy(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    (void)world_observe(world, 1, A, HA_VERDICT_UNWRITABLE);
    (void)world_observe(world, 2, A, HA_VERDICT_UNWRITABLE);
    assert_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 2000));
    world->config->services[0].failover_unwritable = true;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_non_null(world_wait_for(world, HA_COMMAND_BEGIN, REPLICAS, 100));
    world_free(world);
}

/* Requests of people */

static void test_people_cannot_speak_for_watchers(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    for (uint32_t kind = 0; ha_command_kind_valid(kind); kind++) {
        struct ha_command command = {.kind = (enum ha_command_kind)kind};
        struct ha_event event = {.kind = HA_EVENT_REQUEST,
                                 .u.request = {.request = 7, .command = &command}};
        bool allowed = kind == HA_COMMAND_CONFIG || kind == HA_COMMAND_PAUSE ||
                       kind == HA_COMMAND_RESUME || kind == HA_COMMAND_LIFT ||
                       kind == HA_COMMAND_NOTICE_DONE || kind == HA_COMMAND_TEST_NOTICE ||
                       kind == HA_COMMAND_REPLACE;

        print_message("# %s\n", ha_command_kind_text((enum ha_command_kind)kind));
        assert_int_equal(world_step(world, &event), allowed ? HA_OK : HA_EDENIED);
        assert_int_equal(world->out->count, allowed ? 1 : 0);
    }
    world_free(world);
}

static void test_operator_may_begin(void **state)
{
    static const struct {
        enum ha_reason reason;
        int want;
    } reasons[] = {{HA_REASON_OPERATOR, HA_OK},
                   {HA_REASON_SWITCHOVER, HA_OK},
                   {HA_REASON_DOWN, HA_EDENIED},
                   {HA_REASON_OPEN_FAILED, HA_EDENIED}};
    struct world *world = world_serving(HA_GATE_BPF);

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(reasons); i++) {
        struct ha_command command = {.kind = HA_COMMAND_BEGIN};
        struct ha_event event = {.kind = HA_EVENT_REQUEST,
                                 .u.request = {.request = 7, .command = &command}};

        command.u.begin.reason = reasons[i].reason;
        assert_int_equal(world_step(world, &event), reasons[i].want);
    }
    world_free(world);
}

/* A new leader that never heard of a proposal makes it itself; one that did waits for it first. */
static void test_proposals_are_repeated_not_doubled(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    uint32_t begun = 0;

    (void)state;
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_non_null(world_proposed(world, HA_COMMAND_BEGIN));
    for (int i = 0; i < 100; i++) { /* 2 s */
        world_tick(world, 20);
        begun += world_proposed(world, HA_COMMAND_BEGIN) != NULL;
        if (i % 5 == 0) {
            const struct ha_heartbeat beat = world_beat(world, B);

            world_hear(world, B, &beat);
        }
    }
    assert_in_range(begun, 1, 2);
    world_free(world);
}

/* Before the log says that the new primary has opened, and not before it says so itself: behind a
 * closed gate an attempt to connect costs a second. In async nobody waits for them. */
static void follow_while_it_opens(enum ha_durability durability)
{
    struct world *world = world_serving(HA_GATE_BPF);
    struct ha_heartbeat holder, replica;
    const struct ha_order *order;

    world->config->services[0].durability = durability;
    assert_int_equal(world_apply_config(world), HA_OK);
    assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
    world_reach(world, B, HA_GATE_BPF, HA_STATE_OPENING);
    holder = world_beat(world, B);
    holder.status.gate_open = false;
    holder.status.settled = false;
    world_hear(world, B, &holder);
    replica = world_beat(world, C);
    replica.status.follows = A;
    replica.status.sample.link_up = false;
    world_hear(world, C, &replica);
    assert_null(effects_order(world->out, "ag-c"));
    holder.status.gate_open = true; /* its address is still on its way */
    world_hear(world, B, &holder);
    assert_int_equal(world_service(world)->state, HA_STATE_OPENING);
    order = effects_order(world->out, "ag-c");
    if (durability == HA_DURABILITY_ASYNC) {
        assert_null(order);
    } else {
        assert_non_null(order);
        assert_int_equal(order->kind, HA_ORDER_FOLLOW);
        assert_int_equal(order->upstream, B);
        assert_int_equal(order->epoch, world_epoch(world));
    }
    world_free(world);
}

static void test_replicas_follow_from_the_primarys_own_word_on(void **state)
{
    static const enum ha_durability both[] = {HA_DURABILITY_SYNC, HA_DURABILITY_ASYNC};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(both); i++)
        follow_while_it_opens(both[i]);
}

/* A leader that is lost takes with it what it was told: the next one hears it soon, and who hears
 * of no leader asks less and less often. */
static void test_verdict_that_did_not_get_into_the_log_is_soon_said_again(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    const struct ha_command *command;
    uint32_t said = 0;

    (void)state;
    world_lead(world, false);
    for (uint64_t end_ms = world->now_ms + DOWN_AFTER + 10000; world->now_ms < end_ms;) {
        world_tick(world, 10);
        command = effects_proposal(world->out, HA_COMMAND_OBSERVE);
        if (command != NULL) {
            struct ha_command lost = *command;
            struct ha_event event = {.kind = HA_EVENT_PROPOSED,
                                     .u.proposed = {.code = HA_ENOQUORUM, .command = &lost}};

            for (uint32_t i = 0; i < lost.u.observe.count; i++)
                said += lost.u.observe.items[i].member == A &&
                                lost.u.observe.items[i].verdict == HA_VERDICT_SILENT
                            ? 1
                            : 0;
            if (said == 3)
                assert_in_range(world->now_ms, 0, end_ms - 10000 + 200);
            (void)world_step(world, &event);
        }
    }
    assert_in_range(said, 25, 35);
    world_free(world);
}

/* What only time brings is seen at that very moment, not at the next of the ticks 20 ms apart. */

static void test_silence_is_noticed_to_the_millisecond(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    uint64_t heard_ms = world->now_ms;

    (void)state;
    world_tick(world, 7);
    for (uint64_t wake_ms = 0; world->now_ms < heard_ms + 2 * DOWN_AFTER;) {
        wake_ms = ha_watcher_wake_ms(world->w);
        assert_true(wake_ms > world->now_ms && wake_ms <= world->now_ms + 20);
        world_tick(world, wake_ms - world->now_ms);
        if (effects_proposal(world->out, HA_COMMAND_OBSERVE) != NULL)
            break;
    }
    assert_int_equal(world->now_ms, heard_ms + DOWN_AFTER);
    world_free(world);
}

static void test_end_of_the_lease_is_noticed_to_the_millisecond(void **state)
{
    struct world *world = world_serving(HA_GATE_BPF);
    uint64_t now_ms;

    (void)state;
    world_crashed(world, 1);
    world_crashed(world, 2);
    assert_int_equal(world_begin(world, HA_REASON_DOWN, HA_MEMBER_NONE), HA_OK);
    now_ms = world->now_ms;
    world_stopped(world, 1, 333);
    world_stopped(world, 2, 333);
    while (world_proposed(world, HA_COMMAND_FENCED) == NULL &&
           world->now_ms < now_ms + 2 * (uint64_t)LEASE)
        world_tick(world, ha_watcher_wake_ms(world->w) - world->now_ms);
    assert_int_equal(world->now_ms, now_ms + 333 + ha_drift_ms(333));
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_one_verdict_is_a_rumour_two_are_a_fact),
    cmocka_unit_test(test_verdict_of_an_unheard_watcher_does_not_count),
    cmocka_unit_test(test_quorum_above_majority),
    cmocka_unit_test(test_only_the_leader_decides),
    cmocka_unit_test(test_nobody_to_replace_it_no_fence),
    cmocka_unit_test(test_last_position_is_logged_before_the_end),
    cmocka_unit_test(test_older_position_is_not_logged),
    cmocka_unit_test(test_position_of_who_claims_nothing_is_not_logged),
    cmocka_unit_test(test_who_clone_says_the_database_is_gone),
    cmocka_unit_test(test_who_rebooted_host_is_no_sign_of_life),
    cmocka_unit_test(test_who_rebooted_host_is_not_waited_for),
    cmocka_unit_test(test_own_standstill_is_not_silence),
    cmocka_unit_test(test_starved_watcher_tells_silence),
    cmocka_unit_test(test_a_renamed_history_is_logged_at_once),
    cmocka_unit_test(test_a_history_that_only_replicas_tell_is_logged),
    cmocka_unit_test(test_an_old_name_in_a_give_up_makes_no_strays),
    cmocka_unit_test(test_a_renamed_history_is_logged_before_the_end),
    cmocka_unit_test(test_position_is_logged_while_repointing),
    cmocka_unit_test(test_a_hung_replica_does_not_hold_up_the_end),
    cmocka_unit_test(test_the_wait_for_a_replica_ends_and_says_for_whom),
    cmocka_unit_test(test_nothing_is_ready_before_somebody_serves),
    cmocka_unit_test(test_small_progress_is_told_where_it_decides),
    cmocka_unit_test(test_an_idle_primary_costs_few_entries),
    cmocka_unit_test(test_positions_of_many_services_share_an_entry),
    cmocka_unit_test(test_probes_rest_while_all_is_well),
    cmocka_unit_test(test_fresh_positions_before_the_choice),
    cmocka_unit_test(test_who_stays_silent_is_not_waited_for),
    cmocka_unit_test(test_first_primary_waits_for_all_members),
    cmocka_unit_test(test_candidate_must_reach_a_majority),
    cmocka_unit_test(test_agents_that_know_more_are_explained),
    cmocka_unit_test(test_no_candidate_is_retried_each_second),
    cmocka_unit_test(test_opening_needs_the_word_of_the_chosen_instance),
    cmocka_unit_test(test_opening_failed_candidate_means_the_next_at_once),
    cmocka_unit_test(test_candidate_fails),
    cmocka_unit_test(test_who_cannot_open_is_fenced_and_not_tried_next),
    cmocka_unit_test(test_opened_when_it_holds_all),
    cmocka_unit_test(test_paused_service_is_left_alone),
    cmocka_unit_test(test_pause_ends_by_itself),
    cmocka_unit_test(test_rate_limit_counts_what_succeeded_and_can_be_lifted),
    cmocka_unit_test(test_rate_limit_forgets),
    cmocka_unit_test(test_not_automatic_only_on_request),
    cmocka_unit_test(test_unwritable_is_a_matter_of_policy),
    cmocka_unit_test(test_people_cannot_speak_for_watchers),
    cmocka_unit_test(test_operator_may_begin),
    cmocka_unit_test(test_proposals_are_repeated_not_doubled),
    cmocka_unit_test(test_replicas_follow_from_the_primarys_own_word_on),
    cmocka_unit_test(test_silence_is_noticed_to_the_millisecond),
    cmocka_unit_test(test_end_of_the_lease_is_noticed_to_the_millisecond),
    cmocka_unit_test(test_verdict_that_did_not_get_into_the_log_is_soon_said_again),
};

HA_TEST_MAIN("core/watcher", tests)
