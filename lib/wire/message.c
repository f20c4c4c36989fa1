#include "lib/wire/message.h"

#include <assert.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/wire/parts.h"

HA_ENUM_DEFINE(message_type, HA_MESSAGE_MAP)

static void walk_head(struct ha_codec *c, enum ha_message_type *type)
{
    ha_codec_expect_u8(c, HA_MESSAGE_VERSION, "another version");
    HA_CODEC_ENUM(c, type, message_type);
}

static void walk_hello_agent(struct ha_codec *c, struct ha_hello_agent *h)
{
    ha_codec_name(c, h->name, sizeof(h->name));
    ha_codec_u64(c, &h->instance);
    ha_codec_text(c, h->software, sizeof(h->software));
}

static void walk_hello_watcher(struct ha_codec *c, struct ha_hello_watcher *h)
{
    ha_codec_name(c, h->name, sizeof(h->name));
    ha_codec_u32_max(c, &h->index, HA_WATCHERS_MAX - 1);
    ha_codec_u32_max(c, &h->set_size, HA_WATCHERS_MAX);
    ha_codec_u64(c, &h->set_id);
    ha_codec_text(c, h->software, sizeof(h->software));
}

static void walk_settings(struct ha_codec *c, struct ha_settings *s)
{
    ha_codec_u64(c, &s->config_version);
    ha_codec_u32(c, &s->service);
    ha_walk_member(c, &s->member);
    ha_codec_bool(c, &s->gone);
    HA_CODEC_ENUM(c, &s->engine, engine);
    HA_CODEC_ENUM(c, &s->durability, durability);
    HA_CODEC_ENUM(c, &s->on_quorum_loss, quorum_loss);
    ha_codec_name(c, s->service_name, sizeof(s->service_name));
    ha_codec_name(c, s->member_name, sizeof(s->member_name));
    ha_codec_text(c, s->host, sizeof(s->host));
    ha_codec_u16(c, &s->port);
    ha_codec_text(c, s->vip, sizeof(s->vip));
    ha_codec_u8(c, &s->vip_prefix);
    ha_codec_name(c, s->vip_interface, sizeof(s->vip_interface));
    ha_codec_u32(c, &s->probe_ms);
    ha_codec_u32(c, &s->heartbeat_ms);
    ha_codec_u32(c, &s->hang_after_ms);
    ha_codec_u32(c, &s->lease_ms);
    ha_codec_u32(c, &s->promote_deadline_ms);
    ha_codec_bool(c, &s->rejoin_copy);
    ha_codec_u32(c, &s->rewind_max_ms);
    ha_codec_u32(c, &s->copy_max_ms);
    ha_codec_u64(c, &s->keep_tail_bytes);
    ha_codec_u32_max(c, &s->peer_count, HA_MEMBERS_MAX);
    for (uint32_t i = 0; i < s->peer_count && c->why == NULL; i++) {
        ha_walk_member(c, &s->peers[i].id);
        ha_codec_u16(c, &s->peers[i].port);
        ha_codec_u16(c, &s->peers[i].agent_port);
        ha_codec_name(c, s->peers[i].name, sizeof(s->peers[i].name));
        ha_codec_name(c, s->peers[i].agent, sizeof(s->peers[i].agent));
        ha_codec_text(c, s->peers[i].host, sizeof(s->peers[i].host));
    }
}

static void walk_hold(struct ha_codec *c, struct ha_status *s)
{
    ha_codec_u64(c, &s->memory);
    ha_codec_u32(c, &s->awake_ms);
    ha_codec_u32(c, &s->hold_left_ms);
    ha_codec_u64(c, &s->hold_index);
    ha_codec_u32_max(c, &s->hold_given, HA_MEMBER_BITS_MAX);
    ha_codec_bool(c, &s->holding);
    ha_codec_u32(c, &s->hold_age_ms);
}

static void walk_status(struct ha_codec *c, struct ha_status *s)
{
    ha_codec_u32(c, &s->service);
    ha_walk_member(c, &s->member);
    ha_codec_u64(c, &s->epoch);
    ha_codec_u64(c, &s->given_up);
    ha_codec_u64(c, &s->epoch_seen);
    ha_codec_u64(c, &s->sealed);
    ha_codec_bool(c, &s->noteless);
    HA_CODEC_ENUM(c, &s->given_up_why, verdict);
    HA_CODEC_ENUM(c, &s->process, process);
    ha_codec_u32(c, &s->answer_age_ms);
    ha_walk_sample(c, &s->sample);
    ha_walk_member(c, &s->follows);
    HA_CODEC_ENUM(c, &s->gate, gate);
    ha_codec_bool(c, &s->gate_open);
    ha_codec_u32(c, &s->gate_left_ms);
    ha_codec_u32(c, &s->lease_left_ms);
    ha_codec_bool(c, &s->vip_held);
    ha_codec_bool(c, &s->settled);
    ha_codec_u64(c, &s->order_epoch);
    HA_CODEC_ENUM(c, &s->order, order_kind);
    HA_CODEC_ENUM(c, &s->result, result);
    ha_codec_u64(c, &s->sync_index);
    walk_hold(c, s);
    ha_codec_text(c, s->text, sizeof(s->text));
}

