/* Every kind of entry accepted and refused: a refused one changes nothing, a doubled, late or
 * forged one is refused. */
#include "lib/core/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

/* Apply what must be refused with @want, and see that nothing has changed by it. */
static void refuse(struct world *world, struct ha_command *command, int want)
{
    struct ha_cluster *cluster = &world->w->cluster;
    struct ha_cluster *before = malloc(sizeof(*before));
    struct ha_err err = {0};

    assert_non_null(before);
    command->wall_ms = world->wall_ms;
    memcpy(before, cluster, sizeof(*before));
    assert_int_equal(ha_cluster_apply(cluster, cluster->index + 1, command, &err), want);
    assert_int_equal(err.code, want);
    assert_true(err.text[0] != '\0');
    assert_int_equal(cluster->index, before->index + 1);
    before->index = cluster->index;
    before->wall_ms = cluster->wall_ms;
    assert_memory_equal(cluster, before, sizeof(*before));
    free(before);
}

static struct world *world_in(enum ha_state state)
{
    struct world *world = world_new(3);

    world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
    if (state == HA_STATE_STEADY)
        return world;
    assert_int_equal(world_begin(world, HA_REASON_OPERATOR, HA_MEMBER_NONE), HA_OK);
    if (state == HA_STATE_FENCING)
        return world;
    assert_int_equal(world_fenced(world, HA_FENCE_EXPIRED, 3), HA_OK);
    if (state == HA_STATE_NO_CANDIDATE)
        assert_int_equal(world_promote(world, HA_MEMBER_NONE, HA_GATE_NONE), HA_OK);
    else if (state != HA_STATE_SELECTING)
        world_reach(world, B, HA_GATE_BPF, state);
    assert_int_equal(world_service(world)->state, state);
    return world;
}

static enum ha_move move_of(enum ha_command_kind kind)
{
    static const struct {
        enum ha_command_kind kind;
        enum ha_move move;
    } map[] = {{HA_COMMAND_BEGIN, HA_MOVE_BEGIN},        {HA_COMMAND_GIVE_UP, HA_MOVE_GIVE_UP},
               {HA_COMMAND_FENCED, HA_MOVE_FENCED},      {HA_COMMAND_PROMOTE, HA_MOVE_PROMOTE},
               {HA_COMMAND_NONE, HA_MOVE_NONE},          {HA_COMMAND_PROMOTED, HA_MOVE_PROMOTED},
               {HA_COMMAND_FAILED, HA_MOVE_FAILED},      {HA_COMMAND_OPENED, HA_MOVE_OPENED},
               {HA_COMMAND_REPOINTED, HA_MOVE_REPOINTED}};

    for (size_t i = 0; i < HA_ARRAY_LEN(map); i++)
        if (map[i].kind == kind)
            return map[i].move;
    HA_UNREACHABLE();
}

/* An entry of that kind that is right for the present state and epoch. */
static struct ha_command fitting(const struct world *world, enum ha_command_kind kind)
{
    const struct ha_service *service = world_service(world);
    struct ha_command command = {.kind = kind};
    const struct ha_ref ref = {service->id, service->epoch};

    switch (move_of(kind)) {
    case HA_MOVE_BEGIN:
        command.u.begin = (struct ha_command_begin){.ref = ref, .reason = HA_REASON_OPERATOR};
        break;
    case HA_MOVE_GIVE_UP:
        command.u.give_up = (struct ha_command_give_up){
            .ref = ref, .member = service->primary, .instance = service->instance};
        if (service->state == HA_STATE_FENCING)
            command.u.give_up = (struct ha_command_give_up){.ref = {ref.service, ref.epoch - 1},
                                                            .member = service->open_member,
                                                            .instance = service->open_instance};
        break;
    case HA_MOVE_FENCED:
        command.u.fenced =
            (struct ha_command_fenced){.ref = ref, .how = HA_FENCE_EXPIRED, .stopped = 3};
        break;
    case HA_MOVE_PROMOTE:
        command.u.promote = (struct ha_command_promote){
            .ref = ref, .member = C, .instance = INSTANCE(C), .gate = HA_GATE_BPF};
        break;
    case HA_MOVE_NONE:
        command.u.promote.ref = ref;
        break;
    case HA_MOVE_PROMOTED:
    case HA_MOVE_FAILED:
    case HA_MOVE_OPENED:
    case HA_MOVE_REPOINTED:
        command.u.outcome.ref = ref;
        break;
    }
    return command;
}

