#include "lib/wire/parts.h"

#include "lib/wire/codec.h"

void ha_walk_member(struct ha_codec *c, uint32_t *member)
{
    ha_codec_u32_max(c, member, HA_MEMBERS_MAX);
}

void ha_walk_watcher_bits(struct ha_codec *c, uint32_t *bits)
{
    ha_codec_u32_max(c, bits, (1u << HA_WATCHERS_MAX) - 1);
}

static void walk_lineage(struct ha_codec *c, struct ha_lineage *l)
{
    ha_codec_u32_max(c, &l->count, HA_LINEAGE_MAX);
    for (uint32_t i = 0; i < l->count && c->why == NULL; i++) {
        ha_codec_u64(c, &l->steps[i].id);
        ha_codec_u64(c, &l->steps[i].end);
    }
}

void ha_walk_position(struct ha_codec *c, struct ha_position *p)
{
    ha_codec_u64(c, &p->offset);
    walk_lineage(c, &p->lineage);
}

void ha_walk_diverged(struct ha_codec *c, struct ha_diverged *d)
{
    ha_codec_u64(c, &d->epoch);
    ha_codec_u64(c, &d->bytes);
    HA_CODEC_ENUM(c, &d->kept, kept);
}

void ha_walk_sample(struct ha_codec *c, struct ha_sample *s)
{
    HA_CODEC_ENUM(c, &s->answer, answer);
    HA_CODEC_ENUM(c, &s->role, role);
    ha_codec_bool(c, &s->writable);
    ha_codec_bool(c, &s->link_up);
    ha_codec_bool(c, &s->copying);
    ha_codec_bool(c, &s->read_only);
    ha_codec_bool(c, &s->starts);
    ha_codec_bool(c, &s->lacks_rights);
    ha_codec_u64(c, &s->run_id);
    ha_codec_u32(c, &s->link_idle_ms);
    ha_codec_u32(c, &s->replicas);
    ha_codec_u64(c, &s->sync_id);
    ha_codec_u16(c, &s->upstream_port);
    ha_codec_text(c, s->upstream_host, sizeof(s->upstream_host));
    ha_walk_position(c, &s->position);
    ha_walk_diverged(c, &s->diverged);
    ha_codec_text(c, s->text, sizeof(s->text));
}

void ha_walk_sync_set(struct ha_codec *c, struct ha_sync_set *s)
{
    ha_codec_u32_max(c, &s->need, HA_MEMBERS_MAX);
    ha_codec_u32_max(c, &s->members, HA_MEMBER_BITS_MAX);
}

void ha_walk_hold_set(struct ha_codec *c, struct ha_hold_set *s)
{
    ha_codec_u32_max(c, &s->members, HA_MEMBER_BITS_MAX);
    ha_codec_u32_max(c, &s->lease_ms, HA_LEASE_MAX_MS);
    for (uint32_t id = 0; id <= HA_MEMBERS_MAX; id++)
        ha_codec_u64(c, &s->memory[id]);
}

void ha_walk_sync_entry(struct ha_codec *c, struct ha_sync_entry *e)
{
    ha_codec_u64(c, &e->since);
    ha_codec_u64(c, &e->instance);
    ha_codec_u64(c, &e->lineage);
    ha_codec_u64(c, &e->offset);
}

void ha_walk_fit(struct ha_codec *c, struct ha_fit *f)
{
    ha_walk_member(c, &f->member);
    HA_CODEC_ENUM(c, &f->fitness, fitness);
    ha_codec_u64(c, &f->offset);
    ha_codec_u64(c, &f->behind);
}

static void walk_member_config(struct ha_codec *c, struct ha_member_config *m)
{
    ha_codec_name(c, m->name, sizeof(m->name));
    ha_codec_name(c, m->agent, sizeof(m->agent));
    ha_codec_text(c, m->host, sizeof(m->host));
    ha_codec_u16(c, &m->port);
    ha_codec_u16(c, &m->agent_port);
    ha_codec_u16(c, &m->priority);
    ha_codec_name(c, m->follow, sizeof(m->follow));
}

void ha_walk_service_config(struct ha_codec *c, struct ha_service_config *s)
{
    ha_codec_name(c, s->name, sizeof(s->name));
    HA_CODEC_ENUM(c, &s->engine, engine);
    HA_CODEC_ENUM(c, &s->durability, durability);
    HA_CODEC_ENUM(c, &s->crash_policy, crash_policy);
    HA_CODEC_ENUM(c, &s->on_quorum_loss, quorum_loss);
    ha_codec_text(c, s->vip, sizeof(s->vip));
    ha_codec_u8(c, &s->vip_prefix);
    ha_codec_name(c, s->vip_interface, sizeof(s->vip_interface));
    ha_codec_name(c, s->credentials, sizeof(s->credentials));
    ha_codec_name(c, s->fence, sizeof(s->fence));
    ha_codec_u8(c, &s->quorum);
    ha_codec_u8(c, &s->parallel_syncs);
    ha_codec_bool(c, &s->accept_process_fence);
    ha_codec_bool(c, &s->failover_unwritable);
    ha_codec_bool(c, &s->automatic);
    ha_codec_bool(c, &s->rejoin_copy);
    ha_codec_u32(c, &s->probe_ms);
    ha_codec_u32(c, &s->heartbeat_ms);
    ha_codec_u32(c, &s->down_after_ms);
    ha_codec_u32(c, &s->refused_confirm_ms);
    ha_codec_u32(c, &s->hang_after_ms);
    ha_codec_u32(c, &s->starting_max_ms);
    ha_codec_u32(c, &s->busy_max_ms);
    ha_codec_u32(c, &s->lease_ms);
    ha_codec_u32(c, &s->promote_deadline_ms);
    ha_codec_u32(c, &s->open_deadline_ms);
    ha_codec_u32(c, &s->repoint_deadline_ms);
    ha_codec_u32(c, &s->restart_max_ms);
    ha_codec_u32(c, &s->sync_grace_ms);
    ha_codec_u32(c, &s->rewind_max_ms);
    ha_codec_u32(c, &s->copy_max_ms);
    ha_codec_u32(c, &s->rate_count);
    ha_codec_u32(c, &s->rate_period_ms);
    ha_codec_u64(c, &s->loss_budget_bytes);
    ha_codec_u64(c, &s->priority_slack_bytes);
    ha_codec_u64(c, &s->keep_tail_bytes);
    ha_codec_u8_max(c, &s->member_count, HA_MEMBERS_MAX);
    for (uint32_t i = 0; i < s->member_count && c->why == NULL; i++)
        walk_member_config(c, &s->members[i]);
}

void ha_walk_webhook_config(struct ha_codec *c, struct ha_webhook_config *w)
{
    ha_codec_name(c, w->name, sizeof(w->name));
    ha_codec_text(c, w->url, sizeof(w->url));
    ha_codec_name(c, w->secret, sizeof(w->secret));
    ha_codec_name(c, w->service, sizeof(w->service));
    ha_codec_bool(c, &w->insecure);
}

void ha_walk_names(struct ha_codec *c, uint32_t *count, char (*names)[HA_NAME_SIZE], uint32_t max)
{
    ha_codec_u32_max(c, count, max);
    for (uint32_t i = 0; i < *count && c->why == NULL; i++)
        ha_codec_name(c, names[i], HA_NAME_SIZE);
}