static void walk_promise(struct ha_codec *c, struct ha_promise *p)
{
    ha_codec_u32(c, &p->service);
    ha_codec_u64(c, &p->epoch);
    ha_codec_u64(c, &p->instance);
    ha_codec_u64(c, &p->stamp);
    ha_codec_u64(c, &p->set_id);
    ha_codec_u32_max(c, &p->set_size, HA_WATCHERS_MAX);
    ha_codec_u32_max(c, &p->length_ms, HA_LEASE_MAX_MS);
}

static void walk_order(struct ha_codec *c, struct ha_order *o)
{
    ha_codec_u32(c, &o->service);
    ha_walk_member(c, &o->member);
    HA_CODEC_ENUM(c, &o->kind, order_kind);
    ha_codec_u64(c, &o->epoch);
    ha_codec_u64(c, &o->index);
    ha_codec_u64(c, &o->instance);
    ha_codec_bool(c, &o->vip_free);
    ha_codec_bool(c, &o->full_copy);
    ha_codec_u32(c, &o->min_replicas);
    ha_codec_bool(c, &o->sync_managed);
    ha_walk_sync_set(c, &o->sync);
    ha_codec_u64(c, &o->sync_index);
    ha_walk_hold_set(c, &o->hold);
    ha_codec_u64(c, &o->hold_index);
    ha_codec_bool(c, &o->hold_free);
    ha_codec_u32(c, &o->hold_ms);
    ha_walk_member(c, &o->upstream);
    ha_codec_u16(c, &o->upstream_port);
    ha_codec_text(c, o->upstream_host, sizeof(o->upstream_host));
}

static void walk_report(struct ha_codec *c, struct ha_report *r)
{
    ha_codec_u32(c, &r->service);
    ha_walk_member(c, &r->member);
    ha_codec_u64(c, &r->wall_ms);
    ha_codec_text(c, r->text, sizeof(r->text));
}

static void walk_stopped(struct ha_codec *c, struct ha_stopped *s)
{
    ha_codec_u64(c, &s->set_id);
    ha_codec_u32(c, &s->service);
    ha_codec_u64(c, &s->epoch);
    ha_codec_u32(c, &s->remainder_ms);
}

static void walk_repeat(struct ha_codec *c, struct ha_repeat *r)
{
    ha_codec_u64(c, &r->instance);
    ha_codec_u64(c, &r->stamp);
    ha_codec_u64(c, &r->sum);
    ha_codec_u32_max(c, &r->count, HA_RANGES_MAX);
    for (uint32_t i = 0; i < r->count && c->why == NULL; i++) {
        ha_codec_u32(c, &r->ranges[i].first);
        ha_codec_u32(c, &r->ranges[i].count);
    }
}

static void walk_peers(struct ha_codec *c, struct ha_peers *p)
{
    ha_codec_u64(c, &p->config_version);
    ha_codec_u32_max(c, &p->port_count, HA_PEER_PORTS_MAX);
    for (uint32_t i = 0; i < p->port_count && c->why == NULL; i++)
        ha_codec_u16(c, &p->ports[i]);
    ha_codec_u32_max(c, &p->count, HA_PEERS_MAX);
    for (uint32_t i = 0; i < p->count && c->why == NULL; i++) {
        ha_codec_name(c, p->all[i].agent, sizeof(p->all[i].agent));
        ha_codec_bool(c, &p->all[i].keyed);
        ha_codec_raw(c, p->all[i].key, sizeof(p->all[i].key)); /* zeros where there is none */
    }
}

static void walk_hold_ask(struct ha_codec *c, struct ha_hold_ask *a)
{
    ha_codec_u32(c, &a->service);
    ha_walk_member(c, &a->member);
    ha_codec_u64(c, &a->epoch);
    ha_codec_u64(c, &a->instance);
    ha_codec_u64(c, &a->stamp);
    ha_codec_u32_max(c, &a->length_ms, HA_LEASE_MAX_MS);
    ha_codec_u64(c, &a->memory);
}

static void walk_hold_word(struct ha_codec *c, struct ha_hold_word *w)
{
    ha_codec_u32(c, &w->service);
    ha_codec_u64(c, &w->epoch);
    ha_codec_u64(c, &w->instance);
    ha_codec_u64(c, &w->stamp);
    ha_codec_u32_max(c, &w->length_ms, HA_LEASE_MAX_MS);
    ha_codec_u64(c, &w->memory);
}

