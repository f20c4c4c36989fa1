/* agents/postgresql/conn.h - one connection to a PostgreSQL server, one query at a time.
 *
 * Shell, loop thread only. libpq does the protocol, non-blocking. The connection is made by the
 * first query and again by the next one after it ended. Deadlines belong to the owner of a query:
 * whoever lost patience calls ha_pg_conn_drop. Names are resolved by lib/io/dns, libpq gets numbers
 * only. The password hash (SCRAM) costs some 10 ms of the loop, but only while a connection is
 * made. */
#ifndef HA_AGENTS_POSTGRESQL_CONN_H
#define HA_AGENTS_POSTGRESQL_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include <libpq-fe.h>

#include "lib/base/check.h"
#include "lib/base/err.h"
#include "lib/core/limits.h"
#include "lib/core/types.h"
#include "lib/io/dns.h"

struct ha_pg_conn;

#define HA_PG_SECRET_SIZE 256
#define HA_PG_PATH_SIZE 256
#define HA_PG_SQL_SIZE 4096
#define HA_PG_STATE_SIZE 6 /* of an SQLSTATE */

/* Where and as whom; strings are copied. */
struct ha_pg_target {
    char socket_dir[HA_PG_PATH_SIZE]; /* or a socket in it; empty: host */
    char host[HA_HOST_SIZE];
    uint16_t port;
    char user[64];
    char password[HA_PG_SECRET_SIZE];
    bool tls;         /* required; otherwise taken where the server offers it */
    bool replication; /* speak the replication protocol */
    bool reserved;    /* SQL in the place of a WAL sender: clients cannot take all of those */
    bool as_client;   /* with the settings of the server, as its clients get them */
    const char *name; /* of the application, for who looks at the server; not copied, may be NULL */
};

struct ha_pg_answer {
    int code;                     /* HA_OK, or why there is no answer */
    char state[HA_PG_STATE_SIZE]; /* SQLSTATE of an error, or empty */
    const char *text;             /* of an error */
    const PGresult *rows;         /* of the last statement; borrowed */
    bool fresh;                   /* the connection was made for this query */
};

typedef void (*ha_pg_conn_cb)(void *data, const struct ha_pg_answer *answer);

enum ha_pg_conn_state { HA_PG_IDLE, HA_PG_RESOLVING, HA_PG_CONNECTING, HA_PG_OPEN };

struct ha_pg_conn { /* embedded by its owner; private but for data, lost_cb, closed_cb */
    void *data;
    /* An open connection ended while nothing was asked; not called for ends of our own. */
    void (*lost_cb)(struct ha_pg_conn *conn, int code, const char *text);
    void (*closed_cb)(struct ha_pg_conn *conn);
    uv_loop_t *loop;
    struct ha_dns *dns; /* NULL: numeric hosts only */
    struct ha_pg_target target;
    enum ha_pg_conn_state state;
    PGconn *pg;
    uv_poll_t *poll;
    struct ha_dns_request request;
    bool resolving; /* the request is lent */
    char addrs[HA_DNS_ADDRS_MAX * INET6_ADDRSTRLEN + HA_DNS_ADDRS_MAX];
    uv_timer_t kick; /* brings what failed inside a call to the loop */
    bool closing;
    unsigned open_handles; /* the timer and polls */
    bool asked;            /* a query is under way */
    bool fresh;
    bool may_ask_in_clear; /* libpq would give the password */
    char *sql;             /* to be sent when connected */
    ha_pg_conn_cb cb;
    void *cb_data;
    PGresult *rows;
    int32_t server_pid; /* of the postmaster, as the UNIX socket says; 0: not known */
};

void ha_pg_conn_init(struct ha_pg_conn *conn, uv_loop_t *loop, struct ha_dns *dns,
                     const struct ha_pg_target *target);

/* Send @sql, connecting first where need be. HA_OK: one @cb, from the loop, unless it is dropped.
 * HA_EBUSY: one is under way; HA_EFULL: too long; HA_ECLOSED: closing. An error of the server ends
 * the query, not the connection. */
int ha_pg_conn_ask(struct ha_pg_conn *conn, const char *sql, ha_pg_conn_cb cb, void *data);

/* No callback any more, and end the connection: it owes an answer for too long. */
void ha_pg_conn_drop(struct ha_pg_conn *conn);

/* Change where it leads; drops. */
void ha_pg_conn_retarget(struct ha_pg_conn *conn, const struct ha_pg_target *target);

/* Drops; then closed_cb once nothing of the loop's points here any more. */
void ha_pg_conn_close(struct ha_pg_conn *conn);

/* What a failure of a query or connection says of the server. */
enum ha_answer ha_pg_answer_of(const struct ha_pg_answer *answer);
/* The code of an act that failed by it. */
int ha_pg_code_of(const struct ha_pg_answer *answer);

/* printf into @sql of HA_PG_SQL_SIZE with %s only for what ha_pg_quote made. */
int ha_pg_quote(const char *text, char *to, size_t size);

#endif /* HA_AGENTS_POSTGRESQL_CONN_H */
