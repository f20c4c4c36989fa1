#include "lib/io/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"
#include "lib/base/text.h"
#include "lib/io/clock.h"

#define EVENT_SLOTS 128 /* two events that share one share a limit, which is harmless */

#define DUMP_MAX_S 2

struct slot {
    uint64_t window_start_ms;
    uint64_t suppressed;
    uint32_t lines;
};

/* Guarded by lock, but for the ring in ha_log_dump: a crash must not wait for it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *program_name = "-";
static enum ha_log_level level_max = HA_LOG_INFO;
static bool to_journal;
static struct slot slots[EVENT_SLOTS];
static char ring[HA_LOG_RING_LINES][HA_LOG_LINE_SIZE];
static unsigned ring_next;
static uint64_t lost; /* lines that nobody took in time */

static void write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody to tell */
        data += n;
        size -= (size_t)n;
    }
}

void ha_log_dump(int fd)
{
    static const char head[] = "-- last lines of every level --\n";
    unsigned next = ring_next;

    write_all(fd, head, sizeof(head) - 1);
    for (unsigned i = 0; i < HA_LOG_RING_LINES; i++) {
        const char *line = ring[(next + i) % HA_LOG_RING_LINES];
        size_t length = strnlen(line, HA_LOG_LINE_SIZE - 1);

        if (length == 0)
            continue;
        write_all(fd, line, length);
        write_all(fd, "\n", 1);
    }
}

/* A reader that hangs must not keep alive what is to be started again. */
static void on_abort(int signal_number)
{
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(DUMP_MAX_S);
    ha_log_dump(STDERR_FILENO);
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

/* The service manager names the journal's socket "DEVICE:INODE"; children may have another stderr.
 */
static bool is_journal(void)
{
    const char *said = getenv("JOURNAL_STREAM");
    char found[48];
    struct stat st;

    if (said == NULL || fstat(STDERR_FILENO, &st) != 0 ||
        ha_text_format(found, sizeof(found), "%llu:%llu", (unsigned long long)st.st_dev,
                       (unsigned long long)st.st_ino) != HA_OK)
        return false;
    return strcmp(said, found) == 0;
}

void ha_log_init(const char *program, enum ha_log_level level)
{
    struct sigaction action = {.sa_handler = on_abort};

    (void)pthread_mutex_lock(&lock);
    program_name = program;
    level_max = level;
    to_journal = is_journal();
    (void)pthread_mutex_unlock(&lock);
    action.sa_flags = (int)SA_RESETHAND;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGABRT, &action, NULL);
}

static const char *level_name(enum ha_log_level level)
{
    switch (level) {
    case HA_LOG_ERROR:
        return "error";
    case HA_LOG_WARN:
        return "warn";
    case HA_LOG_INFO:
        return "info";
    case HA_LOG_DEBUG:
        return "debug";
    }
    HA_UNREACHABLE();
}

int ha_log_level_parse(const char *text, enum ha_log_level *ret)
{
    static const enum ha_log_level levels[] = {HA_LOG_ERROR, HA_LOG_WARN, HA_LOG_INFO,
                                               HA_LOG_DEBUG};

    for (size_t i = 0; i < HA_ARRAY_LEN(levels); i++) {
        if (strcmp(text, level_name(levels[i])) == 0) {
            *ret = levels[i];
            return HA_OK;
        }
    }
    return HA_EINVAL;
}

/* Append @text to @to[@size] with every byte outside printable ASCII as \xNN. With @quoted also
 * quotes and backslashes get one in front. False: cut, at a whole escape. */
static bool append_escaped(char *to, size_t size, const char *text, bool quoted)
{
    size_t at = strnlen(to, size);

    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        char piece[5];

        if (c < 0x20 || c >= 0x7f)
            (void)ha_text_format(piece, sizeof(piece), "\\x%02x", c);
        else
            (void)ha_text_format(piece, sizeof(piece), "%s%c",
                                 quoted && (c == '"' || c == '\\') ? "\\" : "", c);
        if (at + strlen(piece) >= size)
            return false;
        memcpy(to + at, piece, strlen(piece) + 1);
        at += strlen(piece);
    }
    return true;
}

