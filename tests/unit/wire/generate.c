#include "tests/unit/wire/generate.h"

#include <stdio.h>
#include <string.h>

void gen_seed(struct gen *g, uint64_t seed, bool full)
{
    ha_prng_seed(&g->prng, seed);
    g->full = full;
}

uint32_t gen_below(struct gen *g, uint32_t bound)
{
    return (uint32_t)ha_prng_below(&g->prng, bound);
}

static uint64_t any(struct gen *g)
{
    /* Small and large numbers alike. */
    return ha_prng_u64(&g->prng) >> (g->full ? 0 : gen_below(g, 64));
}

static uint32_t any32(struct gen *g)
{
    return (uint32_t)any(g);
}

static bool coin(struct gen *g)
{
    return (ha_prng_u64(&g->prng) & 1) != 0;
}

static uint32_t count(struct gen *g, uint32_t max)
{
    return g->full ? max : gen_below(g, max + 1);
}

static void name(struct gen *g, char *to, size_t size, bool may_be_empty)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = g->full ? size - 1 : gen_below(g, (uint32_t)size);

    if (length == 0 && !may_be_empty)
        length = 1;
    for (size_t i = 0; i < length; i++)
        to[i] = letters[gen_below(g, i == 0 ? 62 : sizeof(letters) - 1)];
}

static void text(struct gen *g, char *to, size_t size)
{
    size_t length = g->full ? size - 1 : gen_below(g, (uint32_t)size);

    for (size_t i = 0; i < length; i++)
        to[i] = (char)(1 + gen_below(g, 255));
}

#define NAME(g, field) name((g), (field), sizeof(field), true)
#define TEXT(g, field) text((g), (field), sizeof(field))

