/* raft/node.h - one watcher's seat in the replicated log: bytes in, the same bytes out everywhere.
 *
 * Shell. Everything here belongs to the loop thread that ha_raft_open was given; hooks are called
 * there too, never from inside the function that caused them (ha_raft_start's restore excepted),
 * and may call back into this header, except ha_raft_close from inside a hook's borrowed data.
 * Payloads are opaque. What the log promises:
 *   - every node applies the same bytes at the same index, once per life of the process;
 *   - a proposal reported committed is applied by every node that lives long enough;
 *   - `role(true)` comes only after an entry of this node's own term is committed and applied.
 * A node that can no longer keep that (a disk error, a diverged hash, a broken library) calls
 * `fatal` and ends the process. Times are milliseconds. */
#ifndef HA_RAFT_NODE_H
#define HA_RAFT_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ha_err;
struct ha_raft; /* opaque */
struct ha_raft_set;
struct ha_stream;
struct ha_tls;
struct uv_loop_s;

#define HA_RAFT_PEERS_MAX 7u
#define HA_RAFT_NAME_SIZE 64u           /* with the terminator */
#define HA_RAFT_ADDRESS_SIZE 280u       /* with the terminator: host up to 255, ":", port */
#define HA_RAFT_ENTRY_MAX (3u << 20)    /* bytes of one proposal: a whole configuration */
#define HA_RAFT_APP_MAX 65536u          /* bytes of one application frame */
#define HA_RAFT_SNAPSHOT_MAX (7u << 20) /* fits one message */
#define HA_RAFT_QUEUE_MAX 1024u         /* own and forwarded proposals waiting or in flight */
#define HA_RAFT_REASON_SIZE 256u

/* A watcher. Ids are 1..HA_RAFT_PEERS_MAX and are never reused for another machine: a watcher that
 * lost its directory comes back under a new id. */
struct ha_raft_peer {
    uint32_t id;
    char name[HA_RAFT_NAME_SIZE];       /* authenticated name, as TLS proves it: "watcher/w1" */
    char address[HA_RAFT_ADDRESS_SIZE]; /* "host:port", "[v6]:port"; a name is looked up on dial */
};

/* Start from ha_raft_options_init, then fill in; zero is not a default. */
struct ha_raft_options {
    uint64_t cluster_id; /* of this installation; foreign frames and directories are refused */
    uint64_t set_id;     /* of the watchers below; 0: the one that a bootstrap of them makes */
    uint32_t own_id;
    uint32_t peer_count;                          /* odd numbers make sense: 1, 3, 5, 7 */
    struct ha_raft_peer peers[HA_RAFT_PEERS_MAX]; /* all watchers, this one too, ascending ids */
    const char *dir;             /* exists, writable, owned by this node alone; borrowed */
    uint32_t election_ms;        /* 300; not below 3 heartbeats */
    uint32_t heartbeat_ms;       /* 50 */
    uint32_t snapshot_threshold; /* 1024 entries */
    uint32_t snapshot_trailing;  /* 256 entries kept behind a snapshot */
    uint32_t propose_timeout_ms; /* 2000: from ha_raft_propose to its outcome */
    uint64_t free_min_bytes;     /* 64 MiB: less free space in @dir refuses proposals here */
    uint64_t seed;               /* of election jitter and back-off; 0 takes one from the kernel */
    bool bootstrap;              /* an empty @dir may become a new voter, this once */
    bool plain;                  /* tests on loopback: no TLS, the hello frame is believed */
    struct ha_tls *tls;          /* to dial peers with; borrowed until closed; NULL with @plain */
};

struct ha_raft_entry {
    uint64_t index; /* of the log; internal entries take indexes too, so there are gaps */
    uint64_t term;
    const void *data; /* borrowed for the call */
    size_t size;      /* exactly as proposed, without padding */
};

