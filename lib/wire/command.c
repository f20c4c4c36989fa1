#include "lib/wire/command.h"

#include <assert.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/wire/codec.h"
#include "lib/wire/parts.h"

#define ENTRY_UNIT 8u

static void walk_ref(struct ha_codec *c, struct ha_ref *ref)
{
    ha_codec_u32(c, &ref->service);
    ha_codec_u64(c, &ref->epoch);
}

static void walk_watchers(struct ha_codec *c, struct ha_command_watchers *w)
{
    ha_codec_u64(c, &w->set_id);
    ha_walk_names(c, &w->count, w->names, HA_WATCHERS_MAX);
}

static void walk_replace(struct ha_codec *c, struct ha_command_replace *r)
{
    ha_codec_name(c, r->old_name, sizeof(r->old_name));
    ha_codec_name(c, r->new_name, sizeof(r->new_name));
    ha_codec_text(c, r->address, sizeof(r->address));
    ha_codec_text(c, r->author, sizeof(r->author));
}

static void walk_settled(struct ha_codec *c, struct ha_command_settled *s)
{
    ha_codec_u64(c, &s->set_id);
    ha_walk_watcher_bits(c, &s->moved);
}

/* The terminator is on the wire too, so that a reader can lend the text out of the entry. */
static void walk_config_text(struct ha_codec *c, const char **text)
{
    uint32_t length = 0;
    const char *at;

    if (!ha_codec_reading(c)) {
        size_t size = strnlen(*text, HA_CONFIG_TEXT_MAX + 1);

        length = (uint32_t)size;
        ha_codec_u32_max(c, &length, HA_CONFIG_TEXT_MAX);
        ha_codec_raw(c, ha_codec_borrow(*text), size + 1);
        return;
    }
    ha_codec_u32_max(c, &length, HA_CONFIG_TEXT_MAX);
    at = ha_codec_view(c, (size_t)length + 1);
    if (at == NULL)
        return;
    if (memchr(at, '\0', (size_t)length + 1) != at + length)
        ha_codec_fail(c, "a text with a zero byte, or without its terminator");
    *text = at;
}

static void walk_config(struct ha_codec *c, struct ha_command_config *command,
                        struct ha_config *config)
{
    ha_codec_u64(c, &command->base_version);
    ha_codec_text(c, command->author, sizeof(command->author));
    ha_codec_u32_max(c, &config->service_count, HA_SERVICES_MAX);
    for (uint32_t i = 0; i < config->service_count && c->why == NULL; i++)
        ha_walk_service_config(c, &config->services[i]);
    ha_codec_u32_max(c, &config->webhook_count, HA_WEBHOOKS_MAX);
    for (uint32_t i = 0; i < config->webhook_count && c->why == NULL; i++)
        ha_walk_webhook_config(c, &config->webhooks[i]);
    walk_config_text(c, &command->text);
}

static void walk_observe(struct ha_codec *c, struct ha_command_observe *o)
{
    ha_codec_u32_max(c, &o->watcher, HA_WATCHERS_MAX - 1);
    ha_codec_u32_max(c, &o->count, HA_OBSERVE_MAX);
    for (uint32_t i = 0; i < o->count && c->why == NULL; i++) {
        ha_codec_u32(c, &o->items[i].service);
        ha_walk_member(c, &o->items[i].member);
        HA_CODEC_ENUM(c, &o->items[i].verdict, verdict);
    }
}

static void walk_give_up(struct ha_codec *c, struct ha_command_give_up *g)
{
    walk_ref(c, &g->ref);
    ha_walk_member(c, &g->member);
    ha_codec_u64(c, &g->instance);
    HA_CODEC_ENUM(c, &g->verdict, verdict);
    ha_codec_u64(c, &g->noticed_ms);
    ha_walk_position(c, &g->position);
    ha_codec_text(c, g->text, sizeof(g->text));
}

static void walk_begin(struct ha_codec *c, struct ha_command_begin *b)
{
    walk_ref(c, &b->ref);
    HA_CODEC_ENUM(c, &b->reason, reason);
    ha_walk_member(c, &b->target);
    ha_codec_bool(c, &b->accept_loss);
    ha_walk_watcher_bits(c, &b->agreeing);
    ha_codec_u64(c, &b->noticed_ms);
    ha_codec_text(c, b->text, sizeof(b->text));
}

static void walk_fenced(struct ha_codec *c, struct ha_command_fenced *f)
{
    walk_ref(c, &f->ref);
    HA_CODEC_ENUM(c, &f->how, fence);
    ha_codec_u64(c, &f->instance);
    ha_walk_watcher_bits(c, &f->stopped);
    ha_codec_u32_max(c, &f->sealed, HA_MEMBER_BITS_MAX);
    ha_codec_u32_max(c, &f->released, HA_MEMBER_BITS_MAX);
    ha_codec_u32_max(c, &f->renewed, HA_MEMBER_BITS_MAX);
    ha_codec_u32(c, &f->waited_ms);
    ha_walk_position(c, &f->position);
    ha_codec_text(c, f->text, sizeof(f->text));
}

