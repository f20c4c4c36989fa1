#include "lib/core/types.h"

#include "lib/base/check.h"
#include "lib/core/cluster.h"
#include "lib/core/command.h"
#include "lib/core/effect.h"
#include "lib/core/event.h"

HA_ENUM_DEFINE(role, HA_ROLE_MAP)
HA_ENUM_DEFINE(verdict, HA_VERDICT_MAP)
HA_ENUM_DEFINE(state, HA_STATE_MAP)
HA_ENUM_DEFINE(fence, HA_FENCE_MAP)
HA_ENUM_DEFINE(gate, HA_GATE_MAP)
HA_ENUM_DEFINE(engine, HA_ENGINE_MAP)
HA_ENUM_DEFINE(durability, HA_DURABILITY_MAP)
HA_ENUM_DEFINE(crash_policy, HA_CRASH_POLICY_MAP)
HA_ENUM_DEFINE(quorum_loss, HA_QUORUM_LOSS_MAP)
HA_ENUM_DEFINE(reason, HA_REASON_MAP)
HA_ENUM_DEFINE(fitness, HA_FITNESS_MAP)
HA_ENUM_DEFINE(order_kind, HA_ORDER_MAP)
HA_ENUM_DEFINE(result, HA_RESULT_MAP)
HA_ENUM_DEFINE(process, HA_PROCESS_MAP)
HA_ENUM_DEFINE(kept, HA_KEPT_MAP)
HA_ENUM_DEFINE(answer, HA_ANSWER_MAP)
HA_ENUM_DEFINE(command_kind, HA_COMMAND_MAP)
HA_ENUM_DEFINE(notice_kind, HA_NOTICE_MAP)
HA_ENUM_DEFINE(event_kind, HA_EVENT_MAP)
HA_ENUM_DEFINE(effect_kind, HA_EFFECT_MAP)

bool ha_verdict_is_down(enum ha_verdict verdict)
{
    switch (verdict) {
    case HA_VERDICT_CRASHED:
    case HA_VERDICT_REFUSED:
    case HA_VERDICT_SILENT:
    case HA_VERDICT_HUNG:
        return true;
    case HA_VERDICT_UNKNOWN:
    case HA_VERDICT_UP:
    case HA_VERDICT_STARTING:
    case HA_VERDICT_BUSY:
    case HA_VERDICT_FULL:
    case HA_VERDICT_UNWRITABLE:
        return false;
    }
    HA_UNREACHABLE();
}
