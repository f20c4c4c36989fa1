#include "lib/wire/snapshot.h"

#include <string.h>

#include "lib/base/err.h"
#include "lib/wire/codec.h"
#include "lib/wire/parts.h"

#define WEBHOOK_BITS_MAX ((1u << HA_WEBHOOKS_MAX) - 1)

static void walk_member_state(struct ha_codec *c, struct ha_member_state *m)
{
    ha_walk_member(c, &m->id);
    ha_codec_u64(c, &m->unopened_epoch);
    for (uint32_t i = 0; i < HA_WATCHERS_MAX; i++)
        HA_CODEC_ENUM(c, &m->verdicts[i], verdict);
    ha_walk_sync_entry(c, &m->sync);
}

static void walk_members(struct ha_codec *c, struct ha_service *s)
{
    uint32_t seen = 0;

    for (uint32_t i = 0; i < s->config.member_count && c->why == NULL; i++) {
        walk_member_state(c, &s->members[i]);
        if (s->members[i].id == HA_MEMBER_NONE || (seen >> s->members[i].id & 1u) != 0)
            ha_codec_fail(c, "a member without an id of its own");
        seen |= 1u << s->members[i].id;
    }
}

static void walk_sync(struct ha_codec *c, struct ha_sync *s)
{
    ha_codec_bool(c, &s->in_force);
    ha_codec_bool(c, &s->alone);
    ha_codec_u64(c, &s->floor);
    ha_codec_u64(c, &s->floor_next);
    ha_codec_u32_max(c, &s->count, HA_SYNC_SETS);
    for (uint32_t i = 0; i < s->count && c->why == NULL; i++) {
        ha_walk_sync_set(c, &s->sets[i].set);
        ha_codec_u64(c, &s->sets[i].since);
    }
}

static void walk_hold(struct ha_codec *c, struct ha_hold *h)
{
    ha_codec_u32_max(c, &h->count, HA_HOLD_SETS);
    for (uint32_t i = 0; i < h->count && c->why == NULL; i++) {
        ha_walk_hold_set(c, &h->sets[i].set);
        ha_codec_u64(c, &h->sets[i].since);
    }
}

static void walk_epochs(struct ha_codec *c, struct ha_service *s)
{
    HA_CODEC_ENUM(c, &s->state, state);
    ha_codec_u64(c, &s->epoch);
    ha_walk_member(c, &s->primary);
    ha_codec_u64(c, &s->instance);
    HA_CODEC_ENUM(c, &s->gate, gate);
    ha_codec_u64(c, &s->open_epoch);
    ha_walk_member(c, &s->open_member);
    ha_codec_u64(c, &s->open_instance);
    HA_CODEC_ENUM(c, &s->open_gate, gate);
    ha_codec_u32(c, &s->open_lease_ms);
    HA_CODEC_ENUM(c, &s->fence, fence);
    ha_codec_u64(c, &s->prev_epoch);
    HA_CODEC_ENUM(c, &s->prev_fence, fence);
    ha_walk_position(c, &s->position);
    walk_sync(c, &s->sync);
    walk_hold(c, &s->hold);
}

static void walk_failover(struct ha_codec *c, struct ha_service *s)
{
    HA_CODEC_ENUM(c, &s->reason, reason);
    ha_walk_member(c, &s->target);
    ha_codec_bool(c, &s->accept_loss);
    ha_codec_u32_max(c, &s->failed_members, HA_MEMBER_BITS_MAX);
    ha_codec_u64(c, &s->decision);
    ha_codec_bool(c, &s->paused);
    ha_codec_u64(c, &s->paused_until_ms);
    ha_codec_text(c, s->paused_by, sizeof(s->paused_by));
    ha_codec_text(c, s->paused_why, sizeof(s->paused_why));
    ha_codec_u32_max(c, &s->recent_count, HA_RECENT_MAX);
    for (uint32_t i = 0; i < s->recent_count; i++)
        ha_codec_u64(c, &s->recent_ms[i]);
    ha_codec_u64(c, &s->failovers);
    ha_codec_u64(c, &s->switchovers);
    ha_codec_bool(c, &s->not_ready);
    ha_codec_text(c, s->not_ready_why, sizeof(s->not_ready_why));
}

static void walk_service(struct ha_codec *c, struct ha_service *s)
{
    ha_codec_bool(c, &s->deleting);
    ha_walk_service_config(c, &s->config);
    walk_members(c, s);
    walk_epochs(c, s);
    walk_failover(c, s);
}

/* The slot of the next service, at or after @slot: an id that is read tells it, else the next one
 * in use is it. */
