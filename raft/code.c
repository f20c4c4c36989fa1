#include "raft/code.h"

#include <raft.h>
#include <stddef.h>

#include "lib/base/err.h"

static const struct {
    int raft;
    int ours;
    const char *text;
} codes[] = {
    {0, HA_OK, "success"},
    {RAFT_NOMEM, HA_ENOMEM, "out of memory"},
    {RAFT_BADID, HA_EINVAL, "watcher id is not valid"},
    {RAFT_DUPLICATEID, HA_EEXIST, "watcher id is used twice"},
    {RAFT_DUPLICATEADDRESS, HA_EEXIST, "watcher address is used twice"},
    {RAFT_BADROLE, HA_EINVAL, "watcher role is not valid"},
    {RAFT_MALFORMED, HA_EPROTO, "malformed data"},
    {RAFT_NOTLEADER, HA_ENOTLEADER, "this watcher is not the leader"},
    {RAFT_LEADERSHIPLOST, HA_ENOTLEADER, "leadership was lost meanwhile"},
    {RAFT_SHUTDOWN, HA_ECLOSED, "shutting down"},
    {RAFT_CANTBOOTSTRAP, HA_EEXIST, "there is state already"},
    {RAFT_CANTCHANGE, HA_EBUSY, "a membership change is under way"},
    {RAFT_CORRUPT, HA_ECORRUPT, "stored state is damaged"},
    {RAFT_CANCELED, HA_ECANCELED, "canceled"},
    {RAFT_NAMETOOLONG, HA_EFULL, "name is too long"},
    {RAFT_TOOBIG, HA_EFULL, "data is too big"},
    {RAFT_NOCONNECTION, HA_EUNREACH, "no connection to the watcher"},
    {RAFT_BUSY, HA_EBUSY, "busy"},
    {RAFT_IOERR, HA_EIO, "input/output error"},
    {RAFT_NOTFOUND, HA_ENOENT, "not found"},
    {RAFT_INVALID, HA_EINVAL, "invalid argument"},
    {RAFT_UNAUTHORIZED, HA_EDENIED, "no access"},
    {RAFT_NOSPACE, HA_EFULL, "no space left on the disk"},
    {RAFT_TOOMANY, HA_EFULL, "limit reached"},
};

const char *ha_raft_code_text(int code)
{
    for (size_t i = 0; i < HA_ARRAY_LEN(codes); i++)
        if (codes[i].raft == code)
            return codes[i].text;
    return "unknown error of the Raft library";
}

int ha_raft_code(int code)
{
    for (size_t i = 0; i < HA_ARRAY_LEN(codes); i++)
        if (codes[i].raft == code)
            return codes[i].ours;
    return HA_EIO;
}
