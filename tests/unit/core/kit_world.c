#include <stdlib.h>
#include <string.h>

#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"
#include "tests/unit/core/kit.h"

static void name_watchers(char names[HA_WATCHERS_MAX][HA_NAME_SIZE], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        (void)ha_text_format(names[i], HA_NAME_SIZE, "w%u", i + 1);
}

static void default_config(struct ha_config *config)
{
    struct ha_service_config *service = &config->services[0];

    config->service_count = 1;
    ha_service_config_defaults(service);
    (void)ha_text_copy(service->name, sizeof(service->name), "cache");
    service->member_count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        struct ha_member_config *member = &service->members[i];

        member->name[0] = (char)('a' + i);
        (void)ha_text_format(member->agent, sizeof(member->agent), "ag-%c", (char)('a' + i));
        (void)ha_text_format(member->host, sizeof(member->host), "10.0.0.%u", i + 1);
        member->port = 6379;
        member->priority = HA_PRIORITY_DEFAULT;
        member->agent_port = HA_AGENT_PORT_DEFAULT;
    }
}

struct world *world_bare(uint32_t watchers, uint32_t promise_max_ms)
{
    struct world *world = calloc(1, sizeof(*world));
    struct ha_watcher_options options = {.name = "w1",
                                         .set_id = SET,
                                         .watcher_count = watchers,
                                         .promise_max_ms = promise_max_ms,
                                         .now_ms = 10000};

    assert_non_null(world);
    world->w = calloc(1, sizeof(*world->w));
    world->out = calloc(1, sizeof(*world->out));
    world->config = calloc(1, sizeof(*world->config));
    assert_true(world->w != NULL && world->out != NULL && world->config != NULL);
    name_watchers(options.watchers, watchers);
    world->now_ms = options.now_ms;
    world->wall_ms = 5000000;
    default_config(world->config);
    ha_watcher_init(world->w, &options);
    return world;
}

struct world *world_new(uint32_t watchers)
{
    return world_start(world_bare(watchers, 0), watchers);
}

struct world *world_start(struct world *world, uint32_t watchers)
{
    struct ha_command command = {.kind = HA_COMMAND_WATCHERS};
    struct ha_event event = {.kind = HA_EVENT_CAUGHT_UP};

    command.u.watchers.set_id = SET;
    command.u.watchers.count = watchers;
    name_watchers(command.u.watchers.names, watchers);
    assert_int_equal(world_commit(world, &command), HA_OK);
    assert_int_equal(world_speak(world, 0), HA_OK);
    assert_int_equal(world_apply_config(world), HA_OK);
    (void)world_step(world, &event);
    event = (struct ha_event){.kind = HA_EVENT_PERSISTED_PROMISE, .u.persisted_ms = LEASE};
    (void)world_step(world, &event);
    world_lead(world, true);
    for (uint32_t i = 1; i < watchers; i++)
        world_peer(world, i, true);
    return world;
}

int world_speak(struct world *world, uint32_t watcher)
{
    struct ha_command command = {.kind = HA_COMMAND_OBSERVE};

    command.u.observe.watcher = watcher;
    return world_commit(world, &command);
}

void world_free(struct world *world)
{
    free(world->config);
    free(world->out);
    free(world->w);
    free(world);
}

const struct ha_service *world_service(const struct world *world)
{
    return ha_cluster_service_named(&world->w->cluster, "cache");
}

uint64_t world_epoch(const struct world *world)
{
    return world_service(world)->epoch;
}

int world_step(struct world *world, struct ha_event *event)
{
    event->now_ms = world->now_ms;
    event->wall_ms = world->wall_ms;
    ha_effects_clear(world->out);
    memset(&world->err, 0, sizeof(world->err));
    return ha_watcher_step(world->w, event, world->out, &world->err);
}

void world_tick(struct world *world, uint64_t later_ms)
{
    struct ha_event event = {.kind = HA_EVENT_TICK};

    world->now_ms += later_ms;
    world->wall_ms += later_ms;
    (void)world_step(world, &event);
}

int world_commit(struct world *world, struct ha_command *command)
{
    struct ha_event event = {
        .kind = HA_EVENT_COMMITTED,
        .u.committed = {.index = world->w->cluster.index + 1, .command = command}};

    if (command->wall_ms == 0)
        command->wall_ms = world->wall_ms;
    return world_step(world, &event);
}

void world_lead(struct world *world, bool leader)
{
    struct ha_event event = {.kind = HA_EVENT_ROLE};

    event.u.role.leader = leader;
    event.u.role.term = world->w->term + 1;
    (void)world_step(world, &event);
}

void world_peer(struct world *world, uint32_t watcher, bool heard)
{
    struct ha_event event = {.kind = HA_EVENT_PEER, .u.peer = {.watcher = watcher, .heard = heard}};

    (void)world_step(world, &event);
}

