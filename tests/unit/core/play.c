#include "tests/unit/core/play.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/core/sync.h"
#include "tests/support/cmocka_ha.h"

struct play *play_new(enum ha_durability durability)
{
    struct play *play = calloc(1, sizeof(*play));

    assert_non_null(play);
    play->world = world_bare(3, 0);
    play->world->config->services[0].engine = HA_ENGINE_POSTGRESQL;
    play->world->config->services[0].durability = durability;
    play->world->config->services[0].sync_grace_ms = GRACE_MS;
    play->world = world_start(play->world, 3);
    play->commits = UINT32_MAX;
    for (uint32_t m = A; m <= C; m++) {
        play->pos[m] = HEAD;
        play->instance[m] = INSTANCE(m);
        play->lineage[m] = LINEAGE;
    }
    return play;
}

void play_free(struct play *play)
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
    if (play->gone[member] || play->unheard[member] || play->deaf[member])
        return;
    if (order->kind == HA_ORDER_SERVE && member == A) {
        play->names = order->sync;
        play->epoch = order->epoch;
        if (!play->mumbles)
            play->index = order->sync_index;
    }
    if (order->kind == HA_ORDER_FOLLOW)
        play->named[member] = order->epoch;
    if (order->kind == HA_ORDER_SEAL)
        play->sealed[member] = order->epoch;
    if (order->kind == HA_ORDER_REPORT)
        play->reported[member] = order->epoch;
}

static bool is_about_sets(const struct ha_command *command)
{
    return command->kind == HA_COMMAND_SYNC_INTEND || command->kind == HA_COMMAND_SYNC_FORCE;
}

/* Whether the log takes it: of the changes of the set, as many as the test lets through. */
static bool may_commit(struct play *play, const struct ha_command *command)
{
    if (command->kind == HA_COMMAND_NONE)
        return true;
    if (!is_about_sets(command) || play->commits == 0)
        return false;
    if (play->commits != UINT32_MAX)
        play->commits--;
    return true;
}

/* At most one entry comes out of a step here, and its commit clears the list. */
static void take_effects(struct play *play)
{
    static struct ha_effects now;

    memcpy(&now, play->world->out, sizeof(now));
    for (uint32_t i = 0; i < now.count; i++) {
        const struct ha_effect *effect = &now.items[i];
        const struct ha_command *command = &effect->u.command;

        if (effect->kind == HA_EFFECT_ORDER)
            take_order(play, (uint32_t)(effect->u.order.agent[3] - 'a' + 1),
                       &effect->u.order.order);
        if (effect->kind != HA_EFFECT_PROPOSE)
            continue;
        if (command->kind == HA_COMMAND_PROMOTE) {
            play->promoted = command->u.promote.member;
            play->promote = *command;
        }
        play->refused = play->refused || command->kind == HA_COMMAND_NONE;
        play->fenced_by_seals = play->fenced_by_seals || (command->kind == HA_COMMAND_FENCED &&
                                                          command->u.fenced.how == HA_FENCE_SEALED);
    }
    for (uint32_t i = 0; i < now.count; i++) {
        const struct ha_command command = now.items[i].u.command;

        if (now.items[i].kind != HA_EFFECT_PROPOSE || !may_commit(play, &command))
            continue;
        commit(play, &command);
        return;
    }
}

void play_hear(struct play *play, uint32_t member)
{
    struct ha_heartbeat beat = world_beat(play->world, member);
    struct ha_status *status = &beat.status;
    char names[4][HA_NAME_SIZE] = {"", "a", "b", "c"}, text[HA_SYNC_NAMES_SIZE];

    beat.instance = play->instance[member];
    status->sample.position.offset = play->pos[member];
    status->sample.position.lineage.steps[0].id = play->lineage[member];
    status->sealed = play->sealed[member];
    if (play->reported[member] != 0) {
        status->order = HA_ORDER_REPORT;
        status->order_epoch = play->reported[member];
        status->result = HA_RESULT_DONE;
    }
    if (status->epoch == 0) {
        ha_sync_name(text, names[member],
                     play->named[member] != 0 ? play->named[member] : world_epoch(play->world));
        status->sample.sync_id = ha_sync_id(text);
    } else {
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

void play_rounds(struct play *play, uint32_t count, bool primary)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t having = 0;

        if (primary)
            play->pos[A] += 10;
        for (uint32_t m = B; m <= C; m++) {
            if (!primary || play->gone[m] || play->lags[m])
                continue;
            play->pos[m] = play->pos[A];
            having += (play->names.members >> m & 1u) != 0;
        }
        if (primary && play->names.need > 0 && having >= play->names.need)
            play->acked = play->pos[A];
        world_tick(play->world, ROUND_MS);
        take_effects(play);
        for (uint32_t m = A; m <= C; m++)
            if (m == A ? primary : !play->gone[m] && !play->unheard[m])
                play_hear(play, m);
    }
}

const struct ha_sync *play_sync(const struct play *play)
{
    return &world_service(play->world)->sync;
}

struct play *play_serving(enum ha_durability durability)
{
    struct play *play = play_new(durability);

    for (uint32_t m = A; m <= C; m++)
        play_hear(play, m);
    world_reach(play->world, A, HA_GATE_BPF, HA_STATE_OPENING);
    play_rounds(play, 2, true);
    assert_int_equal(play_sync(play)->count, 1);
    assert_int_equal(world_outcome(play->world, HA_COMMAND_OPENED), HA_OK);
    take_effects(play);
    assert_int_equal(world_outcome(play->world, HA_COMMAND_REPOINTED), HA_OK);
    take_effects(play);
    play_rounds(play, 8, true);
    assert_true(play_sync(play)->in_force);
    assert_int_equal(play_sync(play)->count, 1);
    assert_int_equal(play_sync(play)->sets[0].set.need, 1);
    assert_int_equal(play_sync(play)->sets[0].set.members, 1u << B | 1u << C);
    return play;
}

void play_selects(struct play *play, uint32_t rounds)
{
    play->promoted = HA_MEMBER_NONE;
    play->refused = false;
    for (uint32_t i = 0; i < rounds && play->promoted == HA_MEMBER_NONE; i++)
        play_rounds(play, 1, false);
}

void play_primary_ends(struct play *play)
{
    struct ha_heartbeat beat = world_beat(play->world, A);

    beat.status.process = HA_PROCESS_GONE;
    world_hear(play->world, A, &beat);
    play->promoted = HA_MEMBER_NONE;
    play->refused = false;
    assert_int_equal(world_give_up(play->world, world_epoch(play->world), A, INSTANCE(A)), HA_OK);
    take_effects(play);
}

void play_primary_dies(struct play *play)
{
    play_primary_ends(play);
    if (play->promoted == HA_MEMBER_NONE)
        play_selects(play, 20);
}
