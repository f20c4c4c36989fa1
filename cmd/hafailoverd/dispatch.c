#include "cmd/hafailoverd/dispatch.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/hafailoverd/agents.h"
#include "cmd/hafailoverd/daemon.h"
#include "cmd/hafailoverd/fence.h"
#include "cmd/hafailoverd/note.h"
#include "cmd/hafailoverd/serve.h"
#include "cmd/hafailoverd/underway.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/core/effect.h"
#include "lib/io/log.h"
#include "lib/wire/command.h"
#include "lib/wire/message.h"

#define ROUNDS_MAX 16u   /* of one drain: a step that answers itself for ever must not starve I/O */
#define BEGIN_MAX 100u   /* services that get their first primary at the same time */
#define RESULTS_MAX 256u /* of applied entries, kept for those who asked */

struct result {
    uint64_t index;
    int code;
    char text[HA_TEXT_SIZE];
};

struct ha_dispatch {
    struct ha_daemon *daemon;
    struct ha_underway underway;
    struct result results[RESULTS_MAX]; /* index i sits at i % RESULTS_MAX */
    struct ha_command observed;         /* of this drain: verdicts that share an entry */
    uint32_t beginning; /* of this drain: services that get their first primary; 0: not counted */
    bool draining;
};

int ha_dispatch_open(struct ha_daemon *daemon, struct ha_dispatch **ret)
{
    struct ha_dispatch *dispatch = calloc(1, sizeof(*dispatch));

    if (dispatch == NULL)
        return HA_ENOMEM;
    dispatch->daemon = daemon;
    *ret = dispatch;
    return HA_OK;
}

void ha_dispatch_free(struct ha_dispatch *dispatch)
{
    struct ha_proposal *proposal;

    if (dispatch == NULL)
        return;
    while ((proposal = ha_underway_take_any(&dispatch->underway)) != NULL)
        free(proposal);
    free(dispatch);
}

