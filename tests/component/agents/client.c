#include "tests/component/agents/client.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agents/engines.h"
#include "lib/base/err.h"
#include "lib/io/clock.h"
#include "tests/support/cmocka_ha.h"

const struct ha_engine_ops *engine;

/* What a link calls. */
struct ear {
    struct ear *next;
    struct client *client; /* NULL: its test has failed */
    struct ha_link *link;
    bool closed;
};

/* A callback of a timer may come at the start of a turn, which then waits for the next event: the
 * tick keeps that short. */
#define TICK_MS 5
static uv_timer_t tick;
static struct ear *ears; /* of open links; a test that fails half-way leaves some */

static void on_probed(void *data, const struct ha_probed *probed)
{
    struct client *client = ((struct ear *)data)->client;

    if (client == NULL)
        return;
    assert_true(client->probing);
    client->probing = false;
    client->probes++;
    client->probed = *probed;
}

void client_on_acted(void *data, const struct ha_acted *acted)
{
    struct client *client = ((struct ear *)data)->client;

    if (client == NULL)
        return;
    client->acting = false;
    client->acts++;
    client->acted = *acted;
}

static void on_lost(void *data, enum ha_answer how, const char *text)
{
    struct client *client = ((struct ear *)data)->client;

    if (client == NULL)
        return;
    client->losses++;
    client->lost_how = how;
    client->lost_ns = ha_clock_boot_ns();
    print_message("# lost: %s\n", text);
}

static void on_closed(void *data)
{
    ((struct ear *)data)->closed = true;
}

void client_open(struct client *client, uv_loop_t *loop, struct ha_link_spec spec)
{
    struct ha_err err = {0};
    struct ear *ear = calloc(1, sizeof(*ear));

    memset(client, 0, sizeof(*client));
    engine = ha_engine_find(client_engine);
    assert_non_null(engine);
    assert_non_null(ear);
    client->loop = loop;
    spec.loop = loop;
    spec.data = ear;
    spec.lost_cb = on_lost;
    if (engine->open(&spec, &client->link, &err) != 0) {
        free(ear);
        fail_msg("open: %s", err.text);
        return; /* it does not come back, which cppcheck cannot know */
    }
    *ear = (struct ear){.next = ears, .client = client, .link = client->link};
    ears = ear;
}

static void run(uv_loop_t *loop, const bool *flag, const unsigned *count, unsigned want,
                unsigned ms, bool must)
{
    const uint64_t end_ms = ha_clock_mono_ms() + ms;

    while (!(flag != NULL && !*flag) && !(count != NULL && *count >= want)) {
        if (ha_clock_mono_ms() >= end_ms) {
            if (must)
                fail_msg("nothing happened within %u ms", ms);
            return;
        }
        (void)uv_run(loop, UV_RUN_ONCE);
    }
}

void run_while(uv_loop_t *loop, const bool *flag, unsigned ms)
{
    run(loop, flag, NULL, 0, ms, true);
}

void run_until_count(uv_loop_t *loop, const unsigned *count, unsigned want, unsigned ms)
{
    run(loop, NULL, count, want, ms, true);
}

void run_for(uv_loop_t *loop, unsigned ms)
{
    run(loop, NULL, NULL, 0, ms, false);
}

void client_probe_begin(struct client *client, uint32_t timeout_ms)
{
    client->probing = true;
    assert_int_equal(engine->probe(client->link, timeout_ms, on_probed), 0);
    assert_true(client->probing); /* never from inside */
}

enum ha_answer client_probe(struct client *client, uint32_t timeout_ms)
{
    const unsigned before = client->probes;

    client_probe_begin(client, timeout_ms);
    run_until_count(client->loop, &client->probes, before + 1, timeout_ms + 5000);
    assert_int_equal(client->probed.code, 0);
    return client->probed.sample.answer;
}

int client_act(struct client *client, struct ha_act act)
{
    const unsigned before = client->acts;

    client->acting = true;
    assert_int_equal(engine->act(client->link, &act, client_on_acted), 0);
    assert_true(client->acting); /* never from inside */
    run_until_count(client->loop, &client->acts, before + 1, act.deadline_ms + 5000);
    assert_int_equal(client->acted.ticket, act.ticket);
    assert_int_equal(client->acted.service, act.service);
    if (client->acted.text[0] != '\0')
        print_message("# %s: %s\n", ha_order_kind_text(act.kind), client->acted.text);
    return client->acted.code;
}

struct ha_act act_of(enum ha_order_kind kind)
{
    static uint32_t ticket;

    ticket++;
    return (struct ha_act){.service = 7,
                           .ticket = ticket,
                           .kind = kind,
                           .epoch = 1,
                           .deadline_ms = 5000,
                           .full_copy = true,
                           .min_replicas = UINT32_MAX};
}

static void ear_close(uv_loop_t *loop, struct ear **at)
{
    struct ear *ear = *at;
    const uint64_t end_ms = ha_clock_mono_ms() + 5000;

    engine->close(ear->link, on_closed);
    assert_false(ear->closed); /* never from inside */
    while (!ear->closed) {
        assert_true(ha_clock_mono_ms() < end_ms);
        (void)uv_run(loop, UV_RUN_ONCE);
    }
    *at = ear->next;
    free(ear);
}

void client_close(struct client *client)
{
    struct ear **at = &ears;

    if (client->link == NULL)
        return;
    while ((*at)->client != client)
        at = &(*at)->next;
    ear_close(client->loop, at);
    client->link = NULL;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

int loop_setup(void **state)
{
    uv_loop_t *loop = calloc(1, sizeof(*loop));

    (void)signal(SIGPIPE, SIG_IGN);
    if (loop == NULL || uv_loop_init(loop) != 0 || uv_timer_init(loop, &tick) != 0 ||
        uv_timer_start(&tick, on_tick, TICK_MS, TICK_MS) != 0)
        return -1;
    *state = loop;
    return 0;
}

/* Of a test that failed half-way; of one that did not, there is nothing. */
static void put_away(uv_loop_t *loop)
{
    for (struct ear *ear = ears; ear != NULL; ear = ear->next)
        ear->client = NULL;
    while (ears != NULL)
        ear_close(loop, &ears);
    client_kill_servers();
}

int loop_teardown(void **state)
{
    uv_loop_t *loop = *state;
    int rc;

    put_away(loop);
    uv_close((uv_handle_t *)&tick, NULL);
    for (int i = 0; i < 500 && uv_run(loop, UV_RUN_NOWAIT) != 0; i++)
        (void)usleep(1000);
    rc = uv_loop_close(loop);
    free(loop);
    return rc;
}
