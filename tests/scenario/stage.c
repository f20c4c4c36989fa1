/* Time, the network, the log, and the shell of a watcher around the real brain. */
#include "tests/scenario/stage.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/failover.h"
#include "lib/wire/settings.h"

enum { ELECTION_MS = 300, PROBE_MS = 200, POWER_MS = 300 };

void stage_say(struct stage *stage, const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    stage->say_cb(stage->ctx, line);
}

/* Network */

bool stage_reaches(const struct stage *stage, uint32_t a, uint32_t b)
{
    return !stage->cut[a][b];
}

void stage_cut(struct stage *stage, uint32_t node, uint32_t from, bool cut)
{
    for (uint32_t i = 0; i < STAGE_WATCHERS + STAGE_HOSTS; i++)
        if (i != node && (from == i || from == UINT32_MAX))
            stage->cut[node][i] = stage->cut[i][node] = cut;
}

static uint32_t life_of(const struct stage *stage, uint32_t node)
{
    return node < STAGE_WATCHERS ? stage->watchers[node].life
                                 : stage->hosts[node - STAGE_WATCHERS].life;
}

struct stage_message *stage_send(struct stage *stage, enum stage_kind kind, uint32_t from,
                                 uint32_t to, uint64_t after_ms)
{
    struct stage_message *message = calloc(1, sizeof(*message)), **at = &stage->first;

    assert(message != NULL);
    message->kind = kind;
    message->from = from;
    message->to = to;
    message->life = life_of(stage, to);
    message->due_ms = stage->now_ms + after_ms;
    while (*at != NULL && (*at)->due_ms <= message->due_ms)
        at = &(*at)->next;
    message->next = *at;
    *at = message;
    return message;
}

/* Watchers */

static struct ha_event event_of(const struct stage *stage, enum ha_event_kind kind)
{
    return (struct ha_event){.kind = kind, .now_ms = stage->now_ms, .wall_ms = stage->now_ms};
}

const struct ha_service *stage_service(const struct stage *stage)
{
    const struct ha_service *newest = NULL;
    uint32_t applied = 0;

    for (uint32_t w = 0; w < STAGE_WATCHERS; w++) {
        if (stage->watchers[w].applied < applied || !stage->watchers[w].up)
            continue;
        applied = stage->watchers[w].applied;
        newest = ha_cluster_service_named(&stage->watchers[w].brain->cluster, "cache");
    }
    return newest;
}

static uint32_t fenced_host(const struct stage *stage)
{
    const struct ha_service *service = stage_service(stage);

    return (uint32_t)ha_service_member_at(service, service->open_member);
}

/* It works, or says why it did not, when its time is over. */
static void run_power(struct stage *stage, uint32_t w, const struct ha_effect_fence *ask)
{
    stage_say(stage, "w%u runs %s on the host of %c", w + 1, ask->name,
              (char)('a' + fenced_host(stage)));
    stage_send(stage, STAGE_FENCED, w, w, POWER_MS)->u.fence_command =
        (struct ha_event_fence_command){.service = ask->service,
                                        .epoch = ask->epoch,
                                        .code = stage->power_fails ? HA_EIO : HA_OK,
                                        .text =
                                            stage->power_fails ? "power: no answer" : "power: off"};
}

static void power_off(struct stage *stage, uint32_t host)
{
    stage->hosts[host].agent_up = false;
    stage_db_down(stage, host);
    stage->hosts[host].gate_until_ms = 0;
}

static void execute_one(struct stage *stage, uint32_t w, const struct ha_effect *effect)
{
    switch (effect->kind) {
    case HA_EFFECT_PROPOSE:
        if (stage->leader < STAGE_WATCHERS)
            stage_send(stage, STAGE_PROPOSE, w, stage->leader, 1)->u.command = effect->u.command;
        return;
    case HA_EFFECT_PROMISE:
        for (uint32_t h = 0; h < STAGE_HOSTS; h++)
            if (stage->hosts[h].instance == effect->u.promise.instance)
                stage_send(stage, STAGE_PROMISE, w, STAGE_WATCHERS + h, 1)->u.promise =
                    effect->u.promise;
        return;
    case HA_EFFECT_ORDER:
        stage_send(stage, STAGE_ORDER, w,
                   STAGE_WATCHERS + (uint32_t)(effect->u.order.agent[3] - 'a'), 1)
            ->u.order = effect->u.order.order;
        return;
    case HA_EFFECT_STOPPED:
        if (stage->leader < STAGE_WATCHERS)
            stage_send(stage, STAGE_STOPPED, w, stage->leader, 1)->u.stopped = effect->u.stopped;
        return;
    case HA_EFFECT_PERSIST_PROMISE:
        stage_send(stage, STAGE_PROMISE_NOTED, w, w, 2)->u.persist_ms = effect->u.persist_ms;
        return;
    case HA_EFFECT_FENCE_COMMAND:
        run_power(stage, w, &effect->u.fence);
        return;
    case HA_EFFECT_HEARTBEAT:
    case HA_EFFECT_GATE:
    case HA_EFFECT_PERSIST_EPOCHS:
    case HA_EFFECT_PROBE:
    case HA_EFFECT_ACT:
    case HA_EFFECT_ACT_CANCEL:
    case HA_EFFECT_VIP_LOOK:
    case HA_EFFECT_VIP_CLAIM:
    case HA_EFFECT_VIP_RELEASE:
    case HA_EFFECT_HOLD_ASK:
    case HA_EFFECT_HOLD_WORD:
        abort(); /* an agent's effect from a watcher */
    }
}