/* Tell the core, and whoever waits for an answer, how a proposal ended. */
static void end_proposal(struct ha_dispatch *dispatch, struct ha_proposal *proposal, uint64_t index,
                         int code, const char *why)
{
    struct ha_daemon *daemon = dispatch->daemon;
    struct ha_event event = {.kind = HA_EVENT_PROPOSED};
    uint64_t request = proposal->request;

    event.u.proposed =
        (struct ha_event_proposed){.request = request, .code = code, .command = &proposal->command};
    (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
    free(proposal);
    /* The API may have closed before the log has: it has answered by itself. */
    if (request == 0 || daemon->stopping)
        return;
    if (code == HA_OK) {
        const struct result *result = &dispatch->results[index % RESULTS_MAX];

        ha_serve_committed(daemon->serve, request, index);
        if (result->index == index)
            ha_serve_applied(daemon->serve, index, result->code, result->text);
    } else {
        ha_serve_failed(daemon->serve, request, code, why);
    }
}

void ha_dispatch_applied(struct ha_dispatch *dispatch, uint64_t index, int code, const char *text)
{
    struct result *result = &dispatch->results[index % RESULTS_MAX];

    if (dispatch->daemon->stopping)
        return;
    *result = (struct result){.index = index, .code = code};
    (void)ha_text_format(result->text, sizeof(result->text), "%s", text);
    ha_serve_applied(dispatch->daemon->serve, index, code, result->text);
}

void ha_dispatch_outcome(struct ha_dispatch *dispatch, uint64_t ticket,
                         const struct ha_raft_outcome *outcome)
{
    struct ha_proposal *proposal = ha_underway_take(&dispatch->underway, ticket);
    int code = outcome->code;

    if (proposal == NULL)
        return;
    if (outcome->result == HA_RAFT_COMMITTED)
        code = HA_OK;
    else if (outcome->result == HA_RAFT_UNKNOWN)
        code = HA_ETIMEDOUT;
    else if (code == HA_OK || code == HA_ETIMEDOUT)
        code = HA_ENOQUORUM;
    if (code != HA_OK)
        HA_LOG(HA_LOG_DEBUG, "proposal-failed", "kind=%s why=%s",
               ha_command_kind_text(proposal->command.kind),
               outcome->why != NULL ? outcome->why : ha_code_text(code));
    end_proposal(dispatch, proposal, outcome->index, code,
                 outcome->why != NULL ? outcome->why : ha_code_text(code));
}

/* Encode and hand over; HA_OK: the outcome comes later. */
static int hand_over(struct ha_dispatch *dispatch, const struct ha_proposal *proposal,
                     struct ha_err *err)
{
    size_t size = ha_command_size(&proposal->command);
    uint8_t small[HA_COMMAND_SIZE_SMALL];
    uint8_t *data = small;
    int code;

    if (size == 0)
        return ha_err_set(err, HA_EINVAL, "the command cannot be encoded");
    if (size > HA_RAFT_ENTRY_MAX)
        return ha_err_set(err, HA_EINVAL, "the entry would be %zu bytes long, over the limit of %u",
                          size, HA_RAFT_ENTRY_MAX);
    if (size > sizeof(small)) {
        data = malloc(size);
        if (data == NULL)
            return ha_err_set(err, HA_ENOMEM, "no memory for the entry");
    }
    code = ha_command_encode(&proposal->command, data, size, &size, err);
    if (code == HA_OK) {
        code = ha_raft_propose(dispatch->daemon->raft, data, size, proposal->ticket);
        if (code != HA_OK)
            (void)ha_err_set(err, code, "the log takes no proposal now: %s", ha_code_text(code));
    }
    if (data != small)
        free(data);
    return code;
}

static uint32_t count_beginning(const struct ha_dispatch *dispatch)
{
    const struct ha_cluster *cluster = &dispatch->daemon->core->cluster;
    uint32_t count = dispatch->underway.promotes;

    for (uint32_t i = 0; i < HA_SERVICES_MAX; i++) {
        const struct ha_service *service = &cluster->services[i];

        count += service->used &&
                 (service->state == HA_STATE_PROMOTING || service->state == HA_STATE_OPENING);
    }
    return count;
}

uint32_t ha_dispatch_beginning(const struct ha_dispatch *dispatch)
{
    uint32_t count = count_beginning(dispatch);

    return count >= BEGIN_MAX ? count : 0;
}

/* Where a thousand services begin at once, all at the same time would take longer than each of them
 * may: none would be done when its time is over, and all begin again. Those that wait are proposed
 * again by the core. Whoever had a primary waits for nobody. */
static bool must_wait(struct ha_dispatch *dispatch, const struct ha_command *command)
{
    const struct ha_service *service;

    if (command->kind != HA_COMMAND_PROMOTE)
        return false;
    service =
        ha_cluster_service_const(&dispatch->daemon->core->cluster, command->u.promote.ref.service);
    if (service == NULL || service->open_epoch != HA_EPOCH_NONE)
        return false;
    if (dispatch->beginning == 0)
        dispatch->beginning = 1 + count_beginning(dispatch);
    if (dispatch->beginning > BEGIN_MAX)
        return true;
    dispatch->beginning++;
    return false;
}

static void propose(struct ha_dispatch *dispatch, uint64_t request,
                    const struct ha_command *command)
{
    const struct ha_watcher *core = dispatch->daemon->core;
    uint64_t term = core->leader ? core->term : 0;
    struct ha_proposal *proposal;
    struct ha_err err = {0};
    int code;

    if (request == 0 &&
        (ha_underway_has(&dispatch->underway, term, command) || must_wait(dispatch, command)))
        return;
    proposal = calloc(1, sizeof(*proposal));
    if (proposal == NULL)
        return; /* the core proposes again; an operator's request times out */
    proposal->request = request;
    proposal->term = term;
    proposal->command = *command;
    ha_underway_add(&dispatch->underway, proposal);
    code = hand_over(dispatch, proposal, &err);
    if (proposal->command.kind == HA_COMMAND_CONFIG) {
        /* Borrowed from the request, which may be gone when the outcome comes. */
        proposal->command.u.config.config = NULL;
        proposal->command.u.config.text = NULL;
    }
    if (code == HA_OK)
        return;
    HA_LOG(HA_LOG_WARN, "proposal-refused", "kind=%s why=%s",
           ha_command_kind_text(proposal->command.kind), err.text);
    (void)ha_underway_take(&dispatch->underway, proposal->ticket);
    /* Told of a full line the core would propose the same again at once, with each heartbeat, and
     * do nothing else; what it hears nothing of it proposes again after a while. */
    if (code == HA_EFULL && proposal->request == 0)
        free(proposal);
    else
        end_proposal(dispatch, proposal, 0, code, err.text);
}

static void propose_observed(struct ha_dispatch *dispatch)
{
    if (dispatch->observed.u.observe.count > 0)
        propose(dispatch, 0, &dispatch->observed);
    dispatch->observed.u.observe.count = 0;
}

/* The core puts neighbours into one entry; where other effects stand between them, as when many
 * services begin, each verdict of each watcher would be one of its own, and the log little else. */
static void collect_observed(struct ha_dispatch *dispatch, const struct ha_command *command)
{
    struct ha_command_observe *all = &dispatch->observed.u.observe;

    if (all->count == 0 || all->watcher != command->u.observe.watcher ||
        all->count + command->u.observe.count > HA_OBSERVE_MAX) {
        propose_observed(dispatch);
        dispatch->observed = *command;
        return;
    }
    memcpy(&all->items[all->count], command->u.observe.items,
           command->u.observe.count * sizeof(all->items[0]));
    all->count += command->u.observe.count;
}

/* To the leader, who collects such words; that may be this watcher. */
static void say_stopped(struct ha_dispatch *dispatch, const struct ha_stopped *stopped)
{
    struct ha_daemon *daemon = dispatch->daemon;
    struct ha_message message = {.type = HA_MESSAGE_STOPPED};
    struct ha_raft_status status;
    uint8_t data[256];
    size_t size;

    ha_raft_get_status(daemon->raft, &status);
    if (status.leader_id == ha_daemon_id_of(daemon->settings->self)) {
        struct ha_event event = {.kind = HA_EVENT_STOPPED};

        event.u.stopped.watcher = daemon->settings->self;
        event.u.stopped.stopped = stopped;
        (void)ha_daemon_step(daemon, &event, NULL); /* HA_OK for this kind */
        return;
    }
    message.u.stopped = *stopped;
    if (status.leader_id == 0 ||
        ha_message_encode(&message, data, sizeof(data), &size, NULL) != HA_OK)
        return;                                                         /* the core says it again */
    (void)ha_raft_send_app(daemon->raft, status.leader_id, data, size); /* the same */
}

static void execute(struct ha_dispatch *dispatch, const struct ha_effect *effect)
{
    struct ha_daemon *daemon = dispatch->daemon;

    switch (effect->kind) {
    case HA_EFFECT_PROPOSE:
        if (effect->u.command.kind == HA_COMMAND_OBSERVE)
            collect_observed(dispatch, &effect->u.command);
        else
            propose(dispatch, effect->request, &effect->u.command);
        return;
    case HA_EFFECT_PROMISE:
        ha_agents_promise(daemon->agents, &effect->u.promise);
        return;
    case HA_EFFECT_ORDER:
        ha_agents_order(daemon->agents, &effect->u.order);
        return;
    case HA_EFFECT_STOPPED:
        say_stopped(dispatch, &effect->u.stopped);
        return;
    case HA_EFFECT_PERSIST_PROMISE:
        ha_promise_note_write(daemon->note, effect->u.persist_ms);
        return;
    case HA_EFFECT_FENCE_COMMAND:
        ha_fencer_run(daemon->fencer, &effect->u.fence);
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
        break; /* an agent's */
    }
    HA_UNREACHABLE();
}

bool ha_dispatch_drain(struct ha_dispatch *dispatch)
{
    struct ha_daemon *daemon = dispatch->daemon;
    struct ha_effects *list;

    assert(!dispatch->draining);
    dispatch->draining = true;
    dispatch->beginning = 0;
    for (unsigned round = 0;
         round < ROUNDS_MAX && (list = ha_backlog_take(&daemon->backlog)) != NULL; round++) {
        for (uint32_t i = 0; i < list->count; i++)
            execute(dispatch, &list->items[i]);
        ha_backlog_give_back(&daemon->backlog, list);
    }
    propose_observed(dispatch);
    ha_agents_flush(daemon->agents);
    dispatch->draining = false;
    return !ha_backlog_is_empty(&daemon->backlog);
}
