/* agents/postgresql/act_follow.h - the parts of FOLLOW; only act_*.c include this.
 *
 * Each function that takes an act and gives nothing back is a step: it ends in the next one. */
#ifndef HA_AGENTS_POSTGRESQL_ACT_FOLLOW_H
#define HA_AGENTS_POSTGRESQL_ACT_FOLLOW_H

#include "agents/postgresql/act.h"

/* act_follow.c: see what the server is now, and go on from there. */
void ha_pg_follow_look(struct ha_pg_act *act);

/* act_stopped.c: no server runs. */
void ha_pg_follow_stopped(struct ha_pg_act *act);
/* On a thread: the settings of a standby as the order says, under a name that does not count. */
int ha_pg_follow_write_uncompared(struct ha_pg_work *work);
/* Start it as a standby. */
void ha_pg_follow_start(struct ha_pg_act *act);

/* act_rejoin.c: data that went its own way from @fork of @timeline on; 0: not known. */
void ha_pg_follow_rewind(struct ha_pg_act *act, uint32_t timeline, uint64_t fork);
/* Only by a copy can it follow again. */
void ha_pg_follow_copy(struct ha_pg_act *act, const char *why, uint32_t timeline, uint64_t fork);
/* Go on with a job of an earlier order, or end it. */
void ha_pg_follow_job(struct ha_pg_act *act, enum ha_pg_job_kind kind, uint32_t timeline,
                      uint64_t fork);

/* act_upstream.c */
bool ha_pg_follow_has_upstream(const struct ha_pg_act *act);
/* primary_conninfo of a standby as @ask says; empty without an upstream. HA_EFULL. */
int ha_pg_follow_conninfo(const struct ha_pg_server *server, const struct ha_act *ask, char *to,
                          size_t size);
/* What connects first tells how far it has replayed, also where that is in another history than the
 * upstream's: until they were compared its name is not one that a commit may wait for. */
void ha_pg_follow_uncount(struct ha_act *ask);
void ha_pg_follow_aim(struct ha_pg_act *act, bool replication);
/* Who it is, and its history. */
void ha_pg_follow_ask_upstream(struct ha_pg_act *act, ha_pg_act_step step);
/* True: the act has ended with that. */
bool ha_pg_follow_is_other_cluster(struct ha_pg_act *act, uint64_t system);
/* Read the history of our @timeline, and what is noted beside the data: act->found. */
void ha_pg_follow_read_history(struct ha_pg_act *act, uint32_t timeline, ha_pg_act_step step);
/* Then: where the upstream left @timeline; false: it never was on it. The number alone would not
 * do: two promotions that did not know of each other give the same. */
bool ha_pg_follow_fork(const struct ha_pg_act *act, uint32_t timeline, uint64_t *ret);
/* Who is fetched from, and the history that it has. To be freed; NULL: no memory. */
char *ha_pg_follow_source(const struct ha_pg_act *act);

#endif /* HA_AGENTS_POSTGRESQL_ACT_FOLLOW_H */
