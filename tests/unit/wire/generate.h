/* tests/unit/wire/generate.h - structs full of valid values out of a seed.
 *
 * `full` sets every count and string to its limit; without it they vary. Memory is zeroed first, so
 * that equal content is equal bytes. */
#ifndef HA_TESTS_UNIT_WIRE_GENERATE_H
#define HA_TESTS_UNIT_WIRE_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/prng.h"
#include "lib/core/cluster.h"
#include "lib/core/command.h"
#include "lib/core/message.h"
#include "lib/wire/message.h"

struct gen {
    struct ha_prng prng;
    bool full;
};

void gen_seed(struct gen *g, uint64_t seed, bool full);
uint32_t gen_below(struct gen *g, uint32_t bound);

/* Any configuration that the codec takes; it makes no sense. */
void gen_config(struct gen *g, struct ha_config *config, uint32_t services);
/* One that ha_config_check takes too. */
void gen_sound_config(struct gen *g, struct ha_config *config, uint32_t services);

/* HA_COMMAND_CONFIG borrows @config and @to, which holds HA_CONFIG_TEXT_MAX + 1 bytes. */
void gen_command(struct gen *g, enum ha_command_kind kind, struct ha_command *command,
                 struct ha_config *config, char *to);

void gen_cluster(struct gen *g, struct ha_cluster *cluster, uint32_t wanted);

void gen_status(struct gen *g, struct ha_status *status);
void gen_promise(struct gen *g, struct ha_promise *promise);
/* Any type but the batches. */
void gen_message(struct gen *g, enum ha_message_type type, struct ha_message *message);

#endif /* HA_TESTS_UNIT_WIRE_GENERATE_H */