static int step(struct stage *stage, uint32_t w, const struct ha_event *event, struct ha_err *err)
{
    int rv;

    ha_effects_clear(stage->effects);
    rv = ha_watcher_step(stage->watchers[w].brain, event, stage->effects, err);
    assert(!stage->effects->overflowed);
    for (uint32_t i = 0; i < stage->effects->count; i++)
        execute_one(stage, w, &stage->effects->items[i]);
    return rv;
}

void stage_watcher_up(struct stage *stage, uint32_t w)
{
    struct stage_watcher *watcher = &stage->watchers[w];
    struct ha_watcher_options options = {.set_id = 7,
                                         .watcher_count = STAGE_WATCHERS,
                                         .promise_max_ms = watcher->note_ms,
                                         .now_ms = stage->now_ms};

    for (uint32_t i = 0; i < STAGE_WATCHERS; i++)
        (void)ha_text_format(options.watchers[i], HA_NAME_SIZE, "w%u", i + 1);
    memcpy(options.name, options.watchers[w], HA_NAME_SIZE);
    if (watcher->brain == NULL)
        watcher->brain = malloc(sizeof(*watcher->brain));
    assert(watcher->brain != NULL);
    ha_watcher_init(watcher->brain, &options);
    watcher->up = true;
    watcher->leads = false;
    watcher->life++;
    watcher->applied = 0;
    watcher->told_settings = 0;
}

void stage_watcher_down(struct stage *stage, uint32_t w)
{
    stage->watchers[w].up = stage->watchers[w].leads = false;
}

static void take(struct stage *stage, const struct stage_message *message)
{
    struct ha_event event = event_of(stage, HA_EVENT_TICK);
    uint32_t w = message->to;
    char agent[8];

    switch (message->kind) {
    case STAGE_HEARTBEAT:
        (void)ha_text_format(agent, sizeof(agent), "ag-%c",
                             (char)('a' + message->from - STAGE_WATCHERS));
        event.kind = HA_EVENT_HEARTBEAT;
        event.u.heartbeat = (struct ha_event_heartbeat){agent, &message->u.heartbeat};
        break;
    case STAGE_STOPPED:
        event.kind = HA_EVENT_STOPPED;
        event.u.stopped.watcher = message->from;
        event.u.stopped.stopped = &message->u.stopped;
        break;
    case STAGE_PROMISE_NOTED:
        stage->watchers[w].note_ms = message->u.persist_ms;
        event.kind = HA_EVENT_PERSISTED_PROMISE;
        event.u.persisted_ms = message->u.persist_ms;
        break;
    case STAGE_FENCED:
        event.kind = HA_EVENT_FENCE_COMMAND;
        event.u.fence_command = message->u.fence_command;
        if (event.u.fence_command.code == HA_OK)
            power_off(stage, fenced_host(stage));
        break;
    case STAGE_PROPOSE:
        if (stage->leader != w)
            return;
        if (stage->log_count == stage->log_size) {
            stage->log_size = stage->log_size == 0 ? 64 : 2 * stage->log_size;
            stage->log = realloc(stage->log, stage->log_size * sizeof(*stage->log));
            assert(stage->log != NULL);
        }
        stage->log[stage->log_count] = message->u.command;
        stage->log_count++;
        return;
    case STAGE_PROMISE:
    case STAGE_ORDER:
    case STAGE_NOTED:
    case STAGE_CLOSED:
    case STAGE_SAMPLE:
    case STAGE_ACTED:
    case STAGE_VIP:
        abort(); /* not for watchers */
    }
    (void)step(stage, w, &event, NULL);
}