static struct ha_ref *ref_in(struct ha_command *command)
{
    switch (move_of(command->kind)) {
    case HA_MOVE_BEGIN:
        return &command->u.begin.ref;
    case HA_MOVE_GIVE_UP:
        return &command->u.give_up.ref;
    case HA_MOVE_FENCED:
        return &command->u.fenced.ref;
    case HA_MOVE_PROMOTE:
    case HA_MOVE_NONE:
        return &command->u.promote.ref;
    case HA_MOVE_PROMOTED:
    case HA_MOVE_FAILED:
    case HA_MOVE_OPENED:
    case HA_MOVE_REPOINTED:
        return &command->u.outcome.ref;
    }
    HA_UNREACHABLE();
}

/* In each state each entry does what the table says: moves there, or is refused as superseded. */
static void test_each_entry_in_each_state_as_the_table_says(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < HA_STATE_COUNT; from++) {
        for (uint32_t kind = HA_COMMAND_GIVE_UP; kind <= HA_COMMAND_REPOINTED; kind++) {
            struct world *world = world_in((enum ha_state)from);
            struct ha_command command = fitting(world, (enum ha_command_kind)kind);
            const struct ha_failover_row *row =
                ha_failover_row((enum ha_state)from, move_of(command.kind));

            print_message("# %s %s\n", ha_state_text((enum ha_state)from),
                          ha_command_kind_text(command.kind));
            if (row == NULL) {
                refuse(world, &command, HA_ESTALE);
            } else {
                assert_int_equal(world_commit(world, &command), HA_OK);
                assert_int_equal(world_service(world)->state, row->to);
            }
            world_free(world);
        }
    }
}

/* Of another epoch: from a leader that slept, or of a failover long past. */
static void test_each_entry_of_another_epoch_is_refused(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < HA_STATE_COUNT; from++) {
        struct world *world = world_in((enum ha_state)from);

        for (uint32_t kind = HA_COMMAND_GIVE_UP; kind <= HA_COMMAND_REPOINTED; kind++) {
            for (int off = -1; off <= 1; off += 2) {
                struct ha_command command = fitting(world, (enum ha_command_kind)kind);

                print_message("# %s %s %+d\n", ha_state_text((enum ha_state)from),
                              ha_command_kind_text(command.kind), off);
                ref_in(&command)->epoch += (uint64_t)off;
                refuse(world, &command, HA_ESTALE);
            }
        }
        world_free(world);
    }
}

static void test_each_entry_about_no_service_is_refused(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);

    (void)state;
    for (uint32_t kind = HA_COMMAND_GIVE_UP; kind <= HA_COMMAND_REPOINTED; kind++) {
        struct ha_command command = fitting(world, (enum ha_command_kind)kind);

        ref_in(&command)->service += HA_SERVICES_MAX; /* its slot, another life */
        refuse(world, &command, HA_ENOENT);
    }
    for (uint32_t kind = HA_COMMAND_PAUSE; kind <= HA_COMMAND_LIFT; kind++) {
        struct ha_command command = {.kind = (enum ha_command_kind)kind};

        command.u.pause.service = world_service(world)->id + HA_SERVICES_MAX;
        refuse(world, &command, HA_ENOENT);
    }
    world_free(world);
}

