/* raft/code.h - libraft's result codes in our words: the library has no text for its newer ones. */
#ifndef HA_RAFT_CODE_H
#define HA_RAFT_CODE_H

/* The fixed text of a RAFT_* code; never NULL. */
const char *ha_raft_code_text(int code);

/* The nearest enum ha_code; 0 stays HA_OK. */
int ha_raft_code(int code);

#endif /* HA_RAFT_CODE_H */