const char *ha_log_quote(struct ha_quoted *quoted, const char *text)
{
    size_t size = sizeof(quoted->text);

    (void)ha_text_copy(quoted->text, size, "\"");
    if (!append_escaped(quoted->text, size - 4, text == NULL ? "" : text, true))
        (void)ha_text_append(quoted->text, size, "...");
    (void)ha_text_append(quoted->text, size, "\"");
    return quoted->text;
}

/* True: may be written; *ret_suppressed lines of it were not before. */
static bool pass_limit(const char *event, uint64_t *ret_suppressed)
{
    uint64_t now_ms = ha_clock_mono_ms();
    struct slot *slot = &slots[ha_hash(HA_HASH_START, event, strlen(event)) % EVENT_SLOTS];

    *ret_suppressed = 0;
    if (slot->lines == 0 || now_ms - slot->window_start_ms >= HA_LOG_WINDOW_MS) {
        slot->window_start_ms = now_ms;
        slot->lines = 0;
        *ret_suppressed = slot->suppressed;
        slot->suppressed = 0;
    }
    if (slot->lines >= HA_LOG_BURST) {
        slot->suppressed++;
        return false;
    }
    slot->lines++;
    return true;
}

/* A pipe or socket with room takes a line at once. One without belongs to a reader that hangs (a
 * journal on a disk that does): a line is worth less than a lease. */
static bool has_room(void)
{
    struct pollfd stream = {.fd = STDERR_FILENO, .events = POLLOUT};

    return poll(&stream, 1, 0) == 1;
}

/* One whole write per line, so that lines of several processes do not mix. */
static void emit(enum ha_log_level level, char *line)
{
    char out[HA_LOG_LINE_SIZE + 8];

    if (!has_room()) {
        lost++;
        return;
    }
    if (lost > 0)
        (void)ha_text_append(line, HA_LOG_LINE_SIZE, " lost=%llu", (unsigned long long)lost);
    lost = 0;

    /* The ring holds "time level program event ...": the journal has the first three by itself. */
    if (to_journal) {
        const char *rest = line;

        for (unsigned i = 0; i < 3 && rest != NULL; i++)
            rest = strchr(rest + (i > 0 ? 1 : 0), ' ');
        (void)ha_text_format(out, sizeof(out), "<%d>%s\n", (int)level,
                             rest == NULL ? line : rest + 1);
    } else {
        (void)ha_text_format(out, sizeof(out), "%s\n", line);
    }
    write_all(STDERR_FILENO, out, strlen(out));
}

void ha_log_write(enum ha_log_level level, const char *event, const char *format, ...)
{
    char body[HA_LOG_LINE_SIZE];
    char time_text[HA_CLOCK_TEXT_SIZE];
    uint64_t suppressed = 0;
    va_list args;
    char *line;
    bool cut;

    va_start(args, format);
    cut = vsnprintf(body, sizeof(body), format, args) >= (int)sizeof(body);
    va_end(args);
    (void)ha_clock_text(ha_clock_wall_ms(), time_text);

    (void)pthread_mutex_lock(&lock);
    line = ring[ring_next];
    (void)ha_text_format(line, HA_LOG_LINE_SIZE, "%s %s %s %s ", time_text, level_name(level),
                         program_name, event);
    /* Room for the dots, for suppressed=N and for lost=N. */
    cut = !append_escaped(line, HA_LOG_LINE_SIZE - 64, body, false) || cut;
    if (cut)
        (void)ha_text_append(line, HA_LOG_LINE_SIZE, "...");
    ring_next = (ring_next + 1) % HA_LOG_RING_LINES;
    if (level <= level_max && pass_limit(event, &suppressed)) {
        if (suppressed > 0)
            (void)ha_text_append(line, HA_LOG_LINE_SIZE, " suppressed=%llu",
                                 (unsigned long long)suppressed);
        emit(level, line);
    }
    (void)pthread_mutex_unlock(&lock);
}
