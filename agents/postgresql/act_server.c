/* Acts on the server as a process: stop it, and read what it left. */
#include <stdio.h>

#include "agents/postgresql/act.h"
#include "agents/postgresql/keep.h"
#include "lib/io/pidwatch.h"

static void wait_for_end(struct ha_pg_act *act)
{
    if (ha_pg_server_lives(act->pid, act->pid_start)) {
        ha_pg_act_wait(act, HA_PG_POLL_MS, wait_for_end);
        return;
    }
    if (act->conn.asked == false)
        ha_pg_conn_drop(&act->conn); /* it leads to the old one */
    act->end_step(act);
}

/* What counts is the end of the process; only one that was not even asked to end is not waited for.
 */
static void on_stop_ran(struct ha_pg_act *act)
{
    const struct ha_process_result *result = act->result;

    if ((result->code == HA_OK && result->exit_status == 0 && result->signal == 0) ||
        !ha_pg_server_lives(act->pid, act->pid_start))
        wait_for_end(act);
    else
        ha_pg_act_fail(act, HA_EIO, "stop_command: %.150s",
                       result->code != HA_OK ? result->err.text : result->output);
}

void ha_pg_act_stop_server(struct ha_pg_act *act, ha_pg_act_step step)
{
    const char *command[] = {"/bin/sh", "-c", act->server->stop_command, NULL};

    act->acts.doing = "stopping the server";
    act->end_step = step;
    if (act->server->stop_command[0] != '\0') {
        if (ha_pid_start_time(act->pid, &act->pid_start) != HA_OK)
            act->pid_start = 0;
        ha_pg_act_run(act, command, on_stop_ran);
        return;
    }
    if (ha_pid_start_time(act->pid, &act->pid_start) != HA_OK ||
        !ha_pg_server_signal(act->pid, HA_PG_STOP_FAST))
        act->pid_start = 0;
    wait_for_end(act);
}

static void on_control(struct ha_pg_act *act)
{
    const struct ha_process_result *result = act->result;

    act->control = (struct ha_pg_control){0};
    if (result->code != HA_OK) {
        ha_pg_act_fail(act, result->code, "pg_controldata: %s", result->err.text);
        return;
    }
    /* Another status: there is no control file, which is an answer. */
    if (result->exit_status == 0 && ha_pg_control_parse(result->output, &act->control) != HA_OK) {
        ha_pg_act_fail(act, HA_EPROTO, "pg_controldata says what cannot be understood");
        return;
    }
    act->end_step(act);
}

static int find_control(struct ha_pg_work *work)
{
    work->pending = ha_pg_keep_pending(work->server);
    ha_pg_keep_control_dir(work->server, work->path, sizeof(work->path));
    return HA_OK;
}

static void on_control_found(struct ha_pg_act *act)
{
    const char *argv[] = {"pg_controldata", "-D", act->found.path, NULL};

    ha_pg_act_run(act, argv, on_control);
}

void ha_pg_act_read_control(struct ha_pg_act *act, ha_pg_act_step step)
{
    act->acts.doing = "reading pg_controldata";
    act->end_step = step;
    ha_pg_act_work(act, find_control, on_control_found);
}
