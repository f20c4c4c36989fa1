#include "agents/postgresql/conn.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agents/postgresql/parse.h"
#include "lib/base/text.h"

#define RESOLVE_MS 2000
#define PEEK_SIZE 8192 /* more than a server says before it lets somebody in */
#define USER_TIMEOUT_MS \
    "2000" /* unacknowledged bytes end a connection; silence has own deadlines */

static void connect_step(struct ha_pg_conn *conn);

/* --- the end of a query or connection --------------------------------------------------------- */

static void on_poll_closed(uv_handle_t *handle)
{
    struct ha_pg_conn *conn = handle->data;

    free(handle);
    assert(conn->open_handles > 0);
    conn->open_handles--;
    if (conn->closing && conn->open_handles == 0)
        conn->closed_cb(conn);
}

/* Before libpq may close or exchange its socket. */
static void unwatch(struct ha_pg_conn *conn)
{
    if (conn->poll != NULL)
        uv_close((uv_handle_t *)conn->poll, on_poll_closed);
    conn->poll = NULL;
}

static void forget_query(struct ha_pg_conn *conn)
{
    free(conn->sql);
    conn->sql = NULL;
}

static void hang_up(struct ha_pg_conn *conn)
{
    unwatch(conn);
    forget_query(conn);
    PQclear(conn->rows);
    conn->rows = NULL;
    PQfinish(conn->pg);
    conn->pg = NULL;
    conn->state = HA_PG_IDLE;
}

/* The callback is the last touch: it may ask again or close. */
static void answer(struct ha_pg_conn *conn, const struct ha_pg_answer *answer)
{
    conn->asked = false;
    conn->cb(conn->cb_data, answer);
}