static void walk_all(struct ha_codec *c, struct ha_all *a)
{
    ha_codec_u64(c, &a->config_version);
    ha_codec_u32_max(c, &a->count, HA_SERVICES_MAX);
    for (uint32_t i = 0; i < a->count && c->why == NULL; i++)
        ha_codec_u32(c, &a->services[i]);
}

static void walk_prepare(struct ha_codec *c, struct ha_prepare *p)
{
    ha_codec_u64(c, &p->id);
    ha_codec_u32(c, &p->service);
    ha_walk_member(c, &p->member);
    ha_codec_u32(c, &p->deadline_ms);
}

static void walk_prepared(struct ha_codec *c, struct ha_prepared *p)
{
    ha_codec_u64(c, &p->id);
    ha_codec_u32(c, &p->service);
    ha_codec_bool(c, &p->done);
    ha_codec_text(c, p->text, sizeof(p->text));
}

/* A batch is the head, for heartbeats instance and stamp, then items up to the end: their number is
 * not written, so a writer may stop at any time. */
static void walk_stamp(struct ha_codec *c, uint64_t *instance, uint64_t *stamp)
{
    ha_codec_u64(c, instance);
    ha_codec_u64(c, stamp);
}

/* Walks all items of a copy of the cursor, so that a message is good as a whole or refused. */
static void check_batch(struct ha_codec *c, enum ha_message_type type, struct ha_batch *batch)
{
    struct ha_status status = {0};
    struct ha_promise promise = {0};

    if (type == HA_MESSAGE_HEARTBEATS)
        walk_stamp(c, &batch->instance, &batch->stamp);
    batch->codec = *c;
    while (c->why == NULL && ha_reader_left(&c->reader) > 0) {
        if (type == HA_MESSAGE_HEARTBEATS)
            walk_status(c, &status);
        else
            walk_promise(c, &promise);
        batch->left++;
    }
}

static void walk_body(struct ha_codec *c, struct ha_message *m)
{
    switch (m->type) {
    case HA_MESSAGE_HELLO_AGENT:
        walk_hello_agent(c, &m->u.hello_agent);
        return;
    case HA_MESSAGE_HELLO_WATCHER:
        walk_hello_watcher(c, &m->u.hello_watcher);
        return;
    case HA_MESSAGE_SETTINGS:
        walk_settings(c, &m->u.settings);
        return;
    case HA_MESSAGE_ORDER:
        walk_order(c, &m->u.order);
        return;
    case HA_MESSAGE_REPORT:
        walk_report(c, &m->u.report);
        return;
    case HA_MESSAGE_STOPPED:
        walk_stopped(c, &m->u.stopped);
        return;
    case HA_MESSAGE_REPEAT:
    case HA_MESSAGE_RENEW:
    case HA_MESSAGE_TELL:
        walk_repeat(c, &m->u.repeat);
        return;
    case HA_MESSAGE_PEERS:
        walk_peers(c, &m->u.peers);
        return;
    case HA_MESSAGE_HOLD_ASKS:
        ha_codec_u32_max(c, &m->u.asks.count, HA_HOLDS_MAX);
        for (uint32_t i = 0; i < m->u.asks.count && c->why == NULL; i++)
            walk_hold_ask(c, &m->u.asks.all[i]);
        return;
    case HA_MESSAGE_HOLD_WORDS:
        ha_codec_u32_max(c, &m->u.words.count, HA_HOLDS_MAX);
        for (uint32_t i = 0; i < m->u.words.count && c->why == NULL; i++)
            walk_hold_word(c, &m->u.words.all[i]);
        return;
    case HA_MESSAGE_ALL:
        walk_all(c, &m->u.all);
        return;
    case HA_MESSAGE_PREPARE:
        walk_prepare(c, &m->u.prepare);
        return;
    case HA_MESSAGE_PREPARED:
        walk_prepared(c, &m->u.prepared);
        return;
    case HA_MESSAGE_HEARTBEATS:
    case HA_MESSAGE_PROMISES:
        if (ha_codec_reading(c))
            check_batch(c, m->type, &m->u.heartbeats);
        else
            ha_codec_fail(c, "a batch is written by its writer");
        return;
    case HA_MESSAGE_NONE:
        ha_codec_fail(c, "no type");
        return;
    }
    HA_UNREACHABLE();
}

static void walk(struct ha_codec *c, struct ha_message *m)
{
    walk_head(c, &m->type);
    if (c->why != NULL)
        return;
    walk_body(c, m);
    ha_codec_finish(c, 1);
}

int ha_message_encode(const struct ha_message *message, void *data, size_t size_max,
                      size_t *ret_size, struct ha_err *err)
{
    struct ha_codec c;
    int rv;

    ha_codec_write(&c, data, size_max);
    walk(&c, ha_codec_borrow(message));
    rv = ha_codec_end(&c, HA_EINVAL, ha_message_type_text(message->type), err);
    if (rv == HA_OK)
        *ret_size = c.size;
    return rv;
}