static void walk_promote(struct ha_codec *c, struct ha_command_promote *p)
{
    walk_ref(c, &p->ref);
    ha_walk_member(c, &p->member);
    ha_codec_u64(c, &p->instance);
    HA_CODEC_ENUM(c, &p->gate, gate);
    ha_codec_u64(c, &p->lost_bytes);
    ha_codec_u32_max(c, &p->proof, HA_MEMBER_BITS_MAX);
    ha_codec_u32_max(c, &p->fit_count, HA_MEMBERS_MAX);
    for (uint32_t i = 0; i < p->fit_count && c->why == NULL; i++)
        ha_walk_fit(c, &p->fits[i]);
}

static void walk_outcome(struct ha_codec *c, struct ha_command_outcome *o)
{
    walk_ref(c, &o->ref);
    ha_walk_position(c, &o->position);
    ha_codec_text(c, o->text, sizeof(o->text));
}

static void walk_positions(struct ha_codec *c, struct ha_command_positions *p)
{
    ha_codec_u32_max(c, &p->count, HA_POSITIONS_MAX);
    for (uint32_t i = 0; i < p->count && c->why == NULL; i++) {
        walk_ref(c, &p->items[i].ref);
        ha_walk_position(c, &p->items[i].position);
    }
}

static void walk_gate(struct ha_codec *c, struct ha_command_gate *g)
{
    walk_ref(c, &g->ref);
    ha_codec_u64(c, &g->instance);
    HA_CODEC_ENUM(c, &g->gate, gate);
}

static void walk_pause(struct ha_codec *c, struct ha_command_pause *p)
{
    ha_codec_u32(c, &p->service);
    ha_codec_u64(c, &p->until_ms);
    ha_codec_text(c, p->author, sizeof(p->author));
    ha_codec_text(c, p->text, sizeof(p->text));
}

static void walk_notice(struct ha_codec *c, struct ha_command_notice *n)
{
    ha_codec_u64(c, &n->seq);
    ha_codec_name(c, n->webhook, sizeof(n->webhook));
}

static void walk_ready(struct ha_codec *c, struct ha_command_ready *r)
{
    ha_codec_u32(c, &r->service);
    ha_codec_bool(c, &r->ready);
    ha_codec_text(c, r->text, sizeof(r->text));
}

static void walk_unheard(struct ha_codec *c, struct ha_command_unheard *u)
{
    ha_codec_u64(c, &u->set_id);
    ha_walk_watcher_bits(c, &u->watchers);
}

static void walk_sync(struct ha_codec *c, struct ha_command_sync *s)
{
    walk_ref(c, &s->ref);
    ha_walk_sync_set(c, &s->set);
    ha_codec_u32_max(c, &s->entering, HA_MEMBER_BITS_MAX);
    for (uint32_t id = 0; id <= HA_MEMBERS_MAX && c->why == NULL; id++)
        if ((s->entering >> id & 1u) != 0)
            ha_walk_sync_entry(c, &s->entries[id]);
    ha_codec_u64(c, &s->offset);
    ha_codec_u32_max(c, &s->holding, HA_MEMBER_BITS_MAX);
}

static void walk_hold(struct ha_codec *c, struct ha_command_hold *h)
{
    walk_ref(c, &h->ref);
    ha_walk_hold_set(c, &h->set);
    ha_codec_u64(c, &h->since);
}

static void walk_diverged(struct ha_codec *c, struct ha_command_diverged *d)
{
    ha_codec_u32(c, &d->service);
    ha_walk_member(c, &d->member);
    ha_walk_diverged(c, &d->found);
}

/* Who has what was acknowledged, and who must. */
static void walk_data(struct ha_codec *c, struct ha_command *command)
{
    if (command->kind == HA_COMMAND_DIVERGED)
        walk_diverged(c, &command->u.diverged);
    else if (command->kind == HA_COMMAND_HOLD_INTEND || command->kind == HA_COMMAND_HOLD_FORCE)
        walk_hold(c, &command->u.hold);
    else
        walk_sync(c, &command->u.sync);
}

