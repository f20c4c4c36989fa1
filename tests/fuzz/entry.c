#include "tests/fuzz/entry.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/text.h"

/* What an entry may be about. */
struct subject {
    const struct ha_cluster *cluster;
    const struct ha_service *service;
    struct ha_config *config; /* to be filled in */
};

/* The service an entry is about: one that is used, or, now and then, one that is not. */
static const struct ha_service *pick_service(struct draw *d, const struct ha_cluster *cluster)
{
    uint32_t at = draw_below(d, HA_SERVICES_MAX);

    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        const struct ha_service *service = &cluster->services[(at + i) % HA_SERVICES_MAX];

        if (service->used)
            return service;
    }
    return &cluster->services[at];
}

static struct ha_ref pick_ref(struct draw *d, const struct ha_service *service)
{
    uint8_t how = draw_byte(d);
    struct ha_ref ref = {.service = service->id, .epoch = service->epoch};

    if (how >= 0xf0)
        ref.service += how & 0xfu;
    else if (how >= 0xc0)
        ref.epoch = service->open_epoch;
    else if (how >= 0xb0)
        ref.epoch += how & 1u ? 1u : (uint64_t)-1;
    return ref;
}

static uint32_t pick_member(struct draw *d, const struct ha_service *service)
{
    uint8_t how = draw_byte(d);

    if (how >= 0xf0)
        return how & 0xfu;
    if (how >= 0xb0)
        return service->primary;
    if (how >= 0x80 || service->config.member_count == 0)
        return service->open_member;
    return service->members[how % service->config.member_count].id;
}

static uint64_t pick_instance(struct draw *d, const struct ha_service *service)
{
    uint8_t how = draw_byte(d);

    if (how >= 0xc0)
        return service->open_instance;
    return how >= 0x80 ? service->instance : how & 7u;
}

static void pick_text(struct draw *d, char *text, size_t size)
{
    uint8_t how = draw_byte(d);

    memset(text, 0, size);
    if (how >= 0xf8)
        memset(text, 'x', size - 1);
    else if (how >= 0x80)
        memcpy(text, "why", 3);
}

static void pick_name(struct draw *d, char name[HA_NAME_SIZE])
{
    static const char *const names[] = {"w1", "w2", "w3", "w4", "ops", "", "w5", "admin"};

    memset(name, 0, HA_NAME_SIZE);
    (void)ha_text_copy(name, HA_NAME_SIZE, names[draw_below(d, HA_ARRAY_LEN(names))]);
}

static void pick_position(struct draw *d, struct ha_position *ret)
{
    ret->offset = (uint64_t)draw_byte(d) * 100;
    ret->lineage.count = draw_below(d, 3);
    for (uint32_t i = 0; i < ret->lineage.count; i++) {
        ret->lineage.steps[i].id = 1 + draw_below(d, 4);
        ret->lineage.steps[i].end = i == 0 ? UINT64_MAX : draw_byte(d);
    }
}

static void draw_member(struct draw *d, uint32_t service, uint32_t member,
                        struct ha_member_config *ret)
{
    uint8_t how = draw_byte(d);

    ret->name[0] = (char)('a' + member);
    ret->agent[0] = (char)('k' + member);
    (void)ha_text_format(ret->host, sizeof(ret->host), "10.%u.%u.%u", how & 1u, service, member);
    ret->port = (how & 2u) != 0 ? 6380 : 6379;
    ret->priority = how >= 0xc0 ? HA_PRIORITY_NEVER : HA_PRIORITY_DEFAULT;
    ret->agent_port = HA_AGENT_PORT_DEFAULT;
}

static void draw_service(struct draw *d, uint32_t at, struct ha_service_config *ret)
{
    uint32_t members = draw_byte(d), how = draw_byte(d), more = draw_byte(d);

    ha_service_config_defaults(ret);
    ret->name[0] = (char)('p' + at);
    ret->engine = (how & 1u) != 0 ? HA_ENGINE_POSTGRESQL : HA_ENGINE_REDIS;
    ret->durability = (enum ha_durability)((how >> 1 & 3u) % 3u);
    ret->accept_process_fence = (how >> 3 & 1u) != 0;
    ret->failover_unwritable = (how >> 4 & 1u) != 0;
    ret->automatic = (how >> 5 & 1u) != 0;
    ret->quorum = (how >> 6 & 1u) != 0 ? 3 : 0;
    ret->lease_ms = 1500u + 100u * (more & 7u);
    ret->rate_count = more >> 3 & 3u;
    ret->on_quorum_loss = (more >> 5 & 1u) != 0 ? HA_QUORUM_LOSS_HOLD : HA_QUORUM_LOSS_FENCE;
    for (uint32_t i = 0; i < HA_MEMBERS_MAX; i++)
        if ((members >> i & 1u) != 0)
            draw_member(d, at, i, &ret->members[ret->member_count++]);
}

