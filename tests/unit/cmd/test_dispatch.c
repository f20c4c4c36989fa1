/* What becomes of the core's proposals where a thousand services have something for the log. */
#include "cmd/hafailoverd/dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/hafailoverd/agents.h"
#include "cmd/hafailoverd/daemon.h"
#include "cmd/hafailoverd/fence.h"
#include "cmd/hafailoverd/note.h"
#include "cmd/hafailoverd/serve.h"
#include "lib/base/err.h"
#include "lib/wire/command.h"
#include "raft/node.h"
#include "tests/support/cmocka_ha.h"

#define TAKEN_MAX 512
#define TERM 7

static struct ha_daemon watcher;
static struct ha_dispatch *dispatch;
static struct ha_command taken[TAKEN_MAX]; /* by the log, in this order */
static uint64_t tickets[TAKEN_MAX];
static uint32_t taken_count, log_room, refused_told;

int ha_raft_propose(struct ha_raft *raft, const void *data, size_t size, uint64_t request)
{
    (void)raft;
    if (taken_count == log_room)
        return HA_EFULL;
    assert_int_equal(ha_command_decode(data, size, &taken[taken_count], NULL, NULL), HA_OK);
    tickets[taken_count++] = request;
    return HA_OK;
}

int ha_daemon_step(struct ha_daemon *daemon, struct ha_event *event, struct ha_err *err)
{
    (void)daemon;
    (void)err;
    refused_told += event->kind == HA_EVENT_PROPOSED && event->u.proposed.code != HA_OK;
    return HA_OK;
}

void ha_raft_get_status(const struct ha_raft *raft, struct ha_raft_status *ret)
{
    (void)raft;
    memset(ret, 0, sizeof(*ret));
}

int ha_raft_send_app(struct ha_raft *raft, uint32_t peer, const void *data, size_t size)
{
    (void)raft;
    (void)peer;
    (void)data;
    (void)size;
    return HA_OK;
}

void ha_agents_promise(struct ha_agents *agents, const struct ha_promise *promise)
{
    (void)agents;
    (void)promise;
}

void ha_agents_order(struct ha_agents *agents, const struct ha_effect_order *order)
{
    (void)agents;
    (void)order;
}

void ha_agents_flush(struct ha_agents *agents)
{
    (void)agents;
}

void ha_promise_note_write(struct ha_promise_note *note, uint32_t longest_ms)
{
    (void)note;
    (void)longest_ms;
}

void ha_fencer_run(struct ha_fencer *fencer, const struct ha_effect_fence *ask)
{
    (void)fencer;
    (void)ask;
}

void ha_serve_committed(struct ha_serve *serve, uint64_t request, uint64_t index)
{
    (void)serve;
    (void)request;
    (void)index;
}

void ha_serve_applied(struct ha_serve *serve, uint64_t index, int code, const char *text)
{
    (void)serve;
    (void)index;
    (void)code;
    (void)text;
}

void ha_serve_failed(struct ha_serve *serve, uint64_t request, int code, const char *text)
{
    (void)serve;
    (void)request;
    (void)code;
    (void)text;
}

static int setup(void **state)
{
    (void)state;
    watcher = (struct ha_daemon){.core = calloc(1, sizeof(*watcher.core))};
    taken_count = refused_told = 0;
    log_room = TAKEN_MAX;
    if (watcher.core == NULL || ha_backlog_open(&watcher.backlog) != HA_OK ||
        ha_dispatch_open(&watcher, &dispatch) != HA_OK)
        return -1;
    watcher.core->leader = true;
    watcher.core->term = TERM;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ha_dispatch_free(dispatch);
    ha_backlog_free(&watcher.backlog);
    free(watcher.core);
    return 0;
}

/* Service @id, which has had a primary before or not. */
static void add_service(uint32_t id, uint64_t open_epoch)
{
    struct ha_service *service = &watcher.core->cluster.services[id % HA_SERVICES_MAX];

    *service = (struct ha_service){
        .used = true, .id = id, .state = HA_STATE_SELECTING, .open_epoch = open_epoch};
}

static struct ha_command *proposed(enum ha_command_kind kind)
{
    struct ha_command *command;

    ha_backlog_stepped(&watcher.backlog); /* a list that is half full stands in line */
    command = &ha_effects_add(watcher.backlog.now, HA_EFFECT_PROPOSE)->u.command;
    command->kind = kind;
    return command;
}

static void promote(uint32_t service, uint64_t epoch)
{
    proposed(HA_COMMAND_PROMOTE)->u.promote =
        (struct ha_command_promote){.ref = {service, epoch}, .member = 1};
}