static void read_state(const char *text, char state[HA_PG_STATE_SIZE])
{
    /* With PQERRORS_VERBOSE: "FATAL:  57P03: the database system is starting up". */
    for (const char *at = strchr(text, ':'); at != NULL; at = strchr(at + 1, ':')) {
        const char *word = at + 1 + strspn(at + 1, " ");

        /* Every state has a digit; "FATAL" has none. */
        if (strspn(word, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == HA_PG_STATE_SIZE - 1 &&
            word[HA_PG_STATE_SIZE - 1] == ':' &&
            strcspn(word, "0123456789") < HA_PG_STATE_SIZE - 1) {
            memcpy(state, word, HA_PG_STATE_SIZE - 1);
            state[HA_PG_STATE_SIZE - 1] = '\0';
            return;
        }
    }
    state[0] = '\0';
}

/* libpq tells why only in words; ours are never localised. */
static int code_of_text(const char *text)
{
    if (strstr(text, "Connection refused") != NULL || strstr(text, "No such file") != NULL)
        return HA_EREFUSED;
    if (strstr(text, "No route") != NULL || strstr(text, "unreachable") != NULL ||
        strstr(text, "Host is down") != NULL)
        return HA_EUNREACH;
    if (strstr(text, "password") != NULL || strstr(text, "authentication") != NULL)
        return HA_EAUTH;
    if (strstr(text, "timed out") != NULL || strstr(text, "timeout") != NULL)
        return HA_ETIMEDOUT;
    return HA_ECLOSED;
}

/* The first line, which says what happened; the rest is where in the server's source. */
static void first_line(const char *text, char *to, size_t size)
{
    const char *severity = strstr(text, "FATAL:");
    size_t length;

    if (severity != NULL)
        text = severity;
    length = strcspn(text, "\n");
    if (length >= size)
        length = size - 1;
    memcpy(to, text, length);
    to[length] = '\0';
}

static void fail(struct ha_pg_conn *conn, int code, const char *text)
{
    struct ha_pg_answer failed = {.fresh = conn->fresh};
    char line[HA_TEXT_SIZE];
    bool was_open = conn->state == HA_PG_OPEN;

    read_state(text, failed.state);
    failed.code = code != HA_OK ? code : code_of_text(text);
    first_line(text, line, sizeof(line));
    failed.text = line[0] != '\0' ? line : ha_code_text(failed.code);
    hang_up(conn);
    if (conn->asked)
        answer(conn, &failed);
    else if (was_open && conn->lost_cb != NULL)
        conn->lost_cb(conn, failed.code, failed.text);
}

/* --- queries ---------------------------------------------------------------------------------- */

static void on_ready(uv_poll_t *poll, int status, int events);

static bool watch(struct ha_pg_conn *conn, int events)
{
    int fd = PQsocket(conn->pg);

    if (conn->poll == NULL) {
        conn->poll = calloc(1, sizeof(*conn->poll));
        if (conn->poll == NULL || fd < 0 || uv_poll_init(conn->loop, conn->poll, fd) != 0) {
            free(conn->poll);
            conn->poll = NULL;
            return false;
        }
        conn->poll->data = conn;
        conn->open_handles++;
    }
    return uv_poll_start(conn->poll, events, on_ready) == 0;
}

/* False: the connection has ended. */
static bool flush(struct ha_pg_conn *conn)
{
    int left = PQflush(conn->pg);

    if (left >= 0 && watch(conn, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE))
        return true;
    if (left < 0)
        fail(conn, HA_OK, PQerrorMessage(conn->pg));
    else
        fail(conn, HA_EIO, "the socket cannot be watched");
    return false;
}

static void send_query(struct ha_pg_conn *conn)
{
    bool sent;

    if (conn->sql == NULL) {
        fail(conn, HA_ENOMEM, "no memory for a query");
        return;
    }
    sent = PQsendQuery(conn->pg, conn->sql) == 1;
    forget_query(conn);
    if (!sent)
        fail(conn, HA_OK, PQerrorMessage(conn->pg));
    else
        (void)flush(conn);
}

/* All of the answer is here. */
static void finish_query(struct ha_pg_conn *conn)
{
    struct ha_pg_answer done = {.fresh = conn->fresh, .rows = conn->rows};
    const char *state =
        conn->rows != NULL ? PQresultErrorField(conn->rows, PG_DIAG_SQLSTATE) : NULL;
    const char *text =
        conn->rows != NULL ? PQresultErrorField(conn->rows, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    PGresult *rows = conn->rows;

    conn->rows = NULL;
    conn->fresh = false;
    if (state != NULL || rows == NULL || PQresultStatus(rows) == PGRES_FATAL_ERROR) {
        done.code = HA_EIO;
        done.rows = NULL;
        done.text = text != NULL ? text : "no answer";
        if (state != NULL)
            (void)ha_text_copy(done.state, sizeof(done.state), state); /* always five */
    }
    answer(conn, &done);
    PQclear(rows);
}

static void take_results(struct ha_pg_conn *conn)
{
    while (PQisBusy(conn->pg) == 0) {
        PGresult *rows = PQgetResult(conn->pg);

        if (rows == NULL) {
            if (conn->asked)
                finish_query(conn);
            return;
        }
        /* Of several statements the last counts, but an error is never covered up. */
        if (conn->rows != NULL && PQresultStatus(conn->rows) == PGRES_FATAL_ERROR) {
            PQclear(rows);
            continue;
        }
        PQclear(conn->rows);
        conn->rows = rows;
    }
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct ha_pg_conn *conn = poll->data;

    if (conn->poll != poll)
        return; /* closing */
    if (conn->state == HA_PG_CONNECTING) {
        connect_step(conn);
        return;
    }
    if (status < 0 || PQconsumeInput(conn->pg) != 1) {
        fail(conn, HA_OK, PQerrorMessage(conn->pg));
        return;
    }
    if ((events & UV_WRITABLE) != 0 && !flush(conn))
        return;
    if (!conn->asked && PQisBusy(conn->pg) == 0) {
        PGresult *rows = PQgetResult(conn->pg); /* what a server says unasked is good-bye */
        bool gone = rows != NULL || PQstatus(conn->pg) != CONNECTION_OK;

        PQclear(rows);
        if (gone)
            fail(conn, HA_ECLOSED, PQerrorMessage(conn->pg));
        return;
    }
    take_results(conn);
}

/* --- connecting ------------------------------------------------------------------------------- */

static void ignore_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

/* The postmaster is who called listen() on the UNIX socket. */
static void learn_server_pid(struct ha_pg_conn *conn)
{
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);

    conn->server_pid = 0;
    if (conn->target.socket_dir[0] != '\0' &&
        getsockopt(PQsocket(conn->pg), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
        conn->server_pid = peer.pid;
}

/* What libpq is about to read. Whoever answers in the server's place may ask for the password
 * itself; libpq before 16 cannot be told not to give it. */
static bool is_asked_in_clear(const struct ha_pg_conn *conn)
{
    unsigned char bytes[PEEK_SIZE];
    ssize_t size;

    if (!conn->may_ask_in_clear || PQstatus(conn->pg) != CONNECTION_AWAITING_RESPONSE ||
        PQsslInUse(conn->pg) == 1)
        return false;
    size = recv(PQsocket(conn->pg), bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    return size > 0 && ha_pg_asks_in_clear(bytes, (size_t)size);
}

static void connect_step(struct ha_pg_conn *conn)
{
    PostgresPollingStatusType step;

    unwatch(conn);
    if (is_asked_in_clear(conn)) {
        fail(conn, HA_EAUTH, "asks for the password in the clear, and there is no TLS");
        return;
    }
    step = PQconnectPoll(conn->pg);
    switch (step) {
    case PGRES_POLLING_READING:
    case PGRES_POLLING_WRITING:
        if (!watch(conn, step == PGRES_POLLING_READING ? UV_READABLE : UV_WRITABLE))
            fail(conn, HA_EIO, "the socket cannot be watched");
        return;
    case PGRES_POLLING_OK:
        conn->state = HA_PG_OPEN;
        conn->fresh = true;
        learn_server_pid(conn);
        if (PQsetnonblocking(conn->pg, 1) != 0)
            fail(conn, HA_EIO, "the connection cannot be made non-blocking");
        else if (conn->asked)
            send_query(conn);
        else
            (void)flush(conn);
        return;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
        break;
    }
    fail(conn, HA_OK, PQerrorMessage(conn->pg));
}

static void begin_connect(struct ha_pg_conn *conn, const char *addrs)
{
    const struct ha_pg_target *target = &conn->target;
    const char *options = target->replication || target->as_client
                              ? NULL
                              : "-c statement_timeout=0 -c synchronous_commit=local";
    char port[8];
    bool may_ask = addrs != NULL && !target->tls && target->password[0] != '\0';
    bool refuses_clear = may_ask && PQlibVersion() >= 160000;
    const char *keys[] = {addrs != NULL ? "hostaddr" : "host",
                          "port",
                          "user",
                          "password",
                          "dbname",
                          "sslmode",
                          "gssencmode",
                          "tcp_user_timeout",
                          "application_name",
                          "client_encoding",
                          refuses_clear ? "require_auth" : "client_encoding",
                          "options",
                          target->replication || target->reserved ? "replication" : NULL,
                          NULL};
    const char *values[] = {addrs != NULL ? addrs : target->socket_dir,
                            port,
                            target->user[0] != '\0' ? target->user : NULL,
                            target->password[0] != '\0' ? target->password : NULL,
                            "postgres",
                            addrs == NULL ? "disable"
                            : target->tls ? "require"
                                          : "prefer",
                            "disable",
                            USER_TIMEOUT_MS,
                            target->name != NULL ? target->name : "hafailover",
                            "UTF8",
                            refuses_clear ? "!password" : "UTF8",
                            options,
                            target->reserved ? "database" : "true",
                            NULL};

    (void)ha_text_format(port, sizeof(port), "%" PRIu16, target->port);
    conn->pg = PQconnectStartParams(keys, values, 0);
    if (conn->pg == NULL) {
        fail(conn, HA_ENOMEM, "no memory for a connection");
        return;
    }
    conn->state = HA_PG_CONNECTING;
    conn->fresh = true;
    conn->may_ask_in_clear = may_ask;
    (void)PQsetErrorVerbosity(conn->pg, PQERRORS_VERBOSE);
    (void)PQsetNoticeReceiver(conn->pg, ignore_notice, NULL);
    if (PQstatus(conn->pg) == CONNECTION_BAD)
        fail(conn, HA_OK, PQerrorMessage(conn->pg));
    else if (!watch(conn, UV_WRITABLE))
        fail(conn, HA_EIO, "the socket cannot be watched");
}

static void on_resolved(struct ha_dns_request *request, int code)
{
    struct ha_pg_conn *conn = request->data;
    size_t at = 0;

    conn->resolving = false;
    if (conn->closing) {
        if (--conn->open_handles == 0)
            conn->closed_cb(conn);
        return;
    }
    if (conn->state != HA_PG_RESOLVING)
        return; /* dropped meanwhile */
    conn->state = HA_PG_IDLE;
    if (!conn->asked)
        return;
    if (code != HA_OK) {
        fail(conn, HA_EUNREACH, request->err.text);
        return;
    }
    conn->addrs[0] = '\0';
    for (unsigned i = 0; i < request->addr_count; i++) {
        const struct ha_addr *addr = &request->addrs[i];
        char text[INET6_ADDRSTRLEN];
        const void *bytes = addr->sa.sa_family == AF_INET ? (const void *)&addr->in.sin_addr
                                                          : (const void *)&addr->in6.sin6_addr;

        if (uv_inet_ntop(addr->sa.sa_family, bytes, text, sizeof(text)) == 0 &&
            ha_text_append(conn->addrs, sizeof(conn->addrs), "%s%s", at > 0 ? "," : "", text) ==
                HA_OK)
            at++;
    }
    begin_connect(conn, conn->addrs);
}

static void begin(struct ha_pg_conn *conn)
{
    struct ha_addr addr;

    if (conn->target.socket_dir[0] != '\0') {
        begin_connect(conn, NULL);
    } else if (ha_addr_from_ip(conn->target.host, conn->target.port, &addr) == HA_OK) {
        begin_connect(conn, conn->target.host);
    } else if (conn->dns == NULL) {
        fail(conn, HA_EUNREACH, "its address is not numeric");
    } else if (conn->resolving) {
        conn->state = HA_PG_RESOLVING; /* of the query before; it serves this one too */
    } else {
        conn->state = HA_PG_RESOLVING;
        conn->resolving = true;
        conn->request.data = conn;
        ha_dns_start(conn->dns, &conn->request, conn->target.host, conn->target.port, RESOLVE_MS,
                     on_resolved);
    }
}

static void on_kick(uv_timer_t *timer)
{
    struct ha_pg_conn *conn = timer->data;

    if (!conn->asked)
        return;
    if (conn->state == HA_PG_OPEN)
        fail(conn, HA_OK, PQerrorMessage(conn->pg)); /* the bytes could not be sent */
    else if (conn->state == HA_PG_IDLE)
        begin(conn);
}

/* --- for owners ------------------------------------------------------------------------------- */

void ha_pg_conn_init(struct ha_pg_conn *conn, uv_loop_t *loop, struct ha_dns *dns,
                     const struct ha_pg_target *target)
{
    memset(conn, 0, sizeof(*conn));
    conn->loop = loop;
    conn->dns = dns;
    conn->target = *target;
    conn->kick.data = conn;
    (void)uv_timer_init(loop, &conn->kick); /* always 0 */
    conn->open_handles = 1;
}

int ha_pg_conn_ask(struct ha_pg_conn *conn, const char *sql, ha_pg_conn_cb cb, void *data)
{
    if (conn->closing)
        return HA_ECLOSED;
    if (conn->asked)
        return HA_EBUSY;
    if (strlen(sql) >= HA_PG_SQL_SIZE)
        return HA_EFULL;
    assert(conn->sql == NULL);
    if (conn->state != HA_PG_OPEN)
        conn->sql = strdup(sql); /* where there is no memory, that is told when it would be sent */
    conn->asked = true;
    conn->cb = cb;
    conn->cb_data = data;
    if (conn->state == HA_PG_CONNECTING || conn->state == HA_PG_RESOLVING)
        return HA_OK; /* it is sent when that has ended */
    /* The bytes go at once; a failure is told from the loop, never from inside this call. */
    if (conn->state == HA_PG_OPEN && PQsendQuery(conn->pg, sql) == 1) {
        int left = PQflush(conn->pg);

        if (left == 0 || (left > 0 && watch(conn, UV_READABLE | UV_WRITABLE)))
            return HA_OK;
    }
    (void)uv_timer_start(&conn->kick, on_kick, 0, 0);
    return HA_OK;
}

void ha_pg_conn_drop(struct ha_pg_conn *conn)
{
    conn->asked = false;
    hang_up(conn);
}

void ha_pg_conn_retarget(struct ha_pg_conn *conn, const struct ha_pg_target *target)
{
    ha_pg_conn_drop(conn);
    conn->target = *target;
}

static void on_kick_closed(uv_handle_t *handle)
{
    struct ha_pg_conn *conn = handle->data;

    assert(conn->open_handles > 0);
    conn->open_handles--;
    if (conn->open_handles == 0)
        conn->closed_cb(conn);
}

void ha_pg_conn_close(struct ha_pg_conn *conn)
{
    assert(!conn->closing);
    conn->closing = true;
    ha_pg_conn_drop(conn);
    if (conn->resolving) {
        conn->open_handles++;
        ha_dns_cancel(&conn->request);
    }
    uv_close((uv_handle_t *)&conn->kick, on_kick_closed);
    explicit_bzero(conn->target.password, sizeof(conn->target.password));
}

/* --- what errors mean ------------------------------------------------------------------------- */

static bool is_class(const struct ha_pg_answer *answer, const char *class)
{
    return strncmp(answer->state, class, strlen(class)) == 0;
}

enum ha_answer ha_pg_answer_of(const struct ha_pg_answer *answer)
{
    if (answer->code == HA_OK)
        return HA_ANSWER_OK;
    if (is_class(answer, "57P03")) /* starting up, recovering, shutting down */
        return HA_ANSWER_STARTING;
    if (is_class(answer, "53300"))
        return HA_ANSWER_FULL;
    if (is_class(answer, "28") || is_class(answer, "42501") || is_class(answer, "3D"))
        return HA_ANSWER_DENIED;
    if (is_class(answer, "57P")) /* ended by an administrator, or because another one crashed */
        return HA_ANSWER_CLOSED;
    if (answer->state[0] != '\0')
        return HA_ANSWER_BUSY; /* alive, and it cannot do what every server can */
    switch (answer->code) {
    case HA_EREFUSED:
        return HA_ANSWER_REFUSED;
    case HA_EUNREACH:
        return HA_ANSWER_UNREACHABLE;
    case HA_ECLOSED:
        return HA_ANSWER_CLOSED;
    case HA_EAUTH:
    case HA_EDENIED:
        return HA_ANSWER_DENIED;
    default:
        return HA_ANSWER_NONE;
    }
}

int ha_pg_code_of(const struct ha_pg_answer *answer)
{
    switch (ha_pg_answer_of(answer)) {
    case HA_ANSWER_OK:
        return HA_OK;
    case HA_ANSWER_STARTING:
    case HA_ANSWER_FULL:
        return HA_EBUSY;
    case HA_ANSWER_DENIED:
        return answer->code == HA_EAUTH ? HA_EAUTH : HA_EDENIED;
    case HA_ANSWER_BUSY:
        return HA_EIO;
    case HA_ANSWER_REFUSED:
        return HA_EREFUSED;
    case HA_ANSWER_UNREACHABLE:
        return HA_EUNREACH;
    case HA_ANSWER_CLOSED:
        return HA_ECLOSED;
    case HA_ANSWER_NONE:
        break;
    }
    return answer->code == HA_OK ? HA_EIO : answer->code;
}

int ha_pg_quote(const char *text, char *to, size_t size)
{
    size_t at = 0;

    for (; *text != '\0'; text++) {
        if (at + 3 > size)
            return HA_EFULL;
        if (*text == '\'')
            to[at++] = '\'';
        to[at++] = *text;
    }
    if (at >= size)
        return HA_EFULL;
    to[at] = '\0';
    return HA_OK;
}