static void walk_body(struct ha_codec *c, struct ha_command *command, struct ha_config *config)
{
    switch (command->kind) {
    case HA_COMMAND_NOTHING:
        return;
    case HA_COMMAND_WATCHERS:
        walk_watchers(c, &command->u.watchers);
        return;
    case HA_COMMAND_CONFIG:
        walk_config(c, &command->u.config, config);
        return;
    case HA_COMMAND_OBSERVE:
        walk_observe(c, &command->u.observe);
        return;
    case HA_COMMAND_GIVE_UP:
        walk_give_up(c, &command->u.give_up);
        return;
    case HA_COMMAND_BEGIN:
        walk_begin(c, &command->u.begin);
        return;
    case HA_COMMAND_FENCED:
        walk_fenced(c, &command->u.fenced);
        return;
    case HA_COMMAND_PROMOTE:
    case HA_COMMAND_NONE:
        walk_promote(c, &command->u.promote);
        return;
    case HA_COMMAND_PROMOTED:
    case HA_COMMAND_FAILED:
    case HA_COMMAND_OPENED:
    case HA_COMMAND_REPOINTED:
        walk_outcome(c, &command->u.outcome);
        return;
    case HA_COMMAND_POSITIONS:
        walk_positions(c, &command->u.positions);
        return;
    case HA_COMMAND_PAUSE:
    case HA_COMMAND_RESUME:
    case HA_COMMAND_LIFT:
        walk_pause(c, &command->u.pause);
        return;
    case HA_COMMAND_NOTICE_DONE:
    case HA_COMMAND_TEST_NOTICE:
        walk_notice(c, &command->u.notice);
        return;
    case HA_COMMAND_REPLACE:
        walk_replace(c, &command->u.replace);
        return;
    case HA_COMMAND_SETTLED:
        walk_settled(c, &command->u.settled);
        return;
    case HA_COMMAND_GATE:
        walk_gate(c, &command->u.gate);
        return;
    case HA_COMMAND_READY:
        walk_ready(c, &command->u.ready);
        return;
    case HA_COMMAND_UNHEARD:
        walk_unheard(c, &command->u.unheard);
        return;
    case HA_COMMAND_SYNC_INTEND:
    case HA_COMMAND_SYNC_FORCE:
    case HA_COMMAND_HOLD_INTEND:
    case HA_COMMAND_HOLD_FORCE:
    case HA_COMMAND_DIVERGED:
        walk_data(c, command);
        return;
    }
    HA_UNREACHABLE();
}

static void walk(struct ha_codec *c, struct ha_command *command, struct ha_config *config)
{
    ha_codec_expect_u8(c, HA_COMMAND_VERSION, "another version");
    HA_CODEC_ENUM(c, &command->kind, command_kind);
    ha_codec_u64(c, &command->wall_ms);
    if (c->why != NULL)
        return;
    if (command->kind == HA_COMMAND_CONFIG && config == NULL)
        ha_codec_fail(c, "no room for a configuration");
    else
        walk_body(c, command, config);
    ha_codec_finish(c, ENTRY_UNIT);
}

static void walk_const(struct ha_codec *c, const struct ha_command *command)
{
    const struct ha_config *config =
        command->kind == HA_COMMAND_CONFIG ? command->u.config.config : NULL;

    walk(c, ha_codec_borrow(command), ha_codec_borrow(config));
}

size_t ha_command_size(const struct ha_command *command)
{
    struct ha_codec c;

    ha_codec_count(&c);
    walk_const(&c, command);
    return c.why == NULL ? c.size : 0;
}

int ha_command_encode(const struct ha_command *command, void *data, size_t size_max,
                      size_t *ret_size, struct ha_err *err)
{
    struct ha_codec c;
    int rv;

    ha_codec_write(&c, data, size_max);
    walk_const(&c, command);
    rv = ha_codec_end(&c, HA_EINVAL, ha_command_kind_text(command->kind), err);
    if (rv != HA_OK)
        return rv;
    assert(c.size % ENTRY_UNIT == 0);
    *ret_size = c.size;
    return HA_OK;
}

int ha_command_decode(const void *data, size_t size, struct ha_command *ret,
                      struct ha_config *config, struct ha_err *err)
{
    const uint8_t *bytes = data;
    struct ha_command command;
    struct ha_codec c;
    int rv;

    if (size >= 1 && bytes[0] != HA_COMMAND_VERSION)
        return ha_err_set(err, HA_ENOTSUP, "log entry of version %u; this program knows version %u",
                          bytes[0], HA_COMMAND_VERSION);
    if (size >= 2 && bytes[1] == HA_COMMAND_CONFIG && config == NULL)
        return ha_err_set(err, HA_EINVAL, "log entry: no room for a configuration");
    if (size >= 2 && bytes[1] == HA_COMMAND_CONFIG)
        memset(config, 0, sizeof(*config));
    memset(&command, 0, sizeof(command));
    ha_codec_read(&c, data, size);
    walk(&c, &command, config);
    rv = ha_codec_end(&c, HA_EPROTO, "log entry", err);
    if (rv != HA_OK)
        return rv;
    if (command.kind == HA_COMMAND_CONFIG)
        command.u.config.config = config;
    *ret = command;
    return HA_OK;
}
