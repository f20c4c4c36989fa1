/* agents/engine.h - what a database engine must be able to do, for watchers and agents alike.
 *
 * Shell. Everything runs on the thread of the spec's loop. A link is one kept-open connection to
 * one database server: it is opened by the first probe or act, kept between them, and opened again
 * by the next one after it broke. A link runs at most one probe and one act at a time; the two may
 * overlap. Each has exactly one callback, never from inside the call that started it, and the
 * callback may start the next one or close the link.
 *
 * A watcher uses probe only. An agent uses all verbs, on the local socket. */
#ifndef HA_AGENTS_ENGINE_H
#define HA_AGENTS_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "lib/core/effect.h"
#include "lib/core/types.h"

struct ha_dns; /* lib/io/dns.h */
struct ha_err;
struct ha_link; /* opaque, one per database server; each engine has its own */
struct ha_tls;  /* lib/io/tls.h */

/* The end of a probe. A database that is dead, hung, busy or refuses us is an answer, not an error.
 */
struct ha_probed {
    int code; /* HA_OK, or HA_ECANCELED when the link was closed: then nothing else is filled */
    struct ha_sample sample;
    int32_t pid; /* of the server process, 0: not known. Means something only in the server's own
                    pid namespace: to an agent on its host, not to a watcher. */
    uint32_t took_ms; /* from the call to the answer */
};

/* One replication connection, as the server names its two ends: what a closed gate still lets
 * through while a switchover drains. */
struct ha_replication {
    struct sockaddr_storage local, remote; /* IPv4 or IPv6 */
};

/* The end of an act. */
struct ha_acted {
    uint32_t service, ticket; /* of the act */
    int code;                 /* the codes of act() below */
    bool sampled;             /* sample and pid were taken after the act, at its end */
    struct ha_sample sample;
    int32_t pid;
    uint32_t replication_count; /* DRAIN: connections of replicas */
    struct ha_replication replications[HA_MEMBERS_MAX];
    char text[HA_TEXT_SIZE]; /* why it failed, or what is worth knowing of its success; or empty */
};

/* @data is the spec's. */
typedef void (*ha_link_probe_cb)(void *data, const struct ha_probed *probed);
typedef void (*ha_link_act_cb)(void *data, const struct ha_acted *acted);
/* An open connection ended (HA_ANSWER_CLOSED) while no probe was under way: a crash is seen here
 * within a millisecond. It may also be an idle timeout or an administrator's kill, so probe at
 * once: refused then means that nobody listens. Never called for a connection the link closed
 * itself. */
typedef void (*ha_link_lost_cb)(void *data, enum ha_answer how, const char *text);
typedef void (*ha_link_close_cb)(void *data);
/* @code as of act(); @text: why not, what is worth knowing, or empty. */
typedef void (*ha_link_prepare_cb)(void *data, int code, const char *text);

/* Where and as whom. Strings are borrowed for the call of open() and copied. */
struct ha_link_spec {
    uv_loop_t *loop;
    void *data;              /* handed to every callback */
    ha_link_lost_cb lost_cb; /* may be NULL */
    const char *socket_path; /* UNIX socket; NULL or empty: host and port */
    const char *host;        /* numeric address, or a name where dns is given */
    struct ha_dns *dns;      /* borrowed until the link has closed; NULL: numeric hosts only */
    uint16_t port;           /* 0: the engine's default */
    const char *user;        /* NULL or empty: the engine's default user */
    const char *password;    /* NULL or empty: no authentication */
    struct ha_tls *tls;      /* borrowed until the link has closed; NULL: in the clear */
    const char *config_file; /* agent: the server's own, NULL or empty: not known */
    const char *data_dir;    /* agent: the server's own, NULL or empty: ask the server */
    bool is_local;           /* agent: this host's database, may be changed by act() */
    /* agent, engines that run the server; NULL or empty: the engine's default, or none */
    const char *bin_dir;       /* its programs */
    const char *os_user;       /* who it runs as, where the agent is root */
    const char *start_command; /* in place of the engine's own way, by the shell */
    const char *stop_command;  /* likewise; returns when the server has been asked to end */
    const char *replication_user;
    const char *replication_password;
};

#define HA_ENGINE_ACT(kind) (1u << (kind)) /* kind: enum ha_order_kind */

struct ha_engine_ops {
    const char *name; /* the word in the configuration */
    enum ha_engine engine;
    uint16_t port_default;
    uint32_t acts; /* HA_ENGINE_ACT of every kind that act() does */

    /* Give a link; it does not connect yet. On failure *link is untouched.
     *   HA_EINVAL  neither socket nor host, or a string that cannot be used
     *   HA_ENOMEM  */
    int (*open)(const struct ha_link_spec *spec, struct ha_link **ret_link, struct ha_err *err);

    /* Ask the database how it is; connects first where there is no open connection, all within
     * @timeout_ms (not 0). A connection that did not answer in time is dropped.
     *   HA_OK      @cb comes, once
     *   HA_EBUSY   a probe is under way; no callback
     *   HA_ECLOSED the link is closing; no callback */
    int (*probe)(struct ha_link *link, uint32_t timeout_ms, ha_link_probe_cb cb);

    /* Change the database as @act (borrowed) says, within its deadline_ms (a duration, not 0).
     * Every act may be repeated: where nothing is left to do, it does nothing and succeeds.
     * HA_OK, HA_EBUSY, HA_ECLOSED as probe; HA_ENOTSUP: a kind outside `acts`, or not is_local. In
     * the callback:
     *   HA_OK        the database is as wanted, as seen in the sample
     *   HA_ECANCELED by act_cancel or close
     *   HA_ETIMEDOUT deadline passed; what was sent may still happen
     *   HA_EREFUSED HA_ECLOSED HA_EUNREACH  no connection, or it broke on the way
     *   HA_EBUSY     alive, but cannot do it now: loading, or a script runs
     *   HA_EAUTH HA_EDENIED  credentials, or rights
     *   HA_ESTALE    the database is not in the role that the act presumes
     *   HA_EPROTO    it answered what cannot be understood
     *   HA_EIO       it refused for another reason, told in the text */
    int (*act)(struct ha_link *link, const struct ha_act *act, ha_link_act_cb cb);

    /* End the act under way, if any, with HA_ECANCELED. What was sent may still happen. */
    void (*act_cancel)(struct ha_link *link);

    /* A primary may have to stop soon: do now what would make that long, within @deadline_ms (not
     * 0). It serves on, and probes and acts may overlap. HA_OK, HA_EBUSY (one is under way),
     * HA_ECLOSED as probe; HA_ENOTSUP: not is_local. NULL: nothing would. */
    int (*prepare)(struct ha_link *link, uint32_t deadline_ms, ha_link_prepare_cb cb);
    /* No callback any more; as close(). What was begun may still go on. */
    void (*prepare_cancel)(struct ha_link *link);

    /* The server with process @pid (0: it has gone, and its number may be somebody else's) must not
     * answer anybody any more, not even on its UNIX socket: end all of it at once. NULL: its
     * process is all there is. */
    void (*halt)(struct ha_link *link, int32_t pid);

    /* End everything: what is under way ends with HA_ECANCELED, then @cb (may be NULL), as the last
     * touch; the link is freed and must not be used after this call. */
    void (*close)(struct ha_link *link, ha_link_close_cb cb);
};

#endif /* HA_AGENTS_ENGINE_H */
