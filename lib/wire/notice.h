/* lib/wire/notice.h - a notice as the body of a webhook: CloudEvents 1.0 JSON, and its signature.
 *
 * Pure. id "<cluster>-<seq>", source "/hafailover/<cluster>", type "io.hafailover.<kind>", subject
 * the service (left out without one), time RFC 3339 with milliseconds; data {service, epoch, from,
 * to, lost_bytes, text} and, with the decision it tells of, {decision, reason, verdict, fence,
 * agreeing, waited_ms, attempts, stages, candidates, found_lost_bytes once the old primary has come
 * back}. */
#ifndef HA_WIRE_NOTICE_H
#define HA_WIRE_NOTICE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/core/cluster.h"

/* The body of @notice; @decision may be NULL. Bytes that are not UTF-8 become '?'. Gives *ret_body
 * (free), terminated. HA_ENOMEM. */
int ha_notice_body(const char *cluster, const struct ha_notice *notice,
                   const struct ha_decision *decision, char **ret_body);

#define HA_SIGNATURE_SIZE 65 /* lower-case hexadecimal, with terminator */

/* HMAC-SHA256 over "<timestamp_s>.<body>" with @key: a receiver checks the body and refuses an old
 * timestamp. HA_EINVAL: empty key. HA_ENOMEM. HA_EIO: the crypto library says no. */
int ha_notice_sign(const void *key, size_t key_size, uint64_t timestamp_s, const char *body,
                   char ret_signature[HA_SIGNATURE_SIZE]);

/* 2026-01-31T23:59:59.123Z. */
#define HA_TIME_TEXT_SIZE 32
void ha_time_text(uint64_t wall_ms, char ret_text[HA_TIME_TEXT_SIZE]);

#endif /* HA_WIRE_NOTICE_H */