enum ha_raft_result {
    HA_RAFT_COMMITTED, /* at `index`; on a follower perhaps not applied here yet */
    HA_RAFT_REFUSED,   /* certainly never applied: queue full, no leader, not enough space */
    HA_RAFT_UNKNOWN,   /* leader lost or deadline passed: may still be applied, or never */
};

struct ha_raft_outcome {
    enum ha_raft_result result;
    int code;        /* HA_OK or why not: HA_EFULL, HA_ENOTLEADER, HA_ETIMEDOUT, HA_EIO... */
    uint64_t index;  /* when committed */
    const char *why; /* a sentence when not; borrowed for the call */
};

struct ha_raft_hooks {
    void *ctx;
    /* A committed entry, in order. Cannot fail: content is judged inside, the same everywhere. */
    void (*apply)(void *ctx, const struct ha_raft_entry *entry);
    /* The whole state after everything applied so far. Gives *ret_data from malloc(), at most
     * HA_RAFT_SNAPSHOT_MAX bytes. HA_EBUSY: not now; entries stay in the log until it is asked
     * again. Any other failure or a larger state is fatal for the node. */
    int (*snapshot)(void *ctx, void **ret_data, size_t *ret_size);
    /* Replace the whole state by what snapshot() gave, which covers all up to @index.
     * Borrows. A failure is fatal. Called from ha_raft_start, or when the leader sends one. */
    int (*restore)(void *ctx, const void *data, size_t size, uint64_t index);
    /* true: this node leads @term and has applied everything committed before it. false: it led
     * and does not any more. Strictly alternating, true first. Not a lease: another may lead
     * already when true is still the last word. */
    void (*role)(void *ctx, bool is_leader, uint64_t term);
    /* Once for each ha_raft_propose that returned HA_OK. */
    void (*outcome)(void *ctx, uint64_t request, const struct ha_raft_outcome *outcome);
    /* An application frame of an authenticated peer; borrows. May be NULL. */
    void (*app)(void *ctx, uint32_t peer, const void *data, size_t size);
    /* The outbound link to a peer came up or went down. May be NULL. */
    void (*link)(void *ctx, uint32_t peer, bool is_up);
    /* The set of watchers this node speaks for has ended, says a peer that moved on to @next, and
     * the entry that ended it is not in this log: this node has no part in the log any more. May
     * come again; may be NULL. Borrows. */
    void (*over)(void *ctx, const struct ha_raft_set *next);
    /* This process must end now, nothing may be flushed or answered. If it returns: abort(). */
    void (*fatal)(void *ctx, int code, const char *why);
};

void ha_raft_options_init(struct ha_raft_options *options);

/* Open and check the directory; blocking, for start-up only. Copies @options and @hooks; gives
 * *ret (ends with ha_raft_close). On failure nothing is left open and *err says what to do:
 *   HA_EINVAL   options: ids, addresses, times, bootstrap of a directory that is not empty
 *   HA_ENOENT   the directory is empty or has lost its state, and bootstrap was not asked for
 *   HA_EEXIST   bootstrap was asked for, and this directory was bootstrapped before
 *   HA_EDENIED  the directory belongs to another cluster, id or set of watchers, or is in use
 *   HA_ECORRUPT what is stored is damaged, cut or has a gap: this node may not vote any more
 *   HA_EFULL    less than free_min_bytes free
 *   HA_EIO      the disk or SQLite says no */
int ha_raft_open(struct uv_loop_s *loop, const struct ha_raft_options *options,
                 const struct ha_raft_hooks *hooks, struct ha_raft **ret, struct ha_err *err);

/* Restore the last snapshot (hook), dial the peers, take part. Once. HA_EIO, HA_ECORRUPT: close
 * the node then. */
int ha_raft_start(struct ha_raft *raft, struct ha_err *err);

/* End everything: open proposals get HA_RAFT_UNKNOWN, reads HA_ECANCELED, links close, the last
 * write finishes. @cb is the last touch; the memory is gone when it runs. */