static void observe(uint32_t service)
{
    struct ha_command_observe *all = &proposed(HA_COMMAND_OBSERVE)->u.observe;

    *all = (struct ha_command_observe){.count = 1};
    all->items[0] =
        (struct ha_observation){.service = service, .member = 1, .verdict = HA_VERDICT_UP};
}

static void drain(void)
{
    assert_false(ha_dispatch_drain(dispatch));
}

static void end(uint32_t which)
{
    const struct ha_raft_outcome outcome = {.result = HA_RAFT_COMMITTED, .index = which + 1};

    ha_dispatch_outcome(dispatch, tickets[which], &outcome);
}

static void test_verdicts_between_orders_share_an_entry(void **state)
{
    (void)state;
    for (uint32_t service = 1; service <= HA_OBSERVE_MAX + 2; service++) {
        observe(service);
        (void)ha_effects_add(watcher.backlog.now, HA_EFFECT_ORDER);
    }
    drain();
    assert_int_equal(taken_count, 2);
    assert_int_equal(taken[0].u.observe.count, HA_OBSERVE_MAX);
    assert_int_equal(taken[1].u.observe.count, 2);
    assert_int_equal(taken[1].u.observe.items[1].service, HA_OBSERVE_MAX + 2);
    drain();
    assert_int_equal(taken_count, 2);
}

static void test_what_stands_in_line_is_not_put_there_again(void **state)
{
    (void)state;
    add_service(5, 2);
    promote(5, 3);
    drain();
    promote(5, 3);
    drain();
    assert_int_equal(taken_count, 1);
    end(0);
    promote(5, 3);
    drain();
    assert_int_equal(taken_count, 2);
}

/* Nobody knows what became of what was sent to another leader. */
static void test_a_follower_sends_it_again(void **state)
{
    (void)state;
    watcher.core->leader = false;
    add_service(5, 2);
    promote(5, 3);
    drain();
    promote(5, 3);
    drain();
    assert_int_equal(taken_count, 2);
}

static void test_a_full_line_is_not_told(void **state)
{
    (void)state;
    log_room = 1;
    for (uint32_t service = 1; service <= 3; service++) {
        add_service(service, 2);
        promote(service, 3);
    }
    drain();
    assert_int_equal(taken_count, 1);
    assert_int_equal(refused_told, 0);
    log_room = TAKEN_MAX;
    promote(2, 3); /* the core, a second later */
    drain();
    assert_int_equal(taken_count, 2);
    assert_int_equal(taken[1].u.promote.ref.service, 2);
}

static void test_only_some_get_their_first_primary_at_once(void **state)
{
    enum { MANY = 300 };
    uint32_t before;

    (void)state;
    for (uint32_t service = 1; service <= MANY; service++) {
        add_service(service, HA_EPOCH_NONE);
        promote(service, 1);
    }
    assert_int_equal(ha_dispatch_beginning(dispatch), 0);
    drain();
    assert_in_range(taken_count, 1, MANY / 2);
    before = taken_count;
    assert_int_equal(ha_dispatch_beginning(dispatch), before); /* so it is told to the others */
    for (uint32_t service = 1; service <= MANY; service++)
        promote(service, 1);
    drain();
    assert_int_equal(taken_count, before);
    for (uint32_t which = 0; which < before; which++) { /* applied: they are being promoted */
        watcher.core->cluster.services[taken[which].u.promote.ref.service].state =
            HA_STATE_PROMOTING;
        end(which);
    }
    promote(MANY, 1);
    drain();
    assert_int_equal(taken_count, before);
    assert_int_equal(ha_dispatch_beginning(dispatch), before);
    watcher.core->cluster.services[taken[0].u.promote.ref.service].state = HA_STATE_STEADY;
    assert_int_equal(ha_dispatch_beginning(dispatch), 0);
    promote(MANY, 1);
    drain();
    assert_int_equal(taken_count, before + 1);
}

static void test_a_failover_waits_for_none_of_them(void **state)
{
    enum { MANY = 300 };

    (void)state;
    for (uint32_t service = 1; service <= MANY; service++) {
        add_service(service, 1);
        watcher.core->cluster.services[service].state = HA_STATE_PROMOTING;
    }
    add_service(MANY + 1, 1);
    promote(MANY + 1, 2);
    drain();
    assert_int_equal(taken_count, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    CASE(test_verdicts_between_orders_share_an_entry),
    CASE(test_what_stands_in_line_is_not_put_there_again),
    CASE(test_a_follower_sends_it_again),
    CASE(test_a_full_line_is_not_told),
    CASE(test_only_some_get_their_first_primary_at_once),
    CASE(test_a_failover_waits_for_none_of_them),
};

HA_TEST_MAIN("cmd/dispatch", tests)