static void deliver(struct stage *stage)
{
    while (stage->first != NULL && stage->first->due_ms <= stage->now_ms) {
        struct stage_message *message = stage->first;
        uint32_t to = message->to;
        bool up = to < STAGE_WATCHERS ? stage->watchers[to].up
                                      : stage->hosts[to - STAGE_WATCHERS].agent_up;

        stage->first = message->next;
        if (up && message->life == life_of(stage, to) && stage_reaches(stage, message->from, to)) {
            if (to < STAGE_WATCHERS)
                take(stage, message);
            else
                stage_host_take(stage, to - STAGE_WATCHERS, message);
        }
        free(message);
    }
}

/* The log: what the leader has appended is applied by all that it reaches, while they are most. */

static bool has_majority(const struct stage *stage, uint32_t leader)
{
    uint32_t count = 0;

    if (leader >= STAGE_WATCHERS || !stage->watchers[leader].up)
        return false;
    for (uint32_t w = 0; w < STAGE_WATCHERS; w++)
        count += stage->watchers[w].up && stage_reaches(stage, leader, w);
    return count > STAGE_WATCHERS / 2;
}

static void tell_role(struct stage *stage, uint32_t w, bool leads)
{
    struct ha_event event = event_of(stage, HA_EVENT_ROLE);

    if (stage->watchers[w].leads == leads || !stage->watchers[w].up)
        return;
    stage->watchers[w].leads = leads;
    event.u.role.leader = leads;
    event.u.role.term = stage->term;
    if (leads)
        stage_say(stage, "w%u leads", w + 1);
    (void)step(stage, w, &event, NULL);
}

static void elect(struct stage *stage)
{
    uint32_t best = STAGE_WATCHERS;

    if (!has_majority(stage, stage->leader) && stage->leader < STAGE_WATCHERS) {
        tell_role(stage, stage->leader, false);
        stage->leader = STAGE_WATCHERS;
        stage->elect_ms = stage->now_ms + ELECTION_MS;
    }
    if (stage->leader < STAGE_WATCHERS || stage->now_ms < stage->elect_ms)
        return;
    for (uint32_t w = 0; w < STAGE_WATCHERS; w++)
        if (has_majority(stage, w) &&
            (best == STAGE_WATCHERS || stage->watchers[w].applied > stage->watchers[best].applied))
            best = w;
    if (best == STAGE_WATCHERS)
        return;
    stage->leader = best;
    stage->term++;
}

void stage_lead(struct stage *stage, uint32_t w)
{
    if (stage->leader < STAGE_WATCHERS)
        tell_role(stage, stage->leader, false);
    stage->leader = w;
    stage->term++;
}

static void tell_set(struct stage *stage, const struct ha_service *service,
                     const struct ha_command *command)
{
    const struct ha_sync_set *set = &command->u.sync.set;
    char members[HA_TEXT_SIZE] = "";

    for (uint32_t i = 0; i < service->config.member_count; i++)
        if ((set->members >> service->members[i].id & 1u) != 0)
            (void)ha_text_append(members, sizeof(members), "%s%s", members[0] == '\0' ? "" : ", ",
                                 service->config.members[i].name);
    if (set->need == 0)
        stage_say(stage, "log: %s: wait for nobody", ha_command_kind_text(command->kind));
    else
        stage_say(stage, "log: %s: any %u of %s", ha_command_kind_text(command->kind), set->need,
                  members);
}

/* One line for what an entry did; verdicts only where they changed what people are told. */
static void tell_entry(struct stage *stage, const struct ha_command *command, int code,
                       const struct ha_err *err)
{
    const struct ha_service *service = stage_service(stage);
    const char *kind = ha_command_kind_text(command->kind);

    if (code != HA_OK) {
        stage_say(stage, "log: %s refused: %s", kind, err->text);
        return;
    }
    if (command->kind == HA_COMMAND_OBSERVE) {
        for (uint32_t i = 0; i < command->u.observe.count; i++)
            stage_say(stage, "log: w%u finds %s %s", command->u.observe.watcher + 1,
                      ha_service_member_name(service, command->u.observe.items[i].member),
                      ha_verdict_text(command->u.observe.items[i].verdict));
        return;
    }
    if (command->kind == HA_COMMAND_POSITIONS || service == NULL)
        return;
    if (command->kind == HA_COMMAND_SYNC_INTEND || command->kind == HA_COMMAND_SYNC_FORCE) {
        tell_set(stage, service, command);
        return;
    }
    if (command->kind == HA_COMMAND_NONE)
        for (uint32_t i = 0; i < command->u.promote.fit_count; i++)
            stage_say(stage, "log: not %s: %s",
                      ha_service_member_name(service, command->u.promote.fits[i].member),
                      ha_fitness_text(command->u.promote.fits[i].fitness));
    if (service->state == stage->was_state)
        stage_say(stage, "log: %s", kind);
    else
        stage_say(stage, "log: %s: %s -> %s epoch %lu%s%s", kind, ha_state_text(stage->was_state),
                  ha_state_text(service->state), (unsigned long)service->epoch,
                  service->primary == HA_MEMBER_NONE ? "" : " for ",
                  ha_service_member_name(service, service->primary));
    if (service->state == HA_STATE_SELECTING && service->fence != HA_FENCE_NONE &&
        (command->kind == HA_COMMAND_FENCED || command->kind == HA_COMMAND_GIVE_UP))
        stage_say(stage, "log: fenced by %s", ha_fence_text(service->fence));
    stage->was_state = service->state;
}

