/* The database of this host, as its process and its answers tell: what was held ends with the
 * process that held it, and a process whose role was not seen is nobody's primary. */
#include <string.h>

#include "lib/core/agent_parts.h"

void ha_held_process(struct ha_held *held, const struct ha_event_process *event, uint64_t now_ms,
                     struct ha_effects *out)
{
    uint64_t epoch;
    bool ran;

    if (held->process == event->process && held->pid_start == event->pid_start)
        return;
    /* The stop that a switchover asked for: the drain tells its end, with the last position. */
    if (event->process == HA_PROCESS_GONE && held->order.kind == HA_ORDER_DRAIN &&
        held->ticket != 0 && held->process == HA_PROCESS_RUNNING) {
        held->drained_away = true;
        held->verified_start = 0;
        ha_held_close_gate(held, out);
        return;
    }
    /* What the last run held and this one has not resumed ends with the process as well, and so
     * does a promotion under way: the next process may come up with other data. */
    epoch = held->epoch != HA_EPOCH_NONE ? held->epoch : held->serving_epoch;
    if (held->order.kind == HA_ORDER_PROMOTE && held->result == HA_RESULT_RUNNING &&
        held->order.epoch > epoch)
        epoch = held->order.epoch;
    if (event->process == HA_PROCESS_RUNNING && held->process == HA_PROCESS_UNKNOWN &&
        (held->sampled || held->serving_epoch != HA_EPOCH_NONE)) {
        /* The process behind the answers, or the one the last run served with, has got a name. */
        held->process = event->process;
        held->pid_start = event->pid_start;
        ha_held_probe(held, out);
        return;
    }
    held->replica_seen = 0;
    ran = held->process == HA_PROCESS_RUNNING;
    held->process = event->process;
    ha_held_retry_process(held, ran, now_ms);
    held->pid_start = event->process == HA_PROCESS_RUNNING ? event->pid_start : 0;
    held->verified_start = 0;
    if (epoch > held->given_up) {
        /* Told with the end of the epoch, which follows at once: one word instead of two spares the
         * watchers the opinions they would otherwise exchange about the first. */
        ha_held_give_up(held, epoch, HA_VERDICT_CRASHED, out);
    } else {
        ha_held_close_gate(held, out); /* every start of a database finds its gate closed */
        held->beat_now = true;
    }
    if (event->process != HA_PROCESS_RUNNING)
        return;
    held->sampled_ms = now_ms;
    /* What the last process said is no word of this one: it may have come up with other data. */
    held->sample.answer = HA_ANSWER_NONE;
    ha_held_probe(held, out);
}

/* A restarted agent finds its gate and its database as it left them: it goes on. */
static void resume(struct ha_held *held, uint64_t now_ms, struct ha_effects *out)
{
    if (held->epoch != HA_EPOCH_NONE || held->serving_epoch == HA_EPOCH_NONE ||
        held->serving_epoch <= held->given_up)
        return;
    /* The gate may still be open for what the last run served with, and this is something else. */
    if (held->sample.role != HA_ROLE_PRIMARY || held->sample.run_id != held->serving_run ||
        held->serving_epoch < held->epoch_seen) {
        ha_held_give_up(held, held->serving_epoch, HA_VERDICT_CRASHED, out);
        return;
    }
    held->epoch = held->serving_epoch;
    held->resumed_ms = now_ms;
    held->order.kind = HA_ORDER_SERVE;
    held->order.epoch = held->epoch;
    held->order.vip_free = true;
    /* Without its standby names known, it is told them again. */
    held->result = ha_held_names_are_set(held) ? HA_RESULT_DONE : HA_RESULT_NONE;
    held->beat_now = true;
}

/* Somebody acted behind the agent's back while it held an epoch. */
static void check_holder(struct ha_held *held, uint64_t run_before, struct ha_effects *out)
{
    if (held->epoch == HA_EPOCH_NONE || held->giving_up)
        return;
    if (run_before != 0 && held->sample.run_id != 0 && held->sample.run_id != run_before) {
        ha_held_give_up(held, held->epoch, HA_VERDICT_CRASHED, out);
        return;
    }
    if (held->sample.role == HA_ROLE_REPLICA)
        ha_held_give_up(held, held->epoch, HA_VERDICT_UNKNOWN, out);
}