static uint32_t next_slot(struct ha_codec *c, struct ha_cluster *cluster, uint32_t slot)
{
    uint32_t id = 0;

    if (!ha_codec_reading(c)) {
        while (slot < HA_SERVICES_MAX && !cluster->services[slot].used)
            slot++;
        if (slot == HA_SERVICES_MAX) {
            ha_codec_fail(c, "fewer services than counted");
            return slot;
        }
        id = cluster->services[slot].id;
    }
    ha_codec_u32(c, &id);
    if (c->why != NULL)
        return HA_SERVICES_MAX;
    /* Ascending slots make equal states equal bytes, and no slot can come twice. */
    if (id == 0 || id > cluster->id_last || id % HA_SERVICES_MAX < slot ||
        (!ha_codec_reading(c) && id % HA_SERVICES_MAX != slot)) {
        ha_codec_fail(c, "a service id out of place");
        return HA_SERVICES_MAX;
    }
    slot = id % HA_SERVICES_MAX;
    if (ha_codec_reading(c)) {
        cluster->services[slot].used = true;
        cluster->services[slot].id = id;
    }
    return slot;
}

static void walk_services(struct ha_codec *c, struct ha_cluster *cluster)
{
    uint32_t slot = 0;

    ha_codec_u32(c, &cluster->id_last);
    ha_codec_u64(c, &cluster->epoch_floor);
    ha_codec_u32_max(c, &cluster->service_count, HA_SERVICES_MAX);
    for (uint32_t i = 0; i < cluster->service_count && c->why == NULL; i++) {
        slot = next_slot(c, cluster, slot);
        if (c->why != NULL)
            return;
        walk_service(c, &cluster->services[slot]);
        slot++;
    }
    if (ha_codec_reading(c))
        return;
    for (; slot < HA_SERVICES_MAX; slot++)
        if (cluster->services[slot].used)
            ha_codec_fail(c, "more services than counted");
}

static void walk_stages(struct ha_codec *c, struct ha_stages *s)
{
    ha_codec_u64(c, &s->noticed_ms);
    ha_codec_u64(c, &s->agreed_ms);
    ha_codec_u64(c, &s->fenced_ms);
    ha_codec_u64(c, &s->chosen_ms);
    ha_codec_u64(c, &s->promoted_ms);
    ha_codec_u64(c, &s->opened_ms);
    ha_codec_u64(c, &s->done_ms);
}

static void walk_decision(struct ha_codec *c, struct ha_decision *d)
{
    ha_codec_u32(c, &d->service);
    ha_codec_name(c, d->service_name, sizeof(d->service_name));
    ha_codec_u64(c, &d->epoch_from);
    ha_codec_u64(c, &d->epoch);
    HA_CODEC_ENUM(c, &d->reason, reason);
    HA_CODEC_ENUM(c, &d->verdict, verdict);
    HA_CODEC_ENUM(c, &d->fence, fence);
    ha_walk_watcher_bits(c, &d->agreeing);
    ha_codec_u32(c, &d->waited_ms);
    ha_codec_u32(c, &d->attempts);
    ha_codec_bool(c, &d->done);
    ha_codec_name(c, d->from, sizeof(d->from));
    ha_codec_name(c, d->to, sizeof(d->to));
    walk_stages(c, &d->stages);
    ha_codec_u64(c, &d->lost_bytes);
    ha_walk_diverged(c, &d->found);
    ha_codec_u32_max(c, &d->fit_count, HA_MEMBERS_MAX);
    for (uint32_t i = 0; i < d->fit_count && c->why == NULL; i++) {
        ha_codec_name(c, d->fits[i].name, sizeof(d->fits[i].name));
        ha_walk_fit(c, &d->fits[i].fit);
    }
    ha_codec_text(c, d->text, sizeof(d->text));
}

static void walk_decisions(struct ha_codec *c, struct ha_cluster *cluster)
{
    uint64_t id;

    ha_codec_u64(c, &cluster->decision_last);
    id = cluster->decision_last > HA_HISTORY_MAX ? cluster->decision_last - HA_HISTORY_MAX : 0;
    for (id++; id <= cluster->decision_last && id != 0 && c->why == NULL; id++) {
        struct ha_decision *d = &cluster->decisions[id % HA_HISTORY_MAX];

        if (ha_codec_reading(c))
            d->id = id;
        else if (d->id != id)
            ha_codec_fail(c, "a decision out of place");
        walk_decision(c, d);
    }
}

static void walk_notice(struct ha_codec *c, struct ha_notice *n)
{
    ha_codec_u64(c, &n->seq);
    ha_codec_u32_max(c, &n->owed, WEBHOOK_BITS_MAX);
    HA_CODEC_ENUM(c, &n->kind, notice_kind);
    ha_codec_u64(c, &n->wall_ms);
    ha_codec_u32(c, &n->service);
    ha_codec_name(c, n->service_name, sizeof(n->service_name));
    ha_codec_u64(c, &n->epoch);
    ha_codec_u64(c, &n->decision);
    ha_codec_name(c, n->from, sizeof(n->from));
    ha_codec_name(c, n->to, sizeof(n->to));
    ha_codec_u64(c, &n->lost_bytes);
    ha_codec_text(c, n->text, sizeof(n->text));
}

static void walk_notices(struct ha_codec *c, struct ha_cluster *cluster)
{
    uint64_t last = 0;

    ha_codec_u64(c, &cluster->notice_last);
    ha_codec_u64(c, &cluster->notices_dropped);
    ha_codec_u32_max(c, &cluster->notice_count, HA_OUTBOX_MAX);
    for (uint32_t i = 0; i < cluster->notice_count && c->why == NULL; i++) {
        walk_notice(c, &cluster->notices[i]);
        if (cluster->notices[i].seq <= last || cluster->notices[i].seq > cluster->notice_last)
            ha_codec_fail(c, "a notice out of order");
        last = cluster->notices[i].seq;
    }
}

