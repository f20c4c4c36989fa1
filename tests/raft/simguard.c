#include "tests/raft/simguard.h"

#include <string.h>

#include "lib/base/text.h"
#include "raft/guard.h"

bool sim_guard_parse(const char *text, uint32_t *ret)
{
    char copy[128];
    char *rest = copy;
    const char *word;

    *ret = 0;
    if (ha_text_copy(copy, sizeof(copy), text) != 0)
        return false;
    while ((word = strsep(&rest, ",")) != NULL) {
        if (strcmp(word, "nudge") == 0)
            *ret |= HA_GUARD_NUDGE;
        else if (strcmp(word, "timeoutnow") == 0)
            *ret |= HA_GUARD_TIMEOUT_NOW;
        else if (strcmp(word, "G10") == 0)
            *ret |= HA_GUARD_REBASE;
        else if (word[0] == 'G' && word[1] >= '1' && word[1] <= '9' && word[2] == '\0')
            *ret |= HA_GUARD_G((unsigned)(word[1] - '0'));
        else if (word[0] != '\0')
            return false;
    }
    return true;
}
