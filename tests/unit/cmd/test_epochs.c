/* The note of epochs is written whatever the disks of databases do. */
#include "cmd/hafailover-agent/epochs.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "cmd/hafailover-agent/daemon.h"
#include "lib/base/err.h"
#include "lib/core/effect.h"
#include "tests/support/cmocka_ha.h"

#define THREADS 4 /* that libuv has */

static uv_sem_t hung;
static unsigned noted, closed;

void ha_host_step(struct ha_host *host, struct ha_event *event)
{
    (void)host;
    assert_int_equal(event->kind, HA_EVENT_PERSISTED_EPOCHS);
    assert_int_equal(event->u.epochs.given_up, 7);
    noted++;
}

static void hang(uv_work_t *work)
{
    (void)work;
    uv_sem_wait(&hung);
}

static void on_closed(struct ha_host *host)
{
    (void)host;
    closed++;
}

static void on_end(uv_timer_t *timer)
{
    (void)timer;
    fail_msg("the note is not written");
}

static void test_written_while_threads_hang(void **state)
{
    static struct ha_agent_settings settings;
    const struct ha_effect_epochs what = {
        .service = 3, .epoch_seen = 7, .given_up = 7, .service_name = "db"};
    struct ha_host host = {.settings = &settings, .uv = uv_default_loop()};
    uv_work_t works[THREADS];
    struct ha_err err = {0};
    char path[64];
    uv_timer_t end;

    (void)state;
    (void)snprintf(settings.state_dir, sizeof(settings.state_dir), "/tmp/ha-epochs-XXXXXX");
    assert_non_null(mkdtemp(settings.state_dir));
    host.core = calloc(1, sizeof(*host.core));
    assert_non_null(host.core);
    ha_agent_init(host.core, 1, HA_GATE_NFT);
    assert_int_equal(ha_agent_load(host.core, &what), HA_OK); /* else it may be forgotten */
    assert_int_equal(uv_sem_init(&hung, 0), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(uv_queue_work(host.uv, &works[i], hang, NULL), 0);
    assert_int_equal(ha_epochs_open(&host, &host.epochs, &err), HA_OK);
    assert_int_equal(uv_timer_init(host.uv, &end), 0);
    assert_int_equal(uv_timer_start(&end, on_end, 20000, 0), 0);
    ha_epochs_write(host.epochs, &what);
    while (noted == 0)
        (void)uv_run(host.uv, UV_RUN_ONCE);
    assert_true(ha_epochs_can_write(host.epochs));
    for (unsigned i = 0; i < THREADS; i++)
        uv_sem_post(&hung);
    uv_close((uv_handle_t *)&end, NULL);
    ha_epochs_write(host.epochs, &what); /* under way when it closes */
    ha_epochs_close(host.epochs, on_closed);
    (void)uv_run(host.uv, UV_RUN_DEFAULT);
    assert_int_equal(closed, 1);
    assert_int_equal(uv_loop_close(host.uv), 0);
    uv_sem_destroy(&hung);
    free(host.core);
    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%.40s/%s", settings.state_dir,
                       i == 0 ? "epochs" : "lock");
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(settings.state_dir), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_written_while_threads_hang),
};

HA_TEST_MAIN("cmd/epochs", tests)