int ha_message_decode(const void *data, size_t size, struct ha_message *ret, struct ha_err *err)
{
    const uint8_t *bytes = data;
    struct ha_message message;
    struct ha_codec c;
    int rv;

    if (size >= 1 && bytes[0] != HA_MESSAGE_VERSION)
        return ha_err_set(err, HA_ENOTSUP,
                          "the peer speaks version %u of the protocol, this program version %u; "
                          "upgrade the older one",
                          bytes[0], HA_MESSAGE_VERSION);
    if (size > HA_MESSAGE_SIZE_MAX)
        return ha_err_set(err, HA_EPROTO, "message of %zu bytes is over the limit of %u", size,
                          HA_MESSAGE_SIZE_MAX);
    memset(&message, 0, sizeof(message));
    ha_codec_read(&c, data, size);
    walk(&c, &message);
    rv = ha_codec_end(
        &c, HA_EPROTO,
        message.type == HA_MESSAGE_NONE ? "message" : ha_message_type_text(message.type), err);
    if (rv == HA_OK)
        *ret = message;
    return rv;
}

bool ha_all_lacks(const struct ha_all *all, uint32_t service, uint64_t version)
{
    if (version > all->config_version)
        return false; /* it lags */
    for (uint32_t i = 0; i < all->count; i++)
        if (all->services[i] == service)
            return false;
    return true;
}

bool ha_batch_next_heartbeat(struct ha_batch *batch, struct ha_heartbeat *ret)
{
    if (batch->left == 0)
        return false;
    batch->left--;
    memset(ret, 0, sizeof(*ret));
    ret->instance = batch->instance;
    ret->stamp = batch->stamp;
    walk_status(&batch->codec, &ret->status);
    assert(batch->codec.why == NULL);
    return true;
}

bool ha_batch_next_promise(struct ha_batch *batch, struct ha_promise *ret)
{
    if (batch->left == 0)
        return false;
    batch->left--;
    memset(ret, 0, sizeof(*ret));
    walk_promise(&batch->codec, ret);
    assert(batch->codec.why == NULL);
    return true;
}

void ha_batch_begin_heartbeats(struct ha_batch_writer *b, void *data, uint64_t instance,
                               uint64_t stamp)
{
    *b = (struct ha_batch_writer){.type = HA_MESSAGE_HEARTBEATS};
    ha_codec_write(&b->codec, data, HA_MESSAGE_SIZE_MAX);
    walk_head(&b->codec, &b->type);
    walk_stamp(&b->codec, &instance, &stamp);
}

void ha_batch_begin_promises(struct ha_batch_writer *b, void *data)
{
    *b = (struct ha_batch_writer){.type = HA_MESSAGE_PROMISES};
    ha_codec_write(&b->codec, data, HA_MESSAGE_SIZE_MAX);
    walk_head(&b->codec, &b->type);
}

/* Keeps the item that was walked, or takes it back. */
static int batch_added(struct ha_batch_writer *b, const struct ha_codec *before)
{
    bool is_full = b->codec.writer.failed;

    if (b->codec.why == NULL) {
        b->count++;
        return HA_OK;
    }
    b->codec = *before;
    return is_full ? HA_EFULL : HA_EINVAL;
}

int ha_batch_add_status(struct ha_batch_writer *b, const struct ha_status *status)
{
    struct ha_codec before = b->codec;

    assert(b->type == HA_MESSAGE_HEARTBEATS);
    walk_status(&b->codec, ha_codec_borrow(status));
    return batch_added(b, &before);
}

int ha_batch_add_promise(struct ha_batch_writer *b, const struct ha_promise *promise)
{
    struct ha_codec before = b->codec;

    assert(b->type == HA_MESSAGE_PROMISES);
    walk_promise(&b->codec, ha_codec_borrow(promise));
    return batch_added(b, &before);
}

size_t ha_batch_end(struct ha_batch_writer *b)
{
    assert(b->codec.why == NULL);
    return b->codec.size;
}

/* By the walk, so that a field that is sent is a field that counts. */
uint64_t ha_status_mark(const struct ha_status *status)
{
    struct ha_status lasting = *status;
    struct ha_codec c;

    lasting.answer_age_ms = 0;
    lasting.sample.link_idle_ms = 0;
    lasting.gate_left_ms = 0;
    lasting.lease_left_ms = 0;
    lasting.awake_ms = 0;
    lasting.hold_left_ms = 0;
    lasting.hold_age_ms = 0;
    ha_codec_hash(&c);
    walk_status(&c, &lasting);
    return c.hash == 0 ? 1 : c.hash;
}
