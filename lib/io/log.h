/* lib/io/log.h - one line per fact to standard error or the journal.
 *
 * Any thread. A line is "event key=value ...", at most HA_LOG_LINE_SIZE bytes, longer ones are cut
 * and end in "...". Control and non-ASCII bytes are written as \xNN, so no value can forge a second
 * line; a value that a peer chose goes through HA_QUOTE, so it cannot forge a second key either.
 * An event that repeats more than HA_LOG_BURST times in HA_LOG_WINDOW_MS is held back, and its next
 * line ends with "suppressed=N". Nobody waits for a reader that hangs: what a full pipe or socket
 * does not take is left out, and the next line that it takes ends with "lost=N". The last
 * HA_LOG_RING_LINES lines of every level, also those held back or under the level, are written out
 * when the process aborts (assert). Never log secrets. */
#ifndef HA_IO_LOG_H
#define HA_IO_LOG_H

#include "lib/base/check.h"

#define HA_LOG_LINE_SIZE 512
#define HA_LOG_RING_LINES 256
#define HA_LOG_BURST 20
#define HA_LOG_WINDOW_MS 5000

enum ha_log_level {
    HA_LOG_ERROR = 3, /* a human must act; the numbers are syslog's */
    HA_LOG_WARN = 4,  /* a human may have to */
    HA_LOG_INFO = 6,  /* a state changed */
    HA_LOG_DEBUG = 7, /* the rest */
};

/* Set the level, choose the format ("<N>" prefix when JOURNAL_STREAM is our stderr, else time and
 * level) and install the SIGABRT handler. @program is borrowed for ever (a literal). Lines logged
 * before this call go out at HA_LOG_INFO under the name "-". */
void ha_log_init(const char *program, enum ha_log_level level);

/* "error", "warn", "info", "debug". HA_EINVAL. */
int ha_log_level_parse(const char *text, enum ha_log_level *ret);

/* @event: a fixed lower-case name with dashes, a literal; @format: "key=%s key=%u". */
#define HA_LOG(level, event, ...) ha_log_write((level), (event), __VA_ARGS__)
void ha_log_write(enum ha_log_level level, const char *event, const char *format, ...)
    HA_PRINTF(3, 4);

/* A value in quotes with `"`, `\` and control bytes escaped, cut at the size of the struct. */
struct ha_quoted {
    char text[320];
};
const char *ha_log_quote(struct ha_quoted *quoted, const char *text);
/* For arguments of HA_LOG: lives until the end of the enclosing block. NULL gives "". */
#define HA_QUOTE(text) ha_log_quote(&(struct ha_quoted){{0}}, (text))

/* Write the ring to @fd (async-signal-safe); also done by the SIGABRT handler. */
void ha_log_dump(int fd);

#endif /* HA_IO_LOG_H */
