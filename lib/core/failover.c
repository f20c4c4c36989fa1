#include "lib/core/failover.h"

#include "lib/base/check.h"

HA_ENUM_DEFINE(move, HA_MOVE_MAP)

static const struct ha_failover_row rows[] = {
    {HA_STATE_STEADY, HA_MOVE_BEGIN, HA_STATE_FENCING, "the primary is to be replaced"},
    {HA_STATE_STEADY, HA_MOVE_GIVE_UP, HA_STATE_SELECTING, "the primary gave its epoch up itself"},
    {HA_STATE_FENCING, HA_MOVE_BEGIN, HA_STATE_FENCING, "a switchover has become a failover"},
    {HA_STATE_FENCING, HA_MOVE_GIVE_UP, HA_STATE_SELECTING, "the old primary reports: gate closed"},
    {HA_STATE_FENCING, HA_MOVE_FENCED, HA_STATE_SELECTING, "the old epoch can no longer serve"},
    {HA_STATE_SELECTING, HA_MOVE_BEGIN, HA_STATE_SELECTING, "an operator names the target"},
    {HA_STATE_SELECTING, HA_MOVE_PROMOTE, HA_STATE_PROMOTING, "a candidate is chosen"},
    {HA_STATE_SELECTING, HA_MOVE_NONE, HA_STATE_NO_CANDIDATE, "nobody can be promoted"},
    {HA_STATE_PROMOTING, HA_MOVE_GIVE_UP, HA_STATE_SELECTING, "the candidate gave up: the next"},
    {HA_STATE_PROMOTING, HA_MOVE_PROMOTED, HA_STATE_OPENING, "it is primary: lease may be given"},
    {HA_STATE_PROMOTING, HA_MOVE_FAILED, HA_STATE_SELECTING,
     "it could not: never opened, the next"},
    {HA_STATE_OPENING, HA_MOVE_BEGIN, HA_STATE_FENCING, "it may hold promises: fence it first"},
    {HA_STATE_OPENING, HA_MOVE_GIVE_UP, HA_STATE_SELECTING, "the new primary gave up"},
    {HA_STATE_OPENING, HA_MOVE_OPENED, HA_STATE_REPOINTING, "lease, gate and address are there"},
    {HA_STATE_REPOINTING, HA_MOVE_BEGIN, HA_STATE_FENCING, "the new primary failed in turn"},
    {HA_STATE_REPOINTING, HA_MOVE_GIVE_UP, HA_STATE_SELECTING, "the new primary gave up"},
    {HA_STATE_REPOINTING, HA_MOVE_REPOINTED, HA_STATE_STEADY, "the others follow"},
    {HA_STATE_NO_CANDIDATE, HA_MOVE_BEGIN, HA_STATE_SELECTING, "an operator names the target"},
    {HA_STATE_NO_CANDIDATE, HA_MOVE_PROMOTE, HA_STATE_PROMOTING, "a candidate has appeared"},
    {HA_STATE_NO_CANDIDATE, HA_MOVE_NONE, HA_STATE_NO_CANDIDATE, "the reasons have changed"},
};

/* Bit per move that means nothing in a state: late, doubled or superseded entries. */
#define B(move) (1u << (move))
static const unsigned ignored[HA_STATE_COUNT] = {
    [HA_STATE_STEADY] = B(HA_MOVE_FENCED) | B(HA_MOVE_PROMOTE) | B(HA_MOVE_NONE) |
                        B(HA_MOVE_PROMOTED) | B(HA_MOVE_FAILED) | B(HA_MOVE_OPENED) |
                        B(HA_MOVE_REPOINTED),
    [HA_STATE_FENCING] = B(HA_MOVE_PROMOTE) | B(HA_MOVE_NONE) | B(HA_MOVE_PROMOTED) |
                         B(HA_MOVE_FAILED) | B(HA_MOVE_OPENED) | B(HA_MOVE_REPOINTED),
    [HA_STATE_SELECTING] = B(HA_MOVE_GIVE_UP) | B(HA_MOVE_FENCED) | B(HA_MOVE_PROMOTED) |
                           B(HA_MOVE_FAILED) | B(HA_MOVE_OPENED) | B(HA_MOVE_REPOINTED),
    [HA_STATE_PROMOTING] = B(HA_MOVE_BEGIN) | B(HA_MOVE_FENCED) | B(HA_MOVE_PROMOTE) |
                           B(HA_MOVE_NONE) | B(HA_MOVE_OPENED) | B(HA_MOVE_REPOINTED),
    [HA_STATE_OPENING] = B(HA_MOVE_FENCED) | B(HA_MOVE_PROMOTE) | B(HA_MOVE_NONE) |
                         B(HA_MOVE_PROMOTED) | B(HA_MOVE_FAILED) | B(HA_MOVE_REPOINTED),
    [HA_STATE_REPOINTING] = B(HA_MOVE_FENCED) | B(HA_MOVE_PROMOTE) | B(HA_MOVE_NONE) |
                            B(HA_MOVE_PROMOTED) | B(HA_MOVE_FAILED) | B(HA_MOVE_OPENED),
    [HA_STATE_NO_CANDIDATE] = B(HA_MOVE_GIVE_UP) | B(HA_MOVE_FENCED) | B(HA_MOVE_PROMOTED) |
                              B(HA_MOVE_FAILED) | B(HA_MOVE_OPENED) | B(HA_MOVE_REPOINTED),
};
#undef B

const struct ha_failover_row *ha_failover_row(enum ha_state from, enum ha_move move)
{
    for (size_t i = 0; i < HA_ARRAY_LEN(rows); i++)
        if (rows[i].from == from && rows[i].move == move)
            return &rows[i];
    return NULL;
}

const struct ha_failover_row *ha_failover_rows(size_t *ret_count)
{
    *ret_count = HA_ARRAY_LEN(rows);
    return rows;
}

bool ha_failover_ignores(enum ha_state from, enum ha_move move)
{
    return (ignored[from] >> move & 1u) != 0;
}

bool ha_state_is_open(enum ha_state state)
{
    switch (state) {
    case HA_STATE_OPENING:
    case HA_STATE_REPOINTING:
    case HA_STATE_STEADY:
        return true;
    case HA_STATE_FENCING:
    case HA_STATE_SELECTING:
    case HA_STATE_PROMOTING:
    case HA_STATE_NO_CANDIDATE:
        return false;
    }
    HA_UNREACHABLE();
}