/* Doubled: the second of two equal entries never counts. */
static void test_doubled_entries_do_nothing(void **state)
{
    static const struct {
        enum ha_state from;
        enum ha_command_kind kind;
    } doubles[] = {
        {HA_STATE_STEADY, HA_COMMAND_BEGIN},      {HA_STATE_STEADY, HA_COMMAND_GIVE_UP},
        {HA_STATE_FENCING, HA_COMMAND_GIVE_UP},   {HA_STATE_FENCING, HA_COMMAND_FENCED},
        {HA_STATE_SELECTING, HA_COMMAND_PROMOTE}, {HA_STATE_PROMOTING, HA_COMMAND_PROMOTED},
        {HA_STATE_PROMOTING, HA_COMMAND_FAILED},  {HA_STATE_OPENING, HA_COMMAND_OPENED},
        {HA_STATE_OPENING, HA_COMMAND_GIVE_UP},   {HA_STATE_REPOINTING, HA_COMMAND_REPOINTED}};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(doubles); i++) {
        struct world *world = world_in(doubles[i].from);
        struct ha_command command = fitting(world, doubles[i].kind);

        print_message("# %s %s\n", ha_state_text(doubles[i].from),
                      ha_command_kind_text(doubles[i].kind));
        assert_int_equal(world_commit(world, &command), HA_OK);
        refuse(world, &command, HA_ESTALE);
        world_free(world);
    }
}

static void test_epochs_only_grow(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < HA_STATE_COUNT; from++) {
        for (uint32_t kind = HA_COMMAND_GIVE_UP; kind <= HA_COMMAND_REPOINTED; kind++) {
            struct world *world = world_in((enum ha_state)from);
            struct ha_command command = fitting(world, (enum ha_command_kind)kind);
            uint64_t before = world_epoch(world);
            uint32_t primary = world_service(world)->primary;

            (void)world_commit(world, &command);
            assert_true(world_epoch(world) >= before);
            /* One epoch has one primary. */
            if (world_epoch(world) == before && primary != HA_MEMBER_NONE)
                assert_int_equal(world_service(world)->primary, primary);
            world_free(world);
        }
    }
}

/* The evidence an entry must bring */

static void test_begin_needs_its_evidence_in_the_log(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = fitting(world, HA_COMMAND_BEGIN);

    (void)state;
    command.u.begin.reason = HA_REASON_DOWN;
    command.u.begin.agreeing = 7;
    refuse(world, &command, HA_EDENIED);
    (void)world_observe(world, 0, A, HA_VERDICT_CRASHED);
    (void)world_observe(world, 1, A, HA_VERDICT_BUSY);
    (void)world_observe(world, 2, B, HA_VERDICT_CRASHED);
    refuse(world, &command, HA_EDENIED);
    (void)world_observe(world, 1, A, HA_VERDICT_SILENT);
    command.u.begin.agreeing = 1; /* whose verdict counted is for the proposer to say */
    refuse(world, &command, HA_EDENIED);
    command.u.begin.agreeing = 7;
    assert_int_equal(world_commit(world, &command), HA_OK);
    world_free(world);
}

static void test_begin_for_reasons_nobody_may_give(void **state)
{
    static const enum ha_reason reasons[] = {HA_REASON_NONE, HA_REASON_FIRST, HA_REASON_GIVE_UP,
                                             HA_REASON_DELETED, HA_REASON_PROMOTE_FAILED};
    struct world *world = world_in(HA_STATE_STEADY);

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(reasons); i++) {
        struct ha_command command = fitting(world, HA_COMMAND_BEGIN);

        command.u.begin.reason = reasons[i];
        refuse(world, &command, HA_EINVAL);
    }
    {
        struct ha_command command = fitting(world, HA_COMMAND_BEGIN);

        command.u.begin.reason = HA_REASON_OPEN_FAILED; /* it has opened */
        refuse(world, &command, HA_ESTALE);
    }
    world_free(world);
}

static void test_begin_with_a_target(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = fitting(world, HA_COMMAND_BEGIN);

    (void)state;
    command.u.begin.target = 7;
    refuse(world, &command, HA_ENOENT);
    command.u.begin.target = A;
    refuse(world, &command, HA_EDENIED);
    command.u.begin.target = C;
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->target, C);
    world_free(world);
}

static void test_fenced_needs_its_evidence(void **state)
{
    struct world *world = world_in(HA_STATE_FENCING);
    struct ha_command command = fitting(world, HA_COMMAND_FENCED);

    (void)state;
    command.u.fenced.stopped = 1;
    refuse(world, &command, HA_EDENIED);
    command.u.fenced.stopped = 1 | 8 | 16; /* watchers there are not */
    refuse(world, &command, HA_EDENIED);
    command.u.fenced.how = HA_FENCE_NONE;
    refuse(world, &command, HA_EINVAL);
    command.u.fenced.how = HA_FENCE_NEVER_OPENED;
    refuse(world, &command, HA_EINVAL);
    command.u.fenced.how = HA_FENCE_REPORT;
    command.u.fenced.instance = 0x999;
    refuse(world, &command, HA_EDENIED);
    command.u.fenced.instance = INSTANCE(A);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->fence, HA_FENCE_REPORT);
    world_free(world);
}