/* Entries */

static struct ha_ref ref_of(const struct world *world)
{
    return (struct ha_ref){world_service(world)->id, world_epoch(world)};
}

static struct ha_position head(void)
{
    return (struct ha_position){.offset = HEAD,
                                .lineage = {.count = 1, .steps = {{LINEAGE, UINT64_MAX}}}};
}

int world_apply_config(struct world *world)
{
    struct ha_command command = {.kind = HA_COMMAND_CONFIG};

    command.u.config = (struct ha_command_config){
        .base_version = world->w->cluster.config_version,
        .author = "anna",
        .config = world->config,
        .text = "[service cache]",
    };
    return world_commit(world, &command);
}

int world_observe(struct world *world, uint32_t watcher, uint32_t member, enum ha_verdict verdict)
{
    struct ha_command command = {.kind = HA_COMMAND_OBSERVE};

    command.u.observe.watcher = watcher;
    command.u.observe.count = 1;
    command.u.observe.items[0] = (struct ha_observation){world_service(world)->id, member, verdict};
    return world_commit(world, &command);
}

int world_begin(struct world *world, enum ha_reason reason, uint32_t target)
{
    struct ha_command command = {.kind = HA_COMMAND_BEGIN};

    command.u.begin =
        (struct ha_command_begin){.ref = ref_of(world), .reason = reason, .target = target};
    if (reason == HA_REASON_DOWN)
        command.u.begin.agreeing = (1u << world->w->cluster.watcher_count) - 1;
    return world_commit(world, &command);
}

int world_fenced(struct world *world, enum ha_fence how, uint32_t stopped)
{
    struct ha_command command = {.kind = HA_COMMAND_FENCED};

    command.u.fenced = (struct ha_command_fenced){.ref = ref_of(world),
                                                  .how = how,
                                                  .instance = world_service(world)->open_instance,
                                                  .stopped = stopped};
    return world_commit(world, &command);
}

int world_give_up(struct world *world, uint64_t epoch, uint32_t member, uint64_t instance)
{
    struct ha_command command = {.kind = HA_COMMAND_GIVE_UP};

    command.u.give_up = (struct ha_command_give_up){
        .ref = {world_service(world)->id, epoch}, .member = member, .instance = instance};
    return world_commit(world, &command);
}

int world_promote(struct world *world, uint32_t member, enum ha_gate gate)
{
    struct ha_command command = {.kind = member == HA_MEMBER_NONE ? HA_COMMAND_NONE
                                                                  : HA_COMMAND_PROMOTE};

    command.u.promote = (struct ha_command_promote){
        .ref = ref_of(world), .member = member, .instance = INSTANCE(member), .gate = gate};
    return world_commit(world, &command);
}

int world_outcome(struct world *world, enum ha_command_kind kind)
{
    struct ha_command command = {.kind = kind};

    command.u.outcome.ref = ref_of(world);
    if (kind == HA_COMMAND_PROMOTED)
        command.u.outcome.position = head();
    return world_commit(world, &command);
}

int world_pause(struct world *world, enum ha_command_kind kind)
{
    struct ha_command command = {.kind = kind};

    command.u.pause = (struct ha_command_pause){
        .service = world_service(world)->id, .author = "anna", .text = "works"};
    return world_commit(world, &command);
}

void world_reach(struct world *world, uint32_t member, enum ha_gate gate, enum ha_state state)
{
    static const struct {
        enum ha_state after;
        enum ha_command_kind kind;
    } path[] = {{HA_STATE_OPENING, HA_COMMAND_PROMOTED},
                {HA_STATE_REPOINTING, HA_COMMAND_OPENED},
                {HA_STATE_STEADY, HA_COMMAND_REPOINTED}};

    assert_int_equal(world_promote(world, member, gate), HA_OK);
    for (size_t i = 0; i < 3 && world_service(world)->state != state; i++) {
        assert_int_equal(world_outcome(world, path[i].kind), HA_OK);
        assert_int_equal(world_service(world)->state, path[i].after);
    }
    assert_int_equal(world_service(world)->state, state);
}

/* Words from outside */

struct ha_heartbeat world_beat(const struct world *world, uint32_t member)
{
    const struct ha_service *service = world_service(world);
    bool primary = service->primary == member && service->state != HA_STATE_PROMOTING;
    struct ha_heartbeat beat = {.instance = INSTANCE(member), .stamp = world->now_ms - 1};
    struct ha_status *status = &beat.status;