typedef void (*ha_raft_close_cb)(void *arg);
void ha_raft_close(struct ha_raft *raft, ha_raft_close_cb cb, void *arg);

/* Ask for @data to be appended; copied. @request comes back in the outcome hook, not before the
 * next loop turn and within propose_timeout_ms. Works on every node: a follower forwards to the
 * leader, once. Order is kept among proposals of one node that the same leader commits.
 *   HA_EINVAL  empty, or over HA_RAFT_ENTRY_MAX
 *   HA_EFULL   HA_RAFT_QUEUE_MAX proposals, or 16 MiB of them, are open
 *   HA_ECLOSED not started, or closing */
int ha_raft_propose(struct ha_raft *raft, const void *data, size_t size, uint64_t request);

/* Learn an index such that everything committed anywhere before this call is at or below it: the
 * leader commits a barrier for it, after this call. @cb runs once, not before the next loop turn,
 * when this node has applied that index (HA_OK), or with HA_ETIMEDOUT after @deadline_ms, or
 * HA_ECANCELED on close. Lost leaders are retried inside the deadline. HA_EFULL, HA_ECLOSED. */
typedef void (*ha_raft_read_cb)(void *arg, int code, uint64_t index);
int ha_raft_read_index(struct ha_raft *raft, uint32_t deadline_ms, ha_raft_read_cb cb, void *arg);

/* Send @data to a peer's app hook; copied, at most once, unordered with the log, in order with
 * other application frames on one link. HA_EUNREACH: no link now. HA_EFULL: the peer is slow.
 * HA_EINVAL: no such peer, own id, or over HA_RAFT_APP_MAX. */
int ha_raft_send_app(struct ha_raft *raft, uint32_t peer, const void *data, size_t size);

/* True where @name (as TLS proved it) is another configured watcher, or the one that was replaced
 * last, which is only told so: such a stream belongs here. */
bool ha_raft_is_peer(const struct ha_raft *raft, const char *name);

/* Take an accepted, handshaken @stream on which nothing has been read yet. From here on it is
 * ours, also on failure; it is closed when its hello frame is late, foreign or not the peer's. */
void ha_raft_adopt(struct ha_raft *raft, struct ha_stream *stream);

enum ha_raft_role {
    HA_RAFT_FOLLOWER,
    HA_RAFT_CANDIDATE,
    HA_RAFT_LEADER, /* elected, own-term barrier not yet applied */
    HA_RAFT_ACTING, /* leader, barrier applied: what role(true) reported */
};

struct ha_raft_peer_status {
    uint32_t id;
    bool is_self;
    bool connected;        /* outbound link is up */
    uint64_t heard_ago_ms; /* since any frame from it; UINT64_MAX: never. 0 for self */
    uint64_t match_index;  /* as leader: acknowledged by it; else 0 */
    char last_error[HA_RAFT_REASON_SIZE]; /* of its link, or "" */
};

struct ha_raft_status {
    enum ha_raft_role role;
    uint64_t term;
    uint32_t leader_id; /* 0: nobody known */
    uint64_t last_index;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t snapshot_index; /* 0: none */
    uint64_t log_bytes;      /* of the database file */
    uint64_t set_id;         /* of the watchers: a hash of cluster, ids and names */
    uint64_t chain_hash;     /* of all applied entries; equal indexes, equal hashes */
    uint32_t queued;         /* open proposals */
    uint32_t peer_count;
    struct ha_raft_peer_status peers[HA_RAFT_PEERS_MAX];
    char last_error[HA_RAFT_REASON_SIZE];
};

void ha_raft_get_status(const struct ha_raft *raft, struct ha_raft_status *ret);

/* The set id of @options, as ha_raft_status has it; for frames of other protocols. */
uint64_t ha_raft_set_id(const struct ha_raft_options *options);

#endif /* HA_RAFT_NODE_H */