static void apply(struct stage *stage, uint32_t w)
{
    struct stage_watcher *watcher = &stage->watchers[w];

    while (watcher->up && watcher->applied < stage->log_count) {
        const struct ha_command *command = &stage->log[watcher->applied];
        struct ha_event event = event_of(stage, HA_EVENT_COMMITTED);
        struct ha_err err = {0};
        int code;

        event.u.committed = (struct ha_event_committed){++watcher->applied, command};
        code = step(stage, w, &event, &err);
        if (watcher->applied > stage->told) {
            stage->told = watcher->applied;
            tell_entry(stage, command, code, &err);
        }
    }
}

static void commit(struct stage *stage)
{
    elect(stage);
    if (!has_majority(stage, stage->leader))
        return;
    for (uint32_t i = 0; i < STAGE_WATCHERS; i++) {
        uint32_t w = (stage->leader + i) % STAGE_WATCHERS;
        struct ha_event event = event_of(stage, HA_EVENT_CAUGHT_UP);

        if (!stage->watchers[w].up || !stage_reaches(stage, stage->leader, w))
            continue;
        apply(stage, w);
        if (!stage->watchers[w].brain->caught_up)
            (void)step(stage, w, &event, NULL);
        tell_role(stage, w, w == stage->leader);
    }
}

void stage_configure(struct stage *stage)
{
    struct ha_command command = {.kind = HA_COMMAND_CONFIG};
    struct ha_config *config = malloc(sizeof(*config));

    assert(config != NULL && stage->applied_count < HA_ARRAY_LEN(stage->applied));
    assert(stage->leader < STAGE_WATCHERS);
    *config = *stage->config;
    stage->applied[stage->applied_count++] = config;
    command.u.config = (struct ha_command_config){
        .base_version = stage->watchers[stage->leader].brain->cluster.config_version,
        .author = "anna",
        .config = config,
        .text = ""};
    stage_request(stage, &command);
}

void stage_request(struct stage *stage, const struct ha_command *command)
{
    struct ha_event event = event_of(stage, HA_EVENT_REQUEST);
    struct ha_err err = {0};

    event.u.request.command = command;
    if (stage->leader >= STAGE_WATCHERS)
        stage_say(stage, "nobody leads");
    else if (step(stage, stage->leader, &event, &err) != HA_OK)
        stage_say(stage, "refused: %s", err.text);
}

/* Time */

static void probe(struct stage *stage, uint32_t w)
{
    const struct ha_cluster *cluster = &stage->watchers[w].brain->cluster;
    const struct ha_service *service = ha_cluster_service_named(cluster, "cache");

    for (uint32_t h = 0; service != NULL && h < STAGE_HOSTS; h++) {
        struct ha_event event = event_of(stage, HA_EVENT_PROBED);
        struct ha_sample sample = {.answer = HA_ANSWER_NONE};

        /* A closed gate answers nothing, not even a refusal. */
        if (stage_reaches(stage, w, STAGE_WATCHERS + h) && stage_gate_is_open(stage, h))
            stage_db_sample(stage, h, &sample);
        event.u.probed = (struct ha_event_probed){service->id, service->members[h].id, &sample};
        (void)step(stage, w, &event, NULL);
    }
}

static void push_settings(struct stage *stage, uint32_t w)
{
    struct stage_watcher *watcher = &stage->watchers[w];
    const struct ha_cluster *cluster = &watcher->brain->cluster;
    const struct ha_service *service = ha_cluster_service_named(cluster, "cache");

    if (service == NULL || watcher->told_settings == cluster->config_version)
        return;
    watcher->told_settings = cluster->config_version;
    for (uint32_t h = 0; h < STAGE_HOSTS; h++) {
        struct ha_settings settings;

        if (!stage_reaches(stage, w, STAGE_WATCHERS + h))
            continue;
        ha_settings_make(&settings, service, service->members[h].id, cluster->config_version);
        stage_host_settings(stage, h, &settings);
    }
}

