/* agents/postgresql/server.h - the server as processes and files of this host.
 *
 * Signals and small reads run in place; everything that may take long is a process or runs on a
 * worker thread (files.h, job.h). */
#ifndef HA_AGENTS_POSTGRESQL_SERVER_H
#define HA_AGENTS_POSTGRESQL_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "agents/postgresql/conn.h"
#include "lib/io/process.h"

struct ha_link_spec;

/* Where its files and programs are, and as whom they are used. */
struct ha_pg_server {
    char data_dir[HA_PG_PATH_SIZE]; /* empty: the server cannot be started from here */
    char work_dir[HA_PG_PATH_SIZE]; /* beside it: what must outlive a rewind or copy */
    char bin_dir[HA_PG_PATH_SIZE];
    char config_file[HA_PG_PATH_SIZE]; /* empty: in data_dir */
    char start_command[HA_PG_PATH_SIZE], stop_command[HA_PG_PATH_SIZE];
    char socket_lock[HA_PG_PATH_SIZE + 32]; /* of its UNIX socket; empty: not known */
    char replication_user[64];
    char replication_password[HA_PG_SECRET_SIZE];
    bool resolved; /* data_dir leads through no link any more, and work_dir lies beside it */
    bool set_ids;  /* we are root, it must not be */
    uid_t uid;
    gid_t gid;
};

/* HA_EINVAL with a sentence: a path too long, or no such user. */
int ha_pg_server_init(struct ha_pg_server *server, const struct ha_link_spec *spec,
                      struct ha_err *err);

/* Blocking, for worker threads: where data_dir really is. Its own folder and a copy lie beside the
 * data themselves, on their disk. */
void ha_pg_server_find(const char *data_dir, char ret[HA_PG_PATH_SIZE]);
/* On the loop: take that. */
void ha_pg_server_found(struct ha_pg_server *server, const char *real);

/* Blocking: the postmaster named in postmaster.pid, if it lives: else 0. */
int32_t ha_pg_server_pid(const struct ha_pg_server *server);

/* Blocking: whether that has been told to end, by whomever. In a smart shutdown it serves those who
 * are connected, also us, for as long as they stay, and nobody else. */
bool ha_pg_server_is_ending(const struct ha_pg_server *server);

/* Whether process @pid that started at @start works still: one that has ended and that nobody has
 * waited for yet does not. */
bool ha_pg_server_lives(int32_t pid, uint64_t start);

/* Whether that process is stopped, as by SIGSTOP. */
bool ha_pg_server_is_stopped(int32_t pid, uint64_t start);

enum ha_pg_stop { HA_PG_STOP_FAST, HA_PG_STOP_IMMEDIATE };

/* Ask postmaster @pid to stop; no process is made for that. False: it is gone. */
bool ha_pg_server_signal(int32_t pid, enum ha_pg_stop how);

/* End postmaster @pid and every child of it now, also where they are stopped. */
void ha_pg_server_end(int32_t pid);

/* Blocking, for worker threads. Kill whatever still works in the data directory (or on it: a rewind
 * or copy that an agent which was killed left behind) after its
 * postmaster has gone: a backend in the middle of a long statement does not notice that by itself,
 * and would answer a client of this host. HA_EBUSY: there was something (ask again); HA_OK:
 * nothing, and a lock file that names a process which is no more has been removed. Never while a
 * postmaster lives: HA_EEXIST. */
int ha_pg_server_sweep(const struct ha_pg_server *server);

/* Blocking, for worker threads. Whether new clients could write: write a block into the data
 * directory and have the disk take it. HA_EIO with what the system says; whether the file system
 * has room counts as the server sees it, not as root does. */
int ha_pg_server_try_write(const struct ha_pg_server *server, struct ha_err *err);

struct ha_pg_control {
    uint64_t system;
    uint32_t timeline;
    uint64_t checkpoint; /* its location */
    bool was_primary;    /* by its state: not a standby's */
    bool clean;          /* a primary's, shut down in order */
    bool at_rest;        /* shut down in order, a primary's or a standby's */
    bool backup;         /* a base backup or rewound copy that has not started yet */
    bool exists;
};

/* Take what pg_controldata says in @text. HA_EPROTO. */
int ha_pg_control_parse(const char *text, struct ha_pg_control *ret);

/* Run a program of bin_dir as the database's user; argv[0] is its name. As ha_process_start. */
int ha_pg_server_run(const struct ha_pg_server *server, struct ha_process_run **ret,
                     uv_loop_t *loop, const char *const *argv, uint32_t deadline_ms,
                     ha_process_cb cb, void *data);

/* The conninfo of a standby that follows @host, or of a tool that reads there. */
int ha_pg_server_conninfo(const struct ha_pg_server *server, const char *host, uint16_t port,
                          const char *name, const char *more, char *to, size_t size);

/* The slot of member @name on whatever it follows. */
void ha_pg_slot_name(const char *name, char *to, size_t size);

#endif /* HA_AGENTS_POSTGRESQL_SERVER_H */