/* Replicas are open too, but only while they were just seen to be read-only replicas. */
static void keep_replica_gate(struct ha_held *held, uint64_t now_ms, struct ha_effects *out)
{
    bool replica = held->sample.role == HA_ROLE_REPLICA && held->sample.read_only;
    bool promoting = held->order.kind == HA_ORDER_PROMOTE &&
                     (held->ticket != 0 ||
                      (held->order.epoch > held->given_up && held->result != HA_RESULT_FAILED));

    /* Of a service that is gone the port may be another's by now. */
    if (held->epoch != HA_EPOCH_NONE || held->giving_up || held->settings.gone)
        return;
    /* While one is under way it may still happen, also of an epoch that was given up meanwhile.
     * Two in a row, the second asked after the first was answered: a promotion that was asked for
     * and given up on while the database hung has happened by then, or never will. */
    if (replica && !promoting && held->replica_seen >= 2 && ha_held_is_same_process(held))
        ha_held_set_gate(held, now_ms + 3 * held->settings.probe_ms, false, out);
    else if (held->gate_until_ms > now_ms)
        ha_held_close_gate(held, out);
}

void ha_held_take_sample(struct ha_held *held, const struct ha_sample *sample, uint64_t now_ms,
                         struct ha_effects *out)
{
    uint64_t run_before = held->sample.run_id;
    bool role_changed = held->sample.role != sample->role;
    bool again = held->sample.answer != HA_ANSWER_OK;
    bool told_now = held->order.kind == HA_ORDER_REPORT && held->result == HA_RESULT_RUNNING;

    if (sample->answer != HA_ANSWER_OK) {
        /* Keep the last position and role: they are the last that is known. */
        if (held->sample.answer != sample->answer && !held->giving_up)
            held->beat_now = true;
        held->replica_seen = 0;
        held->sample.answer = sample->answer;
        held->sample.starts = sample->starts;
        memcpy(held->sample.text, sample->text, sizeof(held->sample.text));
        if (sample->answer == HA_ANSWER_STARTING || sample->answer == HA_ANSWER_BUSY ||
            sample->answer == HA_ANSWER_FULL || sample->answer == HA_ANSWER_DENIED)
            held->sampled_ms = now_ms;
        return;
    }
    if (!held->sampled || held->sample.answer != HA_ANSWER_OK || role_changed ||
        held->sample.link_up != sample->link_up || held->sample.copying != sample->copying ||
        held->sample.writable != sample->writable)
        held->beat_now = true;
    if (sample->role != HA_ROLE_REPLICA || !sample->read_only || role_changed)
        held->replica_seen = 0;
    else if (held->replica_seen < 2)
        held->replica_seen++;
    held->sample = *sample;
    held->sampled = true;
    held->sampled_ms = now_ms;
    held->verified_start = held->drained_away ? 0 : held->pid_start;
    held->verified_run = sample->run_id;
    ha_held_retry_answered(held, again, now_ms);
    check_holder(held, run_before, out);
    resume(held, now_ms, out);
    keep_replica_gate(held, now_ms, out);
    ha_held_hold_lease(held, now_ms, out);
    if (told_now) {
        held->result = HA_RESULT_DONE;
        held->beat_now = true;
    }
}

void ha_held_sampled(struct ha_held *held, const struct ha_event_sampled *event, uint64_t now_ms,
                     struct ha_effects *out)
{
    /* Nothing listens and no process is known: it is gone, or was never there. */
    if (event->sample->answer == HA_ANSWER_REFUSED && held->process == HA_PROCESS_UNKNOWN)
        ha_held_process(
            held, &(struct ha_event_process){.service = event->service, .process = HA_PROCESS_GONE},
            now_ms, out);
    if (event->sample->answer == HA_ANSWER_OK && held->process == HA_PROCESS_RUNNING &&
        event->pid_start != held->pid_start)
        return; /* an answer of a process that is not the watched one */
    ha_held_take_sample(held, event->sample, now_ms, out);
}