static void watch(struct stage *stage, uint32_t w)
{
    struct stage_watcher *watcher = &stage->watchers[w];

    if (!watcher->up)
        return;
    for (uint32_t i = 0; i < STAGE_WATCHERS; i++) {
        struct ha_event event = event_of(stage, HA_EVENT_PEER);
        bool heard = stage->watchers[i].up && stage_reaches(stage, i, w);

        event.u.peer = (struct ha_event_peer){i, heard};
        if (i != w && watcher->brain->peer_heard[i] != heard)
            (void)step(stage, w, &event, NULL);
    }
    push_settings(stage, w);
    if (stage->now_ms % PROBE_MS == 10u * w)
        probe(stage, w);
    if (stage->now_ms >= ha_watcher_wake_ms(watcher->brain)) {
        const struct ha_event event = event_of(stage, HA_EVENT_TICK);

        (void)step(stage, w, &event, NULL);
    }
}

/* What a client anywhere would see; and what must never be. */
static void look(struct stage *stage)
{
    uint32_t writers = 0;

    stage_db_write(stage);
    for (uint32_t h = 0; h < STAGE_HOSTS; h++) {
        bool open = stage_takes_writes(stage, h);

        /* Where the kernel fails, it is the acknowledgements that count. */
        writers += open && !stage->hosts[h].gate_broken;
        if (open != stage->was_open[h])
            stage_say(stage, "%c %s writes", (char)('a' + h), open ? "takes" : "takes no more");
        stage->was_open[h] = open;
    }
    if (stage->durability != HA_DURABILITY_ASYNC)
        stage_pg_look(stage);
    if (writers <= 1)
        return;
    stage->broken = true;
    stage_say(stage, "TWO TAKE WRITES");
}

void stage_run(struct stage *stage, uint64_t ms)
{
    for (uint64_t end_ms = stage->now_ms + ms; stage->now_ms < end_ms;) {
        stage->now_ms++;
        deliver(stage);
        commit(stage);
        for (uint32_t w = 0; w < STAGE_WATCHERS; w++)
            watch(stage, w);
        for (uint32_t h = 0; h < STAGE_HOSTS; h++)
            stage_host_tick(stage, h);
        look(stage);
    }
}

void stage_open(struct stage *stage, enum ha_gate gate, enum ha_durability durability,
                void (*say_cb)(void *, const char *), void *ctx)
{
    memset(stage, 0, sizeof(*stage));
    stage->say_cb = say_cb;
    stage->ctx = ctx;
    stage->gate = gate;
    stage->durability = durability;
    stage->engine = durability == HA_DURABILITY_ASYNC ? HA_ENGINE_REDIS : HA_ENGINE_POSTGRESQL;
    stage->leader = STAGE_WATCHERS;
    stage->now_ms = 1000000;
    stage->effects = malloc(sizeof(*stage->effects));
    stage->config = calloc(1, sizeof(*stage->config));
    assert(stage->effects != NULL && stage->config != NULL);
    stage->was_state = HA_STATE_SELECTING;
    for (uint32_t w = 0; w < STAGE_WATCHERS; w++)
        stage_watcher_up(stage, w);
    for (uint32_t h = 0; h < STAGE_HOSTS; h++) {
        stage->hosts[h].instance = 0x100 + h;
        stage->hosts[h].db.role = h == 0 ? HA_ROLE_PRIMARY : HA_ROLE_REPLICA;
        stage->hosts[h].db.upstream = h == 0 ? STAGE_HOSTS : 0;
        stage->hosts[h].db.names.need = 1; /* of nobody, until it is told */
        stage->hosts[h].db.position = (struct ha_position){
            .offset = 1000, .lineage = {.count = 1, .steps = {{77, UINT64_MAX}}}};
        stage->ids = 1000 * (h + 1);
        stage_agent_up(stage, h);
        stage_db_up(stage, h, false);
    }
    stage->hosts[0].db.position = stage->hosts[1].db.position;
}

void stage_close(struct stage *stage)
{
    for (uint32_t w = 0; w < STAGE_WATCHERS; w++)
        free(stage->watchers[w].brain);
    for (uint32_t h = 0; h < STAGE_HOSTS; h++)
        free(stage->hosts[h].brain);
    while (stage->first != NULL) {
        struct stage_message *message = stage->first;

        stage->first = message->next;
        free(message);
    }
    for (uint32_t i = 0; i < stage->applied_count; i++)
        free(stage->applied[i]);
    free(stage->log);
    free(stage->effects);
    free(stage->config);
}
