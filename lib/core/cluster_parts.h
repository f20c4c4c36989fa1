/* lib/core/cluster_parts.h - the parts ha_cluster_apply is made of; nobody else includes this.
 *
 * Pure. Each apply function changes nothing when it refuses. */
#ifndef HA_CORE_CLUSTER_PARTS_H
#define HA_CORE_CLUSTER_PARTS_H

#include "lib/core/cluster.h"

struct ha_err;

/* The record under way of a service, or NULL when the ring has moved past it. */
struct ha_decision *ha_cluster_decision_of(struct ha_cluster *cluster,
                                           const struct ha_service *service);
struct ha_decision *ha_cluster_decision_open(struct ha_cluster *cluster, struct ha_service *service,
                                             enum ha_reason reason, const char *text);
/* Put a notice into the outbox for every webhook that wants it; @service may be NULL. */
void ha_cluster_notify(struct ha_cluster *cluster, const struct ha_service *service,
                       enum ha_notice_kind kind, const char *text);

/* The same about a decision that need not be the last. */
void ha_cluster_notify_of(struct ha_cluster *cluster, const struct ha_service *service,
                          const struct ha_decision *decision, enum ha_notice_kind kind,
                          const char *text);

/* diverged.c */
int ha_cluster_apply_diverged(struct ha_cluster *cluster, const struct ha_command_diverged *command,
                              struct ha_err *err);

/* cluster_set.c */
int ha_cluster_apply_watchers(struct ha_cluster *cluster, const struct ha_command_watchers *set,
                              struct ha_err *err);
int ha_cluster_apply_replace(struct ha_cluster *cluster, const struct ha_command_replace *command,
                             struct ha_err *err);
int ha_cluster_apply_settled(struct ha_cluster *cluster, const struct ha_command_settled *command,
                             struct ha_err *err);

/* cluster_config.c */
int ha_cluster_apply_config(struct ha_cluster *cluster, const struct ha_command_config *command,
                            struct ha_err *err);

/* cluster_failover.c */
int ha_cluster_apply_give_up(struct ha_cluster *cluster, const struct ha_command_give_up *command,
                             struct ha_err *err);
int ha_cluster_apply_begin(struct ha_cluster *cluster, const struct ha_command_begin *command,
                           struct ha_err *err);
int ha_cluster_apply_fenced(struct ha_cluster *cluster, const struct ha_command_fenced *command,
                            struct ha_err *err);
int ha_cluster_apply_promote(struct ha_cluster *cluster, enum ha_command_kind kind,
                             const struct ha_command_promote *command, struct ha_err *err);
int ha_cluster_apply_outcome(struct ha_cluster *cluster, enum ha_command_kind kind,
                             const struct ha_command_outcome *command, struct ha_err *err);

/* cluster_sync.c */
int ha_cluster_apply_sync(struct ha_cluster *cluster, enum ha_command_kind kind,
                          const struct ha_command_sync *command, struct ha_err *err);
/* An epoch opens: nothing of its sets is known yet. */
void ha_cluster_sync_open(struct ha_service *service, uint64_t index);
/* Whether the words of @members (bits) prove what the sets acknowledged; sets in *err. */
int ha_cluster_sync_check(const struct ha_service *service, uint32_t members, struct ha_err *err);

/* cluster_hold.c */
int ha_cluster_apply_hold(struct ha_cluster *cluster, enum ha_command_kind kind,
                          const struct ha_command_hold *command, struct ha_err *err);
/* The log may have forgotten by whose promises the lease is kept: any other agent's. */
void ha_cluster_hold_rebuild(struct ha_service *service);
/* Whether a configuration may take the place of @old's as far as these sets go. */
int ha_cluster_hold_check(const struct ha_service *old, const struct ha_service_config *config,
                          struct ha_err *err);

/* Begin the end of a service that left the configuration. */
void ha_cluster_retire(struct ha_cluster *cluster, struct ha_service *service);
/* All that was given may have been forgotten: claim @epoch + 1, and fence what is open. */
void ha_cluster_claim_above(struct ha_cluster *cluster, struct ha_service *service, uint64_t epoch,
                            const char *why);
/* A new service claims its first epoch. */
void ha_cluster_found(struct ha_cluster *cluster, struct ha_service *service);

#endif /* HA_CORE_CLUSTER_PARTS_H */