static void draw_config(struct draw *d, const struct subject *subject, struct ha_command *command)
{
    struct ha_command_config *ret = &command->u.config;
    struct ha_config *config = subject->config;
    uint32_t services = draw_byte(d), how = draw_byte(d);

    memset(config, 0, sizeof(*config));
    for (uint32_t i = 0; i < 5 && config->service_count < HA_SERVICES_MAX; i++)
        if ((services >> i & 1u) != 0)
            draw_service(d, i, &config->services[config->service_count++]);
    config->webhook_count = how & 3u;
    for (uint32_t i = 0; i < config->webhook_count; i++) {
        struct ha_webhook_config *webhook = &config->webhooks[i];

        (void)ha_text_format(webhook->name, HA_NAME_SIZE, "h%u", (how >> 2 & 1u) + i);
        (void)ha_text_copy(webhook->url, HA_URL_SIZE, "http://127.0.0.1/");
        if ((how >> 3 & 1u) != 0)
            webhook->service[0] = 'p';
    }
    ret->base_version = subject->cluster->config_version + ((how & 0xf0u) == 0xf0u ? 1u : 0u);
    ret->config = config;
    ret->text = (how >> 5 & 1u) != 0 ? "[service p]" : "";
    pick_name(d, ret->author);
}

static void draw_sync(struct draw *d, const struct subject *subject, struct ha_command *command)
{
    const struct ha_sync *sync = &subject->service->sync;
    struct ha_command_sync *ret = &command->u.sync;

    ret->ref = pick_ref(d, subject->service);
    ret->set.members = draw_byte(d);
    ret->set.need = draw_below(d, 4);
    if (draw_bool(d) && sync->count > 0)
        ret->set = sync->sets[sync->count - 1].set;
    ret->entering = draw_byte(d) & ret->set.members;
    for (uint32_t i = 1; i <= HA_MEMBERS_MAX; i++)
        if ((ret->entering >> i & 1u) != 0)
            ret->entries[i] = (struct ha_sync_entry){
                .instance = draw_byte(d), .lineage = 1, .offset = draw_byte(d)};
    ret->holding = draw_byte(d);
    ret->offset = (uint64_t)draw_byte(d) * 100;
}

static void draw_hold(struct draw *d, const struct subject *subject, struct ha_command *command)
{
    const struct ha_service *service = subject->service;
    struct ha_command_hold *ret = &command->u.hold;

    ret->ref = pick_ref(d, service);
    for (uint32_t i = 0; i < service->config.member_count; i++)
        if (service->members[i].id != service->primary)
            ret->set.members |= 1u << service->members[i].id;
    if (draw_bool(d))
        ret->set.members = draw_byte(d);
    for (uint32_t i = 0; i <= HA_MEMBERS_MAX; i++)
        if ((ret->set.members >> i & 1u) != 0)
            ret->set.memory[i] = draw_below(d, 4);
    if (ret->set.members != 0)
        ret->set.lease_ms = 1000u + 100u * draw_below(d, 16);
    if (service->hold.count > 0)
        ret->since = service->hold.sets[service->hold.count - 1].since;
}

static void draw_watchers(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    (void)subject;
    ret->u.watchers.set_id = 1 + draw_below(d, 3);
    ret->u.watchers.count = 1 + draw_below(d, 5);
    for (uint32_t i = 0; i < ret->u.watchers.count; i++)
        (void)ha_text_format(ret->u.watchers.names[i], HA_NAME_SIZE, "w%u", i + 1);
}

static void draw_replace(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    (void)subject;
    pick_name(d, ret->u.replace.old_name);
    pick_name(d, ret->u.replace.new_name);
    (void)ha_text_copy(ret->u.replace.address, HA_URL_SIZE, "10.0.0.9:7400");
    pick_name(d, ret->u.replace.author);
}

