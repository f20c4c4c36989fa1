/* An act begins while the connection that was to be ready for it is being made. */
#include "agents/postgresql/act.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/text.h"
#include "tests/support/cmocka_ha.h"

#define SOCKET ".s.PGSQL.5432"
#define PATIENCE_MS 5000

static char dir[64], path[96];
static uv_loop_t *loop;
static uv_sem_t disk;
static uv_timer_t patience;
static bool is_over;
static unsigned acted_count, closed_count;

static void hang(uv_work_t *work)
{
    (void)work;
    uv_sem_wait(&disk);
}

static void on_hung(uv_work_t *work, int status)
{
    (void)work;
    (void)status;
}

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    is_over = true;
}

static void turn(uint64_t ms)
{
    is_over = false;
    uv_update_time(loop);
    (void)uv_timer_start(&patience, on_patience, ms, 0);
    while (!is_over)
        (void)uv_run(loop, UV_RUN_ONCE);
}

/* Until the act has ended: its thread comes back when the machine has time for it. */
static void wait_until_acted(void)
{
    is_over = false;
    uv_update_time(loop);
    (void)uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);
    while (acted_count == 0 && !is_over)
        (void)uv_run(loop, UV_RUN_ONCE);
    (void)uv_timer_stop(&patience);
    assert_int_equal(acted_count, 1);
}

static void on_acted(void *data, const struct ha_acted *acted)
{
    (void)data;
    (void)acted;
    acted_count++;
}

static void on_idle(struct ha_pg_act *act)
{
    (void)act;
    closed_count++;
}

static void on_conn_closed(struct ha_pg_conn *conn)
{
    (void)conn;
    closed_count++;
}

static int listen_there(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(path, sizeof(path), "%s/" SOCKET, dir);
    assert_int_equal(ha_text_format(address.sun_path, sizeof(address.sun_path), "%s/" SOCKET, dir),
                     HA_OK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void close_act(struct ha_pg_act *act)
{
    struct ha_pg_conn *conns[] = {&act->conn, &act->fresh, &act->up};

    uv_close((uv_handle_t *)&act->acts.deadline, NULL);
    uv_close((uv_handle_t *)&act->poll, NULL);
    ha_pg_act_stop(act, on_idle);
    ha_pg_job_stop(&act->job);
    for (size_t i = 0; i < HA_ARRAY_LEN(conns); i++) {
        conns[i]->closed_cb = on_conn_closed;
        ha_pg_conn_close(conns[i]);
    }
    uv_close((uv_handle_t *)&patience, NULL);
    (void)uv_run(loop, UV_RUN_DEFAULT);
    ha_pg_act_closed(act);
}

static void test_its_end_is_no_step_of_the_act(void **state)
{
    struct ha_act ask = {.kind = HA_ORDER_FOLLOW, .deadline_ms = 5000, .epoch = 1};
    struct ha_pg_target target = {.port = 5432};
    struct ha_pg_lineage_cache cache = {0};
    struct ha_pg_server server = {0};
    struct ha_pg_act act;
    uv_work_t work;
    int fd;

    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/ha-act-XXXXXX");
    assert_non_null(mkdtemp(dir));
    fd = listen_there();
    (void)ha_text_copy(server.data_dir, sizeof(server.data_dir), dir);
    (void)ha_text_format(server.work_dir, sizeof(server.work_dir), "%s/work", dir);
    (void)ha_text_copy(server.bin_dir, sizeof(server.bin_dir), dir);
    (void)ha_text_copy(target.socket_dir, sizeof(target.socket_dir), dir);
    (void)ha_text_copy(target.user, sizeof(target.user), "nobody");
    assert_int_equal(setenv("UV_THREADPOOL_SIZE", "1", 1), 0);
    loop = uv_default_loop();
    (void)uv_timer_init(loop, &patience);
    assert_int_equal(uv_sem_init(&disk, 0), 0);
    assert_int_equal(uv_queue_work(loop, &work, hang, on_hung), 0);
    ha_pg_act_init(&act, loop, &server, &target, &cache, NULL);

    ha_pg_act_keep_open(&act);
    turn(20);
    assert_true(act.conn.asked);
    assert_int_equal(ha_pg_act_start(&act, &ask, on_acted), HA_OK);
    turn(20);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
    turn(50);
    assert_string_equal(server.data_dir, dir); /* not found yet, and not lost */
    assert_false(server.resolved);
    assert_int_equal(acted_count, 0);

    ha_acts_cancel(&act.acts);
    uv_sem_post(&disk);
    wait_until_acted();
    close_act(&act);
    assert_int_equal(closed_count, 4);
    uv_sem_destroy(&disk);
    assert_int_equal(uv_loop_close(loop), 0);
    assert_int_equal(rmdir(dir), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_its_end_is_no_step_of_the_act),
};

HA_TEST_MAIN("agents/pg_act", tests)
