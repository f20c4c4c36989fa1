#include "agents/postgresql/checkpoint.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "lib/base/text.h"
#include "lib/io/loop.h"

/* Not that of acts, which end the sessions that others of their name have left. */
#define NAME "hafailover-checkpoint"
#define STATE_NO_RIGHT "42501"

/* The only way out. The callback may start another one or close the link. */
static void finish(struct ha_pg_checkpoint *checkpoint, int code, const char *text)
{
    ha_link_prepare_cb cb = checkpoint->cb;
    char copy[HA_TEXT_SIZE];

    (void)ha_text_format(copy, sizeof(copy), "%s", text); /* it may be the connection's */
    ha_pg_checkpoint_cancel(checkpoint);
    cb(checkpoint->data, code, copy);
}

static void on_answer(void *data, const struct ha_pg_answer *answer)
{
    struct ha_pg_checkpoint *checkpoint = data;
    char text[HA_TEXT_SIZE];

    if (answer->code == HA_OK) {
        finish(checkpoint, HA_OK, "");
        return;
    }
    (void)ha_text_format(text, sizeof(text), "CHECKPOINT: %s", answer->text);
    /* Without the right to, the stop takes as long as its own; nothing else changes. */
    finish(checkpoint, strcmp(answer->state, STATE_NO_RIGHT) == 0 ? HA_OK : ha_pg_code_of(answer),
           text);
}

static void on_deadline(uv_timer_t *timer)
{
    struct ha_pg_checkpoint *checkpoint = timer->data;
    char text[HA_TEXT_SIZE];

    (void)ha_text_format(text, sizeof(text),
                         "its CHECKPOINT has not ended within %" PRIu32
                         " ms; the server goes on with it, so another try finds less to do",
                         checkpoint->deadline_ms);
    finish(checkpoint, HA_ETIMEDOUT, text);
}

void ha_pg_checkpoint_init(struct ha_pg_checkpoint *checkpoint, uv_loop_t *loop,
                           const struct ha_pg_target *target, void *data)
{
    struct ha_pg_target as_checkpoint = *target;

    as_checkpoint.name = NAME;
    as_checkpoint.reserved = true; /* clients may have taken every other place */
    checkpoint->data = data;
    checkpoint->cb = NULL;
    ha_pg_conn_init(&checkpoint->conn, loop, NULL, &as_checkpoint);
    explicit_bzero(as_checkpoint.password, sizeof(as_checkpoint.password));
    (void)uv_timer_init(loop, &checkpoint->deadline); /* always 0 */
    checkpoint->deadline.data = checkpoint;
}

int ha_pg_checkpoint_start(struct ha_pg_checkpoint *checkpoint, uint32_t deadline_ms,
                           ha_link_prepare_cb cb)
{
    int code;

    assert(deadline_ms > 0);
    assert(cb != NULL);
    if (checkpoint->cb != NULL)
        return HA_EBUSY;
    code = ha_pg_conn_ask(&checkpoint->conn, "CHECKPOINT", on_answer, checkpoint);
    if (code != HA_OK)
        return code;
    checkpoint->cb = cb;
    checkpoint->deadline_ms = deadline_ms;
    ha_loop_after(&checkpoint->deadline, on_deadline, deadline_ms);
    return HA_OK;
}

void ha_pg_checkpoint_cancel(struct ha_pg_checkpoint *checkpoint)
{
    checkpoint->cb = NULL;
    (void)uv_timer_stop(&checkpoint->deadline);
    ha_pg_conn_drop(&checkpoint->conn);
}