static uint64_t pick_set(struct draw *d, const struct subject *subject)
{
    return draw_byte(d) < 0xf0 ? subject->cluster->set_id : 1;
}

static void draw_settled(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    ret->u.settled.set_id = pick_set(d, subject);
    ret->u.settled.moved = draw_byte(d);
}

static void draw_unheard(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    ret->u.unheard.set_id = pick_set(d, subject);
    ret->u.unheard.watchers = draw_byte(d);
}

static void draw_begin(struct draw *d, const struct subject *subject, struct ha_command *command)
{
    struct ha_command_begin *ret = &command->u.begin;

    ret->ref = pick_ref(d, subject->service);
    ret->reason = draw_below(d, HA_REASON_REBUILT + 1u);
    ret->target = draw_bool(d) ? pick_member(d, subject->service) : HA_MEMBER_NONE;
    ret->accept_loss = draw_bool(d);
    ret->agreeing = draw_byte(d);
    ret->noticed_ms = draw_byte(d);
    pick_text(d, ret->text, sizeof(ret->text));
}

static void draw_fenced(struct draw *d, const struct subject *subject, struct ha_command *command)
{
    struct ha_command_fenced *ret = &command->u.fenced;

    ret->ref = pick_ref(d, subject->service);
    ret->how = draw_below(d, HA_FENCE_SEALED + 1u);
    ret->instance = pick_instance(d, subject->service);
    ret->stopped = draw_byte(d);
    ret->sealed = draw_byte(d);
    ret->released = draw_byte(d);
    ret->renewed = draw_byte(d);
    ret->waited_ms = draw_byte(d);
    pick_position(d, &ret->position);
    pick_text(d, ret->text, sizeof(ret->text));
}

static void draw_promote(struct draw *d, const struct subject *subject, struct ha_command *command)
{
    const struct ha_service *service = subject->service;
    struct ha_command_promote *ret = &command->u.promote;

    ret->ref = pick_ref(d, service);
    ret->fit_count = draw_below(d, 3);
    for (uint32_t i = 0; i < ret->fit_count; i++)
        ret->fits[i] = (struct ha_fit){.member = pick_member(d, service),
                                       .fitness = draw_below(d, HA_FIT_NO_NOTE),
                                       .offset = draw_byte(d)};
    if (command->kind == HA_COMMAND_NONE)
        return;
    ret->member = pick_member(d, service);
    ret->instance = pick_instance(d, service);
    ret->gate = draw_below(d, HA_GATE_BOTH + 1u);
    ret->proof = draw_byte(d);
    ret->lost_bytes = draw_byte(d);
}

static void draw_give_up(struct draw *d, const struct subject *subject, struct ha_command *command)
{
    struct ha_command_give_up *ret = &command->u.give_up;

    ret->ref = pick_ref(d, subject->service);
    ret->member = pick_member(d, subject->service);
    ret->instance = pick_instance(d, subject->service);
    ret->verdict = draw_below(d, HA_VERDICT_HUNG + 1u);
    ret->noticed_ms = draw_byte(d);
    pick_position(d, &ret->position);
    pick_text(d, ret->text, sizeof(ret->text));
}

static void draw_outcome(struct draw *d, const struct subject *subject, struct ha_command *command)
{
    struct ha_command_outcome *ret = &command->u.outcome;

    ret->ref = pick_ref(d, subject->service);
    if (command->kind == HA_COMMAND_PROMOTED)
        pick_position(d, &ret->position);
    if (command->kind == HA_COMMAND_FAILED)
        pick_text(d, ret->text, sizeof(ret->text));
}

static void draw_observe(struct draw *d, const struct subject *subject, struct ha_command *command)
{
    struct ha_command_observe *ret = &command->u.observe;

    ret->watcher = draw_below(d, 5);
    ret->count = 1 + draw_below(d, 3);
    for (uint32_t i = 0; i < ret->count; i++)
        ret->items[i] = (struct ha_observation){.service = subject->service->id,
                                                .member = pick_member(d, subject->service),
                                                .verdict = draw_below(d, HA_VERDICT_HUNG + 1u)};
}

static void draw_positions(struct draw *d, const struct subject *subject,
                           struct ha_command *command)
{
    struct ha_command_positions *ret = &command->u.positions;