static void test_promote_needs_a_member_and_its_instance(void **state)
{
    struct world *world = world_in(HA_STATE_SELECTING);
    struct ha_command command = fitting(world, HA_COMMAND_PROMOTE);

    (void)state;
    command.u.promote.member = 7;
    refuse(world, &command, HA_ENOENT);
    command.u.promote.member = HA_MEMBER_NONE;
    refuse(world, &command, HA_ENOENT);
    command = fitting(world, HA_COMMAND_PROMOTE);
    command.u.promote.instance = HA_INSTANCE_NONE;
    refuse(world, &command, HA_ENOENT);
    command = fitting(world, HA_COMMAND_PROMOTE);
    command.u.promote.fit_count = HA_MEMBERS_MAX + 1;
    refuse(world, &command, HA_EINVAL);
    world_free(world);
}

/* Invariant 4, whatever the machine says: the last line of defence. */
static void test_promote_never_without_a_fence(void **state)
{
    struct world *world = world_in(HA_STATE_SELECTING);
    struct ha_service *service = ha_cluster_service(&world->w->cluster, world_service(world)->id);
    struct ha_command command = fitting(world, HA_COMMAND_PROMOTE);

    (void)state;
    service->fence = HA_FENCE_NONE;
    refuse(world, &command, HA_EDENIED);
    world_free(world);
}

static void test_give_up_in_each_state_by_whoever_holds_it(void **state)
{
    static const struct {
        enum ha_state from;
        enum ha_state to;
        enum ha_fence fence;
    } cases[] = {{HA_STATE_STEADY, HA_STATE_SELECTING, HA_FENCE_REPORT},
                 {HA_STATE_OPENING, HA_STATE_SELECTING, HA_FENCE_REPORT},
                 {HA_STATE_REPOINTING, HA_STATE_SELECTING, HA_FENCE_REPORT},
                 {HA_STATE_FENCING, HA_STATE_SELECTING, HA_FENCE_REPORT},
                 /* It never opened: what fenced the epoch before still holds. */
                 {HA_STATE_PROMOTING, HA_STATE_SELECTING, HA_FENCE_EXPIRED}};

    (void)state;
    for (size_t i = 0; i < HA_ARRAY_LEN(cases); i++) {
        struct world *world = world_in(cases[i].from);
        struct ha_command command = fitting(world, HA_COMMAND_GIVE_UP);
        uint64_t epoch = world_epoch(world);

        print_message("# %s\n", ha_state_text(cases[i].from));
        command.u.give_up.instance++;
        refuse(world, &command, HA_ESTALE);
        command.u.give_up.instance = HA_INSTANCE_NONE;
        refuse(world, &command, HA_ESTALE);
        command = fitting(world, HA_COMMAND_GIVE_UP);
        command.u.give_up.member = C;
        refuse(world, &command, HA_ESTALE);
        command = fitting(world, HA_COMMAND_GIVE_UP);
        assert_int_equal(world_commit(world, &command), HA_OK);
        assert_int_equal(world_service(world)->state, cases[i].to);
        assert_int_equal(world_service(world)->fence, cases[i].fence);
        assert_int_equal(world_epoch(world), cases[i].from == HA_STATE_FENCING ? epoch : epoch + 1);
        assert_int_equal(world_service(world)->primary, HA_MEMBER_NONE);
        world_free(world);
    }
}

/* Positions */

static struct ha_position at(uint64_t lineage, uint64_t offset)
{
    return (struct ha_position){.offset = offset,
                                .lineage = {.count = 1, .steps = {{lineage, UINT64_MAX}}}};
}