static void walk_events(struct ha_codec *c, struct ha_cluster *cluster)
{
    uint64_t seq = cluster->notice_last > HA_EVENTS_MAX ? cluster->notice_last - HA_EVENTS_MAX : 0;

    for (seq++; seq <= cluster->notice_last && seq != 0 && c->why == NULL; seq++) {
        struct ha_notice *n = &cluster->events[seq % HA_EVENTS_MAX];

        walk_notice(c, n);
        if (n->seq != seq)
            ha_codec_fail(c, "an event out of place");
    }
}

/* Texts lie one after another, oldest first. */
static void walk_archive(struct ha_codec *c, struct ha_cluster *cluster)
{
    uint64_t version = 0;
    uint32_t at = 0;

    ha_codec_u32_max(c, &cluster->archive_count, HA_ARCHIVE_MAX);
    ha_codec_u32_max(c, &cluster->archive_size, HA_ARCHIVE_SIZE);
    for (uint32_t i = 0; i < cluster->archive_count && c->why == NULL; i++) {
        struct ha_archived *a = &cluster->archived[i];

        ha_codec_u64(c, &a->version);
        ha_codec_u64(c, &a->wall_ms);
        ha_codec_text(c, a->author, sizeof(a->author));
        ha_codec_u32_max(c, &a->size, cluster->archive_size - at);
        if (ha_codec_reading(c))
            a->at = at;
        if (a->at != at || a->version <= version || a->version > cluster->config_version)
            ha_codec_fail(c, "a configuration version out of place");
        version = a->version;
        at += a->size;
    }
    if (at != cluster->archive_size)
        ha_codec_fail(c, "an archive of another size than its versions");
    ha_codec_raw(c, cluster->archive, at);
}

static void walk_webhooks(struct ha_codec *c, struct ha_cluster *cluster)
{
    ha_codec_u64(c, &cluster->config_version);
    ha_codec_u32_max(c, &cluster->webhook_count, HA_WEBHOOKS_MAX);
    for (uint32_t i = 0; i < cluster->webhook_count && c->why == NULL; i++)
        ha_walk_webhook_config(c, &cluster->webhooks[i]);
}

static void walk(struct ha_codec *c, struct ha_cluster *cluster)
{
    ha_codec_expect_u8(c, HA_SNAPSHOT_VERSION, "another version");
    ha_codec_u64(c, &cluster->index);
    ha_codec_u64(c, &cluster->wall_ms);
    ha_codec_u64(c, &cluster->set_id);
    ha_walk_names(c, &cluster->watcher_count, cluster->watchers, HA_WATCHERS_MAX);
    ha_walk_watcher_bits(c, &cluster->spoke);
    ha_walk_watcher_bits(c, &cluster->old_seats);
    ha_codec_u32_max(c, &cluster->old_majority, HA_WATCHERS_MAX);
    ha_walk_watcher_bits(c, &cluster->watchers_down);
    walk_webhooks(c, cluster);
    walk_services(c, cluster);
    walk_decisions(c, cluster);
    walk_notices(c, cluster);
    walk_events(c, cluster);
    walk_archive(c, cluster);
    ha_codec_finish(c, 1);
}

size_t ha_snapshot_size(const struct ha_cluster *cluster)
{
    struct ha_codec c;

    ha_codec_count(&c);
    walk(&c, ha_codec_borrow(cluster));
    return c.why == NULL ? c.size : 0;
}

int ha_snapshot_encode(const struct ha_cluster *cluster, void *data, size_t size_max,
                       size_t *ret_size, struct ha_err *err)
{
    struct ha_codec c;
    int rv;

    ha_codec_write(&c, data, size_max);
    walk(&c, ha_codec_borrow(cluster));
    rv = ha_codec_end(&c, HA_EINVAL, "snapshot", err);
    if (rv == HA_OK)
        *ret_size = c.size;
    return rv;
}

int ha_snapshot_decode(const void *data, size_t size, struct ha_cluster *cluster,
                       struct ha_err *err)
{
    const uint8_t *bytes = data;
    struct ha_codec c;

    if (size >= 1 && bytes[0] != HA_SNAPSHOT_VERSION)
        return ha_err_set(err, HA_ENOTSUP, "snapshot of version %u; this program knows version %u",
                          bytes[0], HA_SNAPSHOT_VERSION);
    memset(cluster, 0, sizeof(*cluster));
    ha_codec_read(&c, data, size);
    walk(&c, cluster);
    return ha_codec_end(&c, HA_ECORRUPT, "snapshot", err);
}

uint64_t ha_snapshot_digest(const struct ha_cluster *cluster)
{
    struct ha_codec c;

    ha_codec_hash(&c);
    walk(&c, ha_codec_borrow(cluster));
    return c.hash;
}
