/* Gates that are closed in one turn of the loop: what is told of each, and after which look at the
 * kernel. */
#include "cmd/hafailover-agent/database.h"

#include <string.h>

#include "agents/host/gate.h"
#include "cmd/hafailover-agent/daemon.h"
#include "cmd/hafailover-agent/database_parts.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"

#define COUNT 2
#define LATER_MS UINT64_C(99999999999)

static struct ha_database_settings sections[COUNT];
static struct database all[COUNT];
static struct ha_agent core;
static struct ha_host agent = {.core = &core};
static struct ha_databases own = {.host = &agent, .count = COUNT, .all = all};
static struct ha_held held;
static int check_code, halts;
static bool stays_open; /* a gate, whatever is done to it */
static char done[256];  /* in this order */

static void note(const char *what, unsigned who)
{
    assert_int_equal(ha_text_append(done, sizeof(done), "%s%u ", what, who), HA_OK);
}

enum ha_gate ha_gates_class(const struct ha_gates *gates)
{
    (void)gates;
    return HA_GATE_NFT;
}

int ha_gates_guard(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    (void)gates;
    (void)err;
    note("guard", port);
    return HA_OK;
}

int ha_gates_shut_unproven(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    (void)gates;
    (void)err;
    note("shut", port);
    return HA_OK;
}

int ha_gates_check(struct ha_gates *gates, unsigned *ret_found, struct ha_err *err)
{
    (void)gates;
    (void)err;
    *ret_found = 0;
    note("look", 0);
    return check_code;
}

int ha_gates_prove_shut(struct ha_gates *gates, uint16_t port, struct ha_err *err)
{
    (void)gates;
    (void)err;
    note("read", port);
    return stays_open ? HA_EIO : HA_OK;
}

int ha_gates_set(struct ha_gates *gates, const struct ha_gate_ask *ask, struct ha_gate_state *ret,
                 struct ha_err *err)
{
    (void)gates;
    (void)ret;
    (void)err;
    note("open", ask->port);
    return HA_OK;
}

int ha_gates_settle(struct ha_gates *gates, uint16_t port, bool with_vip, bool reset,
                    struct ha_err *err)
{
    (void)gates;
    (void)port;
    (void)with_vip;
    (void)reset;
    (void)err;
    return HA_OK;
}

void ha_resets_owe(struct ha_resets *resets, uint16_t port, uint64_t now_ms)
{
    (void)now_ms;
    resets->last = port;
    note("reset", port);
}

void ha_resets_poll(struct ha_resets *resets, uint64_t now_ms)
{
    (void)resets;
    (void)now_ms;
}

void ha_resets_before(struct ha_resets *resets, uint16_t port)
{
    if (resets->last == port)
        note("flush", port);
    resets->last = 0;
}

const struct ha_held *ha_agent_held(const struct ha_agent *a, uint32_t service)
{
    (void)a;
    (void)service;
    return &held;
}

void ha_host_step(struct ha_host *host, struct ha_event *event)
{
    assert_ptr_equal(host, &agent);
    assert_int_equal(event->kind, HA_EVENT_GATE_CLOSED);
    note("closed", (unsigned)event->u.gate_closed.number);
}

struct database *ha_database_joined(struct ha_databases *databases, uint32_t service)
{
    return &databases->all[service - 1];
}

static void on_halt(struct ha_link *link, int32_t pid)
{
    (void)link;
    (void)pid;
    halts++;
}

static const struct ha_engine_ops ops = {.halt = on_halt};

static int begin(void **state)
{
    (void)state;
    memset(all, 0, sizeof(all));
    memset(&held, 0, sizeof(held));
    for (uint32_t i = 0; i < COUNT; i++) {
        sections[i].port = (uint16_t)(i + 1);
        all[i].databases = &own;
        all[i].section = &sections[i];
        all[i].service = i + 1;
        all[i].ops = &ops;
        all[i].link = (struct ha_link *)(void *)&all[i]; /* joined; nothing looks into it */
    }
    own.unproven = false;
    memset(&own.resets, 0, sizeof(own.resets));
    check_code = halts = 0;
    stays_open = false;
    done[0] = '\0';
    return 0;
}

static void gate(uint32_t service, uint64_t deadline_ms, uint64_t number, bool reset)
{
    const struct ha_effect_gate effect = {.service = service,
                                          .port = (uint16_t)service,
                                          .deadline_ms = deadline_ms,
                                          .number = number,
                                          .reset_clients = reset};

    ha_databases_gate(&own, &effect);
}

static void expect(const char *what)
{
    assert_string_equal(done, what);
    done[0] = '\0';
}

static void test_one_look_comes_after_all(void **state)
{
    (void)state;
    gate(1, 0, 11, false);
    gate(2, 0, 12, false);
    expect("shut1 shut2 "); /* and nobody is told */
    ha_databases_prove_closed(&own);
    expect("look0 read1 closed11 read2 closed12 ");
    ha_databases_prove_closed(&own);
    expect("");
}

static void test_one_that_was_opened_again_is_not_told(void **state)
{
    (void)state;
    gate(1, 0, 11, false);
    gate(2, 0, 12, false);
    gate(1, LATER_MS, 13, false);
    ha_databases_prove_closed(&own);
    expect("shut1 shut2 open1 look0 read2 closed12 ");
    gate(2, LATER_MS, 14, false);
    gate(2, 0, 15, false);
    ha_databases_prove_closed(&own);
    expect("open2 shut2 look0 read2 closed15 ");
}

static void test_what_is_not_proven_is_closed_again(void **state)
{
    (void)state;
    check_code = HA_EIO;
    gate(1, 0, 11, false);
    ha_databases_prove_closed(&own);
    expect("shut1 look0 ");
    check_code = HA_OK;
    stays_open = true;
    ha_databases_poll_gates(&own);
    expect("shut1 look0 read1 ");
    stays_open = false;
    gate(1, 0, 12, false);
    expect("shut1 ");
    ha_databases_prove_closed(&own);
    expect("look0 read1 closed12 ");
    ha_databases_poll_gates(&own);
    expect("");
}

/* Whoever was to be sent away still is when it is closed once more before that was done. */
static void test_clients_are_sent_away_by_the_first(void **state)
{
    (void)state;
    all[0].pid = 77;
    held.sample.role = HA_ROLE_PRIMARY;
    gate(1, 0, 11, true);
    gate(1, 0, 12, false);
    ha_databases_prove_closed(&own);
    expect("shut1 shut1 look0 read1 reset1 closed12 ");
    assert_int_equal(halts, 1);
    gate(1, 0, 13, true); /* its lease comes back before that was done */
    gate(1, LATER_MS, 14, false);
    gate(1, 0, 15, false);
    ha_databases_prove_closed(&own);
    expect("shut1 flush1 open1 shut1 look0 read1 closed15 ");
    assert_int_equal(halts, 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(test_one_look_comes_after_all, begin),
    cmocka_unit_test_setup(test_one_that_was_opened_again_is_not_told, begin),
    cmocka_unit_test_setup(test_what_is_not_proven_is_closed_again, begin),
    cmocka_unit_test_setup(test_clients_are_sent_away_by_the_first, begin),
};

HA_TEST_MAIN("cmd/database-gate", tests)