/* Enumerations are dense from 0 (types.h): any of them that is valid. */
#define ENUM(g, field, of)                     \
    do {                                       \
        uint32_t enum_value = 0;               \
        while (ha_##of##_valid(enum_value))    \
            enum_value++;                      \
        enum_value = gen_below(g, enum_value); \
        (field) = (enum ha_##of)enum_value;    \
    } while (0)

static uint32_t member(struct gen *g)
{
    return gen_below(g, HA_MEMBERS_MAX + 1);
}

static void position(struct gen *g, struct ha_position *p)
{
    p->offset = any(g);
    p->lineage.count = count(g, HA_LINEAGE_MAX);
    for (uint32_t i = 0; i < p->lineage.count; i++)
        p->lineage.steps[i] = (struct ha_lineage_step){.id = any(g) | 1, .end = any(g)};
}

/* --- configuration ---------------------------------------------------------------------------- */

static void service_config(struct gen *g, struct ha_service_config *s)
{
    name(g, s->name, sizeof(s->name), false);
    ENUM(g, s->engine, engine);
    ENUM(g, s->durability, durability);
    ENUM(g, s->crash_policy, crash_policy);
    ENUM(g, s->on_quorum_loss, quorum_loss);
    TEXT(g, s->vip);
    s->vip_prefix = (uint8_t)any(g);
    NAME(g, s->vip_interface);
    NAME(g, s->credentials);
    NAME(g, s->fence);
    s->quorum = (uint8_t)any(g);
    s->parallel_syncs = (uint8_t)any(g);
    s->accept_process_fence = coin(g);
    s->failover_unwritable = coin(g);
    s->automatic = coin(g);
    s->rejoin_copy = coin(g);
    s->probe_ms = any32(g);
    s->heartbeat_ms = any32(g);
    s->down_after_ms = any32(g);
    s->refused_confirm_ms = any32(g);
    s->hang_after_ms = any32(g);
    s->starting_max_ms = any32(g);
    s->busy_max_ms = any32(g);
    s->lease_ms = any32(g);
    s->promote_deadline_ms = any32(g);
    s->open_deadline_ms = any32(g);
    s->repoint_deadline_ms = any32(g);
    s->restart_max_ms = any32(g);
    s->sync_grace_ms = any32(g);
    s->rewind_max_ms = any32(g);
    s->copy_max_ms = any32(g);
    s->rate_count = any32(g);
    s->rate_period_ms = any32(g);
    s->loss_budget_bytes = any(g);
    s->priority_slack_bytes = any(g);
    s->keep_tail_bytes = any(g);
    s->member_count = (uint8_t)count(g, HA_MEMBERS_MAX);
    for (uint32_t i = 0; i < s->member_count; i++) {
        struct ha_member_config *m = &s->members[i];

        name(g, m->name, sizeof(m->name), false);
        NAME(g, m->agent);
        TEXT(g, m->host);
        m->port = (uint16_t)any(g);
        m->agent_port = (uint16_t)any(g);
        m->priority = (uint16_t)any(g);
        NAME(g, m->follow);
    }
}

static void webhooks(struct gen *g, uint32_t *ret_count, struct ha_webhook_config *hooks)
{
    *ret_count = count(g, HA_WEBHOOKS_MAX);
    for (uint32_t i = 0; i < *ret_count; i++) {
        NAME(g, hooks[i].name);
        TEXT(g, hooks[i].url);
        NAME(g, hooks[i].secret);
        NAME(g, hooks[i].service);
        hooks[i].insecure = coin(g);
    }
}

void gen_config(struct gen *g, struct ha_config *config, uint32_t services)
{
    memset(config, 0, sizeof(*config));
    config->service_count = services;
    for (uint32_t i = 0; i < services; i++)
        service_config(g, &config->services[i]);
    webhooks(g, &config->webhook_count, config->webhooks);
}

static void sound_member(struct gen *g, struct ha_service_config *s, uint32_t service, uint32_t at)
{
    struct ha_member_config *m = &s->members[at];

    (void)snprintf(m->name, sizeof(m->name), "m%u", at);
    (void)snprintf(m->agent, sizeof(m->agent), "db%u", at);
    (void)snprintf(m->host, sizeof(m->host), coin(g) ? "10.%u.%u.%u" : "fd00::%u:%u:%u",
                   service / 256, service % 256, at + 1);
    m->port = (uint16_t)(1 + gen_below(g, 65535));
    m->agent_port = (uint16_t)(1 + gen_below(g, 65535));
    if (m->agent_port == m->port)
        m->agent_port = (uint16_t)(m->port % 65535 + 1);
    m->priority = (uint16_t)(at == 0 ? 1 + gen_below(g, 1000) : gen_below(g, 1001));
    if (at > 0 && coin(g))
        (void)snprintf(m->follow, sizeof(m->follow), "m%u", gen_below(g, at));
}

static void sound_service(struct gen *g, struct ha_service_config *s, uint32_t at)
{
    ha_service_config_defaults(s);
    (void)snprintf(s->name, sizeof(s->name), "service-%u", at);
    ENUM(g, s->engine, engine);
    s->durability = s->engine == HA_ENGINE_POSTGRESQL ? HA_DURABILITY_STRICT : HA_DURABILITY_SYNC;
    s->crash_policy =
        s->engine == HA_ENGINE_POSTGRESQL && coin(g) ? HA_CRASH_RESTART : HA_CRASH_FAILOVER;
    if (coin(g)) {
        (void)snprintf(s->vip, sizeof(s->vip), "192.168.%u.%u", at / 200, 1 + at % 200);
        s->vip_prefix = (uint8_t)(1 + gen_below(g, 32));
        (void)snprintf(s->vip_interface, sizeof(s->vip_interface), "eth%u", gen_below(g, 9));
    }
    NAME(g, s->credentials);
    NAME(g, s->fence);
    s->quorum = (uint8_t)gen_below(g, 3) == 0 ? 0 : (uint8_t)(2 + gen_below(g, 2));
    s->parallel_syncs = (uint8_t)(1 + gen_below(g, HA_MEMBERS_MAX));
    s->accept_process_fence = coin(g);
    s->failover_unwritable = coin(g);
    s->automatic = coin(g);
    s->rejoin_copy = coin(g);
    s->probe_ms = 20 + gen_below(g, 1000);
    s->heartbeat_ms = 20 + gen_below(g, 1000);
    s->down_after_ms = 1100 + gen_below(g, 500000);
    s->refused_confirm_ms = gen_below(g, 60001);
    s->hang_after_ms = 1100 + gen_below(g, 500000);
    s->starting_max_ms = gen_below(g, HA_DURATION_MAX_MS + 1);
    s->busy_max_ms = gen_below(g, 1000) * 60000 / 10;
    s->lease_ms = 2100 + gen_below(g, 50000);
    s->promote_deadline_ms = 100 + gen_below(g, 3000000);
    s->open_deadline_ms = 1000 * (1 + gen_below(g, 600));
    s->repoint_deadline_ms = 60000 * (1 + gen_below(g, 60));
    s->restart_max_ms = 1000 * (1 + gen_below(g, 60));
    s->sync_grace_ms = 1000 * gen_below(g, 60);
    s->rewind_max_ms = 1000 * (1 + gen_below(g, 3600));
    s->copy_max_ms = 1000 * (1 + gen_below(g, 86400));
    s->rate_count = gen_below(g, HA_RECENT_MAX + 1);
    s->rate_period_ms = s->rate_count == 0 ? 0 : 1000 + gen_below(g, HA_DURATION_MAX_MS - 1000);
    s->loss_budget_bytes = coin(g) ? UINT64_MAX : any(g) >> 1;
    s->priority_slack_bytes = any(g) >> 1;
    s->keep_tail_bytes = any(g) >> 1;
    s->member_count = (uint8_t)(1 + count(g, HA_MEMBERS_MAX - 1));
    for (uint32_t i = 0; i < s->member_count; i++)
        sound_member(g, s, at, i);
    s->on_quorum_loss = s->member_count > 1 && coin(g) ? HA_QUORUM_LOSS_HOLD : HA_QUORUM_LOSS_FENCE;
}

void gen_sound_config(struct gen *g, struct ha_config *config, uint32_t services)
{
    memset(config, 0, sizeof(*config));
    config->service_count = services;
    for (uint32_t i = 0; i < services; i++)
        sound_service(g, &config->services[i], i);
    config->webhook_count = count(g, HA_WEBHOOKS_MAX);
    for (uint32_t i = 0; i < config->webhook_count; i++) {
        struct ha_webhook_config *w = &config->webhooks[i];

        (void)snprintf(w->name, sizeof(w->name), "hook-%u", i);
        (void)snprintf(w->url, sizeof(w->url), "http%s://host-%u/%x?a=b&c=%%20", coin(g) ? "s" : "",
                       i, any32(g));
        w->insecure = w->url[4] != 's' || coin(g);
        NAME(g, w->secret);
        if (services > 0 && coin(g))
            memcpy(w->service, config->services[gen_below(g, services)].name, sizeof(w->service));
    }
}

/* --- commands --------------------------------------------------------------------------------- */

static void ref(struct gen *g, struct ha_ref *r)
{
    r->service = any32(g);
    r->epoch = any(g);
}

static void fit(struct gen *g, struct ha_fit *f)
{
    f->member = member(g);
    ENUM(g, f->fitness, fitness);
    f->offset = any(g);
    f->behind = any(g);
}

static void names(struct gen *g, uint32_t *ret_count, char (*to)[HA_NAME_SIZE])
{
    *ret_count = count(g, HA_WATCHERS_MAX);
    for (uint32_t i = 0; i < *ret_count; i++)
        name(g, to[i], HA_NAME_SIZE, false);
}

static void command_config(struct gen *g, struct ha_command_config *c, struct ha_config *config,
                           char *to)
{
    uint32_t length = count(g, g->full ? HA_CONFIG_TEXT_MAX : 2000);

    c->base_version = any(g);
    TEXT(g, c->author);
    gen_config(g, config, count(g, g->full ? HA_SERVICES_MAX : 3));
    memset(to, 'x', length);
    to[length] = '\0';
    c->config = config;
    c->text = to;
}

static void command_observe(struct gen *g, struct ha_command_observe *o)
{
    o->watcher = gen_below(g, HA_WATCHERS_MAX);
    o->count = count(g, HA_OBSERVE_MAX);
    for (uint32_t i = 0; i < o->count; i++) {
        o->items[i].service = any32(g);
        o->items[i].member = member(g);
        ENUM(g, o->items[i].verdict, verdict);
    }
}

static void command_give_up(struct gen *g, struct ha_command_give_up *c)
{
    ref(g, &c->ref);
    c->member = member(g);
    c->instance = any(g);
    ENUM(g, c->verdict, verdict);
    c->noticed_ms = any(g);
    position(g, &c->position);
    TEXT(g, c->text);
}

static void command_begin(struct gen *g, struct ha_command_begin *c)
{
    ref(g, &c->ref);
    ENUM(g, c->reason, reason);
    c->target = member(g);
    c->accept_loss = coin(g);
    c->agreeing = gen_below(g, 1u << HA_WATCHERS_MAX);
    c->noticed_ms = any(g);
    TEXT(g, c->text);
}

static void sync_set(struct gen *g, struct ha_sync_set *s)
{
    s->need = count(g, HA_MEMBERS_MAX);
    s->members = any32(g) & HA_MEMBER_BITS_MAX;
}

static void hold_set(struct gen *g, struct ha_hold_set *s)
{
    s->members = gen_below(g, 1u << (HA_MEMBERS_MAX + 1));
    s->lease_ms = gen_below(g, HA_LEASE_MAX_MS + 1);
    for (uint32_t id = 0; id <= HA_MEMBERS_MAX; id++)
        s->memory[id] = any(g);
}

static void sync_entry(struct gen *g, struct ha_sync_entry *e)
{
    e->since = any(g);
    e->instance = any(g);
    e->lineage = any(g);
    e->offset = any(g);
}

static void diverged(struct gen *g, struct ha_diverged *d)
{
    d->epoch = any(g);
    d->bytes = any(g);
    ENUM(g, d->kept, kept);
}

static void command_sync(struct gen *g, struct ha_command_sync *c)
{
    ref(g, &c->ref);
    sync_set(g, &c->set);
    c->entering = count(g, HA_MEMBER_BITS_MAX);
    for (uint32_t id = 0; id <= HA_MEMBERS_MAX; id++)
        if ((c->entering >> id & 1u) != 0)
            sync_entry(g, &c->entries[id]);
    c->offset = any(g);
    c->holding = any32(g) & HA_MEMBER_BITS_MAX;
}

static void command_fenced(struct gen *g, struct ha_command_fenced *c)
{
    ref(g, &c->ref);
    ENUM(g, c->how, fence);
    c->instance = any(g);
    c->stopped = gen_below(g, 1u << HA_WATCHERS_MAX);
    c->sealed = any32(g) & HA_MEMBER_BITS_MAX;
    c->released = any32(g) & HA_MEMBER_BITS_MAX;
    c->renewed = any32(g) & HA_MEMBER_BITS_MAX;
    c->waited_ms = any32(g);
    position(g, &c->position);
    TEXT(g, c->text);
}

static void command_promote(struct gen *g, struct ha_command_promote *c)
{
    ref(g, &c->ref);
    c->member = member(g);
    c->instance = any(g);
    ENUM(g, c->gate, gate);
    c->lost_bytes = any(g);
    c->proof = any32(g) & HA_MEMBER_BITS_MAX;
    c->fit_count = count(g, HA_MEMBERS_MAX);
    for (uint32_t i = 0; i < c->fit_count; i++)
        fit(g, &c->fits[i]);
}

static void command_outcome(struct gen *g, struct ha_command_outcome *c)
{
    ref(g, &c->ref);
    position(g, &c->position);
    TEXT(g, c->text);
}

static void command_positions(struct gen *g, struct ha_command_positions *c)
{
    c->count = count(g, HA_POSITIONS_MAX);
    for (uint32_t i = 0; i < c->count; i++) {
        ref(g, &c->items[i].ref);
        position(g, &c->items[i].position);
    }
}

static void command_pause(struct gen *g, struct ha_command_pause *c)
{
    c->service = any32(g);
    c->until_ms = any(g);
    TEXT(g, c->author);
    TEXT(g, c->text);
}

/* One case for each kind. NOLINTNEXTLINE(readability-function-size) */
static void command_body(struct gen *g, struct ha_command *c, struct ha_config *config, char *to)
{
    switch (c->kind) {
    case HA_COMMAND_NOTHING:
        break;
    case HA_COMMAND_WATCHERS:
        c->u.watchers.set_id = any(g);
        names(g, &c->u.watchers.count, c->u.watchers.names);
        break;
    case HA_COMMAND_CONFIG:
        command_config(g, &c->u.config, config, to);
        break;
    case HA_COMMAND_OBSERVE:
        command_observe(g, &c->u.observe);
        break;
    case HA_COMMAND_GIVE_UP:
        command_give_up(g, &c->u.give_up);
        break;
    case HA_COMMAND_BEGIN:
        command_begin(g, &c->u.begin);
        break;
    case HA_COMMAND_FENCED:
        command_fenced(g, &c->u.fenced);
        break;
    case HA_COMMAND_PROMOTE:
    case HA_COMMAND_NONE:
        command_promote(g, &c->u.promote);
        break;
    case HA_COMMAND_PROMOTED:
    case HA_COMMAND_FAILED:
    case HA_COMMAND_OPENED:
    case HA_COMMAND_REPOINTED:
        command_outcome(g, &c->u.outcome);
        break;
    case HA_COMMAND_POSITIONS:
        command_positions(g, &c->u.positions);
        break;
    case HA_COMMAND_PAUSE:
    case HA_COMMAND_RESUME:
    case HA_COMMAND_LIFT:
        command_pause(g, &c->u.pause);
        break;
    case HA_COMMAND_NOTICE_DONE:
    case HA_COMMAND_TEST_NOTICE:
        c->u.notice.seq = any(g);
        NAME(g, c->u.notice.webhook);
        break;
    case HA_COMMAND_REPLACE:
        NAME(g, c->u.replace.old_name);
        NAME(g, c->u.replace.new_name);
        TEXT(g, c->u.replace.address);
        TEXT(g, c->u.replace.author);
        break;
    case HA_COMMAND_SETTLED:
        c->u.settled.set_id = any(g);
        c->u.settled.moved = gen_below(g, 1u << HA_WATCHERS_MAX);
        break;
    case HA_COMMAND_GATE:
        ref(g, &c->u.gate.ref);
        c->u.gate.instance = any(g);
        ENUM(g, c->u.gate.gate, gate);
        break;
    case HA_COMMAND_READY:
        c->u.ready.service = any32(g);
        c->u.ready.ready = coin(g);
        TEXT(g, c->u.ready.text);
        break;
    case HA_COMMAND_UNHEARD:
        c->u.unheard.set_id = any(g);
        c->u.unheard.watchers = gen_below(g, 1u << HA_WATCHERS_MAX);
        break;
    case HA_COMMAND_SYNC_INTEND:
    case HA_COMMAND_SYNC_FORCE:
        command_sync(g, &c->u.sync);
        break;
    case HA_COMMAND_HOLD_INTEND:
    case HA_COMMAND_HOLD_FORCE:
        ref(g, &c->u.hold.ref);
        hold_set(g, &c->u.hold.set);
        c->u.hold.since = any(g);
        break;
    case HA_COMMAND_DIVERGED:
        c->u.diverged.service = any32(g);
        c->u.diverged.member = member(g);
        diverged(g, &c->u.diverged.found);
        break;
    }
}

void gen_command(struct gen *g, enum ha_command_kind kind, struct ha_command *command,
                 struct ha_config *config, char *to)
{
    memset(command, 0, sizeof(*command));
    command->kind = kind;
    command->wall_ms = any(g);
    command_body(g, command, config, to);
}

/* --- the replicated state --------------------------------------------------------------------- */

static void service_state(struct gen *g, struct ha_service *s)
{
    ENUM(g, s->state, state);
    s->epoch = any(g);
    s->primary = member(g);
    s->instance = any(g);
    ENUM(g, s->gate, gate);
    s->open_epoch = any(g);
    s->open_member = member(g);
    s->open_instance = any(g);
    ENUM(g, s->open_gate, gate);
    s->open_lease_ms = any32(g);
    ENUM(g, s->fence, fence);
    s->prev_epoch = any(g);
    ENUM(g, s->prev_fence, fence);
    position(g, &s->position);
    s->sync.in_force = coin(g);
    s->sync.alone = coin(g);
    s->sync.floor = any(g);
    s->sync.floor_next = any(g);
    s->sync.count = count(g, HA_SYNC_SETS);
    for (uint32_t i = 0; i < s->sync.count; i++) {
        sync_set(g, &s->sync.sets[i].set);
        s->sync.sets[i].since = any(g);
    }
    s->hold.count = count(g, HA_HOLD_SETS);
    for (uint32_t i = 0; i < s->hold.count; i++) {
        hold_set(g, &s->hold.sets[i].set);
        s->hold.sets[i].since = any(g);
    }
    ENUM(g, s->reason, reason);
    s->target = member(g);
    s->accept_loss = coin(g);
    s->failed_members = gen_below(g, 1u << (HA_MEMBERS_MAX + 1));
    s->decision = any(g);
    s->paused = coin(g);
    s->paused_until_ms = any(g);
    TEXT(g, s->paused_by);
    TEXT(g, s->paused_why);
    s->recent_count = count(g, HA_RECENT_MAX);
    for (uint32_t i = 0; i < s->recent_count; i++)
        s->recent_ms[i] = any(g);
    s->failovers = any(g);
    s->switchovers = any(g);
    s->not_ready = coin(g);
    TEXT(g, s->not_ready_why);
}

static void service(struct gen *g, struct ha_service *s, uint32_t id)
{
    s->used = true;
    s->id = id;
    s->deleting = coin(g);
    service_config(g, &s->config);
    for (uint32_t i = 0; i < s->config.member_count; i++) {
        s->members[i].id = HA_MEMBERS_MAX - i;
        s->members[i].unopened_epoch = any(g);
        for (uint32_t w = 0; w < HA_WATCHERS_MAX; w++)
            ENUM(g, s->members[i].verdicts[w], verdict);
        sync_entry(g, &s->members[i].sync);
    }
    service_state(g, s);
}

static void decision(struct gen *g, struct ha_decision *d, uint64_t id)
{
    d->id = id;
    d->service = any32(g);
    NAME(g, d->service_name);
    d->epoch_from = any(g);
    d->epoch = any(g);
    ENUM(g, d->reason, reason);
    ENUM(g, d->verdict, verdict);
    ENUM(g, d->fence, fence);
    d->agreeing = gen_below(g, 1u << HA_WATCHERS_MAX);
    d->waited_ms = any32(g);
    d->attempts = any32(g);
    d->done = coin(g);
    NAME(g, d->from);
    NAME(g, d->to);
    d->stages.noticed_ms = any(g);
    d->stages.agreed_ms = any(g);
    d->stages.fenced_ms = any(g);
    d->stages.chosen_ms = any(g);
    d->stages.promoted_ms = any(g);
    d->stages.opened_ms = any(g);
    d->stages.done_ms = any(g);
    d->lost_bytes = any(g);
    diverged(g, &d->found);
    d->fit_count = count(g, HA_MEMBERS_MAX);
    for (uint32_t i = 0; i < d->fit_count; i++) {
        NAME(g, d->fits[i].name);
        fit(g, &d->fits[i].fit);
    }
    TEXT(g, d->text);
}

static void notice(struct gen *g, struct ha_notice *n, uint64_t seq)
{
    n->seq = seq;
    n->owed = gen_below(g, 1u << HA_WEBHOOKS_MAX);
    ENUM(g, n->kind, notice_kind);
    n->wall_ms = any(g);
    n->service = any32(g);
    NAME(g, n->service_name);
    n->epoch = any(g);
    n->decision = any(g);
    NAME(g, n->from);
    NAME(g, n->to);
    n->lost_bytes = any(g);
    TEXT(g, n->text);
}

static void services(struct gen *g, struct ha_cluster *c, uint32_t wanted)
{
    uint32_t first = 1 + gen_below(g, 5000);

    c->id_last = first + HA_SERVICES_MAX;
    c->epoch_floor = any(g);
    for (uint32_t i = 0; i < wanted; i++) {
        uint32_t id = first + i;

        service(g, &c->services[id % HA_SERVICES_MAX], id);
        c->service_count++;
    }
}

static void records(struct gen *g, struct ha_cluster *c)
{
    uint32_t kept = count(g, g->full ? HA_HISTORY_MAX : 5);

    c->decision_last = g->full ? 1000 : kept;
    for (uint64_t id = c->decision_last - kept + 1; id <= c->decision_last; id++)
        decision(g, &c->decisions[id % HA_HISTORY_MAX], id);
    c->notice_count = count(g, g->full ? HA_OUTBOX_MAX : 5);
    c->notices_dropped = any(g);
    for (uint32_t i = 0; i < c->notice_count; i++) {
        c->notice_last += 1 + gen_below(g, 3);
        notice(g, &c->notices[i], c->notice_last);
    }
    c->notice_last += gen_below(g, 3);
    for (uint64_t seq = 1; seq <= c->notice_last; seq++) {
        memset(&c->events[seq % HA_EVENTS_MAX], 0, sizeof(c->events[0]));
        notice(g, &c->events[seq % HA_EVENTS_MAX], seq);
    }
}

static void archive(struct gen *g, struct ha_cluster *c)
{
    c->archive_count = count(g, HA_ARCHIVE_MAX);
    for (uint32_t i = 0; i < c->archive_count; i++) {
        struct ha_archived *a = &c->archived[i];

        c->config_version += 1 + gen_below(g, 3);
        a->version = c->config_version;
        a->wall_ms = any(g);
        TEXT(g, a->author);
        a->at = c->archive_size;
        a->size = g->full ? HA_ARCHIVE_SIZE / HA_ARCHIVE_MAX : gen_below(g, 100);
        memset(c->archive + a->at, 'a' + (int)i, a->size);
        c->archive_size += a->size;
    }
    c->config_version += gen_below(g, 2);
}

void gen_cluster(struct gen *g, struct ha_cluster *cluster, uint32_t wanted)
{
    memset(cluster, 0, sizeof(*cluster));
    cluster->index = any(g);
    cluster->wall_ms = any(g);
    cluster->set_id = any(g);
    names(g, &cluster->watcher_count, cluster->watchers);
    cluster->spoke = gen_below(g, 1u << HA_WATCHERS_MAX);
    cluster->old_seats = gen_below(g, 1u << HA_WATCHERS_MAX);
    cluster->old_majority = gen_below(g, HA_WATCHERS_MAX + 1);
    cluster->watchers_down = gen_below(g, 1u << HA_WATCHERS_MAX);
    webhooks(g, &cluster->webhook_count, cluster->webhooks);
    services(g, cluster, wanted);
    records(g, cluster);
    archive(g, cluster);
}

/* --- messages --------------------------------------------------------------------------------- */

static void sample(struct gen *g, struct ha_sample *s)
{
    ENUM(g, s->answer, answer);
    ENUM(g, s->role, role);
    s->writable = coin(g);
    s->link_up = coin(g);
    s->copying = coin(g);
    s->read_only = coin(g);
    s->starts = coin(g);
    s->lacks_rights = coin(g);
    s->run_id = any(g);
    s->link_idle_ms = any32(g);
    s->replicas = any32(g);
    s->sync_id = any(g);
    s->upstream_port = (uint16_t)any(g);
    TEXT(g, s->upstream_host);
    position(g, &s->position);
    diverged(g, &s->diverged);
    TEXT(g, s->text);
}

void gen_status(struct gen *g, struct ha_status *s)
{
    memset(s, 0, sizeof(*s));
    s->service = any32(g);
    s->member = member(g);
    s->epoch = any(g);
    s->given_up = any(g);
    s->epoch_seen = any(g);
    s->sealed = any(g);
    s->noteless = coin(g);
    ENUM(g, s->given_up_why, verdict);
    ENUM(g, s->process, process);
    s->answer_age_ms = any32(g);
    sample(g, &s->sample);
    s->follows = member(g);
    ENUM(g, s->gate, gate);
    s->gate_open = coin(g);
    s->gate_left_ms = any32(g);
    s->lease_left_ms = any32(g);
    s->vip_held = coin(g);
    s->settled = coin(g);
    s->order_epoch = any(g);
    ENUM(g, s->order, order_kind);
    ENUM(g, s->result, result);
    s->sync_index = any(g);
    s->memory = any(g);
    s->awake_ms = any32(g);
    s->hold_left_ms = any32(g);
    s->hold_index = any(g);
    s->hold_given = gen_below(g, 1u << (HA_MEMBERS_MAX + 1));
    s->holding = coin(g);
    s->hold_age_ms = any32(g);
    TEXT(g, s->text);
}

void gen_promise(struct gen *g, struct ha_promise *p)
{
    memset(p, 0, sizeof(*p));
    p->service = any32(g);
    p->epoch = any(g);
    p->instance = any(g);
    p->stamp = any(g);
    p->set_id = any(g);
    p->set_size = count(g, HA_WATCHERS_MAX);
    p->length_ms = count(g, HA_LEASE_MAX_MS);
}

static void settings(struct gen *g, struct ha_settings *s)
{
    s->config_version = any(g);
    s->service = any32(g);
    s->member = member(g);
    s->gone = coin(g);
    ENUM(g, s->engine, engine);
    ENUM(g, s->durability, durability);
    ENUM(g, s->on_quorum_loss, quorum_loss);
    NAME(g, s->service_name);
    NAME(g, s->member_name);
    TEXT(g, s->host);
    s->port = (uint16_t)any(g);
    TEXT(g, s->vip);
    s->vip_prefix = (uint8_t)any(g);
    NAME(g, s->vip_interface);
    s->probe_ms = any32(g);
    s->heartbeat_ms = any32(g);
    s->hang_after_ms = any32(g);
    s->lease_ms = any32(g);
    s->promote_deadline_ms = any32(g);
    s->rejoin_copy = coin(g);
    s->rewind_max_ms = any32(g);
    s->copy_max_ms = any32(g);
    s->keep_tail_bytes = any(g);
    s->peer_count = count(g, HA_MEMBERS_MAX);
    for (uint32_t i = 0; i < s->peer_count; i++) {
        s->peers[i].id = member(g);
        s->peers[i].port = (uint16_t)any(g);
        s->peers[i].agent_port = (uint16_t)any(g);
        NAME(g, s->peers[i].name);
        NAME(g, s->peers[i].agent);
        TEXT(g, s->peers[i].host);
    }
}

static void order(struct gen *g, struct ha_order *o)
{
    o->service = any32(g);
    o->member = member(g);
    ENUM(g, o->kind, order_kind);
    o->epoch = any(g);
    o->index = any(g);
    o->instance = any(g);
    o->vip_free = coin(g);
    o->full_copy = coin(g);
    o->min_replicas = any32(g);
    o->sync_managed = coin(g);
    sync_set(g, &o->sync);
    o->sync_index = any(g);
    hold_set(g, &o->hold);
    o->hold_index = any(g);
    o->hold_free = coin(g);
    o->hold_ms = any32(g);
    o->upstream = member(g);
    o->upstream_port = (uint16_t)any(g);
    TEXT(g, o->upstream_host);
}

static void peers(struct gen *g, struct ha_peers *p)
{
    p->config_version = any(g);
    p->port_count = count(g, HA_PEER_PORTS_MAX);
    for (uint32_t i = 0; i < p->port_count; i++)
        p->ports[i] = (uint16_t)any(g);
    p->count = count(g, HA_PEERS_MAX);
    for (uint32_t i = 0; i < p->count; i++) {
        NAME(g, p->all[i].agent);
        p->all[i].keyed = coin(g);
        for (size_t k = 0; k < sizeof(p->all[i].key); k++)
            p->all[i].key[k] = (uint8_t)any(g);
    }
}

static void hold_ask(struct gen *g, struct ha_hold_ask *a)
{
    a->service = any32(g);
    a->member = member(g);
    a->epoch = any(g);
    a->instance = any(g);
    a->stamp = any(g);
    a->length_ms = count(g, HA_LEASE_MAX_MS);
    a->memory = any(g);
}

static void hold_word(struct gen *g, struct ha_hold_word *w)
{
    w->service = any32(g);
    w->epoch = any(g);
    w->instance = any(g);
    w->stamp = any(g);
    w->length_ms = count(g, HA_LEASE_MAX_MS);
    w->memory = any(g);
}

static void hello_watcher(struct gen *g, struct ha_hello_watcher *h)
{
    NAME(g, h->name);
    h->index = gen_below(g, HA_WATCHERS_MAX);
    h->set_size = count(g, HA_WATCHERS_MAX);
    h->set_id = any(g);
    TEXT(g, h->software);
}

static void repeat(struct gen *g, struct ha_repeat *r)
{
    r->instance = any(g);
    r->stamp = any(g);
    r->sum = any(g);
    r->count = count(g, HA_RANGES_MAX);
    for (uint32_t i = 0; i < r->count; i++) {
        r->ranges[i].first = any32(g);
        r->ranges[i].count = any32(g);
    }
}

static void stopped(struct gen *g, struct ha_stopped *s)
{
    s->set_id = any(g);
    s->service = any32(g);
    s->epoch = any(g);
    s->remainder_ms = any32(g);
}

static void prepare(struct gen *g, struct ha_prepare *p)
{
    p->id = any(g);
    p->service = any32(g);
    p->member = member(g);
    p->deadline_ms = any32(g);
}

static void prepared(struct gen *g, struct ha_prepared *p)
{
    p->id = any(g);
    p->service = any32(g);
    p->done = gen_below(g, 2) == 1;
    TEXT(g, p->text);
}

void gen_message(struct gen *g, enum ha_message_type type, struct ha_message *m)
{
    memset(m, 0, sizeof(*m));
    m->type = type;
    switch (type) {
    case HA_MESSAGE_HELLO_AGENT:
        NAME(g, m->u.hello_agent.name);
        m->u.hello_agent.instance = any(g);
        TEXT(g, m->u.hello_agent.software);
        break;
    case HA_MESSAGE_HELLO_WATCHER:
        hello_watcher(g, &m->u.hello_watcher);
        break;
    case HA_MESSAGE_SETTINGS:
        settings(g, &m->u.settings);
        break;
    case HA_MESSAGE_ORDER:
        order(g, &m->u.order);
        break;
    case HA_MESSAGE_REPORT:
        m->u.report.service = any32(g);
        m->u.report.member = member(g);
        m->u.report.wall_ms = any(g);
        TEXT(g, m->u.report.text);
        break;
    case HA_MESSAGE_STOPPED:
        stopped(g, &m->u.stopped);
        break;
    case HA_MESSAGE_REPEAT:
    case HA_MESSAGE_RENEW:
    case HA_MESSAGE_TELL:
        repeat(g, &m->u.repeat);
        break;
    case HA_MESSAGE_PEERS:
        peers(g, &m->u.peers);
        break;
    case HA_MESSAGE_HOLD_ASKS:
        m->u.asks.count = count(g, HA_HOLDS_MAX);
        for (uint32_t i = 0; i < m->u.asks.count; i++)
            hold_ask(g, &m->u.asks.all[i]);
        break;
    case HA_MESSAGE_HOLD_WORDS:
        m->u.words.count = count(g, HA_HOLDS_MAX);
        for (uint32_t i = 0; i < m->u.words.count; i++)
            hold_word(g, &m->u.words.all[i]);
        break;
    case HA_MESSAGE_ALL:
        m->u.all.config_version = any(g);
        m->u.all.count = count(g, HA_SERVICES_MAX);
        for (uint32_t i = 0; i < m->u.all.count; i++)
            m->u.all.services[i] = any32(g);
        break;
    case HA_MESSAGE_PREPARE:
        prepare(g, &m->u.prepare);
        break;
    case HA_MESSAGE_PREPARED:
        prepared(g, &m->u.prepared);
        break;
    case HA_MESSAGE_NONE:
    case HA_MESSAGE_HEARTBEATS:
    case HA_MESSAGE_PROMISES:
        break;
    }
}