    ret->count = 1;
    ret->items[0].ref = pick_ref(d, subject->service);
    pick_position(d, &ret->items[0].position);
}

static void draw_gate(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    ret->u.gate.ref = pick_ref(d, subject->service);
    ret->u.gate.instance = pick_instance(d, subject->service);
    ret->u.gate.gate = draw_below(d, HA_GATE_BOTH + 1u);
}

static void draw_ready(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    ret->u.ready.service = subject->service->id;
    ret->u.ready.ready = draw_bool(d);
    pick_text(d, ret->u.ready.text, sizeof(ret->u.ready.text));
}

static void draw_diverged(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    ret->u.diverged.service = subject->service->id;
    ret->u.diverged.member = pick_member(d, subject->service);
    ret->u.diverged.found = (struct ha_diverged){.epoch = pick_ref(d, subject->service).epoch,
                                                 .bytes = draw_byte(d),
                                                 .kept = draw_below(d, HA_KEPT_WHOLE + 1u)};
}

static void draw_notice(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    const struct ha_cluster *cluster = subject->cluster;

    ret->u.notice.seq = draw_byte(d);
    if (cluster->notice_count > 0)
        ret->u.notice.seq = cluster->notices[ret->u.notice.seq % cluster->notice_count].seq;
    (void)ha_text_format(ret->u.notice.webhook, HA_NAME_SIZE, "h%u", draw_below(d, 4));
}

static void draw_pause(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    ret->u.pause.service = subject->service->id;
    ret->u.pause.until_ms = draw_byte(d);
    pick_name(d, ret->u.pause.author);
    pick_text(d, ret->u.pause.text, sizeof(ret->u.pause.text));
}

static void draw_nothing(struct draw *d, const struct subject *subject, struct ha_command *ret)
{
    (void)d;
    (void)subject;
    (void)ret;
}

static void (*const kinds[])(struct draw *d, const struct subject *subject,
                             struct ha_command *ret) = {
    [HA_COMMAND_NOTHING] = draw_nothing,    [HA_COMMAND_WATCHERS] = draw_watchers,
    [HA_COMMAND_CONFIG] = draw_config,      [HA_COMMAND_OBSERVE] = draw_observe,
    [HA_COMMAND_GIVE_UP] = draw_give_up,    [HA_COMMAND_BEGIN] = draw_begin,
    [HA_COMMAND_FENCED] = draw_fenced,      [HA_COMMAND_PROMOTE] = draw_promote,
    [HA_COMMAND_NONE] = draw_promote,       [HA_COMMAND_PROMOTED] = draw_outcome,
    [HA_COMMAND_FAILED] = draw_outcome,     [HA_COMMAND_OPENED] = draw_outcome,
    [HA_COMMAND_REPOINTED] = draw_outcome,  [HA_COMMAND_POSITIONS] = draw_positions,
    [HA_COMMAND_PAUSE] = draw_pause,        [HA_COMMAND_RESUME] = draw_pause,
    [HA_COMMAND_LIFT] = draw_pause,         [HA_COMMAND_NOTICE_DONE] = draw_notice,
    [HA_COMMAND_TEST_NOTICE] = draw_notice, [HA_COMMAND_REPLACE] = draw_replace,
    [HA_COMMAND_SETTLED] = draw_settled,    [HA_COMMAND_READY] = draw_ready,
    [HA_COMMAND_UNHEARD] = draw_unheard,    [HA_COMMAND_GATE] = draw_gate,
    [HA_COMMAND_SYNC_INTEND] = draw_sync,   [HA_COMMAND_SYNC_FORCE] = draw_sync,
    [HA_COMMAND_HOLD_INTEND] = draw_hold,   [HA_COMMAND_HOLD_FORCE] = draw_hold,
    [HA_COMMAND_DIVERGED] = draw_diverged,
};

void entry_draw(struct draw *d, const struct ha_cluster *cluster, struct ha_command *ret,
                struct ha_config *config)
{
    uint8_t kind = draw_byte(d);
    struct subject subject = {cluster, pick_service(d, cluster), config};

    memset(ret, 0, sizeof(*ret));
    ret->kind = (enum ha_command_kind)(kind % HA_ARRAY_LEN(kinds));
    ret->wall_ms = cluster->wall_ms + (kind >> 7);
    kinds[ret->kind](d, &subject, ret);
}