    status->service = service->id;
    status->member = member;
    status->process = HA_PROCESS_RUNNING;
    status->gate = member == service->open_member ? service->open_gate : HA_GATE_BPF;
    status->gate_open = true;
    status->memory = MEMORY(member);
    status->awake_ms = 3600000;
    status->sample = (struct ha_sample){.answer = HA_ANSWER_OK,
                                        .role = primary ? HA_ROLE_PRIMARY : HA_ROLE_REPLICA,
                                        .writable = true,
                                        .link_up = !primary,
                                        .read_only = !primary,
                                        .run_id = RUN + member,
                                        .position = head()};
    status->follows = primary ? HA_MEMBER_NONE : service->primary;
    if (primary) {
        status->epoch = service->epoch;
        status->settled = true;
    }
    return beat;
}

void world_hear(struct world *world, uint32_t member, const struct ha_heartbeat *heartbeat)
{
    char agent[HA_NAME_SIZE];
    struct ha_event event = {.kind = HA_EVENT_HEARTBEAT,
                             .u.heartbeat = {.agent = agent, .heartbeat = heartbeat}};

    (void)ha_text_format(agent, sizeof(agent), "ag-%c", (char)('a' + member - 1));
    (void)world_step(world, &event);
}

void world_hear_all(struct world *world)
{
    for (uint32_t member = A; member <= C; member++) {
        const struct ha_heartbeat beat = world_beat(world, member);

        world_hear(world, member, &beat);
    }
}

void world_watch_like(const struct world *world, uint32_t from, uint32_t to)
{
    const struct ha_watched *seen = &world->w->services[from % HA_SERVICES_MAX];
    struct ha_watched *watched = &world->w->services[to % HA_SERVICES_MAX];

    *watched = *seen;
    watched->service = to;
    for (uint32_t i = 0; i < HA_MEMBERS_MAX; i++) {
        watched->members[i] = &world->w->members[i][to % HA_SERVICES_MAX];
        *watched->members[i] = *seen->members[i];
    }
}

void world_stopped(struct world *world, uint32_t watcher, uint32_t remainder_ms)
{
    const struct ha_stopped stopped = {.set_id = world->w->cluster.set_id,
                                       .service = world_service(world)->id,
                                       .epoch = world_epoch(world),
                                       .remainder_ms = remainder_ms};
    struct ha_event event = {.kind = HA_EVENT_STOPPED};

    event.u.stopped.watcher = watcher;
    event.u.stopped.stopped = &stopped;
    (void)world_step(world, &event);
}

void world_probed(struct world *world, uint32_t member, enum ha_answer answer)
{
    const struct ha_sample sample = {.answer = answer};
    struct ha_event event = {
        .kind = HA_EVENT_PROBED,
        .u.probed = {.service = world_service(world)->id, .member = member, .sample = &sample}};

    (void)world_step(world, &event);
}

struct world *world_serving(enum ha_gate gate)
{
    struct world *world = world_new(3);

    world_reach(world, A, gate, HA_STATE_STEADY);
    world_hear_all(world);
    return world;
}

void world_crashed(struct world *world, uint32_t watcher)
{
    (void)world_observe(world, watcher, A, HA_VERDICT_CRASHED);
}

const struct ha_command *world_proposed(const struct world *world, enum ha_command_kind kind)
{
    return effects_proposal(world->out, kind);
}

const struct ha_command *world_wait_for(struct world *world, enum ha_command_kind kind,
                                        uint32_t members, uint64_t limit_ms)
{
    for (uint64_t end_ms = world->now_ms + limit_ms; world->now_ms < end_ms;) {
        world_tick(world, 20);
        if (world_proposed(world, kind) != NULL)
            return world_proposed(world, kind);
        for (uint32_t m = A; m <= C; m++) {
            const struct ha_heartbeat beat = world_beat(world, m);

            if ((members >> m & 1u) == 0)
                continue;
            world_hear(world, m, &beat);
            if (world_proposed(world, kind) != NULL)
                return world_proposed(world, kind);
        }
    }
    return NULL;
}

/* Effects */

const struct ha_effect *effects_find(const struct ha_effects *effects, enum ha_effect_kind kind)
{
    for (uint32_t i = 0; i < effects->count; i++)
        if (effects->items[i].kind == kind)
            return &effects->items[i];
    return NULL;
}

const struct ha_command *effects_proposal(const struct ha_effects *effects,
                                          enum ha_command_kind kind)
{
    for (uint32_t i = 0; i < effects->count; i++)
        if (effects->items[i].kind == HA_EFFECT_PROPOSE && effects->items[i].u.command.kind == kind)
            return &effects->items[i].u.command;
    return NULL;
}

const struct ha_order *effects_order(const struct ha_effects *effects, const char *agent)
{
    for (uint32_t i = 0; i < effects->count; i++)
        if (effects->items[i].kind == HA_EFFECT_ORDER &&
            strcmp(effects->items[i].u.order.agent, agent) == 0)
            return &effects->items[i].u.order.order;
    return NULL;
}

uint32_t effects_count(const struct ha_effects *effects, enum ha_effect_kind kind)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < effects->count; i++)
        count += effects->items[i].kind == kind;
    return count;
}