static void test_positions_only_of_the_open_epoch_and_only_on(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = {.kind = HA_COMMAND_POSITIONS};
    struct ha_command_position *item = &command.u.positions.items[0];

    (void)state;
    command.u.positions.count = 1;
    *item = (struct ha_command_position){.ref = {world_service(world)->id, world_epoch(world)},
                                         .position = at(LINEAGE, HEAD + 5)};
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->position.offset, HEAD + 5);
    item->position.offset = HEAD + 4;
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->position.offset, HEAD + 5);
    item->position = at(LINEAGE, HEAD + 9);
    item->ref.epoch--;
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->position.offset, HEAD + 5);
    command.u.positions.count = HA_POSITIONS_MAX + 1;
    refuse(world, &command, HA_EINVAL);
    world_free(world);
}

/* A late one would hide what is lost. */
static void test_positions_of_an_ended_epoch_do_not_count(void **state)
{
    struct world *world = world_in(HA_STATE_FENCING);
    struct ha_command command = {.kind = HA_COMMAND_POSITIONS};

    (void)state;
    command.u.positions.count = 1;
    command.u.positions.items[0] = (struct ha_command_position){
        .ref = {world_service(world)->id, world_epoch(world)}, .position = at(LINEAGE, HEAD + 5)};
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->position.offset, HEAD);
    world_free(world);
}

/* The database of the old primary has started anew with a history of its own before its agent gave
 * the epoch up: measured against that, every replica would be a stray. */
static void test_give_up_brings_no_other_history(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = fitting(world, HA_COMMAND_GIVE_UP);

    (void)state;
    command.u.give_up.position = at(LINEAGE + 1, HEAD + 100);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->position.offset, HEAD);
    assert_int_equal(world_service(world)->position.lineage.steps[0].id, LINEAGE);
    world_free(world);
}

static void test_give_up_brings_the_last_position(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = fitting(world, HA_COMMAND_GIVE_UP);

    (void)state;
    command.u.give_up.position = at(LINEAGE, HEAD + 100);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->position.offset, HEAD + 100);
    world_free(world);
}

/* A watcher that heard little of it lately hears its end: what was logged before still counts. */
static void test_give_up_brings_no_older_position(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = fitting(world, HA_COMMAND_GIVE_UP);

    (void)state;
    command.u.give_up.position = at(LINEAGE, HEAD - 1);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->position.offset, HEAD);
    world_free(world);
}

/* Verdicts */

static void test_observe(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = {.kind = HA_COMMAND_OBSERVE};

    (void)state;
    command.u.observe.watcher = 3;
    refuse(world, &command, HA_EINVAL);
    command.u.observe.watcher = 0;
    command.u.observe.count = HA_OBSERVE_MAX + 1;
    refuse(world, &command, HA_EINVAL);
    command.u.observe.count = 2;
    command.u.observe.items[0] = (struct ha_observation){12345, A, HA_VERDICT_SILENT}; /* removed */
    command.u.observe.items[1] =
        (struct ha_observation){world_service(world)->id, B, HA_VERDICT_SILENT};
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_service(world)->members[1].verdicts[0], HA_VERDICT_SILENT);
    world_free(world);
}

static void test_watchers(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = {.kind = HA_COMMAND_WATCHERS};

    (void)state;
    command.u.watchers.set_id = SET;
    command.u.watchers.count = 5;
    refuse(world, &command, HA_EEXIST);
    command.u.watchers.set_id = 0;
    refuse(world, &command, HA_EINVAL);
    command.u.watchers.set_id = SET + 1;
    command.u.watchers.count = 0;
    refuse(world, &command, HA_EINVAL);
    command.u.watchers.count = HA_WATCHERS_MAX + 1;
    refuse(world, &command, HA_EINVAL);
    command.u.watchers.count = 5;
    (void)world_observe(world, 0, A, HA_VERDICT_SILENT);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(ha_cluster_majority(&world->w->cluster), 3);
    assert_int_equal(world_service(world)->members[0].verdicts[0], HA_VERDICT_UNKNOWN);
    world_free(world);
}

static void test_pause(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = {.kind = HA_COMMAND_RESUME};

    (void)state;
    command.u.pause.service = world_service(world)->id;
    refuse(world, &command, HA_ESTALE);
    assert_int_equal(world_pause(world, HA_COMMAND_PAUSE), HA_OK);
    assert_string_equal(world_service(world)->paused_by, "anna");
    assert_string_equal(world_service(world)->paused_why, "works");
    assert_int_equal(world_pause(world, HA_COMMAND_RESUME), HA_OK);
    assert_false(world_service(world)->paused);
    assert_string_equal(world_service(world)->paused_by, "");
    world_free(world);
}

static void test_unknown_kind_is_a_refused_no_op(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command;

    (void)state;
    memset(&command, 0xff, sizeof(command));
    refuse(world, &command, HA_EINVAL);
    world_free(world);
}

static void test_wall_time_never_goes_back(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    struct ha_command command = {.kind = HA_COMMAND_NOTHING};
    uint64_t before = world->w->cluster.wall_ms;

    (void)state;
    command.wall_ms = before - 1000;
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world->w->cluster.wall_ms, before);
    world_free(world);
}

/* Equal entries, equal bytes: two watchers with different clocks, roles and views. */
static void test_equal_entries_give_equal_state(void **state)
{
    struct world *one = world_in(HA_STATE_STEADY), *other = world_bare(3, 1000);

    (void)state;
    other->now_ms += 77777;
    other->w->cluster = one->w->cluster;
    for (uint32_t kind = HA_COMMAND_GIVE_UP; kind <= HA_COMMAND_REPOINTED; kind++) {
        struct ha_command command = fitting(one, (enum ha_command_kind)kind);

        command.wall_ms = 7000000;
        assert_int_equal(world_commit(one, &command), world_commit(other, &command));
        assert_memory_equal(&one->w->cluster, &other->w->cluster, sizeof(one->w->cluster));
    }
    world_free(one);
    world_free(other);
}

static void test_history_is_a_ring(void **state)
{
    struct world *world = world_in(HA_STATE_STEADY);
    uint64_t first = world->w->cluster.decision_last;

    (void)state;
    for (int i = 0; i < HA_HISTORY_MAX + 5; i++) {
        assert_int_equal(world_give_up(world, world_epoch(world), A, INSTANCE(A)), HA_OK);
        world_reach(world, A, HA_GATE_BPF, HA_STATE_STEADY);
    }
    assert_null(ha_cluster_decision(&world->w->cluster, first));
    assert_null(ha_cluster_decision(&world->w->cluster, 0));
    assert_non_null(ha_cluster_decision(&world->w->cluster, world->w->cluster.decision_last));
    assert_null(ha_cluster_decision(&world->w->cluster, world->w->cluster.decision_last + 1));
    assert_int_equal(world_service(world)->recent_count, HA_RECENT_MAX);
    world_free(world);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_each_entry_in_each_state_as_the_table_says),
    cmocka_unit_test(test_each_entry_of_another_epoch_is_refused),
    cmocka_unit_test(test_each_entry_about_no_service_is_refused),
    cmocka_unit_test(test_doubled_entries_do_nothing),
    cmocka_unit_test(test_epochs_only_grow),
    cmocka_unit_test(test_begin_needs_its_evidence_in_the_log),
    cmocka_unit_test(test_begin_for_reasons_nobody_may_give),
    cmocka_unit_test(test_begin_with_a_target),
    cmocka_unit_test(test_fenced_needs_its_evidence),
    cmocka_unit_test(test_promote_needs_a_member_and_its_instance),
    cmocka_unit_test(test_promote_never_without_a_fence),
    cmocka_unit_test(test_give_up_in_each_state_by_whoever_holds_it),
    cmocka_unit_test(test_positions_only_of_the_open_epoch_and_only_on),
    cmocka_unit_test(test_positions_of_an_ended_epoch_do_not_count),
    cmocka_unit_test(test_give_up_brings_no_other_history),
    cmocka_unit_test(test_give_up_brings_the_last_position),
    cmocka_unit_test(test_give_up_brings_no_older_position),
    cmocka_unit_test(test_observe),
    cmocka_unit_test(test_watchers),
    cmocka_unit_test(test_pause),
    cmocka_unit_test(test_unknown_kind_is_a_refused_no_op),
    cmocka_unit_test(test_wall_time_never_goes_back),
    cmocka_unit_test(test_equal_entries_give_equal_state),
    cmocka_unit_test(test_history_is_a_ring),
};

HA_TEST_MAIN("core/cluster", tests)
